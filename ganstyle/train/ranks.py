"""The processes that train one run together: one on each device, on one machine or on several.

Every rank holds all networks and trains on its own slots of the whole batch; gradients are averaged, so that the
weights stay equal on all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from torch import Tensor

from ganstyle.base.errors import LAUNCHER, RunFailed, UserError, one_line
from ganstyle.train.hardware import device_of_rank

T = TypeVar("T")
FIRST = 0
# How a rank ends that has lost another one and leaves it to the launcher to say so.
LOST = 76
# Preparing many large photos takes long on one machine, while another one has them in its cache.
TIMEOUT = timedelta(hours=2)


class LostRank(RunFailed):
    """Another rank is gone. Whoever ended first has said why."""


class Ranks:
    """This process among those that train together; with a count of 1 nothing is sent anywhere.

    Args:
        rank: the number of this process, from 0.
        count: how many there are.
        local_rank: its number on its own machine, which is the number of its device.
    """

    def __init__(self, rank: int = FIRST, count: int = 1, local_rank: int = 0) -> None:
        self.rank, self.count, self.local_rank = rank, count, local_rank

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes, draws and speaks."""
        return self.rank == FIRST

    def slots(self, batch_size: int, parts: int = 1) -> range:
        """Which slots of the whole batch are this rank's; `UserError` when they cannot be spread evenly.

        Args:
            batch_size: of the whole batch.
            parts: into how many parts every rank divides its own slots.
        """
        if batch_size % (self.count * parts):
            raise UserError(
                f"training.batch_size: got {batch_size}, expected a multiple of {self.count * parts} "
                f"(it is the whole batch, for {self.count} devices and training.accumulate={parts})"
            )
        own = batch_size // self.count
        return range(self.rank * own, (self.rank + 1) * own)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, the same ones on every rank, by their mean over the ranks: one flat all-reduce."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _together():
            dist.all_reduce(flat)
        flat /= self.count
        pieces = zip(flat.split([tensor.numel() for tensor in tensors]), tensors, strict=True)
        torch._foreach_copy_(list(tensors), [piece.view(each.shape) for piece, each in pieces])

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the ranks, which all call this."""
        if self.count == 1:
            return values
        total = values.clone()
        with _together():
            dist.all_reduce(total)
        return total / self.count

    def earliest(self, values: Tensor) -> Tensor:
        """The elementwise minimum of a tensor over the ranks, which all call this."""
        if self.count == 1:
            return values
        least = values.clone()
        with _together():
            dist.all_reduce(least, op=dist.ReduceOp.MIN)
        return least

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank; asked on the host, without waiting for a device."""
        return not self.earliest(torch.tensor(int(not flag))) if self.count > 1 else flag

    def share(self, value: T) -> T:
        """The first rank's value, on every rank."""
        if self.count == 1:
            return value
        box: list[Any] = [value if self.first else None]
        with _together():
            dist.broadcast_object_list(box, src=FIRST, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in order, on the first rank, elsewhere only its own; tensors must be on the CPU."""
        if self.count == 1:
            return [value]
        box: list[Any] | None = [None] * self.count if self.first else None
        with _together():
            dist.gather_object(value, box, dst=FIRST)
        return box if box is not None else [value]

    def refuse_difference(self, value: object, what: str) -> None:
        """`UserError` where the ranks do not all have the same value."""
        if self.share(any(each != value for each in self.gather(value))):
            raise UserError(f"{what} differ between the {self.count} ranks: all must see the same files and settings")


class SpreadMemories:
    """What a method remembers by slot, spread over the ranks and saved whole.

    Args:
        memory: its state is a mapping from the slots of the whole batch.
        slots: the slots of this rank.
        batch_size: of the whole batch.
    """

    def __init__(self, memory: Any, ranks: Ranks, batch_size: int) -> None:
        self.memory, self.ranks, self.batch_size = memory, ranks, batch_size
        self.refilled = False

    def state_dict(self) -> dict[int, Any]:
        """Every slot's state on the first rank; all ranks call this."""
        own = {slot: tensor.cpu() for slot, tensor in self.memory.state_dict().items()}
        return {slot: state for part in self.ranks.gather(own) for slot, state in part.items()}

    def load_state_dict(self, state: Mapping[int, Any]) -> None:
        """Keep what is of this rank's slots; a batch of another size begins with nothing, and `refilled` is set."""
        self.refilled = bool(state) and len(state) != self.batch_size
        own = () if self.refilled else self.ranks.slots(self.batch_size)
        self.memory.load_state_dict({slot: state[slot] for slot in own if slot in state})


def started_together() -> ClusterEnvironment | None:
    """Where torchrun or SLURM started this process as one of several; None where it is alone."""
    if was_launched() or TorchElasticEnvironment.detect():
        return _if_several(TorchElasticEnvironment())
    # Only srun sets this: in the script of a batch job, and in an interactive one, a process is alone.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and SLURMEnvironment.detect():
        return _if_several(SLURMEnvironment())
    return None


def was_launched() -> bool:
    """Whether this process is one of several that another one started and watches."""
    return LAUNCHER in os.environ


def launcher_is_gone() -> bool:
    """Whether nobody watches any more over this process and the others that were started with it."""
    return was_launched() and os.environ[LAUNCHER] != str(os.getppid())


def _if_several(environment: ClusterEnvironment) -> ClusterEnvironment | None:
    return environment if environment.world_size() > 1 else None


@contextmanager
def joined(environment: ClusterEnvironment | None, kind: str) -> Iterator[Ranks]:
    """Meet the other ranks for a while; `kind` is the type of the devices, `cpu` or `cuda`.

    Raises:
        LostRank: the others cannot be reached.
    """
    if environment is None:
        yield Ranks()
        return
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    ranks = Ranks(environment.global_rank(), environment.world_size(), environment.local_rank())
    if kind == "cuda":
        torch.cuda.set_device(device_of_rank(ranks.local_rank))
    with _together():
        # gloo for what stays on the host: agreeing to stop must not wait for a GPU.
        backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
        store = next(iter(dist.rendezvous("env://", rank=ranks.rank, world_size=ranks.count)))[0]
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # torchrun's store outlives the ranks of an earlier attempt, and holds their addresses (torch 2.15). Over
            # several machines attempts are counted by each one for itself; there every attempt needs its own store.
            store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.count, timeout=TIMEOUT)
    yield ranks
    dist.destroy_process_group()  # not after an error: with a rank gone it would wait for it


LOSING = re.compile("gloo|nccl|connect|peer|socket|timed out|broken pipe", re.IGNORECASE)


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # gloo has no kind of its own, and an error of the device may come up here as well.
        if not isinstance(error, dist.DistError) and not LOSING.search(str(error)):
            raise
        reason = re.sub(r"\[[^\]]*/[^\]]*\] ", "", one_line(error))  # without the places in gloo's source
        raise LostRank(f"lost contact with another rank ({reason[:80]})") from error

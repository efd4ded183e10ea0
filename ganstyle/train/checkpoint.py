"""Checkpoints: everything that changes during training, listed once, written whole or not at all."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.train.guard import Diverged

FORMAT = 2
# What files of the first format do not have; a run that goes on from one begins these anew.
SINCE_FORMAT_2 = ("guard", "selection")
# What translating takes.
USED = ("networks", "ema")
KEYS = {"step", "facts"}
STEP_FILE = re.compile(r"step-(\d{8,})\.pt")


class Stateful(Protocol):
    """Anything that can be saved and restored."""

    def state_dict(self) -> Mapping[Any, Any]:
        """Plain values and tensors."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore what `state_dict` gave."""


class Checkpoints:
    """The folder of a run's checkpoints: the last few by step, and named ones (`best.pt`) that are never pruned.

    Args:
        folder: where they are.
        parts: everything that changes, by name; saved and restored in this order.
        facts: what is needed to use the weights (specs of the networks), stored as it is.
        keep: how many by step are kept.
        writes: whether this process writes them, or only takes part in gathering what they hold.
    """

    def __init__(
        self,
        folder: Path,
        parts: Mapping[str, Mapping[str, Stateful] | Stateful],
        *,
        facts: Mapping[str, Any],
        keep: int,
        writes: bool = True,
    ) -> None:
        self.folder, self.parts, self.facts, self.keep, self.writes = folder, parts, facts, keep, writes

    def save(self, step: int) -> Path:
        """Write the checkpoint after `step` steps, then drop the oldest.

        Of several ranks all call this, for some parts are gathered from all; one writes.

        Raises:
            Diverged: a tensor is non-finite; nothing is written.
            UserError: the disk is full or cannot be written; earlier checkpoints are untouched.
        """
        path = self.folder / f"step-{step:08d}.pt"
        self._write(self._state(step, self.parts), path)
        if self.writes:
            for old in step_files(self.folder)[: -self.keep]:
                with suppress(OSError):  # Windows keeps a file that another process is reading
                    old.unlink()
        return path

    def save_best(self, step: int, scores: Mapping[str, float]) -> None:
        """Write `best.pt`: what translating takes of the step that scored best so far. Raises as `save` does."""
        used = {name: part for name, part in self.parts.items() if name in USED}
        self._write(self._state(step, used) | {"scores": dict(scores)}, self.folder / "best.pt")

    def _state(self, step: int, parts: Mapping[str, Mapping[str, Stateful] | Stateful]) -> dict[str, Any]:
        state: dict[str, Any] = {"format": FORMAT, "step": step, "facts": dict(self.facts)}
        for name, part in parts.items():
            state[name] = (
                {key: each.state_dict() for key, each in part.items()}
                if isinstance(part, Mapping)
                else part.state_dict()
            )
        refuse_non_finite(state, step)
        return state

    def _write(self, state: Mapping[str, Any], path: Path) -> None:
        if not self.writes:
            return
        # In memory first: a disk that fills while torch writes its archive ends the whole process.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())

    def restore_latest(self, say: Callable[[str], None]) -> int:
        """Load the newest whole checkpoint and return its step; 0 where there is none.

        Newer ones that are damaged are said and set aside as `*.pt.damaged`.

        Raises:
            UserError: there are checkpoints and none can be read: nothing is trained over them.
        """
        damaged: list[Path] = []
        for path in reversed(step_files(self.folder)):
            try:
                # Not mapped: the file may be pruned while parts of it are in use.
                state = load_checkpoint(path, mapped=False)
            except UserError as error:
                say(f"{error}: trying the one before")
                damaged.append(path)
                continue
            self._restore(state)
            for each in damaged:
                each.rename(each.with_name(f"{each.name}.damaged"))
            return state["step"]
        if damaged:
            raise UserError(f"{self.folder}: none of its checkpoints can be read; take a fresh folder with --new")
        return 0

    def restore(self, step: int) -> None:
        """Load the checkpoint of this step, which another rank has chosen; none for step 0."""
        if step:
            self._restore(load_checkpoint(self.folder / f"step-{step:08d}.pt", mapped=False))

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            if state["format"] == 1 and name in SINCE_FORMAT_2:
                continue
            if isinstance(part, Mapping):
                for key, each in part.items():
                    each.load_state_dict(state[name][key])
            else:
                part.load_state_dict(state[name])


def step_files(folder: Path) -> list[Path]:
    """The checkpoints by step, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.pt") if (match := STEP_FILE.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def load_checkpoint(path: Path, *, mapped: bool = True) -> dict[str, Any]:
    """A checkpoint's state on the CPU, never running code from the file; `UserError` when it is damaged or foreign.

    Mapped, only what is used of it is read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises half a dozen kinds for damaged files
        raise UserError(f"{path}: not a checkpoint that can be read ({one_line(error)[:200]})") from error
    if not isinstance(state, dict) or state.get("format") not in range(1, FORMAT + 1) or not set(state) >= KEYS:
        raise UserError(f"{path}: not a checkpoint of ganstyle, or of another version")
    return state


def refuse_non_finite(state: Mapping[str, Any], step: int) -> None:
    """Raise `Diverged` naming the first tensor that holds NaN or infinity."""
    for name, tensor in named_tensors(state):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Diverged(f"step {step}: {name} is non-finite (NaN or infinite), so no checkpoint was written")


def named_tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries and lists, with its path."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_tensors(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from named_tensors(inner, f"{path}.{number}")

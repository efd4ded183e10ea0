"""The guard against NaN and infinity: bad updates are skipped and counted on the device, and read when it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganstyle.base.errors import RunFailed
from ganstyle.train.ranks import Ranks

NEVER = 2**62
SKIPPED, IN_A_ROW, LONGEST = range(3)


class Diverged(RunFailed):
    """So many updates in a row were skipped that the run must go back to where its weights were good."""


class Guard:
    """Knows which updates were skipped, because a loss or a gradient was not finite.

    Recording never waits for the device; reading does, and all ranks read at the same steps. Whether an update is
    skipped is the same on every rank, as it is decided from the averaged gradients.

    Args:
        device: where the networks are.
        ranks: who trains together.
        most_in_a_row: with so many skipped in a row, of any group of networks, the run has diverged.
    """

    def __init__(self, device: torch.device, ranks: Ranks | None = None, *, most_in_a_row: int = 10) -> None:
        self.step, self.rollbacks, self.most_in_a_row = 0, 0, most_in_a_row
        self._device, self._ranks = device, ranks or Ranks()
        self._counts: dict[str, Tensor] = {}
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._told = 0

    def record(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Note which losses are not finite at the current step; 1 on the device where there is one, else 0."""
        names = tuple(losses)
        bad = ~torch.isfinite(torch.stack([loss.detach().float() for loss in losses.values()]))
        self._note(names, bad)
        return bad.any().float()

    def skip(self, group: str, found: Tensor, gradients_found: Tensor) -> None:
        """Count one update of a group, skipped where `found` is 1; a gradient may be to blame where no loss is."""
        if group not in self._counts:
            self._counts[group] = torch.zeros(3, device=self._device)
        skipped, in_a_row, longest = self._counts[group].unbind()
        in_a_row = (in_a_row + 1) * found
        self._counts[group] = torch.stack([skipped + found, in_a_row, torch.maximum(longest, in_a_row)])
        self._note((f"a gradient of {group}",), gradients_found.reshape(1) > 0)

    def _note(self, names: tuple[str, ...], bad: Tensor) -> None:
        if names not in self._first:
            self._first[names] = torch.full((len(names),), NEVER, device=self._device)
        first = self._first[names]
        first.copy_(torch.where(bad & (first == NEVER), self.step, first))

    def check(self) -> None:
        """Raise `Diverged` with the first bad step and its losses when too many updates in a row were skipped."""
        counts = self._read()
        longest = max((each[LONGEST] for each in counts.values()), default=0)
        if longest >= self.most_in_a_row:
            raise Diverged(f"{self.blame()} ({longest} updates in a row were skipped)")

    def in_a_row(self) -> int:
        """How many updates before this one were skipped without one that was made between them."""
        return max((each[IN_A_ROW] for each in self._read().values()), default=0)

    def numbers(self) -> dict[str, float]:
        """What is logged: updates skipped since this was last asked, and roll-backs so far."""
        total = sum(each[SKIPPED] for each in self._read().values())
        since, self._told = total - self._told, total
        return {"guard/skipped": since, "guard/rollbacks": self.rollbacks}

    def blame(self) -> str:
        """`step 7: generator/cycle_a became non-finite`, of the first bad step; empty where there was none."""
        bad = [
            (step, name)
            for names, first in self._first.items()
            for name, step in zip(names, self._ranks.earliest(first).tolist(), strict=True)
            if step < NEVER
        ]
        if not bad:
            return ""
        first_step = min(step for step, _ in bad)
        names = [name for step, name in bad if step == first_step]
        losses = [name for name in names if not name.startswith("a gradient")]
        return f"step {first_step + 1}: {', '.join(losses or names)} became non-finite (NaN or infinite)"

    def _read(self) -> dict[str, list[int]]:
        return {group: [round(each) for each in counts.tolist()] for group, counts in self._counts.items()}

    def begin_again(self, rollbacks: int) -> None:
        """Forget what was found in the steps that will be done again, after so many roll-backs."""
        self.rollbacks = rollbacks
        self._first.clear()
        self._counts = {
            group: torch.cat([counts[:1], torch.zeros(2, device=self._device)])
            for group, counts in self._counts.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The counts of every group, and the roll-backs, which are part of every draw's key."""
        return {"rollbacks": self.rollbacks, "told": self._told, "counts": self._read()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.rollbacks = state["rollbacks"]
        self._told = state["told"]
        # The longest row counts from here: another `most_in_a_row` does not judge what was passed before.
        self._counts = {
            group: torch.tensor([skipped, in_a_row, in_a_row], dtype=torch.float32, device=self._device)
            for group, (skipped, in_a_row, _) in state["counts"].items()
        }

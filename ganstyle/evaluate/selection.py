"""Which checkpoint is the best, and when to stop because none is getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ganstyle.base.errors import UserError
from ganstyle.base.tables import did_you_mean

LOWEST = ("kid", "kid_ab", "kid_ba", "fid", "fid_ab", "fid_ba")
HIGHEST = ("content", "content_ab", "content_ba")


class Selection:
    """Keeps the best evaluation by one score, among those that preserve enough content.

    Distances such as KID are best when lowest, content scores when highest. A score that is missing or not finite is
    never the best, and no evaluation without gain either.

    Args:
        best: which score decides: `kid`, `kid_ab`, `kid_ba`, `fid` ..., `content` ...
        least_content: evaluations whose `scores/content` is below are never the best.
        patience: how many evaluations in a row without gain end the run; 0 for never.
        features: the fingerprint of what the scores are made with: scores made with something else do not compare.

    Raises:
        UserError: no such score, or a negative patience.
    """

    def __init__(self, best: str, *, least_content: float, patience: int, features: str) -> None:
        if best not in LOWEST + HIGHEST:
            raise UserError(f"evaluate.best: unknown score '{best}'{did_you_mean(best, LOWEST + HIGHEST)}")
        if patience < 0:
            raise UserError(f"evaluate.patience: got {patience}, expected 0 (never stop) or more")
        self.score, self.least_content, self.patience, self.features = best, least_content, patience, features
        self.restarted = ""
        self._start()

    def _start(self) -> None:
        self.step: int | None = None
        self.value: float | None = None
        self._without_gain = 0
        self._last_step = -1

    @property
    def rule(self) -> str:
        """How the best is chosen, in words."""
        extreme = "lowest" if self.score in LOWEST else "highest"
        among = f" among evaluations with scores/content of {self.least_content:g} or more"
        return f"the {extreme} scores/{self.score}{among if self.least_content > -1 else ''}"

    @property
    def exhausted(self) -> bool:
        """Whether so many evaluations in a row brought no gain that the run should stop."""
        return 0 < self.patience <= self._without_gain

    def consider(self, step: int, scores: Mapping[str, float]) -> bool:
        """Whether this evaluation is the best so far; the best one's own step, told again, is still the best.

        A step that is told again (a run goes on from a checkpoint before its evaluation) counts once for the patience.
        One that lacks the score says nothing of the run, and does not count.
        """
        value = scores.get(f"scores/{self.score}", math.nan)
        content = scores.get("scores/content", math.nan)
        if not math.isfinite(value):
            return False
        admitted = content >= self.least_content
        again = (step, value) == (self.step, self.value)
        if admitted and (again or self._is_gain(value)):
            self.step, self.value = step, float(value)
            self._without_gain = 0
        elif step > self._last_step:
            self._without_gain += 1
        self._last_step = max(step, self._last_step)
        return admitted and (step, value) == (self.step, self.value)

    def _is_gain(self, value: float) -> bool:
        if self.value is None:
            return True
        return value < self.value if self.score in LOWEST else value > self.value

    def numbers(self) -> dict[str, float]:
        """The best step and its score, for logging; nothing before there is one."""
        return {} if self.step is None or self.value is None else {"best/step": self.step, "best/value": self.value}

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rule": self.rule,
            "features": self.features,
            "step": self.step,
            "value": self.value,
            "without_gain": self._without_gain,
            "last_step": self._last_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; by another rule or on other features it starts anew, and `restarted` tells.

        The state of a run that was not evaluated starts anew without a word; a run that is not evaluated any more keeps
        the state that it was given.
        """
        self._start()
        self.restarted = ""
        if not state or not state["features"]:
            return
        if not self.features:
            self.features = state["features"]
            self.step, self.value = state["step"], state["value"]
            self._without_gain, self._last_step = state["without_gain"], state["last_step"]
            return
        changed = [name for name, own in (("rule", self.rule), ("features", self.features)) if state[name] != own]
        if changed:
            was, now = state[changed[0]], self.rule if changed[0] == "rule" else self.features
            self.restarted = f"the best checkpoint is chosen anew: its {changed[0]} was '{was}' and is now '{now}'"
            return
        self.step, self.value = state["step"], state["value"]
        self._without_gain, self._last_step = state["without_gain"], state["last_step"]

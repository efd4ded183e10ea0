"""The learning rate as a pure function of the step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearDecay:
    """Constant up to step `decay_from`, then a line that would reach zero at step `steps` (Zhu et al. 2017, 4)."""

    learning_rate: float
    steps: int
    decay_from: int

    def at(self, step: int) -> float:
        """The rate of step number `step`, counted from 0; never zero before the end."""
        if step < self.decay_from:
            return self.learning_rate
        return self.learning_rate * (self.steps - step) / (self.steps - self.decay_from)


def steps_of(epochs: float, images_a: int, images_b: int, batch_size: int) -> int:
    """An epoch is one pass over the larger domain."""
    return max(1, round(epochs * max(images_a, images_b) / batch_size))

"""Finding the image at which a function is smallest: by L-BFGS, or by Adam with averaged iterates.

A function takes an image and returns its loss and gradient; each step asks for them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ganstyle.base.errors import UserError

Function = Callable[[Tensor], tuple[Tensor, Tensor]]
State = dict[str, Any]

HISTORY = 15  # of L-BFGS: each costs two images of memory
# How far a step of L-BFGS takes values, root mean square, of images in [-1, 1]: the first one, and any at most.
FIRST_MOVE, LONGEST_MOVE = 0.03, 0.1
LEAST_GAIN, PATIENCE = 1e-4, 20  # L-BFGS stalls when so many evaluations gained less than that share of the loss
GIVE_UP = 100.0  # or when the loss is so many times the best one
LEARNING_RATE, BETAS, WARM_UP, AVERAGING = 0.1, (0.9, 0.99), 8, 0.95  # of Adam
MOST_FAILURES = 3  # to go on from the best image is tried so many times


class Step(NamedTuple):
    """One evaluation done: its number from 1, of how many, and the loss of the image that was evaluated."""

    iteration: int
    of: int
    loss: float


class Stalled(Exception):
    """An optimiser that goes nowhere from here; the message says what happened."""


class Lbfgs:
    """L-BFGS with a fixed history and without line search; for functions that stay the same from step to step.

    Source: Liu and Nocedal 1989. Differs from the paper: no line search (a step of 1 is nearly always taken, and each
    trial would cost an evaluation); the first step moves values by `FIRST_MOVE`, whatever the function's unit.

    Args:
        start: (1, 3, H, W).
        iterations: how many steps it will take, which it need not know.
        history: pairs of steps and gradients that are kept.

    Attributes:
        images_held: how many of them its state takes.
    """

    name: ClassVar[str] = "lbfgs"
    images_held: ClassVar[int] = 2 * HISTORY + 6
    average: ClassVar[None] = None  # its result is the best image

    def __init__(self, start: Tensor, *, iterations: int = 0, history: int = HISTORY) -> None:
        self.position = start.detach().clone(memory_format=torch.contiguous_format)
        # The tolerances would end it early: a picture goes on changing for the better where losses hardly fall.
        self._torch = torch.optim.LBFGS(
            [self.position], max_iter=1, history_size=history, tolerance_grad=-1, tolerance_change=-1
        )
        self._lowest = self._reference = math.inf
        self._waited = 0

    def step(self, loss: float, gradient: Tensor) -> None:
        """Take the loss and gradient of `position` and go on.

        Raises:
            Stalled: it goes nowhere.
        """
        self._torch.param_groups[0]["lr"] = _first_rate(gradient) if self._lowest == math.inf else 1.0
        self._lowest = min(self._lowest, loss)
        self._refuse_stall(loss)
        before = self.position.clone()
        self.position.grad = gradient
        self._torch.step(lambda: loss)
        self.position.grad = None
        self._shorten(before)

    def _shorten(self, before: Tensor) -> None:
        """Shorten a step that was too long, in what is remembered of it too."""
        move = self.position - before
        share = LONGEST_MOVE / max(float(move.square().mean().sqrt()), LONGEST_MOVE)
        if share < 1:
            self.position.copy_(before + share * move)
            self._torch.state[self.position]["t"] *= share

    def _refuse_stall(self, loss: float) -> None:
        if loss > GIVE_UP * self._lowest:
            raise Stalled("diverged")
        if self._lowest < (1 - LEAST_GAIN) * self._reference:
            self._reference, self._waited = self._lowest, 0
            return
        self._waited += 1
        if self._waited >= PATIENCE:
            raise Stalled("came to a halt")

    def state_dict(self) -> State:
        """All that the next steps depend on."""
        return {
            "position": self.position.detach(),
            "torch": self._torch.state_dict(),
            "watch": [self._lowest, self._reference, self._waited],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was."""
        self.position.copy_(state["position"])
        self._torch.load_state_dict(state["torch"])
        self._lowest, self._reference, self._waited = state["watch"]


class Adam:
    """Adam, and the average of the images that it passed; for any function, with little memory.

    Source: Kingma and Ba 2015, section 7.2: averaged iterates with bias correction. The learning rate grows over the
    first steps and falls over the last third.

    Args:
        start: (1, 3, H, W).
        iterations: how many steps it will take.

    Attributes:
        images_held: how many of them its state takes.
    """

    name: ClassVar[str] = "adam"
    images_held: ClassVar[int] = 6

    def __init__(self, start: Tensor, *, iterations: int) -> None:
        self.position = start.detach().clone(memory_format=torch.contiguous_format)
        self._torch = torch.optim.Adam([self.position], lr=LEARNING_RATE, betas=BETAS)
        self._iterations, self._taken = iterations, 0
        self._sum = torch.zeros_like(self.position)

    @property
    def average(self) -> Tensor | None:
        """The average of the images so far, the last ones above all; None before the first step."""
        return self._sum / (1 - AVERAGING**self._taken) if self._taken else None

    def step(self, loss: float, gradient: Tensor) -> None:
        """Take the loss and gradient of `position` and go on."""
        self._torch.param_groups[0]["lr"] = LEARNING_RATE * self._share()
        self.position.grad = gradient
        self._torch.step()
        self.position.grad = None
        self._taken += 1
        self._sum.lerp_(self.position, 1 - AVERAGING)

    def _share(self) -> float:
        """What is due of the learning rate at this step."""
        left = 1 - self._taken / max(1, self._iterations)
        return min(1.0, (self._taken + 1) / WARM_UP, max(0.05, 3 * left))

    def state_dict(self) -> State:
        """All that the next steps depend on."""
        return {
            "position": self.position.detach(),
            "sum": self._sum,
            "taken": [self._taken, self._iterations],
            "torch": self._torch.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was."""
        self.position.copy_(state["position"])
        self._sum.copy_(state["sum"])
        self._taken, self._iterations = state["taken"]
        self._torch.load_state_dict(state["torch"])


OPTIMISERS: dict[str, type[Lbfgs] | type[Adam]] = {Lbfgs.name: Lbfgs, Adam.name: Adam}


class Descent:
    """The evaluations of one function: by the named optimiser first, and by Adam when that goes nowhere.

    Args:
        start: (1, 3, H, W) in [-1, 1].
        iterations: evaluations in all.
        optimiser: a name in `OPTIMISERS`.
        say: told when it goes over to Adam.
    """

    def __init__(
        self, start: Tensor, *, iterations: int, optimiser: str = Lbfgs.name, say: Callable[[str], None] = print
    ) -> None:
        self.iterations, self.iteration, self._say = iterations, 0, say
        self.loss, self._best = math.inf, start.detach().clone()
        self._run = OPTIMISERS[optimiser](start, iterations=iterations)
        self._failures = 0
        self.whole = True  # False after something broke into a step: then the state is not one to go on from

    @property
    def optimiser(self) -> str:
        """The name of the one at work."""
        return self._run.name

    @property
    def done(self) -> bool:
        """Whether all evaluations were made."""
        return self.iteration >= self.iterations

    @property
    def image(self) -> Tensor:
        """The result so far, in [-1, 1]."""
        average = self._run.average
        return (self._best if average is None else average).clamp(-1, 1)

    def step(self, function: Function) -> Step:
        """Evaluate once and go on; whatever the function raises leaves all as it was.

        Raises:
            UserError: the very first loss is not finite.
        """
        loss, gradient = function(self._run.position)
        value = float(loss + 0 * gradient.sum())  # one wait for the device; not finite if any of them is not
        self.whole = False
        self._take(value, gradient)
        self.iteration += 1
        self.whole = True
        return Step(self.iteration, self.iterations, value)

    def _take(self, value: float, gradient: Tensor) -> None:
        try:
            if not math.isfinite(value):
                raise Stalled("met a loss that is not finite")
            self._offer(value, self._run.position)
            self._run.step(value, gradient)
        except Stalled as problem:
            self._go_on_after(str(problem))

    def finish(self, function: Function) -> Tensor:
        """The result in [-1, 1]: the optimiser's average where it has one and that is best, else the best image."""
        average = self._run.average
        if average is not None:  # it was never evaluated itself
            self._offer(float(function(average)[0]), average)
        return self._best.clamp(-1, 1)

    def turn_to_adam(self) -> None:
        """Go on with Adam from the best image so far; that takes less memory."""
        self._run = Adam(self._best, iterations=self.iterations - self.iteration)
        self.whole = True

    def _offer(self, loss: float, image: Tensor) -> None:
        if loss < self.loss:
            self.loss = loss
            self._best.copy_(image)

    def _go_on_after(self, problem: str) -> None:
        self._failures += 1
        at = f"{self._run.name} {problem} at iteration {self.iteration + 1}"
        if self.loss == math.inf:
            raise UserError(f"{at}: the photo or a picture cannot be used with these layers; choose other ones")
        if self._failures > MOST_FAILURES:
            self._say(f"{at}: the best image so far is kept")
            self.iteration = self.iterations - 1
            return
        self._say(f"{at}: Adam goes on from the best image")
        self.turn_to_adam()

    def state_dict(self) -> State:
        """All that the next steps depend on."""
        return {
            "optimiser": self.optimiser,
            "counts": [self.iteration, self.iterations, self._failures],
            "loss": self.loss,
            "best": self._best,
            "run": self._run.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was."""
        self.iteration, self.iterations, self._failures = state["counts"]
        self.loss = state["loss"]
        self._best.copy_(state["best"])
        self._run = OPTIMISERS[state["optimiser"]](self._best, iterations=self.iterations)
        self._run.load_state_dict(state["run"])


def minimise(
    function: Function,
    start: Tensor,
    *,
    iterations: int,
    optimiser: str = Lbfgs.name,
    watch: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = print,
) -> Tensor:
    """The best image found, in [-1, 1]; see `Descent`."""
    descent = Descent(start, iterations=iterations, optimiser=optimiser, say=say)
    while not descent.done:
        watch(descent.step(function))
    return descent.finish(function)


def _first_rate(gradient: Tensor) -> float:
    """The learning rate with which torch's first step, min(1, 1 / |g|_1) g, moves values by `FIRST_MOVE`."""
    total, size = float(gradient.abs().sum()), float(gradient.square().mean().sqrt())
    return FIRST_MOVE / max(size * min(1.0, 1.0 / max(total, 1e-30)), 1e-30)

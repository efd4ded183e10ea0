"""A photo whose pixels are optimised until the features of a VGG are those of a picture: style transfer by VGG."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.pixels import within
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.networks.weight_files import weights_digest
from ganstyle.painting.budget import Plan, first_plan, smaller_plan
from ganstyle.painting.colour import COLOURS
from ganstyle.painting.optimisers import Descent
from ganstyle.painting.pyramid import Scale, Size, pyramid, resized
from ganstyle.painting.state import StateFile, digest_of
from ganstyle.painting.targeting import Subject, Targeting
from ganstyle.painting.vgg_settings import VggSettings

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg
    from ganstyle.painting.objective import Region

__all__ = ["Moment", "Stylized", "VggSettings", "VggStylizer"]


class Moment(NamedTuple):
    """Where an optimisation stands; scales (coarsest first) and iterations count from 1."""

    scale: int
    scales: int
    iteration: int
    iterations: int  # of this scale
    loss: float
    done: int  # of all scales' iterations
    of: int
    image: Callable[[], Tensor]  # the picture so far, (1, 3, h, w) of this scale in [-1, 1]


@dataclass(frozen=True)
class Stylized:
    """A photo with another look.

    Attributes:
        image: (1, 3, H, W) in [-1, 1].
        facts: how it was made, in plain values; `stopped_at` says where Ctrl-C ended it, and is not there otherwise.
    """

    image: Tensor
    facts: dict[str, Any]


USUAL = VggSettings()


class VggStylizer:
    """Gives photos the look of pictures; what it knows of the pictures is computed once for all photos of a size.

    Args:
        features: tells style and content.
        styles: the pictures, each (1, 3, h, w) in [-1, 1].
        settings: how.
        device: where to compute.
        free_bytes: asks how much memory is free; None where no one knows.
        say: told of what is done otherwise than asked, one line each.
    """

    def __init__(
        self,
        features: Vgg,
        styles: Sequence[Tensor],
        settings: VggSettings = USUAL,
        *,
        device: torch.device | str = "cpu",
        free_bytes: Callable[[], int | None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.features, self.settings, self.device = features.to(device), settings, torch.device(device)
        self.styles = [_on(style, self.device) for style in styles]
        self._targeting = Targeting(self.features, self.styles, settings)
        self._free_bytes, self._say = free_bytes, say
        self._digest: str | None = None

    def stylize(
        self,
        content: Tensor,
        *,
        regions: Sequence[Region] | None = None,
        start: Tensor | None = None,
        watch: Callable[[Moment], None] = lambda moment: None,
        state: Path | None = None,
        resume: bool = False,
    ) -> Stylized:
        """Stylise one photo (1, 3, H, W) in [-1, 1].

        Args:
            content: the photo.
            regions: which parts of it take their style from which parts of the pictures; None for all from all.
            start: what to start from instead of what the settings say.
            watch: called after each iteration. A KeyboardInterrupt from anywhere ends the optimisation: the best
                picture so far is returned.
            state: a file that keeps where the optimisation stands; the caller's to delete once the result is safe.
            resume: go on from that file if there is one; bit for bit as if never interrupted on a CPU.

        Raises:
            UserError: the photo is too small, memory does not suffice, or the state is of another photo or settings.
        """
        content = self._fitted(_on(content, self.device))
        if self.settings.strength == 0:
            return Stylized(content.clone(), {**self._facts(content), "evaluations": 0})
        began = time.monotonic()
        run = _Run(
            targeting=self._targeting,
            subject=self._targeting.subject(content, regions),
            scales=self._scales(content),
            file=StateFile(state, self._digest_with(content, regions, start) if state else ""),
            choose=partial(self._first_plan, regions=len(regions or ())),
            settings=self.settings,
            watch=watch,
            say=self._say,
        )
        stopped = run.go(self._start(content, start), resume=resume)
        image = COLOURS[self.settings.colours].after(content, resized(run.image, _size(content)))
        facts = {**self._facts(content), **run.facts(), "seconds": round(time.monotonic() - began, 1)}
        return Stylized(image, {**facts, "stopped_at": stopped} if stopped else facts)

    def _fitted(self, content: Tensor) -> Tensor:
        size, least_px = within(_size(content), self.settings.size_px), self.features.minimum_px
        if min(size) < least_px:
            raise UserError(
                f"the photo is {size[1]}x{size[0]} px at this size: {self.features.name} needs sides of {least_px} px "
                "or more; use a larger one"
            )
        return resized(content, size)

    def _scales(self, content: Tensor) -> list[Scale]:
        # A coarse scale with a map of one value says nothing of a style.
        least_px = 2 * self.features.minimum_px
        return pyramid(_size(content), least_px=least_px, iterations=self.settings.iterations)

    def _start(self, content: Tensor, start: Tensor | None) -> Tensor:
        if start is not None:
            return _on(start, self.device)
        return STARTS[self.settings.start](resized(content, self._scales(content)[0].size), self.settings.seed)

    def _first_plan(self, size: Size, *, regions: int) -> Plan:
        return first_plan(
            self.features,
            size,
            settings=self.settings,
            weights=self._targeting.weights,
            free_bytes=self._free_bytes(),
            regions=regions,
        )

    def _digest_with(self, content: Tensor, regions: Sequence[Region] | None, start: Tensor | None) -> str:
        """Of all that the result depends on."""
        self._digest = self._digest or weights_digest(self.features.state_dict().items())
        masks = [mask for region in regions or () for mask in (region.content, *region.styles)]
        given = [] if start is None else [start]
        network = f"{self.features.kind} {self._digest}"
        settings = {**asdict(self.settings), "features": network, "started": len(given), "masks": len(masks)}
        return digest_of(settings, [content, *self.styles, *masks, *given])

    def _facts(self, content: Tensor) -> dict[str, Any]:
        height, width = _size(content)
        losses = asdict(self._targeting.weights)
        return {"method": "vgg", "features": self.features.name, "size": [height, width], "losses": losses}


@dataclass
class _Run:
    """One photo on its way through the scales."""

    targeting: Targeting
    subject: Subject
    scales: list[Scale]
    file: StateFile
    choose: Callable[[Size], Plan]
    settings: VggSettings
    watch: Callable[[Moment], None]
    say: Callable[[str], None]
    # Where it stands: in the scale of that number, at its beginning if there is no descent yet.
    number: int = 1
    begun_from: Tensor = field(default_factory=lambda: torch.empty(0))
    descent: Descent | None = None
    plan: Plan | None = None
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def image(self) -> Tensor:
        """The best picture so far, at the size of its scale."""
        return self.begun_from if self.descent is None else self.descent.image

    def go(self, start: Tensor, *, resume: bool) -> str | None:
        """Optimise at each scale; returns where a KeyboardInterrupt ended it, if one did."""
        self.begun_from = start
        try:
            saved = self.file.load() if resume else None
            if saved is not None:
                self._restore(saved)
            while self.number <= len(self.scales):
                self._optimise(self.scales[self.number - 1])
        except KeyboardInterrupt:
            if self.descent is None or self.descent.whole:
                self.file.keep(self._state(), now=True)
            return self._place()
        return None

    def _optimise(self, scale: Scale) -> None:
        """Go through one scale, with less memory each time that it does not suffice."""
        if self.descent is None:
            self.plan = self.choose(scale.size)
            self.descent = self._descent(scale, self.plan)
        image = self._descended(scale)
        while image is None:
            self._save_memory(scale)
            image = self._descended(scale)
        self._end_scale(scale, image)

    def _descent(self, scale: Scale, plan: Plan) -> Descent:
        return Descent(self._start(scale.size), iterations=scale.iterations, optimiser=plan.optimiser, say=self.say)

    def _start(self, size: Size) -> Tensor:
        """The result of the scale before, with the photo's finer detail: all of it for no strength, half for the whole.

        With little strength nothing else would bring back what the coarse scales do not hold; with the whole it begins
        at a lower loss, and edges stay where they are.
        """
        start, content = resized(self.begun_from, size), resized(self.subject.content, size)
        if self.number == 1:
            return start
        coarse = resized(resized(content, self.scales[self.number - 2].size), size)
        return (start + (1 - self.settings.strength / 2) * (content - coarse)).clamp(-1, 1)

    def _descended(self, scale: Scale) -> Tensor | None:
        """The result of a scale; None where memory does not suffice."""
        assert self.descent is not None
        assert self.plan is not None
        try:
            objective = self.targeting.objective(self.subject, scale.size, tile_px=self.plan.tile_px)
            while not self.descent.done:
                step = self.descent.step(objective)
                self.watch(self._moment(self.descent, step.loss))
                if self.file.due:
                    self.file.keep(self._state())
            return self.descent.finish(objective)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None  # from outside of the handler, whose traceback would hold the memory

    def _save_memory(self, scale: Scale) -> None:
        assert self.descent is not None
        assert self.plan is not None
        self.plan, line = smaller_plan(self.plan._replace(optimiser=self.descent.optimiser), scale.size, self.settings)
        self.say(f"out of memory at {scale.size[1]}x{scale.size[0]} px: {line}")
        if self.plan.optimiser != self.descent.optimiser or not self.descent.whole:
            self.descent.turn_to_adam()

    def _end_scale(self, scale: Scale, image: Tensor) -> None:
        assert self.descent is not None
        assert self.plan is not None
        self.log.append(
            {
                "size": list(scale.size),
                "iterations": self.descent.iteration,
                "optimiser": self.descent.optimiser,
                "tile_px": self.plan.tile_px,
                "loss": self.descent.loss,
            }
        )
        self.number, self.begun_from, self.descent, self.plan = self.number + 1, image, None, None
        if self.number <= len(self.scales):
            self.file.keep(self._state(), now=True)

    def _moment(self, descent: Descent, loss: float) -> Moment:
        before = sum(scale.iterations for scale in self.scales[: self.number - 1])
        return Moment(
            scale=self.number,
            scales=len(self.scales),
            iteration=descent.iteration,
            iterations=descent.iterations,
            loss=loss,
            done=before + descent.iteration,
            of=sum(scale.iterations for scale in self.scales),
            image=lambda: descent.image,
        )

    def _place(self) -> str:
        number, scales = min(self.number, len(self.scales)), len(self.scales)
        iteration = self.descent.iteration if self.descent is not None else 0
        return f"scale {number} of {scales}, iteration {iteration} of {self.scales[number - 1].iterations}"

    def facts(self) -> dict[str, Any]:
        """How far it came and how."""
        unfinished = self.descent.iteration if self.descent is not None else 0
        return {"scales": self.log, "evaluations": sum(each["iterations"] for each in self.log) + unfinished}

    def _state(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "begun_from": self.begun_from,
            "descent": None if self.descent is None else self.descent.state_dict(),
            "plan": None if self.plan is None else list(self.plan),
            "log": self.log,
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.number, self.log = saved["number"], list(saved["log"])
        self.begun_from = saved["begun_from"].to(self.subject.content)
        if saved["descent"] is not None:
            self.plan = Plan(*saved["plan"])
            self.descent = self._descent(self.scales[self.number - 1], self.plan)
            self.descent.load_state_dict(saved["descent"])


def _from_content(content: Tensor, _: int) -> Tensor:
    return content


def _from_noise(content: Tensor, seed: int) -> Tensor:
    """Noise about as strong as a picture's contrast."""
    values = Draws(seed).stream("noise to start from").standard_normal(content.shape, dtype=np.float32)
    return torch.from_numpy(values).mul_(NOISE).clamp_(-1, 1).to(content)


NOISE = 0.5
STARTS: dict[str, Callable[[Tensor, int], Tensor]] = {"content": _from_content, "noise": _from_noise}


def _on(image: Tensor, device: torch.device) -> Tensor:
    return image.to(device, torch.float32)


def _size(image: Tensor) -> Size:
    return image.shape[2], image.shape[3]

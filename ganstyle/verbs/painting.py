"""The ways of giving a photo the look of a picture, each ready for one photo after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.masks import Masks
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.painting.repair import RepairSettings, repair
from ganstyle.painting.sparse import SparseMoment, SparseSettings, SparseStylized, SparseStylizer
from ganstyle.painting.sparse_report import write_report
from ganstyle.translate.memory import free_host_memory

Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far a photo has come: in words, how much is done of how much, and the picture so far."""

    words: str
    done: int
    of: int
    pixels: Callable[[], np.ndarray]


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Painted:
    """A photo with another look.

    Attributes:
        pixels: (H, W, 3) of the photo's size and dtype.
        facts: how it was made, in plain values.
        stopped: a person broke it off, and this is the best that there was.
        report: writes what can be told of it into a folder, and gives lines on what to beware of; None for nothing.
    """

    pixels: np.ndarray
    facts: Mapping[str, Any]
    stopped: bool = False
    report: Callable[[Path], list[str]] | None = None


class Painter(Protocol):
    """Gives photos one look.

    Attributes:
        done: what is done with a photo, as a word.
        resumes: whether it can go on where it was broken off.
    """

    done: ClassVar[str]
    resumes: ClassVar[bool]

    def paint(
        self, photo: np.ndarray, *, source: Path | None, watch: Watch, state: Path | None, resume: bool
    ) -> Painted:
        """Make the picture.

        Args:
            photo: (H, W, 3) uint8 or uint16.
            source: its file, by which masks are found.
            watch: called as it goes.
            state: a file in which to keep what `resume` goes on from.
            resume: go on from there, if it is there.
        """
        ...


@dataclass(frozen=True)
class Wish:
    """What people ask for beside the settings of a method; what does not go with a method is refused by it.

    Args:
        styles: the pictures, (H, W, 3) uint8 or uint16.
        device: where to compute.
        features: the name of a VGG.
        weights: the file of its weights.
        pooling: how that VGG pools.
        start: a picture to start from.
        regions: find so many regions in photo and pictures that go together.
        masks: the photo's regions as a picture of flat colours.
        style_masks: the same for each style picture.
        feather_px: softness of these regions' edges.
        protect: masks of what must stay recognisable, faces above all: white.
        report: report what the sparse code says.
    """

    styles: Sequence[np.ndarray]
    device: torch.device
    features: str | None = None
    weights: Path | None = None
    pooling: str | None = None
    start: np.ndarray | None = None
    regions: int | None = None
    masks: Path | None = None
    style_masks: Sequence[Path] = ()
    feather_px: float | None = None
    protect: Masks | None = None
    report: bool = False


class SparsePainter:
    """By patches of the picture."""

    done: ClassVar[str] = "stylized"
    resumes: ClassVar[bool] = False

    def __init__(self, settings: SparseSettings, wish: Wish, say: Say) -> None:
        named = {"features": wish.features, "weights": wish.weights, "pooling": wish.pooling}
        refuse({**named, "start": wish.start, "regions": wish.regions, "mask with --style-mask": wish.masks}, "vgg")
        if len(wish.styles) > 1:
            raise UserError("--method sparse takes one picture: several go with --method vgg")
        self.settings, self.wish = settings, wish
        self.style = to_tensor(wish.styles[0], wish.device)
        self.stylizer = SparseStylizer(
            self.style, settings, device=wish.device, free_bytes=partial(free_bytes, wish.device), say=say
        )

    def paint(
        self, photo: np.ndarray, *, source: Path | None, watch: Watch, state: Path | None, resume: bool
    ) -> Painted:
        """See `Painter`."""

        def told(moment: SparseMoment) -> None:
            words = f"level {moment.level}/{moment.levels}, patches of {moment.patch_px} px"
            watch(Progress(words, moment.done, moment.of, lambda: to_pixels(moment.image(), photo.dtype)[0]))

        content = to_tensor(photo, self.wish.device)
        made = self.stylizer.stylize(
            content, mask=self._protected(photo, source), watch=told, keep_codes=self.wish.report
        )
        report = partial(self._report, content, made) if self.wish.report else None
        return Painted(to_pixels(made.image, photo.dtype)[0], made.facts, "stopped_at" in made.facts, report)

    def _protected(self, photo: np.ndarray, source: Path | None) -> Tensor | None:
        if self.wish.protect is None or source is None:
            return None
        weight = self.wish.protect.weight(source, (photo.shape[0], photo.shape[1]))
        return torch.from_numpy(weight)[None, None].to(self.wish.device)

    def _report(self, content: Tensor, made: SparseStylized, folder: Path) -> list[str]:
        return write_report(folder, made, style=self.style, content=content)


@dataclass(frozen=True)
class RepairPainter:
    """Fills what masks show from the rest of the photo."""

    done: ClassVar[str] = "repaired"
    resumes: ClassVar[bool] = False
    settings: RepairSettings
    masks: Masks
    device: torch.device

    def paint(
        self, photo: np.ndarray, *, source: Path | None, watch: Watch, state: Path | None, resume: bool
    ) -> Painted:
        """See `Painter`."""
        assert source is not None
        content = to_tensor(photo, self.device)
        weight = self.masks.weight(source, (photo.shape[0], photo.shape[1]))

        def told(done: int, of: int) -> None:
            watch(Progress("filling", done, of, lambda: photo))

        mask = torch.from_numpy(weight)[None, None].to(self.device)
        filled = repair(content, mask, settings=self.settings, watch=told)
        return Painted(to_pixels(filled, photo.dtype)[0], asdict(self.settings))


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken where it is computed; None where no one knows."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_host_memory()


def refuse(given: Mapping[str, Any], method: str) -> None:
    """Raise `UserError` for options that go with another method."""
    foreign = [f"--{name}" for name, value in given.items() if value not in (None, False, ())]
    if foreign:
        raise UserError(f"{', '.join(foreign)}: goes with --method {method}")

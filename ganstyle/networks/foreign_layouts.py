"""How other people's generators are laid out in their state dicts, and what they are called here.

The code of CycleGAN (Zhu et al. 2017; pix2pix, CUT and DCL come from it) numbers the layers of one long sequence,
those without weights included, so the numbers of the keys tell which layers there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# What a batch norm keeps beside its weights, and an old instance norm, which does not use it.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
FEWEST_LEVELS = 3  # of a U-Net: an outermost, one between and an innermost


@dataclass(frozen=True)
class Generator:
    """What a state dict was recognised as.

    Args:
        origin: what it is called there, for people.
        spec: the generator of ours that computes the same.
        names: for each module of ours with weights the module of theirs.
        filters: their blurs, which ours has no tensors for; name -> its side in pixels.
        biases: whether convolutions before norms have biases; where they have none, ours are zero.
    """

    origin: str
    spec: Mapping[str, Any]
    names: Mapping[str, str]
    filters: Mapping[str, int]
    biases: bool


class Layout(Protocol):
    """One code's way to lay out a generator."""

    def recognise(self, shapes: Shapes) -> Generator | None:
        """The generator that tensors of these names and shapes are, None if of another kind; not checked whole."""


def norm_of(shapes: Shapes, convolution: str, norm: str) -> str | None:
    """The norm behind a convolution, by what the two keep; None for a norm that no layout has.

    In that code convolutions have a bias exactly where the norm is an instance norm.
    """
    has_bias, has_scale = f"{convolution}.bias" in shapes, f"{norm}.weight" in shapes
    if has_bias and has_scale:
        return None
    if has_bias or (f"{norm}.running_mean" in shapes and not has_scale):
        return "instance"
    return "batch" if has_scale else "none"


def width_of(shapes: Shapes, convolution: str) -> int | None:
    """The channels that a convolution gives; None where there is none of this name."""
    shape = shapes.get(f"{convolution}.weight", ())
    return shape[0] if len(shape) == 4 else None


@dataclass(frozen=True)
class ResNet:
    """CycleGAN's and CUT's `resnet_9blocks`, `resnet_6blocks` and the like, of any number of blocks and halvings."""

    def recognise(self, shapes: Shapes) -> Generator | None:
        """See `Layout`."""
        places = _by_place(shapes, r"model\.(\d{1,4})\.(.+)")
        blocks = [place for place, keys in places.items() if any(key.startswith("conv_block.") for key in keys)]
        norm, width = norm_of(shapes, "model.1", "model.2"), width_of(shapes, "model.1")
        if not blocks or norm is None or width is None:
            return None
        before = [keys for place, keys in places.items() if place < blocks[0]]
        after = [keys for place, keys in places.items() if place > blocks[-1]]
        dropout = f"model.{blocks[0]}.conv_block.6.weight" in shapes and (
            len(shapes[f"model.{blocks[0]}.conv_block.6.weight"]) == 4
        )
        halvings = sum(len(shape) == 4 for shape in _weights(shapes, before)) - 1
        down, up = (any("filt" in keys for keys in side) for side in (before, after))
        names, filters = _resnet_names(len(blocks), halvings, blurs=(down, up), dropout=dropout)
        spec = {
            "name": "resnet",
            "width": width,
            "blocks": len(blocks),
            "halvings": halvings,
            "norm": norm,
            "upsample": _upsampling(down=down, up=up),
            "dropout": 0.5 if dropout else 0.0,
        }
        family = "CUT" if down or up else "CycleGAN"
        return Generator(
            f"the ResNet with {len(blocks)} blocks of the {family} code", spec, names, filters, "model.1.bias" in shapes
        )


def _by_place(shapes: Shapes, pattern: str) -> dict[int, dict[str, Shape]]:
    """Tensors by the number of their layer, in order; the rest of their names is kept."""
    places: dict[int, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        if match := re.fullmatch(pattern, name):
            places.setdefault(int(match[1]), {})[match[2]] = shape
    return dict(sorted(places.items()))


def _weights(shapes: Shapes, layers: Iterable[Mapping[str, Shape]]) -> Iterator[Shape]:
    return (layer["weight"] for layer in layers if "weight" in layer)


def _upsampling(*, down: bool, up: bool) -> str:
    names = {(False, False): "transposed", (True, True): "antialiased", (True, False): "blurred_down"}
    return names.get((down, up), "blurred_up")


def _resnet_names(
    blocks: int, halvings: int, *, blurs: tuple[bool, bool], dropout: bool
) -> tuple[dict[str, str], dict[str, int]]:
    """Our modules -> theirs, and their blurs; 0 is the padding of the first convolution."""
    blurs_down, blurs_up = blurs
    names = {"stem.conv": "model.1", "stem.norm": "model.2"}
    filters, place = {}, 4
    for number in range(halvings):
        names |= {f"downs.{number}.conv": f"model.{place}", f"downs.{number}.norm": f"model.{place + 1}"}
        place += 3
        if blurs_down:
            filters[f"model.{place}.filt"] = 3
            place += 1
    second = 6 if dropout else 5
    for number in range(blocks):
        for ours, theirs in (("first", 1), ("second", second)):
            names[f"blocks.{number}.{ours}.conv"] = f"model.{place}.conv_block.{theirs}"
            names[f"blocks.{number}.{ours}.norm"] = f"model.{place}.conv_block.{theirs + 1}"
        place += 1
    for number in range(halvings):
        if blurs_up:
            filters[f"model.{place}.filt"] = 4
            place += 1
        names |= {f"ups.{number}.conv": f"model.{place}", f"ups.{number}.norm": f"model.{place + 1}"}
        place += 3
    return names | {"head.conv": f"model.{place + 1}"}, filters


@dataclass(frozen=True)
class UNet:
    """The `unet_128`, `unet_256` and the like of the same code, each level inside of the one around it."""

    def recognise(self, shapes: Shapes) -> Generator | None:
        """See `Layout`."""
        inner = [name for name in shapes if re.fullmatch(r"model\.model(\.[13]\.model)*\.1\.weight", name)]
        halvings, width = max((name.count("model") for name in inner), default=0) - 1, width_of(shapes, "model.model.0")
        norm = norm_of(shapes, "model.model.1.model.1", "model.model.1.model.2")
        if norm is None or width is None or halvings < FEWEST_LEVELS:
            return None
        spec = {
            "name": "unet",
            "width": width,
            "halvings": halvings,
            "norm": norm,
        }
        origin = f"the U-Net with {halvings} halvings of the pix2pix code"
        return Generator(origin, spec, _unet_names(halvings), {}, "model.model.0.bias" in shapes)


def _unet_names(halvings: int) -> dict[str, str]:
    """Our modules -> theirs; the first is the one that sees the image, the last the one that gives it."""
    names, place, innermost = {"downs.0.conv": "model.model.0"}, "model.model.1.model", halvings - 1
    for depth in range(1, innermost):
        names |= {f"downs.{depth}.conv": f"{place}.1", f"downs.{depth}.norm": f"{place}.2"}
        names |= {f"ups.{depth - 1}.conv": f"{place}.5", f"ups.{depth - 1}.norm": f"{place}.6"}
        place += ".3.model"
    names |= {f"downs.{innermost}.conv": f"{place}.1"}
    names |= {f"ups.{innermost - 1}.conv": f"{place}.3", f"ups.{innermost - 1}.norm": f"{place}.4"}
    return names | {"head.conv": "model.model.3"}


LAYOUTS: Sequence[Layout] = (ResNet(), UNet())

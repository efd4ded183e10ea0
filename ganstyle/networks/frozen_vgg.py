"""The VGG that a discriminator looks through: found, checked, and held so that nothing trains or saves it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganstyle.base.draws import stream_seed
from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import LAYERS, Vgg
from ganstyle.networks.vgg_files import FEATURES, Features, first_there
from ganstyle.networks.vgg_layouts import LIGHT_ENTRANCE, Layout
from ganstyle.networks.weight_files import check_published, download, hub_file, read_weights, weights_digest

AUTO = "auto"
PADDING = "replicate"  # the border repeated: zeros are in no picture
# The images that feature maps are measured on: blobs of so many a side, in so many pixels.
MEASURED_IMAGES, MEASURED_BLOBS, MEASURED_PX = 8, 6, 64


class NoWeights(UserError):
    """No weights are there, and none to be had; nobody asked for certain ones."""


@dataclass(frozen=True)
class FrozenVgg:
    """A VGG down to one layer, on the CPU.

    Args:
        vgg: its tensors are buffers that are in no state dict.
        digest: of its weights.
        magnitudes: the root mean square of each of its maps on fixed images, rounded to a power of two.
    """

    vgg: Vgg
    digest: str
    magnitudes: Mapping[str, float]


def frozen_vgg(weights: str, deepest: str, pooling: str = "max") -> FrozenVgg:
    """A VGG of one's own, on torch's default device.

    On the meta device, where networks are built to be counted, published weights need not be there.

    Args:
        weights: `auto`, a name of FEATURES or the path of a file.
        deepest: the layer behind which nothing is needed.
        pooling: a name in POOLINGS.

    Raises:
        UserError: no such weights, or a file of something else.
    """
    device = torch.get_default_device()
    with torch.device("cpu"):
        blank = device.type == "meta" and not _is_there(weights)
        held = (_blank if blank else _read)(weights, deepest, pooling)
    return FrozenVgg(copy.deepcopy(held.vgg).to(device), held.digest, held.magnitudes)


def settled_weights(weights: str) -> str:
    """What `weights` means on this machine: `auto` becomes the name of those that are there or can be fetched.

    Raises:
        NoWeights: `auto`, and there are none.
        UserError: certain weights were asked for, and they are not there or not a VGG.
    """
    name = first_there() if weights == AUTO else weights
    try:
        file = _file(name)
    except UserError as error:
        raise NoWeights(str(error)) if weights == AUTO else error from error
    _weights_of(name, file)
    return name if name in FEATURES else str(file.resolve())


def _is_there(weights: str) -> bool:
    if weights == AUTO:
        return hub_file(FEATURES[first_there()].file).is_file()
    return weights not in FEATURES or hub_file(FEATURES[weights].file).is_file()


def _file(weights: str) -> Path:
    """The file of these weights, fetched where it is a published one that is not there."""
    features = FEATURES.get(first_there() if weights == AUTO else weights)
    if features is None:
        return Path(weights).expanduser()
    path = hub_file(features.file)
    if not path.is_file():
        advice = f"put {features.url} at {path}, or give the path of a VGG as weights"
        download(features.url, path, features.digest, advice)
    return path


def _read(weights: str, deepest: str, pooling: str) -> FrozenVgg:
    file = _file(weights)
    found = file.stat() if file.is_file() else None
    # A step's networks are built several times over, and some of these files have half a gigabyte.
    return _read_once(weights, deepest, pooling, file, (found.st_mtime_ns, found.st_size) if found else (0, 0))


@lru_cache(maxsize=1)
def _read_once(weights: str, deepest: str, pooling: str, file: Path, _: tuple[int, int]) -> FrozenVgg:
    layout, tensors = _weights_of(weights, file)
    vgg = _down_to(deepest, pooling, layout, tensors)
    digest = weights_digest((name, tensor) for name, tensor in vgg.named_buffers())
    return FrozenVgg(vgg, digest, _magnitudes(vgg))


def _weights_of(weights: str, file: Path) -> tuple[Layout, Mapping[str, Tensor]]:
    """The tensors of a file and the layout that they are in."""
    features = FEATURES.get(weights)
    if features is not None:
        check_published(file, features.digest)
    tensors = read_weights(file)
    candidates = [features] if features is not None else FEATURES.values()
    layouts = [layout for each in candidates for layout in each.layouts if layout.fits(tensors)]
    if not layouts:
        raise UserError(
            f"{file}: its tensors (the first is '{next(iter(tensors), 'none')}') are not those of a VGG; expected "
            f"{AUTO}, one of {', '.join(FEATURES)}, or the path of such a file"
        )
    return layouts[0], tensors


def _down_to(deepest: str, pooling: str, layout: Layout, tensors: Mapping[str, Tensor]) -> Vgg:
    if deepest not in layout.layers:
        raise UserError(f"{layout.name} has no layer {deepest}; it has {', '.join(layout.layers)}")
    needed = {*layout.keys[: layout.layers.index(deepest) + 1], LIGHT_ENTRANCE}
    own = {name: each for name, each in tensors.items() if name.rpartition(".")[0] in needed}
    return as_buffers(Vgg(layout, own, pooling=pooling, padding=PADDING))


def _blank(weights: str, deepest: str, pooling: str) -> FrozenVgg:
    """A VGG of the right shapes, for the meta device."""
    features: Features = FEATURES[first_there() if weights == AUTO else weights]
    layout = features.layouts[0]
    shapes = layout.shapes(layout.layers[-1]) | {LIGHT_ENTRANCE: (3, 3, 1, 1)}
    tensors = {f"{key}.weight": torch.zeros(shape) for key, shape in shapes.items()}
    tensors |= {f"{key}.bias": torch.zeros(shape[0]) for key, shape in shapes.items()}
    return FrozenVgg(_down_to(deepest, pooling, layout, tensors), "", dict.fromkeys(LAYERS, 1.0))


def as_buffers(vgg: Vgg) -> Vgg:
    """The same network, its parameters turned into buffers: nothing optimises, saves, averages or counts them.

    They still move with the module, and gradients flow through them to the images.
    """
    for part in vgg.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach(), persistent=False)
    return vgg


def _magnitudes(vgg: nn.Module) -> dict[str, float]:
    """The root mean square of every map on fixed soft blobs of colour.

    A power of two: it is the same on every machine, however its sums are rounded, and dividing by it costs no digit.
    """
    stream = np.random.Generator(np.random.PCG64(stream_seed("feature magnitudes")))
    drawn = stream.random((MEASURED_IMAGES, 3, MEASURED_BLOBS, MEASURED_BLOBS)) * 2 - 1
    images = F.interpolate(torch.from_numpy(drawn.astype(np.float32)), (MEASURED_PX, MEASURED_PX), mode="bilinear")
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        maps = vgg(images, list(vgg.get_submodule("convolutions")._modules))
    squares = {layer: float(each.double().square().mean()) for layer, each in maps.items()}
    return {layer: 2.0 ** round(np.log2(square) / 2) if square > 0 else 1.0 for layer, square in squares.items()}

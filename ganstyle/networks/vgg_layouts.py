"""How VGGs are stored in files, and what each expects of images and does at borders and between blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red, 0 to 255
LIGHT_ENTRANCE = "conv0"

# The 1x1 convolution that takes RGB in [0, 1] to what a network expects: its weight (3, 3) and its bias (3,).
Entrance = Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]


def imagenet(_: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """As torchvision's networks were trained: the mean taken off, by the deviation."""
    deviation = torch.tensor(IMAGENET_DEVIATION, dtype=torch.float64)
    return torch.diag(1 / deviation), -torch.tensor(IMAGENET_MEAN, dtype=torch.float64) / deviation


def caffe(_: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """As the original networks were trained: BGR, 0 to 255, the mean taken off."""
    return 255 * torch.eye(3, dtype=torch.float64).flip(0), -torch.tensor(CAFFE_MEAN, dtype=torch.float64)


def light(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The light network's own first convolution."""
    return weights[f"{LIGHT_ENTRANCE}.weight"].double()[:, :, 0, 0], weights[f"{LIGHT_ENTRANCE}.bias"].double()


def _places(counts: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Block and number of each convolution, both counted from 1."""
    for block, count in enumerate(counts, start=1):
        for number in range(1, count + 1):
            yield block, number


def _torchvision_keys(counts: tuple[int, ...]) -> tuple[str, ...]:
    """Every convolution and its ReLU take a number, and every pooling."""
    keys, index = [], 0
    for count in counts:
        keys += [f"features.{index + 2 * each}" for each in range(count)]
        index += 2 * count + 1
    return tuple(keys)


@dataclass(frozen=True)
class Layout:
    """How a VGG is stored, and in what its arithmetic differs.

    Args:
        name: what people call it.
        convolutions: how many each block has.
        keys: the name of each convolution in the file, in order.
        widths: the channels of each block.
        entrance: what it expects of images.
        padding: how a convolution's input is padded: zeros or reflect.
        ceil: whether pooling rounds sizes up.
    """

    name: str
    convolutions: tuple[int, ...]
    keys: tuple[str, ...]
    widths: tuple[int, ...]
    entrance: Entrance
    padding: str
    ceil: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all maps, `relu1_1` first."""
        return tuple(f"relu{block}_{number}" for block, number in _places(self.convolutions))

    @property
    def minimum_px(self) -> int:
        """The smallest side whose map at relu5_1 can still be made, with the layout's own padding."""
        return 17 if self.ceil else 16  # four poolings that round up leave the two pixels that reflection needs

    def shapes(self, deepest: str = "relu5_1") -> dict[str, tuple[int, ...]]:
        """The shape of each convolution's weight up to a layer, by its key."""
        outputs = [self.widths[block - 1] for block, _ in _places(self.convolutions)]
        inputs = [3, *outputs[:-1]]
        shapes = {key: (o, i, 3, 3) for key, o, i in zip(self.keys, outputs, inputs, strict=True)}
        return dict(list(shapes.items())[: self.layers.index(deepest) + 1])

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether a state dict holds all convolutions up to relu5_1 in the right shapes."""
        if self.entrance is light and not _has_light_entrance(weights):
            return False
        return "relu5_1" in self.layers_in(weights)

    def layers_in(self, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """The layers that a file can give: up to its first convolution that is missing or of another shape."""
        shapes = self.shapes(self.layers[-1]).items()
        there = takewhile(lambda each: _has_convolution(weights, *each), shapes)
        return self.layers[: len(list(there))]


def _has_convolution(weights: Mapping[str, Tensor], key: str, shape: tuple[int, ...]) -> bool:
    weight, bias = weights.get(f"{key}.weight"), weights.get(f"{key}.bias")
    return weight is not None and bias is not None and tuple(weight.shape) == shape and tuple(bias.shape) == shape[:1]


def _has_light_entrance(weights: Mapping[str, Tensor]) -> bool:
    weight = weights.get(f"{LIGHT_ENTRANCE}.weight")
    return weight is not None and tuple(weight.shape) == (3, 3, 1, 1) and f"{LIGHT_ENTRANCE}.bias" in weights


def _full(name: str, counts: tuple[int, ...], entrance: Entrance, keys: tuple[str, ...]) -> Layout:
    return Layout(name, counts, keys, (64, 128, 256, 512, 512), entrance, padding="zeros", ceil=False)


def _dumped_keys(counts: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the dumps that were made of the original networks."""
    return tuple(f"conv{block}_{number}" for block, number in _places(counts))


VGG19, VGG16, TO_RELU5_1 = (2, 2, 4, 4, 4), (2, 2, 3, 3, 3), (2, 2, 4, 4, 1)

TORCHVISION = _full("VGG-19", VGG19, imagenet, _torchvision_keys(VGG19))
TORCHVISION_16 = _full("VGG-16", VGG16, imagenet, _torchvision_keys(VGG16))
CAFFE = _full("Caffe VGG-19", VGG19, caffe, _torchvision_keys(VGG19))
CAFFE_16 = _full("Caffe VGG-16", VGG16, caffe, _torchvision_keys(VGG16))
DUMPED = _full("Caffe VGG-19", VGG19, caffe, _dumped_keys(VGG19))
DUMPED_16 = _full("Caffe VGG-16", VGG16, caffe, _dumped_keys(VGG16))
LIGHT = Layout(
    "light VGG-19",
    TO_RELU5_1,
    tuple(f"conv{block}{number}" for block, number in _places(TO_RELU5_1)),
    (16, 32, 64, 128, 128),
    light,
    padding="reflect",
    ceil=True,
)


def _max(maps: Tensor, ceil: bool) -> Tensor:
    return F.max_pool2d(maps, 2, ceil_mode=ceil)


def _average(maps: Tensor, ceil: bool) -> Tensor:
    return F.avg_pool2d(maps, 2, ceil_mode=ceil, count_include_pad=False)


def _l2(maps: Tensor, ceil: bool) -> Tensor:
    # The root's slope at zero is infinite, and most of a map after a ReLU is zero.
    return (_average(maps.square(), ceil) + 1e-8).sqrt()


@dataclass(frozen=True)
class Pooling:
    """How four values become one.

    Args:
        pool: maps, and whether sizes are rounded up, to maps of half the size.
        gain: by what the result is multiplied, so that deeper maps keep about the magnitude that maximum gives them.
        held_bytes: kept for the gradient for each value that it gives.
    """

    pool: Callable[[Tensor, bool], Tensor]
    gain: float
    held_bytes: int


# Gains: the root mean square of what the maximum gives by that of the other, the geometric mean over the four poolings
# of the light VGG-19 on six photos and paintings (1.17, 1.19, 1.16, 1.44 and 1.14, 1.16, 1.15, 1.34).
# Held: where the maximum was, in 64 bits; for l2 four squares and their root. What they give is held by nobody.
POOLINGS = {
    "max": Pooling(_max, 1.0, held_bytes=8),
    "average": Pooling(_average, 1.23, held_bytes=0),
    "l2": Pooling(_l2, 1.19, held_bytes=4 * 4 + 4),
}

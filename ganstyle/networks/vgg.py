"""VGG-19 up to relu5_1, in its usual layout and in a light one; its feature maps tell style and content."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganstyle.base.errors import UserError
from ganstyle.networks.weight_files import read_weights

CONVOLUTIONS = (2, 2, 4, 4, 1)  # in each block, up to relu5_1
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def _places() -> Iterator[tuple[int, int]]:
    """Block and number of each convolution, both counted from 1."""
    for block, count in enumerate(CONVOLUTIONS, start=1):
        for number in range(1, count + 1):
            yield block, number


LAYERS = tuple(f"relu{block}_{number}" for block, number in _places())


@dataclass(frozen=True)
class Layout:
    """How a VGG-19 is stored, and in what its arithmetic differs.

    Args:
        name: what people call it.
        keys: the name of each convolution in the file, in order.
        widths: the channels of each block.
        padding: how a convolution's input is padded: zeros or reflect.
        ceil: whether pooling rounds sizes up.
        minimum_px: the smallest side whose deepest map can still be made.
    """

    name: str
    keys: tuple[str, ...]
    widths: tuple[int, ...]
    padding: str
    ceil: bool
    minimum_px: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each convolution's weight, by its key."""
        outputs = [self.widths[block - 1] for block, _ in _places()]
        inputs = [3, *outputs[:-1]]
        return {key: (o, i, 3, 3) for key, o, i in zip(self.keys, outputs, inputs, strict=True)}

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether a state dict holds all convolutions in the right shapes."""
        return all(
            f"{key}.weight" in weights and tuple(weights[f"{key}.weight"].shape) == shape and f"{key}.bias" in weights
            for key, shape in self.shapes().items()
        )


TORCHVISION = Layout(
    "VGG-19",
    tuple(f"features.{index}" for index in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)),
    (64, 128, 256, 512, 512),
    padding="zeros",
    ceil=False,
    minimum_px=16,
)
LIGHT = Layout(
    "light VGG-19",
    tuple(f"conv{block}{number}" for block, number in _places()),
    (16, 32, 64, 128, 128),
    padding="reflect",
    ceil=True,
    minimum_px=17,  # four poolings that round up leave the two pixels that reflection needs
)
LIGHT_ENTRANCE = "conv0"


class Vgg(nn.Module):
    """Feature maps of a frozen VGG-19: images (N, 3, H, W) RGB in [-1, 1] to maps by layer name.

    Each layer is the map after a convolution's ReLU; `relu3_1` has been halved twice. The network brings the images
    to its own range by itself. Gradients reach the images, never the weights.

    Source: Simonyan and Zisserman 2015; the light one: Wang et al. 2020, "Collaborative Distillation for
    Ultra-Resolution Universal Style Transfer" (encoder without its auxiliary heads).

    Args:
        layout: how the weights are stored.
        weights: they, in that layout; others in it are ignored.
    """

    def __init__(self, layout: Layout, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.name, self.minimum_px, self._ceil = layout.name, layout.minimum_px, layout.ceil
        self.entrance = _entrance(layout, weights)
        self.convolutions = nn.ModuleDict()
        for layer, key in zip(LAYERS, layout.keys, strict=True):
            weight, bias = weights[f"{key}.weight"], weights[f"{key}.bias"]
            self.convolutions[layer] = _convolution(weight, bias, padding=layout.padding)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, layers: Collection[str] = STYLE_LAYERS) -> dict[str, Tensor]:
        """The maps of the asked layers, in the network's order; nothing deeper than the deepest is computed.

        Raises:
            ValueError: a layer of another name, other than three channels, or a side under `minimum_px`.
        """
        self._check(images, layers)
        deepest = max(LAYERS.index(layer) for layer in layers)
        found = {}
        maps = self.entrance(images)
        for layer in LAYERS[: deepest + 1]:
            if layer.endswith("_1") and layer != LAYERS[0]:
                maps = F.max_pool2d(maps, 2, ceil_mode=self._ceil)
            maps = F.relu(self.convolutions[layer](maps))
            if layer in layers:
                found[layer] = maps
        return found

    def _check(self, images: Tensor, layers: Collection[str]) -> None:
        unknown = [layer for layer in layers if layer not in LAYERS]
        if unknown or not layers:
            raise ValueError(f"layers {list(layers)}; expected some of {', '.join(LAYERS)}")
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < self.minimum_px:
            raise ValueError(
                f"images of shape {shape}; expected (N, 3, H, W) with sides of {self.minimum_px} px or more"
            )


class VggStatistics(nn.Module):
    """Describes images by a VGG-19: (N, 3, H, W) in [-1, 1] to the mean and deviation of each channel of five maps.

    (N, 2944) for the usual one, (N, 736) for the light one, float32; the layers are relu1_1 to relu5_1. It tells how
    much of each kind of stroke there is and how unevenly it is spread, not where.
    """

    def __init__(self, vgg: Vgg) -> None:
        super().__init__()
        self.vgg = vgg

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe each image by one row; computed in float32 whatever the images' dtype."""
        features = []
        with torch.autocast(images.device.type, enabled=False):
            for maps in self.vgg(images.float()).values():
                deviation, mean = torch.std_mean(maps, dim=(2, 3), correction=0)
                features += [mean, deviation]
        return torch.cat(features, dim=1)


def vgg_layout(weights: Mapping[str, Tensor]) -> Layout | None:
    """The layout that a state dict is in; None when it is no VGG-19 of a known one."""
    if TORCHVISION.fits(weights):
        return TORCHVISION
    entrance = weights.get(f"{LIGHT_ENTRANCE}.weight")
    has_entrance = entrance is not None and tuple(entrance.shape) == (3, 3, 1, 1)
    return LIGHT if has_entrance and f"{LIGHT_ENTRANCE}.bias" in weights and LIGHT.fits(weights) else None


def load_vgg(path: Path) -> Vgg:
    """A VGG-19 from torchvision's file or from the light one's, told apart by the names of their tensors.

    Raises:
        UserError: the file cannot be read or holds another network.
    """
    weights = read_weights(path)
    layout = vgg_layout(weights)
    if layout is None:
        raise UserError(
            f"{path}: not a VGG-19 (its first tensor is '{next(iter(weights), 'none')}'); "
            "expected torchvision's vgg19 or the light one of Collaborative Distillation"
        )
    return Vgg(layout, weights)


def _entrance(layout: Layout, weights: Mapping[str, Tensor]) -> nn.Conv2d:
    """A 1x1 convolution that takes images in [-1, 1] to what the first convolution expects."""
    if layout is LIGHT:
        weight = weights[f"{LIGHT_ENTRANCE}.weight"].double()
        bias = weights[f"{LIGHT_ENTRANCE}.bias"].double()
    else:
        deviation = torch.tensor(IMAGENET_DEVIATION, dtype=torch.float64)
        weight = torch.diag(1 / deviation)[:, :, None, None]
        bias = -torch.tensor(IMAGENET_MEAN, dtype=torch.float64) / deviation
    # Both expect images in [0, 1]: weight * (image + 1) / 2 + bias.
    return _convolution(weight / 2, bias + weight.sum(dim=(1, 2, 3)) / 2)


def _convolution(weight: Tensor, bias: Tensor, *, padding: str = "zeros") -> nn.Conv2d:
    """A convolution that keeps the size, with these weights, in float32."""
    outputs, inputs, size, _ = weight.shape
    # Without initialisation: building a network of given weights draws no random numbers.
    made = nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2, padding_mode=padding)
    made.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return made

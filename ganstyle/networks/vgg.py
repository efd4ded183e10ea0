"""Feature maps of a VGG tell style and content: VGG-19 and VGG-16 in their usual files, and a light VGG-19."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.networks.vgg_layouts import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    LIGHT,
    POOLINGS,
    TORCHVISION,
    Layout,
)
from ganstyle.networks.weight_files import read_weights

__all__ = ["IMAGENET_DEVIATION", "IMAGENET_MEAN", "LIGHT", "TORCHVISION", "Layout"]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LAYERS = LIGHT.layers  # those that every VGG-19 has
OWN = "own"  # the padding of the layout
# How torch calls ways of padding; the least that each needs of a side.
PADDINGS = {"zeros": 1, "replicate": 1, "reflect": 2}


class Vgg(nn.Module):
    """Feature maps of a frozen VGG: images (N, 3, H, W) RGB in [-1, 1] to maps by layer name.

    Each layer is the map after a convolution's ReLU; `relu3_1` has been halved twice. The network brings the images
    to its own range by itself. Gradients reach the images, never the weights.

    Source: Simonyan and Zisserman 2015; the light one: Wang et al. 2020, "Collaborative Distillation for
    Ultra-Resolution Universal Style Transfer" (encoder without its auxiliary heads).

    Args:
        layout: how the weights are stored.
        weights: they, in that layout; others in it are ignored, and layers behind the first missing one not there.
        pooling: a name in POOLINGS.
        padding: of each convolution's input: `own`, as it was trained, or one of PADDINGS. Replicating the border
            keeps zeros, which no picture has, out of the statistics.
    """

    note = ""  # a line for people where it was a guess what the weights are

    def __init__(
        self, layout: Layout, weights: Mapping[str, Tensor], *, pooling: str = "max", padding: str = OWN
    ) -> None:
        super().__init__()
        padding = layout.padding if padding == OWN else padding
        self.name, self.layers, self._ceil = layout.name, layout.layers_in(weights), layout.ceil
        self._pooling = pick(POOLINGS, "pooling", pooling)
        self.kind = f"{layout.name}, {pooling} pooling, {padding} at borders"  # what the weights alone do not tell
        # Four poolings before relu5_1; what is left of a side there must be enough to be padded.
        least = pick(PADDINGS, "padding", padding)
        self.minimum_px = 16 * (least - 1) + 1 if layout.ceil else 16 * least
        self.entrance = _entrance(layout, weights)
        self.convolutions = nn.ModuleDict()
        for layer, key in zip(self.layers, layout.keys, strict=False):
            weight, bias = weights[f"{key}.weight"], weights[f"{key}.bias"]
            self.convolutions[layer] = _convolution(weight, bias, padding=padding)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, layers: Collection[str] = STYLE_LAYERS) -> dict[str, Tensor]:
        """The maps of the asked layers, in the network's order; nothing deeper than the deepest is computed.

        Raises:
            ValueError: a layer of another name, other than three channels, or a side under `minimum_px`.
        """
        self._check(images, layers)
        deepest = max(self.layers.index(layer) for layer in layers)
        found = {}
        maps = self.entrance(images)
        for layer in self.layers[: deepest + 1]:
            if layer.endswith("_1") and layer != self.layers[0]:
                maps = self._pooled(maps)
            maps = F.relu(self.convolutions[layer](maps))
            if layer in layers:
                found[layer] = maps
        return found

    def stride_px(self, layer: str) -> int:
        """Pixels of an image for each value of a layer's map, along a side."""
        return 2 ** (int(layer[len("relu")]) - 1)

    def reach_px(self, layer: str) -> int:
        """How far a value sees beyond its own pixels, to each side."""
        before = self.layers[: self.layers.index(layer) + 1]
        return sum(self.stride_px(each) for each in before)  # each convolution sees one value further, poolings none

    def bytes_per_pixel(self, deepest: str) -> float:
        """What is held for the gradient by images, for each of their pixels, when maps down to a layer are made.

        The images; of each convolution its padded input and what its ReLU gave; and what each pooling keeps. The frame
        that padding adds is left out: a few percent of pictures of 256 px.
        """
        total, inputs = 3 * 4.0, 3
        for layer in self.layers[: self.layers.index(deepest) + 1]:
            outputs, area = self.get_parameter(f"convolutions.{layer}.weight").shape[0], self.stride_px(layer) ** 2
            pooled = self._pooling.held_bytes * inputs if layer.endswith("_1") and layer != self.layers[0] else 0
            total += (4 * (inputs + outputs) + pooled) / area
            inputs = outputs
        return total

    def _pooled(self, maps: Tensor) -> Tensor:
        pooled = self._pooling.pool(maps, self._ceil)
        return pooled if self._pooling.gain == 1 else pooled * self._pooling.gain

    def _check(self, images: Tensor, layers: Collection[str]) -> None:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown or not layers:
            raise ValueError(f"layers {list(layers)}; expected some of {', '.join(self.layers)}")
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < self.minimum_px:
            raise ValueError(
                f"images of shape {shape}; expected (N, 3, H, W) with sides of {self.minimum_px} px or more"
            )


class RepeatingConv2d(nn.Conv2d):
    """A 3x3 convolution of maps whose border is repeated, by slices.

    Compiled, PyTorch's own replication has a backward pass that fails on channels-last maps (2.15).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) to maps of the same size."""
        maps = torch.cat([maps[:, :, :1], maps, maps[:, :, -1:]], dim=2)
        maps = torch.cat([maps[..., :1], maps, maps[..., -1:]], dim=3)
        return F.conv2d(maps, self.weight, self.bias)


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
    """The layout of a VGG-19 that a state dict is in; None when it is none of a known one."""
    return next((layout for layout in (TORCHVISION, LIGHT) if layout.fits(weights)), None)


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
    weight, bias = layout.entrance(weights)
    # They expect images in [0, 1]: weight * (image + 1) / 2 + bias.
    return _convolution(weight[:, :, None, None] / 2, bias + weight.sum(dim=1) / 2)


def _convolution(weight: Tensor, bias: Tensor, *, padding: str = "zeros") -> nn.Conv2d:
    """A convolution that keeps the size, with these weights, in float32."""
    outputs, inputs, size, _ = weight.shape
    # Without initialisation: building a network of given weights draws no random numbers.
    kind = RepeatingConv2d if padding == "replicate" else nn.Conv2d
    made = nn.utils.skip_init(kind, inputs, outputs, size, padding=size // 2, padding_mode=padding)
    made.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return made

"""The pieces that generators and discriminators are made of: norms, resampling stages and residual blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.dropout import SampleDropout

NormName = Literal["instance", "batch", "none"]
UpsamplingName = Literal["transposed", "resize", "antialiased", "blurred_down", "blurred_up"]
IMAGE_CHANNELS = 3


def require_rgb(images: Tensor) -> None:
    """Refuse anything but a batch of RGB images, (N, 3, H, W)."""
    if images.dim() != 4 or images.shape[1] != IMAGE_CHANNELS:
        raise UserError(f"got a tensor of shape {tuple(images.shape)}, expected (N, 3, H, W): convert images to RGB")


def normalise_by_moments(images: Tensor, eps: float) -> Tensor:
    """Subtract from each channel of each image its mean, and divide by its deviation; (N, C, H, W) of any size.

    The formula of `InstanceNorm` in operations that a compiler fuses with their neighbours, in any memory layout;
    eager, a group norm is faster. The variance is the biased one, taken around the mean.
    """
    variance, mean = torch.var_mean(images, dim=(2, 3), correction=0, keepdim=True)
    return (images - mean) * torch.rsqrt(variance + eps)


class InstanceNorm(nn.Module):
    """Normalises every channel of every image by its own mean and variance; no parameters, no running statistics.

    Takes and gives (N, C, H, W) of any size, 1x1 and flat images too (both become zeros), the same in train and eval
    mode. Statistics are float32, or wider where the input is; the result has the input's dtype, under autocast too.
    Source: Ulyanov et al. 2016, equation 3.
    """

    has_shift: ClassVar[bool] = False

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps

    def forward(self, images: Tensor) -> Tensor:
        """The normalised images, in their shape and dtype."""
        # A group norm with more groups than channels or fewer would mix channels in silence.
        assert images.shape[1] == self.channels, f"{images.shape[1]} channels in a norm of {self.channels}"
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return normalise_by_moments(wide, self.eps).to(images.dtype)
        # One group a channel, as torch's own instance norm refuses 1x1. Made contiguous, because the CPU kernel for
        # channels-last takes E[x^2] - E[x]^2 and loses all digits where the mean is large.
        return torch.group_norm(wide.contiguous(), self.channels, eps=self.eps).to(images.dtype)

    def extra_repr(self) -> str:
        """What `print` shows inside the brackets."""
        return f"{self.channels}, eps={self.eps}"


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics keep the dtype of its parameters (float32 under mixed precision)."""

    has_shift: ClassVar[bool] = True

    def forward(self, images: Tensor) -> Tensor:
        """The normalised images, in their shape and dtype."""
        return super().forward(images.to(self.weight.dtype)).to(images.dtype)


class NoNorm(nn.Identity):
    """Leaves the images as they are."""

    has_shift: ClassVar[bool] = False

    def __init__(self, channels: int) -> None:
        super().__init__()


NORMS: dict[str, type[InstanceNorm] | type[BatchNorm] | type[NoNorm]] = {
    "instance": InstanceNorm,
    "batch": BatchNorm,
    "none": NoNorm,
}


def normalisation(name: NormName, channels: int) -> nn.Module:
    """The norm of that name for (N, channels, H, W)."""
    return NORMS[name](channels)


def needs_bias(norm: NormName) -> bool:
    """Whether a convolution before this norm has a bias: all but a norm that brings its own shift."""
    return not NORMS[norm].has_shift


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers run in order, each under its own name (and so in the state dict)."""
    return nn.Sequential(OrderedDict(layers))


class BlurDown(nn.Module):
    """Halves the size after the blur [1, 2, 1] x [1, 2, 1] / 16 on a reflect-padded input (Zhang 2019).

    (N, C, H, W) with H and W of at least 2 becomes (N, C, ceil(H / 2), ceil(W / 2)).
    """

    def forward(self, images: Tensor) -> Tensor:
        """The blurred images at half the size."""
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        # [1, 1] twice is [1, 2, 1]: no weights to keep, to move between devices or to leave out of the state dict.
        return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=2)


class BlurUp(nn.Module):
    """Doubles the size: zeros in between, then the blur [1, 3, 3, 1] x [1, 3, 3, 1] / 16 on a replicate-padded input.

    Source: Zhang 2019. For a factor of two this is bilinear interpolation between pixel centres, which is faster.
    """

    def forward(self, images: Tensor) -> Tensor:
        """The images at double the size."""
        return F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def strided_down(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    """Halve the size by a convolution of stride 2, zero-padded as the authors do."""
    return named(
        conv=nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=needs_bias(norm)),
        norm=normalisation(norm, out_channels),
        relu=nn.ReLU(),
    )


def blurred_down(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    """Halve the size by a convolution of stride 1, then a blur of stride 2."""
    return named(
        conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=needs_bias(norm)),
        norm=normalisation(norm, out_channels),
        relu=nn.ReLU(),
        blur=BlurDown(),
    )


def transposed_up(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    """Double the size by a transposed convolution."""
    bias = needs_bias(norm)
    return named(
        conv=nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias),
        norm=normalisation(norm, out_channels),
        relu=nn.ReLU(),
    )


def resized_up(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    """Double the size by repeating pixels, then a reflect-padded convolution; leaves no checkerboard (Odena 2016)."""
    return named(
        resize=nn.Upsample(scale_factor=2.0, mode="nearest"),
        conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=needs_bias(norm)),
        norm=normalisation(norm, out_channels),
        relu=nn.ReLU(),
    )


def blurred_up(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    """Double the size by a blurred enlargement, then a convolution."""
    return named(
        blur=BlurUp(),
        conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=needs_bias(norm)),
        norm=normalisation(norm, out_channels),
        relu=nn.ReLU(),
    )


class Resampling(NamedTuple):
    """How a generator halves and doubles its size; both take (in_channels, out_channels, norm)."""

    down: Callable[[int, int, NormName], nn.Sequential]
    up: Callable[[int, int, NormName], nn.Sequential]


UPSAMPLINGS: dict[str, Resampling] = {
    "transposed": Resampling(down=strided_down, up=transposed_up),
    "resize": Resampling(down=strided_down, up=resized_up),
    "antialiased": Resampling(down=blurred_down, up=blurred_up),
    # One half of it each, as CUT's code has them for `--no_antialias_up` and for `--no_antialias`.
    "blurred_down": Resampling(down=blurred_down, up=transposed_up),
    "blurred_up": Resampling(down=strided_down, up=blurred_up),
}


class ResidualBlock(nn.Module):
    """Two reflect-padded 3x3 convolutions whose result is added to their input; (N, C, H, W) of at least 2x2.

    Dropout acts between the two, in train mode only. Source: He et al. 2016, without the last ReLU as in
    Johnson et al. 2016.
    """

    def __init__(self, channels: int, norm: NormName, dropout: float) -> None:
        super().__init__()
        self.first = self._half(channels, norm)
        self.relu = nn.ReLU()
        self.dropout = SampleDropout(dropout)
        self.second = self._half(channels, norm)

    @staticmethod
    def _half(channels: int, norm: NormName) -> nn.Sequential:
        return named(
            conv=nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=needs_bias(norm)),
            norm=normalisation(norm, channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The input plus what the two convolutions make of it."""
        residual: Tensor = self.second(self.dropout(self.relu(self.first(images))))
        return images + residual

"""Differentiable augmentation: a discriminator never sees an image twice alike, and cannot learn a small set by heart.

Source: Zhao, Liu, Lin, Zhu and Han 2020, "Differentiable Augmentation for Data-Efficient GAN Training"
(arXiv:2006.10738), section 3 and the three transforms of its experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ganstyle.networks.blocks import require_rgb
from ganstyle.networks.keyed import BITS, KeyedLayer, random_bits

USED_BITS = 24  # what float32 holds exactly
TRANSLATED = 1 / 8  # of a side, at most, to each direction
CUT_OUT = 1 / 2  # of a side
DRAWS = 7  # numbers for each image: three for colours, two for each of the others

# Images (N, 3, H, W) and integers in [0, 2^24), (N, DRAWS) -> images.
Transform = Callable[[Tensor, Tensor], Tensor]


def _uniform(draws: Tensor) -> Tensor:
    """Numbers in [0, 1), (N, 1, 1, 1) float32."""
    return (draws.float() / 2**USED_BITS)[:, None, None, None]


def _whole(draws: Tensor, below: int) -> Tensor:
    """Whole numbers from 0 to `below` - 1, each as likely, (N, 1) int64."""
    return (draws * below >> USED_BITS)[:, None]


def colour(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness shifted by up to 0.5, then saturation times 0 to 2, then contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = (_uniform(draws[:, number]).to(images.dtype) for number in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def translation(images: Tensor, draws: Tensor) -> Tensor:
    """Moved by whole pixels, up to an eighth of each side; what comes in is zero."""
    for dim, number in ((2, 3), (3, 4)):
        side = images.shape[dim]
        most = int(side * TRANSLATED + 0.5)
        source = torch.arange(side, device=images.device) - (_whole(draws[:, number], 2 * most + 1) - most)
        shape = (len(images), 1, side, 1) if dim == 2 else (len(images), 1, 1, side)
        moved = images.gather(dim, source.clamp(0, side - 1).view(shape).expand(images.shape))
        images = moved * ((source >= 0) & (source < side)).view(shape).to(images.dtype)
    return images


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """A rectangle of half of each side is zero; its middle is anywhere in the image, so it may lie partly outside."""
    inside = []
    for dim, number in ((2, 5), (3, 6)):
        side = images.shape[dim]
        length = int(side * CUT_OUT + 0.5)
        # An even length has its middle between two pixels, and one place more.
        start = _whole(draws[:, number], side + 1 - length % 2) - length // 2
        place = torch.arange(side, device=images.device)
        inside.append((place >= start) & (place < start + length))
    kept = ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    return images * kept.to(images.dtype)


TRANSFORMS: dict[str, Transform] = {"colour": colour, "translation": translation, "cutout": cutout}


class DiffAugment(KeyedLayer):
    """Changes each image (N, 3, H, W) at random in train mode, by transforms through which gradients flow.

    What is drawn is what `KeyedLayer` says: real and fake images that go through a network together, or one after the
    other by `first_pass`, are changed independently. Without keys torch's own generator draws.

    Args:
        policy: names of TRANSFORMS, applied in this order.
    """

    def __init__(self, policy: Sequence[str]) -> None:
        super().__init__()
        self.policy = tuple(policy)
        self.first_pass = 0  # of those that come as a call of their own; see `methods.passes`

    def forward(self, images: Tensor) -> Tensor:
        """The images, changed; themselves in eval mode."""
        require_rgb(images)
        if not self.training:
            return images
        draws = self._draw(images)
        for name in self.policy:
            images = TRANSFORMS[name](images, draws)
        return images

    def _draw(self, images: Tensor) -> Tensor:
        if self.keys is None:
            return torch.randint(2**USED_BITS, (len(images), DRAWS), device=images.device)
        # Each bit of a number is a draw of its own, and they are summed: the compiler computes a sum once, where it
        # would hash anew for every pixel what it takes for a cheap formula.
        bits = random_bits(self.keys, (len(images), DRAWS, USED_BITS, 1), self.place, self.first_pass)
        return ((bits.flatten(2) >> (BITS - 1)) << torch.arange(USED_BITS, device=bits.device)).sum(dim=2)

    def extra_repr(self) -> str:
        """What `print` shows inside the brackets."""
        return ", ".join(self.policy)


class Augmented(nn.Module):
    """Another discriminator that sees every image differently each time it is trained; in eval mode it is that one."""

    def __init__(self, discriminator: nn.Module, policy: Sequence[str]) -> None:
        super().__init__()
        self.augment, self.discriminator = DiffAugment(policy), discriminator
        self.minimum_px = discriminator.minimum_px

    def forward(self, images: Tensor) -> Tensor | list[tuple[float, Tensor]]:
        """The scores of the changed images, as the other discriminator gives them."""
        scores: Tensor | list[tuple[float, Tensor]] = self.discriminator(self.augment(images))
        return scores

"""How far an image has gone from a photo's content: its feature maps, their self-similarity, and its smoothness."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganstyle.base.draws import Draws
from ganstyle.losses.moments import LEAST_ENERGY

PLACES = 1024


class ContentLoss(Protocol):
    """What an objective needs of a content loss.

    `additive`: the loss of maps is the sum of the losses of their parts.
    """

    additive: ClassVar[bool]

    def __init__(self, target: Tensor) -> None: ...

    def part(self, rows: slice, columns: slice) -> ContentLoss:
        """The loss of a part of the maps."""

    def __call__(self, maps: Tensor) -> Tensor:
        """A scalar, 0 for the target's maps."""


class FeatureContent(nn.Module):
    """Mean squared difference of feature maps, over the mean square of the target's.

    Source: Gatys et al. 2016, equation 1. Differs from the paper: divided by the target's energy in place of 2.

    Args:
        target: maps (1, C, h, w).
        factor: what the sum of squared differences is multiplied by; made from the target by default.
    """

    additive: ClassVar[bool] = True

    def __init__(self, target: Tensor, factor: Tensor | None = None) -> None:
        super().__init__()
        self.target = target.detach()
        energy = self.target.square().sum().clamp(min=LEAST_ENERGY)
        self.factor = 1 / energy if factor is None else factor

    def part(self, rows: slice, columns: slice) -> FeatureContent:
        """The same loss for a part of the maps; the losses of parts add up to that of the whole."""
        return FeatureContent(self.target[..., rows, columns], self.factor)

    def forward(self, maps: Tensor) -> Tensor:
        """|x - t|^2 / |t|^2; maps of the target's shape."""
        assert maps.shape == self.target.shape, f"maps {tuple(maps.shape)} against {tuple(self.target.shape)}"
        return (maps - self.target).square().sum() * self.factor


class SelfSimilarity(nn.Module):
    """How much the distances between an image's own features, place to place, differ from those of the target's.

    Cosine distances D between sampled places, each column divided by its sum; the absolute differences, summed over
    rows and averaged over columns: 0 to 2. It keeps what goes with what, and leaves colours and strokes free.

    Source: Kolkin et al. 2019, "Style Transfer by Relaxed Optimal Transport and Self-Similarity" (STROTSS), equation 7.
    Differs from the paper: each layer by itself, 1/n in place of 1/n^2, so that the number of places does not matter,
    and the places stay the same.

    Args:
        target: maps (1, C, h, w).
        places: how many are sampled; all, where there are fewer.
        seed: of the sample.
    """

    additive: ClassVar[bool] = False

    def __init__(self, target: Tensor, *, places: int = PLACES, seed: int = 0) -> None:
        super().__init__()
        count = target.shape[2] * target.shape[3]
        drawn = Draws(seed).stream("places of self-similarity").permutation(count)[:places]
        drawn.sort()
        self.places = torch.from_numpy(drawn).to(target.device)
        self.target = self._distances(target.detach())

    def part(self, rows: slice, columns: slice) -> SelfSimilarity:
        """The loss itself: it has no parts."""
        assert rows == columns == slice(0, None), "self-similarity of a part"
        return self

    def forward(self, maps: Tensor) -> Tensor:
        """The loss of maps of the target's size."""
        return (self._distances(maps) - self.target).abs().sum() / len(self.places)

    def _distances(self, maps: Tensor) -> Tensor:
        features = F.normalize(maps.flatten(2)[0][:, self.places], dim=0)
        distances = 1 - features.T @ features
        return distances / distances.sum(dim=0, keepdim=True).clamp(min=torch.finfo(maps.dtype).eps)


CONTENT_LOSSES: dict[str, type[ContentLoss]] = {
    "features": FeatureContent,
    "self-similarity": SelfSimilarity,
}


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down plus across; images (N, 3, H, W).

    Source: Mahendran and Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", section 3.1, with
    beta = 2.
    """
    down, across = images.diff(dim=2), images.diff(dim=3)
    return (down.square().sum() + across.square().sum()) / images.numel()

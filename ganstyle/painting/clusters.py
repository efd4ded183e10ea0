"""What in a photo and in pictures is of one kind: clusters of the features of all of them, as soft masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganstyle.base.draws import Draws
from ganstyle.data.blend import oklab
from ganstyle.data.tensors import to_pixels
from ganstyle.painting.blur import gaussian_blur
from ganstyle.painting.guided import follow_edges
from ganstyle.painting.pyramid import resized

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg

WORKING_PX = 256  # of the longer side: things, not strokes
# How much each kind of feature counts in a distance; each has a variance of one in each picture.
LAYER_WEIGHTS = {"relu3_1": 0.6, "relu4_1": 0.9}
COLOUR_WEIGHT, HEIGHT_WEIGHT = 0.8, 1.0
SMOOTHING_CELLS = 1.5  # the deviation of a Gaussian over the cells of the finest map
MOST_DIMENSIONS = 32
ATTEMPTS, ITERATIONS = 8, 60
SOFTNESS = 0.15  # of shares, in units of the mean squared distance to the nearest centre
EDGE_RADIUS_PX, EDGE_NOISE = 6, 0.05  # at WORKING_PX; of values in [-1, 1]


@dataclass(frozen=True)
class Clusters:
    """Kinds of places.

    Args:
        centres: (K, D), the kinds in feature space.
        shares: for each picture (1, K, H, W) in 0..1, at its size: how much a place is of each kind; they sum to one.
    """

    centres: Tensor
    shares: tuple[Tensor, ...]


@torch.no_grad()
def cluster_jointly(vgg: Vgg, pictures: Sequence[Tensor], *, count: int, seed: int) -> Clusters:
    """K-means over the places of all pictures by their features, colours and height in the picture.

    Each feature is centred and scaled within each picture first: a photo and a painting differ more by how they are
    made than sky and ground do, and would be told apart before anything in them is. So one kind means the same in
    relation to the rest of each picture: what is smooth, bright and above goes with what is so elsewhere.

    Args:
        vgg: tells what places look like.
        pictures: (1, 3, H, W) in [-1, 1], of any sizes.
        count: of clusters.
        seed: of the first centres.
    """
    small = [_small(picture, vgg.minimum_px) for picture in pictures]
    maps = _few_dimensions([_described(vgg, each) for each in small])
    places = [each.flatten(2)[0].T for each in maps]
    centres = _centres(torch.cat(places), count, seed).to(pictures[0].device)
    unit = torch.cat([torch.cdist(each, centres).amin(dim=1) for each in places]).square().mean().clamp(min=1e-6)
    shares = [
        _at_full_size(_soft(each, centres, unit * SOFTNESS), picture, copy)
        for each, picture, copy in zip(maps, pictures, small, strict=True)
    ]
    return Clusters(centres, tuple(shares))


def _small(picture: Tensor, least_px: int) -> Tensor:
    """With WORKING_PX on the longer side, or more where the shorter one would be too small for the network."""
    height, width = picture.shape[2:]
    scale = max(WORKING_PX / max(height, width), 2 * least_px / min(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return resized(picture.float(), size)


def _described(vgg: Vgg, picture: Tensor) -> Tensor:
    """Each cell's features side by side, (1, D, h, w): each kind with its weight's square as variance."""
    found = vgg(picture, tuple(LAYER_WEIGHTS))
    size = next(iter(found.values())).shape[2:]
    kinds = [(weight, _resized(found[layer], size)) for layer, weight in LAYER_WEIGHTS.items()]
    lab = torch.from_numpy(oklab(to_pixels(picture)[0])).permute(2, 0, 1)[None].to(picture)
    height = torch.linspace(-1, 1, size[0], device=picture.device)[None, None, :, None].expand(1, 1, *size)
    kinds += [(COLOUR_WEIGHT, _resized(lab, size)), (HEIGHT_WEIGHT, height)]
    return torch.cat([_scaled(gaussian_blur(maps, SMOOTHING_CELLS), weight) for weight, maps in kinds], dim=1)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", antialias=True, align_corners=False)


def _scaled(maps: Tensor, weight: float) -> Tensor:
    """Centred, each channel with the same variance; channels that do not vary are zero."""
    centred = maps - maps.mean(dim=(2, 3), keepdim=True)
    deviation = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
    # Rounding is no variation: a flat picture's features differ in their last digits.
    varies = deviation > 1e-4 * maps.abs().amax().clamp(min=1e-6)
    return torch.where(varies, centred / deviation, 0) * (weight / maps.shape[1] ** 0.5)


def _few_dimensions(maps: Sequence[Tensor]) -> list[Tensor]:
    """All along their most important common directions, which leaves noise behind and makes distances cheap."""
    covariance = sum(each.flatten(2)[0] @ each.flatten(2)[0].T / each[0, 0].numel() for each in maps)
    assert isinstance(covariance, Tensor)
    # On the CPU in float64, so that every device finds the same directions.
    vectors = torch.linalg.eigh(covariance.cpu().double()).eigenvectors[:, -MOST_DIMENSIONS:].T.to(maps[0])
    return [torch.einsum("dc,nchw->ndhw", vectors, each) for each in maps]


def _centres(places: Tensor, count: int, seed: int) -> Tensor:
    """(count, D): the best of several k-means over (N, D), each from first centres that are far from each other."""
    points = places.cpu().numpy()
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, ITERATIONS, 1e-4)
    best: tuple[float, np.ndarray] | None = None
    for attempt in range(ATTEMPTS):
        labels = _first_labels(points, count, Draws(seed).stream("first centres of regions", attempt))
        error, _, centres = cv2.kmeans(points, count, labels, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)
        if best is None or error < best[0]:
            best = error, centres
    assert best is not None
    return torch.from_numpy(best[1])


def _first_labels(points: np.ndarray, count: int, stream: np.random.Generator) -> np.ndarray:
    """Each point's nearest of centres drawn by k-means++ (Arthur and Vassilvitskii 2007), int32 (N, 1)."""
    distance = np.full(len(points), np.inf, np.float64)
    labels = np.zeros((len(points), 1), np.int32)
    for number in range(count):
        total = distance.sum()
        chances = distance / total if number and total > 0 else None
        centre = points[stream.choice(len(points), p=chances)]
        own = np.square(points - centre).sum(axis=1, dtype=np.float64)
        labels[own < distance] = number
        distance = np.minimum(own, distance)
    return labels


def _soft(maps: Tensor, centres: Tensor, unit: Tensor) -> Tensor:
    """Shares (1, K, h, w) that fall with the squared distance."""
    squared = torch.cdist(maps.flatten(2)[0].T, centres).square()
    return (-squared / (2 * unit)).softmax(dim=1).T.unflatten(1, maps.shape[2:])[None]


def _at_full_size(shares: Tensor, picture: Tensor, small: Tensor) -> Tensor:
    coarse = F.interpolate(shares, small.shape[2:], mode="bilinear", align_corners=False)
    fine = follow_edges(coarse, picture, small, radius_px=EDGE_RADIUS_PX, noise=EDGE_NOISE).clamp(0, 1)
    return fine / fine.sum(dim=1, keepdim=True).clamp(min=1e-6)

"""Which patches of an image are compared: places drawn on the host, the same however samples are spread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ganstyle.data.tensors import send
from ganstyle.methods.method import Batch


def draw_places(features: Mapping[str, Tensor], batch: Batch, *, purpose: str, count: int) -> dict[str, Tensor]:
    """For each layer and image `count` places of its map, none twice; all of them where it has fewer.

    Args:
        features: maps (N, C, H, W) by layer, of the batch's images.
        batch: whose samples and draws decide.
        purpose: tells these draws from others of the same step.
        count: of places.

    Returns:
        int64 (N, P) by layer, on the maps' device; a place counts the pixels of its map row by row.
    """
    drawn = [
        _draw(batch, f"{purpose} {layer}", images=len(maps), pixels=maps.shape[2] * maps.shape[3], count=count)
        for layer, maps in features.items()
    ]
    device = next(iter(features.values())).device
    together = send(torch.from_numpy(np.concatenate([each.ravel() for each in drawn])), device)
    parts = together.split([each.size for each in drawn])
    return {layer: part.view(each.shape) for layer, part, each in zip(features, parts, drawn, strict=True)}


def mirrored(places: Tensor, width: int, flipped: Tensor) -> Tensor:
    """Places (N, P) as they are in the map's mirror image, where `flipped` (N,) says so.

    Taking a mirrored map's patches there is taking those of the map mirrored back.
    """
    return torch.where(flipped[:, None], places + (width - 1) - 2 * (places % width), places)


def draw_flips(batch: Batch, purpose: str) -> Tensor:
    """For each image whether it is mirrored, with probability 1/2; bool (N,) on the images' device."""
    samples = range(batch.first_sample, batch.first_sample + len(batch.a))
    drawn = [batch.draws.stream(purpose, sample).random() < 0.5 for sample in samples]
    return send(torch.from_numpy(np.array(drawn)), batch.a.device)


def _draw(batch: Batch, purpose: str, *, images: int, pixels: int, count: int) -> np.ndarray:
    streams = (batch.draws.stream(purpose, batch.first_sample + image) for image in range(images))
    taken = min(count, pixels)
    return np.stack([stream.choice(pixels, taken, replace=False, shuffle=False) for stream in streams])

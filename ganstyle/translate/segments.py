"""Translating people and leaving their surroundings, or the other way round: a weight from what a network finds."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from ganstyle.data.masks import check_feather, feather
from ganstyle.data.tensors import to_tensor
from ganstyle.networks.segmentation import CLASSES, SIDE_PX, check_classes

LONGEST_PX = 4 * SIDE_PX  # of panoramas, whose shorter side gets less than SIDE_PX for it
# A class is kept in full from the higher probability on and not at all up to the lower one: else the faint guesses that
# the network makes everywhere would let the photo shine through where nothing of the class is.
UNSURE = (0.25, 0.75)


class Segments:
    """Keeps some kinds of things as they are in the photo: `("person",)`, `("background",)`.

    Args:
        keep: names among CLASSES.
        network: images (1, 3, H, W) in [-1, 1] to the probabilities of CLASSES (1, 21, H, W), as `Segmentation`.
        device: where it computes.
        feather_px: how soft the edges get, the deviation of a Gaussian in the photo's pixels; None for a hundredth of
            its shorter side.

    Raises:
        UserError: no name or an unknown one.
    """

    def __init__(
        self, keep: Sequence[str], network: nn.Module, device: torch.device, feather_px: float | None = None
    ) -> None:
        check_classes(tuple(keep))
        check_feather(feather_px)
        self.keep, self.device, self.feather_px = tuple(keep), device, feather_px
        self._network = network.to(device)
        self._indices = sorted({CLASSES.index(name) for name in keep})

    def weight(self, pixels: np.ndarray) -> np.ndarray:
        """Of the translation at each pixel: float32 (H, W), 0 where the photo is kept; 1 where nothing of it is found.

        Args:
            pixels: the photo, uint8 or uint16 (H, W, 3).
        """
        size = pixels.shape[0], pixels.shape[1]
        probability = self._probability(_at_working_size(pixels))
        return feather(1 - _surely(probability), size, self.feather_px)

    @torch.no_grad()
    def _probability(self, pixels: np.ndarray) -> np.ndarray:
        """Of any kept class, float32 (h, w)."""
        found = self._network(to_tensor(pixels, self.device))[0, self._indices]
        return np.asarray(found.sum(dim=0).float().cpu().numpy())


def named_classes(text: str) -> tuple[str, ...]:
    """The classes in a text such as `person, dog`.

    Raises:
        UserError: none or unknown ones.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    check_classes(names)
    return names


def _at_working_size(pixels: np.ndarray) -> np.ndarray:
    """With SIDE_PX on the shorter side, which the network was trained on; small pictures are made larger for it."""
    height, width = pixels.shape[:2]
    scale = min(SIDE_PX / min(height, width), LONGEST_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def _surely(probability: np.ndarray) -> np.ndarray:
    """0 up to the lower bound of UNSURE, 1 from the higher one on, smooth between them."""
    low, high = UNSURE
    share = np.clip((probability - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)

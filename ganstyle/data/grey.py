"""The grey of colours: how bright they look."""

from __future__ import annotations

import numpy as np

from ganstyle.data.blend import from_linear, to_linear

# ITU-R BT.709: what red, green and blue light of sRGB add to the luminance.
WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
STRIP_PX = 1 << 18


def luminance(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 sRGB as (H, W) grey of the same luminance and dtype; a grey pixel keeps its value.

    The weights count for linear light.
    """
    grey = np.empty(pixels.shape[:2], pixels.dtype)
    rows = max(1, STRIP_PX // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        grey[top : top + rows] = from_linear(to_linear(pixels[top : top + rows]) @ WEIGHTS, pixels.dtype)
    return grey

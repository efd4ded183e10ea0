"""Several images as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ganstyle.data.images import encode_image

GAP_PX = 4


def encode_grid(rows: Sequence[Sequence[np.ndarray]], *, quality: int = 92) -> bytes:
    """Rows of uint8 images (H, W, 3) of one size, on white with a thin gap, as a JPEG."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX, 3)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for number, row in enumerate(rows):
        top = GAP_PX + number * (height + GAP_PX)
        for column, image in enumerate(row):
            left = GAP_PX + column * (width + GAP_PX)
            canvas[top : top + height, left : left + width] = image
    return encode_image(canvas, "JPEG", quality)

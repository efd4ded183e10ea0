"""The one bridge between image arrays (uint8, H x W x 3) and image tensors (RGB, N x 3 x H x W, in [-1, 1])."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_tensor(pixels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 arrays (H, W, 3) or (N, H, W, 3) to a float32 tensor (N, 3, H, W) in [-1, 1] on the device."""
    batch = pixels if pixels.ndim == 4 else pixels[None]
    assert batch.dtype == np.uint8, batch.dtype
    assert batch.shape[-1] == 3, batch.shape
    return _scale(torch.from_numpy(np.ascontiguousarray(batch)).to(device).permute(0, 3, 1, 2).contiguous())


def scale(pixels: Tensor) -> Tensor:
    """A uint8 tensor (N, H, W, 3) to a float32 one (N, 3, H, W) in [-1, 1], channels-last, as its input lies in memory.

    0 and 255 meet -1 and 1 exactly.
    """
    return _scale(pixels.permute(0, 3, 1, 2))


def _scale(pixels: Tensor) -> Tensor:
    return pixels.float().div_(127.5).sub_(1)


def to_pixels(images: Tensor) -> np.ndarray:
    """A tensor (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3), rounded; what lies outside is clipped."""
    scaled = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA, MPS and CPU say it each in their own way."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )

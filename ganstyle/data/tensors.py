"""The one bridge between image arrays (uint8, uint16; H x W x 3) and image tensors (RGB, N x 3 x H x W, in [-1, 1])."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}


def to_tensor(pixels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 or uint16 arrays (H, W, 3) or (N, H, W, 3) to a float32 tensor (N, 3, H, W) in [-1, 1] on the device."""
    batch = pixels if pixels.ndim == 4 else pixels[None]
    assert batch.dtype in DTYPES, batch.dtype
    assert batch.shape[-1] == 3, batch.shape
    return _scale(torch.from_numpy(np.ascontiguousarray(batch)).to(device).permute(0, 3, 1, 2).contiguous())


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, where nothing waits for it.

    From pinned memory the copy is only enqueued; from ordinary memory the device would be waited for.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def scale(pixels: Tensor) -> Tensor:
    """A uint8 or uint16 tensor (N, H, W, 3) to a float32 one (N, 3, H, W) in [-1, 1], channels-last, as its input lies.

    0 and the highest level (255, 65535) meet -1 and 1 exactly.
    """
    return _scale(pixels.permute(0, 3, 1, 2))


def _scale(pixels: Tensor) -> Tensor:
    return pixels.float().div_(torch.iinfo(pixels.dtype).max / 2).sub_(1)


def to_pixels(images: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """A tensor (N, 3, H, W) in [-1, 1] to uint8 or uint16 (N, H, W, 3), rounded; what lies outside is clipped."""
    highest = np.iinfo(dtype).max
    levels = images.detach().float().add(1).mul(highest / 2).round().clamp(0, highest)
    return levels.to(DTYPES[np.dtype(dtype)]).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA, MPS and CPU say it each in their own way."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )

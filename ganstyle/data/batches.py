"""The stream of training batches: a pure function of (seed, step), whatever the number of workers.

Each domain is shuffled on its own, pass after pass, without end; sample number n of the run is step * batch + slot.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError, one_line
from ganstyle.data.augment import Augment
from ganstyle.data.domains import Subset
from ganstyle.data.tensors import scale


@dataclass(frozen=True)
class ImageBatch:
    """One step's images of both domains, float32 (N, 3, H, W) in [-1, 1] on the device."""

    a: Tensor
    b: Tensor
    draws: Draws
    first_sample: int


@dataclass(frozen=True)
class Cropping:
    """What happens to a prepared image before it is trained on: augmentation, a random crop, a random flip."""

    crop_px: int
    flip: bool
    augment: Augment | None = None

    def __call__(self, pixels: np.ndarray, draws: Draws, side: str, sample: int) -> np.ndarray:
        """uint8 (H, W, 3) to uint8 (crop_px, crop_px, 3); every draw is keyed by the side and the sample."""
        if self.augment is not None:
            pixels = self.augment(np.array(pixels), draws.key(f"augment_{side}", sample))
        height, width = pixels.shape[:2]
        if min(height, width) < self.crop_px or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
            raise UserError(
                f"data.augment: its images are {width} x {height} px, {pixels.dtype}, of shape {pixels.shape}; "
                f"expected uint8 colour images of at least data.crop_px ({self.crop_px})"
            )
        stream = draws.stream(f"crop_{side}", sample)
        top = int(stream.integers(height - self.crop_px + 1))
        left = int(stream.integers(width - self.crop_px + 1))
        crop = pixels[top : top + self.crop_px, left : left + self.crop_px]
        return crop[:, ::-1] if self.flip and stream.random() < 0.5 else crop


class StepDataset(Dataset):
    """Step number -> the uint8 crops of both sides, or the text of a mistake: a worker cannot raise one whole."""

    def __init__(self, a: Subset, b: Subset, cropping: Cropping, *, draws: Draws, batch_size: int) -> None:
        self.domains = {"a": a, "b": b}
        self.cropping, self.draws, self.batch_size = cropping, draws, batch_size

    def __getitem__(self, step: int) -> tuple[int, Tensor, Tensor] | str:
        try:
            return step, self._side("a", step), self._side("b", step)
        except UserError as error:
            return str(error)

    def _side(self, side: str, step: int) -> Tensor:
        samples = range(step * self.batch_size, (step + 1) * self.batch_size)
        crops = [self._crop(side, step, sample) for sample in samples]
        return torch.from_numpy(np.stack(crops))

    def _crop(self, side: str, step: int, sample: int) -> np.ndarray:
        domain = self.domains[side]
        number = shuffled(len(domain), sample, self.draws, side)
        return self.cropping(domain[number], self.draws.at(step), side, sample)


def shuffled(count: int, sample: int, draws: Draws, side: str) -> int:
    """Which image sample number n is: every pass over the domain has an order of its own."""
    shuffles, position = divmod(sample, count)
    return int(_order(count, draws.at(shuffles).key(f"order_{side}"))[position])


@lru_cache(maxsize=8)
def _order(count: int, key: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(key)).permutation(count)


class BatchStream:
    """Batches of both domains for any range of steps."""

    def __init__(self, dataset: StepDataset, *, workers: int, device: torch.device) -> None:
        self.dataset, self.workers, self.device = dataset, workers, device

    def between(self, start: int, stop: int) -> Iterator[tuple[int, ImageBatch]]:
        """(step, batch) for start <= step < stop; workers, if any, live as long as the iterator."""
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
            prefetch_factor=4 if self.workers else None,
        )
        items = _started(loader)
        try:
            for item in _told(items):
                if isinstance(item, str):
                    raise UserError(item)
                step, a, b = item
                samples = step * self.dataset.batch_size
                yield step, ImageBatch(self._images(a), self._images(b), self.dataset.draws.at(step), samples)
        finally:
            # PyTorch would do this when the iterator is collected: after an error its queues may be gone by then, and
            # workers that ignore SIGTERM would be waited for, or left behind.
            if isinstance(items, _MultiProcessingDataLoaderIter):
                items._shutdown_workers()

    def _images(self, pixels: Tensor) -> Tensor:
        return scale(pixels.to(self.device, non_blocking=self.device.type == "cuda"))


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's iterator; a worker that dies is noticed when a batch is asked for, never in the middle of a step."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    items = iter(loader)
    # PyTorch has put a handler there that raises wherever the main thread happens to be.
    signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)
    return items


def _told(items: Iterator[Any]) -> Iterator[Any]:
    """What the loader gives; a worker that was killed is one clear line."""
    try:
        yield from items
    except RuntimeError as error:
        if not re.search(r"DataLoader worker \(pid|Pin memory thread", str(error)):
            raise
        advice = "it may have run out of memory: lower data.workers"
        raise UserError(f"a loader worker died ({one_line(error)}); {advice}") from error


def _start_worker(_: int) -> None:
    # The main process decides when to stop: it finishes its step and saves first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _one_thread()


def _one_thread() -> None:
    import cv2  # noqa: PLC0415 - only where there are workers

    cv2.setNumThreads(0)


def centre_crops(images: Subset, numbers: Sequence[int], crop_px: int) -> np.ndarray:
    """The middle of some images, uint8 (N, crop_px, crop_px, 3)."""
    return np.stack([_centre(images[number], crop_px) for number in numbers])


def _centre(pixels: np.ndarray, crop_px: int) -> np.ndarray:
    top, left = ((side - crop_px) // 2 for side in pixels.shape[:2])
    return pixels[top : top + crop_px, left : left + crop_px]

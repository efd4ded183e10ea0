"""The stream of training batches: a pure function of (seed, step), whatever the number of workers.

Each domain is shuffled on its own, pass after pass, without end; sample number n of the run is step * batch + slot.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

import cv2
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
from ganstyle.data.uploads import Item, uploaded


@dataclass(frozen=True)
class ImageBatch:
    """One step's images of both domains, float32 (N, 3, H, W) in [-1, 1], channels-last, on the device.

    Image i is sample `first_sample + i` of the run, in slot `first_slot + i` of the whole batch.
    """

    a: Tensor
    b: Tensor
    draws: Draws
    first_sample: int
    first_slot: int = 0

    def split(self, parts: int) -> list[ImageBatch]:
        """The same images in successive batches of one size, as views; `parts` divides how many there are."""
        assert len(self.a) % parts == 0, f"{len(self.a)} images in {parts} parts"
        size = len(self.a) // parts
        return [self._part(start, start + size) for start in range(0, len(self.a), size)]

    def _part(self, start: int, stop: int) -> ImageBatch:
        first_sample, first_slot = self.first_sample + start, self.first_slot + start
        return replace(
            self, a=self.a[start:stop], b=self.b[start:stop], first_sample=first_sample, first_slot=first_slot
        )


class Place(NamedTuple):
    """The upper left corner of a crop, and whether it is mirrored."""

    top: int
    left: int
    flipped: bool


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
        top, left, flipped = self.place(height, width, draws, side, sample)
        crop = pixels[top : top + self.crop_px, left : left + self.crop_px]
        # OpenCV mirrors twenty times as fast as a copy of numpy's mirrored view.
        return cv2.flip(crop, 1) if flipped else crop

    def place(self, height: int, width: int, draws: Draws, side: str, sample: int) -> Place:
        """Where an image of that size is cropped; each place is as likely, and half of the crops are flipped."""
        stream = draws.stream(f"crop_{side}", sample)
        top = int(stream.integers(height - self.crop_px + 1))
        left = int(stream.integers(width - self.crop_px + 1))
        return Place(top, left, self.flip and bool(stream.random() < 0.5))


class StepDataset(Dataset):
    """Step number -> the uint8 crops of both sides, or the text of a mistake: a worker cannot raise one whole.

    Args:
        a: the images of domain a.
        b: the images of domain b.
        cropping: what becomes of an image.
        draws: the run's random streams.
        batch_size: the whole batch, over all ranks.
        slots: which of the batch's places are loaded here; all of them if None.
    """

    def __init__(
        self,
        a: Subset,
        b: Subset,
        cropping: Cropping,
        *,
        draws: Draws,
        batch_size: int,
        slots: range | None = None,
    ) -> None:
        self.domains = {"a": a, "b": b}
        self.cropping, self.draws, self.batch_size = cropping, draws, batch_size
        self.slots = range(batch_size) if slots is None else slots
        self.device = torch.device("cpu")
        assert self.slots.step == 1, self.slots
        assert 0 <= self.slots.start < self.slots.stop <= batch_size, (self.slots, batch_size)

    def samples(self, step: int) -> range:
        """The numbers, in the run, of the samples that are loaded for a step."""
        first = step * self.batch_size
        return range(first + self.slots.start, first + self.slots.stop)

    def __getitem__(self, step: int) -> tuple[int, Tensor, Tensor] | str:
        try:
            return step, self._side("a", step), self._side("b", step)
        except UserError as error:
            return str(error)

    def _side(self, side: str, step: int) -> Tensor:
        crops = [self._crop(side, step, sample) for sample in self.samples(step)]
        return torch.from_numpy(np.stack(crops))

    def _crop(self, side: str, step: int, sample: int) -> np.ndarray:
        pixels = self.domains[side][self.number(side, sample)]
        return self.cropping(pixels, self.draws.at(step), side, sample)

    def number(self, side: str, sample: int) -> int:
        """Which image of its domain a sample is."""
        return shuffled(len(self.domains[side]), sample, self.draws, side)


def shuffled(count: int, sample: int, draws: Draws, side: str) -> int:
    """Which image sample number n is: every pass over the domain has an order of its own."""
    shuffles, position = divmod(sample, count)
    return int(_order(count, shuffles, draws, side)[position])


@lru_cache(maxsize=8)
def _order(count: int, shuffles: int, draws: Draws, side: str) -> np.ndarray:
    return draws.at(shuffles).stream(f"order_{side}").permutation(count)


class Steps(Protocol):
    """What batches are made from: a `StepDataset`, or one that crops on the device."""

    draws: Draws
    slots: range
    device: torch.device

    def samples(self, step: int) -> range:
        """The numbers, in the run, of a step's samples."""

    def __getitem__(self, step: int) -> tuple[int, Tensor, Tensor] | str:
        """(step, a, b), uint8 (N, H, W, 3) on `device`, or the text of a mistake."""


class BatchStream:
    """Batches of both domains for any range of steps.

    `waited_s` counts the seconds for which whoever takes the batches waited for them, the first one's making included.
    """

    def __init__(self, dataset: Steps, *, workers: int, device: torch.device) -> None:
        self.dataset, self.workers, self.device = dataset, workers, device
        self.waited_s = 0.0

    def between(self, start: int, stop: int) -> Iterator[tuple[int, ImageBatch]]:
        """(step, batch) for start <= step < stop; workers, if any, live as long as the iterator."""
        with closing(self._batches(start, stop)) as batches:
            while True:
                began = time.perf_counter()
                found = next(batches, None)
                self.waited_s += time.perf_counter() - began
                if found is None:
                    return
                yield found

    def _batches(self, start: int, stop: int) -> Generator[tuple[int, ImageBatch], None, None]:
        uploads = self.device.type == "cuda" and self.dataset.device.type == "cpu"
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset", self.dataset),
            batch_size=None,
            sampler=range(start, stop),
            num_workers=self.workers,
            pin_memory=uploads,
            worker_init_fn=_start_worker,
            prefetch_factor=4 if self.workers else None,
        )
        items = _started(loader)
        try:
            for step, a, b in uploaded(_told(items), self.device) if uploads else _told(items):
                yield step, self._batch(step, a.to(self.device), b.to(self.device))
        finally:
            # PyTorch would do this when the iterator is collected: after an error its queues may be gone by then, and
            # workers that ignore SIGTERM would be waited for, or left behind.
            if isinstance(items, _MultiProcessingDataLoaderIter):
                items._shutdown_workers()

    def _batch(self, step: int, a: Tensor, b: Tensor) -> ImageBatch:
        first_sample, first_slot = self.dataset.samples(step).start, self.dataset.slots.start
        return ImageBatch(scale(a), scale(b), self.dataset.draws.at(step), first_sample, first_slot)


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's iterator; a worker that dies is noticed when a batch is asked for, never in the middle of a step."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    items = iter(loader)
    # PyTorch has put a handler there that raises wherever the main thread happens to be.
    signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)
    return items


def _told(items: Iterator[Any]) -> Iterator[Item]:
    """What the loader gives; a mistake, or a worker that was killed, is one clear line."""
    try:
        for item in items:
            if isinstance(item, str):
                raise UserError(item)
            yield item
    except RuntimeError as error:
        if not re.search(r"DataLoader worker \(pid|Pin memory thread", str(error)):
            raise
        advice = "it may have run out of memory: lower data.workers"
        raise UserError(f"a loader worker died ({one_line(error)}); {advice}") from error


def _start_worker(_: int) -> None:
    # The main process decides when to stop: it finishes its step and saves first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)


def centre_crops(images: Subset, numbers: Sequence[int], crop_px: int) -> np.ndarray:
    """The middle of some images, uint8 (N, crop_px, crop_px, 3)."""
    return np.stack([_centre(images[number], crop_px) for number in numbers])


def _centre(pixels: np.ndarray, crop_px: int) -> np.ndarray:
    top, left = ((side - crop_px) // 2 for side in pixels.shape[:2])
    return pixels[top : top + crop_px, left : left + crop_px]

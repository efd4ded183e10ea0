"""Packed images kept whole on the device and cropped there, and the choice between that and loading on the CPU."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.batches import BatchStream, Place, StepDataset
from ganstyle.data.cache import PackedImages

# Of the device's free memory, networks and activations need the most.
MEMORY_SHARE = 0.25
CHUNK_BYTES = 1 << 26

CropOn = Literal["auto", "cpu", "device"]


class DevicePack:
    """All images of a pack in one uint8 tensor on the device."""

    def __init__(self, images: PackedImages, device: torch.device) -> None:
        self.images, self.pixels = images, torch.empty(images.size_bytes, dtype=torch.uint8, device=device)
        for start in range(0, images.size_bytes, CHUNK_BYTES):
            chunk = np.array(images.flat()[start : start + CHUNK_BYTES])  # the map is read-only, which PyTorch is not
            self.pixels[start : start + CHUNK_BYTES].copy_(torch.from_numpy(chunk))

    def crop(self, index: int, place: Place, crop_px: int) -> Tensor:
        """A part of one image, uint8 (crop_px, crop_px, 3), on the device."""
        start, stop = self.images.span(index)
        image = self.pixels[start:stop].view(*self.images.files[index].shape, 3)
        crop = image[place.top : place.top + crop_px, place.left : place.left + crop_px]
        return crop.flip(1) if place.flipped else crop


class DeviceDataset:
    """What a `StepDataset` of packed images gives, to the bit, cropped on the device.

    Where to crop is drawn on the host, from the same streams; nothing waits for the device.
    """

    def __init__(self, steps: StepDataset, device: torch.device) -> None:
        assert why_not_on_device(steps) is None
        self.steps, self.draws, self.slots, self.device = steps, steps.draws, steps.slots, device
        self.samples = steps.samples
        self._packs = {side: DevicePack(_packed(steps)[side], device) for side in steps.domains}

    def __getitem__(self, step: int) -> tuple[int, Tensor, Tensor]:
        return step, self._side("a", step), self._side("b", step)

    def _side(self, side: str, step: int) -> Tensor:
        return torch.stack([self._crop(side, step, sample) for sample in self.samples(step)])

    def _crop(self, side: str, step: int, sample: int) -> Tensor:
        domain, pack, cropping = self.steps.domains[side], self._packs[side], self.steps.cropping
        index = domain.indices[self.steps.number(side, sample)]
        place = cropping.place(*pack.images.files[index].shape, self.draws.at(step), side, sample)
        return pack.crop(index, place, cropping.crop_px)


def batch_stream(steps: StepDataset, *, workers: int, device: torch.device, crop_on: CropOn = "auto") -> BatchStream:
    """The batches of a run, from loader workers or from packs that are kept on the device; they are the same.

    Args:
        steps: what every step is made of.
        workers: how many processes load, where images are cropped on the CPU.
        device: where batches are needed.
        crop_on: `data.crop_on`. `auto` is the device where that is CUDA, the images are packed, nothing augments them
            and both packs take less than a quarter of the device's free memory.

    Raises:
        UserError: `device` is asked for and cannot be.
    """
    if crops_on_device(steps, device, crop_on):
        return BatchStream(DeviceDataset(steps, device), workers=0, device=device)
    return BatchStream(steps, workers=workers, device=device)


def crops_on_device(steps: StepDataset, device: torch.device, crop_on: CropOn) -> bool:
    """What `data.crop_on` comes to for these images and this device; `UserError` as `batch_stream` says."""
    reason = why_not_on_device(steps)
    if crop_on == "device" and reason is not None:
        raise UserError(f"data.crop_on: got device, but {reason}; use data.crop_on=auto")
    return crop_on == "device" or (crop_on == "auto" and reason is None and _fits(steps, device))


def why_not_on_device(steps: StepDataset) -> str | None:
    """What keeps images from being cropped on the device; None if nothing does."""
    if steps.cropping.augment is not None:
        return "data.augment works on the CPU"
    if len(_packed(steps)) < len(steps.domains):
        return "the images are not in the image cache (data.cache)"
    return None


def _packed(steps: StepDataset) -> dict[str, PackedImages]:
    images = {side: domain.images for side, domain in steps.domains.items()}
    return {side: each for side, each in images.items() if isinstance(each, PackedImages)}


def _fits(steps: StepDataset, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(pack.size_bytes for pack in _packed(steps).values()) < MEMORY_SHARE * free

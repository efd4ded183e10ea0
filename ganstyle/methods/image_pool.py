"""A history of generated images, so that a discriminator does not chase only the newest generator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.methods.method import Batch


class ImagePool:
    """Keeps up to `size` generated images and hands old ones out again (Shrivastava et al. 2017, section 2.3).

    As CycleGAN's authors use it: until the pool is full each image is kept and given back. Then, for each image, with
    probability 1/2 it is given back and forgotten; otherwise one of the kept images, each as likely, is given out in
    its stead and replaced by it.

    Every slot of the whole batch has a history of its own, of `size` images: what it is shown does not depend on the
    size of the batch, nor on how the slots are spread over ranks.

    Differs from the paper: images are exchanged one by one, not half a batch at a time.

    Which images are exchanged is decided on the host, from streams keyed by step and sample: nothing waits for the
    device, and nothing but the images themselves needs saving. Kept images stay on the device and in the dtype of
    those that arrive.
    """

    def __init__(self, size: int) -> None:
        assert size >= 0, f"a pool of {size} images"
        self.size = size
        self._slots: dict[int, list[Tensor]] = {}

    def replay(self, images: Tensor, purpose: str, batch: Batch) -> Tensor:
        """Exchange some images (N, 3, H, W) for older ones; the result has their shape and carries no gradient.

        Image i belongs to slot `batch.first_slot + i` and draws from `stream(purpose, batch.first_sample + i)`. A pool
        of size 0 gives the images themselves back.

        Raises:
            UserError: the pool holds images of another size, because the crop was changed.
        """
        images = images.detach()
        if self.size == 0:
            return images
        return torch.stack(
            [
                self._exchange(
                    image,
                    self._slots.setdefault(batch.first_slot + index, []),
                    batch.draws.stream(purpose, batch.first_sample + index),
                )
                for index, image in enumerate(images)
            ]
        )

    def state_dict(self) -> dict[int, Tensor]:
        """What the pool holds: slot -> its images (count, 3, H, W), a copy."""
        return {slot: torch.stack(images) for slot, images in self._slots.items() if images}

    def load_state_dict(self, state: Mapping[int, Tensor]) -> None:
        """Hold exactly what `state_dict` gave; the next `replay` moves it to the device of its images.

        Raises:
            UserError: more images were kept than this pool may hold.
        """
        count = max(map(len, state.values()), default=0)
        if count > self.size:
            raise UserError(
                f"the saved image pool holds {count} images, this one at most {self.size}: "
                "keep the pool size as it was, or start a new run"
            )
        # Copies of their own: a view would keep the whole saved tensor alive until the last image is exchanged.
        self._slots = {slot: [image.clone() for image in images] for slot, images in state.items()}

    def _exchange(self, image: Tensor, kept: list[Tensor], stream: np.random.Generator) -> Tensor:
        self._match(image, kept)
        if len(kept) < self.size:
            kept.append(_finite_copy(image))
            return image
        if stream.random() < 0.5:
            return image
        place = int(stream.integers(self.size))
        old, kept[place] = kept[place], _finite_copy(image)
        return old

    def _match(self, image: Tensor, kept: list[Tensor]) -> None:
        """Bring what is kept to the device and the dtype of the new image; refuse another size."""
        if not kept:
            return
        was, new = kept[0].shape, image.shape
        if was != new:
            raise UserError(
                f"the image pool holds images of {was[2]} x {was[1]} px and got {new[2]} x {new[1]} px: "
                "keep the crop as it was, or start a new run"
            )
        if (kept[0].device, kept[0].dtype) != (image.device, image.dtype):
            kept[:] = [each.to(image) for each in kept]


def _finite_copy(image: Tensor) -> Tensor:
    """What is not finite becomes grey, black or white: kept as it is, it would spoil a later step as well."""
    return torch.nan_to_num(image, nan=0.0, posinf=1.0, neginf=-1.0)

"""A history of generated images, so that a discriminator does not chase only the newest generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError


class ImagePool:
    """Keeps up to `size` generated images and hands old ones out again (Shrivastava et al. 2017, section 2.3).

    As CycleGAN's authors use it: until the pool is full each image is kept and given back. Then, for each image, with
    probability 1/2 it is given back and forgotten; otherwise one of the kept images, each as likely, is given out in
    its stead and replaced by it.

    Differs from the paper: images are exchanged one by one, not half a batch at a time.

    Which images are exchanged is decided on the host, from streams keyed by step and sample: nothing waits for the
    device, and nothing but the images themselves needs saving. Kept images stay on the device and in the dtype of
    those that arrive.
    """

    def __init__(self, size: int) -> None:
        assert size >= 0, f"a pool of {size} images"
        self.size = size
        self._images: list[Tensor] = []

    def replay(self, images: Tensor, draws: Draws, purpose: str, first_sample: int) -> Tensor:
        """Exchange some images (N, 3, H, W) for older ones; the result has their shape and carries no gradient.

        Image i draws from `draws.stream(purpose, first_sample + i)`, so the same images in the same
        order are exchanged alike, whatever the size of the batches. A pool of size 0 gives the images themselves back.

        Raises:
            UserError: the pool holds images of another size, because the crop was changed.
        """
        images = images.detach()
        if self.size == 0:
            return images
        self._match(images)
        streams = (draws.stream(purpose, first_sample + index) for index in range(len(images)))
        return torch.stack([self._exchange(image, stream) for image, stream in zip(images, streams, strict=True)])

    def state_dict(self) -> dict[str, Tensor | int]:
        """What the pool holds: `images` (count, 3, H, W), a copy, and their `count`."""
        images = torch.stack(self._images) if self._images else torch.empty(0)
        return {"images": images, "count": len(self._images)}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Hold exactly what `state_dict` gave; the next `replay` moves it to the device of its images.

        Raises:
            UserError: more images were kept than this pool may hold.
        """
        images, count = state["images"], state["count"]
        assert isinstance(images, Tensor), "not the state of an image pool"
        assert len(images) == count, f"{len(images)} images saved as {count}"
        if len(images) > self.size:
            raise UserError(
                f"the saved image pool holds {count} images, this one at most {self.size}: "
                "keep the pool size as it was, or start a new run"
            )
        # Copies of their own: a view would keep the whole saved tensor alive until the last image is exchanged.
        self._images = [image.clone() for image in images]

    def _exchange(self, image: Tensor, stream: np.random.Generator) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if stream.random() < 0.5:
            return image
        place = int(stream.integers(self.size))
        old, self._images[place] = self._images[place], image.clone()
        return old

    def _match(self, images: Tensor) -> None:
        """Bring what is kept to the device and the dtype of the new images; refuse another size."""
        if not self._images:
            return
        kept, new = self._images[0].shape, images.shape[1:]
        if kept != new:
            raise UserError(
                f"the image pool holds images of {kept[2]} x {kept[1]} px and got {new[2]} x {new[1]} px: "
                "keep the crop as it was, or start a new run"
            )
        self._images = [image.to(images) for image in self._images]

"""Fixed preview images, the same ones each time, as one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ganstyle.data.batches import centre_crops
from ganstyle.data.domains import Domain, Subset
from ganstyle.data.grids import encode_grid
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.train.ema import evaluating

COUNT = 4


@dataclass
class Previews:
    """Draws `a, fake b, cycled a, identity a` and below `b, fake a, cycled b, identity b`, one column an image.

    The last two of each only where there is a translator each way.

    Args:
        translators: gives the generators by direction, `ab` and perhaps `ba`.
        a: where the images of domain a come from: a test folder, else those held out, else those trained on.
        b: the same for domain b.
        crop_px: the size of the previews.
        device: where the generators are.
    """

    translators: Callable[[], Mapping[str, nn.Module]]
    a: Domain
    b: Domain
    crop_px: int
    device: torch.device
    _images: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self) -> bytes:
        """One JPEG."""
        models = self.translators()
        rows: list[list[np.ndarray]] = []
        with evaluating(*models.values()):
            for there, back, domain in (("ab", "ba", self.a), ("ba", "ab", self.b)):
                if there in models:
                    rows += self._rows(models[there], models.get(back), self._chosen(there[0], domain))
        return encode_grid(rows)

    def images(self) -> Mapping[str, np.ndarray]:
        """The images themselves by domain, uint8 (N, crop_px, crop_px, 3)."""
        return {key: self._chosen(key, domain) for key, domain in (("a", self.a), ("b", self.b))}

    def _rows(self, there: nn.Module, back: nn.Module | None, pixels: np.ndarray) -> list[list[np.ndarray]]:
        images = [to_tensor(each, self.device) for each in pixels]
        fakes = [there(image) for image in images]
        rows = [fakes]
        if back is not None:
            rows += [[back(fake) for fake in fakes], [back(image) for image in images]]
        return [list(pixels), *(list(to_pixels(torch.cat(row))) for row in rows)]

    def _chosen(self, key: str, domain: Domain) -> np.ndarray:
        if key not in self._images:
            source = domain.shown
            self._images[key] = centre_crops(source, _first_by_content(source), self.crop_px)
        return self._images[key]


def _first_by_content(images: Subset) -> list[int]:
    """The same images wherever the files are and however they are called."""
    digests = images.digests()
    return sorted(range(len(images)), key=lambda number: digests[number])[:COUNT]

"""A generator compiled for the sizes that many photos of a folder have, where that pays."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from ganstyle.base.errors import one_line
from ganstyle.data.tensors import is_out_of_memory

Size = tuple[int, int]  # (height, width)

# For one size, on two cores of a Xeon (torch 2.15, November 2026; ResNet-9 of width 64): an image of 256 px took 0.47 s
# compiled and 0.60 s eager (see scripts/benchmarks/results/inference-cpu.json). Other devices were not measured.
COMPILE_S = {"cpu": 60.0}
SAVED = 0.2
# Compiling must save so many times its cost: a job may be stopped early, and the estimate may be off.
MARGIN = 2
# Each size is compiled anew, and torch compiles one function eight times at most.
MOST_SIZES = 4


def sizes_to_compile(sizes: Sequence[Size | None], seconds_per_megapixel: float, device: torch.device) -> list[Size]:
    """The sizes for which compiling saves more than twice the time that it takes, those that save most first.

    Args:
        sizes: of all images, (height, width); None for those that are unknown.
        seconds_per_megapixel: of the eager generator on this device.
        device: where it computes.
    """
    cost_s = COMPILE_S.get(device.type)
    if cost_s is None:
        return []
    megapixels = {size: count * size[0] * size[1] / 1e6 for size, count in Counter(sizes).items() if size is not None}
    saved_s = {size: amount * seconds_per_megapixel * SAVED for size, amount in megapixels.items()}
    paying = [size for size, saved in saved_s.items() if saved > MARGIN * cost_s]
    return sorted(paying, key=lambda size: -saved_s[size])[:MOST_SIZES]


class CompiledForSizes:
    """Calls a generator, compiled for single images of some sizes and eager for all others.

    When compiling fails, `say` is told once and everything is eager from then on.

    Args:
        generator: in eval mode; it stays as it is.
        sizes: (height, width) of the images to compile for.
        say: told of a failure in one line.
    """

    def __init__(self, generator: nn.Module, sizes: Collection[Size], say: Callable[[str], None]) -> None:
        self._generator, self._sizes, self._say = generator, set(sizes), say
        # What is compiled runs channels-last, which the eager one is slower with.
        mirror = copy.deepcopy(generator).to(memory_format=torch.channels_last)
        self._compiled = torch.compile(mirror, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        """Translate (N, 3, H, W)."""
        if len(images) != 1 or tuple(images.shape[2:]) not in self._sizes:
            return self._eager(images)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result: Tensor = self._compiled(images.contiguous(memory_format=torch.channels_last))
            return result
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._sizes.clear()  # a missing compiler shows in many ways
            self._say(f"no compiler that works here ({one_line(error)[:120]}): translating runs eager")
            return self._eager(images)

    def _eager(self, images: Tensor) -> Tensor:
        result: Tensor = self._generator(images)
        return result

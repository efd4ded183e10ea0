"""One direction of a model, ready to use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.base.files import make_folder
from ganstyle.data.folders import nearest_folder
from ganstyle.data.tensors import is_out_of_memory, to_pixels, to_tensor
from ganstyle.translate.compiling import CompiledForSizes
from ganstyle.translate.exact import translate_exact
from ganstyle.translate.facts import ModelFacts
from ganstyle.translate.kinds import in_batches, translate_any
from ganstyle.translate.memory import MEMORY_ADVICE, free_host_memory
from ganstyle.translate.thumbnail import translate_thumbnail
from ganstyle.translate.tile_plan import Free, Plan, check_tiles, needs_of, plan_tiles, plan_without_whole

# Peak bytes for each pixel and each channel of the first layer, by the way a generator upsamples; measured as the
# growth of the process at 768 px with torch 2.15 on the CPU (15-19, 35 and 31), rounded up.
PEAK_BYTES = {"transposed": 20, "resize": 36, "antialiased": 32, "blurred_down": 32, "blurred_up": 32}


@dataclass(frozen=True)
class Tiles:
    """How images are translated that may be too large at once.

    Args:
        mode: `none`, `auto` (whole where that fits, else exact, else thumbnail), `exact` or `thumbnail`; see
            `plan_tiles`.
        tile_px: the side of a tile; None for a good one.
        scratch: a folder for what does not fit the memory, made when it is needed; without one nothing is put on disk.
        say: told when `auto` takes a way that does not give the whole image's result.
    """

    mode: str = "auto"
    tile_px: int | None = None
    scratch: Path | None = None
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)

    def __post_init__(self) -> None:
        check_tiles(self.mode, self.tile_px)


class Translator:
    """Translates images with one generator; of any size, each to its own size.

    Args:
        generator: its network, weights loaded.
        spec: what the network was built from.
        facts: direction, step and kind of weights.
        device: where it computes.
        tiles: how large images are translated; arrays, files and PIL images are, tensors are always taken whole.
    """

    def __init__(
        self,
        generator: nn.Module,
        spec: Mapping[str, Any],
        facts: ModelFacts,
        device: torch.device,
        tiles: Tiles | None = None,
    ) -> None:
        self.generator = generator.eval().requires_grad_(False).to(device)
        self.spec, self.facts, self.device, self.tiles = spec, facts, device, tiles or Tiles()
        self._network: Callable[[Tensor], Tensor] = self.generator  # for whole images

    def translate(self, image: Any) -> Any:
        """Translate what is given and give back the same kind.

        - a tensor (3, H, W) or (N, 3, H, W) in [-1, 1]: a float32 tensor of that shape on its own device;
        - a path, a PIL image or arrays: see `translate_any`.

        Raises:
            UserError: a file that cannot be read, another kind, shape or dtype, or an image that is too large.
        """
        if isinstance(image, Tensor):
            return self._tensor(image)
        return translate_any(image, self.many, expected="a path, a PIL image, an array or a tensor")

    def _tensor(self, images: Tensor) -> Tensor:
        if not images.is_floating_point() or images.ndim not in (3, 4) or images.shape[-3] != 3 or 0 in images.shape:
            raise UserError(
                f"got a tensor {images.dtype} {tuple(images.shape)}: "
                "expected floats (N, 3, H, W) or (3, H, W) in [-1, 1]"
            )
        batch = images if images.ndim == 4 else images[None]
        result = self._run(batch.to(self.device, torch.float32)).to(images.device)
        return result if images.ndim == 4 else result[0]

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Translate one array, uint8 or uint16 (H, W, 3), as `tiles` say; the result has its dtype.

        Raises:
            UserError: it is too large for that.
        """
        height, width = pixels.shape[:2]
        try:
            return self._as_planned(pixels)
        except UserError as error:
            raise UserError(f"{width} x {height} px: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(f"{width} x {height} px: out of memory on {self.device}; {MEMORY_ADVICE}") from error

    def compile_for(self, sizes: Collection[tuple[int, int]], say: Callable[[str], None]) -> None:
        """Compile for whole images of these (height, width), each when the first one comes; see `CompiledForSizes`."""
        self._network = CompiledForSizes(self.generator, sizes, say)

    def many(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Translate arrays as `pixels` does, those of one size and dtype in one batch where that fits whole.

        Raises:
            UserError: one of them is too large.
        """
        return in_batches(arrays, together=self._together, alone=self.pixels)

    def _together(self, batch: np.ndarray) -> np.ndarray | None:
        """The translated batch (N, H, W, 3); None where it is to be translated by tiles, or does not fit."""
        return self._whole_if_it_fits(batch) if self.takes_whole(*batch.shape[:3]) else None

    def takes_whole(self, batch: int, height: int, width: int) -> bool:
        """Whether so many images of this size are translated at once, as far as can be told before."""
        free = free_memory(self.device)
        return self.tiles.mode in TAKE_WHOLE and (free is None or self._bytes(batch, height, width) <= free)

    def _as_planned(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        mode, tile_px = self.tiles.mode, self.tiles.tile_px
        needs = needs_of(self.generator, height=height, width=width, whole=self._bytes(1, height, width))
        plan = plan_tiles(mode=mode, tile_px=tile_px, needs=needs, free=self._free())
        if plan.way == "whole" and mode == "auto":
            translated = self._whole_if_it_fits(pixels[None])
            if translated is not None:
                return translated[0]
            plan = plan_without_whole(tile_px, needs, self._free())
        if plan.way == "thumbnail" and mode == "auto":
            self.tiles.say(
                f"{width} x {height} px: by a thumbnail's statistics, as memory and disk are short for exact"
            )
        return WAYS[plan.way](self, pixels, plan)

    def _free(self) -> Free:
        scratch = self.tiles.scratch
        return Free(
            device=free_memory(self.device),
            host=free_memory(torch.device("cpu")),
            disk=0 if scratch is None else shutil.disk_usage(nearest_folder(scratch)).free,
            shared=self.device.type != "cuda",
        )

    @torch.no_grad()
    def _whole(self, batch: np.ndarray) -> np.ndarray:
        return to_pixels(self._network(to_tensor(batch, self.device)), batch.dtype)

    def _whole_if_it_fits(self, batch: np.ndarray) -> np.ndarray | None:
        """The translated images; None when memory ran out. What was held for them is free once this has returned."""
        try:
            return self._whole(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _exact(self, pixels: np.ndarray, plan: Plan) -> np.ndarray:
        scratch = self.tiles.scratch if plan.on_disk else None
        if scratch is not None:
            make_folder(scratch)
        return translate_exact(self.generator, pixels, device=self.device, tile_px=plan.tile_px, scratch=scratch)

    def _thumbnail(self, pixels: np.ndarray, plan: Plan) -> np.ndarray:
        return translate_thumbnail(self.generator, pixels, device=self.device, tile_px=plan.tile_px)

    @torch.no_grad()
    def _run(self, images: Tensor) -> Tensor:
        self._check_memory(images)
        try:
            return self.generator(images).clone()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(f"{_size(images)} px: out of memory on {self.device}; {MEMORY_ADVICE}") from error

    def _bytes(self, batch: int, height: int, width: int) -> int:
        """What translating whole images takes at its peak, roughly."""
        return batch * height * width * self.spec["width"] * PEAK_BYTES[self.spec.get("upsample", "resize")]

    def _check_memory(self, images: Tensor) -> None:
        """Refuse what would not fit, before the system ends the whole process for it."""
        batch, _, height, width = images.shape
        needed = self._bytes(batch, height, width)
        free = free_memory(self.device)
        if free is not None and needed > free:
            raise UserError(
                f"{_size(images)} px need about {needed / 1e9:.1f} GB at once, {free / 1e9:.1f} GB are free: "
                f"{MEMORY_ADVICE}"
            )


def _size(images: Tensor) -> str:
    height, width = images.shape[2:]
    return f"{width} x {height}"


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where the system does not say."""
    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    return free_host_memory() if device.type == "cpu" else None


# Modes of `Tiles` in which an image that fits is translated whole.
TAKE_WHOLE = frozenset({"none", "auto"})

WAYS: dict[str, Callable[[Translator, np.ndarray, Plan], np.ndarray]] = {
    "whole": lambda translator, pixels, _: translator._whole(pixels[None])[0],
    "exact": Translator._exact,
    "thumbnail": Translator._thumbnail,
}

"""A photo represented by patches of a picture: style transfer without weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import log2
from typing import Any

import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.pixels import within
from ganstyle.painting.colour import match_colours
from ganstyle.painting.dictionary import Dictionary, build_dictionary
from ganstyle.painting.edges import edge_strength
from ganstyle.painting.learned import learned_dictionary
from ganstyle.painting.overlap import blend_patches
from ganstyle.painting.patches import means_of, patches_at, places, scattered
from ganstyle.painting.pursuit import Codes, decode, pursue
from ganstyle.painting.pyramid import resized, resized_mask, scaled, style_size
from ganstyle.painting.sparse_settings import CodedLevel, SparseMoment, SparseSettings, SparseStylized

__all__ = ["CodedLevel", "SparseMoment", "SparseSettings", "SparseStylized", "SparseStylizer"]

DICTIONARIES: dict[str, Callable[..., Dictionary]] = {"patches": build_dictionary, "learned": learned_dictionary}
COARSEST_PX = 96  # about: the longer side at which the largest patches hold the picture's large forms
MEAN_PENALTY = 1.0  # the error of an atom's colour counts like that of its pixels
LEAST_NORM = 1e-3  # of an atom; flatter ones have no gain to speak of
FULL_COLOURS_AT = 0.5  # the strength from which on the colours are all the picture's
# Measured at 512 and 1024 px: the dictionaries with what is looked up in them, and what each pixel of the result takes.
DICTIONARY_BYTES, BYTES_PER_PIXEL = 700_000_000, 400

Size = tuple[int, int]


@dataclass(frozen=True)
class Level:
    """A size at which the photo is coded, (height, width), and the sides of the patches, the largest first."""

    number: int
    size: Size
    patch_sizes_px: tuple[int, ...]


@dataclass
class _Canvas:
    """The picture as it becomes, at the level where it stands."""

    image: Tensor
    content: Tensor
    keep: Tensor  # the photo's weight at each pixel, (1, 1, h, w)


class SparseStylizer:
    """Gives photos the look of a picture; dictionaries are made once for all photos of about one size.

    The photo takes the picture's colours. Then, from coarse to fine, with large patches first: each patch is coded by
    a few of the picture's by non-negative matching pursuit, what the code says is put together where patches overlap,
    and the photo is mixed in again where it has edges. The first atom of each patch has a least gain: where the photo
    is flat, patches of the picture come in with their own contrast, and these are the strokes.

    Source: Elad and Milanfar 2017, "Style transfer via texture synthesis". Differs from the paper: sparse codes of
    several atoms with gains in place of the nearest patch, a content weight that follows edges in place of a
    segmentation, no noise added between levels.

    Args:
        style: the picture (1, 3, h, w) in [-1, 1].
        settings: how.
        device: where to compute.
        free_bytes: asks how much memory is free; None where no one knows.
        say: told of what is done otherwise than asked, one line each.
    """

    def __init__(
        self,
        style: Tensor,
        settings: SparseSettings | None = None,
        *,
        device: torch.device | str = "cpu",
        free_bytes: Callable[[], int | None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.style, self.settings = style.to(device), settings or SparseSettings()
        self.device, self.free_bytes, self.say = torch.device(device), free_bytes, say
        self._dictionaries: dict[tuple[Size, int], Dictionary] = {}

    @torch.no_grad()
    def stylize(
        self,
        content: Tensor,
        *,
        mask: Tensor | None = None,
        watch: Callable[[SparseMoment], None] = lambda moment: None,
        keep_codes: bool = False,
    ) -> SparseStylized:
        """Stylise one photo (1, 3, H, W) in [-1, 1].

        Args:
            content: the photo.
            mask: (1, 1, H, W) in 0..1: 1 where the photo must stay recognisable, such as on faces.
            watch: called after each round. A KeyboardInterrupt from anywhere ends the transfer: the picture so far is
                returned.
            keep_codes: keep the last codes of each level and patch size in `layers`.

        Raises:
            UserError: the photo is too large for the memory.
        """
        start, strength = time.perf_counter(), self.settings.strength
        size = within((content.shape[2], content.shape[3]), self.settings.size_px)
        photo = resized(content.to(self.device), size)
        self._check_memory(photo)
        if strength == 0:
            return SparseStylized(photo.clone(), {"seconds": 0.0})
        matched = match_colours(photo, self.style)
        matched = photo.lerp(matched, min(1.0, strength / FULL_COLOURS_AT))
        levels, coded = self.levels(size), dict[tuple[int, int], CodedLevel]()
        # Those of another size would never be used again, and of photos of many sizes they would fill the memory.
        wanted = {(self._style_size(level.size), side) for level in levels for side in level.patch_sizes_px}
        self._dictionaries = {key: each for key, each in self._dictionaries.items() if key in wanted}
        facts: dict[str, Any] = {"levels": [(*level.size, *level.patch_sizes_px) for level in levels]}
        if not levels:
            self.say(f"too small for patches ({photo.shape[3]} x {photo.shape[2]} px): it only takes the colours")
        image = matched
        try:
            for moment, layer in self._rounds(matched, mask, levels):
                image = moment.image()
                if keep_codes:
                    coded[layer.level, layer.patch_px] = layer
                watch(moment)
                facts["rounds"] = f"{moment.done} of {moment.of}"
        except KeyboardInterrupt:
            facts["stopped_at"] = facts.get("rounds", "the beginning")
        facts["seconds"] = round(time.perf_counter() - start, 2)
        return SparseStylized(resized(image, size).clamp(-1, 1), facts, [*coded.values()])

    def levels(self, size: Size) -> list[Level]:
        """From coarse to fine; without the levels and the patches that are larger than the photo or the picture."""
        settings, found = self.settings, list[Level]()
        count = settings.levels or 1 + max(0, round(log2(max(size) / COARSEST_PX)))
        count = 1 if max(size) <= COARSEST_PX else count
        ratio = (COARSEST_PX / max(size)) ** (1 / max(1, count - 1))
        for above in reversed(range(count)):
            level = scaled(size, ratio**above)
            sides = settings.patch_sizes_px if above else settings.finest_sizes_px
            least = min(*level, *self._style_size(level))
            fitting = tuple(side for side in sides if side <= least)
            if fitting:
                found.append(Level(len(found) + 1, level, fitting))
        return found

    def _rounds(
        self, content: Tensor, mask: Tensor | None, levels: list[Level]
    ) -> Iterator[tuple[SparseMoment, CodedLevel]]:
        canvas, rounds = None, self.settings.rounds
        done, of = 0, rounds * sum(len(level.patch_sizes_px) for level in levels)
        for level in levels:
            canvas = self._next_canvas(canvas, content, mask, level)
            for patch_px in level.patch_sizes_px:
                dictionary = self._dictionary(level.size, patch_px)
                for number in range(1, rounds + 1):
                    layer = self._round(canvas, dictionary, level, number)
                    done += 1
                    image = partial(torch.clone, canvas.image)
                    yield SparseMoment(level.number, len(levels), patch_px, number, rounds, done, of, image), layer

    def _next_canvas(self, before: _Canvas | None, content: Tensor, mask: Tensor | None, level: Level) -> _Canvas:
        """The picture so far at a level's size, with the photo's detail that coarser levels do not have."""
        here = resized(content, level.size)
        image = here.clone()
        if before is not None:
            image = resized(before.image, level.size) + here - resized(before.content, level.size)
        # At low strength the photo counts the more; the limit at 0 is the photo itself.
        weaker = 1 / self.settings.strength
        keep = self.settings.content_weight * weaker * edge_strength(here) + self.settings.flat_weight + (weaker - 1)
        if mask is not None:
            keep = keep + self.settings.protected_weight * resized_mask(mask.to(here), level.size)
        return _Canvas(image, here, keep)

    def _round(self, canvas: _Canvas, dictionary: Dictionary, level: Level, number: int) -> CodedLevel:
        """Code all patches, put them together, and mix the photo in."""
        settings, patch_px = self.settings, dictionary.patch_px
        stride_px = max(1, round(settings.stride * patch_px))
        corners = places(level.size, patch_px, stride_px, device=canvas.image.device)
        # On flat ground all patches choose the same atom: on a regular grid that would be a weave.
        draws = Draws(settings.seed).stream(f"corners of {patch_px} px at level {level.number}", number)
        by_px = (patch_px - stride_px) // 2
        corners = scattered(corners, level.size, patch_px, by_px=by_px, stream=draws)
        patches = patches_at(canvas.image, corners, patch_px)
        gain = (min(settings.least_gain * settings.strength, settings.most_gain), settings.most_gain)
        codes = pursue(
            patches, dictionary, atoms_per_patch=settings.atoms_per_patch, mean_penalty=MEAN_PENALTY, gain=gain
        )
        means = means_of(patches).lerp(_means_of_atoms(codes, dictionary), 1 - settings.own_mean)
        image = blend_patches(decode(codes, dictionary, means), corners, level.size, guess=canvas.image)
        canvas.image = (image + canvas.keep * canvas.content) / (1 + canvas.keep)
        return CodedLevel(level.number, patch_px, dictionary, codes, corners, level.size)

    def _dictionary(self, size: Size, patch_px: int) -> Dictionary:
        wanted = self._style_size(size)
        if (wanted, patch_px) not in self._dictionaries:
            build = DICTIONARIES[self.settings.dictionary]
            self._dictionaries[wanted, patch_px] = build(
                resized(self.style, wanted),
                patch_px,
                most_atoms=self.settings.most_atoms,
                rotations=self.settings.rotations,
                seed=self.settings.seed,
            )
        return self._dictionaries[wanted, patch_px]

    def _style_size(self, size: Size) -> Size:
        own = (self.style.shape[2], self.style.shape[3])
        return style_size(own, size, style_scale=self.settings.style_scale, least_px=1)

    def _check_memory(self, photo: Tensor) -> None:
        needed = DICTIONARY_BYTES + BYTES_PER_PIXEL * photo.shape[2] * photo.shape[3]
        free = self.free_bytes()
        if free is not None and needed > free:
            raise UserError(
                f"{photo.shape[3]} x {photo.shape[2]} px need about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                "free: choose a smaller --size"
            )


def _means_of_atoms(codes: Codes, dictionary: Dictionary) -> Tensor:
    """The mean colour (N, 3) that patches would have if their atoms brought their own, by the atoms' gains."""
    atoms = codes.atoms.clamp(min=0)
    gains = codes.coefficients / dictionary.norms[atoms].clamp(min=LEAST_NORM) * (codes.atoms >= 0)
    gains[:, 0] += 1e-6  # a flat patch has one flat atom, whose coefficient is 0
    return (gains[..., None] * dictionary.means[atoms]).sum(dim=1) / gains.sum(dim=1, keepdim=True)

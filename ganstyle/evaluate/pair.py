"""Measures of one photo in the look of one picture, beside the same measures of answers that took no work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganstyle.base.errors import UserError
from ganstyle.data.blend import oklab
from ganstyle.data.images import resize
from ganstyle.data.pixels import within
from ganstyle.data.tensors import to_tensor
from ganstyle.evaluate.copied_patches import PatchSearch
from ganstyle.evaluate.distances import frechet_distance
from ganstyle.evaluate.feature_sets import (
    places_of,
    relative_distance,
    relative_sliced_distance,
    squared_sliced_distance,
)
from ganstyle.evaluate.structure import structure_similarity
from ganstyle.evaluate.trivial import colour_match
from ganstyle.networks.features import RandomFeatures
from ganstyle.networks.vgg import Vgg

# Style transfer compares relu1_1, relu2_1 ... and relu4_2; what it has not optimised judges it better.
HELD_OUT_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
SCALES = (1, 2, 4)
MINIMUM_PX = 32
COARSE = 4  # times smaller: brush strokes are gone there, and what the photo shows is not
LONGEST_PX = 1024

Pixels = np.ndarray  # uint8 (H, W, 3)
Scores = dict[str, float]
ContentMeasure = Callable[[Pixels, Pixels], float]  # of an answer and the photo, of one size
StyleMeasure = Callable[[Pixels], Callable[[Pixels], Scores]]  # made with the style picture once, then of each answer


@dataclass(frozen=True)
class Meaning:
    """What a measure says to a person: its name in words, and whether more of it is better."""

    title: str
    more_is_better: bool


MEANINGS = {
    "structure": Meaning("structure kept", True),
    "structure_coarse": Meaning(f"structure kept, {COARSE} times smaller", True),
    "lpips_grey": Meaning("LPIPS of grey to the photo", False),
    "style_distance": Meaning("style distance, held-out layers", False),
    "style_sliced": Meaning("style distance, sliced", False),
    "texture_distance": Meaning("style distance, random network", False),
    "colour_distance": Meaning("colour distance", False),
    "colour_sliced": Meaning("colour distance, sliced", False),
    "sifid": Meaning("SIFID", False),
    "copied_share": Meaning("copied word for word", False),
}


class PairJudge:
    """Measures answers to one photo and one style picture.

    What is kept of the photo: `structure` (see `structure_similarity`; also where the pictures are four times
    smaller) and LPIPS on grey. How near the style is: distances of features at held-out layers of a VGG, of a random
    network's and of colours in Oklab, which no style transfer optimises; SIFID; and `copied_share`, since pasting the
    picture itself would be nearest of all. A measure whose network is missing is left out, and so is a number where a
    picture is too small for it.

    Args:
        device: where networks compute.
        vgg: for the held-out layers.
        lpips: see `perceptual.grey_lpips`.
        sifid: see `perceptual.single_image_frechet`.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        vgg: Vgg | None = None,
        lpips: ContentMeasure | None = None,
        sifid: ContentMeasure | None = None,
    ) -> None:
        self.content: dict[str, ContentMeasure] = {"structure": _structure, "structure_coarse": _coarse_structure}
        self.style: list[StyleMeasure] = [partial(TextureDistance, device=device), ColourDistance]
        if lpips is not None:
            self.content["lpips_grey"] = lpips
        if vgg is not None:
            self.style.append(partial(HeldOutDistance, vgg=vgg.to(device), device=device))
        if sifid is not None:
            self.style.append(partial(_Alone, "sifid", sifid))
        self.style.append(partial(Copied, device=device))

    def __call__(self, content: Pixels, style: Pixels, answers: Mapping[str, Pixels]) -> dict[str, Scores]:
        """The scores of each answer, by its name; in the order of `MEANINGS`.

        Args:
            content: the photo, in the answers' size.
            style: in any size; strokes are compared pixel by pixel, so it should be as large as it was used.
            answers: uint8 (H, W, 3).
        """
        to_style = [measure(style) for measure in self.style]
        return {name: self._scores(content, answer, to_style) for name, answer in answers.items()}

    def _scores(self, content: Pixels, answer: Pixels, to_style: Sequence[Callable[[Pixels], Scores]]) -> Scores:
        found = {name: measure(answer, content) for name, measure in self.content.items()}
        for measure in to_style:
            found |= measure(answer)
        return {name: found[name] for name in MEANINGS if name in found and not math.isnan(found[name])}


def baselines(content: Pixels, style: Pixels) -> dict[str, Pixels]:
    """Answers that took no work: the photo as it is, and with the style picture's colours."""
    return {"photo": content, "photo, its colours": colour_match(content[None], style[None])[0]}


def at_one_size(
    content: Pixels, style: Pixels, output: Pixels, *, longest_px: int = LONGEST_PX, style_scale: float = 1.0
) -> tuple[Pixels, Pixels, Pixels]:
    """The three pictures as they are compared: in the output's size, and that within `longest_px`.

    The style picture keeps its aspect; it gets as many pixels as the output has, times `style_scale` squared, but is
    never enlarged, since blur is not its style. It shrinks with an output that is too large.

    Raises:
        UserError: the output or the style picture then has a side under 32 px.
    """
    size = within(output.shape[:2], longest_px)
    used = style_scale * math.sqrt(math.prod(output.shape[:2]) / math.prod(style.shape[:2]))
    factor = min(used, 1.0) * max(size) / max(output.shape[:2])
    style_size = (round(style.shape[0] * factor), round(style.shape[1] * factor))
    for name, (height, width) in {"the output": size, "the style picture": style_size}.items():
        if min(height, width) < MINIMUM_PX:
            raise UserError(
                f"{name} is compared at {width} x {height} px, and that is too little to measure: "
                f"expected sides of {MINIMUM_PX} px or more"
            )
    return resize(content, size), resize(style, style_size), resize(output, size)


class HeldOutDistance:
    """Style distances at layers of a VGG and at scales of the pictures: `style_distance` and `style_sliced`.

    Each is the mean over layers and scales of the relative distances of `feature_sets`. The pictures are taken whole,
    and twice and four times smaller where 32 px are left of each side.
    """

    def __init__(self, style: Pixels, *, vgg: Vgg, device: torch.device) -> None:
        self.vgg, self.device = vgg, device
        self.reference = dict(self._features(style))

    def __call__(self, answer: Pixels) -> Scores:
        """Measure one answer."""
        pairs = [(rows, self.reference[key]) for key, rows in self._features(answer) if key in self.reference]
        return {
            "style_distance": float(np.mean([relative_distance(*pair) for pair in pairs])),
            "style_sliced": float(np.mean([relative_sliced_distance(*pair) for pair in pairs])),
        }

    @torch.no_grad()
    def _features(self, pixels: Pixels) -> Iterator[tuple[tuple[int, str], np.ndarray]]:
        for scale in SCALES:
            image = _smaller(to_tensor(pixels, self.device), scale)
            if min(image.shape[2:]) >= (MINIMUM_PX if scale > 1 else self.vgg.minimum_px):
                for layer, maps in self.vgg(image, HELD_OUT_LAYERS).items():
                    yield (scale, layer), places_of(maps)


class TextureDistance:
    """`texture_distance`: how far means and deviations of a fixed random network's channels are from the style's.

    The mean over its scales of the 2-Wasserstein distance of independent normal distributions, relative to the style
    picture's mean squared features: 0 for the same texture, 1 as far away as nothing at all. It needs no weights.
    """

    def __init__(self, style: Pixels, *, device: torch.device) -> None:
        self.network, self.device = RandomFeatures().to(device), device
        self.reference = self._statistics(style)

    def __call__(self, answer: Pixels) -> Scores:
        """Measure one answer."""
        squared = (self._statistics(answer) - self.reference).square().sum(dim=1)
        length = self.reference.square().sum(dim=1).clamp(min=1e-12)
        return {"texture_distance": float((squared / length).sqrt().mean())}

    def _statistics(self, pixels: Pixels) -> Tensor:
        """The means and deviations of all channels, a row for each scale."""
        return self.network(to_tensor(pixels, self.device)).cpu().double().view(self.network.scales, -1)


class ColourDistance:
    """`colour_distance` and `colour_sliced`: how far colours are from the style's, in units of Oklab's lightness.

    The 2-Wasserstein distance of normal distributions fitted to the pixels' colours, and the sliced one of the colours
    themselves. 0.02 is just seen in colours side by side.
    """

    def __init__(self, style: Pixels) -> None:
        self.reference = _colours(style)

    def __call__(self, answer: Pixels) -> Scores:
        """Measure one answer."""
        colours = _colours(answer)
        return {
            "colour_distance": math.sqrt(max(frechet_distance(colours, self.reference), 0.0)),
            "colour_sliced": math.sqrt(squared_sliced_distance(colours, self.reference)),
        }


class Copied:
    """`copied_share`: see `PatchSearch.copied_share`."""

    def __init__(self, style: Pixels, *, device: torch.device) -> None:
        self.search = PatchSearch(style, device=device)

    def __call__(self, answer: Pixels) -> Scores:
        """Measure one answer."""
        return {"copied_share": self.search.copied_share(answer)}


class _Alone:
    """A measure of two pictures as one of an answer to a style picture."""

    def __init__(self, name: str, measure: ContentMeasure, style: Pixels) -> None:
        self.name, self.measure, self.style = name, measure, style

    def __call__(self, answer: Pixels) -> Scores:
        return {self.name: self.measure(answer, self.style)}


def _colours(pixels: Pixels) -> np.ndarray:
    return places_of(torch.from_numpy(oklab(pixels)).permute(2, 0, 1)[None])


def _structure(answer: Pixels, content: Pixels) -> float:
    return structure_similarity(answer[None], content[None])


def _coarse_structure(answer: Pixels, content: Pixels) -> float:
    height, width = (max(MINIMUM_PX // 2, side // COARSE) for side in answer.shape[:2])
    return _structure(resize(answer, (height, width)), resize(content, (height, width)))


def _smaller(image: Tensor, scale: int) -> Tensor:
    """An image with its sides divided, by the mean over what becomes one pixel."""
    return image if scale == 1 else F.avg_pool2d(image, scale)

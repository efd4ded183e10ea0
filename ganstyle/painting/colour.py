"""Whose colours a stylised photo has: the picture's, or the photo's by their luminance, covariance or histogram.

Colours are matched as sRGB values and not in linear light. There the shadows of a picture would weigh next to nothing
in its mean and covariance, so that dark strokes drift to any colour, and the map would ask for negative light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.data.blend import from_linear, keep_colours, oklab
from ganstyle.data.tensors import to_pixels, to_tensor

# A picture of little contrast is not stretched further: its noise and blocks would come out as colours.
MOST_GAIN = 4.0
# The variance that rounding to 8 bits has, of values in [-1, 1]; less than that is no colour, but rounding.
LEAST_VARIANCE = (2 / 255) ** 2 / 12
KNEE = 0.3  # of values in [-1, 1]: where the ends of the gamut begin to be soft
QUANTILES = 1 << 16
TURNS = 4  # of the colour axes before the last ones; more change nothing that is seen


class Colours(NamedTuple):
    """What is done about colours before and after a style is transferred; all pictures (1, 3, H, W) in [-1, 1].

    Args:
        before: (style picture, photo) to the style picture whose style is then transferred.
        after: (photo, result), of one size, to the result.
    """

    before: Callable[[Tensor, Tensor], Tensor]
    after: Callable[[Tensor, Tensor], Tensor]


def match_colours(
    picture: Tensor, reference: Tensor, *, weight: Tensor | None = None, reference_weight: Tensor | None = None
) -> Tensor:
    """The picture with the mean and covariance of the reference's colours, by the linear map that moves them least.

    Source: Pitie and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for example-based colour
    transfer", eq. 9. Differs from the paper: no direction of colour is stretched more than `MOST_GAIN` times, and
    what then lies outside of the gamut is brought inside (see `within_gamut`).

    Args:
        picture: (1, 3, H, W) in [-1, 1], sRGB.
        reference: the same, of any size.
        weight: (1, 1, H, W), 0 or more: the part of the picture whose colours are meant; the whole picture is mapped.
        reference_weight: the same of the reference.
    """
    return within_gamut(_matched(picture, reference, weight, reference_weight))


def match_histogram(picture: Tensor, reference: Tensor) -> Tensor:
    """The picture with the distribution of the reference's colours: its quantiles along several turned colour axes.

    After the linear map of `match_colours` the quantiles are matched along a few axes in turn, the last of them the
    principal axes of the reference's colours, along which they are therefore its own. Values that are equal in the
    picture stay equal. Source: Pitie, Kokaram and Dahyot 2007, "Automated colour grading using colour distribution
    transfer". Differs from the paper: it starts from the linear map, and few turns follow, so that no grain comes up.

    Args:
        picture: (1, 3, H, W) in [-1, 1], sRGB.
        reference: the same, of any size.
    """
    colours = _matched(picture, reference, None, None).flatten(2)[0]
    wanted = reference.float().flatten(2)[0]
    for turn in _turns(wanted):
        axes = turn.to(colours)
        along = zip(axes @ colours, axes @ wanted, strict=True)
        colours = axes.T @ torch.stack([_with_quantiles(values, target) for values, target in along])
    return within_gamut(colours.view_as(picture))


def with_luminance(colours_of: Tensor, luminance_of: Tensor) -> Tensor:
    """The hue and chroma of one picture at the lightness of another, in Oklab; both (1, 3, H, W) in [-1, 1].

    As `ganstyle.data.blend.keep_colours`: what is grey in the first is grey in the result, and colours that sRGB does
    not have at that lightness get less chroma.
    """
    colours, luminance = (to_pixels(each, np.uint16)[0] for each in (colours_of, luminance_of))
    return to_tensor(keep_colours(colours, luminance), luminance_of.device)


def match_luminance(picture: Tensor, reference: Tensor) -> Tensor:
    """The picture in grey, with the mean and deviation of the reference's lightness in Oklab.

    Source: Gatys et al. 2016, "Preserving color in neural artistic style transfer", eq. 5. Differs from the paper: the
    deviation grows `MOST_GAIN` times at most.

    Args:
        picture: (1, 3, H, W) in [-1, 1], sRGB.
        reference: the same, of any size.
    """
    lightness, wanted = (oklab(to_pixels(each, np.uint16)[0])[..., 0] for each in (picture, reference))
    least = LEAST_VARIANCE**0.5 / 2  # lightness is in 0..1
    gain = min(float(wanted.std()) / max(float(lightness.std()), least), MOST_GAIN)
    matched = np.clip((lightness - lightness.mean()) * gain + wanted.mean(), 0, 1)
    # Of a grey, Oklab's lightness is the cube root of its light.
    grey = from_linear(matched.astype(np.float32) ** 3, np.dtype(np.uint16))
    return to_tensor(np.repeat(grey[..., None], 3, axis=-1), picture.device)


def within_gamut(images: Tensor) -> Tensor:
    """Values outside of [-1, 1] are brought inside, with a soft knee that keeps what differs there different.

    A channel that lies inside stays as it is, to the bit. Where one reaches beyond an end, what is nearer to it than
    `KNEE` is pressed together so that its extreme becomes the end: the order of values is kept, slopes begin with 1,
    and none moves farther than `KNEE` and its overshoot. Plain clipping would turn a third of a picture's strokes
    into flat black where a photo is a night.

    Args:
        images: (N, 3, H, W).
    """
    return -_under_one(-_under_one(images))


def _under_one(images: Tensor) -> Tensor:
    """With u = x - (1 - knee) and its maximum m: u / (1 + u (1 / knee - 1 / m)), which takes m to the knee."""
    above = (images - (1 - KNEE)).clamp(min=0)
    most = above.amax(dim=(2, 3), keepdim=True).clamp(min=KNEE)
    pressed = above / (1 + above * (1 / KNEE - 1 / most))
    return torch.where(most > KNEE, images - above + pressed, images).clamp(max=1)


def _matched(picture: Tensor, reference: Tensor, weight: Tensor | None, reference_weight: Tensor | None) -> Tensor:
    """`match_colours` without regard to the gamut."""
    assert picture.shape[:2] == reference.shape[:2] == (1, 3), (picture.shape, reference.shape)
    mean, covariance = _moments(picture, weight)
    target_mean, target_covariance = _moments(reference, reference_weight)
    gain = _monge_map(covariance, target_covariance)
    shift = target_mean - gain @ mean
    gain, shift = gain.to(picture), shift.to(picture)
    return torch.einsum("ij,njhw->nihw", gain, picture) + shift[:, None, None]


def _moments(picture: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean (3,) and covariance (3, 3) of colours, float64 on the CPU: 3x3 matrices are nothing for a GPU."""
    colours = picture.float().flatten(2)[0]
    share = torch.ones_like(colours[:1]) if weight is None else weight.to(colours).flatten(2)[0]
    total = share.sum()
    assert total > 0, "a weight that is zero everywhere"
    share = share / total
    mean = (colours * share).sum(dim=1, keepdim=True)
    spread = colours - mean
    return mean[:, 0].cpu().double(), ((spread * share) @ spread.T).cpu().double()


def _monge_map(covariance: Tensor, target: Tensor) -> Tensor:
    """A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2: symmetric, and takes the covariance A to B; see `match_colours`."""
    covariance = _with_eigenvalues(covariance, lambda values: values.clamp(min=LEAST_VARIANCE))
    root = _with_eigenvalues(covariance, torch.sqrt)
    inverse = _with_eigenvalues(covariance, torch.rsqrt)
    middle = _with_eigenvalues(root @ target @ root, lambda values: values.clamp(min=0).sqrt())
    return _with_eigenvalues(inverse @ middle @ inverse, lambda values: values.clamp(max=MOST_GAIN))


def _with_eigenvalues(matrix: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * change(values)) @ vectors.T


def _turns(colours: Tensor) -> Iterator[Tensor]:
    """Orthogonal colour axes (3, 3), one axis a row; the last ones are the principal axes of the colours (3, N)."""
    stream = Draws(seed=0).stream("turned colour axes")
    for _ in range(TURNS):
        yield torch.from_numpy(np.linalg.qr(stream.standard_normal((3, 3)))[0])
    _, covariance = _moments(colours[None, :, None], None)
    yield torch.linalg.eigh(covariance).eigenvectors.T


def _with_quantiles(values: Tensor, target: Tensor) -> Tensor:
    """Values (N,), each replaced by the quantile of the target (M,) at its own rank; equal ones get a common rank."""
    own, wanted = _quantiles(values), _quantiles(target)
    # Counted from both sides: the rank of equal values is in their middle.
    rank = torch.searchsorted(own, values) + torch.searchsorted(own, values, right=True)
    place = (rank.float() * (len(wanted) / (2 * len(own))) - 0.5).clamp(0, len(wanted) - 1)
    low = place.long().clamp(max=max(0, len(wanted) - 2))
    high = (low + 1).clamp(max=len(wanted) - 1)
    return torch.lerp(wanted[low], wanted[high], place - low)


def _quantiles(values: Tensor) -> Tensor:
    """The values in order, thinned out evenly to `QUANTILES` of them."""
    ordered = values.sort().values
    if len(ordered) <= QUANTILES:
        return ordered
    return ordered[torch.linspace(0, len(ordered) - 1, QUANTILES, device=values.device).round().long()]


def _as_in_the_picture(style: Tensor, _: Tensor) -> Tensor:
    return style


def _as_made(_: Tensor, result: Tensor) -> Tensor:
    return result


COLOURS: dict[str, Colours] = {
    "style": Colours(_as_in_the_picture, _as_made),
    "luminance": Colours(match_luminance, with_luminance),
    "match": Colours(match_colours, _as_made),
    "histogram": Colours(match_histogram, _as_made),
}

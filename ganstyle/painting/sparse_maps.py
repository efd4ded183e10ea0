"""Pictures and figures of a sparse code: where each place came from, how many atoms, which of them, what was copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ganstyle.data.images import resize
from ganstyle.data.tensors import to_pixels
from ganstyle.painting.copied import Copied, Sources, copied_runs, sources_of

if TYPE_CHECKING:
    from ganstyle.painting.dictionary import Dictionary
    from ganstyle.painting.sparse import CodedLevel

MOST_ATOMS, ATOM_ROW, ATOM_PX, GAP_PX = 64, 8, 40, 3
# The colours of the picture's corners on the map; between them they are mixed.
CORNERS = np.array([[[240, 196, 60], [206, 58, 48]], [[30, 150, 120], [62, 62, 170]]], np.float64)
NOWHERE = (128, 128, 128)  # a place whose code is empty
DARKEST = 0.6  # of the colours, under what is black
REC_709 = np.array([0.2126, 0.7152, 0.0722])

Array = np.ndarray


@dataclass(frozen=True)
class Layer:
    """One coded level and patch size, and what is found out of it."""

    name: str  # for files
    level: CodedLevel
    sources: Sources
    copied: Copied

    @property
    def title(self) -> str:
        """For people: the size of the result at this level, and of the patches."""
        height, width = self.sources.size
        return f"{width} × {height} px, patches of {self.sources.patch_px} px"


def layer_of(number: int, level: CodedLevel, image: Tensor) -> Layer:
    """A coded level with its sources and what of it was copied into the result; numbered as they were coded."""
    sources = sources_of(level, image)
    return Layer(f"{number:02}-{max(sources.size)}px-{level.patch_px}px", level, sources, copied_runs(sources))


def correspondence(sources: Sources, extent: tuple[int, int], shade: Array) -> Array:
    """Colour each pixel of the result by where in the picture it came from, (H, W, 3) uint8.

    Args:
        sources: of one level.
        extent: (height, width) of the picture at this level.
        shade: the result in grey at this level's size (H, W) in 0..1, laid under the colours.
    """
    places, known = sources.of_pixels()
    colours = _coloured(places[..., 0] / extent[0], places[..., 1] / extent[1])
    return _shaded(np.where(known[..., None], colours, NOWHERE), shade)


def key_of(style: Array) -> Array:
    """The picture in the colours by which places of it are told on the map, (h, w, 3) uint8."""
    height, width = style.shape[:2]
    rows, columns = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    return _shaded(_coloured(rows, columns), _grey(style))


def sparsity(level: CodedLevel) -> dict[str, Any]:
    """How many atoms patches are made of, and with which weights.

    `patches` by the number of atoms from 0 on, `coefficients` the mean of the first, second ... atom over patches that
    have it, `residual` the mean of what no atom tells, `atoms_used` of `atoms`.
    """
    atoms, coefficients = level.codes.atoms.cpu().numpy(), level.codes.coefficients.float().cpu().numpy()
    used = (atoms >= 0) & (coefficients > 0)
    counts = used.sum(axis=0)
    means = np.divide(np.where(used, coefficients, 0).sum(axis=0), counts, out=np.zeros(len(counts)), where=counts > 0)
    return {
        "patches": np.bincount(used.sum(axis=1), minlength=atoms.shape[1] + 1).tolist(),
        "coefficients": [round(float(mean), 4) for mean in means],
        "residual": round(float(level.codes.residual.float().mean()), 4),
        "atoms_used": len(np.unique(atoms[used])),
        "atoms": len(level.dictionary.atoms),
    }


def most_used(level: CodedLevel, count: int = MOST_ATOMS) -> tuple[Array, Array]:
    """The atoms with the largest sums of coefficients, and these sums' shares of all, the most used first."""
    atoms, coefficients = level.codes.atoms.cpu().numpy(), level.codes.coefficients.float().cpu().numpy()
    used = (atoms >= 0) & (coefficients > 0)
    sums = np.bincount(atoms[used], weights=coefficients[used], minlength=len(level.dictionary.atoms))
    order = np.argsort(-sums, kind="stable")[:count]
    order = order[sums[order] > 0]
    return order, sums[order] / max(sums.sum(), 1e-12)


def atoms_as_patches(dictionary: Dictionary, atoms: Array) -> Array:
    """Atoms as the patches that they were cut out as, (N, p, p, 3) uint8."""
    chosen = dictionary.atoms[atoms] * dictionary.norms[atoms, None]
    side = dictionary.patch_px
    return to_pixels(chosen.unflatten(1, (3, side, side)) + dictionary.means[atoms][..., None, None])


def _draw_correspondence(layer: Layer, result: Array) -> Array:
    places = layer.level.dictionary.places.cpu().numpy()
    height, width = places.max(axis=0) + layer.level.patch_px
    return correspondence(layer.sources, (int(height), int(width)), _grey(result))


def _draw_copied(layer: Layer, result: Array) -> Array:
    """What was copied in its own colours, the rest pale and grey."""
    pale = np.repeat(160 + 90 * _grey(result)[..., None], 3, axis=-1)
    return np.where(layer.copied.mask[..., None], result, pale).astype(np.uint8)


def _draw_sparsity(layer: Layer, result: Array) -> Array:
    """The number of atoms of the nearest patch: none black, the most white."""
    codes = layer.level.codes
    used = ((codes.atoms >= 0) & (codes.coefficients > 0)).sum(dim=1).cpu().numpy()
    cells = np.zeros(layer.sources.atoms.shape, np.uint8)
    tops, lefts = layer.level.places.cpu().numpy().T
    cells[np.searchsorted(layer.sources.rows, tops), np.searchsorted(layer.sources.columns, lefts)] = (
        used * 255 // codes.atoms.shape[1]
    )
    grown = np.repeat(cells[..., None], 3, axis=-1)
    return resize(np.ascontiguousarray(grown), layer.sources.size)


def _draw_atoms(layer: Layer, result: Array) -> Array:
    """The atoms most used in rows, each as large as the next, on white."""
    order, _ = most_used(layer.level)
    canvas = np.full((MOST_ATOMS // ATOM_ROW, ATOM_ROW, ATOM_PX + GAP_PX, ATOM_PX + GAP_PX, 3), 255, np.uint8)
    for number, patch in enumerate(atoms_as_patches(layer.level.dictionary, order)):
        shown = np.arange(ATOM_PX) * layer.level.patch_px // ATOM_PX  # as it is, not smoothed
        canvas[divmod(number, ATOM_ROW)][:ATOM_PX, :ATOM_PX] = patch[shown][:, shown]
    rows, columns, side = canvas.shape[:3]
    return np.ascontiguousarray(canvas.swapaxes(1, 2).reshape(rows * side, columns * side, 3))


MAPS: dict[str, tuple[str, Callable[[Layer, Array], Array]]] = {
    "from": ("where each place came from", _draw_correspondence),
    "copied": ("in colour: copied word for word", _draw_copied),
    "sparsity": ("atoms at each place (white: the most)", _draw_sparsity),
    "atoms": ("the atoms most used", _draw_atoms),
}


def _coloured(rows: Array, columns: Array) -> Array:
    """The colours of places, given from 0 to 1, mixed from those of the corners."""
    down, across = np.clip(rows, 0, 1)[..., None], np.clip(columns, 0, 1)[..., None]
    top, bottom = (CORNERS[side, 0] * (1 - across) + CORNERS[side, 1] * across for side in (0, 1))
    return np.asarray(top * (1 - down) + bottom * down)


def _shaded(colours: Array, grey: Array) -> Array:
    return np.rint(colours * (DARKEST + (1 - DARKEST) * grey[..., None])).astype(np.uint8)


def _grey(pixels: Array) -> Array:
    return np.asarray(pixels @ REC_709 / 255)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.painting.copied import Copied, Sources, copied_runs, copied_warning, main_atoms, unturned
from ganstyle.painting.copied import sources_of as sources_in
from tests.painting.hand_made_codes import dictionary, grid, level, number_of

PATCH, STRIDE = 5, 2
SIZE = (31, 37)


def picture(height: int = 33, width: int = 41) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sources_of(level: Any) -> Sources:
    """The sources of a code alone, whatever the result looks like."""
    return sources_in(level, torch.zeros(1, 3, *level.size))


def runs_of(sources: Sources, **options: float) -> Copied:
    return copied_runs(sources, **{"likeness": -1, **options})


def scattered(made: Any, places: Tensor) -> Tensor:
    """Atoms drawn at random, one for each patch: nothing hangs together but by chance."""
    return torch.randint(len(made.places), (len(places),), generator=torch.Generator().manual_seed(1))


def with_piece(made: Any, places: Tensor, *, at: tuple[int, int], side: int, origin: tuple[int, int]) -> Tensor:
    """Scattered atoms with one piece, a square of patches, that was taken from `origin` of the picture."""
    atoms = scattered(made, places)
    for number, (top, left) in enumerate(places.tolist()):
        down, across = top - at[0], left - at[1]
        if 0 <= down <= side - PATCH and 0 <= across <= side - PATCH:
            atoms[number] = number_of(made, (origin[0] + down, origin[1] + across))
    return atoms


def test_a_pasted_piece_is_found_where_it_is() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    found = runs_of(
        sources_of(level(made, SIZE, places, with_piece(made, places, at=(6, 10), side=15, origin=(3, 20))))
    )
    assert len(found.runs) == 1
    run = found.runs[0]
    assert run.box == (6, 10, 15, 15)
    assert run.source == (3, 20, 15, 15)
    assert run.patches == 36
    assert run.area_px == 225
    assert found.largest_px == 15
    assert found.share == pytest.approx(225 / (SIZE[0] * SIZE[1]))
    expected = np.zeros(SIZE, bool)
    expected[6:21, 10:25] = True
    assert (found.mask == expected).all()


def test_nothing_is_copied_where_atoms_are_scattered_or_all_the_same_or_missing() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    for atoms in (scattered(made, places), torch.full((len(places),), 7), torch.full((len(places),), -1)):
        found = runs_of(sources_of(level(made, SIZE, places, atoms)))
        assert found.share == 0
        assert not found.runs
        assert found.largest_px == 0
        assert copied_warning(found) is None


def test_only_what_looks_like_the_picture_is_copied() -> None:
    """The left half of the result is the picture, the right one half of it and half noise, the middle flat."""
    style = picture(*SIZE)
    made, places = dictionary(style, PATCH), grid(SIZE, PATCH, STRIDE)
    coded = level(made, SIZE, places, torch.tensor([number_of(made, tuple(place)) for place in places.tolist()]))
    result = style.clone() * 0.6 + 0.2
    result[..., 13:20] = 0.1
    result[..., 20:] += torch.rand(1, 3, SIZE[0], 17, generator=torch.Generator().manual_seed(3))
    sources = sources_in(coded, result)
    whole = sources.columns <= 13 - PATCH
    assert sources.likeness[:, whole] == pytest.approx(1, abs=1e-5)
    assert (sources.likeness[:, (sources.columns >= 13) & (sources.columns <= 20 - PATCH)] == 0).all()
    assert sources.likeness[:, sources.columns >= 20].max() < 0.95
    found = copied_runs(sources, likeness=0.97)
    assert found.mask[:, : 13 - STRIDE].all()
    assert not found.mask[:, 14:].any()


def test_the_result_may_be_larger_than_the_level() -> None:
    style = picture(*SIZE)
    made, places = dictionary(style, PATCH), grid(SIZE, PATCH, STRIDE)
    coded = level(made, SIZE, places, torch.tensor([number_of(made, tuple(place)) for place in places.tolist()]))
    twice = style.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert copied_runs(sources_in(coded, twice)).share == 1


def test_the_main_atom_is_the_one_with_the_largest_weight() -> None:
    made, places = dictionary(picture(9, 9), PATCH), torch.tensor([[0, 0], [0, 2], [2, 0], [2, 2]])
    atoms = torch.tensor([[3, 8], [4, -1], [-1, -1], [5, 6]])
    weights = torch.tensor([[1.0, 3.0], [2.0, 9.0], [1.0, 1.0], [0.0, 0.0]])
    chosen = main_atoms(level(made, (7, 7), places, atoms, weights).codes)
    assert chosen.tolist() == [8, 4, -1, -1]


@pytest.mark.parametrize("turn", range(4))
def test_a_turned_piece_is_one_run_and_its_pixels_are_traced_back(turn: int) -> None:
    style, size = picture(), (21, 17)
    made, places = dictionary(style, PATCH, turns=range(4)), grid(size, PATCH, 3)
    top, left = 4, 9
    height, width = size if turn % 2 == 0 else size[::-1]
    piece = torch.rot90(style[0, :, top : top + height, left : left + width], turn, (1, 2))
    atoms = torch.tensor([_same_patch(made, piece, place) for place in places.tolist()])
    sources = sources_of(level(made, size, places, atoms))
    found = runs_of(sources)
    assert found.share == 1
    assert len(found.runs) == 1
    assert found.runs[0].source == (top, left, height, width)
    pixels, known = sources.of_pixels()
    assert known.all()
    traced = style[0][:, pixels[..., 0], pixels[..., 1]]
    assert torch.equal(traced, piece)


def _same_patch(made: Any, piece: Tensor, place: list[int]) -> int:
    patch = piece[:, place[0] : place[0] + PATCH, place[1] : place[1] + PATCH]
    mean = patch.mean(dim=(1, 2))
    difference = made.atoms * made.norms[:, None] - (patch - mean[:, None, None]).flatten()
    return int((difference.norm(dim=1) + (made.means - mean).norm(dim=1)).argmin())


def test_each_turned_pixel_is_the_one_that_torch_turned_there() -> None:
    side = 4
    cells = torch.arange(side * side).reshape(side, side)
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    for turn in range(4):
        found = unturned(np.full((side, side), turn), rows, columns, side)
        assert (found[..., 0] * side + found[..., 1] == torch.rot90(cells, turn, (0, 1)).numpy()).all()


def test_atoms_cut_out_at_a_stride_still_make_a_run() -> None:
    """Then the picture's patch a stride further on is not there, and the nearest one stands for it."""
    made, places = dictionary(picture(61, 61), PATCH, stride_px=3), grid(SIZE, PATCH, STRIDE)
    atoms = torch.tensor([number_of(made, (3 * round(top / 3), 3 * round(left / 3))) for top, left in places.tolist()])
    found = runs_of(sources_of(level(made, SIZE, places, atoms)))
    assert found.share == 1
    assert len(found.runs) == 1


def test_pieces_beside_each_other_are_told_apart_and_patches_may_be_missing() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    left = places[:, 1] < 16
    right = places[:, 1] >= 20
    kept = places[left | right]
    atoms = torch.tensor(
        [number_of(made, (top, (column + 3) if column < 16 else column - 18)) for top, column in kept.tolist()]
    )
    found = runs_of(sources_of(level(made, SIZE, kept, atoms)))
    assert [run.source[1] for run in found.runs] == [3, 2]
    assert [run.box[1] for run in found.runs] == [0, 20]
    assert found.share == pytest.approx((SIZE[1] - 1) / SIZE[1])


def test_patches_of_one_piece_that_lie_apart_are_two_runs() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    kept = places[(places[:, 1] < 14) | (places[:, 1] >= 20)]
    atoms = torch.tensor([number_of(made, (top + 1, left + 2)) for top, left in kept.tolist()])
    assert len(runs_of(sources_of(level(made, SIZE, kept, atoms))).runs) == 2


def test_patches_that_are_turned_each_in_another_way_are_no_run() -> None:
    """Though the first pixel of the result would come from one place, whichever of them is continued to it."""
    made, places = dictionary(picture(41, 41), PATCH, turns=(0, 1)), grid((15, 15), PATCH, STRIDE)
    atoms = [
        number_of(made, (5 + left, 30 - PATCH - (PATCH - 1) - top), 1)
        if (top + left) // STRIDE % 2
        else number_of(made, (5 + top, 30 + left - PATCH))
        for top, left in places.tolist()
    ]
    sources = sources_of(level(made, (15, 15), places, torch.tensor(atoms)))
    assert len(np.unique(sources.turns)) == 2
    assert not runs_of(sources).runs


def test_short_runs_do_not_count() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    sources = sources_of(level(made, SIZE, places, with_piece(made, places, at=(6, 10), side=9, origin=(3, 20))))
    assert runs_of(sources).share == 0
    assert runs_of(sources, least_patches=3).largest_px == 9


def test_the_warning_says_how_much_and_what_to_do() -> None:
    made, places = dictionary(picture(), PATCH), grid(SIZE, PATCH, STRIDE)
    found = runs_of(sources_of(level(made, SIZE, places, with_piece(made, places, at=(0, 0), side=31, origin=(1, 2)))))
    warning = copied_warning(found)
    assert warning is not None
    assert "84%" in warning
    assert "content" in warning
    assert "\n" not in warning

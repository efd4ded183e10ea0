from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.painting.edges import edge_strength
from ganstyle.painting.sparse import DICTIONARY_BYTES, SparseMoment, SparseSettings, SparseStylizer


def picture(height: int, width: int, seed: int, cell_px: int = 6) -> Tensor:
    """Blocks of colour with a little texture."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, -(-height // cell_px), -(-width // cell_px), generator=draw) * 1.6 - 0.8
    blocks = coarse.repeat_interleave(cell_px, 2).repeat_interleave(cell_px, 3)[..., :height, :width]
    return (blocks + 0.1 * torch.randn(1, 3, height, width, generator=draw)).clamp(-1, 1)


def soft(height: int, width: int) -> Tensor:
    """A photo with one edge: dark above, light below, and nothing else."""
    image = torch.full((1, 3, height, width), -0.5)
    image[..., height // 2 :, :] = 0.4
    return image


STYLE = picture(60, 72, 1)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def test_strokes_come_in_where_the_photo_is_flat_and_its_edge_stays() -> None:
    photo = soft(96, 96)
    made = SparseStylizer(STYLE, SparseSettings()).stylize(photo).image
    assert made.shape == photo.shape
    assert float(made.abs().max()) <= 1
    assert float(made[..., 8:32, 8:88].std(dim=(2, 3)).mean()) > 0.05  # a flat photo is flat no more
    upper, lower = made[..., :44, :].mean(), made[..., 52:, :].mean()
    assert float(lower - upper) > 0.15


def test_no_strength_is_the_photo_and_more_is_more() -> None:
    photo = picture(64, 64, 5, cell_px=16)
    distances = []
    for strength in (0.0, 0.01, 0.2, 0.5, 1.0):
        made = SparseStylizer(STYLE, SparseSettings(strength=strength)).stylize(photo).image
        distances.append(distance(made, photo))
    assert distances[0] == 0
    assert distances[1] < 0.03  # it begins where the photo is
    assert distances == sorted(distances)
    assert distances[-1] > 0.1


def test_the_same_seed_gives_the_same_picture_and_a_dictionary_serves_all_photos() -> None:
    settings = SparseSettings(most_atoms=200)
    stylizer = SparseStylizer(STYLE, settings)
    photos = [picture(60, 72, seed, cell_px=12) for seed in (6, 7)]
    first = [stylizer.stylize(photo).image for photo in photos]
    made = len(stylizer._dictionaries)
    second = [stylizer.stylize(photo).image for photo in photos]
    assert len(stylizer._dictionaries) == made > 0
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert all(
        torch.equal(SparseStylizer(STYLE, settings).stylize(p).image, x) for p, x in zip(photos, first, strict=True)
    )
    other = SparseStylizer(STYLE, SparseSettings(most_atoms=200, seed=1)).stylize(photos[0]).image
    assert not torch.equal(other, first[0])


def test_what_a_mask_protects_stays_nearer_to_the_photo() -> None:
    photo = picture(64, 64, 5, cell_px=16)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    stylizer = SparseStylizer(STYLE, SparseSettings())
    plain, kept = stylizer.stylize(photo).image, stylizer.stylize(photo, mask=mask).image
    colours = (
        SparseStylizer(STYLE, SparseSettings(protected_weight=1e6)).stylize(photo, mask=torch.ones_like(mask)).image
    )
    assert distance(kept[..., :28], colours[..., :28]) < 0.6 * distance(plain[..., :28], colours[..., :28])
    assert distance(kept[..., 40:], plain[..., 40:]) < 0.25 * distance(plain[..., 40:], colours[..., 40:])


def test_a_size_is_the_longer_side() -> None:
    photo = picture(60, 80, 5)
    assert SparseStylizer(STYLE, SparseSettings(size_px=40)).stylize(photo).image.shape == (1, 3, 30, 40)
    assert SparseStylizer(STYLE, SparseSettings(size_px=400)).stylize(photo).image.shape == (1, 3, 60, 80)


def test_levels_from_coarse_to_fine() -> None:
    large = torch.zeros(1, 3, 700, 1000)
    stylizer = SparseStylizer(large)
    sizes = [level.size for level in stylizer.levels((384, 512))]
    assert len(sizes) == 3
    assert max(sizes[0]) == 96
    assert sizes[-1] == (384, 512)
    assert [level.patch_sizes_px for level in stylizer.levels((384, 512))] == [(21, 13, 9), (21, 13, 9), (13, 9)]
    assert len(stylizer.levels((1536, 2048))) == 5
    assert [level.number for level in stylizer.levels((20, 300))] == list(range(1, len(stylizer.levels((20, 300))) + 1))
    assert all(min(level.size) >= max(level.patch_sizes_px) for level in stylizer.levels((20, 300)))


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (9, 9), (10, 200), (33, 47)])
@pytest.mark.parametrize("style", [(1, 1), (8, 60), (40, 50)])
def test_any_size_of_photo_and_picture(size: tuple[int, int], style: tuple[int, int]) -> None:
    said: list[str] = []
    stylizer = SparseStylizer(picture(*style, 1), SparseSettings(), say=said.append)
    made = stylizer.stylize(picture(*size, 2))
    assert made.image.shape == (1, 3, *size)
    assert made.image.isfinite().all()
    assert bool(said) == (not stylizer.levels(size))


@pytest.mark.parametrize("flat", [-1.0, 0.0, 1.0])
def test_flat_pictures_and_flat_photos(flat: float) -> None:
    even = torch.full((1, 3, 40, 48), flat)
    for photo, style in ((even, STYLE), (picture(40, 48, 3), even), (even, even)):
        assert SparseStylizer(style).stylize(photo).image.isfinite().all()


def test_told_as_it_goes_and_broken_off() -> None:
    photo, told = picture(64, 64, 5), list[SparseMoment]()
    stylizer = SparseStylizer(STYLE)
    whole = stylizer.stylize(photo, watch=told.append, keep_codes=True)
    assert [moment.done for moment in told] == list(range(1, told[-1].of + 1))
    assert {(layer.level, layer.patch_px) for layer in whole.layers} == {(each.level, each.patch_px) for each in told}
    assert whole.layers[-1].size == (64, 64)
    assert whole.layers[-1].codes.atoms.shape[1] == 2
    assert not stylizer.stylize(photo).layers
    assert "stopped_at" not in whole.facts
    assert torch.equal(told[-1].image(), whole.image)

    def stop(moment: SparseMoment) -> None:
        if moment.done == 3:
            raise KeyboardInterrupt

    stopped = stylizer.stylize(photo, watch=stop)
    assert stopped.image.shape == photo.shape
    assert stopped.facts["stopped_at"] == f"2 of {told[-1].of}"
    assert distance(stopped.image, whole.image) > 0


def test_what_does_not_fit_the_memory_is_told() -> None:
    stylizer = SparseStylizer(STYLE, free_bytes=lambda: DICTIONARY_BYTES + 1_000_000)
    with pytest.raises(UserError, match="choose a smaller --size"):
        stylizer.stylize(picture(64, 64, 5))
    assert stylizer.stylize(picture(40, 40, 5)).image.shape == (1, 3, 40, 40)


def test_learned_atoms_serve_too() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn (the extra 'study')")
    settings = SparseSettings(dictionary="learned", patch_sizes_px=(9,), finest_sizes_px=(7,))
    assert SparseStylizer(STYLE, settings).stylize(picture(48, 48, 5)).image.isfinite().all()


def test_edges_against_the_slow_way() -> None:
    photo = soft(20, 16)
    strength = edge_strength(photo)[0, 0].numpy()
    assert strength.shape == (20, 16)
    assert strength[9:11].min() > 0.5
    assert np.abs(strength[:4]).max() < 0.01
    assert np.abs(strength[-4:]).max() < 0.01
    assert float(edge_strength(torch.zeros(1, 3, 9, 9)).max()) == 0
    faint = 0.001 * torch.randn(1, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    assert float(edge_strength(faint).max()) < 0.1  # noise is no edge


def test_flat_ground_gets_no_weave() -> None:
    """Where all patches choose the same atom, a regular grid of them would be seen as lines in the spectrum."""
    style = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(3)) * 0.4 - 0.2
    settings = SparseSettings(levels=1, finest_sizes_px=(9,), rounds=1, content_weight=0, flat_weight=0)
    made = SparseStylizer(style, settings, say=lambda _: None).stylize(torch.zeros(1, 3, 90, 90)).image
    grey = made[0].mean(0) - made.mean()
    assert grey.std() > 0.01
    power = torch.fft.rfft2(grey[:85, :85]).abs().square()
    # Its strongest frequency, against all: patches 5 px apart would put most of the power on multiples of 1/5.
    assert float(power.max() / power.sum()) < 0.1

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.scene_layout import inside
from ganstyle.data.scene_parts import Boat, House, Tree
from ganstyle.data.scenes import STYLES, Scene, draw_scene, render_photo, scene_stream, synthesize

FOLDERS = ("trainA", "trainB", "testA", "testB")


def scene(number: int) -> Scene:
    return draw_scene(np.random.default_rng(number))


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return picture.astype(np.float64) @ np.array((0.299, 0.587, 0.114)) / 255


def edges(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.hypot(*np.gradient(luminance(picture)))


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def psnr(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(10 * np.log10(1 / np.mean((first - second) ** 2)))


@pytest.fixture(scope="module", params=sorted(STYLES))
def pairs(request: pytest.FixtureRequest) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Sixteen scenes, photo-like and in a style, 64 px."""
    return [(render_photo(scene(n), 64), STYLES[request.param](scene(n), 64)) for n in range(16)]


@pytest.mark.parametrize("render", [render_photo, *STYLES.values()])
@pytest.mark.parametrize("size_px", [16, 50, 96, 129])
def test_a_picture_has_the_size_asked_for_and_is_the_same_each_time(render, size_px):
    picture = render(scene(3), size_px)
    assert picture.shape == (size_px, size_px, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, render(scene(3), size_px))
    assert picture.std() > 10


@pytest.mark.parametrize("render", [render_photo, *STYLES.values()])
def test_a_scene_looks_the_same_at_every_size(render):
    for number in range(4):
        small, large = (luminance(render(scene(number), size)) for size in (64, 128))
        shrunk = large.reshape(64, 2, 64, 2).mean((1, 3))
        assert correlation(small, shrunk) > 0.9


def test_scenes_differ():
    pictures = [render_photo(scene(number), 32).astype(int) for number in range(12)]
    assert min(np.abs(a - b).mean() for a, b in pairwise(pictures)) > 5


def test_things_stand_where_they_can():
    houses = trees = boats = 0
    for number in range(150):
        landscape = scene(number)
        for thing in landscape.things:
            afloat = inside(landscape.water, thing.x, thing.y)
            assert afloat == isinstance(thing, Boat), (number, thing)
            assert thing.y >= landscape.horizon, (number, thing)
            houses, trees = houses + isinstance(thing, House), trees + isinstance(thing, Tree)
            boats += isinstance(thing, Boat)
        heights = [thing.y for thing in landscape.things]
        assert heights == sorted(heights), "far things are painted first"
    assert min(houses, trees, boats) > 20


def test_edges_of_a_pair_lie_in_the_same_places(pairs):
    own = [correlation(edges(photo), edges(painted)) for photo, painted in pairs]
    other = [correlation(edges(a[0]), edges(b[1])) for a, b in pairwise([*pairs, pairs[0]])]
    assert all(mine > stranger for mine, stranger in zip(own, other, strict=True))
    assert np.mean(own) > np.mean(other) + 0.2


def test_a_style_keeps_what_is_light_and_what_is_dark(pairs):
    kept = [correlation(luminance(photo), luminance(painted)) for photo, painted in pairs]
    assert np.mean(kept) > 0.5
    assert np.mean([value > 0.3 for value in kept]) > 0.9


def test_a_style_is_more_than_other_colours(pairs):
    scores = []
    for photo, painted in pairs:
        source, truth = photo / 255.0, painted / 255.0
        spread = truth.std((0, 1)) / source.std((0, 1))
        matched = np.clip((source - source.mean((0, 1))) * spread + truth.mean((0, 1)), 0, 1)
        scores.append(psnr(matched, truth))
    assert np.mean(scores) < 18, "matching mean and deviation, even to the truth's own, must not be enough"


def test_a_step_in_the_photo_becomes_a_dark_line_in_ink():
    found = 0
    for landscape in filter(lambda drawn: drawn.path is not None, map(scene, range(60))):
        assert landscape.path is not None
        size = 128
        rim = landscape.path[: len(landscape.path) // 2]
        rim = rim[(rim[:, 1] > landscape.horizon + 0.15) & (rim[:, 1] < 0.98) & (rim[:, 0] > 0.06) & (rim[:, 0] < 0.94)]
        if len(rim) < 8:
            continue
        found += 1
        x, y = (rim * size).astype(int).T
        photo, ink = luminance(render_photo(landscape, size)), luminance(STYLES["ink"](landscape, size))
        sides = [np.median(ink[y, x + step]) for step in (-5, 5)]
        assert np.median(ink[y, x]) < min(sides) - 0.15
        assert np.median(photo[y, x]) > min(np.median(photo[y, x + step]) for step in (-5, 5)) - 0.05
    assert found > 5


def test_ink_is_mostly_paper_with_few_dark_strokes():
    for number in range(8):
        ink = luminance(STYLES["ink"](scene(number), 96))
        assert ink.max() > 0.85
        assert 0.01 < np.mean(ink < 0.35) < 0.4
        assert np.mean(ink > 0.6) > 0.4


def test_a_data_set_has_its_layout_and_is_reproducible(tmp_path: Path):
    written = synthesize(tmp_path / "one", count=6, size_px=24, seed=5, test_count=3)
    assert written == {"trainA": 6, "trainB": 6, "testA": 3, "testB": 3}
    assert written == synthesize(tmp_path / "two", count=6, size_px=24, seed=5, test_count=3)
    for folder in FOLDERS:
        names = sorted(path.name for path in (tmp_path / "one" / folder).iterdir())
        assert names == [f"{index:04d}.png" for index in range(written[folder])]
        for name in names:
            assert (tmp_path / "one" / folder / name).read_bytes() == (tmp_path / "two" / folder / name).read_bytes()
    with Image.open(tmp_path / "one" / "trainB" / "0000.png") as picture:
        assert (picture.size, picture.mode) == ((24, 24), "RGB")


def test_another_seed_draws_others_and_a_larger_count_only_adds(tmp_path: Path):
    for name, seed, count in (("base", 0, 2), ("seed", 1, 2), ("more", 0, 3)):
        synthesize(tmp_path / name, count=count, size_px=16, seed=seed)
    first = {name: (tmp_path / name / "trainA" / "0001.png").read_bytes() for name in ("base", "seed", "more")}
    assert first["base"] == first["more"]
    assert first["base"] != first["seed"]


def test_no_scene_is_in_two_splits_and_the_test_splits_are_pairs(tmp_path: Path):
    synthesize(tmp_path / "set", count=20, size_px=16, test_count=4)
    seeds = [
        draw_scene(scene_stream(0, "ink", split, i)).seed for split in ("train a", "train b", "test") for i in range(20)
    ]
    assert len(set(seeds)) == 60
    for index in range(4):
        drawn = draw_scene(scene_stream(0, "ink", "test", index))
        for folder, render in (("testA", render_photo), ("testB", STYLES["ink"])):
            with Image.open(tmp_path / "set" / folder / f"{index:04d}.png") as picture:
                assert np.array_equal(np.asarray(picture), render(drawn, 16))


def test_the_test_part_is_a_tenth_and_never_empty(tmp_path: Path):
    assert synthesize(tmp_path / "few", count=1, size_px=16)["testA"] == 1
    assert synthesize(tmp_path / "more", count=20, size_px=16)["testB"] == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"style": "inc"}, "unknown style 'inc': did you mean 'ink'"),
        ({"style": "zzzzzz"}, "unknown style 'zzzzzz', expected one of: ink"),
        ({"count": 0}, "count is 0"),
        ({"test_count": 0}, "test_count is 0"),
        ({"size_px": 15}, "size is 15 px, expected 16 to 4096"),
        ({"size_px": 4097}, "size is 4097 px"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_written(tmp_path: Path, wrong: dict, said: str):
    with pytest.raises(UserError) as caught:
        synthesize(tmp_path / "set", **wrong)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        synthesize(tmp_path, count=1, size_px=16)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path):
    assert synthesize(tmp_path, count=1, size_px=16)["trainA"] == 1


def test_a_place_that_cannot_be_a_folder_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="name another folder"):
            synthesize(place, count=1, size_px=16)


def test_a_failed_write_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)  # the picture is half there by then
    with pytest.raises(UserError, match="no space left on device"):
        synthesize(tmp_path / "set", count=1, size_px=16)
    assert not [path for path in (tmp_path / "set").rglob("*") if path.is_file()]

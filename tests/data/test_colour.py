from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ganstyle.data.colour import to_srgb
from ganstyle.data.images import read_image
from tests.data.image_files import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    SRGB,
    cmyk_profile,
    grey_profile,
    lab_to_srgb,
    rgb_profile,
    srgb_levels,
    tiff,
)

COLOURS = [(120, 120, 120), (200, 150, 100), (90, 140, 110), (255, 255, 255), (0, 0, 0), (60, 70, 180)]


def adobe_to_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    linear = (np.array(colour) / 255) ** ADOBE_GAMMA
    return srgb_levels(np.linalg.solve(SRGB, ADOBE_RGB @ linear))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
def test_adobe_rgb_becomes_srgb(tmp_path: Path, suffix: str) -> None:
    path, profile = tmp_path / f"a{suffix}", rgb_profile(ADOBE_RGB, ADOBE_GAMMA)
    for colour in COLOURS:
        Image.new("RGB", (16, 16), colour).save(path, icc_profile=profile, quality=100)
        picture = read_image(path)
        assert picture.metadata.icc_converted
        tolerance = 1.5 if suffix in (".png", ".tif") else 5
        assert np.abs(picture.pixels[8, 8] - adobe_to_srgb(colour)).max() <= tolerance, colour
    changes = [np.abs(adobe_to_srgb(colour) - colour).max() for colour in COLOURS]
    assert max(changes) > 10  # the profile matters


def test_alpha_is_composed_after_the_conversion(tmp_path: Path) -> None:
    colour = (200, 150, 100)
    image = Image.new("RGBA", (4, 4), (*colour, 128))
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(ADOBE_RGB, ADOBE_GAMMA))
    expected = adobe_to_srgb(colour) * 128 / 255 + np.array([0, 0, 255]) * 127 / 255
    assert np.abs(read_image(tmp_path / "a.png", background=(0, 0, 255)).pixels[0, 0] - expected).max() <= 1.5


def test_a_palette_with_a_profile(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 150, 100])
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(ADOBE_RGB, ADOBE_GAMMA))
    assert np.abs(read_image(tmp_path / "a.png").pixels[0, 0] - adobe_to_srgb((200, 150, 100))).max() <= 1.5


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_a_profile_for_grey(tmp_path: Path, mode: str) -> None:
    colours: dict[str, int | tuple[int, int]] = {"L": 100, "LA": (100, 255), "I;16": 100 * 257}
    image = Image.new(mode, (4, 4), colours[mode])
    image.save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    picture = read_image(tmp_path / "a.png")
    assert np.abs(picture.pixels - srgb_levels(np.array(100 / 255))).max() <= 1
    assert picture.metadata.icc_converted


def test_grey_with_a_profile_for_colour(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 100).save(tmp_path / "a.jpg", icc_profile=rgb_profile(SRGB, 1.0), quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").pixels - srgb_levels(np.array(100 / 255))).max() <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_with_a_profile(tmp_path: Path, suffix: str) -> None:
    lab = (62, -30, -20)
    for ink, expected in {(255, 0, 0, 0): lab_to_srgb(lab), (0, 0, 0, 0): 255, (0, 0, 0, 255): 0}.items():
        image = Image.new("CMYK", (16, 16), ink)
        image.save(tmp_path / f"a{suffix}", icc_profile=cmyk_profile(lab), quality=100)
        picture = read_image(tmp_path / f"a{suffix}")
        assert picture.metadata.icc_converted
        assert np.abs(picture.pixels[8, 8] - expected).max() <= 3, ink


def test_srgb_itself_changes_nothing(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=profile)
    picture = read_image(tmp_path / "a.png")
    assert (picture.pixels == values).all()
    assert not picture.metadata.icc_converted


@pytest.mark.parametrize(
    "profile",
    [b"rubbish", rgb_profile(ADOBE_RGB, ADOBE_GAMMA)[:200], grey_profile(1.0), cmyk_profile((50, 0, 0))],
    ids=["rubbish", "truncated", "for grey", "for CMYK"],
)
def test_a_wrong_profile_is_set_aside(tmp_path: Path, profile: bytes) -> None:
    Image.new("RGB", (4, 4), (200, 150, 100)).save(tmp_path / "a.png", icc_profile=profile)
    picture = read_image(tmp_path / "a.png")
    assert picture.pixels[0, 0].tolist() == [200, 150, 100]
    assert not picture.metadata.icc_converted


def test_cmyk_without_a_profile() -> None:
    rgb, converted = to_srgb(Image.new("CMYK", (1, 1), (100, 50, 0, 60)), None)
    expected = (255 - np.array([100, 50, 0])) * (255 - 60) / 255
    assert np.abs(np.asarray(rgb)[0, 0] - expected).max() <= 1
    assert not converted


@pytest.mark.parametrize("lab", [(50, 0, 0), (60, 30, 20), (70, -25, 40), (40, 10, -35), (100, 0, 0)])
def test_cielab(tmp_path: Path, lab: tuple[int, int, int]) -> None:
    encoded = np.array([round(lab[0] * 2.55), lab[1] % 256, lab[2] % 256], np.uint8)
    pixels = Image.frombytes("LAB", (1, 1), encoded.tobytes())
    got, _ = to_srgb(pixels, None)
    assert np.abs(np.asarray(got)[0, 0] - lab_to_srgb(lab)).max() <= 2
    (tmp_path / "a.tif").write_bytes(tiff(np.broadcast_to(encoded, (4, 5, 3)), photometric=8))
    assert np.abs(read_image(tmp_path / "a.tif").pixels[2, 2] - lab_to_srgb(lab)).max() <= 2

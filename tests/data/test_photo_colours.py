from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.data import profiles
from ganstyle.data.deep import encode_deep
from ganstyle.data.exif import with_blocks
from ganstyle.data.images import read_image
from ganstyle.data.photos import Keeping, read_photo, write_photo
from tests.data.image_files import (
    cmyk_profile,
    grey_profile,
    rgb_profile,
    saved,
    smooth,
    srgb_levels,
    written,
)
from tests.data.photo_files import MIDDLES, WIDE, muted, near, patches, rendered


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".heic"])
def test_the_profile_stays_and_the_colours_are_right_in_it(tmp_path: Path, name: str, suffix: str) -> None:
    profile = rgb_profile(*WIDE[name])
    source = saved(tmp_path / "a.png", Image.fromarray(patches() // 2 + 50), icc_profile=profile)
    photo = read_photo(source)
    assert near(photo.pixels, rendered(source, *WIDE[name]), 1)
    lines = write_photo(tmp_path / f"b{suffix}", photo, patches(), keeping=Keeping(quality=100))
    assert lines == []
    assert read_photo(tmp_path / f"b{suffix}").source.icc == profile
    found, again = rendered(tmp_path / f"b{suffix}", *WIDE[name]), read_photo(tmp_path / f"b{suffix}").pixels
    tolerance = {".webp": 4, ".avif": 4}.get(suffix, 2)  # these round the colours themselves
    assert near(found[MIDDLES], patches()[MIDDLES], tolerance)
    assert near(again[MIDDLES], patches()[MIDDLES], tolerance)
    if suffix in (".png", ".tif"):
        assert near(found, patches(), 1)


@pytest.mark.parametrize("name", WIDE)
def test_a_wide_jpeg_with_its_own_tables(tmp_path: Path, name: str) -> None:
    options = {"icc_profile": rgb_profile(*WIDE[name]), "quality": 97, "subsampling": 0, "progressive": True}
    source = saved(tmp_path / "a.jpg", Image.fromarray(patches()), **options)
    assert write_photo(tmp_path / "b.jpg", read_photo(source), patches()) == []
    assert near(rendered(tmp_path / "b.jpg", *WIDE[name])[MIDDLES], patches()[MIDDLES], 2)
    with Image.open(source) as old, Image.open(tmp_path / "b.jpg") as new:
        assert old.quantization == new.quantization  # type: ignore[attr-defined]
        assert new.info["progressive"]
    assert read_photo(tmp_path / "b.jpg").source.jpeg_subsampling == 0


def test_no_profile_means_srgb_and_none_is_written(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth())))
    assert write_photo(tmp_path / "b.png", photo, muted()) == []
    with Image.open(tmp_path / "b.png") as image:
        assert "icc_profile" not in image.info
        assert (np.asarray(image) == muted()).all()


@pytest.mark.parametrize(
    ("mode", "profile", "said"),
    [
        ("CMYK", None, "its colours were CMYK: the colours are sRGB now"),
        ("CMYK", cmyk_profile((60, -30, -40)), "its colours were CMYK: the colours are sRGB now"),
        ("RGB", b"broken" * 30, "its colour profile is one that cannot be written to: the colours are sRGB now"),
        ("L", grey_profile(1.8), "its colour profile is for grey alone: the colours are sRGB now"),
    ],
)
def test_a_profile_that_cannot_be_kept_becomes_srgb_and_a_line_says_so(
    tmp_path: Path, mode: str, profile: bytes | None, said: str
) -> None:
    options = {"icc_profile": profile} if profile else {}
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()).convert(mode), quality=95, **options))
    assert write_photo(tmp_path / "b.png", photo, muted()) == [said]
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == profiles.srgb()
        assert (np.asarray(image) == muted()).all()
    assert near(read_image(tmp_path / "b.png").pixels, muted(), 0)


def test_formats_without_profiles_get_srgb_values(tmp_path: Path) -> None:
    profile = rgb_profile(*WIDE["Adobe RGB"])
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth()), icc_profile=profile))
    assert "the colours are sRGB now" in write_photo(tmp_path / "b.bmp", photo, muted())[0]
    assert (read_image(tmp_path / "b.bmp").pixels == muted()).all()


def test_the_srgb_profile_is_the_same_bytes_each_time() -> None:
    first = profiles.srgb()
    profiles.srgb.cache_clear()
    assert profiles.srgb() == first


def camera_exif(space: int | None, index: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x8769] = ({} if space is None else {0xA001: space}) | ({} if index is None else {0xA005: {1: index}})
    return exif


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize(
    ("space", "index", "is_adobe"),
    [
        (65535, "R03", True),
        (2, None, True),
        (None, "R03", True),
        (1, "R03", False),
        (1, None, False),
        (65535, "R98", False),
        (65535, None, False),
    ],
)
def test_training_and_translation_see_the_same_colours(
    tmp_path: Path, suffix: str, space: int | None, index: str | None, is_adobe: bool
) -> None:
    lossy = {"quality": 98, "subsampling": 0}
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else lossy if suffix == ".jpg" else {}
    exif = camera_exif(space, index).tobytes()
    plain = saved(tmp_path / f"a{suffix}", Image.fromarray(patches()), exif=exif, **options)
    if suffix == ".tif":  # Pillow leaves the index out
        written(plain, with_blocks(saved(plain, Image.fromarray(patches())).read_bytes(), exif=exif))
    found = read_photo(plain)
    assert (read_image(plain).pixels == found.pixels).all()
    assert read_image(plain).metadata.icc_converted is is_adobe
    assert (found.source.icc is not None) is is_adobe
    expected = rendered(plain, *WIDE["Adobe RGB"]) if is_adobe else patches()
    assert near(found.pixels[MIDDLES], expected[MIDDLES], 3)


def test_adobe_rgb_in_exif_of_16_bit_files(tmp_path: Path) -> None:
    values = patches().astype(np.uint16) * 257
    exif = camera_exif(65535, "R03").tobytes()
    for format in ("png", "tiff"):
        photo = read_photo(written(tmp_path / f"a.{format}", encode_deep(values, None, format, exif=exif)))
        plain = saved(tmp_path / "c.png", Image.fromarray(patches()))
        assert photo.pixels.dtype == np.uint16
        assert photo.source.icc == profiles.adobe_rgb()
        assert near(photo.pixels / 257, rendered(plain, *WIDE["Adobe RGB"]), 1)


def test_cameras_that_name_adobe_rgb_in_exif_alone(tmp_path: Path) -> None:
    exif = camera_exif(65535, "R03")
    plain = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=exif, quality=98, subsampling=0)
    profile = rgb_profile(*WIDE["Adobe RGB"])
    tagged = saved(tmp_path / "c.jpg", Image.fromarray(smooth()), icc_profile=profile, quality=98, subsampling=0)
    photo = read_photo(plain)
    assert near(photo.pixels, read_photo(tagged).pixels, 1)
    write_photo(tmp_path / "b.jpg", photo, muted())
    assert near(rendered(tmp_path / "b.jpg", *WIDE["Adobe RGB"]), muted(), 4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".heic"])
def test_grey_is_known_and_written_grey(tmp_path: Path, suffix: str) -> None:
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth()[..., 0])))
    assert photo.source.grey
    coloured = muted()
    write_photo(tmp_path / f"b{suffix}", photo, coloured, keeping=Keeping(grey=True, quality=100))
    linear = np.where(coloured <= 0.04045 * 255, coloured / 255 / 12.92, ((coloured / 255 + 0.055) / 1.055) ** 2.4)
    expected = srgb_levels(linear @ np.array([0.2126, 0.7152, 0.0722]))
    again = read_photo(tmp_path / f"b{suffix}").pixels
    # Full range YCbCr of lossy formats: within a level or two.
    assert near(again, expected[..., None], {".webp": 3, ".jpg": 2, ".avif": 2, ".heic": 2}.get(suffix, 0.51))
    if suffix in (".png", ".jpg", ".tif"):
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.mode == "L"
    write_photo(tmp_path / "c.png", photo, coloured)
    assert (read_photo(tmp_path / "c.png").pixels == coloured).all()


@pytest.mark.parametrize("mode", ["1", "P", "LA"])
def test_other_ways_to_be_grey(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(smooth()[..., 0])
    image = grey.quantize(16) if mode == "P" else grey.convert(mode)
    assert read_photo(saved(tmp_path / "a.png", image)).source.grey
    assert not read_photo(saved(tmp_path / "b.png", Image.fromarray(smooth()).quantize(16))).source.grey


def test_a_grey_profile_stays_with_grey(tmp_path: Path) -> None:
    profile = grey_profile(1.8)
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()[..., 0]), icc_profile=profile)
    photo = read_photo(source)
    assert photo.source.grey
    assert write_photo(tmp_path / "b.png", photo, photo.pixels, keeping=Keeping(grey=True)) == []
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == profile
        assert near(np.asarray(image), smooth()[..., 0], 1)


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".heic"])
def test_a_grey_profile_is_left_out_where_grey_is_stored_as_colours(tmp_path: Path, suffix: str) -> None:
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()[..., 0]), icc_profile=grey_profile(1.8))
    photo = read_photo(source)
    keeping = Keeping(grey=True, quality=100)
    lines = write_photo(tmp_path / f"b{suffix}", photo, photo.pixels, keeping=keeping)
    assert lines == ["its colour profile is left out: the greys are those of sRGB now"]
    again = read_photo(tmp_path / f"b{suffix}")
    assert again.source.icc is None
    assert near(again.pixels, photo.pixels, 3)


def test_a_wide_grey_photo_gets_a_grey_of_srgb(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()[..., 0]), icc_profile=rgb_profile(*WIDE["Adobe RGB"]))
    photo = read_photo(source)
    (line,) = write_photo(tmp_path / "b.png", photo, photo.pixels, keeping=Keeping(grey=True))
    assert "greys are those of sRGB" in line
    assert near(read_photo(tmp_path / "b.png").pixels, photo.pixels, 1)


def test_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "a long description that makes the file an extended one"
    for lossless in (True, False):
        photo = read_photo(saved(tmp_path / "a.webp", Image.fromarray(noise), lossless=lossless, exif=exif))
        assert photo.source.lossless is lossless
        write_photo(tmp_path / "b.webp", photo, noise)
        assert (read_photo(tmp_path / "b.webp").pixels == noise).all() == lossless
    photo = read_photo(saved(tmp_path / "a.webp", Image.fromarray(noise), lossless=True))
    write_photo(tmp_path / "b.webp", photo, noise, keeping=Keeping(quality=80))
    assert not (read_photo(tmp_path / "b.webp").pixels == noise).all()


def test_quality_is_that_of_the_source_unless_it_is_given(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), quality=60, subsampling=2))
    write_photo(tmp_path / "b.jpg", photo, muted())
    assert read_photo(tmp_path / "b.jpg").source.jpeg_tables == photo.source.jpeg_tables
    assert read_photo(tmp_path / "b.jpg").source.jpeg_subsampling == 2
    write_photo(tmp_path / "c.jpg", photo, muted(), keeping=Keeping(quality=95))
    assert read_photo(tmp_path / "c.jpg").source.jpeg_tables != photo.source.jpeg_tables
    assert read_photo(tmp_path / "c.jpg").source.jpeg_subsampling == 0
    grey = read_photo(saved(tmp_path / "d.jpg", Image.fromarray(smooth()[..., 0]), quality=60))
    write_photo(tmp_path / "e.jpg", grey, muted())
    assert near(read_photo(tmp_path / "e.jpg").pixels, muted(), 25)

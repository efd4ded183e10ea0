from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data import heic, photos
from ganstyle.data.encode import FORMATS, encode_image
from ganstyle.data.images import SUFFIXES, read_image
from ganstyle.data.photos import Keeping, Photo, Unreadable, read_photo, write_photo
from tests.data.image_files import (
    rgb_profile,
    saved,
    smooth,
    tiff,
    written,
)
from tests.data.photo_files import ORIENTATION, WIDE, deep_png, muted, near, patches

ALPHA_FORMATS = ["png", "webp", "tiff", "avif", "heic"]


@pytest.mark.parametrize("name", ALPHA_FORMATS)
def test_alpha_is_apart_and_is_kept(tmp_path: Path, name: str) -> None:
    alpha = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    source = saved(tmp_path / "a.png", Image.fromarray(np.dstack([smooth(), alpha])))
    photo = read_photo(source)
    assert photo.alpha is not None
    assert (photo.alpha == alpha).all()
    assert (photo.pixels[alpha > 0] == smooth()[alpha > 0]).all()
    assert (photo.pixels[alpha == 0] == 255).all()
    target = tmp_path / f"b{FORMATS[name]}"
    assert write_photo(target, photo, muted(), keeping=Keeping(quality=100)) == []
    again = read_photo(target)
    assert again.alpha is not None
    assert near(again.alpha, alpha, 3)
    seen = alpha > 40
    assert near(again.pixels[seen], muted()[seen], {"webp": 9, "avif": 4, "heic": 6}.get(name, 0))


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_formats_without_alpha_show_white(tmp_path: Path, suffix: str) -> None:
    alpha = np.full((24, 32), 128, np.uint8)
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(np.dstack([smooth(), alpha]))))
    (line,) = write_photo(tmp_path / f"b{suffix}", photo, muted())
    assert "composed on white" in line
    expected = (muted() * (128 / 255)) + 255 * (127 / 255)
    assert near(read_image(tmp_path / f"b{suffix}").pixels, expected, 6 if suffix == ".jpg" else 1)


def test_gif_has_one_bit_of_alpha(tmp_path: Path) -> None:
    alpha = np.zeros((24, 32), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 100, 200
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(np.dstack([smooth(), alpha]))))
    (line,) = write_photo(tmp_path / "b.gif", photo, muted())
    assert "two levels" in line
    again = read_photo(tmp_path / "b.gif")
    assert again.alpha is not None
    assert (again.alpha == np.where(alpha >= 128, 255, 0)).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", [0, 2, 4, 6])
def test_sixteen_bits_stay(tmp_path: Path, suffix: str, kind: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    values = np.random.default_rng(0).integers(1, 65536, (6, 9, channels)).astype(np.uint16)
    photo = read_photo(deep_png(tmp_path / "a.png", values, kind=kind))
    colours = np.repeat(values[..., :1], 3, axis=-1) if kind in (0, 4) else values[..., :3]
    assert photo.pixels.dtype == np.uint16
    assert (photo.pixels == colours).all()
    assert photo.source.grey == (kind in (0, 4))
    assert (photo.alpha is None) == (kind in (0, 2))
    result = (65535 - colours).astype(np.uint16)
    keeping = Keeping(grey=True)
    assert write_photo(tmp_path / f"b{suffix}", photo, result, keeping=keeping) == []
    again = read_photo(tmp_path / f"b{suffix}")
    assert again.source.bits == 16
    assert again.source.grey == photo.source.grey
    assert (again.pixels == result).all()
    if photo.alpha is not None:
        assert again.alpha is not None
        assert (again.alpha == photo.alpha).all()


def test_sixteen_bits_and_a_wide_profile(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(20000, 40000, (40, 50, 3)).astype(np.uint16)
    profile = rgb_profile(*WIDE["Adobe RGB"])
    photo = read_photo(deep_png(tmp_path / "a.png", values, kind=2))
    photo = Photo(photo.pixels, None, dataclasses.replace(photo.source, icc=profile))
    assert write_photo(tmp_path / "b.tif", photo, values) == []
    again = read_photo(tmp_path / "b.tif")
    assert again.source.icc == profile
    assert near(again.pixels, values, 3)
    assert len(np.unique(again.pixels)) > 1000


def test_sixteen_bits_in_a_format_of_eight(tmp_path: Path) -> None:
    photo = read_photo(deep_png(tmp_path / "a.png", smooth().astype(np.uint16) * 257, kind=2))
    assert write_photo(tmp_path / "b.bmp", photo, photo.pixels) == ["its 16 bits a channel became 8: bmp holds no more"]
    assert (read_image(tmp_path / "b.bmp").pixels == smooth()).all()
    assert write_photo(tmp_path / "b.png", photo, smooth()) == ["its 16 bits a channel became 8"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_upright(tmp_path: Path, orientation: int) -> None:
    values = smooth().astype(np.uint16) * 257
    deep = written(tmp_path / "a.tif", tiff(values, photometric=2, t274=orientation))
    plain = written(tmp_path / "b.tif", tiff(smooth(), photometric=2, t274=orientation))
    photo = read_photo(deep)
    assert photo.pixels.dtype == np.uint16
    assert (photo.pixels == read_photo(plain).pixels.astype(np.uint16) * 257).all()
    assert photo.source.size == photo.pixels.shape[1::-1] == read_photo(plain).source.size


@pytest.mark.parametrize("longest_px", [7, 32, 100])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_longer_side_is_brought_down(tmp_path: Path, longest_px: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    source = saved(tmp_path / f"a{suffix}", Image.fromarray(smooth(240, 320)), exif=exif)
    photo = read_photo(source, longest_px=longest_px)
    assert photo.pixels.shape == (longest_px, max(1, round(longest_px * 3 / 4)), 3)
    assert photo.source.size == (240, 320)
    expected = np.array(
        Image.fromarray(read_image(source).pixels).resize(photo.pixels.shape[1::-1], Image.Resampling.BOX)
    )
    assert near(photo.pixels, expected, 8)
    assert read_photo(source, longest_px=1000).pixels.shape == (320, 240, 3)


def test_a_large_jpeg_is_decoded_smaller_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "a.jpg", Image.fromarray(smooth(640, 800)))
    sizes, inner = [], photos.straight

    def noted(image: Image.Image) -> Any:
        sizes.append(image.size)
        return inner(image)

    monkeypatch.setattr(photos, "straight", noted)
    assert read_photo(source, longest_px=99).pixels.shape == (79, 99, 3)
    assert sizes == [(100, 80)]


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_hidden_does_not_bleed_when_reduced(tmp_path: Path, deep: bool) -> None:
    values = np.zeros((64, 64, 4), np.uint8)
    values[..., :] = (0, 255, 0, 0)
    values[:, :21] = (200, 30, 40, 255)
    if deep:
        source = deep_png(tmp_path / "a.png", values.astype(np.uint16) * 257, kind=6)
    else:
        source = saved(tmp_path / "a.png", Image.fromarray(values))
    photo = read_photo(source, longest_px=10)
    scale = 257 if deep else 1
    assert photo.alpha is not None
    seen = photo.alpha > 20 * scale
    assert seen.any()
    assert near(photo.pixels[seen] / scale, np.array([200, 30, 40]), 6)
    assert ((photo.alpha > 5 * scale) & (photo.alpha < 250 * scale)).any()


def test_arrays_are_as_the_network_wants_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    source = saved(tmp_path / "a.png", Image.fromarray(np.dstack([smooth(), smooth()[..., :1]])), exif=exif)
    for longest_px in (None, 10):
        photo = read_photo(source, longest_px=longest_px)
        assert photo.alpha is not None
        for values in (photo.pixels, photo.alpha):
            assert values.flags.c_contiguous
            assert values.flags.writeable


def test_times_are_those_of_the_photo(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()))
    os.utime(source, ns=(1_000_000_000_000_000_000, 900_000_000_123_456_700))
    photo = read_photo(source)
    write_photo(tmp_path / "b.png", photo, muted())
    assert (tmp_path / "b.png").stat().st_mtime_ns == 900_000_000_123_456_700
    write_photo(tmp_path / "c.png", photo, muted(), keeping=Keeping(metadata=False))
    assert (tmp_path / "c.png").stat().st_mtime_ns > 1_100_000_000_000_000_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]


def test_further_pictures_are_told(tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(muted())]
    for suffix in (".gif", ".webp", ".png", ".tif", ".mpo"):
        source = saved(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:])
        photo = read_photo(source, longest_px=16)
        assert photo.pixels.shape == (12, 16, 3), suffix
        (line,) = write_photo(tmp_path / "b.png", photo, photo.pixels)
        assert "only the first of its pictures" in line, suffix


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(np.zeros((1, 16400, 3), np.uint8))))
    with pytest.raises(UserError, match=r"cannot write .*b\.webp: 16400 x 1 px does not fit into webp"):
        write_photo(tmp_path / "b.webp", photo, photo.pixels)
    assert not (tmp_path / "b.webp").exists()


def test_without_the_library_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "a.heic", encode_image(smooth(), "heic"))
    assert read_photo(source).source.format == "heic"
    assert {".heic", ".heif"} <= SUFFIXES
    monkeypatch.setattr(heic, "_library", lambda: None)
    with pytest.raises(Unreadable, match=r"^HEIC needs pip install 'ganstyle\[heic\]'$"):
        read_photo(source)
    photo = read_photo(saved(tmp_path / "b.png", Image.fromarray(smooth())))
    with pytest.raises(UserError, match=r"c\.heic: HEIC needs pip install 'ganstyle\[heic\]'$"):
        write_photo(tmp_path / "c.heic", photo, photo.pixels)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_damaged_files_are_unreadable_and_nothing_else(tmp_path: Path, name: str) -> None:
    whole = encode_image(smooth(), name)
    draw = np.random.default_rng(3)
    for length in (0, 1, 8, 20, len(whole) // 2, len(whole) - 3):
        try_to_read(written(tmp_path / "a", whole[:length]))
    for _ in range(60):
        data = bytearray(whole)
        for place in draw.integers(0, len(data), 6):
            data[place] = draw.integers(0, 256)
        try_to_read(written(tmp_path / "a", bytes(data)))


def try_to_read(path: Path) -> None:
    try:
        photo = read_photo(path, longest_px=16)
    except Unreadable as error:
        said = str(error)
    else:
        said = str(photo.pixels.dtype)
        write_photo(path.with_suffix(".tif"), photo, photo.pixels)
    assert said
    assert "\n" not in said


def test_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    deep = deep_png(tmp_path / "a.png", np.zeros((30, 30, 3), np.uint16), kind=2)
    with pytest.raises(Unreadable, match="too large: 30 x 30 px"):
        read_photo(deep, max_pixels=800)


def test_floating_point_tiffs(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 9, 3)).astype(np.float32)
    photo = read_photo(written(tmp_path / "a.tif", tiff(values, photometric=2, t274=6)))
    assert photo.source.bits == 32
    assert near(photo.pixels, np.rot90(values * 255, -1), 0.51)
    assert write_photo(tmp_path / "b.tif", photo, photo.pixels) == ["its 32 bits a channel became 8"]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_are_decoded_smaller_too(tmp_path: Path, mode: str) -> None:
    source = saved(tmp_path / "a.jpg", Image.fromarray(smooth(480, 640)).convert(mode))
    whole, small = read_photo(source), read_photo(source, longest_px=80)
    assert small.pixels.shape == (60, 80, 3)
    assert near(small.pixels, np.array(Image.fromarray(whole.pixels).resize((80, 60), Image.Resampling.BOX)), 6)
    assert small.source.size == whole.source.size == (640, 480)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_profile_that_takes_eight_bits_only(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = patches().astype(np.uint16) * 257
    deep = read_photo(deep_png(tmp_path / "a.png", values, kind=2))
    deep = dataclasses.replace(deep, source=dataclasses.replace(deep.source, icc=rgb_profile(*WIDE["Adobe RGB"])))
    write_photo(tmp_path / f"b{suffix}", deep, deep.pixels)
    expected = read_photo(tmp_path / f"b{suffix}")
    assert expected.pixels.dtype == np.uint16
    monkeypatch.setattr(photos, "deep_to_srgb", lambda values, profile: None)
    photo = read_photo(tmp_path / f"b{suffix}")
    assert near(photo.pixels, expected.pixels / 257, 2)
    assert photo.pixels.dtype == np.uint8
    assert write_photo(tmp_path / f"c{suffix}", photo, photo.pixels) == ["its 16 bits a channel became 8"]

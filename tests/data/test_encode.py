from __future__ import annotations

import errno
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.images import FORMATS, encode_image, read_image, write_image

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_lossless_formats_give_back_every_value(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", NOISE)
    assert (read_image(tmp_path / f"a{suffix}").pixels == NOISE).all()
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_format_by_suffix_or_by_name(tmp_path: Path) -> None:
    for suffix, expected in {
        ".jpg": "jpeg",
        ".jpeg": "jpeg",
        ".JFIF": "jpeg",
        ".webp": "webp",
        ".avif": "avif",
    }.items():
        write_image(tmp_path / f"a{suffix}", NOISE)
        assert read_image(tmp_path / f"a{suffix}").metadata.format == expected
    for name in ("jpeg", "JPEG", "jpg", ".jpg"):
        write_image(tmp_path / "named.png", NOISE, format=name)
        assert read_image(tmp_path / "named.png").metadata.format == "jpeg"


def test_jpeg_keeps_full_colour_from_quality_90(tmp_path: Path) -> None:
    found = {}
    for quality in (89, 90, 95):
        write_image(tmp_path / "a.jpg", NOISE, quality=quality)
        found[quality] = read_image(tmp_path / "a.jpg").metadata.jpeg_subsampling
    assert found == {89: 2, 90: 0, 95: 0}


def test_quality_counts() -> None:
    for name in ("jpeg", "webp", "avif"):
        assert len(encode_image(NOISE, name, 30)) < len(encode_image(NOISE, name, 95)), name


def test_tiff_is_compressed() -> None:
    assert len(encode_image(np.zeros((100, 100, 3), np.uint8), "tiff")) < 3000


def test_encoded_bytes_are_the_file(tmp_path: Path) -> None:
    assert list(FORMATS) == ["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "heic"]
    for name, suffix in FORMATS.items():
        if name == "heic":  # an extra, tested with the photos
            continue
        write_image(tmp_path / f"a{suffix}", NOISE, quality=80)
        data = encode_image(NOISE, name, 80)
        assert (tmp_path / f"a{suffix}").read_bytes() == data
        with Image.open(BytesIO(data)) as image:
            assert (image.format or "").lower() == name


def test_unknown_formats_are_listed(tmp_path: Path) -> None:
    expected = "choose one of jpeg, png, webp, tiff, bmp, gif, avif, heic"
    with pytest.raises(UserError, match=rf"unknown image format '\.xyz': {expected}"):
        write_image(tmp_path / "a.xyz", NOISE)
    with pytest.raises(UserError, match=f"unknown image format 'jxl': {expected}"):
        encode_image(NOISE, "jxl")
    with pytest.raises(UserError, match=f"unknown image format '': {expected}"):
        write_image(tmp_path / "a", NOISE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "longest"), [(".webp", 16383), (".jpg", 65500), (".gif", 65535)])
def test_what_a_format_cannot_hold(tmp_path: Path, suffix: str, longest: int) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(UserError) as caught:
        write_image(path, np.zeros((1, longest + 1, 3), np.uint8))
    assert str(caught.value).startswith(f"cannot write {path}: {longest + 1} x 1 px does not fit into ")
    assert "use png or tiff" in str(caught.value)
    write_image(path, np.zeros((1, longest, 3), np.uint8))
    assert read_image(path).metadata.size == (longest, 1)


def test_an_encoder_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("encoder error -2\nwhen writing image file")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError) as caught:
        write_image(tmp_path / "a.png", NOISE)
    assert "(encoder error -2 when writing image file)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, NOISE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.png: no space left on device: free some space and run again$"):
        write_image(path, 255 - NOISE)
    assert (read_image(path).pixels == NOISE).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_the_longest_names(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_image(path, NOISE)
    assert (read_image(path).pixels == NOISE).all()

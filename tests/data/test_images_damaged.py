from __future__ import annotations

import contextlib
import os
import struct
import threading
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganstyle.data import images
from ganstyle.data.images import FORMATS, Unreadable, encode_image, read_image, read_size
from tests.data.image_files import saved, smooth, tiff, written


def reason(path: Path, **options: Any) -> str:
    with pytest.raises(Unreadable) as caught:
        read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) not in str(caught.value)
    return str(caught.value)


def test_what_is_not_a_readable_file(tmp_path: Path) -> None:
    assert reason(written(tmp_path / "a.jpg", b"")) == "empty file"
    assert reason(tmp_path) == "a folder, not a file"
    assert reason(tmp_path / "gone.png").startswith("no such file")
    assert reason(written(tmp_path / "b.jpg", b"<html>not found</html>")).startswith("not an image")
    assert reason(written(tmp_path / "c.jpg", b"\xff")).startswith("not an image")
    assert reason(written(tmp_path / "d.ps", b"%!PS-Adobe-3.0 EPSF-3.0\n")).startswith("not an image")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert reason(tmp_path / "a.png") == "a device or a pipe, not a file"
    with pytest.raises(Unreadable, match="a device or a pipe"):
        read_size(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", encode_image(smooth(), "png"))
    path.chmod(0)
    assert reason(path) == "no permission to read it"


def test_no_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.png", encode_image(smooth(), "png"))

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(path) == "no permission to read it"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_truncated(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = encode_image(noise, name)
    for share in (0.1, 0.5, 0.9):
        text = reason(written(tmp_path / "a", data[: int(len(data) * share)]))
        assert text.startswith(("truncated: ", "damaged: ")), text
    if name in ("jpeg", "png", "bmp"):
        assert text.startswith("truncated: ")


def test_the_size_is_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 40000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
    path = written(tmp_path / "a.bmp", header)
    expected = "too large: 40000 x 30000 px is 1200 megapixels; the limit is 300 megapixels"
    assert reason(path) == expected
    assert read_size(path) == (40000, 30000)
    whole = written(tmp_path / "b.png", encode_image(smooth(), "png"))
    monkeypatch.setattr(images, "flatten", lambda *_: pytest.fail("decoded"))
    assert reason(whole, max_pixels=24 * 32 - 1).startswith("too large: 32 x 24 px is")
    rare = written(tmp_path / "c.tif", tiff(np.zeros((24, 32, 3), np.float32), photometric=2))
    assert reason(rare, max_pixels=24 * 32 - 1).startswith("too large: 32 x 24 px is")


def test_pillows_own_limit_is_set_aside_for_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in FORMATS:
        path = written(tmp_path / f"a.{name}", encode_image(smooth(), name))
        assert read_image(path).pixels.shape == (24, 32, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert reason(path, max_pixels=700).startswith("too large")


def test_warnings_are_silent_only_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.png", encode_image(smooth(), "png"))
    before, waits, goes = list(warnings.filters), threading.Event(), threading.Event()
    real: Callable[..., Any] = images.flatten

    def slow(*arguments: Any) -> Any:
        waits.set()
        goes.wait(10)
        return real(*arguments)

    monkeypatch.setattr(images, "flatten", slow)
    thread = threading.Thread(target=read_image, args=(path,))
    thread.start()
    waits.wait(10)
    monkeypatch.setattr(images, "flatten", real)
    read_image(path)  # leaves while the other still reads
    assert list(warnings.filters) != before
    goes.set()
    thread.join()
    assert list(warnings.filters) == before


def test_corrupt_metadata_does_not_warn(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "rubbish")
    assert (read_image(saved(tmp_path / "a.png", Image.fromarray(smooth()), pnginfo=text)).pixels == smooth()).all()
    data = bytearray(tiff(smooth(), photometric=2, t274=1))
    data[8 + 2 + 12 * 9 + 4 : 8 + 2 + 12 * 9 + 8] = struct.pack("<I", 1_000_000)  # a tag that claims a million values
    assert read_image(written(tmp_path / "a.tif", bytes(data))).pixels.shape == (24, 32, 3)


def originals(name: str) -> list[bytes]:
    small, alpha = smooth(12, 16), BytesIO()
    if name in ("png", "webp", "tiff"):
        Image.fromarray(small).convert("RGBA").save(alpha, format=name, exif=Image.Exif(), icc_profile=b"no profile")
    return [data for data in (encode_image(small, name, 90), alpha.getvalue()) if data]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Up to five flipped bits, and a third of the time the end is missing."""
    found = bytearray(data)
    if random.random() < 1 / 3:
        del found[random.integers(1, len(found)) :]
    for place in random.integers(0, len(found), random.integers(1, 6)):
        found[place] ^= 1 << int(random.integers(0, 8))
    return bytes(found)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_damaged_files_never_do_anything_else(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    random, path = np.random.default_rng(0), tmp_path / "a"
    wholes = originals(name)
    refusals: list[str] = []
    for turn in range(150):
        path.write_bytes(damaged(wholes[turn % len(wholes)], random))
        with contextlib.suppress(Unreadable):
            read_size(path)
        try:
            assert read_image(path, max_pixels=1_000_000).pixels.ndim == 3
        except Unreadable as error:
            refusals.append(str(error))
    assert 0 < len(refusals) < 150
    assert all(text and "\n" not in text for text in refusals)
    if name != "tiff":  # libtiff itself writes a line on the error stream, and Pillow has no switch for it
        assert capfd.readouterr() == ("", "")

from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ganstyle.data.images import FORMATS, SUFFIXES, encode_image, read_image, read_size
from tests.data.image_files import saved, smooth, tiff, written

RED, BLUE = (255, 0, 0), (0, 0, 255)
ORIENTATION = 0x0112


def grey_of(path: Path) -> np.ndarray:
    pixels = read_image(path).pixels
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def assert_close(got: np.ndarray, expected: Any, tolerance: float = 1) -> None:
    assert np.abs(got.astype(float) - np.asarray(expected, float)).max() <= tolerance, (got, expected)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / f"a{FORMATS[name]}", encode_image(smooth(), name, 98))
    picture = read_image(path)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (24, 32, 3)
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.flags.writeable
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < {"gif": 6, "webp": 3, "avif": 3}.get(name, 2)
    assert picture.metadata.format == name
    assert picture.metadata.size == read_size(path) == (32, 24)
    assert not picture.metadata.has_alpha
    assert picture.metadata.bits == 8
    assert FORMATS[name] in SUFFIXES


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    assert read_image(written(tmp_path / "a.png", encode_image(smooth(), "jpeg"))).metadata.format == "jpeg"


def test_metadata_can_be_pickled_and_knows_the_jpeg(tmp_path: Path) -> None:
    metadata = read_image(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), quality=80, subsampling=2)).metadata
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    assert metadata.jpeg_subsampling == 2
    with Image.open(tmp_path / "a.jpg") as image:
        assert [list(table) for table in metadata.jpeg_tables] == list(image.quantization.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    # The 8 x 8 corner that is to be seen top left is white: the corner of the file that the EXIF standard names.
    row, column = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[row * 24 : row * 24 + 8, column * 40 : column * 40 + 8] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(stored), exif=exif)
    picture = read_image(path)
    height, width = (48, 32) if orientation > 4 else (32, 48)
    assert picture.pixels.shape == (height, width, 3)
    assert picture.pixels.flags.c_contiguous
    assert picture.metadata.size == read_size(path) == (width, height)
    expected = np.zeros((height, width))
    expected[:8, :8] = 255
    assert_close(picture.pixels[..., 1], expected, 60)


def test_exif_that_stands_after_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    chunk = exif.tobytes().removeprefix(b"Exif\0\0")
    data = encode_image(smooth(), "png")
    late = struct.pack(">I", len(chunk)) + b"eXIf" + chunk + struct.pack(">I", zlib.crc32(b"eXIf" + chunk))
    path = written(tmp_path / "a.png", data[:-12] + late + data[-12:])
    assert read_size(path) == (24, 32)
    assert (read_image(path).pixels == np.rot90(smooth(), -1)).all()


def test_broken_exif_is_set_aside(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12rubbish")
    assert read_image(path).pixels.shape == (24, 32, 3)
    assert read_size(path) == (32, 24)


def test_grey_and_one_bit(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (grey_of(saved(tmp_path / "l.png", Image.fromarray(levels))) == levels).all()
    bits = Image.fromarray((levels > 127).astype(np.uint8) * 255).convert("1")
    for suffix in (".png", ".tif", ".bmp"):
        path = saved(tmp_path / f"1{suffix}", bits)
        assert (grey_of(path) == np.where(levels > 127, 255, 0)).all()
    assert read_image(tmp_path / "1.png").metadata.bits == 1


def test_grey_with_alpha_on_a_background(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 51)]))
    picture = read_image(path, background=RED)
    assert picture.metadata.has_alpha
    assert_close(picture.pixels[0, 0], [100 * 0.2 + 255 * 0.8, 20, 20], 0.5)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_on_a_background(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGBA", (4, 4), (10, 200, 30, 64))
    image.putpixel((0, 0), (10, 200, 30, 0))
    image.putpixel((1, 0), (10, 200, 30, 255))
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    pixels = read_image(saved(tmp_path / f"a{suffix}", image, **options), background=BLUE).pixels
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 1].tolist() == [10, 200, 30]
    share = 64 / 255
    assert_close(pixels[2, 2], np.array([10, 200, 30]) * share + np.array(BLUE) * (1 - share), 0.51)


def test_premultiplied_alpha(tmp_path: Path) -> None:
    # Half-transparent full red is stored as 128, 0, 0 with alpha 128; on blue it is half and half.
    rgba = np.full((4, 5, 4), (128, 0, 0, 128), np.uint8)
    pixels = read_image(written(tmp_path / "a.tif", tiff(rgba, photometric=2, extra=[1])), background=BLUE).pixels
    assert_close(pixels[0, 0], [128, 0, 127])
    la = np.full((4, 5, 2), (64, 128), np.uint8)
    assert_close(
        read_image(written(tmp_path / "b.tif", tiff(la, photometric=1, extra=[1])), background=BLUE).pixels[0, 0],
        [64, 64, 64 + 127],
    )


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_transparent_palette_on_red(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 255, 0, 255, 0, 100, 100, 100])
    path = saved(tmp_path / "a.png", image, transparency=transparency)
    pixels = read_image(path, background=RED).pixels
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 1].tolist() == [255, 0, 0]
    grey = [100, 100, 100] if isinstance(transparency, int) else [177, 50, 50]
    assert_close(pixels[0, 2], grey)
    if isinstance(transparency, int):
        assert read_image(saved(tmp_path / "a.gif", image, transparency=1), background=RED).pixels[0, 1, 0] == 255


def png(width: int, depth: int, kind: int, row: bytes, key: bytes) -> bytes:
    """A one-row PNG with a transparent colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def test_the_transparent_colour_of_a_png_at_every_depth(tmp_path: Path) -> None:
    files = {
        "1": png(2, 1, 0, bytes([0b10000000]), struct.pack(">H", 1)),
        "2": png(2, 2, 0, bytes([0b10010000]), struct.pack(">H", 2)),
        "4": png(2, 4, 0, bytes([0x52]), struct.pack(">H", 5)),
        "8": png(2, 8, 0, bytes([77, 78]), struct.pack(">H", 77)),
        "16": png(2, 16, 0, struct.pack(">2H", 30000, 30001), struct.pack(">H", 30000)),
        "rgb8": png(2, 8, 2, bytes([1, 2, 3, 1, 2, 4]), struct.pack(">3H", 1, 2, 3)),
        "rgb16": png(2, 16, 2, struct.pack(">6H", 258, 513, 900, 9000, 513, 900), struct.pack(">3H", 258, 513, 900)),
    }
    for name, data in files.items():
        picture = read_image(written(tmp_path / f"{name}.png", data), background=RED)
        assert picture.metadata.has_alpha, name
        assert picture.pixels[0, 0].tolist() == [255, 0, 0], name
        assert picture.pixels[0, 1].tolist() != [255, 0, 0], name


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 128, 257, 32768, 40000, 65535]], np.uint16)
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(levels))
    assert_close(grey_of(path), levels / 257, 0.5)
    assert read_image(path).metadata.bits == 16
    assert cv2.imwrite(str(path), levels)
    assert_close(grey_of(path), levels / 257, 0.5)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour(tmp_path: Path, suffix: str, channels: int) -> None:
    bgr = np.zeros((8, 8, channels), np.uint16)
    bgr[:] = (65535, 32768, 300, 32768)[:channels]
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        assert cv2.imwrite(str(path), bgr)
    else:
        rgb = bgr[..., [2, 1, 0, 3][:channels]]
        path.write_bytes(tiff(rgb, photometric=2, extra=[2] if channels == 4 else []))
    picture = read_image(path, background=(0, 0, 0))
    share = 1 if channels == 3 else 32768 / 65535
    assert_close(picture.pixels, np.broadcast_to(np.array([300, 32768, 65535]) / 257 * share, (8, 8, 3)), 1.5)
    assert picture.metadata.bits == 16
    assert picture.metadata.has_alpha == (channels == 4)


def test_cmyk(tmp_path: Path) -> None:
    colours = {(255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 0, 255, 0): (255, 255, 0)}
    for ink, rgb in colours.items():
        for suffix in (".jpg", ".tif"):  # Pillow writes JPEG inverted, with Adobe's mark
            path = saved(tmp_path / f"a{suffix}", Image.new("CMYK", (16, 16), ink))
            picture = read_image(path)
            assert_close(picture.pixels[8, 8], rgb, 2)
            assert picture.metadata.mode == "CMYK"


def test_ycbcr_tiff(tmp_path: Path) -> None:
    image = Image.fromarray(smooth()).convert("YCbCr")
    assert_close(read_image(saved(tmp_path / "a.tif", image)).pixels, smooth(), 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (16, 16), (200, 30, 40)), Image.new("RGB", (16, 16), (0, 0, 255))
    path = saved(tmp_path / f"a{suffix}", first, save_all=True, append_images=[second], duration=100)
    assert_close(read_image(path).pixels[8, 8], (200, 30, 40), 3)


def test_several_jpegs_in_one_file(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 16), (200, 30, 40)), Image.new("RGB", (16, 16), (0, 0, 255))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    picture = read_image(tmp_path / "a.jpg")
    assert_close(picture.pixels[8, 8], (200, 30, 40), 3)
    assert picture.metadata.format == "jpeg"

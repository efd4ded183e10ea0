from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from ganstyle.data.deep import encode_deep, read_deep
from tests.data.deep_files import noise, parts, read, same
from tests.data.image_files import ADOBE_GAMMA, ADOBE_RGB, rgb_profile


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (4, 4)), Image.new("L", (4, 4)), Image.new("P", (4, 4)), Image.new("1", (4, 4))]
)
@pytest.mark.parametrize("format", ["png", "tiff", "bmp"])
def test_8_bits_are_not_read(image: Image.Image, format: str) -> None:
    file = BytesIO()
    image.save(file, format)
    assert read_deep(file) is None
    assert read_deep(BytesIO(file.getvalue()[:-8] if format == "png" else b"")) is None  # the header was enough


def exif_block() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Software] = "before"
    exif[ExifTags.Base.ImageWidth] = 9999  # of another picture
    exif[ExifTags.Base.Compression] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.ExposureTime: IFDRational(1, 250), ExifTags.Base.DateTimeOriginal: "2024:05:06 07:08:09"}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({ExifTags.GPS.GPSLatitudeRef: "N"})
    return exif.tobytes()


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_written_pixels_come_back(format: str, channels: int) -> None:
    pixels = noise(300, 700, channels)  # several strips
    values, alpha = parts(pixels)
    data = encode_deep(values, alpha, format)
    assert same(read(data), values, alpha)
    if channels != 2:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert found is not None
        assert found.dtype == np.uint16
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
        assert (np.atleast_3d(found)[..., order] == pixels).all()


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_written_metadata_comes_back(format: str, channels: int, prefix: bytes) -> None:
    values, alpha = parts(noise(20, 30, channels))
    profile, xmp = rgb_profile(ADOBE_RGB, ADOBE_GAMMA), "<x:xmpmeta xmlns:x='adobe:ns:meta/'>ä</x:xmpmeta>".encode()
    exif = prefix + exif_block().removeprefix(b"Exif\0\0")
    data = encode_deep(values, alpha, format, icc=profile, exif=exif, xmp=xmp, dpi=(300, 150))
    assert same(read(data), values, alpha)
    with Image.open(BytesIO(data)) as image:
        image.load()
        assert image.size == (30, 20)
        assert image.info["icc_profile"] == profile
        assert image.info["xmp"] == xmp
        assert np.allclose(image.info["dpi"], (300, 150), atol=0.02)  # PNG counts by the metre
        found = image.getexif()
        assert found[ExifTags.Base.Make] == "Maker"
        assert found[ExifTags.Base.Software] == "before"
        details = found.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.ExposureTime] == IFDRational(1, 250)
        assert details[ExifTags.Base.DateTimeOriginal] == "2024:05:06 07:08:09"
        assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_nothing_is_written_that_was_not_given(format: str) -> None:
    with Image.open(BytesIO(encode_deep(noise(4, 5, 3), None, format))) as image:
        image.load()
        found = set(image.tag_v2) if format == "tiff" else set(image.info)  # type: ignore[attr-defined]
        assert not {"icc_profile", "xmp", "exif", "dpi", 282, 283, 700, 34665, 34675} & found


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_views_are_written_as_they_look(format: str) -> None:
    pixels = noise(40, 30, 4)
    values, alpha = pixels[::-1, ::2, :3], pixels[::-1, ::2, 3]
    assert same(read(encode_deep(values, alpha, format)), values, alpha)


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest(format: str, shape: tuple[int, int]) -> None:
    values = noise(*shape)
    assert same(read(encode_deep(values, values, format)), values, values)

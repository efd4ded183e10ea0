from __future__ import annotations

import struct
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.data import profiles
from ganstyle.data.encode import encode_image
from ganstyle.data.images import read_image
from ganstyle.data.photos import Keeping, Unreadable, read_photo, write_photo
from tests.data.image_files import D50, SRGB, rgb_profile, srgb_levels, written
from tests.data.photo_files import DISPLAY_P3, MIDDLES, WIDE, muted, near, patches

FORMATS = ["avif", *(["heic"] if find_spec("pillow_heif") else [])]


def file_of(path: Path, format: str, primaries: int, transfer: int, **options: Any) -> Path:
    """A picture whose file names its colours by these numbers of H.273."""
    if format == "heic":
        encode_image(patches(), "heic")  # makes the format known to Pillow
        options |= {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 6}
        Image.fromarray(patches()).save(path, "HEIF", quality=100, chroma=444, **options)
        return path
    Image.fromarray(patches()).save(path, "AVIF", quality=100, subsampling="4:4:4", **options)
    data, place = path.read_bytes(), path.read_bytes().index(b"colrnclx") + 8
    return written(path, data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :])


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045 * 255, values / 255 / 12.92, ((values / 255 + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("format", FORMATS)
def test_display_p3_without_a_profile(tmp_path: Path, format: str) -> None:
    source = file_of(tmp_path / f"a.{format}", format, 12, 13)
    photo = read_photo(source)
    expected = srgb_levels(linear(patches()) @ (np.linalg.inv(SRGB) @ DISPLAY_P3).T)
    assert near(photo.pixels[MIDDLES], expected[MIDDLES], 3)
    assert not near(photo.pixels[MIDDLES], patches()[MIDDLES], 6)
    assert (read_image(source).pixels == photo.pixels).all()
    assert write_photo(tmp_path / f"b.{format}", photo, muted(32, 48), keeping=Keeping(quality=100)) == []
    again = read_photo(tmp_path / f"b.{format}")
    assert again.source.icc == profiles.display_p3()
    assert near(again.pixels, muted(32, 48), 6)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("points", "named"),
    [
        ((9, 16), "BT.2020 with PQ"),
        ((9, 18), "BT.2020 with HLG"),
        ((12, 16), "Display P3 with PQ"),
        ((1, 8), "BT.709 with linear light"),
    ],
)
def test_colours_that_are_not_known_are_told(tmp_path: Path, format: str, points: tuple[int, int], named: str) -> None:
    photo = read_photo(file_of(tmp_path / f"a.{format}", format, *points))
    (line,) = write_photo(tmp_path / "b.png", photo, photo.pixels)
    assert line == f"its colours are {named}, which is not known here: they are taken for sRGB"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("points", [(1, 13), (1, 1), (2, 2), (6, 6)])
def test_what_everybody_shows_as_srgb_is_not_told(tmp_path: Path, format: str, points: tuple[int, int]) -> None:
    photo = read_photo(file_of(tmp_path / f"a.{format}", format, *points))
    assert photo.source.icc is None
    assert photo.source.lost == ()
    assert near(photo.pixels[MIDDLES], patches()[MIDDLES], 3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_profile_counts_before_the_numbers(tmp_path: Path, format: str) -> None:
    profile = rgb_profile(*WIDE["Adobe RGB"])
    photo = read_photo(file_of(tmp_path / f"a.{format}", format, 9, 16, icc_profile=profile))
    assert photo.source.icc == profile
    assert photo.source.lost == ()


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_damaged_boxes_are_no_traceback(tmp_path: Path, place: int) -> None:
    source = file_of(tmp_path / "a.avif", "avif", 9, 16)
    data = source.read_bytes()
    for four in (b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff"):
        written(source, data[:place] + four + data[place + 4 :])
        with suppress(Unreadable):
            read_photo(source)


def test_display_p3_is_what_its_standard_says() -> None:
    """The primaries by their chromaticities under the white of sRGB, adapted to D50 by Bradford's matrix."""
    chromaticities = np.array([[0.680, 0.320], [0.265, 0.690], [0.150, 0.060]])
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    columns = np.stack([chromaticities[:, 0], chromaticities[:, 1], 1 - chromaticities.sum(axis=1)])
    primaries = columns * np.linalg.solve(columns, white)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapt = np.linalg.inv(cone) @ np.diag((cone @ D50) / (cone @ white)) @ cone
    np.testing.assert_allclose(adapt @ primaries, np.array(profiles.DISPLAY_P3).T, atol=2e-4)

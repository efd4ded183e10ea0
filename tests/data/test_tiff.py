from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ganstyle.data.images import Picture, Unreadable, read_image, read_size
from tests.data.image_files import ADOBE_GAMMA, ADOBE_RGB, rgb_profile, srgb_levels, tiff


def read(folder: Path, data: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> Picture:
    path = folder / "a.tif"
    path.write_bytes(data)
    picture = read_image(path, background=background)
    assert read_size(path) == picture.metadata.size
    return picture


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(folder, data)
    return str(caught.value)


RAMP = np.linspace(0, 1, 60).reshape(4, 5, 3)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floating_point_colour(tmp_path: Path, kind: type[np.floating]) -> None:
    picture = read(tmp_path, tiff(RAMP.astype(kind), photometric=2))
    assert np.abs(picture.pixels - RAMP * 255).max() <= 0.51
    assert picture.metadata.bits == np.dtype(kind).itemsize * 8
    assert picture.metadata.format == "tiff"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floating_point_grey(tmp_path: Path, kind: type[np.floating]) -> None:
    picture = read(tmp_path, tiff(RAMP[..., :1].astype(kind), photometric=1))
    assert np.abs(picture.pixels - RAMP[..., :1] * 255).max() <= 0.51


def test_compressed_floating_point(tmp_path: Path) -> None:
    ok, data = cv2.imencode(".tiff", RAMP[..., ::-1].astype(np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert ok
    assert np.abs(read(tmp_path, data.tobytes()).pixels - RAMP * 255).max() <= 0.51


@pytest.mark.parametrize(("extra", "factor"), [(2, 1.0), (1, 0.25)])
def test_floating_point_alpha(tmp_path: Path, extra: int, factor: float) -> None:
    rgba = np.zeros((4, 5, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = np.array([0.8, 0.4, 0.2]) * factor, 0.25
    picture = read(tmp_path, tiff(rgba, photometric=2, extra=[extra]), (0, 0, 255))
    expected = np.array([0.8, 0.4, 0.2]) * 255 * 0.25 + np.array([0, 0, 255]) * 0.75
    assert np.abs(picture.pixels - expected).max() <= 1
    assert picture.metadata.has_alpha


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_of_floating_point_files(tmp_path: Path, orientation: int) -> None:
    picture = read(tmp_path, tiff(RAMP.astype(np.float32), photometric=2, t274=orientation))
    expected = np.rot90(RAMP, {1: 0, 3: 2, 6: -1}[orientation])
    assert np.abs(picture.pixels - expected * 255).max() <= 0.51


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan, np.inf])
def test_floating_point_outside_the_range(tmp_path: Path, wrong: float) -> None:
    values = RAMP.astype(np.float32)
    values[0, 0, 0] = wrong
    assert "only 0 to 1 can be read" in refusal(tmp_path, tiff(values, photometric=2))
    assert "only 0 to 1 can be read" in refusal(tmp_path, tiff(values[..., :1], photometric=1))


def test_integer_grey_of_other_depths(tmp_path: Path) -> None:
    levels = np.array([0, 1000, 32768, 65535, 300]).reshape(1, 5, 1)
    for kind in (np.uint32, np.int32):
        picture = read(tmp_path, tiff(levels.astype(kind), photometric=1))
        assert np.abs(picture.pixels - levels / 257).max() <= 0.51
    assert "from 0 to 70000: only 0 to 65535" in refusal(
        tmp_path, tiff(levels.astype(np.uint32) // 65535 * 70000, photometric=1)
    )
    assert "from -3 to -3" in refusal(tmp_path, tiff(np.full((4, 4, 1), -3, np.int16), photometric=1))


def test_white_is_zero(tmp_path: Path) -> None:
    for kind, highest in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 1)):
        values = np.full((4, 5, 1), highest * 0.25).astype(kind)
        assert np.abs(read(tmp_path, tiff(values, photometric=0)).pixels.astype(int) - 191).max() <= 1, kind


def test_12_bit_grey(tmp_path: Path) -> None:
    first, second = 0x800, 0xFFF  # two values in three bytes
    packed = np.array([first >> 4, (first & 15) << 4 | second >> 8, second & 255], np.uint8).reshape(1, 3, 1)
    data = tiff(np.repeat(packed, 4, axis=0), photometric=1, bits=12, t256=2)
    assert read(tmp_path, data).pixels[:, :, 0].tolist() == [[128, 255]] * 4


@pytest.mark.parametrize(("channels", "photometric"), [(5, 2), (5, 1), (6, 2), (5, 5)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_other_channel_counts_are_refused(tmp_path: Path, channels: int, photometric: int, kind: type) -> None:
    values: np.ndarray = np.zeros((4, 5, channels), kind)
    text = refusal(tmp_path, tiff(values, photometric=photometric, extra=[0] * (channels - 3)))
    assert text == f"{channels} channels: only grey, RGB, CMYK and alpha can be read"


def test_kinds_that_nobody_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "2 channels of 16-bit integer" in refusal(
        tmp_path, tiff(np.zeros((4, 5, 2), np.uint16), photometric=1, extra=[2])
    )
    assert "3 channels of 32-bit integer" in refusal(tmp_path, tiff(np.zeros((4, 5, 3), np.uint32), photometric=2))
    assert "3 channels of 16-bit floating point" in refusal(
        tmp_path, tiff(np.zeros((4, 5, 3), np.float16), photometric=2)
    )
    assert refusal(tmp_path, tiff(RAMP, photometric=2)[:-200]).startswith("damaged")
    assert capfd.readouterr() == ("", "")


def test_a_profile_in_a_floating_point_file(tmp_path: Path) -> None:
    # The profile's tag is put in by hand, over an empty one.
    profile = rgb_profile(ADOBE_RGB, ADOBE_GAMMA)
    plain = tiff(np.full((4, 4, 3), 0.5, np.float32), photometric=2, t34675=0)
    place = plain.index(b"\x73\x87\x03\x00\x01\x00\x00\x00")
    entry = b"\x73\x87\x07\x00" + len(profile).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    picture = read(tmp_path, plain[:place] + entry + plain[place + 12 :] + profile)
    assert picture.metadata.icc_converted
    expected = srgb_levels(np.array(0.5) ** ADOBE_GAMMA)  # greys stay grey
    assert np.abs(picture.pixels - expected).max() <= 2

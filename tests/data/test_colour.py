from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ganstyle.data.colour import deep_to_srgb, from_srgb, to_srgb
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


# Back to a profile, and 16 bits

DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
PROPHOTO = np.array([[0.79767, 0.13519, 0.03135], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82492]])
SRGB_NUMBERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
ADOBE = rgb_profile(ADOBE_RGB, ADOBE_GAMMA)


def sampled(values: np.ndarray) -> bytes:
    levels = np.rint(np.asarray(values) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(levels)) + levels.tobytes()


def parametric(kind: int, *numbers: float) -> bytes:
    integers = (round(number * 65536) for number in numbers)
    return b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *integers)


def with_curves(profile: bytes, curve: bytes) -> bytes:
    """A profile with other curves, which are put behind all the rest."""
    (count,) = struct.unpack_from(">I", profile, 128)
    changed, curve = bytearray(profile), curve + bytes(-len(curve) % 4)
    for place in range(132, 132 + 12 * count, 12):
        if profile[place + 1 : place + 4] == b"TRC":
            struct.pack_into(">II", changed, place + 4, len(profile), len(curve))
    struct.pack_into(">I", changed, 0, len(profile) + len(curve))
    return bytes(changed) + curve


CURVES = {
    "none": sampled(np.array([])),
    "table": sampled(np.linspace(0, 1, 1024) ** 2),
    "type 0": parametric(0, 2.0),
    "type 1": parametric(1, 2.2, 1.1, -0.1),
    "type 2": parametric(2, 2.0, 1.1, -0.1, 0.0),
    "type 3": parametric(3, *SRGB_NUMBERS),
    "type 4": parametric(4, 2.2, 0.95, 0.05, 0.08, 0.04, 0.0, 0.0),
}
PROFILES = {
    "Adobe RGB": ADOBE,
    "ProPhoto RGB": rgb_profile(PROPHOTO, 1.8),
    "Display P3": with_curves(rgb_profile(DISPLAY_P3, 1.0), parametric(3, *SRGB_NUMBERS)),
    "linear": rgb_profile(SRGB, 1.0),
} | {name: with_curves(ADOBE, curve) for name, curve in CURVES.items()}


def grid(step: int = 15) -> np.ndarray:
    """(H, W, 3) uint8, colours of the whole cube."""
    steps = np.arange(0, 256, step, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)


def written(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    found = from_srgb(pixels, profile)
    assert found is not None
    assert (found.dtype, found.shape) == (pixels.dtype, pixels.shape)
    return found


def deep_read(values: np.ndarray, profile: bytes) -> np.ndarray:
    found = deep_to_srgb(values, profile)
    assert found is not None
    assert (found.dtype, found.shape) == (np.uint16, (*values.shape[:2], 3))
    return found


def test_srgb_becomes_adobe_rgb() -> None:
    for colour in COLOURS:
        linear = np.linalg.solve(ADOBE_RGB, SRGB @ light(np.array(colour) / 255))
        expected = np.clip(linear, 0, 1) ** (1 / ADOBE_GAMMA)
        shallow = written(np.array([[colour]], np.uint8), ADOBE)
        assert np.abs(shallow[0, 0] - expected * 255).max() <= 1, colour
        deep = written(np.array([[colour]], np.uint16) * 257, ADOBE)
        assert np.abs(deep[0, 0] - expected * 65535).max() <= 16, colour


def light(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def test_adobe_rgb_becomes_srgb_with_16_bits() -> None:
    colours = [colour for colour in COLOURS if np.abs(adobe_to_srgb(colour)).min() > 0 or colour == (0, 0, 0)]
    assert len(colours) > 4
    for colour in colours:
        found = deep_read(np.array([[colour]], np.uint16) * 257, ADOBE)
        assert np.abs(found[0, 0] - adobe_to_srgb(colour) * 257).max() <= 16, colour


@pytest.mark.parametrize("name", PROFILES)
def test_16_bits_agree_with_littlecms(name: str) -> None:
    levels = grid()
    expected = np.asarray(to_srgb(Image.fromarray(levels), PROFILES[name])[0]).astype(int)
    found = deep_read(levels.astype(np.uint16) * 257, PROFILES[name]) / 257
    assert np.abs(found - expected).max() <= 1.5


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_written_is_read_as_it_was(name: str) -> None:
    inside = grid() // 2 + 60  # colours that all of these profiles hold
    back = np.asarray(to_srgb(Image.fromarray(written(inside, PROFILES[name])), PROFILES[name])[0])
    coarse = 3 if name in ("linear", "none", "ProPhoto RGB") else 2  # 8 bits are few for these
    assert np.abs(back.astype(int) - inside).max() <= coarse
    deep = inside.astype(np.uint16) * 257
    assert np.abs(deep_read(written(deep, PROFILES[name]), PROFILES[name]).astype(int) - deep).max() <= 8


def test_a_fine_ramp_comes_back() -> None:
    ramp = np.repeat(np.arange(65536, dtype=np.uint16), 3).reshape(64, 1024, 3)
    back = deep_read(written(ramp, ADOBE), ADOBE)
    assert len(np.unique(back[..., 1])) > 50_000
    assert np.abs(back.astype(int) - ramp).max() <= 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_writing_to_srgb_itself_changes_nothing(kind: type) -> None:
    pixels: np.ndarray = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (16, 16, 3)).astype(kind)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (written(pixels, profile) == pixels).all()
    if kind is np.uint16:
        assert deep_to_srgb(pixels, profile) is pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_large_pictures_go_through_in_strips(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels: np.ndarray = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (23, 16, 3)).astype(kind)
    whole = written(pixels, ADOBE)
    monkeypatch.setattr("ganstyle.data.colour.STRIP_PX", 80)
    assert (written(pixels, ADOBE) == whole).all()
    assert (written(pixels[::2, ::-1], ADOBE) == whole[::2, ::-1]).all()


def lut_profile(*names: bytes) -> bytes:
    """An RGB profile whose lookup tables exchange red and blue, whatever its curves and its matrix say."""
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    table = np.arange(256, dtype=np.uint8).tobytes()
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lab = np.stack([corners.mean(-1) * 255, 128 + corners[:, 2] * 60, 128 + corners[:, 0] * 60], axis=-1)
    lut = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + identity
    lut += table * 3 + np.rint(lab).astype(np.uint8).tobytes() + table * 3
    return with_tags(ADOBE, dict.fromkeys(names, lut))


def with_tags(profile: bytes, tags: dict[bytes, bytes]) -> bytes:
    (count,) = struct.unpack_from(">I", profile, 128)
    index, body, shift = bytearray(profile[132 : 132 + 12 * count]), profile[132 + 12 * count :], 12 * len(tags)
    for place in range(4, len(index), 12):
        struct.pack_into(">I", index, place, struct.unpack_from(">I", index, place)[0] + shift)
    for name, data in tags.items():
        index += name + struct.pack(">II", len(profile) + shift, len(data))
        body += data
        shift += len(data)
    changed = bytearray(profile[:128] + struct.pack(">I", count + len(tags)) + index + body)
    changed[20:24] = b"Lab "
    struct.pack_into(">I", changed, 0, len(changed))
    return bytes(changed)


def test_curves_that_do_not_begin_in_black_are_no_matter_for_16_bits() -> None:
    # littleCMS moves their black to that of sRGB, which our way does not.
    profile = with_curves(ADOBE, parametric(1, 2.2, 0.9, 0.1))
    assert to_srgb(Image.fromarray(grid(51)), profile)[1]
    assert deep_to_srgb(grid(51).astype(np.uint16) * 257, profile) is None


def test_tables_of_a_profile_are_no_matter_for_16_bits() -> None:
    profile = lut_profile(b"A2B0", b"A2B1")
    pixels = grid(51)
    assert to_srgb(Image.fromarray(pixels), profile)[1]  # it counts
    assert deep_to_srgb(pixels.astype(np.uint16) * 257, profile) is None
    assert deep_to_srgb(pixels[..., 0].astype(np.uint16) * 257, profile) is None
    assert from_srgb(pixels.astype(np.uint16) * 257, profile) is None


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "profile",
    [b"", b"rubbish", ADOBE[:200], grey_profile(1.0), cmyk_profile((50, 0, 0)), with_curves(ADOBE, b"curv")],
    ids=["empty", "rubbish", "truncated", "for grey", "for CMYK", "without curves"],
)
def test_profiles_that_cannot_be_written_to(profile: bytes, kind: type) -> None:
    assert from_srgb(np.zeros((2, 2, 3), kind), profile) is None


@pytest.mark.parametrize("profile", [b"rubbish", ADOBE[:200], grey_profile(1.0), cmyk_profile((50, 0, 0))])
def test_a_wrong_profile_is_set_aside_with_16_bits(profile: bytes) -> None:
    values = np.arange(30, dtype=np.uint16).reshape(2, 5, 3) * 2000
    assert deep_to_srgb(values, profile) is values


@pytest.mark.parametrize(
    ("profile", "lights"),
    [
        (grey_profile(1.0), lambda values: values),
        (grey_profile(2.0), np.square),
        (ADOBE, lambda values: values**ADOBE_GAMMA),
        (None, light),
    ],
    ids=["linear", "square", "for colour", "none"],
)
def test_grey_with_16_bits(profile: bytes | None, lights: Callable[[np.ndarray], np.ndarray]) -> None:
    values = np.arange(0, 65536, 13, dtype=np.uint16)[:5000].reshape(50, 100)
    expected = srgb_levels(lights(values / 65535)) * 257
    found = deep_read(values, profile or b"rubbish")
    assert np.abs(found - expected[..., None]).max() <= 3

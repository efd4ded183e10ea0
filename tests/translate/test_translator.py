from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate import translator as module
from ganstyle.translate.thumbnail import translate_thumbnail
from ganstyle.translate.translator import ModelFacts, Tiles, Translator, free_memory
from tests import tiny

CPU = torch.device("cpu")
FACTS = ModelFacts("ab", 7, averaged=True)
SPEC = {"name": "resnet", "width": 2, "blocks": 1}


class Inverted(nn.Module):
    """What is easy to check: the negative."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        return -images


def inverter() -> Translator:
    return Translator(Inverted(), SPEC, FACTS, CPU)


def resnet(tiles: Tiles | None = None, **options: Any) -> Translator:
    torch.manual_seed(0)
    network = ResNetGenerator(**{"width": 2, "blocks": 1, "gain": 0.3, **options})
    return Translator(network, {**SPEC, **options}, FACTS, CPU, tiles)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_arrays() -> None:
    one, batch = pixels(5, 7, 3), pixels(3, 5, 7, 3)
    for array in (one, batch):
        result = inverter().translate(array)
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.uint8
        assert np.array_equal(result, 255 - array)


def deep_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)


def test_16_bit_arrays() -> None:
    for array in (deep_pixels(5, 7, 3), deep_pixels(3, 5, 7, 3)):
        result = inverter().translate(array)
        assert result.dtype == np.uint16
        assert np.array_equal(result, 65535 - array)


@pytest.mark.parametrize(
    "tiles", [Tiles("none"), Tiles("auto"), Tiles("exact", 32), Tiles("thumbnail", 64)], ids=lambda tiles: tiles.mode
)
def test_16_bits_by_every_way(tiles: Tiles) -> None:
    image = deep_pixels(90, 71, 3)
    expected = resnet().translate(torch.from_numpy(image / 65535 * 2 - 1).permute(2, 0, 1))
    levels = (expected.permute(1, 2, 0).double().numpy() + 1) * 65535 / 2
    result = resnet(tiles).pixels(image)
    assert result.dtype == np.uint16
    assert np.ptp(result) > 50 * 257
    assert np.abs(result - levels).max() < 16  # of 65535: float32 by other sums


def test_arrays_of_any_layout() -> None:
    array = pixels(6, 8, 3)
    fixed = array.copy()
    fixed.flags.writeable = False
    for view in (array[::-1, ::-1], array.transpose(1, 0, 2), np.asfortranarray(array), fixed):
        assert np.array_equal(inverter().translate(view), 255 - view)


def test_pil_images_and_paths(tmp_path: Path) -> None:
    image = tiny.picture(5, 9)
    image.save(tmp_path / "x.png")
    for given in (image, tmp_path / "x.png", str(tmp_path / "x.png")):
        result = inverter().translate(given)
        assert isinstance(result, Image.Image)
        assert result.mode == "RGB"
        assert np.array_equal(np.asarray(result), 255 - np.asarray(image))


def test_pil_images_of_other_modes() -> None:
    grey = Image.fromarray(pixels(4, 6, 3)).convert("L")
    assert np.array_equal(np.asarray(inverter().translate(grey))[..., 1], 255 - np.asarray(grey))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensors(dtype: torch.dtype) -> None:
    for shape in ((3, 4, 6), (2, 3, 4, 6)):
        images = (torch.rand(shape) * 2 - 1).to(dtype).requires_grad_()
        result = inverter().translate(images)
        assert result.dtype == torch.float32
        assert result.shape == images.shape
        assert torch.equal(result, -images.detach().float())
        assert not result.requires_grad
        assert not result.is_inference(), "what comes out can be computed on"


def test_a_batch_is_its_images_one_by_one() -> None:
    batch = pixels(3, 9, 7, 3)
    together = resnet().translate(batch)
    alone = [resnet().translate(each) for each in batch]
    assert np.abs(together.astype(int) - np.stack(alone).astype(int)).max() <= 1


def batch_sizes(translator: Translator) -> list[int]:
    """Fills with the sizes of the batches that the network is given."""
    sizes: list[int] = []
    translator.generator.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    return sizes


@pytest.mark.parametrize("draw", [pixels, deep_pixels])
def test_many_of_one_size_are_one_batch(draw: Callable[..., np.ndarray]) -> None:
    arrays, translator = list(draw(5, 33, 21, 3)), resnet()
    alone = [translator.pixels(each) for each in arrays]
    sizes = batch_sizes(translator)
    for given in (arrays, tuple(arrays), [np.asfortranarray(each) for each in arrays]):
        together = translator.many(given)
        assert [each.dtype for each in together] == [each.dtype for each in arrays]
        for one, other in zip(together, alone, strict=True):
            assert furthest(one, other) <= (1 if one.dtype == np.uint8 else 4)
    assert sizes == [5, 5, 5]


def test_many_of_several_sizes_and_depths_keep_their_order() -> None:
    arrays = [pixels(5, 7, 3), pixels(5, 7, 3) // 2, deep_pixels(5, 7, 3), pixels(7, 5, 3), pixels(5, 7, 3)]
    translator = inverter()
    sizes = batch_sizes(translator)
    for array, result in zip(arrays, translator.many(arrays), strict=True):
        assert result.dtype == array.dtype
        assert np.array_equal(result, np.iinfo(array.dtype).max - array)
    assert sizes == [2, 1, 1, 1]
    assert translator.many([]) == []


def test_many_take_as_large_batches_as_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, translator = list(pixels(8, 16, 16, 3)), resnet()
    expected, sizes = translator.many(arrays), batch_sizes(translator)
    monkeypatch.setattr(module, "free_memory", lambda _: translator._bytes(2, 16, 16))
    for one, other in zip(translator.many(arrays), expected, strict=True):
        assert furthest(one, other) <= 1
    assert sizes == [2, 2, 2, 2]


def test_many_go_on_with_smaller_batches_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    translator, forward = resnet(), ResNetGenerator.forward
    arrays = list(pixels(5, 16, 16, 3))
    expected = translator.many(arrays)

    def hungry(network: ResNetGenerator, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(network, images)

    monkeypatch.setattr(ResNetGenerator, "forward", hungry)
    for one, other in zip(translator.many(arrays), expected, strict=True):
        assert furthest(one, other) <= 1


@pytest.mark.parametrize("mode", ["exact", "thumbnail"])
def test_many_by_tiles_are_one_after_another(mode: str, ways: list[tuple[str, dict[str, Any]]]) -> None:
    resnet(Tiles(mode, 32)).many(list(pixels(3, 16, 16, 3)))
    assert [name for name, _ in ways] == [mode] * 3


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (17, 31), (5, 64), (16, 16)])
def test_every_size_comes_back(size: tuple[int, int]) -> None:
    assert resnet().translate(pixels(*size, 3)).shape == (*size, 3)
    assert resnet().translate(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "cannot translate a int: expected a path, a PIL image, an array or a tensor"),
        (None, "cannot translate a NoneType"),
        ([1, 2], "cannot translate a list"),
        (b"bytes", "cannot translate a bytes"),
        (np.zeros((4, 4, 3)), r"got an array float64 \(4, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int16), r"got an array int16 \(4, 4, 3\): expected uint8 or uint16"),
        (np.zeros((4, 4), np.uint8), r"got an array uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got an array uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got an array uint8 \(0, 4, 3\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"got an array uint8 \(0, 4, 4, 3\)"),
        (np.zeros((), np.uint8), r"got an array uint8 \(\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"got a tensor torch.uint8 \(3, 4, 4\): expected floats"),
        (torch.zeros(1, 4, 4, 3), r"got a tensor torch.float32 \(1, 4, 4, 3\)"),
        (torch.zeros(4), r"got a tensor torch.float32 \(4,\)"),
        (torch.zeros(0, 3, 4, 4), r"got a tensor torch.float32 \(0, 3, 4, 4\)"),
    ],
)
def test_what_is_no_image_is_one_line(wrong: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        inverter().translate(wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.jpg: ") as error:
        inverter().translate(path)
    assert "\n" not in str(error.value)


def test_too_little_memory_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda _: 1000)
    translator = Translator(nn.Module(), SPEC, FACTS, CPU, Tiles("none"))  # calling it would fail
    whole = r"^300 x 200 px: the whole image needs about 0\.0 GB at once, 0\.0 GB are free: use --tile auto"
    with pytest.raises(UserError, match=whole):
        translator.translate(pixels(200, 300, 3))
    with pytest.raises(UserError, match=r"^300 x 200 px need about 0\.0 GB at once, 0\.0 GB are free: make the image"):
        translator.translate(torch.zeros(3, 200, 300))
    monkeypatch.setattr(module, "free_memory", lambda _: None)
    assert inverter().translate(pixels(2, 2, 3)).shape == (2, 2, 3)


@pytest.mark.parametrize("upsample", list(module.PEAK_BYTES))
def test_the_guard_covers_what_a_translation_takes(upsample: Any) -> None:
    """Measured: the most that tensors took at once is below what the guard asks for."""
    from torch.profiler import ProfilerActivity, profile

    spec = {**SPEC, "width": 16, "upsample": upsample}
    translator = Translator(ResNetGenerator(width=16, blocks=2, upsample=upsample), spec, FACTS, CPU)
    side = 128
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        translator.translate(torch.zeros(1, 3, side, side))
    taken = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            taken += event.nbytes()
            peak = max(peak, taken)
    assert peak > side * side * 16 * 4, "at least the first layer's result"
    assert peak < side * side * 16 * module.PEAK_BYTES[upsample]


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_running_out_of_memory_is_one_line(error: Exception) -> None:
    class Hungry(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise error

    for image in (pixels(4, 6, 3), torch.zeros(3, 4, 6)):
        with pytest.raises(UserError, match=r"^6 x 4 px: out of memory on cpu; make the image smaller"):
            Translator(Hungry(), SPEC, FACTS, CPU, Tiles("none")).translate(image)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Notes by which tiles, and with what arguments, images are translated."""
    noted: list[tuple[str, dict[str, Any]]] = []

    def noting(name: str, translate: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def call(*given: Any, **arguments: Any) -> np.ndarray:
            noted.append((name, arguments))
            return translate(*given, **arguments)

        return call

    for name in ("exact", "thumbnail"):
        monkeypatch.setattr(module, f"translate_{name}", noting(name, getattr(module, f"translate_{name}")))
    return noted


def furthest(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("upsample", ["resize", "transposed"])
def test_exact_tiles_give_the_whole_images_result(upsample: str, ways: list[tuple[str, dict[str, Any]]]) -> None:
    image = pixels(150, 97, 3)
    whole = resnet(Tiles("none"), upsample=upsample).translate(image)
    assert not ways
    assert np.ptp(whole) > 50
    assert furthest(resnet(Tiles("exact", 32), upsample=upsample).translate(image), whole) <= 1
    assert [(name, given["tile_px"]) for name, given in ways] == [("exact", 32)]


def test_a_thumbnails_statistics(ways: list[tuple[str, dict[str, Any]]]) -> None:
    image, translator = pixels(150, 97, 3), resnet(Tiles("thumbnail", 32))
    result = translator.translate(image)
    assert [(name, given["tile_px"]) for name, given in ways] == [("thumbnail", 32)]
    assert np.array_equal(result, translate_thumbnail(translator.generator, image, device=CPU, tile_px=32))
    assert furthest(result, resnet(Tiles("none")).translate(image)) > 1, "another way than the whole"


def test_auto_goes_by_the_memory_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: list[tuple[str, dict[str, Any]]]
) -> None:
    image = pixels(50, 70, 3)
    whole = resnet(Tiles("auto", 32)).translate(image)
    assert not ways, "it fits"
    monkeypatch.setattr(module, "free_memory", lambda _: 1000)
    assert furthest(resnet(Tiles("auto", 32, tmp_path)).translate(image), whole) <= 1
    assert ways[-1] == ("exact", {"device": CPU, "tile_px": 32, "scratch": tmp_path})
    assert list(tmp_path.iterdir()) == []
    assert resnet(Tiles("auto", 32)).translate(image).shape == image.shape
    assert [name for name, _ in ways] == ["exact", "thumbnail"], "nowhere to keep anything"


@pytest.mark.parametrize("left", [10**12, None, 1000])
def test_auto_goes_on_with_exact_tiles_when_the_whole_runs_out_of_memory(
    left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: list[tuple[str, dict[str, Any]]]
) -> None:
    image = pixels(50, 70, 3)
    whole = resnet().translate(image)

    def hungry(_: ResNetGenerator, images: Tensor) -> Tensor:
        monkeypatch.setattr(module, "free_memory", lambda _: left)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ResNetGenerator, "forward", hungry)
    assert furthest(resnet(Tiles("auto", 32, tmp_path)).translate(image), whole) <= 1
    # Where little memory is left now, the maps lie on disk.
    scratch = tmp_path if left == 1000 else None
    assert ways == [("exact", {"device": CPU, "tile_px": 32, "scratch": scratch})]


def test_exact_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda _: 1000)
    with pytest.raises(UserError, match=r"^70 x 50 px: exact tiles need about .*: free some space or use") as error:
        resnet(Tiles("exact")).translate(pixels(50, 70, 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mode", "tile_px", "message"),
    [
        ("exat", None, "unknown tile mode 'exat': did you mean 'exact'"),
        ("auto", 31, "got tiles of 31 px: give at least"),
    ],
)
def test_tiles_that_cannot_be_are_said_at_once(mode: str, tile_px: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tiles(mode, tile_px)


def test_other_errors_stay_what_they_are() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Translator(Broken(), SPEC, FACTS, CPU).translate(pixels(4, 6, 3))


def test_free_memory_of_this_machine() -> None:
    free = free_memory(CPU)
    assert free is None or 1e6 < free < 1e14


def test_facts_are_told() -> None:
    assert str(FACTS) == "direction ab, step 7, EMA weights"
    assert str(ModelFacts("ba", 0, averaged=False)) == "direction ba, step 0, raw weights"

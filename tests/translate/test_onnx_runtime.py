from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data import tensors
from ganstyle.translate import onnx_runtime as module
from ganstyle.translate import translator
from ganstyle.translate.onnx_runtime import FORMAT, ModelFacts, OnnxTranslator, read_onnx, to_images, to_pixels

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

DESCRIPTION = {
    "format": FORMAT,
    "generator": '{"name": "resnet", "width": 2}',
    "direction": "ba",
    "step": "12",
    "averaged": "true",
    "peak_bytes_per_px": "100",
}


def content(
    operator: str = "Neg",
    described: dict[str, str] | None = None,
    *,
    ends: tuple[str, str] = ("image", "translation"),
    opset: int = 18,
    format_version: int = 10,
) -> bytes:
    """A model of one operator; by default what is easy to check, the negative."""
    helper, sides = onnx.helper, ["batch", 3, "height", "width"]
    first, last = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides) for name in ends)
    graph = helper.make_graph([helper.make_node(operator, [ends[0]], [ends[1]])], "graph", [first], [last])
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=format_version)
    helper.set_model_props(model, DESCRIPTION if described is None else described)
    serialised: bytes = model.SerializeToString()
    return serialised


def reader(folder: Path) -> Callable[[bytes], OnnxTranslator]:
    def read(model: bytes) -> OnnxTranslator:
        (folder / "model.onnx").write_bytes(model)
        return read_onnx(folder / "model.onnx", device="cpu", threads=1)

    return read


@pytest.fixture
def inverter(tmp_path: Path) -> OnnxTranslator:
    return reader(tmp_path)(content())


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_arrays(inverter: OnnxTranslator) -> None:
    for array in (pixels(5, 7, 3), pixels(3, 5, 7, 3), pixels(1, 1, 3)):
        result = inverter.translate(array)
        assert result.dtype == np.uint8
        assert np.array_equal(result, 255 - array)


def deep_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)


def test_16_bit_arrays(inverter: OnnxTranslator) -> None:
    for array in (deep_pixels(5, 7, 3), deep_pixels(3, 5, 7, 3)):
        result = inverter.translate(array)
        assert result.dtype == np.uint16
        assert np.array_equal(result, 65535 - array)


class Watched:
    """A session that notes the batches it is given, and refuses those that are too large."""

    def __init__(self, session: Any, largest: int = 1000) -> None:
        self.session, self.largest = session, largest
        self.sizes: list[int] = []

    def run(self, names: list[str], given: dict[str, np.ndarray]) -> Any:
        self.sizes.append(len(given["image"]))
        if self.sizes[-1] > self.largest:
            raise RuntimeError("failed to allocate memory")
        return self.session.run(names, given)

    def get_providers(self) -> Any:
        return self.session.get_providers()


def watched(folder: Path, **options: Any) -> tuple[OnnxTranslator, Watched]:
    translator = reader(folder)(content())
    translator._session = session = Watched(translator._session, **options)
    return translator, session


def test_many_of_one_size_are_one_batch(tmp_path: Path) -> None:
    translator, session = watched(tmp_path)
    arrays = [*pixels(3, 5, 7, 3), deep_pixels(5, 7, 3), *pixels(2, 4, 7, 3)]
    for array, result in zip(arrays, translator.many(arrays), strict=True):
        assert result.dtype == array.dtype
        assert np.array_equal(result, np.iinfo(array.dtype).max - array)
    assert session.sizes == [3, 1, 2]  # six are halved where they differ, and these again
    assert np.array_equal(np.stack(translator.many(list(arrays[:3]))), 255 - np.stack(arrays[:3]))
    assert session.sizes[3:] == [3]


def test_many_go_on_with_smaller_batches_when_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator, session = watched(tmp_path, largest=2)
    arrays = pixels(4, 5, 7, 3)
    assert np.array_equal(np.stack(translator.many(list(arrays))), 255 - arrays)
    assert session.sizes == [4, 2, 2]
    translator, session = watched(tmp_path)
    monkeypatch.setattr(module, "free_host_memory", lambda: 2 * 5 * 7 * 100)
    assert np.array_equal(np.stack(translator.many(list(arrays))), 255 - arrays)
    assert session.sizes == [2, 2], "what cannot fit is not tried"


def test_arrays_of_any_layout(inverter: OnnxTranslator) -> None:
    array = pixels(6, 8, 3)
    fixed = array.copy()
    fixed.flags.writeable = False
    for view in (array[::-1, ::-1], array.transpose(1, 0, 2), np.asfortranarray(array), fixed):
        before = view.copy()
        assert np.array_equal(inverter.translate(view), 255 - view)
        assert np.array_equal(view, before)


def test_pil_images_and_paths(inverter: OnnxTranslator, tmp_path: Path) -> None:
    array = pixels(4, 9, 3)
    Image.fromarray(array).save(tmp_path / "photo.png")
    for image in (Image.fromarray(array), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        result = inverter.translate(image)
        assert isinstance(result, Image.Image)
        assert np.array_equal(np.asarray(result), 255 - array)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (7, "cannot translate a int: expected a path, a PIL image or an array"),
        (torch.zeros(1, 3, 4, 4), "cannot translate a Tensor"),
        (pixels(4, 4), r"got an array uint8 \(4, 4\)"),
        (pixels(4, 4, 4), r"got an array uint8 \(4, 4, 4\)"),
        (pixels(0, 4, 3), r"got an array uint8 \(0, 4, 3\)"),
        (np.zeros((4, 4, 3)), "got an array float64"),
        ("no such photo.png", "no such photo.png: no such file"),
    ],
)
def test_what_cannot_be_translated(inverter: OnnxTranslator, image: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        inverter.translate(image)


def test_what_is_known_of_the_model(inverter: OnnxTranslator) -> None:
    assert inverter.facts == ModelFacts("ba", 12, averaged=True)
    assert inverter.spec == {"name": "resnet", "width": 2}
    assert inverter.device == "ONNX Runtime, cpu"


@pytest.mark.parametrize("averaged", [True, False])
def test_facts_read_as_those_of_other_models(averaged: bool) -> None:
    assert str(ModelFacts("ab", 5, averaged)) == str(translator.ModelFacts("ab", 5, averaged))


def test_pixels_become_the_values_that_torch_gets() -> None:
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    images = to_images(array)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert np.array_equal(images, tensors.to_tensor(array).numpy())
    deep = np.arange(65536, dtype=np.uint16).repeat(3).reshape(256, 256, 3)
    assert np.array_equal(to_images(deep), tensors.to_tensor(deep).numpy())
    assert np.array_equal(to_pixels(to_images(deep), np.uint16)[0], deep)
    batch = np.stack([array, array[::-1]])
    assert np.array_equal(to_images(batch), tensors.to_tensor(batch).numpy())


def test_values_become_the_pixels_that_torch_gives() -> None:
    halves = (np.arange(-10, 522) / 2 / 127.5 - 1).astype(np.float32)  # on and between the levels, and beyond
    images = np.concatenate([halves, np.random.default_rng(1).uniform(-1.2, 1.2, 668).astype(np.float32)])
    images = images.reshape(2, 3, 10, 20)
    for dtype in (np.uint8, np.uint16):
        assert np.array_equal(to_pixels(images, dtype), tensors.to_pixels(torch.from_numpy(images), dtype))


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(UserError, match="there is no model at"):
            read_onnx(path)


UNREADABLE = {
    "empty": b"",
    "text": b"not a model at all\n" * 20,
    "cut": content()[:-40],
    "an operator that is not known": content("Foo"),
    "an opset from the future": content(opset=999),
    "a format from the future": content(format_version=999),
    "pixels that are numbers": content("Shape"),
}


@pytest.mark.parametrize("model", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_not_a_model_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], model: bytes) -> None:
    with pytest.raises(UserError, match=r"model\.onnx: not a model that ONNX Runtime [\d.]+ can read") as told:
        reader(tmp_path)(model)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400 + len(str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_model_from_the_future_says_what_is_too_new(tmp_path: Path) -> None:
    for model, word in ((content(opset=999), "opset"), (content(format_version=999), "999")):
        with pytest.raises(UserError, match=rf"{word}.*: update onnxruntime"):
            reader(tmp_path)(model)


FOREIGN = {
    "no description": {},
    "another's format": DESCRIPTION | {"format": "another"},
    "one that steers a terminal": DESCRIPTION | {"format": "\x1b[31mred\n"},
}


@pytest.mark.parametrize("described", FOREIGN.values(), ids=FOREIGN.keys())
def test_models_of_others_are_refused(tmp_path: Path, described: dict[str, str]) -> None:
    with pytest.raises(UserError, match="an ONNX file, but not a model of ganstyle") as told:
        reader(tmp_path)(content(described=described))
    assert str(told.value).isprintable()


DAMAGED = [
    {"generator": "{"},
    {"generator": "[1]"},
    {"generator": "[" * 100_000},
    {"direction": "up"},
    {"step": "many"},
    {"averaged": "perhaps"},
    {"peak_bytes_per_px": ""},
]


@pytest.mark.parametrize("changes", DAMAGED, ids=lambda changes: f"{next(iter(changes.items()))!s:.40}")
def test_damaged_descriptions_are_told(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(UserError, match="its description is damaged") as told:
        reader(tmp_path)(content(described=DESCRIPTION | changes))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["direction", "step", "averaged", "generator", "peak_bytes_per_px"])
def test_missing_descriptions_are_told(tmp_path: Path, name: str) -> None:
    described = {key: value for key, value in DESCRIPTION.items() if key != name}
    with pytest.raises(UserError, match=f"its description is damaged .*{name}"):
        reader(tmp_path)(content(described=described))


@pytest.mark.parametrize("ends", [("images", "translation"), ("image", "output")])
def test_other_names_of_inputs_and_outputs_are_told(tmp_path: Path, ends: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"its description is damaged .*inputs and outputs"):
        reader(tmp_path)(content(ends=ends))


def test_changed_bytes_are_told_or_harmless(tmp_path: Path) -> None:
    random, read = np.random.default_rng(0), reader(tmp_path)
    told: list[str] = []
    for _ in range(150):
        model = bytearray(content())
        for place in random.integers(len(model), size=random.integers(1, 4)):
            model[place] = random.integers(256)
        try:
            read(bytes(model)).translate(pixels(4, 4, 3))
        except UserError as error:
            told.append(str(error))
    assert len(told) > 75
    assert all(text.isprintable() for text in told)


def test_a_model_that_gives_no_numbers_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 x 6 px: the model gave NaN or infinity"):
        reader(tmp_path)(content("Log")).translate(np.zeros((6, 4, 3), np.uint8))


def test_a_model_that_gives_another_size_is_told(tmp_path: Path) -> None:
    translated = reader(tmp_path)(content("GlobalAveragePool"))
    with pytest.raises(UserError, match=r"the model gave the shape \(1, 3, 1, 1\) for \(1, 3, 6, 4\)"):
        translated.translate(pixels(6, 4, 3))


def test_images_that_would_not_fit_are_refused(inverter: OnnxTranslator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_host_memory", lambda: 100 * 8 * 8)
    inverter.translate(pixels(8, 8, 3))
    with pytest.raises(UserError, match=r"9 x 16 px need about .* GB at once"):
        inverter.translate(pixels(16, 9, 3))
    # What was taken once is still held, and can be used again.
    monkeypatch.setattr(module, "free_host_memory", lambda: 0)
    inverter.translate(pixels(8, 8, 3))
    with pytest.raises(UserError, match="9 x 8 px need"):
        inverter.translate(pixels(8, 9, 3))


def test_free_memory_is_that_of_the_machine() -> None:
    free = module.free_host_memory()
    assert free is None or 2**20 < free < 2**50


class Library:
    """An ONNX Runtime that has some providers, and starts some of them."""

    __version__ = "0"

    def __init__(self, *there: str, starts: tuple[str, ...] | None = None) -> None:
        self.there = list(there)
        self.starts = self.there if starts is None else list(starts)
        self.asked: list[Any] = []

    def get_available_providers(self) -> list[str]:
        return self.there

    def SessionOptions(self) -> Any:  # noqa: N802 - the library's name
        import onnxruntime

        return onnxruntime.SessionOptions()

    def InferenceSession(self, model: str, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:  # noqa: N802
        import onnxruntime

        self.asked = providers
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: self.starts
        return session


CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("device", "asked", "told"),
    [
        ("auto", [(CUDA_PROVIDER, {"device_id": "0"}), CPU_PROVIDER], "ONNX Runtime, cuda"),
        ("cuda", [(CUDA_PROVIDER, {"device_id": "0"}), CPU_PROVIDER], "ONNX Runtime, cuda"),
        ("cuda:1", [(CUDA_PROVIDER, {"device_id": "1"}), CPU_PROVIDER], "ONNX Runtime, cuda"),
        ("cpu", [CPU_PROVIDER], "ONNX Runtime, cpu"),
    ],
)
def test_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, asked: list[Any], told: str) -> None:
    starts = (CUDA_PROVIDER, CPU_PROVIDER) if device != "cpu" else (CPU_PROVIDER,)
    library = Library(CUDA_PROVIDER, CPU_PROVIDER, starts=starts)
    monkeypatch.setattr(module, "library", lambda: library)
    (tmp_path / "model.onnx").write_bytes(content())
    assert read_onnx(tmp_path / "model.onnx", device=device).device == told
    assert library.asked == asked


@pytest.mark.parametrize(
    ("device", "there", "told"),
    [
        ("cuda", [CPU_PROVIDER], r"cuda is not available to this ONNX Runtime \(available: cpu\)"),
        ("cuda:2", [CPU_PROVIDER], "cuda:2 is not available"),
        ("mps", [CUDA_PROVIDER, CPU_PROVIDER], r"mps is not available .*\(available: cpu, cuda\)"),
        ("gpu", [CPU_PROVIDER], "got 'gpu', expected auto, cpu, cuda or cuda:N"),
        ("cuda", [CUDA_PROVIDER, CPU_PROVIDER], "ONNX Runtime cannot start cuda here"),
    ],
)
def test_devices_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, there: list[str], told: str
) -> None:
    monkeypatch.setattr(module, "library", lambda: Library(*there, starts=(CPU_PROVIDER,)))
    (tmp_path / "model.onnx").write_bytes(content())
    with pytest.raises(UserError, match=told):
        read_onnx(tmp_path / "model.onnx", device=device)


@pytest.mark.parametrize(("machine", "allowed", "threads"), [(8, range(8), 0), (8, range(2, 5), 3)])
def test_threads_are_those_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, machine: int, allowed: range, threads: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: machine)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(allowed), raising=False)
    assert module.allowed_threads() == threads


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(content())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'ganstyle\[onnx\]'"):
        read_onnx(tmp_path / "model.onnx")


WITHOUT_TORCH = """
import sys
from pathlib import Path

import numpy as np

class Refused:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] != "torch", "torch is imported"

sys.meta_path.insert(0, Refused())
from ganstyle.translate.onnx_runtime import read_onnx

folder = Path(sys.argv[1])
translator = read_onnx(folder / "model.onnx", device="cpu", threads=1)
translator.translate(folder / "photo.png").save(folder / "out.png")
translator.translate(np.zeros((2, 3, 4, 3), np.uint8))
assert "torch" not in sys.modules and "onnxruntime" in sys.modules
"""


def test_no_torch_is_imported(tmp_path: Path) -> None:
    array = pixels(5, 6, 3)
    Image.fromarray(array).save(tmp_path / "photo.png")
    (tmp_path / "model.onnx").write_bytes(content())
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(np.asarray(image), 255 - array)

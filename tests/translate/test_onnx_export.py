from __future__ import annotations

import getpass
import itertools
import json
import socket
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle import __version__
from ganstyle.base.errors import RunFailed, UserError
from ganstyle.networks.blocks import NormName, UpsamplingName
from ganstyle.networks.generators import GENERATORS, ResNetGenerator
from ganstyle.translate import onnx_export as module
from ganstyle.translate.onnx_export import AnySize, Fitting, write_onnx
from ganstyle.translate.onnx_runtime import FORMAT, OnnxTranslator, read_onnx
from ganstyle.translate.translator import ModelFacts, Translator

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

ROOT = Path(__file__).resolve().parents[2]
SPEC = {"name": "resnet", "width": 2, "blocks": 1, "halvings": 1, "upsample": "resize", "dropout": 0.5}
FACTS = ModelFacts("ba", 1234, averaged=True, checkpoint="best")
# (height, width): fits, odd ones, smaller than the network's own minimum, strips.
SIZES = [(64, 48), (37, 51), (9, 8), (4, 4), (3, 5), (1, 1), (1, 40), (61, 2)]


def network(**changes: Any) -> ResNetGenerator:
    """Large weights, biases too, so that tanh bends and every layer matters."""
    torch.manual_seed(3)
    spec: dict[str, Any] = {key: value for key, value in SPEC.items() if key != "name"} | {"gain": 0.3} | changes
    generator = ResNetGenerator(**spec)
    for name, parameter in generator.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, 0, 0.3)
    for buffer in generator.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5)
    return generator


def read(path: Path) -> OnnxTranslator:
    return read_onnx(path, device="cpu", threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, written from a network in train mode."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(path, network().train(), SPEC, FACTS, verify_px=[(8, 12)])
    return path


def images(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))


@torch.no_grad()
def farthest(path: Path, generator: nn.Module, given: Tensor) -> float:
    """The largest difference between the file's translation and torch's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (translated,) = session.run(["translation"], {"image": given.numpy()})
    expected = generator.eval()(given).numpy()
    assert translated.shape == expected.shape
    assert translated.dtype == np.float32
    return float(np.abs(translated - expected).max())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_translates_as_torch_at_every_size(model: Path, size: tuple[int, int]) -> None:
    for batch in (1, 2, 3):
        assert farthest(model, network(), images(batch, 3, *size)) < 1e-4


@pytest.mark.parametrize("value", [-1.0, 0.3, 1.0])
def test_flat_images_stay_as_torch_has_them(model: Path, value: float) -> None:
    """Rounding errors of a norm over a flat map would grow to noise."""
    for size in ((64, 48), (37, 51), (1, 1)):
        assert farthest(model, network(), torch.full((1, 3, *size), value)) < 1e-4


def test_pixels_are_those_of_torch(model: Path) -> None:
    ours = Translator(network(), SPEC, FACTS, torch.device("cpu"))
    random = np.random.default_rng(1)
    ramp = np.linspace(0, 255, 90 * 121 * 3).reshape(90, 121, 3).astype(np.uint8)
    for picture in (ramp, random.integers(0, 256, (90, 121, 3), dtype=np.uint8)):
        difference = np.abs(read(model).pixels(picture).astype(int) - ours.pixels(picture))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_the_file_says_what_it_is(model: Path) -> None:
    found = onnx.load(model)
    described = {each.key: each.value for each in found.metadata_props}
    assert described["format"] == FORMAT
    assert described["ganstyle"] == __version__
    assert json.loads(described["generator"]) == SPEC
    assert (described["direction"], described["step"], described["averaged"]) == ("ba", "1234", "true")
    translator = read(model)
    assert translator.spec == SPEC
    assert (translator.facts.direction, translator.facts.step, translator.facts.averaged) == ("ba", 1234, True)
    (opset,) = found.opset_import
    assert (opset.domain, opset.version) == ("", module.OPSET)


def test_input_and_output_are_named_with_their_sizes(model: Path) -> None:
    found = onnx.load(model)
    for (end,), name in ((found.graph.input, "image"), (found.graph.output, "translation")):
        assert end.name == name
        assert end.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        sides = [side.dim_param or side.dim_value for side in end.type.tensor_type.shape.dim]
        assert sides == ["batch", 3, "height", "width"]


def test_any_tool_for_onnx_can_open_it(model: Path) -> None:
    onnx.checker.check_model(onnx.load(model), full_check=True)


def test_nothing_in_it_says_who_made_it(model: Path) -> None:
    content = model.read_bytes()
    words = [str(ROOT), str(Path.home()), str(Path(sys.prefix)), socket.gethostname(), f"/{getpass.getuser()}/"]
    words += [".py", "File ", "pkg.torch", "site-packages", FACTS.checkpoint]
    assert [word for word in words if len(word) > 2 and word.encode() in content] == []


def test_norms_are_one_operator_each(model: Path) -> None:
    operators = [node.op_type for node in onnx.load(model).graph.node]
    norms = sum(type(each).__name__ == "InstanceNorm" for each in network().modules())
    assert operators.count("InstanceNormalization") == norms > 0
    assert "Dropout" not in operators


def test_the_network_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_exported", lambda *_: model.read_bytes())
    generator = network().train().double()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    write_onnx(tmp_path / "x.onnx", generator, SPEC, FACTS)
    assert (tmp_path / "x.onnx").read_bytes() == model.read_bytes()
    assert generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_a_file_that_differs_from_torch_is_not_written(
    monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path, change: float
) -> None:
    monkeypatch.setattr(module, "_exported", lambda *_: model.read_bytes())
    generator = network()
    with torch.no_grad():
        generator.head.conv.bias[1] += change  # type: ignore[union-attr, index]
    with pytest.raises(
        RunFailed, match=r"differs from torch by .* at 64 x 64 px, batch 1 .*nothing was written"
    ) as told:
        write_onnx(tmp_path / "x.onnx", generator, SPEC, FACTS)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_every_size_and_two_at_once_are_verified(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(module, "_exported", lambda *_: model.read_bytes())
    monkeypatch.setattr(
        AnySize, "forward", lambda self, each: (seen.append(tuple(each.shape)), self.generator(each))[1]
    )
    write_onnx(tmp_path / "x.onnx", network(), SPEC, FACTS, verify_px=[(16, 24), (9, 31)])
    assert seen == [(1, 3, 16, 24), (2, 3, 16, 24), (1, 3, 9, 31), (2, 3, 9, 31)]


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        write_onnx(tmp_path / "no" / "x.onnx", network(), SPEC, FACTS)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxscript"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'ganstyle\[onnx\]'"):
        write_onnx(tmp_path / "x.onnx", network(), SPEC, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_for_the_format_is_one_line(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = ResNetGenerator(width=512, blocks=16)
    with pytest.raises(UserError, match=r"weights take 5\.\d GB: an ONNX file holds"):
        write_onnx(tmp_path / "x.onnx", large, SPEC, FACTS)


def test_every_generator_says_which_sizes_fit_it() -> None:
    assert GENERATORS
    for build in GENERATORS.values():
        with torch.device("meta"):
            assert isinstance(build(), Fitting)


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_extending_by_arithmetic_is_extending(halvings: int) -> None:
    generator = network(halvings=halvings).eval()
    wrapped = AnySize(generator).eval()
    sides = (1, 2, 3, 7, 8, 13, 16, 17)
    with torch.no_grad():
        for height, width in itertools.product(sides, sides):
            given = images(1, 3, height, width)
            assert torch.equal(wrapped(given), generator(given)), (height, width)


class Undecided(nn.Module):
    """Cannot be a graph: what it does depends on the values."""

    multiple_px = 1
    minimum_px = 1

    def forward(self, given: Tensor) -> Tensor:
        return given if bool(given.sum() > 0) else -given


@pytest.mark.slow
def test_a_network_that_cannot_be_a_graph_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunFailed, match="cannot be written as ONNX") as told:
        write_onnx(tmp_path / "x.onnx", Undecided(), {"name": "undecided"}, FACTS)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


# Without a norm of its own statistics each layer enlarges, and with it what rounding adds.
GAINS = {"instance": 0.3, "batch": 0.18, "none": 0.18}


@pytest.mark.slow
@pytest.mark.parametrize("norm", get_args(NormName))
@pytest.mark.parametrize("upsample", get_args(UpsamplingName))
def test_every_kind_of_network(tmp_path: Path, upsample: UpsamplingName, norm: NormName) -> None:
    changes: dict[str, Any] = {"upsample": upsample, "norm": norm, "width": 4, "blocks": 2, "halvings": 2}
    changes["gain"] = GAINS[norm]
    write_onnx(tmp_path / "x.onnx", network(**changes).train(), SPEC | changes, FACTS)
    for size in SIZES:
        assert farthest(tmp_path / "x.onnx", network(**changes), images(2, 3, *size)) < 1e-4
    flat = torch.full((1, 3, 37, 51), 0.3)
    assert farthest(tmp_path / "x.onnx", network(**changes), flat) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("halvings", [0, 3])
def test_networks_of_any_depth(tmp_path: Path, halvings: int) -> None:
    write_onnx(tmp_path / "x.onnx", network(halvings=halvings), SPEC | {"halvings": halvings}, FACTS)
    for size in SIZES:
        assert farthest(tmp_path / "x.onnx", network(halvings=halvings), images(1, 3, *size)) < 1e-4

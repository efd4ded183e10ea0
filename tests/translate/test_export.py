from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from ganstyle.assemble import build_generator
from ganstyle.base.errors import UserError
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate.export import FORMAT, read_export, write_export
from ganstyle.translate.translator import ModelFacts
from ganstyle.verbs.models import load

SPEC = {"name": "resnet", "width": 2, "blocks": 1, "norm": "batch"}
FACTS = ModelFacts("ba", 1234, averaged=False)


def network() -> ResNetGenerator:
    torch.manual_seed(3)
    return ResNetGenerator(width=2, blocks=1, norm="batch", gain=0.3)


def metadata(**changes: str) -> dict[str, str]:
    plain = {"format": FORMAT, "generator": json.dumps(SPEC), "direction": "ab", "step": "1", "averaged": "true"}
    return plain | changes


def written(path: Path, described: dict[str, str] | None, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    path.write_bytes(save(tensors if tensors is not None else network().state_dict(), described))
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path, source = tmp_path / "x.safetensors", network()
    write_export(path, source, SPEC, FACTS)
    generator, spec, facts = read_export(path, build_generator)
    assert (spec, facts) == (SPEC, FACTS)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    images = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(generator(images), source.eval()(images))


def test_any_tool_for_safetensors_can_open_it(tmp_path: Path) -> None:
    write_export(tmp_path / "x.safetensors", network(), SPEC, FACTS)
    assert set(load_file(tmp_path / "x.safetensors")) == set(network().state_dict())


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    contents = set()
    for number in range(8):  # the library's own order differs from file to file
        write_export(tmp_path / f"{number}.safetensors", network(), SPEC, FACTS)
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        write_export(tmp_path / "no" / "x.safetensors", network(), SPEC, FACTS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network().state_dict().items()
    }
    generator, _, _ = read_export(written(tmp_path / "x.safetensors", metadata(), tensors), build_generator)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}
    assert generator(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def resized(name: str, *shape: int) -> dict[str, torch.Tensor]:
    return network().state_dict() | {name: torch.zeros(shape)}


def changed(value: float) -> dict[str, torch.Tensor]:
    tensors = network().state_dict()
    tensors["head.conv.weight"].view(-1)[5] = value
    return tensors


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in network().state_dict().items() if key != name}


def spec(**changes: Any) -> dict[str, str]:
    return metadata(generator=json.dumps({**SPEC, **changes}))


HOSTILE: dict[str, tuple[dict[str, str] | None, dict[str, torch.Tensor] | None, str]] = {
    "no metadata": (None, None, "a safetensors file, but not a model of ganstyle"),
    "another format": (metadata(format="pt"), None, "a safetensors file, but not a model of ganstyle"),
    "unknown generator": (spec(name="resnt"), None, "unknown generator 'resnt'"),
    "generator of another type": (spec(name=["resnet"]), None, "unknown generator"),
    "a billion blocks": (spec(blocks=10**9), None, "generator.blocks: got 1000000000, expected at most 64"),
    "a huge width": (spec(width=10**12), None, "generator.width: got 1000000000000, expected at most 512"),
    "largest allowed": (spec(width=512, blocks=64, halvings=5), None, "does not fit its own description"),
    "a fraction": (spec(width=2.5), None, "generator.width: got 2.5, expected a whole number"),
    "unknown key": (spec(**{"\x1b[31m\nred": 1}), None, "unknown key"),
    "no name": (metadata(generator="{}"), None, "generator needs a name"),
    "not a mapping": (metadata(generator="[1]"), None, "its description is damaged"),
    "not json": (metadata(generator="{"), None, "its description is damaged"),
    "deep json": (metadata(generator="[" * 200_000), None, "its description is damaged"),
    "long number": (
        metadata(generator='{"name": "resnet", "width": ' + "9" * 5000 + "}"),
        None,
        "description is damaged",
    ),
    "no direction": ({key: value for key, value in metadata().items() if key != "direction"}, None, "is damaged"),
    "odd direction": (metadata(direction="\x1b[2Jab"), None, "its description is damaged"),
    "odd step": (metadata(step="many"), None, "its description is damaged"),
    "another shape": (
        metadata(),
        resized("head.conv.weight", 3, 2, 7, 8),
        "head.conv.weight is (3, 2, 7, 8), expected",
    ),
    "transposed": (metadata(), resized("head.conv.weight", 2, 3, 7, 7), "head.conv.weight is (2, 3, 7, 7)"),
    "extra tensor": (metadata(), resized("evil", 1), "evil is (1,), expected nothing"),
    "missing tensor": (metadata(), without("head.conv.bias"), "head.conv.bias is nothing, expected (3,)"),
    "no tensors": (metadata(), {}, "is nothing, expected"),
    "nan": (metadata(), changed(float("nan")), "NaN or infinity (head.conv.weight)"),
    "infinite": (metadata(), changed(float("-inf")), "NaN or infinity (head.conv.weight)"),
    "whole numbers": (
        metadata(),
        network().state_dict() | {"head.conv.weight": torch.zeros(3, 2, 7, 7, dtype=torch.int32)},
        "the weights are of another kind: head.conv.weight is torch.int32",
    ),
}


def most_memory() -> int:
    """The most kilobytes that this process has had in memory; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def most_memory_since_now() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of earlier tests
    return most_memory()


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_one_line_and_take_no_memory(tmp_path: Path, case: str) -> None:
    described, tensors, message = HOSTILE[case]
    path = written(tmp_path / "x.safetensors", described, tensors)
    before = most_memory_since_now()
    with pytest.raises(UserError) as error:
        load(path)
    text = str(error.value)
    assert message in text
    assert len(text) < 600
    assert all(letter.isprintable() for letter in text), "nothing that steers a terminal"
    assert most_memory() - before < 100_000, "kilobytes"


def header(values: dict[str, Any], length: int | None = None) -> bytes:
    text = json.dumps(values).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


LARGE = {"dtype": "F32", "shape": [2**40, 2**10], "data_offsets": [0, 2**52]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"hello, this is a text of some length",
        struct.pack("<Q", 2**62) + b"{}",
        header({"x": LARGE, "__metadata__": metadata()}),
        header({"x": {"dtype": "F32", "shape": [2], "data_offsets": [4, 2**63]}}) + bytes(8),
        header({"__metadata__": metadata()}, length=99999),
        header({"x": "y"}),
        struct.pack("<Q", 200_000) + b'{"a":' * 40_000,
        save(network().state_dict(), metadata())[:-100],
        save(network().state_dict(), metadata())[:300],
        b"PK\x03\x04" + bytes(500),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a model that can be read") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_defaults_left_out_of_a_description_are_filled_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = ResNetGenerator(blocks=1).state_dict()
    path = written(tmp_path / "x.safetensors", metadata(generator='{"name": "resnet", "blocks": 1}'), tensors)
    translator = load(path, device="cpu")
    assert translator.spec["width"] == 64
    assert translator.translate(torch.zeros(3, 8, 8)).shape == (3, 8, 8)

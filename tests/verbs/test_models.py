from __future__ import annotations

import getpass
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ganstyle
from ganstyle.base.errors import UserError
from ganstyle.train.checkpoint import load_checkpoint
from ganstyle.verbs.models import directions_of, export, load
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints 2 and 4 whose pictures are gone."""
    folder = tmp_path_factory.mktemp("models")
    changes = {"training.checkpoint_every": "2", "training.learning_rate": "0.05", "name": "verysecretname"}
    tiny.train(folder, changes, run="verysecretname")
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")
    return folder / "verysecretname"


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (19, 23, 3), dtype=np.uint8)


def test_the_default_is_the_latest_average_from_a_to_b(run: Path) -> None:
    assert str(load(run).facts) == "latest checkpoint: direction ab, step 4, EMA weights"


def generator_weights(run: Path, step: int, part: str, name: str) -> torch.Tensor:
    state = load_checkpoint(run / "checkpoints" / f"step-{step:08d}.pt")
    weight: torch.Tensor = state[part][name]["stem.conv.weight"]
    return weight


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({}, (4, "ema", "ab")),
        ({"raw": True}, (4, "networks", "generator_ab")),
        ({"direction": "ba"}, (4, "ema", "ba")),
        ({"direction": "ba", "raw": True}, (4, "networks", "generator_ba")),
        ({"checkpoint": "2"}, (2, "ema", "ab")),
        ({"checkpoint": 2, "raw": True}, (2, "networks", "generator_ab")),
        ({"checkpoint": "latest"}, (4, "ema", "ab")),
    ],
)
def test_which_weights(run: Path, options: dict[str, Any], source: tuple[int, str, str]) -> None:
    translator = load(run, device="cpu", **options)
    want = generator_weights(run, *source)
    assert torch.equal(translator.generator.state_dict()["stem.conv.weight"], want)
    assert (translator.facts.step, translator.facts.averaged) == (source[0], source[1] == "ema")


def test_they_do_give_different_pictures(run: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"raw": True}, {"direction": "ba"}, {"checkpoint": 2}]
    pictures = [load(run, **each).translate(pixels()) for each in options]
    for number, one in enumerate(pictures):
        assert all(not np.array_equal(one, other) for other in pictures[:number])


def test_best_is_the_default_where_there_is_one(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "checkpoints" / "step-00000002.pt").rename(copy / "checkpoints" / "best.pt")
    assert load(copy).facts.step == 2
    assert load(copy, checkpoint="best").facts.step == 2
    assert load(copy, checkpoint="latest").facts.step == 4


def test_without_averages_the_weights_are_raw(tmp_path: Path) -> None:
    tiny.train(tmp_path, {"training.ema_decay": "0"})
    assert str(load(tmp_path / "run").facts) == "latest checkpoint: direction ab, step 4, raw weights"


@pytest.mark.parametrize("direction", ["ab", "ba"])
@pytest.mark.parametrize("raw", [False, True])
def test_an_exported_model_gives_the_same_pixels(run: Path, tmp_path: Path, direction: str, raw: bool) -> None:
    path = tmp_path / "model.safetensors"
    facts = export(run, path, direction=direction, raw=raw)
    exported = load(path)
    assert exported.facts == facts
    assert (facts.direction, facts.averaged) == (direction, not raw)
    assert np.array_equal(exported.translate(pixels()), load(run, direction=direction, raw=raw).translate(pixels()))


def test_an_export_of_an_export_is_the_same_model(run: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for source, path in zip([run, paths[0]], paths, strict=True):
        export(source, path)
    assert tiny.differing_tensors(*map(load_file, paths)) == []
    assert [(load(path).spec, load(path).facts) for path in paths] == [(load(run).spec, load(run).facts)] * 2


def test_an_exported_file_says_nothing_of_its_maker(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    export(run, path)
    content = path.read_bytes().lower()
    assert b"resnet" in content, "the file is searched as it is"
    words = [
        str(run),
        str(tmp_path),
        run.name,
        run.parent.name,
        str(Path.cwd()),
        str(Path.home()),
        socket.gethostname(),
    ]
    # A user's name may be a common word; it is looked for where a path or an address would hold it.
    words += [f"/{getpass.getuser()}", f"{getpass.getuser()}@", "/home", "/tmp", "/users", "\\users"]
    found = [word for word in words if len(word) > 2 and word.lower().encode() in content]
    assert found == []


def moved(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def broken(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, Path], Path]:
    def make(run: Path, tmp_path: Path) -> Path:
        copy = moved(run, tmp_path)
        path = copy / "checkpoints" / "step-00000004.pt"
        state = load_checkpoint(path, mapped=False)
        change(state)
        torch.save(state, path)
        return copy

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken(lambda state: state.pop("ema")), "its content is damaged"),
        (broken(lambda state: state.update(ema=None)), "its content is damaged"),
        (broken(lambda state: state["facts"].update(translators=3)), "its content is damaged"),
        (broken(lambda state: state["facts"].update(generator=None)), "its content is damaged"),
        (broken(lambda state: state["facts"].update(generator={"name": "resnet", "blocks": 10**9})), "at most 64"),
        (broken(lambda state: state["facts"]["generator"].update(width=3)), "does not fit its own description"),
        (broken(lambda state: state["ema"]["ab"].pop("head.conv.bias")), "head.conv.bias is nothing"),
        (broken(lambda state: state["ema"]["ab"]["head.conv.bias"].fill_(float("nan"))), "NaN or infinity"),
    ],
)
def test_a_strangers_run_is_one_line(
    run: Path, tmp_path: Path, make: Callable[[Path, Path], Path], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(make(run, tmp_path))
    assert "\n" not in str(error.value)


def test_what_is_not_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run, tmp_path / "model.safetensors")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.yaml").touch()
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "nowhere", {}, "there is no model at .*nowhere: expected a run's folder, an exported"),
        (tmp_path, {}, r"holds no model: neither a run nor a generator \(such as latest_net_G_A.pth\) is in it"),
        (begun, {}, r"has no checkpoint 'latest' \(it has none yet: train it first\)"),
        (run, {"checkpoint": "3"}, r"has no checkpoint '3' \(there are latest, 2, 4\)"),
        (run, {"checkpoint": "best"}, "has no checkpoint 'best'"),
        (run, {"checkpoint": "../4"}, r"has no checkpoint '\.\./4'"),
        (run, {"checkpoint": "²"}, "has no checkpoint '²'"),
        (run, {"direction": "aa"}, "does not translate 'aa', only ab, ba"),
        (run, {"tile": "exat"}, "unknown tile mode 'exat': did you mean 'exact'"),
        (run, {"tile_px": 31}, "got tiles of 31 px: give at least 32"),
        (run, {"device": "cuda"}, "device: cuda is not available here"),
        (tmp_path / "model.safetensors", {"direction": "ba"}, "translates ab; for ba export that direction of its run"),
        (tmp_path / "model.safetensors", {"raw": True}, "is an exported model: --checkpoint and --raw are for"),
        (tmp_path / "model.safetensors", {"checkpoint": "latest"}, "is an exported model"),
    ]
    for model, options, message in cases:
        with pytest.raises(UserError, match=message):
            load(model, **options)


@pytest.mark.parametrize(
    ("name", "message"), [("x.pt", "ends in .safetensors or .onnx"), ("no/x.safetensors", "there is no folder")]
)
def test_where_an_export_cannot_go(run: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(run, tmp_path / name)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match="a folder of this name is in the way"):
        export(run, tmp_path / "folder.safetensors")


def test_a_strangers_checkpoint_in_a_run_is_not_the_run(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "latest_net_G_A.pth").write_bytes(b"something else")
    assert torch.equal(load(copied, device="cpu").generator.state_dict()["head.conv.weight"],
                       load(run, device="cpu").generator.state_dict()["head.conv.weight"])  # fmt: skip
    assert directions_of(copied) == directions_of(run)


def test_the_python_face(run: Path, tmp_path: Path) -> None:
    model = ganstyle.load(run, device="cpu")
    image = tiny.picture(9, 12)
    image.save(tmp_path / "x.png")
    array = np.asarray(image)
    want = model.translate(array)
    assert np.array_equal(np.asarray(model.translate(image)), want)
    assert np.array_equal(np.asarray(model.translate(tmp_path / "x.png")), want)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1
    as_pixels = ((model.translate(tensor) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert np.array_equal(as_pixels.permute(1, 2, 0).numpy(), want)
    assert model.translate(tensor[None].repeat(2, 1, 1, 1)).shape == (2, 3, 9, 12)
    assert ganstyle.load(str(run), direction="ba").facts.direction == "ba"

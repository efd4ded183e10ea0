"""Other people's checkpoints wherever a model is taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganstyle
from ganstyle.base.errors import UserError
from ganstyle.verbs.models import directions_of, export, load
from tests import tiny
from tests.networks.foreign_generators import Plain, resnet, unet


def saved(path: Path, plain: Plain) -> Path:
    state = {name: each.float() if each.is_floating_point() else each for name, each in plain.state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def picture(side_px: int = 32) -> np.ndarray:
    return np.asarray(tiny.picture(side_px, side_px))


def expected(plain: Plain, pixels: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 127.5 - 1
    float_state = {name: each.float().double() for name, each in plain.state.items() if each.is_floating_point()}
    plain.state.update(float_state)
    return ((plain.run(images)[0].permute(1, 2, 0) + 1) * 127.5).numpy()


@pytest.mark.parametrize("make", [resnet, lambda: resnet(blurs=(True, True)), unet])
def test_the_python_face(make: Callable[..., Plain], tmp_path: Path) -> None:
    plain = make()
    model = ganstyle.load(saved(tmp_path / "latest_net_G_B.pth", plain), device="cpu")
    assert np.abs(model.translate(picture()).astype(float) - expected(plain, picture())).max() <= 0.6
    assert model.facts.direction == "ba"
    assert str(model.facts).startswith("direction ba, the ")
    assert model.translate(picture()[:7, :13]).shape == (7, 13, 3), "any size"


def test_translating_a_folder(tmp_path: Path) -> None:
    plain, pixels = resnet(), picture(24)
    model = saved(tmp_path / "latest_net_G.pth", plain)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "x.png")
    ended = tiny.ganstyle("translate", tmp_path / "photos", tmp_path / "out", "--model", model, "--device", "cpu")
    assert (ended.code, ended.err) == (0, ended.err)
    got = np.asarray(Image.open(tmp_path / "out" / "x.png")).astype(float)
    assert np.abs(got - expected(plain, pixels)).max() <= 0.6
    # The ledger holds it to its model: another one is not mixed in.
    again = tiny.ganstyle("translate", tmp_path / "photos", tmp_path / "out", "--model", model, "--device", "cpu")
    assert again.code == 0


@pytest.mark.parametrize("make", [lambda: resnet(norm="batch", dropout=True), resnet, unet])
def test_an_export_is_ours_and_translates_the_same(make: Callable[..., Plain], tmp_path: Path) -> None:
    model, out = saved(tmp_path / "latest_net_G_A.pth", make()), tmp_path / "ours.safetensors"
    ended = tiny.ganstyle("export", model, out)
    assert ended.code == 0, ended.err
    assert "direction ab, the " in ended.out + ended.err
    assert np.array_equal(load(out).translate(picture()), load(model).translate(picture()))
    assert (load(out).facts, load(out).spec) == (load(model).facts, load(model).spec)
    assert load(out).facts.origin.endswith(" code")
    assert b"latest_net" not in out.read_bytes(), "a file says nothing of where it lay"


def test_an_export_for_other_runtimes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime (the extra 'onnx')")
    pytest.importorskip("onnxscript", reason="needs onnxscript (the extra 'onnx')")
    plain = unet()
    for tensor in plain.state.values():
        tensor.mul_(0.3 if tensor.dim() == 4 and tensor.shape[1] != 1 else 1)  # else rounding alone would be too much
    model, out = saved(tmp_path / "latest_net_G_A.pth", plain), tmp_path / "ours.onnx"
    facts = export(model, out)
    translator = ganstyle.load(out, device="cpu")
    assert translator.facts == facts
    both = [each.translate(picture()).astype(int) for each in (translator, load(model, device="cpu"))]
    assert np.abs(both[0] - both[1]).max() <= 1


def folder_of(path: Path) -> Path:
    """As the CycleGAN code leaves it: both generators differ, and so do the epochs."""
    for name, blocks in {"latest_net_G_A": 1, "latest_net_G_B": 2, "5_net_G_A": 3}.items():
        saved(path / f"{name}.pth", resnet(blocks=blocks))
    torch.save({"model.0.weight": torch.zeros(2, 3, 4, 4)}, path / "latest_net_D_A.pth")
    return path


def test_a_folder_of_checkpoints(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "checkpoints" / "horse2zebra")
    blocks = {
        (None, None): 1,
        ("ab", None): 1,
        ("ba", None): 2,
        (None, "5"): 3,
    }
    for (direction, checkpoint), count in blocks.items():
        translator = load(folder, direction=direction, checkpoint=checkpoint)
        assert translator.spec["blocks"] == count
        assert translator.facts.direction == (direction or "ab")
    assert directions_of(folder) == ["ab", "ba"]
    with pytest.raises(UserError, match=r"has no 7_net_G_A.pth: there are 5_net_G_A.pth, latest_net_G_A.pth"):
        load(folder, checkpoint="7")
    shutil.rmtree(folder)


def test_what_a_name_does_not_say_the_direction_does(tmp_path: Path) -> None:
    model = saved(tmp_path / "latest_net_G.pth", resnet())
    assert load(model).facts.direction == "ab"
    assert load(model, direction="ba").facts.direction == "ba"
    with pytest.raises(UserError, match="is a checkpoint of other code: --checkpoint and --raw"):
        load(model, raw=True)


@pytest.mark.parametrize("verb", ["translate", "export"])
def test_what_is_none_is_one_line_and_exit_code_2(verb: str, tmp_path: Path) -> None:
    torch.save(
        {"model.0.weight": torch.zeros(2, 3, 4, 4), "model.2.weight": torch.zeros(1, 2, 4, 4)}, tmp_path / "D.pth"
    )
    tiny.pictures(tmp_path / "photos", 1)
    words: dict[str, list[str | Path]] = {
        "translate": [tmp_path / "photos", tmp_path / "out", "--model", tmp_path / "D.pth"],
        "export": [tmp_path / "D.pth", tmp_path / "x.safetensors"],
    }
    ended = tiny.ganstyle(verb, *words[verb])
    assert ended.code == 2
    assert "it looks like a discriminator (PatchGAN)" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "x.safetensors").exists()

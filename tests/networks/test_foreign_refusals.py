"""What people take for a model and is none: each refused in one line that says what it looks like, and nothing run."""

from __future__ import annotations

import io
import os
import pickle
import random
import tarfile
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.foreign import read_foreign
from tests.networks.foreign_generators import State, resnet, unet
from tests.networks.foreign_weights import light_weights, torchvision_features


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def state(**options: Any) -> State:
    return {name: each.float() if each.is_floating_point() else each for name, each in resnet(**options).state.items()}


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_foreign(path)
    told = str(error.value)
    assert "\n" not in told
    assert told.isprintable()
    assert told.startswith(str(path))
    return told.removeprefix(f"{path}: ")


class Evil:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["alone", "beside weights", "an old file", "a bare pickle"])
def test_code_is_not_run(place: str, tmp_path: Path) -> None:
    evil = Evil(tmp_path / "ran")
    content = {
        "alone": lambda: saved(evil),
        "beside weights": lambda: saved({**state(), "x": evil}),
        "an old file": lambda: saved({"x": evil}, _use_new_zipfile_serialization=False),
        "a bare pickle": lambda: pickle.dumps(evil),
    }[place]()
    assert "holds code" in refusal(tmp_path / "latest_net_G.pth", content)
    assert not (tmp_path / "ran").exists()


def packed(kind: str, name: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, b"weights")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "it is empty"),
    "a page": (lambda: b"\n<!DOCTYPE html><html><title>Download</title>", "looks like a web page"),
    "a page with a comment": (lambda: b"<!-- x --><HTML>", "looks like a web page"),
    "LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "JPEG": (lambda: b"\xff\xd8\xff\xe0" + bytes(100), r"a picture \(JPEG\)"),
    "PNG": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), r"a picture \(PNG\)"),
    "zip": (lambda: packed("zip", "pretrained/latest_net_G.pth"), "unpack it and give pretrained/latest_net_G.pth"),
    "tar": (lambda: packed("tar", "latest_net_G.pth"), r"an archive \(tar\)"),
    "gzip": (lambda: b"\x1f\x8b" + bytes(100), "gzip"),
    "JSON": (lambda: b'{"a": 1}', "JSON"),
    "text": (lambda: b"epoch 1, losses: 3, 4, 5", "a text"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
    "numpy": (lambda: b"\x93NUMPY" + bytes(100), "numpy"),
    "cut off": (lambda: saved(state())[:-2000], "it is cut off"),
    "cut off, old": (lambda: saved(state(), _use_new_zipfile_serialization=False)[:-200], "it is cut off"),
    "a module": (lambda: saved(nn.Conv2d(3, 3, 3)), "a whole pickled module"),
    "options": (
        lambda: saved({"model": state(), "opt": Namespace(a=1)}),
        r"argparse.Namespace.*objects beside weights",
    ),
    "numpy inside": (lambda: saved({"a": np.zeros(3)}), "holds code .numpy"),
    "noise": (lambda: random.Random(0).randbytes(3000), "not a model that can be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_something_else(name: str, tmp_path: Path) -> None:
    make, told = FILES[name]
    with pytest.raises(UserError, match=told):
        raise UserError(refusal(tmp_path / "latest_net_G.pth", make()))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_of_torchscript(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 3, 3)), buffer)
    assert "TorchScript program: it holds code" in refusal(tmp_path / "x.pt", buffer.getvalue())


def patch_discriminator(inputs: int = 3) -> State:
    widths = [inputs, 2, 4, 8, 8, 1]
    places = [0, 2, 5, 8, 11]
    return {
        f"model.{place}.weight": torch.zeros(wide, narrow, 4, 4)
        for place, narrow, wide in zip(places, widths[:-1], widths[1:], strict=True)
    }


def blurred_discriminator() -> State:
    shapes = {"0": (2, 3, 4, 4), "2.filt": (2, 1, 3, 3), "3": (4, 2, 4, 4), "6.filt": (4, 1, 3, 3), "7": (1, 4, 4, 4)}
    names = {place: f"model.{place}" if "filt" in place else f"model.{place}.weight" for place in shapes}
    return {names[place]: torch.zeros(shape) for place, shape in shapes.items()}


def changed(change: Callable[[State], Any], **options: Any) -> State:
    result = state(**options)
    change(result)
    return result


def shortened(name: str) -> Callable[[State], None]:
    return lambda state: state.update({name: state[name][:, :1].contiguous()})


WEIGHTS: dict[str, tuple[Callable[[], Any], str]] = {
    "PatchGAN": (patch_discriminator, r"it looks like a discriminator \(PatchGAN\); give the generator's file"),
    "PatchGAN of pairs": (lambda: patch_discriminator(6), "a discriminator"),
    "DataParallel's PatchGAN": (
        lambda: {f"module.{name}": each for name, each in patch_discriminator().items()},
        "a discriminator",
    ),
    "CUT's PatchGAN": (blurred_discriminator, "a discriminator"),
    "pixels": (
        lambda: {"net.0.weight": torch.zeros(2, 3, 1, 1), "net.2.weight": torch.zeros(1, 2, 1, 1)},
        "a discriminator",
    ),
    "netF": (
        lambda: {"mlp_0.0.weight": torch.zeros(2, 3), "mlp_0.0.bias": torch.zeros(2)},
        r"projection heads \(netF",
    ),
    "VGG": (lambda: {f"features.{n}": each for n, each in torchvision_features().state_dict().items()}, "a VGG"),
    "light VGG": (lambda: {"epoch": 1, "model": light_weights()}, "a VGG"),
    "Stable Diffusion": (
        lambda: {"state_dict": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}},
        "Stable Diffusion",
    ),
    "diffusers": (lambda: {"down_blocks.0.resnets.0.norm1.weight": torch.zeros(1)}, "a diffusion model"),
    "Lightning": (
        lambda: {"pytorch-lightning_version": "2.0", "state_dict": {"gen.conv.weight": torch.zeros(1)}},
        "PyTorch Lightning",
    ),
    "optimizer": (lambda: {"state": {0: {"step": torch.zeros(())}}, "param_groups": []}, "optimizer"),
    "ours": (lambda: {"format": 2, "step": 3, "facts": {}, "networks": {}}, "a run of ganstyle; give the run's folder"),
    "classifier": (
        lambda: {"layer1.0.conv1.weight": torch.zeros(2, 2, 3, 3), "fc.weight": torch.zeros(2, 2)},
        "a classifier",
    ),
    "no tensors": (lambda: {"loss": 3.0}, "holds no tensors by name"),
    "a tensor": (lambda: torch.zeros(3), r"holds no tensors by name \(Tensor\)"),
    "unknown": (lambda: {"a\n\x1b[31m.weight": torch.zeros(2)}, r"the first is 'a\\n\\x1b"),
    "grey": (lambda: changed(shortened("model.1.weight")), "for 1 channels in and 3 out; expected 3 and 3"),
    "a layer missing": (lambda: changed(lambda each: each.pop("model.4.weight")), "model.|known"),
    "a bias missing": (lambda: changed(lambda each: each.pop("model.7.bias")), "model.7.bias is missing, expected"),
    "a layer more": (lambda: changed(lambda each: each.update({"model.99.weight": torch.zeros(3)})), "nothing of this"),
    "another shape": (lambda: changed(shortened("model.4.weight")), r"model.4.weight is \(4, 1, 3, 3\), expected"),
    "another blur": (
        lambda: changed(lambda each: each["model.7.filt"].mul_(1.5), blurs=(True, True)),
        "model.7.filt is another blur than",
    ),
    "scaled instance norm": (
        lambda: changed(lambda each: each.update({"model.2.weight": torch.ones(2)})),
        "known here",
    ),
    "NaN": (
        lambda: changed(lambda each: each["model.4.bias"].fill_(float("nan"))),
        "model.4.bias holds NaN or infinity",
    ),
    "integers": (lambda: {name: each.to(torch.int8) for name, each in state().items()}, "is of torch.int8"),
    "repeated values": (
        lambda: changed(lambda each: each.update({"model.4.bias": torch.zeros(1).expand(4)})),
        "model.4.bias says more values than the file holds",
    ),
    "sparse": (
        lambda: changed(lambda each: each.update({"model.4.bias": each["model.4.bias"].to_sparse()})),
        "model.4.bias holds no plain values",
    ),
    "without values": (
        lambda: changed(lambda each: each.update({"model.4.bias": each["model.4.bias"].to("meta")})),
        "model.4.bias holds no plain values",
    ),
    "a number of thousands of digits": (lambda: {f"model.{'9' * 5000}.weight": torch.zeros(2)}, "known here"),
    "too deep": (lambda: {f"model.model{'.1.model' * 9}.0.weight": torch.zeros(2, 3, 4, 4)}, "known here"),
    "two generators": (lambda: {"one": state(), "two": state()}, r"holds 2 generators \(one, two\)"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_something_else(name: str, tmp_path: Path) -> None:
    make, told = WEIGHTS[name]
    with pytest.raises(UserError, match=told):
        raise UserError(refusal(tmp_path / "latest_net_G.pth", saved(make())))


def test_another_direction_than_its_name(tmp_path: Path) -> None:
    (tmp_path / "latest_net_G_A.pth").write_bytes(saved(state()))
    with pytest.raises(UserError, match="by its name it translates ab; for ba give"):
        read_foreign(tmp_path / "latest_net_G_A.pth", "ba")


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    save_file({"x.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"a safetensors file, but not a model of ganstyle: its tensors .*'x.weight'"):
        read_foreign(tmp_path / "x.safetensors")


def mutated(content: bytes, draws: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draws.randint(1, 8)):
        damaged[draws.randrange(len(damaged))] = draws.randrange(256)
    return bytes(damaged[: draws.randint(1, len(damaged))]) if draws.random() < 0.3 else bytes(damaged)


@pytest.mark.parametrize("old", [False, True])
def test_damage_is_one_line_or_harmless(old: bool, tmp_path: Path) -> None:
    draws, path, refused = random.Random(0), tmp_path / "latest_net_G.pth", 0
    small = dict(list(state(blocks=1).items())[:6])
    content = saved(small, _use_new_zipfile_serialization=not old)
    for _ in range(300):
        path.write_bytes(mutated(content, draws))
        with pytest.raises(UserError) as error:
            read_foreign(path)
        refused += "\n" not in str(error.value)
    assert refused == 300


def test_a_single_flipped_bit_is_told(tmp_path: Path) -> None:
    content = bytearray(saved(state()))
    path = tmp_path / "latest_net_G.pth"
    path.write_bytes(content)
    read_foreign(path)
    content[content.index(next(iter(state().values())).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"it is damaged: .*/data/0 is not what was written; download it again"):
        read_foreign(path)


@pytest.mark.skipif(not hasattr(torch.serialization, "set_crc32_options"), reason="this PyTorch always writes them")
def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "latest_net_G.pth").write_bytes(saved(state()))
    finally:
        torch.serialization.set_crc32_options(True)
    read_foreign(tmp_path / "latest_net_G.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "latest_net_G.pth")
    with pytest.raises(UserError, match="it is no file"):
        read_foreign(tmp_path / "latest_net_G.pth")


def test_every_tensor_is_needed(tmp_path: Path) -> None:
    for plain in (resnet(norm="batch", blurs=(True, True)), unet()):
        whole = dict(plain.state)
        optional = {name for name in whole if name.endswith("num_batches_tracked")}
        assert len(whole) - len(optional) > 20
        for name in whole.keys() - optional:
            content = saved({each: tensor for each, tensor in whole.items() if each != name})
            refusal(tmp_path / "latest_net_G.pth", content)


def tensors() -> list[Tensor]:
    return [torch.zeros(3), torch.zeros(2, 3, 7, 7), torch.zeros(()), torch.zeros(4, 2, 3, 3), torch.zeros(0)]


def test_tensors_of_random_names_and_shapes_are_one_line(tmp_path: Path) -> None:
    draws, names = random.Random(0), list(resnet().state) + list(unet().state)
    for _ in range(300):
        content = {draws.choice(names): draws.choice(tensors()) for _ in range(draws.randint(0, 12))}
        refusal(tmp_path / "latest_net_G.pth", saved(content))

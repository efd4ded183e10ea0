from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ganstyle.base.tables import build
from ganstyle.networks.foreign import read_foreign, saved_directions, saved_generator, way_of
from ganstyle.networks.generators import GENERATORS
from tests.networks.foreign_generators import WIDTH, Plain, State, resnet, unet

# Name -> (what the code saved, parts of the spec that it is recognised as).
FAMILIES: dict[str, tuple[Callable[[], Plain], dict[str, Any]]] = {
    "CycleGAN": (resnet, {"upsample": "transposed", "norm": "instance", "blocks": 2, "dropout": 0.0}),
    "six blocks": (lambda: resnet(blocks=6), {"blocks": 6}),
    "dropout": (lambda: resnet(dropout=True), {"dropout": 0.5}),
    "batch norm": (lambda: resnet(norm="batch"), {"norm": "batch"}),
    "batch norm and dropout": (lambda: resnet(norm="batch", dropout=True), {"norm": "batch", "dropout": 0.5}),
    "no norm": (lambda: resnet(norm="none"), {"norm": "none"}),
    "CUT": (lambda: resnet(blurs=(True, True)), {"upsample": "antialiased"}),
    "CUT --no_antialias": (lambda: resnet(blurs=(False, True)), {"upsample": "blurred_up"}),
    "CUT --no_antialias_up": (lambda: resnet(blurs=(True, False)), {"upsample": "blurred_down"}),
    "CUT, batch norm and dropout": (
        lambda: resnet(blurs=(True, True), norm="batch", dropout=True),
        {"upsample": "antialiased", "norm": "batch", "dropout": 0.5},
    ),
    "U-Net": (unet, {"name": "unet", "halvings": 5, "norm": "batch"}),
    "U-Net 128": (lambda: unet(halvings=7), {"name": "unet", "halvings": 7}),
    "U-Net, instance norm": (lambda: unet(norm="instance"), {"name": "unet", "norm": "instance"}),
    "U-Net, no norm": (lambda: unet(norm="none"), {"name": "unet", "norm": "none"}),
}


def images(side_px: int, seed: int = 1) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, side_px, side_px, generator=stream, dtype=torch.float64) * 2 - 1


def saved(folder: Path, content: Any, name: str = "latest_net_G_A.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def translated(path: Path, given: Tensor, direction: str | None = None) -> Tensor:
    """By our generator, in float64 so that nothing but an error of ours differs."""
    foreign = read_foreign(path, direction)
    generator = build(GENERATORS, foreign.spec, path="generator").double().eval()
    generator.load_state_dict(foreign.weights)
    with torch.no_grad():
        result: Tensor = generator(given)
    return result


def rounded(plain: Plain) -> Plain:
    """The same with weights that float32 holds exactly."""
    for name, tensor in plain.state.items():
        plain.state[name] = tensor.float().to(tensor.dtype)
    return plain


def as_float(state: State) -> State:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_picture_as_the_code_that_it_came_from(family: str, tmp_path: Path) -> None:
    make, spec = FAMILIES[family]
    plain = rounded(make())
    path = saved(tmp_path, as_float(plain.state))
    side_px = 128 if spec.get("halvings") == 7 else 32
    expected = plain.run(images(side_px))
    assert expected.std() > 0.1, "a picture, not a constant"
    assert (translated(path, images(side_px)) - expected).abs().max() < 1e-9
    found = read_foreign(path)
    assert {key: found.spec[key] for key in spec} == spec
    assert found.spec["width"] == WIDTH
    assert found.direction == "ab"


@pytest.mark.parametrize("make", [resnet, lambda: resnet(blurs=(True, True))])
def test_statistics_that_an_old_instance_norm_kept_are_not_used(make: Callable[[], Plain], tmp_path: Path) -> None:
    plain = rounded(make())
    expected, places = plain.run(images(16)), [name for name in plain.state if name.endswith("bias")]
    for name in places[:3]:
        module, place = name.removesuffix(".bias").rsplit(".", 1)
        norm = f"{module}.{int(place) + 1}"
        if f"{norm}.weight" not in plain.state:
            statistics = {"running_mean": torch.randn(4), "running_var": torch.rand(4)}
            plain.state.update({f"{norm}.{kind}": tensor for kind, tensor in statistics.items()})
    path = saved(tmp_path, as_float(plain.state))
    assert (translated(path, images(16)) - expected).abs().max() < 1e-9


def test_an_instance_norm_without_biases_is_told_by_its_statistics(tmp_path: Path) -> None:
    plain = rounded(resnet(norm="tracked"))
    assert read_foreign(saved(tmp_path, as_float(plain.state))).spec["norm"] == "instance"
    assert (translated(tmp_path / "latest_net_G_A.pth", images(16)) - plain.run(images(16))).abs().max() < 1e-9


def test_files_of_the_first_versions_do_not_count_batches(tmp_path: Path) -> None:
    plain = rounded(resnet(norm="batch"))
    state = {name: tensor for name, tensor in plain.state.items() if not name.endswith("num_batches_tracked")}
    path = saved(tmp_path, as_float(state), _use_new_zipfile_serialization=False)
    assert (translated(path, images(16)) - plain.run(images(16))).abs().max() < 1e-9


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "netG.", "generator.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("make", [resnet, unet])
def test_what_stands_before_every_name(make: Callable[[], Plain], prefix: str, tmp_path: Path) -> None:
    plain = rounded(make())
    path = saved(tmp_path, {f"{prefix}{name}": tensor for name, tensor in as_float(plain.state).items()})
    assert (translated(path, images(32)) - plain.run(images(32))).abs().max() < 1e-9


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state},
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"params": {name: tensor + 1 for name, tensor in state.items()}, "params_ema": state},
        lambda state: {"netG": state, "netD": {"model.0.weight": torch.zeros(2, 3, 4, 4)}, "optimizer": {"lr": 1.0}},
        lambda state: {"nets": {"G_AB": state, "G_BA": {name: tensor + 1 for name, tensor in state.items()}}},
        lambda state: {"netG_A2B": state, "netG_B2A": {name: tensor + 1 for name, tensor in state.items()}},
    ],
)
def test_state_dicts_within_other_dictionaries(wrapped: Callable[[State], Any], tmp_path: Path) -> None:
    plain = rounded(resnet())
    path = saved(tmp_path, wrapped(as_float(plain.state)), "some.pth")
    assert (translated(path, images(16)) - plain.run(images(16))).abs().max() < 1e-9


def test_the_direction_chooses_among_several(tmp_path: Path) -> None:
    one, other = rounded(resnet()), rounded(resnet(blocks=3))
    path = saved(tmp_path, {"G_AB": as_float(one.state), "G_BA": as_float(other.state)}, "both.pth")
    assert (translated(path, images(16), "ba") - other.run(images(16))).abs().max() < 1e-9
    assert [read_foreign(path, way).direction for way in (None, "ab", "ba")] == ["ab", "ab", "ba"]


def test_safetensors_and_halves(tmp_path: Path) -> None:
    plain = resnet()
    half = {name: tensor.half() for name, tensor in plain.state.items()}
    plain.state.update({name: tensor.double() for name, tensor in half.items()})
    save_file(half, tmp_path / "G_B.safetensors")
    assert (translated(tmp_path / "G_B.safetensors", images(16)) - plain.run(images(16))).abs().max() < 1e-9
    assert read_foreign(tmp_path / "G_B.safetensors").direction == "ba"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("latest_net_G_A", "ab"),
        ("latest_net_G_B", "ba"),
        ("latest_net_G", None),
        ("100_net_G_B", "ba"),
        ("netG_A2B", "ab"),
        ("netG_B2A", "ba"),
        ("G_AB_100", "ab"),
        ("generator_ba", "ba"),
        ("horse2zebra", None),
        ("big_a", None),
        ("latest_net_D_A", None),
    ],
)
def test_directions_by_name(name: str, way: str | None) -> None:
    assert way_of(name) == way


def test_which_file_of_a_folder(tmp_path: Path) -> None:
    assert saved_generator(tmp_path, None, None) is None
    for name in ("latest_net_G_A", "latest_net_G_B", "latest_net_D_A", "5_net_G_A", "10_net_G_A", "latest_net_F"):
        (tmp_path / f"{name}.pth").touch()
    taken = {
        (None, None): "latest_net_G_A",
        ("ba", None): "latest_net_G_B",
        ("ab", "5"): "5_net_G_A",
        (None, 10): "10_net_G_A",
    }
    for (direction, checkpoint), name in taken.items():
        assert saved_generator(tmp_path, direction, checkpoint) == tmp_path / f"{name}.pth"
    assert saved_directions(tmp_path) == ["ab", "ba"]
    (tmp_path / "latest_net_G_A.pth").unlink()
    (tmp_path / "latest_net_G_B.pth").unlink()
    assert saved_generator(tmp_path, None, None) == tmp_path / "10_net_G_A.pth", "the newest epoch"
    (tmp_path / "latest_net_G.pth").touch()
    assert saved_generator(tmp_path, "ba", None) == tmp_path / "latest_net_G.pth"

"""A step with a frozen VGG, several judges and augmentation waits for no device, and compiles in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganstyle.assemble import build_method, check_config
from ganstyle.base.config import load_config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import ImageBatch
from ganstyle.methods.method import Method
from ganstyle.networks.keyed import keyed_layers, set_keys
from ganstyle.train.descend import adam
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware
from tests.networks.foreign_weights import light_weights
from tests.train.test_no_waiting import WORDS, Waits, breaks, images


@pytest.fixture
def method(tmp_path: Path) -> Method:
    torch.save(light_weights(), tmp_path / "light.pth")
    patch = "{name: augmented, of: {name: patch, width: 2, layers: 1}}"
    features = f"{{name: features, weights: {tmp_path / 'light.pth'}, layers: [relu1_2, relu2_1], width: 2}}"
    judges = f"discriminator={{name: several, members: [{patch}, {features}]}}"
    made = build_method(check_config(load_config("cyclegan", [*WORDS, judges])))
    for network in made.networks.values():
        network.to(memory_format=torch.channels_last).train()
    set_keys(keyed_layers(made.networks.values()), torch.tensor([3, -3]))
    return made


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits(method: Method, precision: str) -> None:
    fabric = Hardware("cpu", precision, compile=False, threads=torch.get_num_threads()).fabric()
    optimizers = adam(method.optimised, fabric, Guard(fabric.device), learning_rate=1e-3)
    for step in range(3):
        with Waits() as waits, fabric.autocast():
            method.training_step(ImageBatch(images(step), images(-1 - step), Draws(0, step), 2 * step), optimizers)
        assert waits.operations > 500
        assert dict(waits.found) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_halves_compile_in_one_piece(method: Method) -> None:
    generators, discriminators = method.halves
    assert breaks(generators, images(0), images(1)) == []
    assert breaks(discriminators, images(0), images(1), images(2), images(3)) == []

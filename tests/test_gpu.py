"""What only a CUDA device can show; skips, and says so, without one."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ganstyle
from ganstyle.assemble import build_method, check_config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import ImageBatch
from ganstyle.data.scenes import synthesize
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.train.descend import FiniteWatch, adam
from ganstyle.train.hardware import Hardware
from ganstyle.verbs.train import train_recipe

pytestmark = pytest.mark.gpu

SMALL = ["generator.width=8", "generator.blocks=2", "discriminator.width=8", "data.load_px=72", "data.crop_px=64"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_trains_resumes_and_translates(precision: str, tmp_path: Path) -> None:
    synthesize(tmp_path / "pictures", count=6, size_px=72)
    run = tmp_path / "run"
    words = [f"data.root={tmp_path / 'pictures'}", *SMALL, "device=cuda", f"training.precision={precision}"]
    words += ["training.log_every=1", "data.workers=2"]
    assert train_recipe("cyclegan", [*words, "training.steps=6"], run=run).finished
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]

    picture = np.zeros((50, 41, 3), dtype=np.uint8)
    on_gpu = ganstyle.load(run, device="cuda").translate(picture)
    on_cpu = ganstyle.load(run, device="cpu").translate(picture)
    assert on_gpu.shape == picture.shape
    # TF32 convolutions round to ten bits; a level or two of 255 is what that makes of it.
    assert np.abs(on_gpu.astype(int) - on_cpu.astype(int)).max() <= 3


def test_a_step_never_waits_for_the_device() -> None:
    config = check_config(
        {
            "method": {"name": "cyclegan", "pool_size": 2},
            "training": {"steps": 1},
            "data": {"crop_px": 64, "load_px": 64},
        }
    )
    fabric = Hardware("cuda", "bfloat16", compile=False, threads=1).fabric()
    method = build_method(config)
    for network in method.networks.values():
        network.to(fabric.device)
    watch = FiniteWatch(fabric.device)
    optimizers = adam(method.optimised, fabric, watch, learning_rate=1e-4)

    def step(number: int) -> None:
        images = torch.zeros(2, 3, 64, 64, device=fabric.device)
        with fabric.autocast():
            method.training_step(ImageBatch(images, images, Draws(0, number), 2 * number), optimizers)

    for number in range(3):  # the optimisers' state and the pools come to be
        step(number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(3, 6):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    watch.check()

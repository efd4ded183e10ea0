"""What only a CUDA device can show; skips, and says so, without one."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ganstyle
from ganstyle.assemble import build_method, check_config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import BatchStream, Cropping, ImageBatch, StepDataset
from ganstyle.data.cache import Preparation, open_images
from ganstyle.data.domains import Subset
from ganstyle.data.on_device import DeviceDataset, batch_stream
from ganstyle.data.scenes import synthesize
from ganstyle.data.tensors import to_pixels
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.train.descend import adam
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware
from ganstyle.train.loop import step_in_parts
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


@pytest.mark.parametrize(
    "words",
    [
        ["training.compile=true"],
        ["training.compile=true", "training.cuda_graphs=true"],
        ["training.compile=true", "training.recompute=true"],
        ["training.batch_size=2", "training.accumulate=2"],
    ],
)
def test_what_makes_a_step_faster_or_smaller_changes_no_losses(words: list[str], tmp_path: Path) -> None:
    """In float32 without TF32; the pools are small, so that old fakes are exchanged, and an average is kept."""
    synthesize(tmp_path / "pictures", count=6, size_px=72)
    common = [f"data.root={tmp_path / 'pictures'}", *SMALL, "device=cuda", "training.precision=float32"]
    common += ["training.log_every=1", "training.steps=8", "method.pool_size=2", "training.ema_decay=0.9"]
    common += [word for word in words if word.startswith("training.batch_size")]
    rows = []
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        for name, changes in (("plain", ["training.compile=false"]), ("changed", words)):
            train_recipe("cyclegan", [*common, *changes], run=tmp_path / name)
            rows.append(read_metrics(tmp_path / name / "metrics.jsonl"))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for plain, changed in zip(*rows, strict=True):
        losses = {key: value for key, value in plain.items() if key.startswith(("generator/", "discriminator/"))}
        assert len(losses) == 8
        assert {key: changed[key] for key in losses} == pytest.approx(losses, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(("crop_on", "workers"), [("cpu", 0), ("cpu", 2), ("device", 0), ("auto", 2)])
def test_batches_arrive_whole_and_nothing_waits_for_them(crop_on: str, workers: int, tmp_path: Path) -> None:
    synthesize(tmp_path, count=6, size_px=80)
    sides = []
    for name in ("trainA", "trainB"):
        paths = sorted((tmp_path / name).iterdir())
        images, _ = open_images(paths, Preparation(72, "short_side"), cache=True, say=lambda _: None)
        sides.append(Subset(images, range(len(images.files))))
    dataset = StepDataset(*sides, Cropping(64, True), draws=Draws(3), batch_size=4)
    expected = dict(BatchStream(dataset, workers=0, device=torch.device("cpu")).between(5, 45))

    stream = batch_stream(dataset, workers=workers, device=torch.device("cuda"), crop_on=crop_on)  # type: ignore[arg-type]
    assert isinstance(stream.dataset, DeviceDataset) == (crop_on != "cpu")
    busy = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    seen = {}
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in stream.between(5, 45):
            assert batch.a.device.type == "cuda"
            assert batch.a.is_contiguous(memory_format=torch.channels_last)
            busy = (busy @ busy).clamp(-1, 1)  # keeps the device behind the host, so that a batch used too early shows
            seen[step] = (batch.a.clone(), batch.b.clone())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert list(seen) == list(expected)
    for step, (a, b) in seen.items():
        # The device divides by way of the reciprocal: the last bit differs, the pixels do not.
        assert np.array_equal(to_pixels(a), to_pixels(expected[step].a))
        assert np.array_equal(to_pixels(b), to_pixels(expected[step].b))


def test_a_step_never_waits_for_the_device() -> None:
    config = check_config(
        {
            "method": {"name": "cyclegan", "pool_size": 2},
            "generator": {"name": "resnet", "dropout": 0.5},
            "training": {"steps": 1},
            "data": {"crop_px": 64, "load_px": 64},
        }
    )
    fabric = Hardware("cuda", "bfloat16", compile=False, threads=1).fabric()
    method = build_method(config)
    for network in method.networks.values():
        network.to(fabric.device).to(memory_format=torch.channels_last)
    guard = Guard(fabric.device)
    optimizers = adam(method.optimised, fabric, guard, learning_rate=1e-4)

    def step(number: int) -> None:
        images = torch.zeros(2, 3, 64, 64, device=fabric.device)
        with fabric.autocast():
            step_in_parts(method, ImageBatch(images, images, Draws(0, number), 2 * number), optimizers, 1)

    for number in range(3):  # the optimisers' state and the pools come to be
        step(number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(3, 6):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    guard.check()
    assert guard.numbers()["guard/skipped"] == 0

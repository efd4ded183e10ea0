"""Whole commands with networks and losses that no recipe has: a U-Net, a spectral PatchGAN, Wasserstein's loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests import tiny

UNET = {"generator": "{name: unet, width: 2, halvings: 3, dropout: 0.5}", "discriminator.name": "pixel"}
WASSERSTEIN = {"method.adversarial": "wasserstein", "method.gradient_penalty": "10", "discriminator.spectral": "true"}
MULTISCALE = {"method.adversarial": "hinge", "discriminator": "{name: multiscale, scales: 2, width: 2, layers: 1}"}
CHANGES = {"unet": UNET, "wasserstein": WASSERSTEIN, "multiscale": MULTISCALE}


@pytest.mark.parametrize("kind", list(CHANGES))
def test_they_train_and_resume_bit_for_bit(kind: str, tmp_path: Path) -> None:
    changes = {**tiny.EXACT, **CHANGES[kind], "data.crop_px": "16", "evaluate.every": "0"}
    tiny.data(tmp_path)
    words = [word for word in tiny.words(tmp_path, changes) if kept(word, kind)]
    code, said = tiny.finish(["train", tiny.RECIPE, *words, "--run", str(tmp_path / "whole")], tmp_path / "cache")
    assert code == 0, said
    code, said = tiny.finish(["train", tiny.RECIPE, *words, "--run", str(tmp_path / "again")], tmp_path / "cache")
    assert code == 0, said
    for path in (tmp_path / "again" / "checkpoints").glob("*.pt"):
        if path.stem != "step-00000003":
            path.unlink()
    code, said = tiny.finish(["train", "--resume", str(tmp_path / "again")], tmp_path / "cache")
    assert code == 0, said
    assert "going on from step 3" in said
    whole, again = (tiny.checkpoint_tensors(tmp_path / run, 8) for run in ("whole", "again"))
    assert len(whole) > 20
    assert tiny.differing_tensors(whole, again) == []


def kept(word: str, kind: str) -> bool:
    """Whether a word is one for these networks: tiny ones have a ResNet's and a PatchGAN's keys."""
    if kind == "unet":
        return not word.startswith(("generator.", "discriminator.width", "discriminator.layers"))
    return kind != "multiscale" or not word.startswith("discriminator.")


def test_a_unet_translates_and_exports(tmp_path: Path) -> None:
    words = [word for word in tiny.words(tiny.data(tmp_path), UNET) if kept(word, "unet")]
    run = tmp_path / "run"
    assert tiny.ganstyle("train", tiny.RECIPE, *words, "--run", run).code == 0
    for number, model in enumerate((run, tmp_path / "model.safetensors")):
        if number:
            assert tiny.ganstyle("export", run, model).code == 0
        ended = tiny.ganstyle("translate", tmp_path / "a", tmp_path / f"out{number}", "--model", model)
        assert ended.code == 0, ended.err
    one, other = (Image.open(tmp_path / f"out{number}" / "0.png") for number in range(2))
    assert one.size == (24, 20)
    assert one.tobytes() == other.tobytes()
    ended = tiny.ganstyle("translate", tmp_path / "a", tmp_path / "tiles", "--model", run, "--tile", "exact")
    assert ended.code == 1
    assert "tiles follow the layers of a resnet generator" in ended.err

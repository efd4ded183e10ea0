from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganstyle.base.config import read_yaml
from ganstyle.base.errors import RunFailed, UserError
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.train.checkpoint import load_checkpoint
from ganstyle.train.run_folder import RunFolder
from ganstyle.verbs.train import resume_run, train_recipe
from tests import tiny


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("*.pt"))


def record(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / "run.json").read_text())
    return values


def test_a_run_leaves_everything_that_is_needed(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = tiny.train(tmp_path, {"training.preview_every": "2"}, say=said.append)
    run = tmp_path / "run"
    assert (outcome.folder, outcome.step, outcome.steps, outcome.signal) == (run, 4, 4, None)
    assert outcome.finished
    assert steps_of(run) == [4]
    assert sorted(path.name for path in (run / "previews").iterdir()) == ["step-00000002.jpg", "step-00000004.jpg"]
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"generator/cycle_a", "discriminator/b", "learning_rate", "speed/images_per_second"} <= set(rows[0])
    config = read_yaml(run / "config.yaml")
    assert config["generator"]["width"] == 2
    assert config["data"]["a"] == str(tmp_path / "a")
    kept = record(run)
    assert kept["hardware"] == {
        "device": "cpu",
        "precision": "float32",
        "compile": False,
        "threads": torch.get_num_threads(),
        "cuda_graphs": False,
        "ranks": 1,
    }
    assert kept["versions"]["torch"]
    assert len(kept["data"]["fingerprint_a"]) == 32
    assert said[-1] == f"finished 4 steps; to translate: ganstyle translate PHOTOS OUT --model {run}"


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    before = (tmp_path / "run" / "checkpoints" / "step-00000004.pt").read_bytes()
    said: list[str] = []
    assert tiny.train(tmp_path, say=said.append).finished
    how = f"ganstyle train --resume {tmp_path / 'run'} training.steps=N"
    assert said[-1] == f"{tmp_path / 'run'} is finished: 4 of 4 steps; to extend it: {how}"
    assert (tmp_path / "run" / "checkpoints" / "step-00000004.pt").read_bytes() == before
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 4


def test_extending_goes_on_where_the_rate_began_to_fall(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    said: list[str] = []
    outcome = resume_run(tmp_path / "run", ["training.steps=6"], say=said.append)
    assert (outcome.step, outcome.steps) == (6, 6)
    assert "going on from step 4" in said
    assert "not bit for bit the run that it would have been: training.steps was changed" in said
    rows = {row["step"]: row for row in read_metrics(tmp_path / "run" / "metrics.jsonl")}
    assert sorted(rows) == [1, 2, 3, 4, 5, 6]
    assert rows[5]["learning_rate"] == pytest.approx(1e-3 * (6 - 4) / (6 - 2))
    assert rows[6]["learning_rate"] == pytest.approx(1e-3 * (6 - 5) / (6 - 2))
    assert read_yaml(tmp_path / "run" / "config.yaml")["training"]["decay_from"] == 2
    assert record(tmp_path / "run")["data"]["steps"] == 6
    assert resume_run(tmp_path / "run", say=said.append).steps == 6, "the new length stays"


def test_naming_the_same_length_again_changes_nothing(tmp_path: Path) -> None:
    tiny.train(tmp_path, {"training.decay_from": "1"})
    resume_run(tmp_path / "run", ["training.steps=4", "training.log_every=2"])
    assert read_yaml(tmp_path / "run" / "config.yaml")["training"]["decay_from"] == 1
    assert record(tmp_path / "run")["data"]["decay_from"] == 1


def test_a_kill_between_the_config_and_the_record_of_an_extension(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    old = (tmp_path / "run" / "run.json").read_bytes()
    resume_run(tmp_path / "run", ["training.steps=5"])
    (tmp_path / "run" / "run.json").write_bytes(old)
    (tmp_path / "run" / "checkpoints" / "step-00000005.pt").unlink()
    outcome = resume_run(tmp_path / "run")
    assert (outcome.step, outcome.steps) == (5, 5)


def test_shortening_below_what_is_done_is_refused(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    with pytest.raises(UserError, match=r"training\.steps: got 3, but .* is at step 4 already"):
        resume_run(tmp_path / "run", ["training.steps=3"])
    assert read_yaml(tmp_path / "run" / "config.yaml")["training"]["steps"] == 4


@pytest.mark.parametrize("word", ["generator.width=4", "training.learning_rate=1", "seed=3", "training.epochs=2"])
def test_resuming_cannot_make_another_run(tmp_path: Path, word: str) -> None:
    tiny.train(tmp_path)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    key = word.split("=", maxsplit=1)[0]
    with pytest.raises(UserError, match=f"--resume cannot change {key}; it may change training.steps"):
        resume_run(tmp_path / "run", [word])
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_another_config_is_refused_with_its_keys(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    with pytest.raises(UserError) as error:
        tiny.train(tmp_path, {"generator.width": "3", "seed": "5"})
    assert "generator.width: the run has 2, asked for 3" in str(error.value)
    assert "seed: the run has 0, asked for 5" in str(error.value)
    assert str(error.value).count("the run has") == 2


def test_new_takes_a_fresh_folder(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    assert tiny.train(tmp_path, {"seed": "5"}, new=True).folder == tmp_path / "run-2"
    assert tiny.train(tmp_path, {"seed": "5"}, new=True).folder == tmp_path / "run-3"


def test_the_folder_is_runs_and_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*tiny.words(tiny.data(tmp_path)), "name=ink 2"]
    assert train_recipe(tiny.RECIPE, words).folder == Path("runs", "ink 2")
    assert (tmp_path / "runs" / "ink 2" / "config.yaml").is_file()


def empty(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("device", "cuda", "device: cuda is not available here"),
        ("devices", "2", "training.batch_size: got 1, expected a multiple of 2"),
        ("data.b", "nowhere", r"data\.b: there is no folder or file 'nowhere'"),
        ("data.b", "EMPTY", r"data\.b: none of the 0 files"),
        ("generator.width", "many", r"generator\.width: got 'many', expected a whole number"),
    ],
)
def test_a_mistake_leaves_no_folder_that_holds_one_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    value = empty(tmp_path / "empty") if value == "EMPTY" else value
    with pytest.raises(UserError, match=message):
        tiny.train(tmp_path, {key: value})
    assert not (tmp_path / "run").exists()
    assert tiny.train(tmp_path).finished, "the mended command works"


def test_a_run_killed_before_its_first_checkpoint_starts_at_zero(tmp_path: Path) -> None:
    tiny.train(tmp_path, run="whole")
    tiny.train(tmp_path, run="killed")
    (tmp_path / "killed" / "checkpoints" / "step-00000004.pt").unlink()
    said: list[str] = []
    assert tiny.train(tmp_path, run="killed", say=said.append).finished
    assert not any("going on" in line or "bit for bit" in line for line in said)
    assert [row["step"] for row in read_metrics(tmp_path / "killed" / "metrics.jsonl")] == [1, 2, 3, 4]
    both = [tiny.checkpoint_tensors(tmp_path / name, 4) for name in ("whole", "killed")]
    assert tiny.differing_tensors(*both) == []


def test_a_second_process_in_the_folder_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with RunFolder(tmp_path / "run").locked():
        for call in (
            lambda: tiny.train(tmp_path),
            lambda: resume_run(tmp_path / "run", ["training.steps=9"]),
        ):
            with pytest.raises(UserError, match="another process is training this run"):
                call()
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_changed_images_are_said(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    tiny.picture(30, 30, seed=999).save(tmp_path / "a" / "more.png")
    said: list[str] = []
    resume_run(tmp_path / "run", ["training.steps=5"], say=said.append)
    line = next(line for line in said if "bit for bit" in line)
    assert "training.steps was changed" in line
    assert "the training images are not the ones it began with" in line


def test_what_does_not_spoil_exactness_is_not_said(tmp_path: Path) -> None:
    tiny.train(tmp_path, {"training.checkpoint_every": "2"})
    (tmp_path / "run" / "checkpoints" / "step-00000004.pt").unlink()
    said: list[str] = []
    words = ["training.log_every=2", "training.precision=float32", "training.keep_checkpoints=1", "device=cpu"]
    resume_run(tmp_path / "run", words, say=said.append)
    assert "going on from step 2" in said
    assert not any("bit for bit" in line for line in said)


def test_the_device_can_be_chosen_anew_when_its_own_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tiny.train(tmp_path, {"device": "auto"})
    values = record(tmp_path / "run")
    values["hardware"]["device"] = "cuda"
    (tmp_path / "run" / "run.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="device: cuda is not available here"):
        resume_run(tmp_path / "run", ["training.steps=5"])
    assert steps_of(tmp_path / "run") == [4]
    said: list[str] = []
    assert resume_run(tmp_path / "run", ["training.steps=5", "device=auto"], say=said.append).step == 5
    assert any("device was cuda and is cpu" in line for line in said)


def test_epochs_become_steps_once(tmp_path: Path) -> None:
    said: list[str] = []
    changes = {"training.epochs": "0.5", "training.decay_from_epoch": "0.2", "data.holdout": "0"}
    folder = tiny.data(tmp_path)
    words = [
        word for word in tiny.words(folder, changes) if not word.startswith(("training.steps", "training.decay_from="))
    ]
    outcome = train_recipe(tiny.RECIPE, words, run=tmp_path / "run", say=said.append)
    assert outcome.steps == round(0.5 * 7)
    assert any("4 steps of 1; learning rate 0.001 constant to 1, then falling to zero" in line for line in said)
    for number in range(20):
        tiny.picture(30, 30, seed=2000 + number).save(tmp_path / "a" / f"more-{number}.png")
    assert resume_run(tmp_path / "run").steps == 4, "more images do not make a run longer"


class FailingStep:
    """Fails or spoils a training step of CycleGAN at some step, until the run was rolled back so many times."""

    def __init__(self, at: int, error: Exception | None = None, *, rollbacks: int = 99) -> None:
        self.at, self.error, self.original, self.rollbacks = at, error, CycleGAN.training_step, rollbacks

    def __call__(self, method: CycleGAN, batch: Any, optimizers: Any) -> dict[str, Tensor]:
        if batch.first_sample + 1 == self.at and batch.draws.rollbacks < self.rollbacks:
            if self.error is not None:
                raise self.error
            with torch.no_grad():
                next(method.networks["generator_ab"].parameters()).fill_(float("nan"))
        return self.original(method, batch, optimizers)


def spoil(monkeypatch: pytest.MonkeyPatch, failing: FailingStep) -> None:
    def step(method: CycleGAN, batch: Any, optimizers: Any) -> dict[str, Tensor]:
        return failing(method, batch, optimizers)

    monkeypatch.setattr(CycleGAN, "training_step", step)


def test_not_a_number_stops_with_step_loss_and_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, FailingStep(at=3))
    changes = {"training.checkpoint_every": "1", "training.log_every": "4"}
    with pytest.raises(RunFailed) as error:
        tiny.train(tmp_path, changes)
    text = str(error.value)
    assert text.startswith("step 3: generator/adversarial_ab, ")
    assert "after 3 roll-backs, so training stops here" in text
    assert "the last good checkpoint is step 2" in text
    assert "\n" not in text
    assert steps_of(tmp_path / "run") == [1, 2]
    ended = tiny.ganstyle("train", "--resume", tmp_path / "run")
    assert (ended.code, ended.err.count("error: step 3")) == (1, 1)
    assert "Traceback" not in ended.err


ROLLING = {
    "training.steps": "12",
    "training.decay_from": "12",
    "training.checkpoint_every": "2",
    "training.keep_checkpoints": "99",
    "training.most_skips": "3",
    "method.pool_size": "2",
    "generator.dropout": "0.3",
}


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_divergence_rolls_back_and_trains_on_with_a_lower_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, FailingStep(at=6, rollbacks=2))
    assert tiny.train(tmp_path, ROLLING).finished
    run = tmp_path / "run"
    rows = rows_of(run)
    assert [row["step"] for row in rows] == list(range(1, 13)), "each step once"
    rates = {row["step"]: row["learning_rate"] for row in rows}
    assert (rates[4], rates[5], rates[12]) == (1e-3, 2.5e-4, 2.5e-4)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    rolled = [event["text"] for event in events if event["title"] == "rolled back"]
    assert len(rolled) == 2
    assert "step 6: generator/adversarial_ab, " in rolled[0]
    assert "back to step 4 with a learning rate of 0.0005" in rolled[0]
    assert "roll-back 2 of at most 3" in rolled[1]
    assert load_checkpoint(run / "checkpoints" / "step-00000012.pt")["guard"]["rollbacks"] == 2


def test_a_divergence_before_the_first_checkpoint_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**ROLLING, "training.checkpoint_every": "10"}
    spoil(monkeypatch, FailingStep(at=3, rollbacks=1))
    assert tiny.train(tmp_path, changes).finished
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {row["learning_rate"] for row in rows} == {5e-4}


def test_a_run_that_was_rolled_back_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The roll-backs are part of every draw's key, and kept in every checkpoint."""
    spoil(monkeypatch, FailingStep(at=6, rollbacks=1))
    tiny.train(tmp_path, ROLLING)
    whole = tiny.checkpoint_tensors(tmp_path / "run", 12)
    for step in (6, 8, 10, 12):
        (tmp_path / "run" / "checkpoints" / f"step-{step:08d}.pt").unlink()
    spoil(monkeypatch, FailingStep(at=99))
    tiny.train(tmp_path, ROLLING)
    again = tiny.checkpoint_tensors(tmp_path / "run", 12)
    assert len(whole) > 50
    assert tiny.differing_tensors(whole, again) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"),
        RuntimeError("can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    spoil(monkeypatch, FailingStep(at=2, error=error))
    with pytest.raises(UserError) as told:
        tiny.train(tmp_path)
    text = str(told.value)
    assert text.startswith("out of memory on cpu (")
    for key in ("data.crop_px", "training.batch_size", "generator.width", "generator.blocks"):
        assert key in text
    assert "\n" not in text


def test_our_own_mistakes_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, FailingStep(at=2, error=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        tiny.train(tmp_path)


def test_a_damaged_newest_checkpoint_falls_back(tmp_path: Path) -> None:
    tiny.train(tmp_path, {"training.checkpoint_every": "2"})
    whole = tiny.checkpoint_tensors(tmp_path / "run", 4)
    (tmp_path / "run" / "checkpoints" / "step-00000004.pt").write_bytes(b"cut")
    said: list[str] = []
    resume_run(tmp_path / "run", say=said.append)
    assert any(line.endswith("trying the one before") for line in said)
    assert "going on from step 2" in said
    assert tiny.differing_tensors(whole, tiny.checkpoint_tensors(tmp_path / "run", 4)) == []
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4]


def test_options_after_resume_work_as_typed(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    ended = tiny.ganstyle("train", "--resume", tmp_path / "run", "training.steps=6", "training.log_every=3")
    assert ended.code == 0, ended.err
    assert "going on from step 4" in ended.err
    assert steps_of(tmp_path / "run")[-1] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "missing CONFIG"),
        (["train", "--resume", "nowhere"], "nowhere is not a run: it has no config.yaml"),
        (["train", "--resume", "x", "--new"], "--resume names the run's folder already"),
        (["train", "--resume", "x", "--run", "y"], "--resume names the run's folder already"),
        (["train", "cyclegan-lite"], "data.a: missing; name a folder of images"),
        (["train", "cyclegan-lit"], "unknown recipe 'cyclegan-lit': did you mean 'cyclegan-lite'?"),
        (["train", "nowhere/x.yaml"], "nowhere/x.yaml: there is no such config file"),
        (["train", "cyclegan-lite", "training.stepz=3"], "training.stepz: unknown key: did you mean 'steps'?"),
    ],
)
def test_a_persons_mistake_is_one_error_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = tiny.ganstyle(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_wandb_gets_one_id_for_the_whole_run(tmp_path: Path) -> None:
    from ganstyle.verbs.watching import _wandb_id

    first = _wandb_id(RunFolder(tmp_path))
    assert _wandb_id(RunFolder(tmp_path)) == first
    assert len(first) == 8


def test_a_finished_run_says_so_without_its_images(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    for side in tmp_path.rglob("*.png"):
        side.unlink()
    said: list[str] = []
    outcome = resume_run(tmp_path / "run", say=said.append)
    assert outcome.finished
    (line,) = said
    assert "is finished: 4 of 4 steps; to extend it" in line

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.tracking.tracker import SilentTracker
from ganstyle.train.checkpoint import Checkpoints, load_checkpoint, step_files
from ganstyle.train.descend import adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Diverged, Guard
from ganstyle.train.loop import Due, Meter, finite_floats, train
from ganstyle.train.ranks import Ranks
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest

CPU = torch.device("cpu")


class Ten:
    """A method that is no CycleGAN: one network learns to give its input back."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.5))
        self.networks, self.optimised, self.translators = {"net": self.net}, {"all": [self.net]}, {"ab": self.net}
        self.memories, self.halves = {}, [self.net]  # type: ignore[var-annotated]

    def training_step(self, batch: Any, optimizers: Any) -> dict[str, Tensor]:
        losses = {"autoencoder/error": (self.net(batch.a) - batch.a).abs().mean()}
        optimizers.all.descend(losses)
        return losses


class Steps:
    """Batches as a pure function of the step."""

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        for step in range(start, stop):
            images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(step))
            yield step, SimpleNamespace(a=images, b=images, draws=Draws(1, step), first_sample=step)


class Told(SilentTracker):
    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.scores: dict[int, dict[str, float]] = {}
        self.values: dict[int, Mapping[str, np.ndarray]] = {}
        self.pictures: list[tuple[int, str, bytes]] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        rows = self.scores if "scores/kid" in scalars else self.rows
        assert step not in rows
        rows[step] = dict(scalars)

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        self.values[step] = values

    def images(self, step: int, name: str, encoded: bytes) -> None:
        self.pictures.append((step, name, encoded))


class Watcher:
    """Says the same of every step; the scores grow by one with each evaluation."""

    def __init__(self) -> None:
        self.evaluations = 0

    def preview(self) -> bytes:
        return b"picture"

    def probe(self) -> Any:
        return SimpleNamespace(scalars={"health/change_ab": 0.5}, distributions={"judged/b_real": np.ones(3)})

    def scores(self) -> dict[str, float]:
        self.evaluations += 1
        return {"scores/kid": float(self.evaluations)}


class FirstIsBest:
    """Gives up after so many evaluations without gain."""

    def __init__(self, patience: int = 99) -> None:
        self.patience, self.considered = patience, list[int]()

    @property
    def exhausted(self) -> bool:
        return len(self.considered) > self.patience

    def consider(self, step: int, scores: Mapping[str, float]) -> bool:
        self.considered.append(step)
        return len(self.considered) == 1

    def numbers(self) -> dict[str, float]:
        return {"best/step": self.considered[0]}


class Run:
    """Everything that the loop is given, around a method."""

    def __init__(
        self, folder: Path, method: Any, *, due: Due, decay_from: int = 5, patience: int = 99, most: int = 3
    ) -> None:
        self.method, self.due, self.told, self.selection = method, due, Told(), FirstIsBest(patience)
        self.guard = Guard(CPU, most_in_a_row=most)
        self.optimizers = adam(method.optimised, Fabric(accelerator="cpu"), self.guard, learning_rate=1e-2)
        self.average = MovingAverage(method.translators, 0.9)
        parts = {"networks": method.networks, "optimizers": self.optimizers, "ema": self.average}
        self.checkpoints = Checkpoints(folder, parts, facts={}, keep=100)  # type: ignore[arg-type]
        self.schedule = LinearDecay(1e-2, due.steps, decay_from)
        self.advanced: list[int] = []
        self.stop = StopRequest(lambda _: None)

    def __call__(self, start: int = 0, advance: Callable[[int], None] | None = None) -> int:
        with self.stop:
            return train(
                self.method,
                Steps(),
                self.optimizers,
                start=start,
                due=self.due,
                schedule=self.schedule,
                average=self.average,
                guard=self.guard,
                checkpoints=self.checkpoints,
                selection=self.selection,
                tracker=self.told,
                observer=Watcher(),
                around_step=nullcontext,
                advance=advance or self.advanced.append,
                meter=Meter(1, start, lambda: 2.0),
                stop=self.stop,
                ranks=Ranks(),
            )

    def saved(self) -> list[int]:
        return [int(path.stem.split("-")[1]) for path in step_files(self.checkpoints.folder)]


def test_a_ten_line_method_trains(tmp_path: Path) -> None:
    method = Ten()
    before = method.net[0].weight.detach().clone()
    run = Run(tmp_path, method, due=Due(10, log_every=4, preview_every=5, checkpoint_every=3))
    assert run() == 10
    assert not torch.equal(method.net[0].weight, before)
    assert sorted(run.told.rows) == [4, 8, 10]
    assert run.told.pictures == [(5, "preview", b"picture"), (10, "preview", b"picture")]
    assert run.saved() == [3, 6, 9, 10]
    assert run.advanced == list(range(1, 11))


def test_what_is_logged(tmp_path: Path) -> None:
    run = Run(tmp_path, Ten(), due=Due(8, log_every=1, preview_every=99, checkpoint_every=99), decay_from=4)
    run()
    assert list(run.told.rows[1]) == [
        "autoencoder/error",
        "gradient_norm/all",
        "learning_rate",
        "guard/skipped",
        "guard/rollbacks",
        "speed/images_per_second",
        "speed/seconds_per_step",
        "speed/waiting_for_data",
        "speed/rest",
        "speed/step",
        "memory/gigabytes",
        "health/change_ab",
    ]
    assert list(run.told.values) == list(run.told.rows)
    rates = [row["learning_rate"] for row in run.told.rows.values()]
    assert rates == pytest.approx([1e-2] * 4 + [1e-2, 7.5e-3, 5e-3, 2.5e-3])
    assert run.optimizers.all.optimizer.param_groups[0]["lr"] == rates[-1], "the rate that is logged is the one used"


def test_any_step_goes_on_bit_for_bit(tmp_path: Path) -> None:
    due = Due(9, log_every=1, preview_every=99, checkpoint_every=4)
    whole = Run(tmp_path / "whole", Ten(), due=due)
    whole()
    torch.manual_seed(987)
    again = Run(tmp_path / "whole", Ten(), due=due)
    (tmp_path / "whole" / "step-00000008.pt").unlink()
    (tmp_path / "whole" / "step-00000009.pt").unlink()
    start = again.checkpoints.restore_latest(lambda _: None)
    assert start == 4
    again(start)
    assert torch.equal(again.method.net[0].weight, whole.method.net[0].weight)

    def exact(row: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in row.items() if not name.startswith("speed/")}

    assert {step: exact(whole.told.rows[step]) for step in range(5, 10)} == {
        step: exact(row) for step, row in again.told.rows.items()
    }


def test_scores_are_made_when_due_and_the_best_is_kept(tmp_path: Path) -> None:
    due = Due(7, log_every=99, preview_every=99, checkpoint_every=99, evaluate_every=3)
    run = Run(tmp_path, Ten(), due=due)
    assert run() == 7
    assert run.told.scores == {
        3: {"scores/kid": 1.0, "best/step": 3},
        6: {"scores/kid": 2.0, "best/step": 3},
        7: {"scores/kid": 3.0, "best/step": 3},
    }
    best = load_checkpoint(tmp_path / "best.pt")
    assert (best["step"], best["scores"]) == (3, {"scores/kid": 1.0})
    assert set(best) == {"format", "step", "facts", "networks", "ema", "scores"}


def test_without_gain_the_run_ends_early_and_is_saved(tmp_path: Path) -> None:
    due = Due(50, log_every=99, preview_every=99, checkpoint_every=99, evaluate_every=2)
    run = Run(tmp_path, Ten(), due=due, patience=2)
    assert run() == 6
    assert run.saved() == [6]


def test_dropout_draws_anew_at_every_step(tmp_path: Path) -> None:
    masks = []

    class Watching(Ten):
        def training_step(self, batch: Any, optimizers: Any) -> dict[str, Tensor]:
            masks.append((nn.functional.dropout(torch.ones(64), 0.5) > 0).tolist())
            return super().training_step(batch, optimizers)

    Run(tmp_path, Watching(), due=Due(3, log_every=9, preview_every=9, checkpoint_every=9))()
    assert len({tuple(mask) for mask in masks}) == 3


class Exploding(Ten):
    """Its loss is not a number at some steps, counted from 1."""

    def __init__(self, *at: int) -> None:
        super().__init__()
        self.at, self.step = at, 0

    def training_step(self, batch: Any, optimizers: Any) -> dict[str, Tensor]:
        self.step += 1
        good = self.net(batch.a).square().mean()
        losses = {"fine/one": good, "bad/two": good * (float("nan") if self.step in self.at else 1.0)}
        optimizers.all.descend(losses)
        return losses


def test_a_bad_step_is_skipped_and_counted(tmp_path: Path) -> None:
    method = Exploding(4, 5, 7)
    run = Run(tmp_path, method, due=Due(10, log_every=4, preview_every=99, checkpoint_every=5))
    assert run() == 10
    told = run.told.rows
    assert {step: row["guard/skipped"] for step, row in told.items()} == {4: 1, 8: 2, 10: 0}
    assert "bad/two" not in told[4], "what is no number has no place in a curve"
    assert "fine/one" in told[4]
    assert "bad/two" in told[8]
    assert all(torch.isfinite(each).all() for each in method.net.state_dict().values())
    assert run.saved() == [10], "in a row of bad steps nothing is kept to go back to"


@pytest.mark.parametrize(("log_every", "checkpoint_every"), [(4, 100), (100, 4)])
def test_bad_steps_in_a_row_are_a_divergence(tmp_path: Path, log_every: int, checkpoint_every: int) -> None:
    due = Due(20, log_every=log_every, preview_every=100, checkpoint_every=checkpoint_every)
    run = Run(tmp_path, Exploding(*range(6, 99)), due=due)
    with pytest.raises(Diverged, match=r"^step 6: bad/two became non-finite .* \(3 updates in a row were skipped\)$"):
        run()
    assert run.saved() == list(range(checkpoint_every, 6, checkpoint_every))
    assert run.advanced == list(range(1, 8)), "found at the first log or checkpoint after the third"


def test_only_finite_numbers_are_told() -> None:
    values = {
        "x": torch.tensor(float("inf")),
        "y": torch.tensor(0.5, dtype=torch.bfloat16),
        "z": torch.tensor(float("nan")),
        "w": torch.tensor(2.0),
    }
    assert finite_floats(values) == {"y": 0.5, "w": 2.0}


def test_a_signal_finishes_the_step_and_saves(tmp_path: Path) -> None:
    class Signalled(Ten):
        def training_step(self, batch: Any, optimizers: Any) -> dict[str, Tensor]:
            if batch.first_sample == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().training_step(batch, optimizers)

    run = Run(tmp_path, Signalled(), due=Due(10, log_every=99, preview_every=99, checkpoint_every=99))
    assert run() == 3
    assert run.saved() == [3]
    assert run.stop.signal == signal.SIGTERM


def test_a_signal_that_comes_after_the_saving_is_not_lost(tmp_path: Path) -> None:
    """Between the saving of a step and the end of the step there is a moment in which nothing may be forgotten."""
    run = Run(tmp_path, Ten(), due=Due(10, log_every=99, preview_every=99, checkpoint_every=99))

    def advance(done: int) -> None:
        if done == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    done = run(advance=advance)
    assert run.saved() == [done], "what is said to be saved is saved"
    assert done == 5


def test_checkpoints_hold_the_step_after_which_they_were_made(tmp_path: Path) -> None:
    run = Run(tmp_path, Ten(), due=Due(2, log_every=9, preview_every=9, checkpoint_every=1))
    run()
    steps = [load_checkpoint(path)["step"] for path in step_files(tmp_path)]
    assert steps == [1, 2]


def test_due_at_multiples_and_at_the_end() -> None:
    due = Due(10, log_every=4, preview_every=5, checkpoint_every=3)
    assert [done for done in range(1, 11) if due.log(done)] == [4, 8, 10]
    assert [done for done in range(1, 11) if due.preview(done)] == [5, 10]
    assert [done for done in range(1, 11) if due.checkpoint(done)] == [3, 6, 9, 10]
    assert [done for done in range(1, 11) if due.evaluate(done)] == [], "only where it is asked for"
    assert [done for done in range(1, 11) if due.any(done)] == [3, 4, 5, 6, 8, 9, 10]
    scored = Due(10, log_every=4, preview_every=5, checkpoint_every=3, evaluate_every=7)
    assert [done for done in range(1, 11) if scored.evaluate(done)] == [7, 10]


def test_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    waited = [0.0]
    meter = Meter(3, 50, lambda: 1.5, lambda: waited[0])
    with meter.aside():
        now[0] += 2
    now[0] += 2
    waited[0] += 1
    assert meter(60) == {
        "speed/images_per_second": pytest.approx(3 * 10 / 4),
        "speed/seconds_per_step": pytest.approx(0.4),
        "speed/waiting_for_data": pytest.approx(1 / 4),
        "speed/rest": pytest.approx(1 / 2),
        "speed/step": pytest.approx(1 / 4),
        "memory/gigabytes": 1.5,
    }
    now[0] += 1
    read = meter(61)
    assert read["speed/images_per_second"] == pytest.approx(3)
    assert read["speed/rest"] == 0
    now[0] += 2
    waited[0] += 1
    assert meter(62)["speed/waiting_for_data"] == pytest.approx(1 / 2)

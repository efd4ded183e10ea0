"""Who watches a run, what is measured for them, and what they are told at its end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import write_text
from ganstyle.data.images import encode_image
from ganstyle.evaluate.describers import Describer
from ganstyle.evaluate.gauges import gauge
from ganstyle.evaluate.health import diagnose
from ganstyle.evaluate.held_out import HeldOutScores
from ganstyle.methods.method import Method
from ganstyle.networks.discriminators import without_paths
from ganstyle.tracking.background import InBackground
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.health import HealthTracker
from ganstyle.tracking.jsonl import FolderTracker, read_metrics
from ganstyle.tracking.page_tracker import PageTracker
from ganstyle.tracking.tracker import Cell, SilentTracker, Tracker, Trackers
from ganstyle.train.ema import MovingAverage, evaluating
from ganstyle.train.preview import Previews
from ganstyle.train.probe import Probe, Probed
from ganstyle.train.ranks import Ranks
from ganstyle.train.run_folder import RunFolder, library_versions
from ganstyle.verbs.models import export
from ganstyle.verbs.plan import Plan, Say
from ganstyle.verbs.report import write_report

EXAMPLES = 8
# Of the config, what is no path and no name of a person's.
NAMED_WEIGHTS = ("auto", "inception", "random")
SHOWN = {"seed", "method", "generator", "discriminator", "training", "evaluate"}


@dataclass(frozen=True)
class Watching:
    """The eyes and the voice of a run on the first rank; on the others nothing is measured, drawn or said.

    `elsewhere` is every tracker but the terminal, where the command itself says how it ended.
    """

    say: Say
    advance: Callable[[int], None]
    tracker: Tracker
    elsewhere: Tracker
    plan: Plan
    folder: RunFolder
    previews: Previews
    prober: Probe
    held_out: HeldOutScores | None

    def preview(self) -> bytes:
        """One picture of what the translators make."""
        return self.previews()

    def probe(self) -> Probed:
        """How the networks do on the preview images."""
        return self.prober()

    def scores(self) -> Mapping[str, float]:
        """How well the translators do on images that are held out."""
        if self.held_out is None:
            return {}
        scores, best = self.held_out(), self.plan.config.evaluate.best
        if f"scores/{best}" not in scores:
            self.say(f"evaluate.best: there is no '{best}' score of these images, so this step cannot be the best")
        return scores

    def end(self, finished: bool, step: int, steps: int) -> None:
        """Tell how the run ended, show validation images, and hand the model over."""
        if self.held_out is not None:
            rows: list[list[Cell]] = [
                [each.direction, encode_image(each.image, "PNG"), encode_image(each.translation, "PNG"), each.content]
                for each in self.held_out.examples(EXAMPLES)
            ]
            self.tracker.table("validation", ["direction", "image", "translation", "content"], rows)
        wandb = self.plan.config.tracking.wandb
        if wandb.log_model and wandb.mode != "disabled":
            self._hand_over()
        text = f"step {step} of {steps}, saved"
        self.elsewhere.alert("finished" if finished else "stopped", text, level="info")

    def _hand_over(self) -> None:
        best = ["best"] if (self.folder.checkpoints / "best.pt").is_file() else []
        try:
            for alias in ["latest", *best]:
                for direction in self.prober.translators:
                    out = self.folder.path / "exports" / f"{alias}-{direction}.safetensors"
                    out.parent.mkdir(exist_ok=True)
                    facts = export(self.folder.path, out, direction=direction, checkpoint=alias)
                    self.tracker.model(out, alias, {"direction": direction, "step": facts.step})
        except (OSError, UserError) as error:
            self.say(f"the model is not handed to Weights & Biases: {one_line(error)}")


def watch(
    plan: Plan,
    folder: RunFolder,
    method: Method,
    average: MovingAverage,
    *,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
    ranks: Ranks,
    start: int,
    describe: Describer | None,
) -> Watching:
    """Everything that looks at a run and tells of it.

    Args:
        plan: what is trained.
        folder: where it is kept.
        method: its networks.
        average: of its translators.
        device: where they are.
        autocast: the precision that they are run in.
        ranks: of several only the first one's run is watched.
        start: the step that the run goes on from.
        describe: the features of images that scores are made on, if there are to be scores.
    """
    a, b = plan.domains["a"], plan.domains["b"]
    crop_px = plan.config.data.crop_px
    previews = Previews(average.best_models, a, b, crop_px=crop_px, device=device)
    prober = Probe(method.translators, method.judges, previews.images, device=device, autocast=autocast, gauge=gauge)
    held_out = None
    if describe is not None and ranks.first:
        held_out = HeldOutScores(
            average.best_models,
            held_out={"a": a.held_out, "b": b.held_out},
            reference={"a": [a.train, a.held_out], "b": [b.train, b.held_out]},
            describe=describe,
            crop_px=crop_px,
            device=device,
            seed=plan.config.seed,
            evaluating=evaluating,
        )
    say, advance, tracker, elsewhere = _trackers(plan, folder, ranks, start=start)
    for remark in held_out.remarks() if held_out is not None else ():
        say(remark)
    return Watching(say, advance, tracker, elsewhere, plan, folder, previews, prober, held_out)


def _trackers(
    plan: Plan, folder: RunFolder, ranks: Ranks, *, start: int
) -> tuple[Say, Callable[[int], None], Tracker, Tracker]:
    """How to say a line, how to show progress, and who is told of the run, with the terminal and without it.

    Nobody but on the first rank.
    """
    if not ranks.first:
        return silent, silent, SilentTracker(), SilentTracker()
    console = ConsoleTracker(start=start, steps=plan.steps)
    say = console.say
    kept = FolderTracker(folder.path, start=start, warn=say)
    if start or kept.events.is_file():
        kept.alert("going on", f"from step {start}", level="info")
    far = [*_wandb(folder, plan, say), *_tensorboard(folder, plan, say, start=start)]
    health = HealthTracker(_rows(folder), diagnose, Trackers([kept, console, *far]))
    page = _page(folder, say) if plan.config.tracking.page else []
    # In this order they are closed: the terminal and the page do not wait for a network.
    return say, console.advance, Trackers([kept, console, health, *page, *far]), Trackers([kept, *page, *far])


def _rows(folder: RunFolder) -> list[dict]:
    """What was logged before; nothing where it cannot be read."""
    try:
        return read_metrics(folder.path / "metrics.jsonl")
    except OSError:
        return []


def silent(_: object) -> None:
    """Say nothing."""


def _page(folder: RunFolder, say: Say) -> list[Tracker]:
    def make() -> Tracker:
        return PageTracker(lambda: write_report(folder.path), warn=say)

    return [InBackground(make, warn=say, name="the page")]


def _wandb(folder: RunFolder, plan: Plan, say: Say) -> list[Tracker]:
    settings = plan.config.tracking.wandb
    if settings.mode == "disabled":
        return []
    from ganstyle.tracking.wandb import WandbTracker  # noqa: PLC0415 - a second, and only when it is asked for

    shown = plan.config.model_dump(include=SHOWN)
    if shown["evaluate"]["weights"] not in NAMED_WEIGHTS:
        shown["evaluate"]["weights"] = "a file"
    shown["discriminator"] = without_paths(shown["discriminator"])
    config = shown | {
        "data": plan.data_facts(),
        "versions": library_versions(),
    }
    options = settings.model_dump() | {"name": settings.name or plan.config.name}

    def make() -> Tracker:
        return WandbTracker(
            folder.path,
            settings=options,
            config=config,
            run_id=_wandb_id(folder),
            warn=say,
            opened=lambda run_id: _keep_wandb_id(folder, run_id),
        )

    return [InBackground(make, warn=say, name="Weights & Biases")]


def _tensorboard(folder: RunFolder, plan: Plan, say: Say, *, start: int) -> list[Tracker]:
    if not plan.config.tracking.tensorboard:
        return []
    from ganstyle.tracking.tensorboard import TensorboardTracker  # noqa: PLC0415 - an extra

    def make() -> Tracker:
        return TensorboardTracker(folder.path / "tensorboard", start=start, warn=say)

    return [InBackground(make, warn=say, name="TensorBoard")]


def _wandb_id(folder: RunFolder) -> str:
    """The run's id in W&B, the same whenever it goes on."""
    file = folder.path / "wandb-id.json"
    if not file.is_file():
        _keep_wandb_id(folder, secrets.token_hex(4))
    return json.loads(file.read_text(encoding="utf-8"))


def _keep_wandb_id(folder: RunFolder, run_id: str) -> None:
    write_text(folder.path / "wandb-id.json", json.dumps(run_id))

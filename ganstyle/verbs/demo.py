"""The demo: two domains are drawn, a small model is trained, photos are translated, scored, and shown on a page."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ganstyle.base.config import read_yaml, write_yaml
from ganstyle.base.errors import UserError
from ganstyle.base.files import write_text
from ganstyle.data.folders import find_images
from ganstyle.data.images import read_image
from ganstyle.data.scenes import synthesize
from ganstyle.evaluate.tables import Score, score_against_truth
from ganstyle.networks.features import RandomFeatures
from ganstyle.tracking.console import duration
from ganstyle.tracking.console import say as say_plainly
from ganstyle.tracking.page import Cell, Page, Table, write_page
from ganstyle.verbs.report import run_page
from ganstyle.verbs.train import Outcome, train_recipe
from ganstyle.verbs.translate import translate_folder

SHOWN = 8
NAMES = {
    "translated": "translated by the model",
    "photo": "the photo as it is",
    "mean_colour": "mean colour of trainB",
    "mean_image": "mean image of trainB",
    "colour_match": "photo matched to trainB in colour",
}


def run_demo(
    out: Path,
    words: Sequence[str] = (),
    *,
    count: int = 200,
    size_px: int = 96,
    seed: int = 0,
    say: Callable[[str], None] = say_plainly,
) -> Outcome:
    """Run the demo in a folder of its own; what an earlier call left there is used again.

    Args:
        out: the folder: `pictures/`, `run/`, `translated/`, `scores.json` and `demo.html` come to stand there.
        words: `key=value` changes of the recipe `demo`.
        count: pictures of each domain to train on.
        size_px: their side.
        seed: another seed draws other scenes.
        say: told of each part, a line at a time.
    """
    began = time.monotonic()
    pictures = out / "pictures"
    _draw(pictures, count=count, size_px=size_px, seed=seed, say=say)
    outcome = train_recipe("demo", [f"data.root={pictures}", *words], run=out / "run", say=say)
    if not outcome.finished:
        return outcome
    report = translate_folder(pictures / "testA", out / "translated", model=outcome.folder, overwrite=True)
    say(f"test photos: {report}")
    scores = score_demo(out)
    write_text(out / "scores.json", json.dumps(scores, indent=2) + "\n")
    write_page(out / "demo.html", _page(out, outcome, scores, seconds=time.monotonic() - began))
    for line in _score_lines(scores):
        say(line)
    say(f"all in {duration(time.monotonic() - began)}; open {out / 'demo.html'}")
    return outcome


def _draw(pictures: Path, *, count: int, size_px: int, seed: int, say: Callable[[str], None]) -> None:
    asked = {"style": "ink", "count": count, "size_px": size_px, "seed": seed}
    told = pictures.parent / "pictures.yaml"
    if told.is_file() and pictures.is_dir():
        if read_yaml(told) != asked:
            raise UserError(f"{pictures.parent} holds a demo of other pictures ({told}): choose another folder")
        return
    if pictures.exists():
        raise UserError(f"{pictures} is there, and not of a demo: choose another folder")
    test_count = max(8, count // 5)
    # Under another name until all are drawn, so that a demo that was stopped half-way can be called again.
    drawing = pictures.with_name(f"{pictures.name}.drawing")
    shutil.rmtree(drawing, ignore_errors=True)
    synthesize(drawing, count=count, size_px=size_px, seed=seed, test_count=test_count)
    write_text(told, write_yaml(asked))
    drawing.rename(pictures)
    say(f"drew {count} photo-like scenes, {count} other scenes in ink, and {test_count} in both to score with")


def read_folder(folder: Path) -> np.ndarray:
    """All images of a folder, sorted by name, uint8 (N, H, W, 3); they have one size."""
    return np.stack([read_image(path).pixels for path in find_images(folder)])


def score_demo(out: Path) -> list[Score]:
    """The scores of the translated photos, of the photos and of the trivial answers."""
    outputs = {"translated": read_folder(out / "translated"), "photo": read_folder(out / "pictures" / "testA")}
    truth, style = read_folder(out / "pictures" / "testB"), read_folder(out / "pictures" / "trainB")
    return score_against_truth(outputs, truth, style, RandomFeatures())


def _score_lines(scores: Sequence[Score]) -> list[str]:
    rows = [f"{'':36}{'KID':>8}{'edges':>8}{'PSNR':>8}"]
    for score in scores:
        name = NAMES[score["name"]]
        rows.append(f"{name:36}{score['kid']:8.2f}{score['gradient_correlation']:8.3f}{score['psnr']:8.2f}")
    return rows


def _page(out: Path, outcome: Outcome, scores: Sequence[Score], *, seconds: float) -> Page:
    """The run's own page with the demo's answers on it."""
    page = run_page(outcome.folder)
    return replace(
        page,
        title="ganstyle demo: photos to ink",
        summary=(
            "Two sets of landscapes were drawn: photo-like ones, and other scenes as ink paintings. A CycleGAN learned "
            "from these two unpaired sets alone. Below: photos that it never saw, what it made of them, and the truth, "
            "which was kept from it and is used for scoring only."
        ),
        gallery_columns=("photo", "translated", "truth"),
        gallery=_gallery(out),
        tables=[_score_table(scores), *page.tables],
        facts=[*page.facts, ("this command took", duration(seconds))],
        commands=[*_commands(out, outcome.folder), *page.commands],
    )


def _gallery(out: Path) -> list[list[tuple[str, bytes]]]:
    folders = {
        "photo": out / "pictures" / "testA",
        "translated": out / "translated",
        "truth": out / "pictures" / "testB",
    }
    names = [path.name for path in find_images(folders["photo"])[:SHOWN]]
    return [[(f"{label} {name}", (folder / name).read_bytes()) for label, folder in folders.items()] for name in names]


def _score_table(scores: Sequence[Score]) -> Table:
    rows: list[list[Cell]] = []
    for score in scores:
        kid = f"{score['kid']:.2f} ± {score['kid_deviation']:.2f}"
        rows.append([NAMES[score["name"]], kid, round(score["gradient_correlation"], 3), round(score["psnr"], 2)])
    columns = ["answer", "KID to trainB (lower: closer in style)", "edges like the truth's", "PSNR to the truth, dB"]
    note = "Against the truth, with KID on a fixed random network: it compares only within ganstyle."
    return Table("Answers", columns, rows, note, marked=[0])


def _commands(out: Path, run: Path) -> list[tuple[str, str]]:
    translate = ["ganstyle", "translate", str(out / "pictures" / "testA"), "OUT", "--model", str(run)]
    return [
        ("train on your own two folders", "ganstyle train cyclegan-lite data.a=PHOTOS data.b=PAINTINGS"),
        ("translate the test photos again", shlex.join(translate)),
        ("draw more pictures like these", "ganstyle dataset synthesize pictures --style ink --count 200 --size 256"),
    ]

from __future__ import annotations

import base64
import re
from itertools import pairwise
from pathlib import Path

import pytest

from ganstyle.base.errors import UserError
from ganstyle.base.files import write_text
from ganstyle.train.run_folder import RunFolder
from ganstyle.verbs import run_story
from ganstyle.verbs.report import MOST_EVENTS, compare_runs, run_page, write_report
from tests import told_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return told_run.write_run(tmp_path / "told")


def state(run: Path) -> str:
    told = run_page(run).state
    assert told is not None
    return told.text


def test_a_page_tells_all_that_the_folder_holds(run: Path) -> None:
    told_run.append(run / "events.jsonl", [told_run.event(500, "rolled back", "error")])
    page = run_page(run)
    assert page.title == "told"
    assert page.state is not None
    assert (page.state.text, page.state.share) == ("at step 1,000 of 2,000", 0.5)
    assert page.state.told.endswith("+00:00")
    assert [notice.title for notice in page.health] == ["healthy"]
    assert [label for label, _ in page.frames] == ["step 250", "step 500", "step 750", "step 1,000"]
    assert page.frame_rows[:4] == ["a", "a to b", "a to b and back", "a by the generator to a: best unchanged"]
    assert len(page.frame_rows) == 8
    assert [event.title for event in page.events] == ["rolled back"]
    titles = {panel.title for panel in page.curves}
    assert titles >= {"KID", "generator", "scores by discriminators", "change", "learning rate"}
    facts = dict(page.facts)
    assert facts["seconds a step"] == 0.25
    assert facts["training images"] == "7 + 5"
    assert facts["hardware"] == "cpu, float32, 2 threads"
    assert "learning_rate: 0.0002" in page.config
    commands = [command for _, command in page.commands]
    assert f"ganstyle train --resume {run}" in commands
    assert f"ganstyle translate PHOTOS OUT --model {run}" in commands


def test_the_file_is_written_again(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    before = path.read_text()
    assert "at step 1,000 of 2,000" in before
    told_run.append(run / "metrics.jsonl", [told_run.row(1010)])
    write_report(run)
    assert "at step 1,010 of 2,000" in path.read_text()


def test_scores_are_a_row_for_each_evaluation_and_the_best_stands_out(run: Path) -> None:
    (table,) = run_page(run).tables
    assert table.columns == ["step", "", "KID, a to b", "KID, mean", "content, a to b"]
    assert [row[0] for row in table.rows] == [1000, 750, 500, 250]
    assert [table.rows[number][:3] for number in table.marked] == [[500, "best", "0.500 ± 0.050"]]
    assert "Compares only within this project." in table.note
    assert "chosen by kid." in table.note


def test_what_ails_a_run_is_told_with_what_to_do(tmp_path: Path) -> None:
    (notice,) = run_page(told_run.write_run(tmp_path / "ill", inverted=True)).health
    assert notice.title == "colour inversion (a to b)"
    assert (notice.level, notice.since) == ("error", "since step 10")
    assert "-0.50" in notice.text
    assert notice.hint


def finished_checkpoint(run: Path, step: int) -> None:
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / f"step-{step:08d}.pt").touch()


def test_states(run: Path) -> None:
    events = run / "events.jsonl"
    told_run.append(events, [told_run.event(1000, "rolled back", "error")])
    assert state(run) == "at step 1,000 of 2,000"
    told_run.append(events, [told_run.event(1000, "stopped")])
    assert state(run) == "stopped after 1,000 of 2,000 steps"
    told_run.append(events, [told_run.event(1000, "training stopped", "error")])
    assert state(run) == "stopped by an error after 1,000 of 2,000 steps"
    told_run.append(events, [told_run.event(1000, "finished")])
    assert state(run) == "finished early, after 1,000 of 2,000 steps"
    finished_checkpoint(run, 1003)
    assert state(run) == "finished early, after 1,003 of 2,000 steps"
    told_run.append(run / "metrics.jsonl", [told_run.row(1010)])
    assert state(run) == "at step 1,010 of 2,000"
    told_run.append(run / "metrics.jsonl", [told_run.row(2000)])
    assert state(run) == "finished: 2,000 of 2,000 steps"
    commands = dict(run_page(run).commands)
    assert commands["train it for longer"] == f"ganstyle train --resume {run} training.steps=4000"


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    run = tmp_path / "new"
    run.mkdir()
    RunFolder(run).write_config({"name": "new", "training": {"epochs": 3}})
    page = run_page(run)
    assert page.state is not None
    assert page.state.text == "begun: nothing was told yet"
    assert (page.health, page.frames, page.tables, page.curves, page.events) == ([], [], [], [], [])
    write_report(run)


def test_a_config_that_a_person_has_broken_still_has_a_page(tmp_path: Path) -> None:
    run = told_run.write_run(tmp_path / "odd", config={"data": {"crop_px": "wide"}, "training": {"steps": [1]}})
    (run / "run.json").unlink()
    page = run_page(run)
    assert state(run) == "at step 1,000"
    assert page.frame_rows == []
    write_report(run)


def test_files_that_are_half_written_are_read_as_far_as_they_go(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1020, "x/nan": NaN, "x/text": "no", "x/true": true, "x/one": 1}\n{"step": 1030, "gen')
    with (run / "events.jsonl").open("a") as file:
        file.write('[1]\n{"step": "x"}\n\xff\n{"step": -1, "time": "", "level": "", "title": "", "text": ""}\n')
        file.write('{"step": 7, "time": "t", "level": "odd", "title": "kept", "text": "x"}\n{"step": 8, "ti')
    page = run_page(run)
    assert state(run) == "at step 1,020 of 2,000"
    assert [(event.step, event.title, event.level) for event in page.events] == [(7, "kept", "warn")]
    (more,) = [panel for panel in page.curves if panel.title == "x"]
    assert more.lines == {"one": [(1020, 1.0)]}
    write_report(run)


def test_damaged_previews_are_left_out(run: Path) -> None:
    whole = told_run.write_preview(run, 1000).read_bytes()
    (run / "previews" / "step-00001100.jpg").write_bytes(whole[: len(whole) // 2])
    (run / "previews" / "step-00001200.jpg").write_bytes(b"")
    (run / "previews" / "step-00001300.jpg").write_bytes(b"BM not a JPEG")
    (run / "previews" / "step-00001400.jpg").mkdir()
    (run / "previews" / "step-latest.jpg").write_bytes(whole)
    page = run_page(run)
    assert [label for label, _ in page.frames] == ["step 250", "step 500", "step 750", "step 1,000"]
    assert page.frames[-1][1] == whole
    write_report(run)


def test_a_long_run_shows_few_previews_the_first_and_the_newest_among_them(run: Path) -> None:
    for step in range(2000, 2100):
        told_run.write_preview(run, step)
    page = run_page(run)
    labels = [label for label, _ in page.frames]
    assert len(labels) == run_story.MOST_PREVIEWS
    assert (labels[0], labels[-1]) == ("step 250", "step 2,099")
    steps = [int(label.removeprefix("step ").replace(",", "")) for label in labels[3:]]
    gaps = {later - earlier for earlier, later in pairwise(steps)}
    assert gaps <= {2, 3}
    assert page.frame_note.startswith("40 of 104 previews")


def test_large_previews_do_not_make_a_page_of_any_size(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (run / "previews" / "step-00000250.jpg").stat().st_size
    monkeypatch.setattr(run_story, "MOST_PREVIEW_BYTES", 3 * size + 2)
    assert [label for label, _ in run_page(run).frames] == ["step 250", "step 750", "step 1,000"]
    monkeypatch.setattr(run_story, "MOST_PREVIEW_BYTES", 1)
    assert [label for label, _ in run_page(run).frames] == ["step 250", "step 1,000"]


@pytest.mark.parametrize(("rows", "labels"), [(2, ["a", "a to b"]), (6, 6), (8, 8), (5, [])])
def test_rows_of_previews_are_named_by_their_number(run: Path, rows: int, labels: int | list[str]) -> None:
    told_run.write_preview(run, 3000, rows=rows)
    named = run_page(run).frame_rows
    assert named == labels or len(named) == labels


def test_many_events_are_cut(run: Path) -> None:
    told_run.append(run / "events.jsonl", [told_run.event(step, "odd") for step in range(MOST_EVENTS + 5)])
    page = run_page(run)
    assert len(page.events) == MOST_EVENTS
    assert page.events[0].step == MOST_EVENTS + 4
    assert "events.jsonl" in page.events_note


def test_skipped_updates_and_offline_folders_are_told(run: Path) -> None:
    told_run.append(run / "metrics.jsonl", [{"step": 1010, "guard/skipped": 3, "guard/rollbacks": 1}])
    for name in ("offline-run-2", "offline-run-1"):
        (run / "wandb" / name).mkdir(parents=True)
    page = run_page(run)
    facts = dict(page.facts)
    assert (facts["updates skipped"], facts["roll-backs"]) == (3, 1)
    folders = [str(run / "wandb" / name) for name in ("offline-run-1", "offline-run-2")]
    assert page.commands[-1][1] == " ".join(["wandb sync", *folders])


def test_what_is_no_run_is_refused(tmp_path: Path, run: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", run / "config.yaml"):
        with pytest.raises(UserError, match=r"there is no run at .*: expected a run's folder"):
            write_report(path)
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: damaged"):
        write_report(run)
    (run / "run.json").unlink()
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config\.yaml: not a YAML file"):
        write_report(run)


def test_a_page_that_cannot_be_written_is_one_line(run: Path) -> None:
    (run / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html: a folder of this name is in the way"):
        write_report(run)
    with pytest.raises(UserError, match="the folder does not exist: make it first"):
        compare_runs([run, told_run.write_run(run / "other")], run / "nowhere" / "out.html")


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    runs = [
        told_run.write_run(tmp_path / "one"),
        told_run.write_run(
            tmp_path / "two",
            steps=500,
            inverted=True,
            config={"name": "two", "training": {"steps": 2000, "learning_rate": 1e-4}},
        ),
    ]
    out = compare_runs(runs, tmp_path / "out.html")
    html = out.read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html.split("<main>")[1]))
    for part in ("one · two", "at step 1,000 of 2,000", "at step 500 of 2,000", "two, since step 10", "step 1,000"):
        assert part in text, part
    assert "training.learning_rate 0.0002 0.0001" in text
    assert "one best 500 0.500 ± 0.050" in text
    assert "one newest 1,000 1.00 ± 0.050" in text
    assert "do not compare" not in text
    assert "told" not in text  # the names of runs are those of their folders
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', html)
    newest = [
        (run / "previews" / f"step-{step:08d}.jpg").read_bytes() for run, step in zip(runs, (1000, 500), strict=True)
    ]
    assert [base64.b64decode(picture) for picture in pictures] == newest


def test_scores_on_different_features_are_said_not_to_compare(tmp_path: Path) -> None:
    runs = [told_run.write_run(tmp_path / "one"), told_run.write_run(tmp_path / "x" / "one")]
    (tmp_path / "inception").mkdir()
    runs.append(
        told_run.write_run(
            tmp_path / "inception" / "one", evaluation={"name": "Inception", "fingerprint": "beef", "statement": "s"}
        )
    )
    html = compare_runs(runs, tmp_path / "out.html").read_text()
    assert "do not compare between runs" in html
    assert "inception/one (Inception)" in html
    assert "x/one (random network)" in html


def test_runs_that_have_just_begun_compare(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for path in runs:
        path.mkdir()
        write_text(path / "config.yaml", "training: {steps: 8}\n")
    html = compare_runs(runs, tmp_path / "out.html").read_text()
    assert "begun: nothing was told yet" in html
    assert "What differs" not in html


def test_what_cannot_be_compared_is_refused(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    for runs, message in (
        ([], "got 0 runs to compare: name at least two"),
        ([run], "got 1 run to compare: name at least two"),
        ([run, run / ".." / "told"], "was named more than once"),
        ([run, tmp_path / "nothing"], "there is no run at"),
    ):
        with pytest.raises(UserError, match=message):
            compare_runs(runs, out)
    assert not out.exists()


def test_a_folder_that_cannot_be_read_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> list[dict]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_story, "read_metrics", denied)
    with pytest.raises(UserError, match="told: cannot be read: Permission denied"):
        write_report(run)

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sys
from datetime import datetime, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

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


def test_a_run_that_goes_on_after_an_error_is_not_called_stopped(run: Path) -> None:
    events = run / "events.jsonl"
    told_run.append(run / "metrics.jsonl", [told_run.row(1100)])  # what came after the checkpoint at 1000 is done again
    told_run.append(events, [told_run.event(1200, "training stopped", "error")])
    assert state(run) == "stopped by an error after 1,100 of 2,000 steps"
    told_run.append(events, [told_run.event(1000, "going on", text="from step 1000")])
    assert state(run) == "at step 1,100 of 2,000"
    assert [(event.title, event.text) for event in run_page(run).events] == [
        ("going on", "from step 1000"),
        ("training stopped", "told so"),
    ]
    told_run.append(events, [told_run.event(1050, "rolled back", "error")])
    assert state(run) == "at step 1,100 of 2,000"
    told_run.append(events, [told_run.event(1150, "stopped")])
    assert state(run) == "stopped after 1,100 of 2,000 steps"


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
    names = ["offline-run-20260101_000000-ab12", "offline-run-20260102_000000-ab12"]
    for name in (*reversed(names), "run-20260103_000000-ab12", "latest-run", "offline-run-odd", "run-2-*"):
        (run / "wandb" / name).mkdir(parents=True)
    page = run_page(run)
    facts = dict(page.facts)
    assert (facts["updates skipped"], facts["roll-backs"]) == (3, 1)
    folders = [str(run / "wandb" / name) for name in names]
    assert [shlex.split(command) for _, command in page.commands[4:]] == [["wandb", "sync", *folders]]


def test_what_weights_and_biases_has_whole_is_not_sent_again(run: Path) -> None:
    names = [
        "offline-run-20260101_000000-ab12",  # sent since
        "run-20260102_000000-ab12",
        "offline-run-20260103_000000-ab12",
        "run-20260104_000000-ab12",  # sent whole
        "offline-run-20260101_000000-x-ab12",  # another id, given by a sweep
    ]
    sent, lost, kept, _, other = folders = [run / "wandb" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    (sent / "run-ab12.wandb.synced").touch()
    (lost / "unsent").touch()
    commands = [shlex.split(command) for _, command in run_page(run).commands[4:]]
    assert commands == [["wandb", "sync", "--include-online", str(lost), str(kept)], ["wandb", "sync", str(other)]]
    (kept / "run-ab12.wandb.synced").touch()
    (lost / "run-ab12.wandb.synced").touch()
    (other / "run-x-ab12.wandb.synced").touch()
    assert len(run_page(run).commands) == 4


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


HUGE = int("9" * 400)
ODD_LINES = (
    f'{{"step": 1020, "generator/cycle_a": {HUGE}, "guard/skipped": {HUGE}, "x/kept": 1}}',
    f'{{"step": 1020, "guard/skipped": 1e308, "scores/kid": 1e308, "best/step": -1e308, "x/minus": -{HUGE}}}',
    '{"step": 1020, "guard/skipped": 1e308, "x/tiny": 5e-324}',
    f'{{"step": {HUGE}, "x/kept": 1}}',
    '{"step": true, "x/true": 1}',
    '{"step": 1020, "x/\\ud800": 1, "": 1, "/": 1, "_ab": 1, "scores/": 1, "health/_a": 1, "step_ab": 1}',
    "[" * 200_000,
    '{"step": 1020, "x/nested": ' + "[" * 900 + "]" * 900 + "}",
)


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
def test_odd_lines_do_not_keep_a_page_from_being_made(run: Path, tmp_path: Path, line: str) -> None:
    told_run.append(run / "events.jsonl", [told_run.event(1000, "stays")])
    for name in ("metrics.jsonl", "events.jsonl"):
        with (run / name).open("a") as file:
            file.write(line + "\n")
    write_report(run)
    assert state(run) in {"at step 1,000 of 2,000", "at step 1,020 of 2,000"}
    assert [event.title for event in run_page(run).events] == ["stays"]
    compare_runs([run, told_run.write_run(tmp_path / "other")], tmp_path / "out.html")


def test_the_rest_of_a_row_with_a_number_beyond_all_floats_is_shown(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(ODD_LINES[0] + "\n")
    (more,) = [panel for panel in run_page(run).curves if panel.title == "x"]
    assert more.lines == {"kept": [(1020, 1.0)]}


def test_a_curve_of_the_smallest_number_there_is_has_a_page(run: Path) -> None:
    for step in (1010, 1020):
        told_run.append(run / "metrics.jsonl", [{"step": step, "x/tiny": 5e-324, "x/below": -5e-324}])
    write_report(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": True},
        {"step": HUGE},
        {"title": 5},
        {"text": [[]]},
        {"time": None},
    ],
)
def test_events_of_wrong_types_are_left_out(run: Path, changes: dict[str, Any]) -> None:
    told_run.append(run / "events.jsonl", [told_run.event(10, "kept"), told_run.event(20, "odd") | changes])
    assert [event.title for event in run_page(run).events] == ["kept"]
    write_report(run)


def test_texts_that_are_no_utf_8_are_written_as_escapes(run: Path) -> None:
    told_run.append(run / "events.jsonl", [told_run.event(10, "half \ud83d", text="\udcff")])
    html = write_report(run).read_text(encoding="utf-8")
    assert "half \\ud83d" in html
    assert "\\udcff" in html


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep such names out")
def test_a_folder_whose_name_is_not_utf_8_has_a_page(tmp_path: Path) -> None:
    runs = [told_run.write_run(tmp_path / os.fsdecode(name)) for name in (b"old \xff name", b"\xe4")]
    (runs[0] / "wandb" / os.fsdecode(b"offline-run-20260101_000000-\xff")).mkdir(parents=True)
    assert "old \\udcff name" in write_report(runs[0]).read_text(encoding="utf-8")
    assert "\\udce4" in compare_runs(runs, tmp_path / "out.html").read_text(encoding="utf-8")


def test_a_single_huge_preview_is_left_out_and_takes_no_room(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told_run.write_preview(run, 1000).read_bytes()
    monkeypatch.setattr(run_story, "MOST_PICTURE_BYTES", 100 * len(whole))
    monkeypatch.setattr(run_story, "MOST_PREVIEW_BYTES", 10 * len(whole))
    huge = run / "previews" / "step-00001100.jpg"
    huge.write_bytes(whole + bytes(101 * len(whole)))  # an image all the same: zeros may stand after its end
    page = run_page(run)
    assert [label for label, _ in page.frames] == ["step 250", "step 500", "step 750", "step 1,000"]
    assert page.frame_note.startswith("4 of 5 previews")
    assert run_story.picture_in(huge) is None
    for path in (run / "previews").iterdir():
        path.write_bytes(huge.read_bytes())
    assert run_page(run).frames == []


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"data": {"steps": float("inf"), "decay_from": 1}}, ""),
        ({"hardware": {"device": "cpu", "precision": "float32", "compile": False, "threads": "2"}}, ""),
        ({"evaluation": 5}, ""),
        ({"evaluation": {"statement": 5, "fingerprint": []}}, ""),
        ({}, f"training: {{steps: 0x{'f' * 5000}}}\n"),
        ({}, "a: " + "[" * 3000),
    ],
)
def test_odd_records_and_configs_are_one_line(run: Path, tmp_path: Path, changes: dict[str, Any], config: str) -> None:
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | changes))
    if config:
        (run / "config.yaml").write_text(config)
    for make in (
        lambda: write_report(run),
        lambda: compare_runs([run, told_run.write_run(tmp_path / "other")], tmp_path / "out.html"),
    ):
        with pytest.raises(UserError, match=r"run\.json: damaged|config\.yaml: (holds what cannot|not a YAML file)"):
            make()


@pytest.mark.parametrize("value", ["-2", "true", "1e400", "0x" + "f" * 400, "[]", "{}", "2026-01-01", "null"])
def test_odd_numbers_of_a_config_are_none(run: Path, value: str) -> None:
    (run / "run.json").unlink()
    (run / "config.yaml").write_text(f"training: {{steps: {value}}}\ndata: {{crop_px: {value}}}\n")
    write_report(run)
    assert state(run) == "at step 1,000"


@pytest.mark.parametrize("seconds", [1e18, 1e300, float("nan")])
def test_a_file_time_that_is_none_is_not_told(run: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    class Odd(datetime):
        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> Self:
            return super().fromtimestamp(seconds, tz)

    monkeypatch.setattr(run_story, "datetime", Odd)
    told = run_page(run).state
    assert told is not None
    assert (told.text, told.told) == ("at step 1,000 of 2,000", "")

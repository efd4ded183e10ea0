from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.evaluate.pair import MEANINGS
from ganstyle.networks.vgg import LIGHT, Vgg
from ganstyle.verbs import evaluate as verb
from ganstyle.verbs.evaluate import Row, evaluate_pairs, mean_rows, triples_of
from tests import tiny
from tests.networks.foreign_weights import inception_weights, light_weights

NO_WEIGHTS = "there are no weights: put vgg19.pth somewhere"
ANSWERS = ["output", "photo", "photo, its colours"]


def painted(height: int, width: int, purpose: str) -> np.ndarray:
    soft = cv2.GaussianBlur(Draws(seed=8).stream(purpose).standard_normal((height, width, 3)), (0, 0), 1.5)
    return np.clip(127 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo, a picture, a result, and files that are odd."""
    photo, picture = painted(64, 80, "photo"), painted(72, 64, "picture")
    result = photo // 2 + painted(64, 80, "result") // 2
    files = {"photo": photo, "picture": picture, "result": result}
    files |= {"wide": painted(64, 120, "wide"), "small": painted(16, 20, "small")}
    for name, pixels in files.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    Image.fromarray(photo[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([photo, photo[..., 1]])).save(tmp_path / "alpha.png")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


@pytest.fixture(autouse=True)
def weights_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`vgg19-light` has random weights; there are no others, and no downloads."""

    def load_features(name: str | None = None, weights: Path | None = None) -> Vgg:
        if name != "vgg19-light":
            raise UserError(NO_WEIGHTS)
        return Vgg(LIGHT, light_weights())

    monkeypatch.setattr(verb, "load_features", load_features)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_files_come_in_threes() -> None:
    paths = [Path(each) for each in "abcdef"]
    assert triples_of(paths) == [tuple(paths[:3]), tuple(paths[3:])]
    for wrong in (paths[:4], []):
        with pytest.raises(UserError, match=f"got {len(wrong)} files: --pair takes CONTENT STYLE OUTPUT"):
            triples_of(wrong)


def test_each_output_is_measured_beside_answers_that_took_no_work(folder: Path) -> None:
    said: list[str] = []
    files = tuple(folder / f"{name}.png" for name in ("photo", "picture", "result"))
    rows = evaluate_pairs(
        [files, (files[0], files[1], files[0])], features="vgg19-light", device="cpu", say=said.append
    )
    assert [row["answer"] for row in rows] == ANSWERS * 2
    assert all((row["content"], row["style"]) == (str(files[0]), str(files[1])) for row in rows)
    assert [row["output"] for row in rows] == [str(files[2])] * 3 + [str(files[0])] * 3
    assert {row["size"] for row in rows} == {(64, 80)}
    assert {row["features"] for row in rows} == {"light VGG-19"}
    # Every measure but those whose weights are not here; and the photo as an output is the photo.
    names = [name for name in MEANINGS if name not in ("lpips_grey", "sifid")]
    assert all(list(row["scores"]) == names for row in rows)
    assert rows[3]["scores"] == rows[4]["scores"] == rows[1]["scores"]
    assert rows[0]["scores"]["structure"] < 0.9 < rows[1]["scores"]["structure"]
    assert len(said) == 2
    assert said[0].startswith("LPIPS is left out: ")
    assert said[1].startswith("SIFID is left out: ")


def test_without_features_only_their_distances_are_left_out(folder: Path) -> None:
    said: list[str] = []
    files = tuple(folder / f"{name}.png" for name in ("photo", "picture", "result"))
    rows = evaluate_pairs([files], device="cpu", say=said.append)
    assert said[0] == f"the style distance on held-out layers is left out: {NO_WEIGHTS}"
    assert rows[0]["features"] is None
    assert "style_distance" not in rows[0]["scores"]
    assert "texture_distance" in rows[0]["scores"]
    for named in ({"features": "vgg16"}, {"weights": folder / "none.pth"}):
        with pytest.raises(UserError, match=NO_WEIGHTS):
            evaluate_pairs([files], device="cpu", say=said.append, **named)


def test_sifid_is_measured_where_the_file_is(folder: Path) -> None:
    for name in ("large", "large picture"):
        Image.fromarray(painted(100, 100, name)).save(folder / f"{name}.png")
    files = (folder / "photo.png", folder / "large picture.png", folder / "large.png")
    torch.save(inception_weights(), folder / "inception.pth")
    rows = evaluate_pairs([files], inception=folder / "inception.pth", device="cpu", say=lambda _: None)
    assert all(row["scores"]["sifid"] > 0 for row in rows)
    torch.save(light_weights(), folder / "light.pth")
    with pytest.raises(UserError, match=r"light\.pth: not the Inception of FID"):
        evaluate_pairs([files], inception=folder / "light.pth", device="cpu", say=lambda _: None)


def test_means_are_over_pairs_and_of_measures_that_all_have() -> None:
    def row(output: str, answer: str, **scores: float) -> Row:
        names = {"content": "c", "style": "s", "output": output}
        return Row(**names, answer=answer, size=(1, 1), features=None, scores=scores)

    rows = [
        row("a", "output", structure=0.2, sifid=3.0),
        row("a", "photo", structure=1.0),
        row("b", "output", structure=0.6),
        row("b", "photo", structure=0.0),
    ]
    assert mean_rows(rows) == {"output": {"structure": pytest.approx(0.4)}, "photo": {"structure": 0.5}}


def test_what_looks_odd_is_told(folder: Path) -> None:
    said: list[str] = []
    wide = (folder / "wide.png", folder / "picture.png", folder / "result.png")
    copied = (folder / "photo.png", folder / "picture.png", folder / "picture.png")
    evaluate_pairs([wide, copied], device="cpu", say=said.append)
    told = [line for line in said if "left out" not in line]
    assert told == [
        f"{wide[2]}: has another aspect than its photo (80 x 64 and 120 x 64 px); the photo is stretched",
        f"{copied[2]}: has another aspect than its photo (64 x 72 and 80 x 64 px); the photo is stretched",
        f"{copied[2]}: 100% of it is found word for word in {copied[1]}",
    ]


def test_grey_pictures_and_those_with_alpha_are_measured(folder: Path) -> None:
    for name in ("grey", "alpha"):
        files = (folder / f"{name}.png", folder / "picture.png", folder / "result.png")
        rows = evaluate_pairs([files], device="cpu", say=lambda _: None)
        assert all(np.isfinite(list(row["scores"].values())).all() for row in rows)


def test_the_command_prints_a_table_for_each_pair_and_writes_all_numbers(folder: Path) -> None:
    files = [str(folder / f"{name}.png") for name in ("photo", "picture", "result")]
    numbers = folder / "scores.json"
    words = ["evaluate", "--pair", *files, *files[:2], files[0], "--features", "vgg19-light", "--device", "cpu"]
    ended = tiny.ganstyle(*words, "--json", str(numbers))
    assert ended.code == 0, ended.err
    written = json.loads(numbers.read_text())
    assert [row["answer"] for row in written["pairs"]] == ANSWERS * 2
    assert list(written["mean"]) == ANSWERS
    for title in ("photo.png in the look of picture.png: result.png", "mean of 2 pairs", "structure kept"):
        assert title in ended.out
    shown = f"{written['pairs'][0]['scores']['style_distance']:.3f}"
    assert shown in ended.out
    assert "LPIPS is left out" in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photo.png", "picture.png", "result.png"], "ganstyle evaluate --pair CONTENT STYLE OUTPUT"),
        (["--pair", "photo.png", "picture.png"], "got 2 files"),
        (["--pair", "photo.png", "none.png", "result.png"], "none.png: "),
        (["--pair", "photo.png", "text.png", "result.png"], "text.png: "),
        (["--pair", "photo.png", "picture.png", "small.png"], "small.png: the output is compared at 20 x 16 px"),
        (["--pair", "photo.png", "picture.png", "result.png", "--device", "tpu"], "device"),
        (["--pair", "photo.png", "picture.png", "result.png", "--style-scale", "0"], "--style-scale: got 0"),
        (["--pair", "photo.png", "picture.png", "result.png", "--style-scale", "0.2"], "the style picture is compared"),
        (["--pair", "photo.png", "picture.png", "result.png", "--inception", "none.pth"], "none.pth"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    ended = tiny.ganstyle("evaluate", *words)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ")

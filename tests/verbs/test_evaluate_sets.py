from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.pixels import resize
from ganstyle.evaluate import protocols
from ganstyle.evaluate.describers import describer
from ganstyle.evaluate.distances import kernel_distance, standardise
from ganstyle.evaluate.structure import structure_similarity
from ganstyle.evaluate.truth import psnr
from ganstyle.networks import features
from ganstyle.verbs.evaluate_sets import compare_sets, evaluate_sets
from tests import tiny

SIDE_PX = 32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images are described at 32 px, to be quick; no weights are here."""
    monkeypatch.setattr(protocols, "SIDE_PX", SIDE_PX)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def folder(place: Path, count: int, *, seed: int, suffix: str = "png", mean: int = 128, size: int = 24) -> Path:
    """Soft pictures around a mean level, by the names 0, 1, ..."""
    place.mkdir()
    for number in range(count):
        stream = np.random.default_rng((seed, number))
        coarse = np.clip(stream.normal(mean, 40, size=(6, 6, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(resize(coarse, (size, size))).save(place / f"{number}.{suffix}")
    return place


def pixels(place: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(place.iterdir())])


def evaluated(fake: Path, real: Path, **options: Any) -> dict[str, Any]:
    return evaluate_sets(fake, real, device="cpu", say=lambda _: None, **options)


def test_scores_are_the_formulas_on_resized_images(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 8, seed=0), folder(tmp_path / "real", 9, seed=1, mean=150)
    told: list[str] = []
    found = evaluate_sets(fake, real, device="cpu", say=told.append)
    network = describer("random", features.torch.device("cpu"))
    rows = [network(np.stack([resize(image, (SIDE_PX, SIDE_PX)) for image in pixels(each)])) for each in (fake, real)]
    scale = standardise(rows[1])
    kid = found["scores"]["kid"]
    assert kid["value"] == pytest.approx(kernel_distance(scale(rows[0]), scale(rows[1])), rel=1e-9)
    assert kid["low"] < kid["value"] < kid["high"]
    assert found["features"]["name"] == "random network"
    assert "fixed random network" in told[0]
    assert "antialiased bicubic to 299" in told[0]
    assert found["sets"]["fake"]["images"] == 8
    assert found["sets"]["real"]["formats"] == {"png": 9}
    assert found["sets"]["real"]["sizes"] == {"24x24": 9}
    assert found["scores"]["fid"]["biased"]
    assert any("FID: 8 images cannot tell the spread" in line for line in found["warnings"])
    assert set(found["scores"]) == {"kid", "fid", "precision", "recall", "density", "coverage"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert evaluated(fake, real) == found


def test_what_is_kept_is_measured_beside_the_image_of_the_same_name(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 6, seed=0), folder(tmp_path / "real", 7, seed=1)
    source, truth = folder(tmp_path / "source", 6, seed=2), folder(tmp_path / "truth", 5, seed=3)
    (truth / "0.png").write_bytes((fake / "0.png").read_bytes())
    found = evaluated(fake, real, source=source, truth=truth)
    content = found["content"]
    assert content["pairs"] == 6
    assert content["structure"]["value"] == pytest.approx(structure_similarity(pixels(fake), pixels(source)))
    change = np.abs(pixels(fake).astype(float) - pixels(source)).mean() / 255
    assert content["change"]["value"] == pytest.approx(change)
    assert found["truth"]["pairs"] == 5
    assert found["truth"]["psnr"]["pairs"] == 4
    assert found["truth"]["psnr"]["value"] == pytest.approx(psnr(pixels(fake)[1:5], pixels(truth)[1:5]))
    assert "truth: 1 of 6 outputs have no image in" in " ".join(found["warnings"])
    json.dumps(found, allow_nan=False)


def test_other_names_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    fake, other = folder(tmp_path / "fake", 3, seed=0), folder(tmp_path / "other", 3, seed=1)
    for path in other.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    for options in ({"source": other}, {"truth": other}):
        with pytest.raises(UserError, match="has no image of the same name"):
            evaluated(fake, tmp_path / "other", weights=str(tmp_path / "not there.pth"), **options)


def test_a_photo_in_two_formats_is_nobodys_partner(tmp_path: Path) -> None:
    fake, photos = folder(tmp_path / "fake", 4, seed=0), folder(tmp_path / "photos", 4, seed=0)
    Image.new("RGB", (24, 24)).save(photos / "0.bmp")
    found = evaluated(fake, folder(tmp_path / "real", 4, seed=1), source=photos)
    assert found["content"]["pairs"] == 3
    assert found["content"]["change"]["value"] == 0
    assert any("2 images of" in line and "share their names" in line for line in found["warnings"])


def test_names_of_several_images_alone_are_told_as_such(tmp_path: Path) -> None:
    fake, photos = folder(tmp_path / "fake", 3, seed=0), folder(tmp_path / "photos", 3, seed=0)
    folder(tmp_path / "more", 3, seed=0, suffix="bmp")
    for path in (tmp_path / "more").iterdir():
        path.rename(fake / path.name)
    with pytest.raises(UserError, match="only names that stand for several images: keep one format"):
        evaluated(fake, folder(tmp_path / "real", 4, seed=1), source=photos)


def test_copies_of_training_images_are_told(tmp_path: Path) -> None:
    train, real = folder(tmp_path / "train", 30, seed=0), folder(tmp_path / "real", 20, seed=1)
    new, copied = folder(tmp_path / "new", 12, seed=2), tmp_path / "copied"
    copied.mkdir()
    for path in sorted(train.iterdir())[:12]:
        noisy = np.asarray(Image.open(path)).astype(int) + np.random.default_rng(0).integers(-2, 3, (24, 24, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(copied / path.name)
    found = evaluated(copied, real, train=train)
    assert found["memorised"]["share_nearer"] == 1
    assert found["memorised"]["expected_share"] == pytest.approx(1 / 21)
    assert found["memorised"]["copies"] == 0
    assert all(Path(each["file"]).name == Path(each["nearest"]).name for each in found["memorised"]["worst"])
    assert any("look at the nearest ones" in line for line in found["warnings"])
    found = evaluated(new, real, train=train)
    assert found["memorised"]["share_nearer"] < 0.3
    assert not any("memorised" in line for line in found["warnings"])
    found = evaluated(new, train, train=train)
    assert "threshold" not in found["memorised"]
    assert any("0 of 30 images of" in line for line in found["warnings"])


def test_what_is_odd_about_the_sets_is_told(tmp_path: Path) -> None:
    fake = folder(tmp_path / "fake", 6, seed=0)
    real = folder(tmp_path / "trainB", 7, seed=1, suffix="jpg", size=32)
    (real / "same.png").write_bytes((fake / "0.png").read_bytes())
    (real / "again.png").write_bytes((fake / "0.png").read_bytes())
    told = "\n".join(evaluated(fake, real)["warnings"])
    assert f"{real}: images of 2 sizes" in told
    assert f"{real}: 1 images are there more than once" in told
    assert f"most of {fake} are 24x24 px and most of {real} 32x32 px" in told
    assert f"{real} is compressed with loss and {fake} is not" in told
    assert f"1 images of {fake} are in {real}, too" in told
    assert f"{real} looks like images that were trained on" in told
    assert evaluated(fake, real)["sets"]["real"]["split"] == "train"


def test_unreadable_images_are_refused_unless_they_may_be_left_out(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 6, seed=0), folder(tmp_path / "real", 7, seed=1)
    (fake / "7.png").write_text("no picture")
    with pytest.raises(UserError, match=r"fake: 1 of 7 images cannot be read: 7.png .*--skip-unreadable"):
        evaluated(fake, real)
    found = evaluated(fake, real, skip_unreadable=True)
    assert found["sets"]["fake"]["images"] == 6
    assert found["sets"]["fake"]["left_out"][0]["file"] == str(fake / "7.png")
    assert any("they are left out" in line for line in found["warnings"])


def test_only_so_many_are_read_and_the_reading_is_told(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 12, seed=0), folder(tmp_path / "real", 7, seed=1)
    seen: list[tuple[str, int, int]] = []
    found = evaluated(fake, real, most=10, watch=lambda *each: seen.append(each))
    assert found["sets"]["fake"]["images"] == 10
    assert any("only the first 10 of its 12 images are read" in line for line in found["warnings"])
    assert seen == [(str(fake), 8, 10), (str(fake), 10, 10), (str(real), 7, 7)]


def test_images_of_one_pixel_are_measured_as_far_as_they_can_be(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 3, seed=0, size=1), folder(tmp_path / "real", 3, seed=1)
    found = evaluated(fake, real, source=real, truth=real)
    assert np.isfinite(found["scores"]["kid"]["value"])
    assert found["content"]["structure"] == {"value": None, "error": None, "pairs": 0}
    assert "content: structure is of 0 of 3 pairs, as it cannot be measured on the others" in found["warnings"]
    assert found["truth"]["psnr"]["pairs"] == 3
    json.dumps(found, allow_nan=False)


def test_the_nearer_outputs_are_better_whatever_order_they_are_in(tmp_path: Path) -> None:
    real = folder(tmp_path / "real", 25, seed=0, mean=60)
    near, far = folder(tmp_path / "near", 20, seed=1, mean=70), folder(tmp_path / "far", 21, seed=1, mean=200)
    found = compare_sets(near, far, real, device="cpu", say=lambda _: None)
    assert found["better"] == "a"
    assert found["pairs"] == 20
    assert found["difference"]["high"] < 0
    assert any("1 images are in one of" in line for line in found["warnings"])
    assert compare_sets(far, near, real, device="cpu", say=lambda _: None)["better"] == "b"
    other = folder(tmp_path / "other", 20, seed=2, mean=70)
    assert compare_sets(near, other, real, device="cpu", say=lambda _: None)["better"] is None


def test_the_command_prints_a_table_and_writes_all_numbers(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 8, seed=0), folder(tmp_path / "real", 8, seed=1)
    ended = tiny.ganstyle("evaluate", fake, real, "--source", real, "--train", real, "--json", tmp_path / "all.json")
    assert ended.code == 0, ended.err
    written = json.loads((tmp_path / "all.json").read_text())
    assert f"{written['scores']['kid']['value']:.4g}" in ended.out
    for text in ("KID", "8 images (8 png; 24x24)", "random network", "antialiased bicubic", "structure kept", "photo"):
        assert text in ended.out
    assert "warning: FID" in ended.err.replace("\n", " ")
    ended = tiny.ganstyle("evaluate", "--compare", fake, folder(tmp_path / "b", 8, seed=0), real)
    assert ended.code == 0, ended.err
    assert "it cannot be told which is better" in ended.out


def test_few_images_are_told(tmp_path: Path) -> None:
    few, real = folder(tmp_path / "few", 9, seed=1, mean=200), folder(tmp_path / "real", 100, seed=0, mean=60)
    units, narrow = "scores are in units of the", "intervals of 9 images are far too narrow"
    told = "\n".join(evaluated(few, real)["warnings"])
    assert narrow in told
    assert units not in told
    told = "\n".join(evaluated(real, few)["warnings"])
    assert narrow in told
    assert f"{units} 9 real images: from fewer than 100" in told
    near = folder(tmp_path / "near", 9, seed=1, mean=70)
    ended = tiny.ganstyle("evaluate", "--compare", near, few, real)
    assert ended.code == 0, ended.err
    assert narrow in ended.err
    assert "it cannot be told which is better from 9 images: give 10 or more" in ended.out


def test_only_scores_are_replaced_by_scores(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 4, seed=0), folder(tmp_path / "real", 5, seed=1)
    place = tmp_path / "all.json"
    for content in ('{"mine": 1}', "[1]", '{"format": "ganstyle ledger 1"}', "{", "[" * 100_000):
        place.write_text(content)
        ended = tiny.ganstyle("evaluate", fake, real, "--json", place)
        assert ended.code == 2
        assert "holds no scores" in ended.err
        assert place.read_text() == content
    place.write_text("")
    link = tmp_path / "link.json"
    link.symlink_to(place)
    for _ in range(2):
        assert tiny.ganstyle("evaluate", fake, real, "--json", link).code == 0
    assert link.is_symlink()
    assert json.loads(place.read_text())["format"] == "ganstyle evaluation 1"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs devices in /dev")
def test_a_device_stays_one_and_places_that_take_nothing_are_told_first(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 4, seed=0), folder(tmp_path / "real", 5, seed=1)
    ended = tiny.ganstyle("evaluate", fake, real, "--json", "/dev/null")
    assert (ended.code, ended.out) == (2, "")
    assert "is no file but a device or a pipe" in ended.err
    assert Path("/dev/null").is_char_device()
    ended = tiny.ganstyle("evaluate", fake, real, "--json", "/proc/scores.json")
    assert (ended.code, ended.out) == (2, "")
    assert "nothing can be written into /proc" in ended.err


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    fake, real = folder(tmp_path / "fake", 4, seed=0), folder(tmp_path / "real", 4, seed=1)
    one, other = folder(tmp_path / "one", 1, seed=2), folder(tmp_path / "other", 3, seed=2)
    for path in other.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.pth").write_text("none")
    for words, message in (
        ([fake], "got 1 paths"),
        ([fake, real, one], "got 3 paths"),
        ([fake, tmp_path / "none"], "is not there: expected a folder of images"),
        ([fake, fake / "0.png"], "is a file: expected a folder"),
        ([fake, tmp_path / "empty"], "there are no images in it"),
        ([fake, one], "has one image"),
        ([fake, fake], "is given twice, as fake and as real"),
        ([fake, real, "--source", other], "has no image of the same name"),
        ([fake, real, "--protocol", "clean"], "did you mean 'clean-fid'"),
        ([fake, real, "--protocol", "cut"], "--protocol cut is made with Inception"),
        ([fake, real, "--weights", tmp_path / "weights.pth"], "weights.pth"),
        ([fake, real, "--json", tmp_path / "no" / "all.json"], "no is not there; make it first"),
        ([fake, real, "--json", tmp_path], "is a folder"),
        ([fake, real, "--json", fake / "0.png"], "0.png is there already and holds no scores"),
        ([fake, real, "--inception", "file"], "--inception: has no meaning"),
        ([fake, real, "--size", "64", "--style-scale", "2"], "--size, --style-scale: has no meaning"),
        (["--compare", fake, real], "--compare takes three folders"),
        (["--compare", fake, other, real], "have 0 images of one name"),
        (["--compare", fake, fake, real], "given twice"),
        (["--compare", fake, one, real, "--protocol", "cut"], "--protocol: has no meaning"),
    ):
        ended = tiny.ganstyle("evaluate", *words)
        assert ended.code == 2, (words, ended.err)
        assert message in ended.err, (words, ended.err)
        assert ended.err.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in ended.err

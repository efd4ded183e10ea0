"""`ganstyle stylize`: files in, files out, by both methods."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import ganstyle
from ganstyle.base.errors import UserError
from ganstyle.data.photos import read_provenance
from ganstyle.verbs.painting import Progress
from ganstyle.verbs.painting_job import PaintingJob
from ganstyle.verbs.stylize import prepare, prepare_repair, settings_named
from tests import tiny
from tests.networks.foreign_weights import light_weights

SIZE = (48, 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "light.pth"
    torch.save({"epoch": 1, "model": light_weights()}, path)
    return path


@pytest.fixture
def style(tmp_path: Path) -> Path:
    draw = np.random.default_rng(1)
    coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    coarse.resize((64, 48), Image.Resampling.NEAREST).save(tmp_path / "style.png")
    return tmp_path / "style.png"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x010E] = "a lake"
    exif.get_ifd(0x8825)[1] = "N"
    tiny.picture(*SIZE, 3).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    return tmp_path / "photo.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    (place / "sub").mkdir(parents=True)
    tiny.picture(*SIZE, 4).save(place / "one.png")
    tiny.picture(*SIZE, 5).save(place / "sub" / "two.png")
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return place


def stylize(*words: str | Path) -> tiny.Ended:
    ended = tiny.ganstyle("stylize", *words, "--device", "cpu")
    assert "Traceback" not in ended.err
    return ended


def methods(weights: Path) -> Iterator[list[str | Path]]:
    yield ["--method", "sparse"]
    yield ["--method", "vgg", "--weights", weights, "--iterations", "3,2"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("number", [0, 1])
def test_a_photo_with_all_that_its_file_said(
    number: int, photo: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    words = list(methods(weights))[number]
    ended = stylize(photo, style, out, *words)
    assert ended.code == 0, ended.err
    with Image.open(out) as made:
        assert made.size == SIZE[::-1]
        exif = made.getexif()
        assert exif[0x010E] == "a lake"
        assert not exif.get_ifd(0x8825)
    assert np.abs(pixels(out) - pixels(photo)).mean() > 4  # something was done
    note, told = read_provenance(out), json.loads((tmp_path / "out.png.json").read_text())
    assert note is not None
    assert note["method"] == told["method"] == words[1]
    assert note["style"] == told["style"] == "style.png"
    assert (told["width"], told["height"], told["content"]) == (64, 48, "photo.jpg")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"photo.jpg", "style.png", "out.png", "out.png.json"}


@pytest.mark.parametrize("number", [0, 1])
def test_no_strength_is_the_photo(number: int, photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    words = list(methods(weights))[number]
    ended = stylize(photo, style, tmp_path / "out.png", *words, "--strength", "0")
    assert ended.code == 0, ended.err
    assert (pixels(tmp_path / "out.png") == pixels(photo)).all()


@pytest.mark.parametrize("number", [0, 1])
def test_a_folder_goes_on_where_it_stopped(
    number: int, folder: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    words = [folder, style, tmp_path / "out", *list(methods(weights))[number]]
    first = stylize(*words)
    assert first.code == 1
    assert "failed: " in first.err
    assert "broken.png" in first.err
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    expected = {"one.png", "sub/two.png", "one.png.json", "sub/two.png.json", "ganstyle-ledger.jsonl"}
    assert names == expected
    before = (tmp_path / "out" / "one.png").stat().st_mtime_ns
    second = stylize(*words)
    assert "2 there already" in second.err
    assert (tmp_path / "out" / "one.png").stat().st_mtime_ns == before
    other = stylize(*words, "--strength", "0.3")
    assert other.code == 2
    assert "--overwrite" in other.err


def test_the_same_seed_gives_the_same_picture(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    for words in methods(weights):
        for name in ("one.png", "two.png"):
            assert stylize(photo, style, tmp_path / name, *words, "--overwrite").code == 0
        assert (pixels(tmp_path / "one.png") == pixels(tmp_path / "two.png")).all()


@pytest.mark.parametrize("theirs", ["mine", "[1]", '{"software": 3}'])
def test_a_persons_own_file_beside_the_output_stays(theirs: str, photo: Path, style: Path, tmp_path: Path) -> None:
    (tmp_path / "out.png.json").write_text(theirs)
    ended = stylize(photo, style, tmp_path / "out.png", "--method", "sparse")
    assert ended.code == 0
    assert "somebody's own file" in ended.err
    assert (tmp_path / "out.png.json").read_text() == theirs


def test_total_variation_smooths(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    for name, weight in (("rough.png", "0"), ("smooth.png", "5")):
        words = ["--weights", weights, "--iterations", "12", "--tv-weight", weight]
        assert stylize(photo, style, tmp_path / name, *words).code == 0
    rough, smooth = (np.abs(np.diff(pixels(tmp_path / name), axis=0)).mean() for name in ("rough.png", "smooth.png"))
    assert smooth < 0.8 * rough


def test_a_size_is_the_longer_side(photo: Path, style: Path, tmp_path: Path) -> None:
    assert stylize(photo, style, tmp_path / "out.png", "--method", "sparse", "--size", "40").code == 0
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (40, 30)


def test_a_stopped_photo_is_the_best_so_far_and_goes_on(
    photo: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out.png", tmp_path / "whole.png"

    def job(target: Path, *, resume: bool = False) -> PaintingJob:
        settings = {"iterations": (4, 6)}
        return prepare(photo, [style], target, settings=settings, weights=weights, device="cpu", resume=resume)

    def stop(_: Path, progress: Progress) -> None:
        if progress.done == 7:
            raise KeyboardInterrupt

    job(whole).run()
    stopped = job(out)
    report = stopped.run(stop)
    assert report.done == 1
    assert len(stopped.stopped) == 1
    assert "--resume" in stopped.stopped[0]
    assert (tmp_path / "out.png.ganstyle-state").is_file()
    assert not (pixels(out) == pixels(whole)).all()
    resumed: list[int] = []
    job(out, resume=True).run(lambda _, progress: resumed.append(progress.done))
    assert min(resumed) > 1  # it did not begin again
    assert (pixels(out) == pixels(whole)).all()
    assert not (tmp_path / "out.png.ganstyle-state").exists()


def test_a_stopped_folder_leaves_nothing_half_done(folder: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    settings = {"iterations": (4, 6)}
    job = prepare(folder, [style], tmp_path / "out", settings=settings, weights=weights, device="cpu")

    def stop(source: Path, progress: Progress) -> None:
        if source.name == "two.png" and progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(stop)
    assert (tmp_path / "out" / "one.png").is_file()
    assert not (tmp_path / "out" / "sub" / "two.png").exists()
    again = prepare(folder, [style], tmp_path / "out", settings=settings, weights=weights, device="cpu", resume=True)
    report = again.run()
    assert (report.done, report.skipped) == (1, 1)


def test_a_preview_goes_with_the_photo(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    job = prepare(
        photo, [style], tmp_path / "out.png", settings={"iterations": (4,)}, weights=weights, device="cpu",
        preview_every=2,
    )  # fmt: skip
    preview, seen = tmp_path / "out.png.preview.jpg", []
    job.run(lambda _, progress: seen.append(preview.is_file()))
    assert any(seen)
    assert not preview.exists()


def test_a_part_of_the_photo(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for words in methods(weights):
        ended = stylize(
            photo, style, tmp_path / "out.png", *words, "--mask", tmp_path / "mask.png", "--feather", "0", "--overwrite"
        )
        assert ended.code == 0, ended.err
        change = np.abs(pixels(tmp_path / "out.png") - pixels(photo)).mean(axis=(0, 2))
        assert change[:31].max() == 0
        assert change[33:].mean() > 2


def test_several_pictures(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    tiny.picture(40, 40, 8).save(tmp_path / "other.png")
    words = [photo, style, "--also", tmp_path / "other.png", "--style-weights", "1,3", "--weights", weights]
    for name, more in {"both.png": ["1,3"], "one.png": ["1,0"]}.items():
        ended = stylize(
            *words[:2], tmp_path / name, *words[2:4], "--style-weights", *more, *words[6:], "--iterations", "4"
        )
        assert ended.code == 0, ended.err
    assert not (pixels(tmp_path / "both.png") == pixels(tmp_path / "one.png")).all()


def test_regions_that_are_drawn_and_regions_that_are_found(
    photo: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[:, :32], colours[:, 32:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    Image.fromarray(colours[:, ::-1].copy()).save(tmp_path / "style-mask.png")
    words = ["--weights", weights, "--iterations", "4"]
    drawn = ["--mask", tmp_path / "mask.png", "--style-mask", tmp_path / "style-mask.png"]
    for name, more in {"plain.png": [], "drawn.png": drawn, "found.png": ["--regions", "3"]}.items():
        ended = stylize(photo, style, tmp_path / name, *words, *more)
        assert ended.code == 0, ended.err
    plain, *others = (pixels(tmp_path / f"{name}.png") for name in ("plain", "drawn", "found"))
    assert all(np.abs(other - plain).mean() > 0.5 for other in others)
    for more, told in (
        (["--style-mask", tmp_path / "style-mask.png"], "goes with --mask"),
        ([*drawn, "--style-mask", tmp_path / "style-mask.png"], "2 --style-mask for 1 pictures"),
        ([*drawn, "--regions", "3"], "leave one out"),
    ):
        ended = stylize(photo, style, tmp_path / "other.png", *words, *more)
        assert ended.code == 2
        assert told in ended.err


def test_a_report_on_the_sparse_code(photo: Path, style: Path, tmp_path: Path) -> None:
    ended = stylize(photo, style, tmp_path / "out.png", "--method", "sparse", "--report", tmp_path / "report")
    assert ended.code == 0, ended.err
    assert (tmp_path / "report" / "report.html").is_file()
    assert json.loads((tmp_path / "report" / "report.json").read_text())


def test_repair_fills_the_mask_alone(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    texture = np.tile(draw.integers(60, 200, (8, 8, 3), dtype=np.uint8), (8, 8, 1))
    damaged, mask = texture.copy(), np.zeros(texture.shape[:2], np.uint8)
    damaged[20:26, 10:50], mask[20:26, 10:50] = 255, 255
    Image.fromarray(damaged).save(tmp_path / "damaged.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = [tmp_path / "damaged.png", tmp_path / "out.png", "--method", "sparse", "--repair", tmp_path / "mask.png"]
    ended = stylize(*words)
    assert ended.code == 0, ended.err
    made = pixels(tmp_path / "out.png")
    assert (made[mask == 0] == damaged[mask == 0]).all()
    assert np.abs(made - texture)[mask > 0].mean() < 0.25 * np.abs(damaged - texture.astype(int))[mask > 0].mean()


def test_in_python(style: Path, weights: Path) -> None:
    array = np.asarray(tiny.picture(*SIZE, 3))
    with Image.open(style) as picture:
        picture.load()
    made = ganstyle.stylize(array, style, method="sparse", device="cpu")
    assert isinstance(made, np.ndarray)
    assert (made.shape, made.dtype) == (array.shape, array.dtype)
    made = ganstyle.stylize(tiny.picture(*SIZE, 3), picture, weights=weights, iterations=(3,), device="cpu")
    assert isinstance(made, Image.Image)
    assert made.size == SIZE[::-1]
    deep = ganstyle.stylize(array.astype(np.uint16) * 257, picture, method="sparse", device="cpu", size_px=40)
    assert (deep.shape, deep.dtype) == ((30, 40, 3), np.uint16)


def test_settings_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: vgg\nstrength: 0.4\niterations: [30, 20]\n")
    found = settings_named("vgg", {"strength": 0.7}, file)
    assert (found.strength, found.iterations) == (0.7, (30, 20))
    with pytest.raises(UserError, match="it is for --method vgg, not sparse"):
        settings_named("sparse", {}, file)
    file.write_text("strenght: 0.4\niterations: [0]\n")
    with pytest.raises(UserError) as error:
        settings_named("vgg", {}, file)
    assert "did you mean 'strength'" in str(error.value)
    assert "iterations" in str(error.value)  # all mistakes at once


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "sparse", "--weights", "x.pth"], "--weights: goes with --method vgg"),
        (["--method", "sparse", "--resume"], "--resume does not go with --method sparse"),
        (["--method", "sparse", "--colours", "match"], "colours: goes with --method vgg"),
        (["--method", "sparse", "--repair", "mask.png"], "stylize PHOTO OUTPUT --method sparse --repair"),
        (["--method", "vgg", "--report", "there"], "--report: goes with --method sparse"),
        (["--method", "vgg", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["--method", "vgg", "--iterations", "many"], "--iterations many: expected numbers"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(words: list[str], told: str, photo: Path, style: Path, tmp_path: Path) -> None:
    ended = stylize(photo, style, tmp_path / "out.png", *words)
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "out.png").exists()


def test_files_that_are_not_there_or_none(photo: Path, style: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    for content, picture in (
        (tmp_path / "no.jpg", style),
        (photo, tmp_path / "no.jpg"),
        (photo, tmp_path / "text.png"),
    ):
        ended = stylize(content, picture, tmp_path / "out.png", "--method", "sparse")
        assert ended.code == 2
        assert ended.err.count("\n") == 1, ended.err
    ended = stylize(photo, style, photo, "--method", "sparse")
    assert ended.code == 2
    assert "one of the input's own files" in ended.err
    ended = stylize(photo, style, "--method", "sparse")
    assert ended.code == 2
    assert "OUTPUT is missing" in ended.err


def test_a_folder_is_repaired(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    mask = np.zeros(SIZE, np.uint8)
    mask[20:23, 8:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    job = prepare_repair(folder, tmp_path / "out", mask=tmp_path / "mask.png", device="cpu")
    assert job.run().done == 2
    assert (tmp_path / "out" / "sub" / "two.png").is_file()


@pytest.mark.parametrize("option", ["--mask", "--protect", "--repair"])
def test_masks_that_are_missing_are_told_before_anything_is_made(
    option: str, folder: Path, style: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").unlink()
    masks = tmp_path / "masks"
    masks.mkdir()
    tiny.picture(*SIZE).save(masks / "one.png")
    pictures = [] if option == "--repair" else [style]
    ended = stylize(folder, *pictures, tmp_path / "out", "--method", "sparse", option, masks)
    assert ended.code == 2
    assert "1 of 2 photos lack a mask" in ended.err
    assert "two" in ended.err
    assert not (tmp_path / "out").exists()


def test_feather_softens_what_is_protected(photo: Path, style: Path, tmp_path: Path) -> None:
    Image.new("L", (SIZE[1] // 2, SIZE[0] // 2), 255).save(tmp_path / "mask.png")
    words = [photo, style, tmp_path / "out.png", "--method", "sparse", "--protect", tmp_path / "mask.png"]
    ended = stylize(*words, "--feather", "3")
    assert ended.code == 0, ended.err
    assert "1 stylized" in ended.err


def test_a_picture_that_cannot_be_written_is_not_lost(
    photo: Path, style: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is there until the file is: the next command writes what this one made."""
    out = tmp_path / "out.png"
    words = {"method": "vgg", "weights": weights, "settings": {"iterations": (2, 2)}, "device": "cpu"}
    with monkeypatch.context() as patched:
        patched.setattr("ganstyle.verbs.painting_job.write_photo", no_space)
        with pytest.raises(OSError, match="No space"):
            prepare(photo, [style], out, **words).run()
    assert not out.exists()
    assert (tmp_path / "out.png.ganstyle-state").is_file()
    prepare(photo, [style], out, resume=True, **words).run()
    assert out.is_file()
    assert not (tmp_path / "out.png.ganstyle-state").exists()


def no_space(*_: object, **__: object) -> list[str]:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("option", ["STYLE", "--mask", "--protect"])
def test_no_output_takes_the_place_of_what_is_read(option: str, photo: Path, style: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (SIZE[1], SIZE[0]), 255).save(mask)
    target = style if option == "STYLE" else mask
    words = [] if option == "STYLE" else [option, mask]
    before = target.read_bytes()
    ended = stylize(photo, style, target, "--method", "sparse", *words, "--overwrite")
    assert ended.code == 2
    assert "is read for this: choose another output" in ended.err
    assert target.read_bytes() == before


def test_no_output_lies_among_masks(folder: Path, style: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    tiny.picture(*SIZE).save(masks / "one.png")
    ended = stylize(folder, style, masks, "--method", "sparse", "--mask", masks)
    assert ended.code == 2
    assert "would lie among the files that are read" in ended.err


def test_resume_replaces_nothing_that_is_finished(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    words = [photo, style, out, "--weights", weights, "--iterations", "2,2"]
    assert stylize(*words).code == 0
    before = out.read_bytes()
    ended = stylize(*words, "--resume", "--strength", "0.5")
    assert ended.code == 2
    assert "no state beside it to go on from" in ended.err
    assert out.read_bytes() == before


def test_an_unfinished_picture_is_called_so(
    photo: Path, style: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out.png"
    words = [photo, style, out, "--weights", weights, "--iterations", "2,2"]
    with monkeypatch.context() as patched:
        patched.setattr("ganstyle.cli.progress.PhotoProgress.watch", stop)
        stopped = stylize(*words)
    assert stopped.code == 130
    assert "the best so far; --resume goes on from there" in stopped.err
    again = stylize(*words)
    assert again.code == 2
    assert "is unfinished: --resume goes on with it, --overwrite begins again" in again.err
    assert stylize(*words, "--resume").code == 0


def test_an_output_that_is_no_image_s_name_is_said_to_be_a_folder(photo: Path, style: Path, tmp_path: Path) -> None:
    ended = stylize(photo, style, tmp_path / "o.xyz", "--method", "sparse")
    assert ended.code == 0
    assert "is no image's name and is taken for a folder" in ended.err
    assert (tmp_path / "o.xyz" / "photo.jpg").is_file()


def test_in_python_the_size_has_the_name_of_the_flag(photo: Path, style: Path) -> None:
    assert ganstyle.stylize(photo, style, method="sparse", size=32).size == (32, 24)
    with pytest.raises(UserError, match="colours: goes with --method vgg"):
        ganstyle.stylize(photo, style, method="sparse", colours="match")


def test_a_sidecar_says_by_which_losses(photo: Path, style: Path, weights: Path, tmp_path: Path) -> None:
    stylize(photo, style, tmp_path / "out.png", "--weights", weights, "--iterations", "1")
    told = json.loads((tmp_path / "out.png.json").read_text())
    assert told["losses"]["tv"] == 0.02
    assert told["losses"]["content"] > 0
    assert next(layer for layer, _ in told["losses"]["style_layers"]) == "relu1_1"


@pytest.mark.parametrize("role", ["content", "start"])
def test_what_has_the_name_of_a_preview_is_neither_written_over_nor_deleted(
    role: str, photo: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    named = tmp_path / "out.png.preview.jpg"
    named.write_bytes(photo.read_bytes())
    content = named if role == "content" else photo
    words = ["--start", named] if role == "start" else []
    ended = stylize(content, style, tmp_path / "out.png", "--weights", weights, "--iterations", "1", *words)
    assert ended.code == 2
    assert "has the name of what is written beside" in ended.err
    assert named.is_file()


def test_a_preview_of_somebody_else_stays(photo: Path, style: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "out.png.preview.jpg"
    theirs.write_bytes(b"theirs")
    assert stylize(photo, style, tmp_path / "out.png", "--method", "sparse").code == 0
    assert theirs.read_bytes() == b"theirs"


def test_a_deep_photo_has_a_preview(style: Path, weights: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (*SIZE, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    words = [tmp_path / "deep.png", style, tmp_path / "out.png", "--weights", weights, "--iterations", "2,1"]
    ended = stylize(*words, "--preview", "1")
    assert ended.code == 0, ended.err
    assert "1 stylized" in ended.err


def test_a_preview_that_cannot_be_written_ends_nothing(
    photo: Path, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganstyle.verbs.painting_job.write_image", no_space)
    ended = stylize(photo, style, tmp_path / "out.png", "--method", "sparse", "--preview", "1")
    assert ended.code == 0, ended.err
    assert ended.err.count("no preview could be written: No space left on device") == 1


def test_another_pooling_is_another_picture(
    photo: Path, folder: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    def stop(_: Path, progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    def job(pooling: str, *, resume: bool = False) -> PaintingJob:
        options = {"settings": {"iterations": (4, 4)}, "weights": weights, "device": "cpu"}
        return prepare(photo, [style], tmp_path / "out.png", pooling=pooling, resume=resume, **options)

    job("max").run(stop)
    report = job("average", resume=True).run()
    assert "kept for another photo, picture or settings" in report.failed[0][1]
    (folder / "broken.png").unlink()
    words = [folder, style, tmp_path / "out", "--weights", weights, "--iterations", "1"]
    assert stylize(*words).code == 0
    ended = stylize(*words, "--pooling", "average")
    assert ended.code == 2
    assert "pooling" in ended.err


def test_repair_takes_no_options_of_a_look(photo: Path, tmp_path: Path) -> None:
    Image.new("L", (SIZE[1], SIZE[0]), 0).save(tmp_path / "mask.png")
    words = [photo, tmp_path / "out.png", "--method", "sparse", "--repair", tmp_path / "mask.png"]
    ended = stylize(*words, "--strength", "0.3", "--keep", "person")
    assert ended.code == 2
    assert "--strength, --keep: does not go with --repair" in ended.err


def test_nothing_coded_is_no_report(photo: Path, style: Path, tmp_path: Path) -> None:
    words = [photo, style, tmp_path / "out.png", "--method", "sparse", "--strength", "0"]
    ended = stylize(*words, "--report", tmp_path / "report")
    assert ended.code == 0, ended.err
    assert "no report: nothing was coded by patches" in ended.err
    assert not (tmp_path / "report").exists()


def test_a_single_photo_goes_on_whatever_form_its_output_has(
    photo: Path, style: Path, weights: Path, tmp_path: Path
) -> None:
    def stop(_: Path, progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    options = {"settings": {"iterations": (4, 4)}, "weights": weights, "device": "cpu"}
    (tmp_path / "out").mkdir()
    job = prepare(photo, [style], tmp_path / "out", **options)
    job.run(stop)
    assert "--resume goes on" in job.stopped[0]
    assert (tmp_path / "out" / "photo.jpg").is_file()
    with pytest.raises(UserError, match="is unfinished"):
        prepare(photo, [style], tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "sparse", "--content-weight", "inf"], "content_weight: got inf, expected a finite number"),
        (["--method", "vgg", "--tile", "none", "--tile-px", "64"], "there are no tiles with tile=none"),
        (["--method", "sparse", "--style", "other.png"], "--style beside STYLE"),
    ],
)  # fmt: skip
def test_what_would_do_nothing_or_harm_is_refused(
    words: list[str], told: str, photo: Path, style: Path, tmp_path: Path
) -> None:
    ended = stylize(photo, style, tmp_path / "out.png", *words)
    assert ended.code == 2
    assert told in ended.err


def test_evaluate_writes_over_none_of_its_files(photo: Path, style: Path, tmp_path: Path) -> None:
    kept = tmp_path / "made.png"
    tiny.picture(*SIZE).save(kept)
    before = kept.read_bytes()
    ended = tiny.ganstyle("evaluate", "--pair", photo, style, kept, "--json", kept)
    assert ended.code == 2
    assert "is read for this" in ended.err
    assert kept.read_bytes() == before

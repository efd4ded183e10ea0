from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganstyle.data.images import read_image
from ganstyle.translate import translator as translator_module
from ganstyle.verbs.models import load
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose pictures are gone: neither the training set nor data of the other side is needed."""
    folder = tmp_path_factory.mktemp("translate")
    tiny.train(folder, {"training.learning_rate": "0.05", "training.checkpoint_every": "2"})
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")
    return folder / "run"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    sizes = {"one.png": (1, 1), "odd.png": (17, 31), "deep/strip.png": (3, 90), "deep/er/tall.jpg": (41, 2)}
    for number, (name, (height, width)) in enumerate(sizes.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tiny.picture(height, width, number).save(folder / name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def translate(*arguments: str | Path) -> tiny.Ended:
    ended = tiny.ganstyle("translate", *arguments, "--device", "cpu")
    assert "Traceback" not in ended.err
    return ended


def test_a_folder(run: Path, photos: Path, tmp_path: Path) -> None:
    ended = translate(photos, tmp_path / "out", "--model", run)
    assert ended.code == 0, ended.err
    assert "4 files with latest checkpoint: direction ab, step 4, EMA weights, on cpu" in ended.err
    assert ended.err.rstrip().endswith("4 translated")
    assert names(tmp_path / "out") == names(photos)
    for name in names(photos):
        assert read_image(tmp_path / "out" / name).metadata.size == read_image(photos / name).metadata.size
    want = load(run).translate(read_image(photos / "odd.png").pixels)
    assert np.array_equal(read_image(tmp_path / "out" / "odd.png").pixels, want)


def test_a_second_run_skips_and_overwrite_does_not(run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    translate(photos, out, "--model", run)
    before = (out / "odd.png").stat().st_mtime_ns
    assert "0 translated, 4 there already" in translate(photos, out, "--model", run).err
    assert (out / "odd.png").stat().st_mtime_ns == before
    assert "4 translated" in translate(photos, out, "--model", run, "--overwrite").err
    assert (out / "odd.png").stat().st_mtime_ns > before


def test_bad_files_are_listed_at_the_end(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad [red].png").write_text("no image")
    (photos / "empty.jpg").touch()
    ended = translate(photos, tmp_path / "out", "--model", run)
    assert ended.code == 1
    assert "4 translated, 2 failed" in ended.err
    lines = ended.err.splitlines()[-2:]
    assert lines[0].startswith(f"failed: {photos / 'bad [red].png'}: not an image")
    assert lines[1] == f"failed: {photos / 'empty.jpg'}: empty file"
    assert len(names(tmp_path / "out")) == 4


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif"])
def test_formats(run: Path, photos: Path, tmp_path: Path, format: str) -> None:
    assert translate(photos / "odd.png", tmp_path / "out", "--model", run, "--format", format).code == 0
    (made,) = (tmp_path / "out").iterdir()
    assert read_image(made).metadata.format == format
    assert read_image(made).metadata.size == (31, 17)


def test_one_photo_to_a_file_or_a_folder(run: Path, photos: Path, tmp_path: Path) -> None:
    translate(photos / "odd.png", tmp_path / "x.webp", "--model", run)
    assert read_image(tmp_path / "x.webp").metadata.format == "webp"
    translate(photos / "odd.png", tmp_path / "folder", "--model", run)
    assert names(tmp_path / "folder") == ["odd.png"]


def test_options_choose_the_weights(run: Path, photos: Path, tmp_path: Path) -> None:
    options = {
        "plain": ([], "direction ab, step 4, EMA weights"),
        "raw": (["--raw"], "direction ab, step 4, raw weights"),
        "back": (["--direction", "ba"], "direction ba, step 4, EMA weights"),
        "early": (["--checkpoint", "2"], "direction ab, step 2, EMA weights"),
    }
    made = {}
    for name, (words, facts) in options.items():
        ended = translate(photos / "odd.png", tmp_path / f"{name}.png", "--model", run, *words)
        assert facts in ended.err
        made[name] = read_image(tmp_path / f"{name}.png").pixels.tobytes()
    assert len(set(made.values())) == len(made)
    latest = translate(photos / "odd.png", tmp_path / "latest.png", "--model", run, "--checkpoint", "latest")
    assert latest.code == 0
    assert read_image(tmp_path / "latest.png").pixels.tobytes() == made["plain"]


def test_an_exported_model_gives_the_same_files(run: Path, photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "ink.safetensors"
    ended = tiny.ganstyle("export", run, model)
    assert ended.code == 0, ended.err
    assert "direction ab, step 4, EMA weights" in ended.err
    translate(photos, tmp_path / "one", "--model", run)
    translate(photos, tmp_path / "two", "--model", model)
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_mistakes_are_one_line_and_code_2(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    cases = [
        ([photos, photos, "--model", run], "is or lies in the input"),
        ([photos, photos / "out", "--model", run], "is or lies in the input"),
        ([photos, tmp_path / "file", "--model", run], "is a file"),
        ([photos / "odd.png", photos / "odd.png", "--model", run], "is one of the input's own files"),
        ([tmp_path / "none", tmp_path / "out", "--model", run], "there is no such file or folder"),
        ([tmp_path / "empty", tmp_path / "out", "--model", run], "no images in it"),
        ([photos, tmp_path / "out", "--model", tmp_path / "none"], "there is no model at"),
        ([photos, tmp_path / "out", "--model", tmp_path / "empty"], "has no checkpoint 'latest'"),
        ([photos, tmp_path / "out", "--model", photos / "odd.png"], "not a model that can be read"),
        ([photos, tmp_path / "out", "--model", run, "--format", "jpg2"], "unknown image format 'jpg2'"),
        ([photos, tmp_path / "out", "--model", run, "--checkpoint", "9"], "has no checkpoint '9'"),
        (["x" * 300, tmp_path / "out", "--model", run], "File name too long"),
    ]
    for arguments, message in cases:
        ended = translate(*arguments)
        assert ended.code == 2, (arguments, ended.err)
        assert message in ended.err
        assert ended.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_with_one_line(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def full_later(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_later)
        ended = translate(photos, tmp_path / "out", "--model", run)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: cannot write ")
    assert "no space left on device: free some space and run again" in ended.err
    done = names(tmp_path / "out")
    assert 0 < len(done) < 4
    for name in done:
        assert read_image(tmp_path / "out" / name).pixels.size > 0
    ended = translate(photos, tmp_path / "out", "--model", run)
    assert ended.code == 0
    assert f"{len(done)} there already" in ended.err


def test_an_image_that_would_not_fit_into_memory(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it is translated by tiles, whose maps lie in the output folder, and leave nothing there."""
    translate(photos, tmp_path / "whole", "--model", run)
    monkeypatch.setattr(translator_module, "free_memory", lambda _: 7200)
    ended = translate(photos, tmp_path / "out", "--model", run)
    assert ended.code == 0, ended.err
    assert "4 translated" in ended.err
    assert furthest(tmp_path / "out", tmp_path / "whole") <= 1
    ended = translate(photos, tmp_path / "none", "--model", run, "--tile", "none")
    assert ended.code == 1
    assert "2 translated, 2 failed" in ended.err
    failed = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "31 x 17 px: the whole image needs about 0.0 GB at once, 0.0 GB are free: use --tile auto" in failed[1]


def furthest(one: Path, other: Path) -> int:
    """The largest difference of two folders' PNG files in grey levels."""
    assert names(one) == names(other)
    files = [name for name in names(one) if name.endswith(".png")]
    assert files
    pictures = [[read_image(folder / name).pixels.astype(int) for name in files] for folder in (one, other)]
    return max(int(np.abs(mine - its).max()) for mine, its in zip(*pictures, strict=True))


def test_tiles(run: Path, photos: Path, tmp_path: Path) -> None:
    tiny.picture(150, 90).save(photos / "large.png")
    translate(photos, tmp_path / "none", "--model", run, "--tile", "none")
    for mode in ("exact", "thumbnail"):
        ended = translate(photos, tmp_path / mode, "--model", run, "--tile", mode, "--tile-px", "32")
        assert ended.code == 0, ended.err
        assert "5 translated" in ended.err
        assert names(tmp_path / mode) == names(tmp_path / "none")
    assert furthest(tmp_path / "exact", tmp_path / "none") <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--tile", "exat"], "exact"), (["--tile-px", "31"], "32"), (["--runtime", "onx"], "onnx")],
)
def test_wrong_tiles_or_runtimes(run: Path, photos: Path, tmp_path: Path, words: list[str], message: str) -> None:
    ended = translate(photos, tmp_path / "out", "--model", run, *words)
    assert ended.code == 2
    assert words[0] in ended.err
    assert message in ended.err
    assert not (tmp_path / "out").exists()


def test_files_of_other_kinds_come_out_right(run: Path, tmp_path: Path) -> None:
    """Grey, palette, alpha and turned photos are seen as they should be; an upright image comes out."""
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = tiny.picture(12, 20)
    picture.convert("L").save(photos / "grey.png")
    picture.quantize(16).save(photos / "palette.gif")
    picture.convert("RGBA").save(photos / "alpha.webp")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(photos / "turned.jpg", exif=turned)
    assert translate(photos, tmp_path / "out", "--model", run).code == 0
    sizes = {name: read_image(tmp_path / "out" / name).metadata.size for name in names(tmp_path / "out")}
    assert sizes == {"grey.png": (20, 12), "palette.gif": (20, 12), "alpha.webp": (20, 12), "turned.jpg": (12, 20)}

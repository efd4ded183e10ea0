from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganstyle.data.images import read_image
from ganstyle.data.photos import read_provenance
from ganstyle.translate import compiling
from ganstyle.translate import forecast as forecast_module
from ganstyle.translate import translator as translator_module
from ganstyle.verbs import translate as translate_module
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
    """All files but the ledger."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("ganstyle-ledger"))


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
    before = (out / "odd.png").stat().st_ino  # its times are those of its photo
    assert "0 translated, 4 there already" in translate(photos, out, "--model", run).err
    assert (out / "odd.png").stat().st_ino == before
    assert "4 translated" in translate(photos, out, "--model", run, "--overwrite").err
    assert (out / "odd.png").stat().st_ino != before


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
    (name,) = names(tmp_path / "out")
    made = tmp_path / "out" / name
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
    translate(photos, tmp_path / "one", "--model", run, "--no-provenance")
    translate(photos, tmp_path / "two", "--model", model, "--no-provenance")
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
        ([photos, tmp_path / "out", "--model", tmp_path / "empty"], "holds no model: neither a run nor a generator"),
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


def rows_of(out: Path) -> list[dict[str, object]]:
    lines = (out / "ganstyle-ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for line in lines if "file" in (row := json.loads(line))]


def test_the_ledger_tells_what_became_of_each_file(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    assert translate(photos, tmp_path / "out", "--model", run).code == 1
    rows = {row["file"]: row for row in rows_of(tmp_path / "out")}
    assert set(rows) == set(names(photos))
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {"bad.png"}


def test_what_failed_is_left_until_it_is_asked_for_or_changes(run: Path, photos: Path, tmp_path: Path) -> None:
    out, bad = tmp_path / "out", photos / "bad.png"
    bad.write_bytes(b"no picture")
    translate(photos, out, "--model", run)
    again = translate(photos, out, "--model", run)
    assert again.code == 1
    assert "0 translated, 4 there already, 1 failed before (--retry-failed tries again)" in again.err
    assert "1 failed\n" in translate(photos, out, "--model", run, "--retry-failed").err
    tiny.picture(9, 9).save(bad)
    ended = translate(photos, out, "--model", run)
    assert ended.code == 0
    assert "1 translated, 4 there already" in ended.err


def test_other_settings_in_the_same_folder_are_refused(run: Path, photos: Path, tmp_path: Path) -> None:
    translate(photos, tmp_path / "out", "--model", run)
    ended = translate(photos, tmp_path / "out", "--model", run, "--strength", "0.5")
    assert ended.code == 2
    assert "made with other settings (strength 1.0 -> 0.5)" in ended.err
    assert "--overwrite" in ended.err


def test_strength(run: Path, photos: Path, tmp_path: Path) -> None:
    made = {}
    for strength in ("0", "0.5", "1"):
        assert translate(photos, tmp_path / strength, "--model", run, "--strength", strength).code == 0
        made[strength] = read_image(tmp_path / strength / "odd.png").pixels.astype(int)
    assert np.array_equal(made["0"], read_image(photos / "odd.png").pixels)
    low, high = np.minimum(made["0"], made["1"]), np.maximum(made["0"], made["1"])
    assert ((made["0.5"] >= low) & (made["0.5"] <= high)).all()
    assert not np.array_equal(made["0.5"], made["1"])


def test_match_colours_makes_grey_of_a_grey_photo(run: Path, tmp_path: Path) -> None:
    tiny.picture(12, 14).convert("L").convert("RGB").save(tmp_path / "grey.png")
    for spelling in ("--match-colours", "--match-colors"):
        out = tmp_path / f"{spelling}.png"
        assert translate(tmp_path / "grey.png", out, "--model", run, spelling).code == 0
        pixels = read_image(out).pixels.astype(int)
        assert np.ptp(pixels, axis=2).max() <= 1
    assert translate(tmp_path / "grey.png", tmp_path / "plain.png", "--model", run).code == 0
    assert np.ptp(read_image(tmp_path / "plain.png").pixels.astype(int), axis=2).max() > 1


def test_a_mask(run: Path, photos: Path, tmp_path: Path) -> None:
    """The left half is kept; single photos and folders take masks in their own way."""
    mask = np.zeros((17, 31), np.uint8)
    mask[:, 16:] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "odd.png")
    plain = tmp_path / "plain.png"
    assert translate(photos / "odd.png", plain, "--model", run).code == 0
    for place in ("masks", "masks/odd.png"):
        out = tmp_path / f"{Path(place).name}-out.png"
        words = ("--mask", tmp_path / place, "--feather", "0")
        assert translate(photos / "odd.png", out, "--model", run, *words).code == 0
        pixels = read_image(out).pixels
        assert np.array_equal(pixels[:, :16], read_image(photos / "odd.png").pixels[:, :16])
        assert np.array_equal(pixels[:, 16:], read_image(plain).pixels[:, 16:])
    ended = translate(photos, tmp_path / "out", "--model", run, "--mask", tmp_path / "masks")
    assert ended.code == 2
    assert "3 of 4 photos lack a mask of their own: no mask for deep/er/tall.jpg: expected" in ended.err
    assert str(tmp_path / "masks" / "one.png") in ended.err
    assert not (tmp_path / "out").exists()


def test_keep_without_its_weights_says_where_they_go(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    ended = translate(
        photos, tmp_path / "out", "--model", run, "--keep", "person", "--segmentation", tmp_path / "no.pth"
    )
    assert ended.code == 2
    assert "no.pth" in ended.err
    ended = translate(photos, tmp_path / "out", "--model", run, "--keep", "persn")
    assert ended.code == 2
    assert "did you mean 'person'" in ended.err
    assert not (tmp_path / "out").exists()


def test_size_makes_photos_smaller_and_never_larger(run: Path, photos: Path, tmp_path: Path) -> None:
    assert translate(photos, tmp_path / "out", "--model", run, "--size", "20").code == 0
    sizes = {name: read_image(tmp_path / "out" / name).metadata.size for name in names(photos)}
    assert sizes == {"one.png": (1, 1), "odd.png": (20, 11), "deep/strip.png": (20, 1), "deep/er/tall.jpg": (1, 20)}


def test_metadata_and_provenance(run: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x8825] = "the harbour", {1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 36.0)}
    tiny.picture(20, 30).save(tmp_path / "photo.jpg", exif=exif.tobytes(), dpi=(300, 300))
    os.utime(tmp_path / "photo.jpg", (1_000_000_000, 1_000_000_000))

    def made(name: str, *words: str) -> Path:
        assert translate(tmp_path / "photo.jpg", tmp_path / name, "--model", run, *words).code == 0
        return tmp_path / name

    kept = made("kept.jpg")
    with Image.open(kept) as image:
        assert image.getexif()[0x010E] == "the harbour"
        assert 0x8825 not in image.getexif()
        assert image.info["dpi"] == (300, 300)
    assert kept.stat().st_mtime == 1_000_000_000
    note = read_provenance(kept)
    assert note is not None
    assert (note["direction"], note["step"]) == ("ab", "4")
    with Image.open(made("gps.jpg", "--keep-gps")) as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"
    bare = made("bare.jpg", "--strip-metadata", "--no-provenance")
    with Image.open(bare) as image:
        assert dict(image.getexif()) == {}
    assert bare.stat().st_mtime > 1_000_000_000
    assert read_provenance(bare) is None


def test_shards_are_disjoint_and_complete(run: Path, photos: Path, tmp_path: Path) -> None:
    made: list[str] = []
    for shard in ("1/3", "2/3", "3/3"):
        assert translate(photos, tmp_path / "out", "--model", run, "--shard", shard).code == 0
        made = names(tmp_path / "out")
    assert made == names(photos)
    assert len(list((tmp_path / "out").glob("ganstyle-ledger.*-of-3.jsonl"))) == 3
    assert "0 translated, 4 there already" in translate(photos, tmp_path / "out", "--model", run).err


@pytest.mark.parametrize("shard", ["4/3", "0/3", "half", "auto"])
def test_wrong_shards(run: Path, photos: Path, tmp_path: Path, shard: str) -> None:
    ended = translate(photos, tmp_path / "out", "--model", run, "--shard", shard)
    assert ended.code == 2
    assert not (tmp_path / "out").exists()


def test_a_dry_run_lists_and_writes_nothing(run: Path, photos: Path, tmp_path: Path) -> None:
    ended = translate(photos, tmp_path / "out", "--model", run, "--dry-run")
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == len(names(photos)) + 1
    assert "odd.png: to translate, 0.00 MP" in ended.out
    assert "4 to translate" in ended.out
    assert not (tmp_path / "out").exists()


def test_compare_writes_a_page(run: Path, photos: Path, tmp_path: Path) -> None:
    translate(photos, tmp_path / "out", "--model", run)
    ended = tiny.ganstyle("compare", tmp_path / "out", photos, "--page", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    assert "4 pairs" in ended.err
    assert "odd.png" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_many_photos_of_a_size_are_compiled_for_and_without_a_compiler_all_is_eager(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Callable[[object], object]:
        def call(_: object) -> object:
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(compiling, "COMPILE_S", {"cpu": 0.0})
    assert "compil" not in translate(photos, tmp_path / "few", "--model", run).err
    monkeypatch.setattr(translate_module, "LEAST_TO_COMPILE_MP", 0)
    ended = translate(photos / "odd.png", tmp_path / "odd.png", "--model", run)
    assert ended.code == 0, ended.err
    assert "compiling for 31 x 17 px" in ended.err
    assert "no compiler that works here (no C++ compiler): translating runs eager" in ended.err
    assert (tmp_path / "odd.png").read_bytes() == (tmp_path / "few" / "odd.png").read_bytes()


def test_under_torchrun_a_bad_file_ends_nobody_else(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "run"}.items():
        monkeypatch.setenv(name, value)
    ended = translate(photos, tmp_path / "out", "--model", run, "--shard", "auto")
    assert ended.code == 0
    assert "4 translated, 1 failed" in ended.err
    assert f"failed: {photos / 'bad.png'}" in ended.err


@pytest.mark.parametrize(
    ("shard", "device", "variables", "count", "wanted"),
    [
        ("auto", "auto", {"LOCAL_RANK": "5"}, 4, "cuda:1"),
        ("auto/8", "auto", {"SLURM_LOCALID": "2"}, 4, "cuda:2"),
        ("auto", "auto", {"LOCAL_RANK": "5"}, 1, "auto"),
        ("auto", "auto", {}, 4, "auto"),
        ("auto", "cpu", {"LOCAL_RANK": "5"}, 4, "cpu"),
        ("2/8", "auto", {"LOCAL_RANK": "5"}, 4, "auto"),
    ],
)
def test_processes_of_one_machine_take_a_gpu_each(
    monkeypatch: pytest.MonkeyPatch, *, shard: str, device: str, variables: dict[str, str], count: int, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert translate_module._own_device(device, shard, "runs/mine", variables) == wanted


def test_a_named_file_that_is_there_says_how_to_make_it_again(run: Path, photos: Path, tmp_path: Path) -> None:
    translate(photos / "odd.png", tmp_path / "x.png", "--model", run)
    ended = translate(photos / "odd.png", tmp_path / "x.png", "--model", run, "--strength", "0.2")
    assert "x.png is there already, whatever made it: --overwrite makes it again" in ended.err


def test_a_thumbnail_that_nobody_asked_for_is_told(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator_module, "free_memory", lambda _: 7200)
    monkeypatch.setattr(translator_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    ended = translate(photos / "deep" / "strip.png", tmp_path / "x.png", "--model", run)
    assert "90 x 3 px: by a thumbnail's statistics, as memory and disk are short" in ended.err


def test_compare_finds_the_photo_after_a_change_of_format(run: Path, tmp_path: Path) -> None:
    """The PNG keeps its name, and the JPEG of the same stem gives way."""
    (tmp_path / "in").mkdir()
    tiny.picture(12, 14, 1).save(tmp_path / "in" / "a.jpg")
    tiny.picture(14, 12, 2).save(tmp_path / "in" / "a.png")
    translate(tmp_path / "in", tmp_path / "out", "--model", run, "--format", "png")
    sizes = {name: read_image(tmp_path / "out" / name).metadata.size for name in names(tmp_path / "out")}
    assert sizes == {"a.png": (12, 14), "a.jpg.png": (14, 12)}
    ended = tiny.ganstyle("compare", tmp_path / "out", tmp_path / "in", "--page", tmp_path / "page.html")
    assert "2 pairs" in ended.err
    assert "no photo found" not in ended.err


def test_a_dry_run_knows_what_is_too_large_before_it_is_made_smaller(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = forecast_module.forecast.__kwdefaults__ | {"max_pixels": 500}
    monkeypatch.setattr(forecast_module.forecast, "__kwdefaults__", defaults)
    ended = translate(photos, tmp_path / "out", "--model", run, "--dry-run", "--size", "10")
    assert "odd.png: too large" in ended.out
    assert "MB to write" not in ended.out

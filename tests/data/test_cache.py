from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data import cache
from ganstyle.data.cache import FileImages, Images, PackedImages, Preparation, cache_folder, open_images
from ganstyle.data.images import Unreadable, read_image, resize

SQUARE = Preparation(24, "square")
SHORT_SIDE = Preparation(24, "short_side")


def photo(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photos(folder: Path, count: int = 4) -> list[Path]:
    return [photo(folder / f"{number}.png", (40 + number, 30), number) for number in range(count)]


def opened(
    paths: list[Path], preparation: Preparation = SHORT_SIDE, *, cached: bool = True
) -> tuple[Images, list[str]]:
    lines: list[str] = []
    images, skipped = open_images(paths, preparation, cache=cached, say=lines.append)
    assert all(str(each).startswith(str(each.path)) for each in skipped)
    return images, lines


def packs() -> list[Path]:
    return sorted(path for path in (cache_folder() / "packs").glob("*") if path.is_dir())


def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    decoded: list[Path] = []
    real = Preparation.__call__

    def counting(self: Preparation, path: Path) -> np.ndarray:
        decoded.append(path)
        return real(self, path)

    monkeypatch.setattr(Preparation, "__call__", counting)
    return decoded


# Preparation


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("square", (40, 30), (24, 24)),
        ("square", (7, 100), (24, 24)),
        ("short_side", (40, 30), (24, 32)),
        ("short_side", (30, 40), (32, 24)),
        ("short_side", (31, 47), (36, 24)),
        ("short_side", (5, 5), (24, 24)),
        ("short_side", (6, 8), (32, 24)),
        ("short_side", (480, 30), (24, 384)),
        ("short_side", (30, 480), (384, 24)),
    ],
)
def test_sizes_after_resizing(tmp_path: Path, kind: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    path = photo(tmp_path / "a.png", size)
    prepared = Preparation(24, kind)(path)  # type: ignore[arg-type]
    assert prepared.shape == (*expected, 3)
    assert prepared.dtype == np.uint8
    assert np.array_equal(prepared, resize(read_image(path).pixels, expected))


@pytest.mark.parametrize("kind", ["square", "short_side"])
@pytest.mark.parametrize("size", [(481, 30), (30, 481), (4000, 1)])
def test_extreme_aspect_ratios_are_refused(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(Unreadable, match=f"^{size[0]} x {size[1]} px is longer than 1:16: crop it first$"):
        Preparation(24, kind)(photo(tmp_path / "a.png", size))  # type: ignore[arg-type]


def test_alpha_lies_on_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (Preparation(24, "square", (1, 2, 3))(tmp_path / "a.png") == (1, 2, 3)).all()


def test_a_name_that_is_no_images(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^not an image \(its name ends in '\.txt'\)$"):
        SQUARE(tmp_path / "a.txt")


# Packs


@pytest.mark.parametrize("preparation", [SQUARE, SHORT_SIDE])
def test_a_pack_is_what_decoding_gives_bit_for_bit(tmp_path: Path, preparation: Preparation) -> None:
    paths = photos(tmp_path)
    packed, _ = opened(paths, preparation)
    direct, _ = opened(paths, preparation, cached=False)
    assert isinstance(packed, PackedImages)
    assert isinstance(direct, FileImages)
    assert list(packed.files) == list(direct.files)
    again, _ = opened(paths, preparation)
    travelled = pickle.loads(pickle.dumps(packed))
    for number, path in enumerate(paths):
        assert packed.files[number].digest == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for images in (packed, direct, again, travelled):
            assert np.array_equal(images[number], preparation(path))


def test_a_pack_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = photos(tmp_path)
    decoded = built(monkeypatch)
    opened(paths)
    assert sorted(decoded) == paths
    opened(paths)
    assert len(decoded) == len(paths)
    assert len(packs()) == 1


@pytest.mark.parametrize("way", ["content", "touched", "added", "removed", "order", "size", "kind", "background"])
def test_another_pack_when_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    paths, preparation = photos(tmp_path), SHORT_SIDE
    opened(paths)
    if way == "content":
        photo(paths[1], (50, 40), 99)
    elif way == "touched":
        os.utime(paths[1], ns=(1, 1))
    elif way == "added":
        paths.append(photo(tmp_path / "more.png"))
    elif way == "removed":
        del paths[1]
    elif way == "order":
        paths.reverse()
    else:
        changes = {"size": {"load_px": 25}, "kind": {"resize": "square"}, "background": {"background": (0, 0, 0)}}
        preparation = dataclasses.replace(preparation, **changes[way])
    decoded = built(monkeypatch)
    images, _ = opened(paths, preparation)
    assert sorted(decoded) == sorted(paths)
    for number, path in enumerate(paths):
        assert np.array_equal(images[number], preparation(path))
    assert len(packs()) == 2


def test_files_that_cannot_be_used_are_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = photo(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    paths = [tmp_path / "gone.png", tmp_path / "bad.png", good]
    first, skipped = open_images(paths, SQUARE, cache=True, say=lambda _: None)
    assert [each.path for each in skipped] == paths[:2]
    assert len(first.files) == 1
    decoded = built(monkeypatch)
    second, again = open_images(paths, SQUARE, cache=True, say=lambda _: None)
    assert (decoded, again) == ([], skipped)
    assert np.array_equal(second[0], first[0])
    direct, without = open_images(paths, SQUARE, cache=False, say=lambda _: None)
    assert without == skipped
    assert list(direct.files) == list(first.files)


def test_a_missing_file_is_part_of_the_key(tmp_path: Path) -> None:
    good, other = photo(tmp_path / "a.png"), photo(tmp_path / "b.png", seed=5)
    images, skipped = open_images([tmp_path / "gone.png", good, other], SQUARE, cache=True, say=lambda _: None)
    assert (len(images.files), len(skipped)) == (2, 1)
    images, skipped = open_images([good, other], SQUARE, cache=True, say=lambda _: None)
    assert ([file.position for file in images.files], skipped) == ([0, 1], [])


DAMAGES = {
    "no index": lambda pack: (pack / "index.json").unlink(),
    "empty index": lambda pack: (pack / "index.json").write_bytes(b""),
    "half an index": lambda pack: (pack / "index.json").write_bytes((pack / "index.json").read_bytes()[:40]),
    "bytes": lambda pack: (pack / "index.json").write_bytes(b"\xff\xfe\x00"),
    "another json": lambda pack: (pack / "index.json").write_text("[1, 2]", encoding="utf-8"),
    "other entries": lambda pack: (pack / "index.json").write_text(json.dumps({"files": [[1, 2]], "skipped": 3})),
    "no pixels": lambda pack: (pack / "pixels.bin").unlink(),
    "truncated pixels": lambda pack: os.truncate(pack / "pixels.bin", (pack / "pixels.bin").stat().st_size - 1),
    "longer pixels": lambda pack: os.truncate(pack / "pixels.bin", (pack / "pixels.bin").stat().st_size + 7),
}


@pytest.mark.parametrize("way", DAMAGES)
def test_a_damaged_pack_is_built_again(tmp_path: Path, way: str) -> None:
    paths = photos(tmp_path)
    opened(paths)
    (pack,) = packs()
    DAMAGES[way](pack)
    images, lines = opened(paths)
    assert isinstance(images, PackedImages), lines
    for number, path in enumerate(paths):
        assert np.array_equal(images[number], SHORT_SIDE(path))
    assert packs() == [pack]


def test_a_pack_that_is_deleted_while_it_is_used(tmp_path: Path) -> None:
    images, _ = opened(photos(tmp_path))
    (packs()[0] / "pixels.bin").unlink()
    with pytest.raises(UserError, match="was deleted or damaged: run the same command again"):
        images[0]


def test_a_file_that_goes_bad_without_a_pack(tmp_path: Path) -> None:
    paths = photos(tmp_path)
    images, _ = opened(paths, cached=False)
    paths[2].write_bytes(b"nothing")
    assert np.array_equal(images[1], SHORT_SIDE(paths[1]))
    with pytest.raises(UserError, match=r"2\.png: could be read before and cannot be now: "):
        images[2]


def test_an_unusable_cache_is_said_and_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = photos(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANSTYLE_CACHE", str(tmp_path / "file" / "cache"))
    images, lines = opened(paths)
    assert isinstance(images, FileImages)
    assert lines == [f"the image cache {tmp_path / 'file' / 'cache'} cannot be used (Not a directory): reading files"]
    assert np.array_equal(images[3], SHORT_SIDE(paths[3]))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_cache(tmp_path: Path, cache_of_its_own: Path) -> None:
    cache_of_its_own.chmod(0o500)
    try:
        images, lines = opened(photos(tmp_path))
    finally:
        cache_of_its_own.chmod(0o700)
    assert isinstance(images, FileImages)
    assert len(lines) == 1


def test_a_full_disk_leaves_no_half_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    images, lines = opened(photos(tmp_path))
    assert isinstance(images, FileImages)
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert packs() == []


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANSTYLE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("GANSTYLE_CACHE", "")
    assert cache_folder().name == "ganstyle"


def test_packs_that_nobody_opens_are_dropped(tmp_path: Path) -> None:
    opened(photos(tmp_path / "old"))
    opened(photos(tmp_path / "recent"), SQUARE)
    old = min(packs(), key=lambda pack: (pack / "index.json").stat().st_mtime_ns)
    left = cache_folder() / "packs" / "0123.building"
    left.mkdir()
    (left / "pixels.bin").write_bytes(b"half")
    long_ago = time.time() - 31 * 86400
    os.utime(old / "index.json", (long_ago, long_ago))
    os.utime(left / "pixels.bin", (long_ago, long_ago))
    recent = [pack for pack in packs() if pack not in (old, left)]
    opened(photos(tmp_path / "new"))
    assert old not in packs()
    assert left not in packs()
    assert set(recent) < set(packs())
    assert len(packs()) == 2


def test_opening_a_pack_keeps_it(tmp_path: Path) -> None:
    paths = photos(tmp_path)
    opened(paths)
    index = packs()[0] / "index.json"
    os.utime(index, (1, 1))
    opened(paths)
    assert time.time() - index.stat().st_mtime < 60


# Several processes

OPEN = """
import hashlib, sys, time
from pathlib import Path
from ganstyle.data import cache
real = cache.Preparation.__call__
def slow(self, path):
    print("decoding", path.name, flush=True)
    time.sleep(0.05)
    return real(self, path)
cache.Preparation.__call__ = slow
paths = sorted(Path(sys.argv[1]).iterdir())
images, skipped = cache.open_images(paths, cache.Preparation(24, "short_side"), cache=True, say=print)
print(type(images).__name__, hashlib.md5(b"".join(images[n].tobytes() for n in range(len(images.files)))).hexdigest())
"""


def start(folder: Path) -> subprocess.Popen[str]:
    root = Path(cache.__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", OPEN, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_share_one_pack(tmp_path: Path) -> None:
    paths = photos(tmp_path / "in", 8)
    processes = [start(tmp_path / "in") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = hashlib.md5(b"".join(SHORT_SIDE(path).tobytes() for path in paths)).hexdigest()
    assert [output.splitlines()[-1] for output in outputs] == [f"PackedImages {expected}"] * 2
    assert sum(output.count("decoding") for output in outputs) == len(paths)
    assert len(packs()) == 1


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_what_a_killed_builder_left_is_cleaned(tmp_path: Path) -> None:
    paths = photos(tmp_path / "in", 40)
    process = start(tmp_path / "in")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = packs()
    assert left.name.endswith(".building")
    images, lines = opened(sorted(paths))
    assert isinstance(images, PackedImages), lines
    (pack,) = packs()
    assert left == pack.with_name(f"{pack.name}.building")
    assert np.array_equal(images[39], SHORT_SIDE(sorted(paths)[39]))

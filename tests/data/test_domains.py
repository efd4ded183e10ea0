from __future__ import annotations

import hashlib
import pickle
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.cache import Preparation
from ganstyle.data.domains import Domain, DomainFiles, domain_files, held_out_digests, list_paths, open_domain

PREPARATION = Preparation(16, "short_side")


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (20, 16)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photos(folder: Path, count: int = 5, first: int = 0) -> Path:
    for number in range(first, first + count):
        photo(folder / f"{number}.png", number)
    return folder


def opened(train: Any, test: Any = None, say: Callable[[str], None] = lambda _: None, **options: Any) -> Domain:
    entries = [str(each) for each in (train if isinstance(train, list) else [train])]
    tests = None if test is None else [str(test)]
    defaults = {"holdout": 0.0, "cache": False, "strict": False}
    return open_domain(DomainFiles("a", entries, tests), PREPARATION, say=say, **{**defaults, **options})


def files(**given: Any) -> list[DomainFiles]:
    return domain_files(**{"root": None, "a": None, "b": None, "test_a": None, "test_b": None, **given})


def lines_of(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        call()
    return [line.strip() for line in str(caught.value).splitlines()]


# Where the images are


def test_a_root_stands_for_four_folders(tmp_path: Path) -> None:
    for name in ("trainA", "trainB", "testA"):
        photos(tmp_path / name, 1)
    a, b = files(root=str(tmp_path))
    assert a == DomainFiles("a", [str(tmp_path / "trainA")], [str(tmp_path / "testA")])
    assert b == DomainFiles("b", [str(tmp_path / "trainB")], None)
    (tmp_path / "other").mkdir()
    assert files(root=str(tmp_path), test_a=[str(tmp_path / "other")])[0].test == [str(tmp_path / "other")]


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "trainB").mkdir()
    assert lines_of(lambda: files(a=["x" * 300, "gone"], test_b=["nowhere"])) == [
        "the data has mistakes:",
        "data.b: missing; name a folder of images",
        f"data.a: there is no folder or file '{'x' * 300}'",
        "data.a: there is no folder or file 'gone'",
        "data.test_b: there is no folder or file 'nowhere'",
    ]
    assert lines_of(lambda: files(root=str(tmp_path)))[1:] == [
        f"data.a: there is no folder or file '{tmp_path / 'trainA'}'"
    ]


def test_folders_lists_and_images_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "one" / "deep", 2)
    photo(tmp_path / "two" / "b c.png")
    photo(tmp_path / "lists" / "beside.png")
    photo(tmp_path / "both.png", 1)
    photo(tmp_path / "lists" / "both.png", 2)
    lines = ["two/b c.png", "  beside.png ", "", "both.png", "gone.png", "n" * 300 + ".png", str(tmp_path / "both.png")]
    (tmp_path / "lists" / "a.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert list_paths(["one", "lists/a.txt", "two/b c.png"]) == [
        Path("one/deep/0.png"),
        Path("one/deep/1.png"),
        Path("two/b c.png"),
        Path("lists/beside.png"),
        Path("both.png"),  # the working directory comes first
        Path("gone.png"),
        Path("n" * 300 + ".png"),
        tmp_path / "both.png",
        Path("two/b c.png"),
    ]


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"a.png\0b.png\n"])
def test_files_that_are_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.bin: expected a folder, an image or a text file of paths, one a line$"):
        list_paths([str(tmp_path / "a.bin")])


@pytest.mark.parametrize("cached", [True, False])
def test_a_list_is_a_domain(tmp_path: Path, cached: bool) -> None:
    photos(tmp_path / "in", 3)
    (tmp_path / "in" / "list.txt").write_text("2.png\n0.png\ngone.png\n" + "n" * 400 + ".png\n", encoding="utf-8")
    lines: list[str] = []
    domain = opened(tmp_path / "in" / "list.txt", cache=cached, say=lines.append)
    assert len(domain.train) == 2
    assert np.array_equal(domain.train[0], PREPARATION(tmp_path / "in" / "2.png"))
    assert lines[-1] == "data.a: 2 of 4 files are used, 2 skipped"
    assert lines[0] == "skipped gone.png: no such file: was it moved or deleted?"


# What is usable


def spoiled(folder: Path) -> dict[str, str]:
    """A folder of two good images and one file of every bad kind; what is said of each."""
    photos(folder, 2)
    whole = photo(folder / "whole.jpg", 3, (300, 300)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.jpg").unlink()
    (folder / "empty.png").touch()
    (folder / "noise.webp").write_bytes(b"\0\1\2 nothing at all")
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    huge = bytearray(photo(folder / "huge.png").read_bytes())
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    crc = zlib.crc32(bytes(huge[12:29]))
    huge[29:33] = crc.to_bytes(4, "big")
    (folder / "huge.png").write_bytes(bytes(huge))
    photo(folder / "thin.png", 4, (400, 10))
    return {
        "cut.jpg": "truncated",
        "empty.png": "empty file",
        "huge.png": "too large",
        "noise.webp": "not an image",
        "notes.txt": "not an image (its name ends in '.txt')",
        "thin.png": "longer than 1:16",
    }


@pytest.mark.parametrize("cached", [True, False])
def test_bad_files_are_skipped_with_a_line_each_and_a_total(tmp_path: Path, cached: bool) -> None:
    reasons = spoiled(tmp_path / "in")
    for _ in range(2):  # said every time, also from a pack
        lines: list[str] = []
        domain = opened(tmp_path / "in", cache=cached, say=lines.append)
        assert len(domain.train) == 2
        assert [line.split(": ")[0] for line in lines[:-1]] == [f"skipped {tmp_path / 'in' / name}" for name in reasons]
        assert all(reason in line for reason, line in zip(reasons.values(), lines, strict=False))
        assert lines[-1] == f"data.a: 2 of {2 + len(reasons)} files are used, {len(reasons)} skipped"
        assert not any("\n" in line for line in lines)


def test_nothing_is_said_when_all_is_well(tmp_path: Path) -> None:
    lines: list[str] = []
    opened(photos(tmp_path), say=lines.append)
    assert lines == []


def test_very_many_bad_files_are_counted(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    for number in range(210):
        (tmp_path / f"{number:03d}.txt").touch()
    lines: list[str] = []
    opened(tmp_path, say=lines.append)
    assert len(lines) == 202
    assert lines[-2] == "skipped 10 more of data.a: `ganstyle dataset check` lists them all"
    assert lines[-1] == "data.a: 1 of 211 files are used, 210 skipped"


def test_strict_refuses_at_the_first(tmp_path: Path) -> None:
    spoiled(tmp_path / "in")
    (line,) = lines_of(lambda: opened(tmp_path / "in", strict=True))
    assert line.startswith(f"data.a: {tmp_path / 'in' / 'cut.jpg'}: truncated")
    assert line.endswith("(data.strict is on)")
    assert len(opened(photos(tmp_path / "good"), strict=True).train) == 5
    (line,) = lines_of(lambda: opened(tmp_path / "good", tmp_path / "in", strict=True))
    assert line.startswith("data.test_a: ")


def test_nothing_usable_refuses(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    message = f"data.a: none of the 0 files in {tmp_path / 'in'} is an image that can be used"
    assert lines_of(lambda: opened(tmp_path / "in")) == [message]
    (tmp_path / "in" / "a.png").touch()
    assert lines_of(lambda: opened(tmp_path / "in", cache=True)) == [message.replace("0 files", "1 files")]
    assert lines_of(lambda: opened(photos(tmp_path / "good"), tmp_path / "in"))[0].startswith("data.test_a: none of")


# What is held out


def digests(count: int, seed: int = 0) -> list[str]:
    return [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(count)]


def test_the_share_is_about_right_and_follows_the_hash() -> None:
    names = digests(4000)
    held = held_out_digests(names, 0.05)
    assert abs(len(held) - 200) < 5 * (4000 * 0.05 * 0.95) ** 0.5
    for name in names:
        value = int(hashlib.blake2b(f"held out {name}".encode(), digest_size=8).hexdigest(), 16) / 2**64
        assert (name in held) == (value < 0.05)


def test_an_image_stays_on_its_side_when_others_come_and_go() -> None:
    names = digests(500)
    held = held_out_digests(names, 0.1)
    shuffled = random.Random(0).sample(names, len(names))
    assert held_out_digests(shuffled, 0.1) == held
    more = held_out_digests([*names, *digests(500, seed=1)], 0.1)
    assert more & set(names) == held
    assert held_out_digests(names[:250], 0.1) == held & set(names[:250])


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_one_is_always_left_and_one_held_out_where_there_are_two(count: int, share: float) -> None:
    for seed in range(30):
        names = digests(count, seed)
        held = held_out_digests(names * 2, share)
        assert len(names) - len(held) >= 1
        assert (len(held) >= 1) == (count > 1)
        assert held_out_digests(names, 0) == set()


def test_duplicates_stay_together(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 12)
    for number in range(12):
        (folder / f"copy {number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    domain = opened(folder, holdout=0.3)
    train, held = domain.train.digests(), domain.held_out.digests()
    assert len(train) + len(held) == 24
    assert not set(train) & set(held)
    assert held
    assert all(side.count(digest) == 2 for side in (train, held) for digest in side)
    assert len(opened(folder, holdout=0.0).train) == 24


def test_copies_of_one_image_are_all_trained_on(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / f"{number}.png")
    domain = opened(tmp_path, holdout=0.5)
    assert (len(domain.train), len(domain.held_out)) == (3, 0)


def test_test_folders_take_the_place_of_holding_out(tmp_path: Path) -> None:
    domain = opened(photos(tmp_path / "in"), photos(tmp_path / "test", 2, first=7), holdout=0.5)
    assert domain.test is not None
    assert (len(domain.train), len(domain.held_out), len(domain.test)) == (5, 0, 2)
    assert np.array_equal(domain.test[1], PREPARATION(tmp_path / "test" / "8.png"))
    assert domain.shown is domain.test


def test_a_run_that_is_scored_holds_images_out_beside_a_test_folder(tmp_path: Path) -> None:
    """What is chosen by test images would be tested on what it was chosen by."""
    folders = photos(tmp_path / "in", 10), photos(tmp_path / "test", 2, first=70)
    domain = opened(*folders, holdout=0.3, scored=True)
    assert domain.test is not None
    assert len(domain.held_out) > 0
    assert len(domain.train) + len(domain.held_out) == 10
    assert not set(domain.held_out.digests()) & set(domain.test.digests())


def test_the_fingerprint_is_of_what_is_trained_on_wherever_it_is(tmp_path: Path) -> None:
    first = opened(photos(tmp_path / "one"), cache=True)
    moved = opened(photos(tmp_path / "else" / "where"))
    renamed = photos(tmp_path / "renamed")
    (renamed / "0.png").rename(renamed / "z.png")
    assert first.fingerprint() == moved.fingerprint() == opened(renamed).fingerprint()
    assert opened(photos(tmp_path / "more", 6)).fingerprint() != first.fingerprint()
    assert opened(tmp_path / "one", holdout=0.5).fingerprint() != first.fingerprint()
    assert opened(tmp_path / "one", photos(tmp_path / "test", 1)).fingerprint() == first.fingerprint()


@pytest.mark.parametrize("cached", [True, False])
def test_domains_travel_to_workers(tmp_path: Path, cached: bool) -> None:
    domain = opened(photos(tmp_path), cache=cached, holdout=0.4)
    travelled = pickle.loads(pickle.dumps(domain))
    assert travelled.fingerprint() == domain.fingerprint()
    for number in range(len(domain.train)):
        assert np.array_equal(travelled.train[number], domain.train[number])


def test_several_folders_are_one_domain(tmp_path: Path) -> None:
    domain = opened([photos(tmp_path / "x", 2), photos(tmp_path / "y", 3, first=7)])
    names = [tmp_path / "x" / f"{n}.png" for n in (0, 1)] + [tmp_path / "y" / f"{n}.png" for n in (7, 8, 9)]
    assert len(domain.train) == 5
    for number, path in enumerate(names):
        assert np.array_equal(domain.train[number], PREPARATION(path))


def test_an_empty_test_folder_of_a_root_is_as_good_as_none(tmp_path: Path) -> None:
    for name in ("trainA", "trainB", "testA"):
        photos(tmp_path / name, 2)
    (tmp_path / "testB").mkdir()
    a, b = domain_files(root=str(tmp_path), a=None, b=None, test_a=None, test_b=None)
    assert a.test == [str(tmp_path / "testA")]
    assert b.test is None

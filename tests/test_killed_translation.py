"""A translation that is killed at any moment and started again ends with an unbroken one's files, each made once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# A process of its own with a small stand-in for a network. It kills itself at the n-th moment of all those at which a
# file is being flushed, renamed or noted (0: never), or after some seconds. Every file that is put in place is told.
RUN = """
import os, signal, sys, threading, time
from pathlib import Path
source, output, log, shard, overwrite, moment, seconds = sys.argv[1:]
moment, seen, lock = int(moment), 0, threading.Lock()

def now():
    global seen
    with lock:
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)

def counted(function):
    def call(*arguments, **named):
        now()
        result = function(*arguments, **named)
        now()
        return result
    return call

replace = Path.replace
def told(self, target):
    result = replace(self, target)
    with open(log, "a") as file:
        file.write(os.path.relpath(target, output) + "\\n")
    return result

os.fsync, Path.replace, Path.unlink = counted(os.fsync), counted(told), counted(Path.unlink)

from ganstyle.data.folders import megapixels_of
from ganstyle.data.images import read_image, write_image
from ganstyle.data.outputs import plan
from ganstyle.translate.folder import translate_tasks
from ganstyle.translate.ledger import Ledger
from ganstyle.translate.pipeline import Limits, Stages
from ganstyle.translate.shards import share, shard_named

Ledger._append = counted(Ledger._append)

def compute(photos):
    time.sleep(0.003)
    return [255 - photo.pixels for _, photo in photos]

def write(task, photo, pixels):
    write_image(task.target, pixels)
    return []

if float(seconds):
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
source, output, shard = Path(source), Path(output), shard_named(shard)
tasks = plan(source, output)
ledger = Ledger(output, source, {"model": "invert"}, shard=shard, say=print)
tasks = share(tasks, megapixels_of([task.source for task in tasks]), shard)
stages = Stages(lambda task: read_image(task.source), compute, write)
report = translate_tasks(
    tasks, stages, ledger=ledger, overwrite=overwrite == "yes", limits=Limits(batch=2, readers=2, writers=3)
)
signal.setitimer(signal.ITIMER_REAL, 0)
assert "torch" not in sys.modules
print("moments", seen)
print(report)
"""

FILES = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "photos"
    tiny.pictures(folder, FILES // 2)
    tiny.pictures(folder / "deep", FILES // 2, seed=100, height=9)
    return folder


def start(
    photos: Path, output: Path, *, shard: str = "1/1", overwrite: bool = False, moment: int = 0, seconds: float = 0
) -> subprocess.Popen[str]:
    words = [photos, output, output.parent / "log", shard, "yes" if overwrite else "no", moment, seconds]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, words)],
        env=tiny.environment(output.parent / "cache"),
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def images(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def times_made(output: Path) -> Counter[str]:
    """How often each file was put in place."""
    return Counter((output.parent / "log").read_text().splitlines())


def left(output: Path) -> list[str]:
    """All that is neither an image nor a ledger."""
    files = [path for path in output.rglob("*") if path.is_file()]
    return [path.name for path in files if path.suffix != ".png" and not path.name.startswith("ganstyle-ledger")]


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """The files of an unbroken run, and the number of its moments."""
    output = tmp_path_factory.mktemp("whole") / "out"
    code, said = ended(start(photos, output))
    assert code == 0, said
    assert f"{FILES} translated" in said
    assert len(images(output)) == FILES
    assert left(output) == []
    assert set(times_made(output).values()) == {1}
    return images(output), int(said.split("moments ")[1].split()[0])


def test_killed_at_random_moments(photos: Path, whole: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    files, moments = whole
    assert moments > 4 * FILES
    for moment in sorted(random.Random(5).sample(range(1, moments), 12)):
        output = tmp_path / f"at-{moment}" / "out"
        output.parent.mkdir()
        code, said = ended(start(photos, output, moment=moment))
        assert code == -9, (moment, said)
        assert images(output).items() <= files.items(), "whole or not at all"
        code, said = ended(start(photos, output))
        assert code == 0, said
        assert images(output) == files, moment
        assert set(times_made(output).values()) == {1}, moment
        assert left(output) == [], moment


def test_killed_at_random_times_again_and_again(
    photos: Path, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    output, draw, kills, code, said = tmp_path / "out", random.Random(3), 0, -9, ""
    for _ in range(60):
        code, said = ended(start(photos, output, seconds=draw.uniform(0.005, 0.05)))
        if code == 0:
            break
        assert code == -9, said
        kills += 1
        assert images(output).items() <= whole[0].items()
    code, said = ended(start(photos, output))
    assert code == 0, said
    assert kills >= 1
    assert images(output) == whole[0]
    assert set(times_made(output).values()) == {1}
    assert left(output) == []


def test_killed_while_overwriting(photos: Path, whole: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    """What was being noted at the moment of the kill is made a second time, and nothing else."""
    files, moments = whole
    for moment in sorted(random.Random(6).sample(range(20, moments), 4)):
        output = tmp_path / f"at-{moment}" / "out"
        for name in files:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(b"old")
        assert ended(start(photos, output, overwrite=True, moment=moment))[0] == -9
        assert all(data in (b"old", files[name]) for name, data in images(output).items())
        code, said = ended(start(photos, output, overwrite=True))
        assert code == 0, said
        assert images(output) == files
        made = times_made(output)
        assert set(made) == set(files)
        assert sum(made.values()) <= FILES + 3, "at most one for each thread that writes"
        assert left(output) == []


def test_shards_at_once_one_of_them_killed(photos: Path, whole: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    output = tmp_path / "out"
    shards = ["1/3", "2/3", "3/3"]
    processes = [start(photos, output, shard=shard, moment=30 * (shard == "2/3")) for shard in shards]
    codes = [ended(process)[0] for process in processes]
    assert codes == [0, -9, 0]
    code, said = ended(start(photos, output, shard="2/3"))
    assert code == 0, said
    assert images(output) == whole[0]
    assert set(times_made(output).values()) == {1}
    assert left(output) == []
    assert len(list(output.glob("ganstyle-ledger.*-of-3.jsonl"))) == 3


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGTERM")
def test_terminated(photos: Path, whole: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(photos, output)
    while not list(output.glob("*.png")):
        assert process.poll() is None
    process.terminate()
    code, said = ended(process)
    assert code in (143, 0), said
    assert "Traceback" not in said
    assert left(output) == []
    assert images(output).items() <= whole[0].items()
    assert ended(start(photos, output))[0] == 0
    assert images(output) == whole[0]
    assert set(times_made(output).values()) == {1}

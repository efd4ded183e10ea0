"""The folder of a run: its config, what was decided at its start, its checkpoints, numbers and previews."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_type_hints

from filelock import FileLock, Timeout

from ganstyle.base.config import differing_keys, read_yaml, write_yaml
from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import drop_leftovers, write_text
from ganstyle.train.checkpoint import step_files
from ganstyle.train.hardware import Hardware

LIBRARIES = ("ganstyle", "torch", "torchvision", "numpy", "pillow", "albumentations", "lightning-fabric")

# The facts of the data that a resumed run takes from its record.
LENGTH = ("steps", "decay_from")
MOST_STEPS = 2**53  # beyond it, a number in a file is damage

# What may change when a run goes on; all else would make it another run.
CHANGEABLE = {
    "training.steps": "extends or shortens the run; the learning rate after decay_from changes with it",
    "training.log_every": "",
    "training.preview_every": "",
    "training.checkpoint_every": "",
    "training.keep_checkpoints": "",
    "training.precision": "the continuation is not bit for bit",
    "training.compile": "the continuation is not bit for bit",
    "training.cuda_graphs": "the continuation is not bit for bit",
    "training.recompute": "the continuation is not bit for bit when it is compiled",
    "training.batch_size": "the image pools start empty, and the continuation is not bit for bit",
    "training.accumulate": "the continuation is not bit for bit",
    "devices": "the continuation is not bit for bit",
    "device": "the continuation is not bit for bit",
    "data.workers": "",
    "data.cache": "",
    "data.crop_on": "",
    "training.most_skips": "",
    "training.most_rollbacks": "",
    "evaluate": "other images may be held out; scores of other features begin anew",
    "tracking": "",
}

# Of these, the ones that are neither hardware nor without effect.
CHANGING = ("training.steps", "training.batch_size", "training.accumulate")


@dataclass(frozen=True)
class Record:
    """What was decided or found when the run began."""

    hardware: Hardware
    data: Mapping[str, Any]
    versions: Mapping[str, str]
    evaluation: Mapping[str, str] = field(default_factory=dict)
    # Section of the config -> its spec, where the machine decided of it what the config leaves open.
    settled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # Direction -> the digest of the weights that its generator began from, where they were not fresh.
    initial: Mapping[str, str] = field(default_factory=dict)


class RunFolder:
    """The files of one run under one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file, self.record_file = path / "config.yaml", path / "run.json"
        self.checkpoints = path / "checkpoints"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.config_file.is_file()

    def last_step(self) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        files = step_files(self.checkpoints)
        return int(files[-1].stem.split("-")[1]) if files else 0

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Keep the whole config; from then on a run has begun here."""
        write_text(self.config_file, write_yaml(values))

    def config(self) -> dict[str, Any]:
        """The config that the run was made from."""
        if not self.exists():
            raise UserError(f"{self.path} is not a run: it has no config.yaml")
        return read_yaml(self.config_file)

    def record(self) -> Record | None:
        """What was decided when the run began; None before that."""
        if not self.record_file.is_file():
            return None
        try:
            return _record_of(json.loads(self.record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{self.record_file}: damaged; delete it to decide anew, or take a fresh folder with --new"
            ) from error

    def write_record(self, record: Record) -> None:
        """Keep what was decided."""
        write_text(self.record_file, json.dumps(asdict(record), indent=2) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, made if need be, for this process; `UserError` when another one trains in it."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: a file is in the way; choose another name= or --run")
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"{self.path}: another process is training this run; wait for it, or take a fresh folder with --new"
            ) from error
        except OSError as error:
            raise UserError(f"cannot use the run's folder {self.path}: {error.strerror or one_line(error)}") from error
        try:
            for folder in (self.path, self.checkpoints, self.path / "previews"):
                drop_leftovers(folder)
            yield
        finally:
            lock.release()


def _record_of(values: Mapping[str, Any]) -> Record:
    """A record as it was written; KeyError, OverflowError, TypeError or ValueError for anything else."""
    data = values["data"] | {key: int(values["data"][key]) for key in LENGTH}
    if not all(0 <= data[key] < MOST_STEPS for key in LENGTH):
        raise ValueError("length")
    if any(isinstance(each, dict | list) for each in data.values()):
        raise TypeError("data")
    hardware = Hardware(**values["hardware"])
    if any(type(getattr(hardware, name)) is not kind for name, kind in get_type_hints(Hardware).items()):
        raise TypeError("hardware")
    evaluation, settled = _texts(values.get("evaluation", {})), _specs(values.get("settled", {}))
    return Record(hardware, data, _texts(values["versions"]), evaluation, settled, _texts(values.get("initial", {})))


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise TypeError("expected names and texts")
    return values


def _specs(values: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(values, dict) or not all(isinstance(each, dict) and "name" in each for each in values.values()):
        raise TypeError("expected specs")
    return values


def fresh_folder(path: Path) -> Path:
    """The first of NAME, NAME-2, NAME-3 ... that does not exist."""
    number, fresh = 1, path
    while fresh.exists():
        number += 1
        fresh = path.with_name(f"{path.name}-{number}")
    return fresh


def refuse_other_config(folder: RunFolder, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """`UserError` with the keys that differ between a run and what is asked for."""
    differing = differing_keys(old, new)
    if differing:
        lines = [f"\n  {key}: the run has {was!r}, asked for {now!r}" for key, (was, now) in differing.items()]
        advice = (
            "\n  to train anew beside it, add --new; to go on with the run as it is: "
            f"ganstyle train --resume {folder.path} (which may change: {', '.join(CHANGEABLE)})"
        )
        raise UserError(f"{folder.path} holds a run with another config:{''.join(lines)}{advice}")


def refuse_unchangeable(keys: Mapping[str, Any]) -> None:
    """`UserError` for keys that a resumed run cannot change."""
    wrong = [key for key in keys if not any(key == may or key.startswith(f"{may}.") for may in CHANGEABLE)]
    if wrong:
        raise UserError(
            f"--resume cannot change {', '.join(wrong)}; it may change {', '.join(CHANGEABLE)}; "
            "for another run use --new"
        )


def why_not_exact(
    changed: Mapping[str, Any], record: Record, *, hardware: Hardware, data: Mapping[str, Any]
) -> list[str]:
    """What keeps a resumed run from going on bit for bit; empty when it will.

    Args:
        changed: the keys that were given another value.
        record: what was decided when the run began.
        hardware: what it goes on with.
        data: the facts of the images that it goes on with.
    """
    reasons = [f"{key} was changed" for key in CHANGING if key in changed]
    was_on, is_on = asdict(record.hardware), asdict(hardware)
    reasons += [f"{key} was {was_on[key]} and is {is_on[key]}" for key in was_on if was_on[key] != is_on[key]]
    if _images(record.data) != _images(data):
        reasons.append("the training images are not the ones it began with")
    versions = library_versions()
    pairs = [(name, was, versions.get(name)) for name, was in record.versions.items()]
    return reasons + [f"{name} was {was} and is {now}" for name, was, now in pairs if was != now]


def _images(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key.startswith(("images_", "fingerprint_"))}


def library_versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found

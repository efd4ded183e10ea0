"""What a new run starts from, other than fresh weights: generators that were trained before.

They are kept in the run's folder as exported files, so that a run goes on, and back to its first step, without what
they came from; its record holds their digests.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganstyle.assemble import build_generator, build_method, full_generator_spec
from ganstyle.base.config import Config
from ganstyle.base.errors import UserError
from ganstyle.base.files import make_folder
from ganstyle.methods.method import Method
from ganstyle.networks.weight_files import weights_digest
from ganstyle.train.run_folder import RunFolder
from ganstyle.translate.export import read_export, write_export
from ganstyle.translate.translator import Translator
from ganstyle.verbs.models import directions_of, load

# These say how fresh weights are drawn and trained on; the weights of one generator fit whatever they are.
FREE = ("dropout", "initialisation", "gain")
Sources = Sequence[str] | Mapping[str, str | Path]


@dataclass(frozen=True)
class Initial:
    """A generator to start from."""

    source: str
    translator: Translator

    @property
    def digest(self) -> str:
        """Of its weights, wherever they came from."""
        return weights_digest(self.translator.generator.state_dict().items())


def words_of(sources: Sources) -> list[str]:
    """Sources as they are typed: `FILE`, `ab=FILE`."""
    if isinstance(sources, Mapping):
        return [f"{direction}={source}" for direction, source in sources.items()]
    return [str(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]


def read_initial(words: Iterable[str], config: Config) -> dict[str, Initial]:
    """The generators to start from, by direction, checked against the recipe's.

    Args:
        words: models as `ganstyle.verbs.models.load` takes them; with `ab=` or `ba=` in front for this direction, else
            for all directions that both the model and the recipe have.
        config: the recipe's.

    Raises:
        UserError: there is no such model, it does not fit, or two are for one direction; says which spec would fit.
    """
    with torch.device("meta"):
        trained = list(build_method(config).translators)
    found: dict[str, Initial] = {}
    for word in words:
        match = re.fullmatch(r"(ab|ba)=(.+)", word)
        if match is None and not Path(word).exists() and (odd := re.fullmatch(r"(\w{1,9})=(.*)", word)):
            raise UserError(f"--init-from {word}: got '{odd[1]}=', expected ab=FILE, ba=FILE or a file that is there")
        source = match[2] if match else word
        for direction, initial in _of_one(source, match[1] if match else None, trained).items():
            if direction in found:
                raise UserError(f"--init-from: {direction} is given twice ({found[direction].source} and {source})")
            _check_fit(initial, config.generator)
            found[direction] = initial
    return found


def _of_one(source: str, asked: str | None, trained: Sequence[str]) -> dict[str, Initial]:
    """The generators of one source, by the direction that they are to be trained for."""
    if asked is not None:
        if asked not in trained:
            raise UserError(f"--init-from {asked}={source}: this recipe trains {' and '.join(trained)} only")
        has = directions_of(source)
        return {asked: Initial(source, load(source, direction=asked if asked in has else None, device="cpu"))}
    has = directions_of(source)
    wanted = [direction for direction in has if direction in trained]
    if not wanted:
        advice = f"write --init-from {trained[0]}={source} to take it all the same"
        raise UserError(
            f"--init-from {source}: it translates {', '.join(has)}, this recipe trains {', '.join(trained)}; {advice}"
        )
    return {direction: Initial(source, load(source, direction=direction, device="cpu")) for direction in wanted}


def _check_fit(initial: Initial, spec: Mapping[str, Any]) -> None:
    ours, theirs = full_generator_spec(spec), initial.translator.spec
    bound = ["name", *(key for key in theirs if key not in ("name", *FREE))]
    differing = [key for key in bound if ours.get(key) != theirs[key]]
    if differing:
        asked = ", ".join(f"{key} {ours[key]}" for key in differing if key in ours)
        # Another name drops all that the recipe says of the generator.
        wanted = [*(bound if "name" in differing else differing)]
        wanted += ["dropout"] if theirs.get("dropout") and theirs["dropout"] != ours.get("dropout") else []
        words = " ".join(f"generator.{key}={theirs[key]}" for key in wanted)
        raise UserError(
            f"--init-from {initial.source}: its generator {initial.translator.facts.direction} is not this recipe's "
            f"({asked}); to train it, add: {words}"
        )


def keep_initial(folder: RunFolder, initial: Mapping[str, Initial], say: Callable[[str], None]) -> None:
    """Write what a new run starts from into its folder, and nothing else: what another try left is removed."""
    place = _place(folder)
    if place.is_dir():
        shutil.rmtree(place)
    for direction, each in initial.items():
        make_folder(place)
        translator = each.translator
        write_export(place / f"{direction}.safetensors", translator.generator, translator.spec, translator.facts)
        say(f"{direction} starts from {each.source} ({translator.facts}); all other networks start afresh")


def began_from(folder: RunFolder) -> dict[str, str]:
    """The digests of the weights that a run began from, by direction; empty where they were fresh."""
    record = folder.record()
    if record is not None:
        return dict(record.initial)
    files = sorted(_place(folder).glob("*.safetensors"))
    return {file.stem: weights_digest(_read(file).items()) for file in files}


def refuse_other_initial(folder: RunFolder, initial: Callable[[], Mapping[str, Initial]]) -> None:
    """`UserError` where a run began from other weights than those that are asked for, or where these are not there."""
    advice = f"to go on with the run as it is: ganstyle train --resume {folder.path}; to train anew beside it: --new"
    was = began_from(folder)
    try:
        asked = {direction: each.digest for direction, each in initial().items()}
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error
    if was != asked:
        raise UserError(f"{folder.path} began from {_told(was)}, asked for {_told(asked)}: {advice}")


def _told(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{direction} {digest}" for direction, digest in digests.items()) or "fresh weights"


def fresh_method(config: Config, folder: RunFolder) -> Method:
    """The method as its run begins, on the CPU: freshly initialised, or with the generators that it starts from.

    Raises:
        UserError: the folder does not hold them any more as its record says.
    """
    method = build_method(config)
    if folder.last_step():  # all that could be loaded here is in the checkpoint
        return method
    for direction, digest in began_from(folder).items():
        file = _place(folder) / f"{direction}.safetensors"
        weights = _read(file)
        if weights_digest(weights.items()) != digest:
            raise UserError(f"{file}: not what the run began from; take a fresh folder with --new")
        method.translators[direction].load_state_dict(weights)
    return method


def _place(folder: RunFolder) -> Path:
    return folder.path / "initial"


def _read(file: Path) -> dict[str, torch.Tensor]:
    return read_export(file, build_generator)[0].state_dict()

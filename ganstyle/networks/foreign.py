"""Generators that other people's code has trained: their checkpoints, as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ganstyle.base.errors import UserError, printable
from ganstyle.base.tables import build
from ganstyle.networks.foreign_files import is_safetensors, read_content
from ganstyle.networks.foreign_layouts import LAYOUTS, STATISTICS, Generator, Shape
from ganstyle.networks.foreign_others import ELSEWHERE, looks_like
from ganstyle.networks.generators import GENERATORS
from ganstyle.networks.weight_files import is_plain

# Of several state dicts in one file, the averaged weights.
AVERAGED = ("params_ema", "ema", "model_ema", "netG_ema", "g_ema", "G_ema")
DEPTH = 3  # of state dicts within others
PREFIXES = 4  # module., _orig_mod. and the like before every name
# latest_net_G_A.pth, netG_A2B.pth, G_AB_100.pth, generator_ba
WAY = re.compile(r"(?:^|[^a-z0-9])(?:net_?)?g(?:en(?:erator)?)?_?(a2b|ab|a|b2a|ba|b)(?:[^a-z0-9]|$)")
SAVED = re.compile(r"(?P<label>.+)_net_(?P<network>G(?:_[AB])?)\.pth")
# One row and column of each blur, by its side, and what the whole sums up to.
BLURS = {3: ([1.0, 2.0, 1.0], 1.0), 4: ([1.0, 3.0, 3.0, 1.0], 4.0)}


@dataclass(frozen=True)
class Foreign:
    """A generator of other people's code.

    Args:
        spec: the generator of ours that computes the same.
        weights: named and shaped as ours.
        direction: `ab` or `ba`, None where neither its name nor the place in the file tells.
        origin: what it was, for people.
    """

    spec: dict[str, Any]
    weights: dict[str, Tensor]
    direction: str | None
    origin: str


def read_foreign(path: Path, direction: str | None = None) -> Foreign:
    """The generator in a checkpoint of the CycleGAN, pix2pix, CUT or DCL code, recognised by names and shapes.

    Takes a plain state dict, one within other dictionaries, with or without a `module.` before every name.

    Args:
        path: the file (`.pth` or `.safetensors`).
        direction: which one of a file that holds generators for both.

    Raises:
        UserError: no such generator: says what the file looks like. Or the name of the file says that it is of the
            other direction.
    """
    content = read_content(path)
    groups = dict(_state_dicts(content))
    found = {where: found for where, tensors in groups.items() if (found := _recognised(tensors))}
    if not found:
        raise UserError(_unknown(path, content, groups))
    where = _chosen(path, list(found), direction)
    generator, tensors = found[where]
    way = way_of(where) or way_of(path.stem)
    if None not in (way, direction) and way != direction:
        raise UserError(f"{path}: by its name it translates {way}; for {direction} give the file of that direction")
    weights = _Reading(path, generator, tensors).weights()
    return Foreign(dict(generator.spec), weights, way, generator.origin)


def way_of(name: str) -> str | None:
    """The direction that a file's or a network's name says: `ab` for G_A, G_AB and G_A2B, `ba` for G_B."""
    found = WAY.search(name.lower())
    return None if found is None else {"a": "ab", "b": "ba"}[found[1][0]]


def saved_generator(folder: Path, direction: str | None, checkpoint: str | int | None) -> Path | None:
    """The generator in a folder of checkpoints of the CycleGAN or CUT code; None where it is no such folder.

    Args:
        folder: such as checkpoints/NAME, with latest_net_G_A.pth and others in it.
        direction: `ab` (the default) takes G_A or G, `ba` takes G_B or G.
        checkpoint: `latest` (the default) or an epoch.

    Raises:
        UserError: there are such files, but not the one that is wanted.
    """
    files = _saved(folder)
    if not files:
        return None
    labels = dict.fromkeys(label for label, _ in sorted(files, key=lambda each: (len(each[0]), each[0])))
    wanted = str(checkpoint) if checkpoint is not None else ("latest" if "latest" in labels else list(labels)[-1])
    networks = {"ba": ("G_B", "G")}.get(direction or "", ("G_A", "G") if direction else ("G_A", "G", "G_B"))
    for network in networks:
        if (wanted, network) in files:
            return files[wanted, network]
    there = ", ".join(path.name for path in sorted(files.values()))
    raise UserError(f"{folder} has no {wanted}_net_{networks[0]}.pth: there are {printable(there)[:200]}")


def saved_directions(folder: Path) -> list[str]:
    """The directions for which a folder of checkpoints holds a generator; none where it is no such folder."""
    ways = {way_of(path.stem) or "ab" for path in _saved(folder).values()}
    return sorted(ways)


def _saved(folder: Path) -> dict[tuple[str, str], Path]:
    """The generators' files by (label, network)."""
    files = folder.glob("*_net_G*.pth")
    return {(match["label"], match["network"]): path for path in files if (match := SAVED.fullmatch(path.name))}


def _state_dicts(content: Any, where: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dictionary of named tensors in a file, by where it is; other values beside the tensors are left out."""
    if not isinstance(content, Mapping):
        return
    tensors = {name: each for name, each in content.items() if isinstance(name, str) and isinstance(each, Tensor)}
    if tensors:
        yield where, tensors
    if depth:
        for name, inner in content.items():
            yield from _state_dicts(inner, f"{where}.{name}" if where else str(name), depth - 1)


def _recognised(tensors: Mapping[str, Tensor]) -> tuple[Generator, Mapping[str, Tensor]] | None:
    """The generator that tensors are, and they without what stands before every name; None for anything else."""
    for _ in range(PREFIXES):
        shapes = shapes_of(tensors)
        for layout in LAYOUTS:
            if found := layout.recognise(shapes):
                return found, tensors
        first = {name.split(".", 1)[0] for name in tensors}
        if len(first) != 1 or any("." not in name for name in tensors):
            return None
        tensors = {name.split(".", 1)[1]: tensor for name, tensor in tensors.items()}
    return None


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes of named tensors."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _chosen(path: Path, places: list[str], direction: str | None) -> str:
    """Where in a file the generator is that is wanted."""
    if len(places) == 1:
        return places[0]
    by_way = [place for place in places if way_of(place) == (direction or "ab")]
    averaged = [place for place in by_way or places if place.rsplit(".", 1)[-1] in AVERAGED]
    for choice in (averaged, by_way):
        if len(choice) == 1:
            return choice[0]
    raise UserError(
        f"{path}: holds {len(places)} generators ({printable(', '.join(places))[:120]}), and which one translates "
        f"{direction or 'ab'} cannot be told; save the one that you want alone"
    )


def _unknown(path: Path, content: Any, groups: Mapping[str, Mapping[str, Tensor]]) -> str:
    if other := looks_like(content, [shapes_of(tensors) for tensors in groups.values()]):
        what, advice = other
        return f"{path}: not a generator: it looks like {what}; {advice}"
    first = next((name for tensors in groups.values() for name in tensors), None)
    if first is None:
        return f"{path}: holds no tensors by name ({type(content).__name__}); {ELSEWHERE}"
    kind = (
        "a safetensors file, but not a model of ganstyle" if is_safetensors(path) else "not a model that is known here"
    )
    return (
        f"{path}: {kind}: its tensors (the first is '{printable(first)[:60]}') are not those of a ResNet or U-Net of "
        "the CycleGAN or CUT code"
    )


@dataclass(frozen=True)
class _Reading:
    """Takes recognised tensors over, and refuses what does not fit in every single one."""

    path: Path
    generator: Generator
    tensors: Mapping[str, Tensor]

    def weights(self) -> dict[str, Tensor]:
        """Our weights."""
        expected = self._expected()
        self._check_channels(expected)
        self._refuse_others({self._source(name) for name in expected})
        weights = {name: self._taken(name, like) for name, like in expected.items()}
        self._check_blurs()
        return weights

    def _expected(self) -> dict[str, Tensor]:
        """Our generator's tensors, on the meta device."""
        try:
            with torch.device("meta"):
                return build(GENERATORS, self.generator.spec, path="generator").state_dict()
        except UserError as error:
            raise UserError(f"{self.path}: looks like {self.generator.origin}, but {error}") from error

    def _source(self, name: str) -> str:
        module, leaf = name.rsplit(".", 1)
        return f"{self.generator.names[module]}.{leaf}"

    def _check_channels(self, expected: Mapping[str, Tensor]) -> None:
        first, *_, last = (f"{module}.weight" for module in self.generator.names if f"{module}.weight" in expected)
        places = (1, tuple(expected[last].shape).index(3))
        got = [self.tensors.get(self._source(name)) for name in (first, last)]
        channels = [
            each.shape[place] for each, place in zip(got, places, strict=True) if each is not None and each.dim() == 4
        ]
        if len(channels) == 2 and channels != [3, 3]:
            raise UserError(
                f"{self.path}: {self.generator.origin} for {channels[0]} channels in and {channels[1]} out; "
                "expected 3 and 3: only RGB images are translated here"
            )

    def _refuse_others(self, sources: set[str]) -> None:
        """`UserError` naming a tensor that the recognised generator does not have."""
        norms = set(self.generator.names.values())
        for name in self.tensors:
            known = name in sources or name in self.generator.filters
            module, _, leaf = name.rpartition(".")
            if not known and not (module in norms and leaf in STATISTICS):
                self._refuse(name, f"is {tuple(self.tensors[name].shape)}, expected nothing of this name")

    def _taken(self, name: str, like: Tensor) -> Tensor:
        """Their tensor for one of ours; zeros for biases and counts that it does without."""
        source = self._source(name)
        tensor = self.tensors.get(source)
        no_bias = name.endswith(".conv.bias") and name != "head.conv.bias" and not self.generator.biases
        if tensor is None and (no_bias or name.endswith(".num_batches_tracked")):
            return torch.zeros_like(like, device="cpu")
        if tensor is None:
            self._refuse(source, f"is missing, expected {tuple(like.shape)}")
        if tensor.shape != like.shape:
            self._refuse(source, f"is {tuple(tensor.shape)}, expected {tuple(like.shape)}")
        if tensor.is_floating_point() != like.is_floating_point():
            self._refuse(source, f"is of {tensor.dtype}, expected {like.dtype}")
        if not is_plain(tensor):
            self._refuse(source, "holds no plain values: it is sparse, quantised or from the meta device")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            self._refuse(source, "says more values than the file holds")  # a small file could fill the memory
        if not torch.isfinite(tensor.float()).all():
            raise UserError(f"{self.path}: {source} holds NaN or infinity: take another checkpoint")
        return tensor.to(like.dtype, copy=True).contiguous()

    def _check_blurs(self) -> None:
        for name, side in self.generator.filters.items():
            row, total = (torch.tensor(BLURS[side][0]), BLURS[side][1])
            blur, got = torch.outer(row, row), self.tensors.get(name)
            expected = blur / blur.sum() * total
            if got is None or got.shape[1:] != (1, side, side) or not torch.allclose(got.float(), expected, atol=1e-4):
                self._refuse(name, f"is another blur than [{', '.join(f'{each:g}' for each in row.tolist())}]")

    def _refuse(self, name: str, what: str) -> NoReturn:
        raise UserError(
            f"{self.path}: looks like {self.generator.origin}, but {printable(name)[:60]} {what}; it was changed, and "
            "cannot be loaded"
        )

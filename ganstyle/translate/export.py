"""A model in one file: `.safetensors` with what is needed to use it in its metadata, and nothing about who made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ganstyle.base.errors import UserError, one_line, printable
from ganstyle.base.files import atomic_write
from ganstyle.translate.facts import ModelFacts, described, description

FORMAT = "ganstyle-model-1"


def write_export(path: Path, generator: nn.Module, spec: Mapping[str, Any], facts: ModelFacts) -> None:
    """Write one direction of a model; the file holds its network's spec, direction, step and version."""
    metadata = description(FORMAT, spec, facts)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    if path.parent != Path() and not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    with atomic_write(path) as file:
        file.write(_in_order(save(tensors, metadata)))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata by name: the library writes them in any order, and so files of other sums.

    A file begins with the length of its header, 8 bytes, then the header as JSON, filled up with spaces to 8 bytes.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)
    return len(ordered).to_bytes(8, "little") + ordered + content[8 + length :]


def read_export(
    path: Path, build: Callable[[Mapping[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any], ModelFacts]:
    """The generator, its spec and what is known of it, on the CPU.

    Args:
        path: the file.
        build: makes the generator of a spec on the meta device; `UserError` for a spec that it does not know.

    Raises:
        UserError: not such a file, damaged, or its tensors do not have the shapes that its own spec says; found out
            from the header, before anything is allocated.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(
                    f"{path}: a safetensors file, but not a model of ganstyle (format {metadata.get('format')!r})"
                )
            spec, facts = described(path, metadata)
            generator = _built(path, spec, build)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
            check_shapes(path, generator, shapes)
            weights = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a model that can be read ({one_line(error)[:200]})") from error
    return load_weights(generator, weights), spec, facts


def is_export(path: Path) -> bool:
    """Whether a file is, or by its name should be, one that `write_export` wrote; not those of other programs."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return path.suffix.lower() == ".safetensors"
    return str(metadata.get("format", "")).startswith("ganstyle")


def _built(path: Path, spec: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]) -> nn.Module:
    try:
        return build(spec)
    except UserError as error:
        # What a stranger's file says goes to a terminal: short, and nothing that steers it.
        text = printable(one_line(error))[:300]
        raise UserError(f"{path}: does not describe a network of this ganstyle: {text}") from error


def check_shapes(source: Path, generator: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """`UserError` naming the first tensor that is missing, too many, or of another shape than the network's."""
    expected = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    for name in [*expected, *shapes]:
        if expected.get(name) != shapes.get(name):
            got, want = shapes.get(name, "nothing"), expected.get(name, "nothing")
            raise UserError(f"{source}: does not fit its own description: {name} is {got}, expected {want}")


def load_weights(generator: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Give a generator on the meta device its weights, ready to translate; they come to have the network's dtypes.

    Raises:
        UserError: a weight is NaN or infinite, or of a kind that the network's is not.
    """
    expected = generator.state_dict()
    for name, tensor in weights.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise UserError(f"the weights are of another kind: {name} is {tensor.dtype}, not {expected[name].dtype}")
        if not torch.isfinite(tensor.float()).all():
            raise UserError(f"the weights hold NaN or infinity ({name}): take another checkpoint")
    # Contiguous, wherever they come from: the order in memory decides how a convolution rounds.
    copies = {name: tensor.to(expected[name].dtype, copy=True).contiguous() for name, tensor in weights.items()}
    generator.load_state_dict(copies, assign=True)
    return generator.eval().requires_grad_(False)

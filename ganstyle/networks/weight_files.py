"""Files of weights that were trained elsewhere, read without running code from them."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.networks.foreign_files import read_content

TIMEOUT_S = 30


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a PyTorch or safetensors file, on the CPU: a plain state dict, or one under the key `model`.

    Raises:
        UserError: no such file, not a file of weights (says what it looks like), or tensors that hold NaN or infinity.
    """
    if not path.is_file():
        raise UserError(f"there is no file of weights at {path}: give the path of a .pth file")
    content = read_content(path)
    weights = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise UserError(f"{path}: expected named tensors (a state dict), got something else; give a file of weights")
    odd = [name for name, tensor in weights.items() if not is_plain(tensor)]
    if odd:
        raise UserError(f"{path}: {odd[0]} holds no plain values: it is sparse, quantised or from the meta device")
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{path}: {broken[0]} holds NaN or infinity; download the file again")
    return dict(weights)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds its values one by one."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def hub_file(name: str) -> Path:
    """Where torch keeps a file that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def is_published(path: Path, digest: str) -> bool:
    """Whether the SHA-256 of a file begins like that of the published one."""
    return _sha256(path).startswith(digest)


def check_published(path: Path, digest: str) -> None:
    """Raise `UserError` for a file in the cache that is not the published one."""
    found = _sha256(path)
    if not found.startswith(digest):
        raise UserError(
            f"{path}: its SHA-256 begins with {found[:8]}, not with {digest[:8]} as the published file's; "
            "delete it and try again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, digest: str, advice: str) -> None:
    """Fetch a file, checked by how its SHA-256 begins; it is whole or not there.

    Raises:
        UserError: no network, or something else came; ends with `advice`.
    """
    try:
        content = _fetched(url, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, HTTPException, _Foreign) as error:
        raise UserError(f"cannot download {path.name} ({one_line(error)[:120]}): {advice}") from error
    with atomic_write(path) as file:
        file.write(content)


class _Foreign(Exception):
    """Something else came than was asked for."""


def _fetched(url: str, digest: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(digest):
        raise _Foreign(f"its SHA-256 begins with {found[:8]}, expected {digest[:8]}")
    return content


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of named tensors' contents, the same wherever they are and in whatever file they came."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors, key=lambda each: each[0]):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Where an optimisation stands, kept in one file, so that it can go on after it was broken off."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write

FORMAT = "ganstyle stylize state 1"
EVERY_S = 30.0


def digest_of(settings: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """A digest of plain settings and of tensors' shapes and values, the same wherever they are."""
    digest = hashlib.blake2b(json.dumps(dict(settings), sort_keys=True, default=str).encode(), digest_size=16)
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class StateFile:
    """Keeps a state under the digest of what it belongs to.

    Args:
        path: the file; None keeps nothing.
        digest: of the settings and of all that is put in.
        every_s: `keep` writes at most that often; `EVERY_S` by default.
    """

    def __init__(self, path: Path | None, digest: str, *, every_s: float | None = None) -> None:
        self._path, self._digest, self._every_s = path, digest, EVERY_S if every_s is None else every_s
        self._written_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """What was kept; None where there is no file.

        Raises:
            UserError: the file is damaged, something else, or of another photo, picture or settings.
        """
        if self._path is None or not self._path.exists():
            return None
        content = _read(self._path)
        if content["digest"] != self._digest:
            raise UserError(
                f"{self._path}: kept for another photo, picture or settings; give the same ones as then, "
                "or delete it to begin again"
            )
        return dict(content["state"])

    def keep(self, state: Mapping[str, Any], *, now: bool = False) -> None:
        """Write the state, if the last time was long ago or at once if it must be `now`."""
        if self._path is None or not (now or self.due):
            return
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "digest": self._digest, "state": _on_cpu(dict(state))}, buffer)
        with atomic_write(self._path) as file:
            file.write(buffer.getbuffer())
        self._written_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether `keep` would write."""
        return self._path is not None and time.monotonic() - self._written_at >= self._every_s


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for damaged or foreign files
        raise UserError(
            f"{path}: not a state that can be read ({one_line(error)[:120]}); delete it to begin again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a state of this version of ganstyle; delete it to begin again")
    return content


def _on_cpu(value: Any) -> Any:
    """The same nested values with all tensors on the CPU, each a tensor of its own and not a view of a larger one."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(each) for each in value)
    return value

"""Room for the maps that are kept while a picture is translated: in memory, or in files that leave no trace."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ganstyle.base.errors import UserError, one_line
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.translate.memory import MEMORY_ADVICE

FLOAT_BYTES = 4
ZEROS = bytes(2**20)


class Store:
    """Hands out room for maps, takes it back and hands it out again.

    Args:
        allocate: makes a float32 tensor of so many values.

    Attributes:
        peak_bytes: the most that was held at once.
    """

    def __init__(self, allocate: Callable[[int], Tensor]) -> None:
        self.allocate = allocate
        self.spare: list[Tensor] = []
        self.bytes = self.peak_bytes = 0

    def take(self, *shape: int) -> Tensor:
        """Room of a shape; what it holds is anything."""
        count = math.prod(shape)
        fitting = [index for index, room in enumerate(self.spare) if room.numel() == count]
        if fitting:
            return self.spare.pop(fitting[0]).view(shape)
        # Room of other sizes goes back to the system first, so that it never counts beside the new one.
        self.bytes -= sum(room.nbytes for room in self.spare)
        self.spare.clear()
        self.bytes += count * FLOAT_BYTES
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        return self.allocate(count).view(shape)

    def give_back(self, room: Tensor) -> None:
        """Room whose values are needed no more."""
        self.spare.append(room.view(-1))


def in_memory(count: int) -> Tensor:
    """Room in the machine's memory.

    Raises:
        UserError: there is not enough.
    """
    try:
        return torch.empty(count, dtype=torch.float32)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"cannot keep {_gigabytes(count)} in memory: {MEMORY_ADVICE}") from error


def imagined(count: int) -> Tensor:
    """No room at all: to find out how much would be needed."""
    return torch.empty(count, dtype=torch.float32, device="meta")


def on_disk(folder: Path) -> Callable[[int], Tensor]:
    """Room in nameless files of a folder; the system frees them with the tensor, and however the process ends.

    Raises:
        UserError: when room is asked for: the folder cannot be written to, or the disk is full.
    """

    def allocate(count: int) -> Tensor:
        try:
            with TemporaryFile(dir=folder) as file:
                _reserve(file, count * FLOAT_BYTES)
                return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="r+", shape=(count,)))
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise UserError(f"cannot keep {_gigabytes(count)} in {folder}: {reason}; choose another folder") from error

    return allocate


def _gigabytes(count: int) -> str:
    return f"{count * FLOAT_BYTES / 1e9:.1f} GB"


def _reserve(file: IO[bytes], size: int) -> None:
    """Take the disk's blocks now: a disk that fills up under a mapped file ends the process without a word."""
    if sys.platform == "linux":
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(ZEROS)):
        file.write(ZEROS[: size - start])
    file.flush()

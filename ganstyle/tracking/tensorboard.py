"""TensorBoard: event files in the run's folder. The only file that imports its writer, an extra of the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ganstyle.base.errors import UserError, one_line
from ganstyle.tracking.tracker import SilentTracker, finite_numbers, histogram

ERRORS_BEFORE_GIVING_UP = 3  # in a row
FLUSH_S = 10


def check_tensorboard() -> None:
    """Raise `UserError` where the extra is not installed."""
    if find_spec("tensorboard") is None:
        raise UserError(
            "tracking.tensorboard: TensorBoard is not installed; pip install 'ganstyle[tensorboard]', "
            "or use tracking.tensorboard=false"
        )


class TensorboardTracker(SilentTracker):
    """Curves, histograms, pictures and alerts for TensorBoard; its first import takes seconds.

    Args:
        folder: where the event files are, of all times that the run went on.
        start: the step that the run goes on from; what earlier files tell of later ones is hidden.
        warn: told once when it is switched off.
    """

    def __init__(self, folder: Path, *, start: int, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        self._in_a_row, self._step = 0, start
        self._writer: Any = None
        try:
            self._open(start)
        except Exception as error:  # a full disk, or a version that does not fit
            self._switch_off(error)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._step = step
        self._attempt(lambda writer: [writer.add_scalar(*each, step) for each in finite_numbers(scalars).items()])

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Histograms of what is finite."""
        self._attempt(lambda writer: _histograms(writer, values, step))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """The picture as it is encoded."""
        self._attempt(lambda writer: _picture(writer, name, encoded, step))

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Under "Text"."""
        self._attempt(lambda writer: writer.add_text(f"events/{level}", f"**{title}** {text}", self._step))

    def rewind(self, step: int) -> None:
        """Hide what was told of later steps."""
        self._step = step
        self._attempt(lambda _: self._open(step))

    def close(self, *, failed: bool = False) -> None:
        """Write what is left."""
        self._attempt(lambda writer: writer.close())
        self._writer = None

    def _open(self, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow, and an extra

        if self._writer is not None:
            self._writer.close()
        self._writer = SummaryWriter(str(self.folder), purge_step=start + 1, flush_secs=FLUSH_S)

    def _attempt(self, action: Callable[[Any], object]) -> None:
        if self._writer is None:
            return
        try:
            action(self._writer)
            self._in_a_row = 0
        except Exception as error:
            self._in_a_row += 1
            if self._in_a_row == ERRORS_BEFORE_GIVING_UP:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        writer, self._writer = self._writer, None
        with suppress(Exception):  # what it has already may still be written
            writer.close()
        self.warn(f"TensorBoard is switched off for this run: {one_line(error)[:200]}")


def _histograms(writer: Any, values: Mapping[str, np.ndarray], step: int) -> None:
    found = {name: histogram(each) for name, each in values.items()}
    for name, (flat, counts, edges) in ((name, each) for name, each in found.items() if each):
        with np.errstate(over="ignore"):
            sum_squares = float(flat @ flat)
        writer.add_histogram_raw(
            name,
            min=float(flat.min()),
            max=float(flat.max()),
            num=len(flat),
            sum=float(flat.sum()),
            sum_squares=sum_squares,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )


def _picture(writer: Any, name: str, encoded: bytes, step: int) -> None:
    """Not through `add_image`, which would take a picture apart and write it anew as a larger PNG."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415

    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("a picture that cannot be read")
    height, width = pixels.shape[:2]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

"""Pillow without its warnings and its own limit on pixels, for as long as files are being read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


class _Switches:
    """How many files are being read, and what to put back after the last: the switches belong to the whole process."""

    lock = threading.Lock()
    readers = 0
    pixels_before: int | None = None
    filters = warnings.catch_warnings()


@contextmanager
def lenient_pillow(max_pixels: int) -> Iterator[None]:
    """No warnings from Pillow, and its limit on pixels not below `max_pixels` (ours is checked first).

    Loader threads enter and leave in any order; saving and restoring in each would leave the switches wrong.
    """
    with _Switches.lock:
        if _Switches.readers == 0:
            _Switches.pixels_before = Image.MAX_IMAGE_PIXELS
            _Switches.filters = warnings.catch_warnings()
            _Switches.filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Switches.readers += 1
        if Image.MAX_IMAGE_PIXELS is not None:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    try:
        yield
    finally:
        with _Switches.lock:
            _Switches.readers -= 1
            if _Switches.readers == 0:
                _Switches.filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = _Switches.pixels_before

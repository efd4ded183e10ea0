"""Pillow without its warnings and its own narrow limits, for as long as files are being read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, PngImagePlugin

# Of one packed profile or text of a PNG, unpacked: profiles of printers have several MB, and Pillow refuses a picture
# for 1 MiB. All texts together stay within Pillow's own limit (64 MiB).
LARGEST_PACKED_BYTES = 16_000_000


class _Switches:
    """How many files are being read, and what to put back after the last: the switches belong to the whole process."""

    lock = threading.Lock()
    readers = 0
    pixels_before: int | None = None
    packed_bytes_before = PngImagePlugin.MAX_TEXT_CHUNK
    filters = warnings.catch_warnings()


@contextmanager
def lenient_pillow(max_pixels: int) -> Iterator[None]:
    """No warnings from Pillow, and its limit on pixels not below `max_pixels` (ours is checked first).

    A packed text or profile of a PNG may have LARGEST_PACKED_BYTES.

    Loader threads enter and leave in any order; saving and restoring in each would leave the switches wrong.
    """
    with _Switches.lock:
        if _Switches.readers == 0:
            _Switches.pixels_before = Image.MAX_IMAGE_PIXELS
            _Switches.packed_bytes_before = PngImagePlugin.MAX_TEXT_CHUNK
            _Switches.filters = warnings.catch_warnings()
            _Switches.filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Switches.readers += 1
        PngImagePlugin.MAX_TEXT_CHUNK = LARGEST_PACKED_BYTES
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
                PngImagePlugin.MAX_TEXT_CHUNK = _Switches.packed_bytes_before

"""HEIC through `pillow-heif`, an extra: imported only when such a file is met."""

from __future__ import annotations

from typing import Any, BinaryIO

from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.data.pixels import Unreadable

MISSING = "HEIC needs pip install 'ganstyle[heic]'"

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
# Brands of the container alone: the ones that follow say whether it holds HEVC (HEIC) or AV1 (AVIF).
CONTAINERS = {b"mif1", b"msf1"}


def is_heic(file: BinaryIO) -> bool:
    """Whether a file is HEIC by its first bytes; leaves the place in the file as it was."""
    before = file.tell()
    file.seek(0)
    start = file.read(256)
    file.seek(before)
    if start[4:8] != b"ftyp":
        return False
    length = int.from_bytes(start[:4], "big")
    others = {start[place : place + 4] for place in range(16, min(length, len(start)), 4)}
    return start[8:12] in BRANDS or (start[8:12] in CONTAINERS and bool(others & BRANDS))


def open_heic(file: BinaryIO) -> Image.Image:
    """The image, its header read; Unreadable where the library is missing."""
    library = _library()
    if library is None:
        raise Unreadable(MISSING)
    file.seek(0)
    return library.HeifImageFile(file, "")


def make_heic_known() -> None:
    """Let Pillow write HEIC; UserError where the library is missing."""
    library = _library()
    if library is None:
        raise UserError(MISSING)
    library.register_heif_opener()


def _library() -> Any:
    try:
        import pillow_heif  # noqa: PLC0415
    except ImportError:
        return None
    return pillow_heif

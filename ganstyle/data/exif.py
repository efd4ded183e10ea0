"""EXIF as it stands in a file: directories of raw values, byte for byte but for what is asked to change.

Pillow's own EXIF record guesses the types of values when it writes them; here nothing is rewritten that need not be.
Source: CIPA DC-008 (EXIF 2.32) and TIFF 6.0; BigTIFF is read too.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import BinaryIO, NamedTuple

import numpy as np

PREFIX = b"Exif\0\0"
PHOTO_POINTER, GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005
POINTERS = {PHOTO_POINTER, GPS_POINTER, INTEROP_POINTER}

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
# Tags of a TIFF's first directory that hold the blocks that stand beside EXIF in other files.
XMP_TAG, IPTC_TAG, ICC_TAG = 700, 33723, 34675
# Bytes of one value of each kind, and how many of them are turned round together where the byte order changes.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
TURNED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# All values of a file together: more is no description of a photo, but values that overlap on purpose.
MOST_BYTES = 16_000_000


class BrokenExif(Exception):
    """EXIF data of which nothing can be kept."""


class Value(NamedTuple):
    """What stands beside one tag: its kind (a key of SIZES) and its bytes, in the byte order of the whole."""

    kind: int
    data: bytes


Directory = dict[int, Value]


@dataclass
class Exif:
    """Four directories; the second image (the thumbnail) is never read."""

    order: str = "<"  # as `struct` names it
    main: Directory = field(default_factory=dict)
    photo: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)
    lost: int = 0  # entries that could not be read

    def directories(self) -> tuple[Directory, ...]:
        """All four."""
        return self.main, self.photo, self.gps, self.interop


class _Layout(NamedTuple):
    """How one kind of TIFF stores a directory: plain, or with 64-bit places."""

    number: str
    place: str

    @property
    def inline(self) -> int:
        """The bytes up to which a value stands in its entry."""
        return struct.calcsize(self.place)


PLAIN, BIG = _Layout("H", "I"), _Layout("Q", "Q")


def parse(source: bytes | BinaryIO, *, without: Collection[int] = ()) -> Exif:
    """The EXIF of a block of bytes or of a TIFF file (whose first directory it is).

    Args:
        source: with or without the six bytes that stand in front of EXIF in a JPEG.
        without: tags that are passed over, as their values may be as large as the file.

    Raises:
        BrokenExif: the first directory cannot be read. A single broken value is left out and counted in `lost`.
    """
    file = BytesIO(_bare(source)) if isinstance(source, bytes) else source
    try:
        reader = _Reader(file, set(without))
        exif = Exif(reader.order, main=reader.directory(reader.first))
        exif.photo = reader.below(exif.main, PHOTO_POINTER)
        exif.gps = reader.below(exif.main, GPS_POINTER)
        exif.interop = reader.below(exif.photo, INTEROP_POINTER)
    except (struct.error, OSError, ValueError, OverflowError) as error:
        raise BrokenExif(str(error)) from error
    exif.lost = reader.lost
    return exif


def serialise(exif: Exif) -> bytes:
    """The directories as a block of bytes, without the six bytes of JPEG; empty directories are left out."""
    head = b"II*\0" if exif.order == "<" else b"MM\0*"
    return head + struct.pack(f"{exif.order}I", 8) + _directories(exif, exif.main, start=8)


def into_tiff(data: bytes, exif: Exif) -> bytes:
    """A TIFF file (not BigTIFF) with the directories added to its first; where both know a tag, the file's stays.

    The pixels are left where they are: a new first directory is put at the end.
    """
    order = "<" if data.startswith(b"II") else ">"
    reader = _Reader(BytesIO(data), set())
    exif = reordered(exif, order)
    start = len(data) + len(data) % 2
    tail = _directories(exif, exif.main | reader.directory(reader.first), start=start)
    # One copy: such files may fill half of the memory.
    return b"".join([data[:4], struct.pack(f"{order}I", start), memoryview(data)[8:], bytes(len(data) % 2), tail])


def with_blocks(
    tiff: bytes,
    *,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
    icc: bytes | None = None,
) -> bytes:
    """A TIFF file with EXIF data, an XMP packet, IPTC data and a profile, each as it is; see `into_tiff`."""
    found = parse(exif) if exif else Exif()
    for tag, kind, block in ((XMP_TAG, BYTE, xmp), (IPTC_TAG, UNDEFINED, iptc), (ICC_TAG, UNDEFINED, icc)):
        if block:
            found.main[tag] = Value(kind, block)
    return into_tiff(tiff, found) if any(found.directories()) else tiff


def reordered(exif: Exif, order: str) -> Exif:
    """The same in another byte order; what is inside of untyped values (makers' notes) stays as it is."""
    if order == exif.order:
        return exif
    main, photo, gps, interop = ({tag: _turned(value) for tag, value in each.items()} for each in exif.directories())
    return Exif(order, main, photo, gps, interop, exif.lost)


def text(words: str) -> Value:
    """A text; other characters than ASCII as UTF-8, as nearly everybody writes them."""
    return Value(ASCII, words.replace("\0", "").encode("utf-8") + b"\0")


def short(exif: Exif, number: int) -> Value:
    """A 16-bit number."""
    return Value(SHORT, struct.pack(f"{exif.order}H", number))


def long(exif: Exif, number: int) -> Value:
    """A 32-bit number."""
    return Value(LONG, struct.pack(f"{exif.order}I", number))


def rational(exif: Exif, number: float) -> Value:
    """A number of 0 to 65535 as a fraction of two 32-bit numbers."""
    fraction = Fraction(number).limit_denominator(1000)
    return Value(RATIONAL, struct.pack(f"{exif.order}II", fraction.numerator, fraction.denominator))


def number_of(exif: Exif, value: Value | None) -> int | None:
    """A 16-bit or 32-bit number; None where there is none."""
    layout = {SHORT: "H", LONG: "I"}.get(value.kind) if value is not None else None
    return None if value is None or layout is None else int(struct.unpack_from(f"{exif.order}{layout}", value.data)[0])


def text_of(value: Value | None) -> str:
    """The words of a text; empty where there is none."""
    return "" if value is None else value.data.split(b"\0")[0].decode("utf-8", "replace").strip()


def _bare(data: bytes) -> bytes:
    while data.startswith(PREFIX):
        data = data[len(PREFIX) :]
    return data


def _turned(value: Value) -> Value:
    width = TURNED.get(value.kind, 1)
    return Value(value.kind, np.frombuffer(value.data, f"u{width}").byteswap().tobytes())


class _Reader:
    """The directories of one file; counts what it cannot read."""

    def __init__(self, file: BinaryIO, without: set[int]) -> None:
        self.file, self.without = file, without
        self.lost, self.bytes_left = 0, MOST_BYTES
        file.seek(0)
        start = file.read(16)
        self.order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        if not self.order:
            raise ValueError("no byte order at its start")
        (version,) = struct.unpack_from(f"{self.order}H", start, 2)
        self.layout = BIG if version == 43 else PLAIN
        (self.first,) = struct.unpack_from(f"{self.order}{self.layout.place}", start, 8 if version == 43 else 4)

    def directory(self, place: int) -> Directory:
        """The tags of the directory at a place; the later of two of one number counts."""
        self.file.seek(place)
        layout = f"{self.order}{self.layout.number}"
        (count,) = struct.unpack(layout, self.file.read(struct.calcsize(layout)))
        entry = struct.Struct(f"{self.order}HH{self.layout.place}{self.layout.inline}s")
        if count > 65535:
            raise ValueError(f"{count} entries")
        table = self.file.read(count * entry.size)
        self.lost += count - len(table) // entry.size
        found = {}
        for tag, kind, number, inline in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
            value = None if tag in self.without else self._value(kind, number, inline)
            if value is not None:
                found[tag] = value
        return found

    def below(self, above: Directory, pointer: int) -> Directory:
        """The directory to which a tag points; the pointer is taken out, as its place will be another."""
        value = above.pop(pointer, None)
        if value is None:
            return {}
        try:
            place = int.from_bytes(value.data, "little" if self.order == "<" else "big")
            return self.directory(place)
        except (struct.error, OSError, ValueError, OverflowError):
            self.lost += 1
            return {}

    def _value(self, kind: int, count: int, inline: bytes) -> Value | None:
        size = SIZES.get(kind, 0) * count
        data = inline[:size]
        if size > len(inline):
            self.file.seek(struct.unpack(f"{self.order}{self.layout.place}", inline)[0])
            data = self.file.read(size) if size <= self.bytes_left else b""
        if not size or len(data) < size:
            self.lost += 1
            return None
        self.bytes_left -= size
        return Value(kind, data)


def _directories(exif: Exif, main: Mapping[int, Value], *, start: int) -> bytes:
    """The first directory at `start`, the others behind it, with the pointers between them."""
    whole = dict(main)
    photo, gps = dict(exif.photo), exif.gps
    pointed = [(photo, INTEROP_POINTER, exif.interop), (whole, PHOTO_POINTER, photo), (whole, GPS_POINTER, gps)]
    for above, pointer, below in pointed:
        if below:  # a place of the right length, until the places are known
            above[pointer] = long(exif, 0)
    place = start + _length(whole)
    for above, pointer, below in (pointed[1], pointed[0], pointed[2]):
        if below:
            above[pointer] = long(exif, place)
            place += _length(below)
    blocks, place = b"", start
    for each in (whole, photo, exif.interop, gps):
        if each:
            blocks += _packed(each, exif.order, start + len(blocks))
    return blocks


def _length(directory: Mapping[int, Value]) -> int:
    outside = sum(len(value.data) + len(value.data) % 2 for value in directory.values() if len(value.data) > 4)
    return 2 + 12 * len(directory) + 4 + outside


def _packed(directory: Mapping[int, Value], order: str, start: int) -> bytes:
    """One directory as it stands at the place `start`: its table, then the values that do not fit into the table."""
    table, outside = struct.pack(f"{order}H", len(directory)), b""
    behind = start + 2 + 12 * len(directory) + 4
    for tag, (kind, data) in sorted(directory.items()):
        field_ = data.ljust(4, b"\0")
        if len(data) > 4:
            field_ = struct.pack(f"{order}I", behind + len(outside))
            outside += data + bytes(len(data) % 2)
        table += struct.pack(f"{order}HHI", tag, kind, len(data) // SIZES[kind]) + field_
    return table + bytes(4) + outside

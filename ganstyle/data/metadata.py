"""What a photo's file says beside the pixels: what of it is written again, and the note of how a picture was made.

Kept: EXIF, XMP, IPTC, resolution, comments, texts. Never kept, because it would be untrue: thumbnails, the pixel layout
of a TIFF, pointers to gain maps. Kept only when it is asked for, because it tells where somebody was: EXIF's GPS
directory, makers' notes, and every XMP property named like a place (see `xmp.PLACES`). The names of towns and countries
that somebody wrote into a caption (IPTC, photoshop:City) are no coordinates and stay. Of a TIFF's own directory only
the tags of EXIF stay; unknown ones may hold a place (GeoTIFF) or the file's layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ganstyle import __version__
from ganstyle.data import exif as exifs
from ganstyle.data.exif import BrokenExif, Exif
from ganstyle.data.xmp import EXIF, TIFF, BrokenXmp, Packet, tells_a_place

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, SOFTWARE = 0x0112, 0x011A, 0x011B, 0x0128, 0x0131
INCH = 2  # of the resolution
MAKER_NOTE, COLOUR_SPACE, WIDTH, HEIGHT, GAMMA = 0x927C, 0xA001, 0xA002, 0xA003, 0xA500
INTEROP_INDEX = 0x0001
SRGB, R98 = 1, b"R98\0"

# The tags of the first directory that describe the photo, and not how its pixels are stored.
DESCRIPTIONS = {
    *(0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, 0x011D, RESOLUTION_UNIT, SOFTWARE),
    *(0x0132, 0x013B, 0x013C),
    *(0x4746, 0x4749, 0x8298, 0x829A, 0x829D, 0x8822, 0x8827, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
    *range(0x9000, 0x9300),
} - {MAKER_NOTE}
# Room that one program leaves for itself, and where a maker's note stood before it was moved.
PADDING = {0xEA1C, 0xEA1D}
# Tags of a TIFF that may be as large as the file, or hold another picture of it: never even read.
PIXEL_TAGS = {273, 279, 324, 325, 320, 330, 347, 700, 33723, 34377, 34675, 37724, 50740, 50838, 50839}

# What each format can hold.
HOLDS: dict[str, frozenset[str]] = {
    "jpeg": frozenset({"ICC", "EXIF", "XMP", "IPTC", "resolution", "comment"}),
    "png": frozenset({"ICC", "EXIF", "XMP", "resolution", "texts"}),
    "webp": frozenset({"ICC", "EXIF", "XMP"}),
    "tiff": frozenset({"ICC", "EXIF", "XMP", "IPTC", "resolution"}),
    "bmp": frozenset({"resolution"}),
    "gif": frozenset({"comment"}),
    "avif": frozenset({"ICC", "EXIF", "XMP"}),
    "heic": frozenset({"ICC", "EXIF", "XMP"}),
}
# The most bytes of a block, where a format has a limit: one marker of a JPEG.
LARGEST = {
    ("jpeg", "EXIF"): 65533 - 6,
    ("jpeg", "XMP"): 65533 - 29,
    ("jpeg", "IPTC"): 65000,
    ("jpeg", "comment"): 65533,
}

NOTE_TEXT = "ganstyle"  # the keyword of the note in a PNG


@dataclass(frozen=True)
class Source:
    """What a photo's file was, and the blocks of bytes that it held beside the pixels, as they were."""

    format: str  # a name in FORMATS
    mode: str  # Pillow's name for the kind of pixels: RGB, CMYK, I;16, ...
    grey: bool
    bits: int  # per channel
    size: tuple[int, int]  # (width, height) in pixels, upright, before anything was reduced
    icc: bytes | None = None
    icc_converted: bool = False  # the profile changed the colours; False for none, sRGB or a broken one
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    texts: tuple[tuple[str, str], ...] = ()  # of a PNG
    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    jpeg_subsampling: int | None = None  # 0: 4:4:4, 1: 4:2:2, 2: 4:2:0, None: another or not a JPEG
    progressive: bool = False
    lossless: bool = False  # of WebP
    times_ns: tuple[int, int] | None = None  # when it was last read and changed
    lost: tuple[str, ...] = ()  # what reading it could not keep, a line each


@dataclass(frozen=True)
class Keeping:
    """What is to be kept of a photo's file."""

    metadata: bool = True  # False: EXIF, XMP, resolution, times and comments all go; the pixels' profile stays
    gps: bool = False
    grey: bool = False  # a grey photo's result is written grey
    quality: int | None = None  # None: the source's JPEG tables and subsampling, 95 for other formats
    provenance: Mapping[str, str] | None = None  # what the note in the file says; None: no note


@dataclass
class Blocks:
    """What is to stand in a file beside its pixels; `parts` by the names in HOLDS."""

    parts: dict[str, bytes] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    texts: dict[str, str] = field(default_factory=dict)


def blocks_to_write(
    source: Source, keeping: Keeping, *, format: str, size: tuple[int, int], became_srgb: bool
) -> tuple[Blocks, list[str]]:
    """The blocks for a file of `format` and (width, height), and a line on each thing that could not be kept.

    `became_srgb` says that the pixels are in sRGB now whatever the source says.
    """
    lines: list[str] = []
    kept = source if keeping.metadata else Source(source.format, source.mode, source.grey, source.bits, source.size)
    note = None if keeping.provenance is None else {name: str(value) for name, value in keeping.provenance.items()}
    exif = _read_exif(kept.exif, lines)
    packet = _read_xmp(kept.xmp, lines)
    _correct_exif(exif, keeping, size, became_srgb)
    if "resolution" not in HOLDS[format]:
        _put_resolution(exif, kept.dpi)
    if packet is not None:
        _correct_xmp(packet, keeping, size, became_srgb, lines)
    texts = {name: words for name, words in kept.texts if keeping.gps or not tells_a_place(name)}
    if note is not None:
        _put_note(note, exif, texts)
    found = {
        "EXIF": _written(exif),
        "XMP": _packed(packet, note, LARGEST.get((format, "XMP")), lines),
        "IPTC": kept.iptc,
        "comment": kept.comment,
    }
    blocks = Blocks({name: data for name, data in found.items() if data}, kept.dpi, texts)
    _leave_out(blocks, format, had=_parts_of(kept), lines=lines)
    if note is not None and "XMP" not in blocks.parts:
        lines.append(f"the note of how it was made is left out: {format} cannot hold it")
    return blocks, lines


def note_in(xmp: bytes | None, texts: Mapping[str, str]) -> dict[str, str] | None:
    """The note of a translation in a file's XMP, or else in a PNG's texts; None where there is none."""
    try:
        found = Packet(xmp).note() if xmp else None
    except BrokenXmp:
        found = None
    if found is None and NOTE_TEXT in texts:
        try:
            loaded = json.loads(texts[NOTE_TEXT])
        except ValueError:
            return None
        return {str(name): str(value) for name, value in loaded.items()} if isinstance(loaded, dict) else None
    return found


def _read_exif(data: bytes | None, lines: list[str]) -> Exif:
    if not data:
        return Exif()
    try:
        exif = exifs.parse(data)
    except BrokenExif:
        lines.append("its EXIF data is damaged: left out")
        return Exif()
    if exif.lost:
        entries = "1 entry of it is" if exif.lost == 1 else f"{exif.lost} entries of it are"
        lines.append(f"its EXIF data is partly damaged: {entries} left out")
    return exif


def _read_xmp(data: bytes | None, lines: list[str]) -> Packet | None:
    if not data:
        return None
    try:
        return Packet(data)
    except BrokenXmp as error:
        lines.append(f"its XMP data is left out: {error}")
        return None


def _correct_exif(exif: Exif, keeping: Keeping, size: tuple[int, int], became_srgb: bool) -> None:
    """Make it true of the new file, in place."""
    exif.main = {tag: value for tag, value in exif.main.items() if tag in DESCRIPTIONS}
    dropped = PADDING if keeping.gps else PADDING | {MAKER_NOTE}
    exif.photo = {tag: value for tag, value in exif.photo.items() if tag not in dropped}
    if not keeping.gps:
        exif.gps = {}
    if ORIENTATION in exif.main:
        exif.main[ORIENTATION] = exifs.short(exif, 1)
    if exif.photo:
        exif.photo[WIDTH], exif.photo[HEIGHT] = (exifs.long(exif, length) for length in size)
    if became_srgb and exif.photo:
        exif.photo[COLOUR_SPACE] = exifs.short(exif, SRGB)
        exif.photo.pop(GAMMA, None)
    if became_srgb and INTEROP_INDEX in exif.interop:
        exif.interop[INTEROP_INDEX] = exifs.Value(exifs.ASCII, R98)


def _correct_xmp(packet: Packet, keeping: Keeping, size: tuple[int, int], became_srgb: bool, lines: list[str]) -> None:
    """Make it true of the new file, in place."""
    if not keeping.gps:
        packet.drop_places()
    if packet.drop_stale():
        lines.append("the gain map, depth map or film that belongs to the photo is left out")
    packet.correct(TIFF, "Orientation", "1")
    for namespace, width, height in ((EXIF, "PixelXDimension", "PixelYDimension"), (TIFF, "ImageWidth", "ImageLength")):
        packet.correct(namespace, width, str(size[0]))
        packet.correct(namespace, height, str(size[1]))
    if became_srgb:
        packet.correct(EXIF, "ColorSpace", str(SRGB))
        packet.drop("http://ns.adobe.com/photoshop/1.0/", "ICCProfile")


def _put_resolution(exif: Exif, dpi: tuple[float, float] | None) -> None:
    """For formats that have no other place for it; what EXIF says already stays."""
    if dpi is None or X_RESOLUTION in exif.main:
        return
    across, down = (exifs.rational(exif, each) for each in dpi)
    exif.main |= {X_RESOLUTION: across, Y_RESOLUTION: down, RESOLUTION_UNIT: exifs.short(exif, INCH)}


def _put_note(note: dict[str, str], exif: Exif, texts: dict[str, str]) -> None:
    """Name the program, and remember in the note which program the photo came from."""
    software = note.get("software", f"ganstyle {__version__}")
    before = exifs.text_of(exif.main.get(SOFTWARE)) or texts.get("Software", "")
    if before and before != software:
        note.setdefault("source_software", before)
    exif.main[SOFTWARE] = exifs.text(software)
    texts["Software"] = software
    texts[NOTE_TEXT] = json.dumps(note)


def _written(exif: Exif) -> bytes | None:
    return exifs.serialise(exif) if any(exif.directories()) else None


def _packed(packet: Packet | None, note: dict[str, str] | None, most: int | None, lines: list[str]) -> bytes | None:
    """The packet with the note; the note alone where both are too long."""
    if note is not None:
        packet = packet or Packet()
        packet.put_note(note)
    if packet is None or packet.is_empty():
        return None
    data = packet.to_bytes()
    if most is None or len(data) <= most:
        return data
    lines.append(f"its XMP data is left out: {len(data) / 1000:.0f} kB do not fit into a JPEG")
    return _packed(None, note, None, lines) if note is not None else None


def _parts_of(source: Source) -> set[str]:
    found = {"EXIF": source.exif, "XMP": source.xmp, "IPTC": source.iptc, "comment": source.comment}
    return {name for name, data in found.items() if data} | ({"texts"} if source.texts else set())


def _leave_out(blocks: Blocks, format: str, *, had: set[str], lines: list[str]) -> None:
    """Take out what the format does not hold, with a line on each thing that the photo had."""
    for name, data in list(blocks.parts.items()):
        if name not in HOLDS[format] or len(data) > LARGEST.get((format, name), len(data)):
            del blocks.parts[name]
            if name in had:
                lines.append(f"its {name} data is left out: {format} cannot hold it")
    if "texts" not in HOLDS[format]:
        blocks.texts = {}
        if "texts" in had:
            lines.append(f"its texts are left out: {format} cannot hold them")
    if "resolution" not in HOLDS[format]:
        if blocks.dpi is not None and "EXIF" not in blocks.parts:  # where EXIF is, it has the resolution
            lines.append(f"its resolution in dots per inch is left out: {format} cannot hold it")
        blocks.dpi = None

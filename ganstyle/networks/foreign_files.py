"""Files that other programs wrote: what they hold, found out without running anything that is in them."""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ganstyle.base.errors import UserError, one_line, printable

HEAD_BYTES, CHUNK_BYTES = 512, 2**20
# How files begin that people take for weights, often because a download page was saved instead of the file.
BEGINNINGS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what)
    for pattern, what in (
        (rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head)", "a web page, as a download link often gives; get the file"),
        (rb"version https://git-lfs", "a pointer of Git LFS; run: git lfs pull"),
        (rb"\xff\xd8\xff", "a picture (JPEG)"),
        (rb"\x89PNG", "a picture (PNG)"),
        (rb"GIF8", "a picture (GIF)"),
        (rb"RIFF....WEBP", "a picture (WebP)"),
        (rb"(II\*\0|MM\0\*)", "a picture (TIFF)"),
        (rb"%PDF", "a PDF"),
        (rb"\x1f\x8b", "a packed file (gzip); unpack it and give the .pth in it"),
        (rb"7z\xbc\xaf\x27\x1c", "an archive (7z); unpack it and give the .pth in it"),
        (rb"Rar!", "an archive (RAR); unpack it and give the .pth in it"),
        (rb".{257}ustar", "an archive (tar); unpack it and give the .pth in it"),
        (rb"\x89HDF", "a model of Keras (HDF5)"),
        (rb"\x93NUMPY", "an array of numpy"),
        (rb"\s*[{\[][\s\"]", "a text (JSON)"),
        (rb"[\t\n\r\x20-\x7e]{16}", "a text"),
    )
)
LIGHTNING = ("pytorch-lightning_version", "hparams_name", "hyper_parameters")


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors, by its beginning: the length of a header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def read_content(path: Path) -> Any:
    """What a file of PyTorch or of safetensors holds, its tensors on the CPU; no code in it is run.

    Raises:
        UserError: something else, damaged, or it holds more than tensors and plain values: says what it looks like.
    """
    if not path.is_file():
        _refuse(path, "it is no file")
    try:
        return load_file(path) if is_safetensors(path) else _unpickled(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a model that can be read ({one_line(error)[:120]})") from error


def _unpickled(path: Path) -> Any:
    is_zip = _refuse_beginnings(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused all the same
            # Mapped where that can be: of a large file of something else only the names are read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # torch raises half a dozen kinds for damaged or foreign files
        _refuse_failure(path, error)


def _refuse_beginnings(path: Path) -> bool:
    """Whether a file is a zip archive as PyTorch writes it; `UserError` for what is not of PyTorch at all."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        _refuse(path, "it is empty; download it again")
    if not head.startswith(b"PK"):
        for pattern, what in BEGINNINGS:
            if pattern.match(head):
                _refuse(path, f"it looks like {what}")
        return False
    try:
        if not zipfile.is_zipfile(path):
            _refuse(path, "it is cut off; download it again")
        with zipfile.ZipFile(path) as archive:
            _refuse_other_archives(path, archive.namelist())
            broken = _broken(path, archive)  # last: it reads the whole file
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        _refuse(path, f"it is damaged: {one_line(error)[:80]}; download it again")
    if broken:
        _refuse(path, f"it is damaged: {printable(broken)[:80]} is not what was written; download it again")
    return True


def _refuse_other_archives(path: Path, names: Sequence[str]) -> None:
    """`UserError` for an archive that is not of PyTorch's weights, by the names in it."""
    if any(name.endswith("/constants.pkl") for name in names):
        _refuse(path, "it is a TorchScript program: it holds code, which was not run; give a file of weights alone")
    if not any(name.endswith("/data.pkl") for name in names):
        inner = next((name for name in names if name.endswith((".pth", ".pt"))), "the .pth")
        _refuse(path, f"it looks like an archive (zip); unpack it and give {printable(inner)[:80]} in it")


def _broken(path: Path, archive: zipfile.ZipFile) -> str | None:
    """The first record that is not what its checksum says; PyTorch can be told to write none, all are wrong then."""
    # As PyTorch writes them: a hostile file's packed or overlapping ones could be read for hours.
    records = [each for each in archive.infolist() if each.file_size and each.compress_type == zipfile.ZIP_STORED]
    if sum(each.compress_size for each in records) > path.stat().st_size:
        return "more than the file can hold"
    broken = [each.filename for each in records if not _is_whole(archive, each)]
    return broken[0] if 0 < len(broken) < len(records) else None


def _is_whole(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(record) as opened:
            while opened.read(CHUNK_BYTES):
                pass
    except Exception:  # half a dozen kinds for damaged archives
        return False
    return True


def _refuse_failure(path: Path, error: Exception) -> NoReturn:
    """Say why a file of PyTorch could not be read without running what is in it."""
    text = one_line(error)
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if name := found[1] if found else _called(path):
        what = "a whole pickled module" if _is_module(name) else "objects beside weights"
        raise UserError(
            f"{path}: holds code ({printable(name)[:80]}), which was not run: it looks like {what}; give a file of "
            "weights alone, as torch.save(network.state_dict(), FILE) writes it"
        ) from error
    cut = "is cut off" if isinstance(error, EOFError) or "EOF" in text else f"is damaged: {printable(text)[:100]}"
    raise UserError(f"{path}: not a model that can be read (it {cut}); download it again") from error


def _called(path: Path) -> str | None:
    """The first function or class that a bare pickle names, read without unpickling; None where it names none."""
    texts: list[str] = []
    with path.open("rb") as file, suppress(Exception):  # any of a dozen kinds for what is no pickle
        for operation, argument, _ in pickletools.genops(file):
            if operation.name in ("GLOBAL", "INST"):
                return str(argument).replace(" ", ".")
            if operation.name == "STACK_GLOBAL":
                return ".".join(texts[-2:])
            if isinstance(argument, str):
                texts.append(argument)
    return None


def _is_module(name: str) -> bool:
    """Whether a class that a pickle names is a network's."""
    return name.startswith(("torch.nn.modules", "models.", "networks.", "__main__.")) or "enerator" in name


def _refuse(path: Path, why: str) -> NoReturn:
    raise UserError(f"{path}: not a model that can be read ({why})")


def is_lightning(content: Any) -> bool:
    """Whether a file's content is a checkpoint of PyTorch Lightning."""
    return isinstance(content, Mapping) and any(key in content for key in LIGHTNING)

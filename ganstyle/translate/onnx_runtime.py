"""Models in ONNX files, run by ONNX Runtime: what `Translator` does, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ganstyle.base.errors import UserError, one_line, printable
from ganstyle.base.keys import DEVICE_PATTERN
from ganstyle.translate.facts import ModelFacts, described
from ganstyle.translate.kinds import in_batches, translate_any
from ganstyle.translate.memory import MEMORY_ADVICE, free_host_memory

FORMAT = "ganstyle-onnx-1"
INPUT, OUTPUT = "image", "translation"
CUDA = "CUDAExecutionProvider"
REASON_LENGTH = 160


class OnnxTranslator:
    """Translates images with one generator in ONNX Runtime; of any size, each to its own size.

    Args:
        session: of ONNX Runtime; takes and gives float32 (N, 3, H, W) in [-1, 1] of any size.
        spec: what the network was built from.
        facts: direction, step and kind of weights.
        peak_bytes_per_px: the most memory that one pixel takes while it computes; 0 when it is not known.
    """

    def __init__(self, session: Any, spec: Mapping[str, Any], facts: ModelFacts, *, peak_bytes_per_px: int = 0) -> None:
        self._session, self._peak_bytes_per_px = session, peak_bytes_per_px
        self._held_bytes = 0
        self.spec, self.facts = spec, facts
        self._on_cuda = CUDA in session.get_providers()
        self.device = f"ONNX Runtime, {'cuda' if self._on_cuda else 'cpu'}"

    def translate(self, image: Any) -> Any:
        """Translate what is given and give back the same kind; see `translate_any`.

        Raises:
            UserError: a file that cannot be read, another kind, shape or dtype, or an image that is too large.
        """
        return translate_any(image, self.many)

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Translate one array, uint8 or uint16 (H, W, 3); the result has its dtype."""
        return to_pixels(self.run(to_images(pixels)), pixels.dtype)[0]

    def many(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Translate arrays as `pixels` does, those of one size and dtype in one batch where it fits the memory.

        Raises:
            UserError: one of them is too large, or the model failed on it.
        """
        return in_batches(arrays, together=self._together, alone=self.pixels)

    def _together(self, batch: np.ndarray) -> np.ndarray | None:
        try:
            return to_pixels(self.run(to_images(batch)), batch.dtype)
        except UserError:  # fewer may fit, and if one image is to blame, it is named when it is translated alone
            return None

    def run(self, images: np.ndarray) -> np.ndarray:
        """Translate float32 (N, 3, H, W) in [-1, 1]; the result has the same shape and range."""
        height, width = images.shape[2:]
        self._check_memory(images)
        try:
            result: np.ndarray = self._session.run([OUTPUT], {INPUT: images})[0]
        except Exception as error:  # its exceptions have no common type
            raise UserError(
                f"{width} x {height} px: ONNX Runtime failed ({_reason(error)}); {MEMORY_ADVICE}"
            ) from error
        if result.shape != images.shape or not np.isfinite(result).all():
            got = "NaN or infinity" if result.shape == images.shape else f"the shape {result.shape}"
            raise UserError(f"{width} x {height} px: the model gave {got} for {images.shape}: export it again")
        return result

    def _check_memory(self, images: np.ndarray) -> None:
        """Refuse what would not fit, before the system ends the whole process for it."""
        batch, _, height, width = images.shape
        needed, free = batch * height * width * self._peak_bytes_per_px, free_host_memory()
        # What earlier images took stays with the runtime, which takes it again.
        if not self._on_cuda and free is not None and needed > free + self._held_bytes:
            raise UserError(
                f"{width} x {height} px need about {needed / 1e9:.1f} GB at once, {free / 1e9:.1f} GB are free: "
                f"{MEMORY_ADVICE}"
            )
        self._held_bytes = max(self._held_bytes, needed)


def read_onnx(path: Path, *, device: str = "auto", threads: int | None = None) -> OnnxTranslator:
    """The translator in an ONNX file that `write_onnx` wrote.

    Args:
        path: the file.
        device: auto, cpu, cuda or cuda:N; auto takes CUDA where this ONNX Runtime has it.
        threads: of the CPU; by default as many as this process may use.

    Raises:
        UserError: ONNX Runtime or the file is missing, it is damaged, not a model of ganstyle, or made for a newer
            ONNX Runtime, or the device is not there.
    """
    if not path.is_file():
        raise UserError(f"there is no model at {path}: expected a file that ganstyle exported as .onnx")
    session = open_session(str(path), providers=_providers(device), threads=threads, name=str(path))
    if device.startswith("cuda") and CUDA not in session.get_providers():
        raise UserError(f"device: ONNX Runtime cannot start {device} here: use device=cpu or mend its CUDA libraries")
    metadata = _metadata(path, session)
    spec, facts = described(path, metadata)
    return OnnxTranslator(session, spec, facts, peak_bytes_per_px=_peak_bytes_per_px(path, metadata))


def library() -> ModuleType:
    """The ONNX Runtime; `UserError` where it is not installed."""
    try:
        import onnxruntime  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise UserError("ONNX models need packages that are not installed: pip install 'ganstyle[onnx]'") from error
    onnxruntime.disable_telemetry_events()  # the builds for Windows report their use otherwise
    return onnxruntime


def open_session(
    model: str | bytes, *, providers: list[Any], threads: int | None = None, name: str = "the model"
) -> Any:
    """A session of ONNX Runtime for a file's path or content; `UserError` in one line when it cannot be loaded."""
    runtime = library()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what matters of it is raised
    options.intra_op_num_threads = allowed_threads() if threads is None else threads
    try:
        return runtime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # its exceptions have no common type
        raise UserError(
            f"{name}: not a model that ONNX Runtime {runtime.__version__} can read ({_reason(error)}): "
            "update onnxruntime or export the model again"
        ) from error


def _reason(error: Exception) -> str:
    """The end of what ONNX Runtime says; it begins with names of its own source files."""
    text = printable(one_line(error)).rstrip(". ")
    return text if len(text) <= REASON_LENGTH else f"...{text[-REASON_LENGTH:]}"


def allowed_threads() -> int:
    """How many CPU threads this process may use; 0, the runtime's own choice, when that is all of the machine's.

    Its own choice is the machine's cores, whatever part of them a container or a scheduler allows.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if allowed is None or allowed == os.cpu_count() else allowed


def _providers(device: str) -> list[Any]:
    """What ONNX Runtime computes with, the CPU last: it takes over what the others cannot do."""
    if not DEVICE_PATTERN.fullmatch(device):
        raise UserError(f"device: got {device!r}, expected auto, cpu, cuda or cuda:N")
    kind, _, number = device.partition(":")
    cuda = CUDA in library().get_available_providers()
    available = {"auto": True, "cpu": True, "cuda": cuda}
    if not available.get(kind, False):
        have = "cpu, cuda" if cuda else "cpu"
        raise UserError(
            f"device: {device} is not available to this ONNX Runtime (available: {have}); "
            "use device=auto, or onnxruntime-gpu in place of onnxruntime for cuda"
        )
    first = [(CUDA, {"device_id": number or "0"})] if cuda and kind != "cpu" else []
    return [*first, "CPUExecutionProvider"]


def _metadata(path: Path, session: Any) -> Mapping[str, str]:
    """What the file says of itself, its inputs and outputs checked."""
    try:
        metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        ends = [(each.name, each.type) for each in (*session.get_inputs(), *session.get_outputs())]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: its description is damaged (text that is not UTF-8)") from error
    if metadata.get("format") != FORMAT:
        found = printable(repr(metadata.get("format")))[:100]
        raise UserError(f"{path}: an ONNX file, but not a model of ganstyle (format {found})")
    if ends != [(INPUT, "tensor(float)"), (OUTPUT, "tensor(float)")]:
        raise UserError(f"{path}: its description is damaged (its inputs and outputs)")
    return metadata


def _peak_bytes_per_px(path: Path, metadata: Mapping[str, str]) -> int:
    try:
        return int(metadata["peak_bytes_per_px"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its description is damaged ({printable(one_line(error))[:100]})") from error


def to_images(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 (H, W, 3) or (N, H, W, 3) to float32 (N, 3, H, W); 0 and the highest level meet -1 and 1."""
    batch = pixels if pixels.ndim == 4 else pixels[None]
    images = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)
    images /= np.float32(np.iinfo(pixels.dtype).max / 2)
    images -= np.float32(1)
    return images


def to_pixels(images: np.ndarray, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """Float32 (N, 3, H, W) in [-1, 1] to uint8 or uint16 (N, H, W, 3), rounded; what lies outside is clipped."""
    highest = np.iinfo(dtype).max
    levels = ((images + np.float32(1)) * np.float32(highest / 2)).round().clip(0, highest)
    return np.ascontiguousarray(levels.astype(dtype).transpose(0, 2, 3, 1))

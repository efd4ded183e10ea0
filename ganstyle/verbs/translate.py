"""Translate a photo or a folder of photos: nothing of them is lost, and nothing is done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganstyle import __version__
from ganstyle.data.folders import megapixels, sizes_of
from ganstyle.data.outputs import Task, is_single, plan
from ganstyle.data.photos import Keeping, Photo, read_photo, write_photo
from ganstyle.data.pixels import within
from ganstyle.translate.folder import Progress, Report, translate_tasks
from ganstyle.translate.forecast import Forecast, forecast
from ganstyle.translate.ledger import Ledger
from ganstyle.translate.onnx_runtime import OnnxTranslator
from ganstyle.translate.pipeline import Limits, Stages
from ganstyle.translate.shards import shard_named, share
from ganstyle.verbs.editing import Edit, edit_named
from ganstyle.verbs.runtimes import ONNX_SUFFIX, digest_of, load

if TYPE_CHECKING:
    from ganstyle.translate.translator import Translator

# On a GPU small images leave most of it idle; on a CPU a batch takes as long as its images one by one.
CUDA_BATCH = 8
TRIAL_PX = 256
LEAST_TO_COMPILE_MP = 10
# What launchers call the number of a process on its machine.
LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Job:
    """Photos with all that is needed to translate them.

    Args:
        translator: the model.
        tasks: what to make of what, of this shard.
        sizes: (width, height) of each task's photo as it will be read; None where its header cannot be.
        originals: the same, before any is made smaller.
        stages: how one file is read, computed and written.
        ledger: where it is noted; None where the output is one named file.
        overwrite: make again what is there.
        retry_failed: try again what failed before.
        say: told one line at a time of what people should know.
        tells_bytes: whether files become about as large as their sources.
    """

    translator: Translator | OnnxTranslator
    tasks: Sequence[Task]
    sizes: Sequence[tuple[int, int] | None]
    originals: Sequence[tuple[int, int] | None]
    stages: Stages[Task, Photo]
    ledger: Ledger | None
    overwrite: bool
    retry_failed: bool
    say: Callable[[str], None]
    tells_bytes: bool = True

    def run(self, advance: Callable[[Progress], None] = lambda _: None) -> Report:
        """Translate; `advance` is called after each file."""
        return translate_tasks(
            self.tasks,
            self.stages,
            ledger=self.ledger,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            limits=Limits(batch=CUDA_BATCH if "cuda" in str(self.translator.device) else 1),
            sizes={task.source: megapixels(size) for task, size in zip(self.tasks, self.sizes, strict=True)},
            begin=self._compile_where_it_pays,
            advance=advance,
        )

    def _compile_where_it_pays(self, left: Sequence[Task]) -> None:
        """Only torch compiles, and only where so much is left to do that finding out costs next to nothing."""
        if isinstance(self.translator, OnnxTranslator) or sum(map(megapixels, self.sizes)) < LEAST_TO_COMPILE_MP:
            return
        from ganstyle.translate.compiling import sizes_to_compile  # noqa: PLC0415 - imports torch

        known = {task.source: size for task, size in zip(self.tasks, self.sizes, strict=True)}
        sizes = [size for task in left if (size := known[task.source])]
        shapes = [(height, width) for width, height in sizes if self.translator.takes_whole(1, height, width)]
        if sum(map(megapixels, shapes)) < LEAST_TO_COMPILE_MP:
            return
        chosen = sizes_to_compile(shapes, _seconds_per_megapixel(self.translator), self.translator.device)
        if chosen:
            named = ", ".join(f"{width} x {height}" for height, width in chosen)
            self.say(f"compiling for {named} px, which many photos have")
            self.translator.compile_for(chosen, self.say)

    def forecast(self) -> Forecast:
        """What `run` would do, and about how long the network would take; nothing is written."""
        return forecast(
            self.tasks,
            ledger=self.ledger,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            sizes=[megapixels(size) for size in self.sizes],
            originals=[megapixels(size) for size in self.originals],
            tells_bytes=self.tells_bytes,
            seconds_per_megapixel=_seconds_per_megapixel(self.translator) if self.tasks else None,
        )


def prepare(
    source: Path,
    output: Path,
    *,
    model: str | Path,
    direction: str | None = None,
    checkpoint: str | None = None,
    raw: bool = False,
    device: str = "auto",
    runtime: str = "auto",
    tile: str = "auto",
    tile_px: int | None = None,
    format: str | None = None,
    size_px: int | None = None,
    strength: float = 1.0,
    match_colours: bool = False,
    mask: Path | None = None,
    keep: str | None = None,
    feather_px: float | None = None,
    segmentation: Path | None = None,
    quality: int | None = None,
    grey: bool = False,
    metadata: bool = True,
    gps: bool = False,
    provenance: bool = True,
    shard: str = "1/1",
    overwrite: bool = False,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Job:
    """Load a model and plan what it makes of a file or a folder; nothing is written yet.

    Args:
        source: a photo or a folder of photos.
        output: a folder; for a photo also the name of a file.
        model: as `load` takes it.
        direction: as `load` takes it.
        checkpoint: as `load` takes it.
        raw: as `load` takes it.
        device: as `load` takes it.
        runtime: as `load` takes it.
        tile: as `load` takes it; what does not fit the memory lies in the output folder meanwhile.
        tile_px: as `load` takes it.
        format: change all to jpeg, png, webp, tiff, bmp, gif, avif or heic; by default each keeps its own.
        size_px: the longer side at most; photos are reduced, never enlarged.
        strength: 0 is the photo, 1 the translation, mixed in linear light.
        match_colours: keep the photo's hues and chroma.
        mask: a file or a folder of masks; white is translated, black kept.
        keep: classes of things to leave as in the photo, such as `person` or `background`.
        feather_px: softness of the edges of masks; by default a hundredth of the shorter side.
        segmentation: the file of weights that `keep` needs; by default the published one.
        quality: 1 to 100; by default JPEGs keep that of their source, and other formats take 95.
        grey: grey photos stay grey.
        metadata: keep EXIF, XMP, resolution and times.
        gps: keep where a photo was taken, too.
        provenance: note in each file that it is a translation, and by which model.
        shard: `i/n`, `auto` or `auto/n`; see `shard_named`.
        overwrite: make again what is there.
        retry_failed: try again what failed before.
        say: told one line at a time of what people should know.

    Raises:
        UserError: something of this cannot be.
    """
    place, device = shard_named(shard), _own_device(device, shard, model)
    masks = [] if mask is None else [mask]
    reads = [*masks, *(path for path in (segmentation, Path(model)) if path is not None and path.is_file())]
    tasks = plan(source, output, format=format, leave_out=masks, reads=reads, say=say)
    single = is_single(source, output)
    edit = edit_named(
        source,
        strength=strength,
        match_colours=match_colours,
        mask=mask,
        keep=keep,
        segmentation=segmentation,
        feather_px=feather_px,
        device=device,
    )
    edit.check([task.source for task in tasks])
    translator = load(
        model,
        direction=direction,
        checkpoint=checkpoint,
        raw=raw,
        device=device,
        runtime=runtime,
        tile=tile,
        tile_px=tile_px,
        scratch=output.parent if single else output,
        say=say,
    )
    digest = digest_of(translator, model)
    files = {"mask": mask, "segmentation": segmentation}
    settings = {
        "model": digest,
        "weights": str(replace(translator.facts, checkpoint="")),
        "runtime": "onnx" if isinstance(translator, OnnxTranslator) else "torch",
        "tile": "thumbnail" if tile == "thumbnail" else None,  # asked for; what `auto` falls back to is told when it is
        **{"format": format, "size": size_px, "quality": quality, "grey": grey},
        **{"metadata": metadata, "gps": gps, "provenance": provenance},
        **{"strength": strength, "match_colours": match_colours, "keep": keep, "feather": feather_px},
        **{name: None if path is None else str(path.resolve()) for name, path in files.items()},
    }
    note = _note(translator, Path(model), digest, strength) if provenance else None
    keeping = Keeping(metadata=metadata, gps=gps, grey=grey, quality=quality, provenance=note)
    originals = sizes_of([task.source for task in tasks])
    sizes = [None if size is None else within(size, size_px) for size in originals]
    own = share(list(range(len(tasks))), [megapixels(size) for size in sizes], place)
    return Job(
        translator,
        [tasks[number] for number in own],
        [sizes[number] for number in own],
        [originals[number] for number in own],
        _stages(translator, edit, keeping, size_px),
        None if single else Ledger(output, source, settings, shard=place, say=say),
        overwrite,
        retry_failed,
        say,
        tells_bytes=format is None and size_px is None,
    )


def translate_folder(source: Path, output: Path, *, model: str | Path, **options: Any) -> Report:
    """Translate a file or a folder; what is there already is skipped. The options are those of `prepare`."""
    return prepare(source, output, model=model, **options).run()


def _stages(
    translator: Translator | OnnxTranslator, edit: Edit, keeping: Keeping, size_px: int | None
) -> Stages[Task, Photo]:
    def compute(photos: Sequence[tuple[Task, Photo]]) -> list[np.ndarray]:
        return translator.many([photo.pixels for _, photo in photos])

    def write(task: Task, photo: Photo, translated: np.ndarray) -> list[str]:
        return write_photo(task.target, photo, edit(task.source, photo.pixels, translated), keeping=keeping)

    return Stages(lambda task: read_photo(task.source, longest_px=size_px), compute, write)


def _note(translator: Translator | OnnxTranslator, model: Path, digest: str, strength: float) -> Mapping[str, str]:
    """What a file says of its origin."""
    facts = translator.facts
    return {
        "software": f"ganstyle {__version__}",
        "model": model.resolve().name,
        "model_digest": digest,
        "direction": facts.direction,
        "step": str(facts.step),
        "weights": "EMA" if facts.averaged else "raw",
        "strength": f"{strength:g}",
    }


def _own_device(device: str, shard: str, model: str | Path, environment: Mapping[str, str] = os.environ) -> str:
    """The GPU of this process where a launcher starts one for each of several; else as it was asked for."""
    numbers = [environment[name] for name in LOCAL_RANKS if environment.get(name, "").isdecimal()]
    if device != "auto" or not shard.startswith("auto") or not numbers or Path(model).suffix.lower() == ONNX_SUFFIX:
        return device
    import torch  # noqa: PLC0415 - only a model of torch gets here

    count = torch.cuda.device_count()
    return f"cuda:{int(numbers[0]) % count}" if count > 1 else device


def _seconds_per_megapixel(translator: Translator | OnnxTranslator) -> float:
    """By a small image, the second time."""
    pixels = np.random.default_rng(0).integers(0, 256, (TRIAL_PX, TRIAL_PX, 3), dtype=np.uint8)
    translator.pixels(pixels)
    start = time.perf_counter()
    translator.pixels(pixels)
    return (time.perf_counter() - start) / (TRIAL_PX**2 / 1e6)

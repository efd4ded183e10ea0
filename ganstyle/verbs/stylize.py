"""Give a photo, or each photo of a folder, the look of a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle import __version__
from ganstyle.base.config import read_yaml
from ganstyle.base.errors import UserError
from ganstyle.base.tables import build, parameters, pick
from ganstyle.data.folders import sizes_of
from ganstyle.data.images import read_pixels
from ganstyle.data.masks import Masks
from ganstyle.data.outputs import plan
from ganstyle.data.photos import Keeping
from ganstyle.data.pixels import within
from ganstyle.painting.repair import RepairSettings
from ganstyle.painting.sparse import SparseSettings
from ganstyle.painting.sparse_report import check_report_folder
from ganstyle.painting.vgg import VggSettings
from ganstyle.train.hardware import available_device
from ganstyle.translate.kinds import translate_any
from ganstyle.translate.ledger import Ledger
from ganstyle.verbs.editing import Edit, edit_named
from ganstyle.verbs.painting import Painter, Progress, RepairPainter, SparsePainter, Wish
from ganstyle.verbs.painting_job import STATE, PaintingJob, beside, refuse_beside
from ganstyle.verbs.painting_vgg import VggPainter

# Method -> what can be set of it, and what does it.
SETTINGS: Mapping[str, Callable[..., Any]] = {"vgg": VggSettings, "sparse": SparseSettings}
PAINTERS: Mapping[str, Callable[..., Painter]] = {"vgg": VggPainter, "sparse": SparsePainter}
# Larger photos are made this large where no size is asked for: some minutes on two cores.
LONGEST_PX = 2048


def prepare(
    source: Path,
    styles: Sequence[Path],
    output: Path,
    *,
    method: str = "vgg",
    settings: Mapping[str, Any] | None = None,
    config: Path | None = None,
    features: str | None = None,
    weights: Path | None = None,
    pooling: str | None = None,
    start: Path | None = None,
    regions: int | None = None,
    mask: Path | None = None,
    style_masks: Sequence[Path] = (),
    protect: Path | None = None,
    keep: str | None = None,
    feather_px: float | None = None,
    segmentation: Path | None = None,
    report: Path | None = None,
    device: str = "auto",
    format: str | None = None,
    quality: int | None = None,
    metadata: bool = True,
    gps: bool = False,
    provenance: bool = True,
    preview_every: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> PaintingJob:
    """Read the pictures and plan what is made of a photo or of a folder; nothing is written yet.

    Args:
        source: a photo or a folder of photos.
        styles: the pictures whose look is wanted; several go with `vgg`.
        output: a folder; for a photo also the name of a file.
        method: `vgg` or `sparse`.
        settings: of the method, by the names of `VggSettings` or `SparseSettings`; without a `size_px` photos are
            made LONGEST_PX long at most. They are never enlarged.
        config: a YAML file with such settings; `settings` are laid over them.
        features: the VGG, by name; see `load_features`.
        weights: the file of its weights.
        pooling: max, average or l2.
        start: a picture to start from.
        regions: find so many regions in photo and pictures that go together.
        mask: without `style_masks`: white is changed, black stays the photo. With them: the photo's regions.
        style_masks: for each picture its regions, in the colours that `mask` has.
        protect: a mask or a folder of masks: what is white stays recognisable (`sparse`).
        keep: classes of things to leave as in the photo, such as `person`.
        feather_px: softness of the edges of masks.
        segmentation: the file of weights that `keep` needs.
        report: a folder for what the sparse code says; of a folder of photos, a folder each in it.
        device: auto, cpu, cuda, mps or cuda:N.
        format: as `translate` takes it, and so are quality, metadata, gps, provenance, overwrite and retry_failed.
        quality: see there.
        metadata: see there.
        gps: see there.
        provenance: see there.
        preview_every: write a preview beside the output after so many rounds.
        resume: go on from the state that an interrupted run left beside the output.
        overwrite: see there.
        retry_failed: see there.
        say: told one line at a time of what people should know.

    Raises:
        UserError: something of this cannot be.
    """
    given = settings_named(method, settings or {}, config)
    left_out = [path for path in (mask, protect) if path is not None]
    named = [*styles, mask, *style_masks, protect, start, config, weights, segmentation]
    reads = [path for path in named if path is not None]
    tasks = plan(source, output, format=format, leave_out=left_out, reads=reads, say=say)
    refuse_beside(tasks, [*(task.source for task in tasks), *reads])
    single, paired = not source.is_dir(), bool(style_masks)
    if paired and source.is_dir():
        raise UserError("--style-mask goes with one photo, not with a folder")
    if paired and mask is None:
        raise UserError("--style-mask goes with --mask: the photo's regions, in the same colours")
    if report is not None:
        check_report_folder(report)
    root = source if source.is_dir() else None
    protected = None if protect is None else Masks(protect, root, feather_px)
    edit = edit_named(
        source,
        strength=1.0,  # the method's own strength does more than mixing
        match_colours=False,
        mask=None if paired else mask,
        keep=keep,
        segmentation=segmentation,
        feather_px=None if paired or (protected and mask is None and keep is None) else feather_px,
        device=device,
    )
    sources = [task.source for task in tasks]
    edit.check(sources)
    if protected is not None:
        protected.check(sources)
    pictures = [read_pixels(style) for style in styles]
    wish = Wish(
        pictures,
        available_device(device),
        features=features,
        weights=weights,
        pooling=pooling,
        start=None if start is None else read_pixels(start),
        regions=regions,
        masks=mask if paired else None,
        style_masks=style_masks,
        feather_px=feather_px,
        protect=protected,
        report=report is not None,
    )
    painter = PAINTERS[method](given, wish, say)
    if resume and not painter.resumes:
        raise UserError(f"--resume does not go with --method {method}, which takes seconds and begins again")
    size = given.size_px or LONGEST_PX
    state = beside(tasks[0], STATE)
    if single and not overwrite:
        _refuse_unfinished(tasks[0].target, state, resume=resume, say=say)
    note = {
        "software": f"ganstyle {__version__}",
        "method": method,
        "style": ", ".join(style.name for style in styles),
        "style_digest": _digest(pictures),
        **asdict(given),
        **{"features": features, "pooling": pooling, "regions": regions, "keep": keep, "feather": feather_px},
    }
    beginning = {} if start is None else {"start": start.name}
    note |= beginning | {name: path.name for name, path in {"mask": mask, "protect": protect}.items() if path}
    if style_masks:
        note["style_masks"] = [path.name for path in style_masks]
    sizes = sizes_of(sources)
    if given.size_px is None:
        _tell_reduced(sizes, say)
    told = {"software": note["software"], "method": method, "style": note["style"], "strength": f"{given.strength:g}"}
    files = {"mask": mask, "protect": protect, "segmentation": segmentation, "start": start, "weights": weights}
    setup = {**note, **{name: None if path is None else str(path.resolve()) for name, path in files.items()}}
    setup |= {"format": format, "quality": quality, "metadata": metadata, "gps": gps, "provenance": provenance}
    return PaintingJob(
        painter,
        tasks,
        [None if each is None else within(each, size) for each in sizes],
        size,
        edit,
        Keeping(metadata=metadata, gps=gps, grey=False, quality=quality, provenance=told if provenance else None),
        note,
        None if single else Ledger(output, source, setup, say=say),
        report,
        preview_every,
        resume,
        overwrite or (resume and single and state.is_file()),
        retry_failed,
    )


def prepare_repair(
    source: Path,
    output: Path,
    *,
    mask: Path,
    seed: int | None = None,
    device: str = "auto",
    format: str | None = None,
    quality: int | None = None,
    metadata: bool = True,
    gps: bool = False,
    provenance: bool = True,
    overwrite: bool = False,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> PaintingJob:
    """Plan to fill what a mask shows of photos, scratches or small things, from the rest of each; see `repair`.

    Args:
        source: a photo or a folder of photos, of any size.
        output: a folder; for a photo also the name of a file.
        mask: a mask or a folder of masks: white is filled, black stays as it is.
        seed: of what is drawn at random.
        device: and all others, as `prepare` takes them.
        format: see there.
        quality: see there.
        metadata: see there.
        gps: see there.
        provenance: see there.
        overwrite: see there.
        retry_failed: see there.
        say: see there.

    Raises:
        UserError: something of this cannot be.
    """
    tasks = plan(source, output, format=format, leave_out=[mask], reads=[mask], say=say)
    masks = Masks(mask, source if source.is_dir() else None, feather_px=0)
    sources = [task.source for task in tasks]
    masks.check(sources)
    note = {"software": f"ganstyle {__version__}", "method": "repair"}
    setup = {**note, "mask": str(mask.resolve()), "seed": seed, "format": format, "quality": quality}
    return PaintingJob(
        RepairPainter(RepairSettings(seed=seed or 0), masks, available_device(device)),
        tasks,
        sizes_of(sources),
        None,
        Edit(),
        Keeping(metadata=metadata, gps=gps, grey=False, quality=quality, provenance=note if provenance else None),
        note,
        Ledger(output, source, setup, say=say) if source.is_dir() else None,
        overwrite=overwrite,
        retry_failed=retry_failed,
    )


def stylize(
    content: Any,
    style: Any,
    *,
    method: str = "vgg",
    features: str | None = None,
    weights: Path | None = None,
    pooling: str | None = None,
    regions: int | None = None,
    device: str = "auto",
    watch: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> Any:
    """Give an image the look of a picture, or of several.

    Args:
        content: a path or a PIL image, which give a PIL image; or an array uint8 or uint16 (H, W, 3), which gives one.
        style: one of these, or a list of them.
        method: `vgg` or `sparse`.
        features: the VGG, by name; see `load_features`.
        weights: the file of its weights.
        pooling: max, average or l2.
        regions: find so many regions in photo and pictures that go together.
        device: auto, cpu, cuda, mps or cuda:N.
        watch: called as it goes.
        say: told one line at a time of what people should know.
        settings: of the method; see `VggSettings` and `SparseSettings`; `size` stands for `size_px`.

    Raises:
        UserError: something of this cannot be.
        KeyboardInterrupt: it was broken off; files are kept by `prepare`, an image in memory is not.
    """
    size_px = settings.pop("size", LONGEST_PX)
    given = settings_named(method, {"size_px": size_px, **settings})
    pictures = [_array(each) for each in (style if isinstance(style, list | tuple) else [style])]
    wish = Wish(
        pictures, available_device(device), features=features, weights=weights, pooling=pooling, regions=regions
    )
    painter = PAINTERS[method](given, wish, say)

    def many(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        made = []
        for array in arrays:
            painted = painter.paint(array, source=None, watch=watch, state=None, resume=False)
            if painted.stopped:
                raise KeyboardInterrupt
            made.append(painted.pixels)
        return made

    return translate_any(content, many)


def settings_named(method: str, settings: Mapping[str, Any], config: Path | None = None) -> Any:
    """The settings of a method, by name and from a YAML file below them; all mistakes at once.

    Raises:
        UserError: an unknown method, key or value.
    """
    pick(SETTINGS, "method", method)
    values = {**({} if config is None else read_yaml(config)), **settings}
    named = values.pop("method", method)
    if named != method:
        raise UserError(f"{config}: it is for --method {named}, not {method}")
    for key in values:
        others = [other for other, each in SETTINGS.items() if key in parameters(each)]
        if others and method not in others:
            raise UserError(f"{key}: goes with --method {others[0]}")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return build(SETTINGS, {**plain, "name": method}, path="stylize")


def _array(picture: Any) -> np.ndarray:
    """A picture of any kind as an array."""
    found: list[np.ndarray] = []

    def keep(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found.extend(arrays)
        return list(arrays)

    translate_any(picture, keep)
    return found[0]


def _refuse_unfinished(target: Path, state: Path, *, resume: bool, say: Callable[[str], None]) -> None:
    """A picture that is there is left as it is, or gone on with where its state is there too."""
    if not target.is_file():
        if resume and not state.is_file():
            say(f"there is no state beside {target} to go on from: it begins")
        return
    if state.is_file() and not resume:
        raise UserError(f"{target} is unfinished: --resume goes on with it, --overwrite begins again")
    if resume and not state.is_file():
        raise UserError(f"{target} is there, and no state beside it to go on from: --overwrite makes it again")


def _digest(pictures: Sequence[np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for pixels in pictures:
        digest.update(f"{pixels.shape} {pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def _tell_reduced(sizes: Sequence[tuple[int, int] | None], say: Callable[[str], None]) -> None:
    larger = [size for size in sizes if size is not None and max(size) > LONGEST_PX]
    if larger:
        width, height = larger[0]
        which = "the photo is" if len(sizes) == 1 else f"{len(larger)} photos are larger than {LONGEST_PX} px: one is"
        made = " x ".join(map(str, within(larger[0], LONGEST_PX)))
        say(
            f"{which} {width} x {height} px and will be made {made} px: that takes minutes on a CPU; --size 1024 is "
            "four times faster, another --size keeps more"
        )

"""Giving a photo the look of a picture by the features of a VGG."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.images import Unreadable, read_image
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.networks.vgg import Vgg
from ganstyle.networks.vgg_files import load_features
from ganstyle.painting.objective import Region
from ganstyle.painting.regions import joint_regions, mask_regions
from ganstyle.painting.vgg import Moment, VggSettings, VggStylizer
from ganstyle.verbs.painting import Painted, Progress, Say, Watch, Wish, free_bytes, refuse


class VggPainter:
    """By optimising pixels until the features of a VGG are those that are wanted."""

    done: ClassVar[str] = "stylized"
    resumes: ClassVar[bool] = True

    def __init__(self, settings: VggSettings, wish: Wish, say: Say) -> None:
        refuse({"report": wish.report, "protect": wish.protect}, "sparse")
        if wish.regions is not None and wish.masks is not None:
            raise UserError("--regions finds them and --style-mask names them: leave one out")
        if wish.masks is not None and len(wish.style_masks) != len(wish.styles):
            raise UserError(f"{len(wish.style_masks)} --style-mask for {len(wish.styles)} pictures: give one for each")
        for path in (wish.masks, *wish.style_masks):
            if path is not None:
                _check_mask(path)
        self.settings, self.wish = settings, wish
        self.vgg = _features(wish).to(wish.device)
        if self.vgg.note:
            say(self.vgg.note)
        self.styles = [to_tensor(style, wish.device) for style in wish.styles]
        self.stylizer = VggStylizer(
            self.vgg, self.styles, settings, device=wish.device, free_bytes=partial(free_bytes, wish.device), say=say
        )

    def paint(
        self, photo: np.ndarray, *, source: Path | None, watch: Watch, state: Path | None, resume: bool
    ) -> Painted:
        """See `Painter`."""

        def told(moment: Moment) -> None:
            words = f"scale {moment.scale}/{moment.scales}, iteration {moment.iteration}/{moment.iterations}"
            image = moment.image
            watch(
                Progress(
                    f"{words}, loss {moment.loss:.4g}",
                    moment.done,
                    moment.of,
                    lambda: to_pixels(image(), photo.dtype)[0],
                )
            )

        content = to_tensor(photo, self.wish.device)
        start = None if self.wish.start is None else to_tensor(self.wish.start, self.wish.device)
        made = self.stylizer.stylize(
            content, regions=self._regions(content), start=start, watch=told, state=state, resume=resume
        )
        return Painted(to_pixels(made.image, photo.dtype)[0], made.facts, "stopped_at" in made.facts)

    def _regions(self, content: Tensor) -> Sequence[Region] | None:
        wish = self.wish
        if wish.regions is not None:
            return joint_regions(self.vgg, content, self.styles, count=wish.regions, seed=self.settings.seed)
        if wish.masks is None:
            return None
        sizes = [(style.shape[2], style.shape[3]) for style in self.styles]
        size = (content.shape[2], content.shape[3])
        drawn = mask_regions(wish.masks, wish.style_masks, size=size, style_sizes=sizes, feather_px=wish.feather_px)
        return [
            Region(each.content.to(wish.device), tuple(mask.to(wish.device) for mask in each.styles)) for each in drawn
        ]


def _check_mask(path: Path) -> None:
    """Raise `UserError`, before anything is computed, for regions that cannot be read."""
    try:
        read_image(path)
    except Unreadable as error:
        raise UserError(f"{path}: the mask cannot be read ({error})") from error


def _features(wish: Wish) -> Vgg:
    pooling = {} if wish.pooling is None else {"pooling": wish.pooling}
    try:
        return load_features(wish.features, wish.weights, **pooling)
    except UserError as error:
        if wish.weights is not None:
            raise
        raise UserError(f"{error}; --method sparse needs no weights") from error

"""What a picture is optimised for: the style of pictures, the content of a photo, and smoothness; with its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.losses.content import CONTENT_LOSSES, ContentLoss, total_variation
from ganstyle.losses.style import STYLE_LOSSES, Statistics, StyleLoss
from ganstyle.painting.feature_maps import FeatureMaps
from ganstyle.painting.tiling import Sums, Tile, sums_over, two_pass_gradient

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg


@dataclass(frozen=True)
class Region:
    """A part of the photo, and the parts of the style pictures that it takes its style from.

    Args:
        content: a soft mask of the photo, (1, 1, H, W) in 0..1.
        styles: one soft mask for each style picture, (1, 1, h, w) in 0..1 at that picture's size; some may be empty.
    """

    content: Tensor
    styles: tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """How much each term counts; all losses are relative, so that the same numbers suit networks of other magnitudes.

    Args:
        style_loss: a name in `STYLE_LOSSES`.
        style_layers: layer -> weight; only their ratios matter.
        style: weight of the style as a whole.
        content_loss: a name in `CONTENT_LOSSES`.
        content_layers: layer -> weight; only their ratios matter.
        content: weight of the content as a whole.
        tv: weight of the total variation.
    """

    style_loss: str = "wasserstein"
    style_layers: tuple[tuple[str, float], ...] = (
        ("relu1_1", 16.0),
        ("relu2_1", 8.0),
        ("relu3_1", 4.0),
        ("relu4_1", 2.0),
        ("relu5_1", 1.0),
    )
    style: float = 1.0
    content_loss: str = "features"
    content_layers: tuple[tuple[str, float], ...] = (("relu4_2", 1.0),)
    content: float = 0.04
    tv: float = 0.0


class Targets:
    """The styles to reach, by region and layer; made once and used for many photos of any size.

    Several pictures make one style: the statistics of all of them, each picture counting by its weight.

    Args:
        vgg: the features.
        styles: pictures (1, 3, h, w) in [-1, 1], each of its own size, at the scale at which they are used.
        weights: names the loss and its layers.
        style_weights: how much each picture counts; alike by default.
        regions: what parts of the pictures to take; whole pictures by default.
        tile_px: gather in tiles of that side; whole by default.

    Attributes:
        kind: the loss.
        layers: where it is.
        losses: for each region, the loss of each layer.

    Raises:
        UserError: an unknown loss, one that cannot be tiled with tiles, or a region without any part of the pictures.
    """

    def __init__(
        self,
        vgg: Vgg,
        styles: Sequence[Tensor],
        *,
        weights: Weights,
        style_weights: Sequence[float] | None = None,
        regions: Sequence[Region] | None = None,
        tile_px: int | None = None,
    ) -> None:
        check_losses(weights, tiled=tile_px is not None)
        self.kind = STYLE_LOSSES[weights.style_loss]
        self.layers = [layer for layer, _ in weights.style_layers]
        parts: list[dict[str, list[tuple[Statistics, float]]]] = [{} for _ in range(len(regions) if regions else 1)]
        for number, (style, share) in enumerate(zip(styles, style_weights or [1.0] * len(styles), strict=True)):
            masks = [region.styles[number].to(style) for region in regions] if regions else [None]
            for region, layer, statistics in self._gathered(vgg, style, masks, tile_px) if share > 0 else ():
                parts[region].setdefault(layer, []).append((statistics, share))
        self.losses = [self._combined(number, each) for number, each in enumerate(parts, start=1)]

    @torch.no_grad()
    def _gathered(
        self, vgg: Vgg, style: Tensor, masks: Sequence[Tensor | None], tile_px: int | None
    ) -> list[tuple[int, str, Statistics]]:
        """Region, layer and statistics of each part of one picture."""
        features = FeatureMaps(vgg, self.layers, style.shape[2], style.shape[3], tile_px)
        places = features.places(self.layers, masks)
        sums = sums_over(
            style,
            features.tiles,
            lambda part, tile: features.gather(self.kind, places, features.of(part, tile), tile),
        )
        return [(place.region, place.layer, each) for place, each in zip(places, sums, strict=True)]

    def _combined(self, number: int, parts: Mapping[str, Sequence[tuple[Statistics, float]]]) -> dict[str, StyleLoss]:
        if any(layer not in parts for layer in self.layers):
            raise UserError(f"region {number} has no part of the style pictures: mark a part of one for it")
        combined = {layer: self.kind.combine(*zip(*parts[layer], strict=True)) for layer in self.layers}
        return {layer: self.kind(statistics) for layer, statistics in combined.items()}


class Objective:
    """The loss of an image and its gradient.

    The style's loss is the weighted mean over layers, and over regions by their area; the content's is the one over its
    layers. All are means over an image: the same weights suit any size.

    Args:
        vgg: the features.
        content: the photo (1, 3, H, W) in [-1, 1].
        targets: the styles to reach.
        weights: the losses, layers and weights; the style's loss and layers are those of the targets.
        regions: as many as the targets'.
        tile_px: compute in tiles of that side, with the same loss and gradient; whole by default.

    Raises:
        UserError: an unknown loss, or one that cannot be tiled with tiles.
    """

    def __init__(
        self,
        vgg: Vgg,
        content: Tensor,
        targets: Targets,
        *,
        weights: Weights,
        regions: Sequence[Region] | None = None,
        tile_px: int | None = None,
    ) -> None:
        assert len(targets.losses) == (len(regions) if regions else 1), "targets of other regions"
        check_losses(weights, tiled=tile_px is not None)
        self.weights, self.kind = weights, targets.kind
        self.style_layers = targets.layers
        self.content_layers = [layer for layer, _ in weights.content_layers if weights.content > 0]
        layers = [*self.style_layers, *self.content_layers]
        self.features = FeatureMaps(vgg, layers, content.shape[2], content.shape[3], tile_px)
        masks = [region.content.to(content) for region in regions] if regions else [None]
        self.places = self.features.places(self.style_layers, masks)
        self.style_terms = self._style_terms(targets, masks)
        self.content_terms = self._content_terms(content)

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and its gradient (1, 3, H, W); the image needs no grad."""
        image = image.detach()
        tiled = len(self.features.tiles) > 1
        loss, gradient = self._tiled(image) if tiled else self._whole(image)
        return self._with_variation(image, loss, gradient) if self.weights.tv > 0 else (loss, gradient)

    def _style_terms(self, targets: Targets, masks: Sequence[Tensor | None]) -> list[tuple[StyleLoss, float]]:
        """The loss of each place, and its weight: those of its layer and of its region's area."""
        areas = [1.0 if mask is None else float(mask.mean()) for mask in masks]
        layers = _shares(self.weights.style_layers)
        return [
            (
                targets.losses[place.region][place.layer],
                self.weights.style * layers[place.layer] * areas[place.region] / sum(areas),
            )
            for place in self.places
        ]

    @torch.no_grad()
    def _content_terms(self, content: Tensor) -> dict[str, tuple[ContentLoss, float]]:
        if not self.content_layers:
            return {}
        kind, shares = CONTENT_LOSSES[self.weights.content_loss], _shares(self.weights.content_layers)
        maps = self.features.whole_maps(content, self.content_layers)
        return {layer: (kind(maps[layer]), self.weights.content * shares[layer]) for layer in self.content_layers}

    def _whole(self, image: Tensor) -> tuple[Tensor, Tensor]:
        image = image.requires_grad_()
        with torch.enable_grad():
            statistics, content = self._terms(image, self.features.tiles[0])
            loss = self._style(statistics) + content
            (gradient,) = torch.autograd.grad(loss, image)
        return loss.detach(), gradient

    def _tiled(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return two_pass_gradient(
            image, self.features.tiles, gather=self._statistics, loss_of=self._style, terms=self._terms
        )

    def _statistics(self, part: Tensor, tile: Tile) -> Sums:
        maps = self.features.of(part, tile, self.style_layers)
        return self.features.gather(self.kind, self.places, maps, tile)

    def _terms(self, part: Tensor, tile: Tile) -> tuple[Sums, Tensor]:
        """A tile's statistics, and its part of the content's loss."""
        maps = self.features.of(part, tile)
        statistics = self.features.gather(self.kind, self.places, maps, tile)
        losses = [
            loss.part(*tile.place(self.features.strides_px[layer]))(maps[layer]) * weight
            for layer, (loss, weight) in self.content_terms.items()
        ]
        return statistics, torch.stack(losses).sum() if losses else part.new_zeros(())

    def _style(self, statistics: Sums) -> Tensor:
        pairs = zip(self.style_terms, statistics, strict=True)
        return torch.stack([loss(each).to(each[0]) * weight for (loss, weight), each in pairs]).sum()

    def _with_variation(self, image: Tensor, loss: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        image = image.detach().requires_grad_()
        with torch.enable_grad():
            variation = total_variation(image) * self.weights.tv
            (own,) = torch.autograd.grad(variation, image)
        return loss + variation.detach(), gradient + own


def check_losses(weights: Weights, *, tiled: bool) -> None:
    """Refuse losses that do not exist, and with tiles those whose statistics do not add up."""
    tables: dict[str, tuple[str, Mapping[str, type[StyleLoss] | type[ContentLoss]]]] = {
        "style loss": (weights.style_loss, STYLE_LOSSES),
        "content loss": (weights.content_loss, CONTENT_LOSSES),
    }
    for what, (name, table) in tables.items():
        if not pick(table, what, name).additive and tiled:
            fit = " or ".join(f"'{each}'" for each, loss in table.items() if loss.additive)
            raise UserError(f"the {what} '{name}' needs the whole picture at once, not tiles: use {fit}, or no tiles")


def _shares(layers: Sequence[tuple[str, float]]) -> dict[str, float]:
    total = sum(weight for _, weight in layers)
    return {layer: weight / total for layer, weight in layers}

"""The settings of VGG optimisation in plain values, and what they mean for its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from ganstyle.base.errors import UserError
from ganstyle.base.tables import did_you_mean, parameters, value_mistakes
from ganstyle.painting.objective import Weights

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class VggSettings:
    """How a photo gets the look of pictures; plain values, as they stand in a recipe.

    Args:
        size_px: the longer side of the result at most; None for the photo's own size.
        strength: from 0, the photo as it is, to 1, all of the pictures' style; alike at any size.
        iterations: evaluations at each scale, the coarsest first, of which there are then as many; None for the
            usual ones.
        optimiser: `lbfgs` or `adam`.
        style_loss: a name of `losses.style.STYLE_LOSSES`.
        content_loss: a name of `losses.content.CONTENT_LOSSES`.
        style_layers: the layers whose statistics are taken over; None for the usual ones.
        style_layer_weights: their weights; None for the usual ones.
        content_layers: the layers that keep the photo's content; None for the usual ones.
        content_weight: what they count against the style; None for the usual one.
        tv_weight: what total variation counts at full strength, less of it below; more of it is smoother.
        style_scale: how large the strokes are: the pictures' size relative to the photo's.
        style_weights: how much of each picture's style is taken; None for as much of each.
        start: what the optimisation starts from, where the caller gives no other image.
        colours: `style`, the pictures' own; `luminance`, `match` or `histogram` keep the photo's.
        tile: `auto` optimises in tiles where memory asks for it.
        tile_px: the side of a tile; None for what memory has room for.
        seed: of what is drawn at random.

    Raises:
        UserError: values outside of their bounds, all of them in one line.
    """

    size_px: Annotated[int, Ge(1)] | None = None
    strength: Annotated[float, Ge(0), Le(1)] = 1.0
    iterations: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)] | None = None
    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    style_loss: str = "wasserstein"
    content_loss: str = "features"
    style_layers: Annotated[Sequence[str], MinLen(1)] | None = None
    style_layer_weights: Sequence[Weight] | None = None
    content_layers: Annotated[Sequence[str], MinLen(1)] | None = None
    content_weight: Weight | None = None
    tv_weight: Weight = 0.02
    style_scale: Annotated[float, Gt(0)] = 1.0
    style_weights: Sequence[Weight] | None = None
    start: Literal["content", "noise"] = "content"
    colours: Literal["style", "luminance", "match", "histogram"] = "style"
    tile: Literal["auto", "none", "on"] = "auto"
    tile_px: Annotated[int, Ge(64)] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        mistakes: list[str] = []
        for name, bounds in parameters(VggSettings).items():
            mistakes += value_mistakes(bounds, getattr(self, name), path=name)
        if self.tile == "none" and self.tile_px is not None:
            mistakes.append("tile_px: there are no tiles with tile=none; leave one of them out")
        if mistakes:
            raise UserError("; ".join(mistakes))

    def weights(self, layers: Sequence[str]) -> Weights:
        """The losses, their layers and weights, for features that have these layers.

        Raises:
            UserError: a layer that the features lack, or weights that are not as many as layers.
        """
        usual = Weights()
        style_layers = tuple(self.style_layers or (layer for layer, _ in usual.style_layers))
        content_layers = tuple(self.content_layers or (layer for layer, _ in usual.content_layers))
        for layer in (*style_layers, *content_layers):
            if layer not in layers:
                raise UserError(f"unknown layer '{layer}' of these features{did_you_mean(layer, layers)}")
        return Weights(
            style_loss=self.style_loss,
            style_layers=tuple(zip(style_layers, self._layer_weights(style_layers), strict=True)),
            content_loss=self.content_loss,
            content_layers=tuple((layer, 1.0) for layer in content_layers),
            content=usual.content if self.content_weight is None else self.content_weight,
            tv=self.tv_weight * self.strength,  # else a little strength would still blur
        )

    def _layer_weights(self, layers: Sequence[str]) -> Sequence[float]:
        """As given, or those of the first layer of each one's block: `relu3_2` counts as `relu3_1`."""
        if self.style_layer_weights is None:
            usual = {layer.split("_")[0]: weight for layer, weight in Weights().style_layers}
            return [usual[layer.split("_")[0]] for layer in layers]
        return _as_many(self.style_layer_weights, len(layers), "style layers")

    def shares(self, pictures: int) -> list[float]:
        """How much each of so many pictures counts; together 1.

        Raises:
            UserError: not as many weights as pictures, or nothing but zeros.
        """
        given = [1.0] * pictures if self.style_weights is None else _as_many(self.style_weights, pictures, "pictures")
        return [weight / sum(given) for weight in given]


def _as_many(weights: Sequence[float], count: int, of: str) -> list[float]:
    if len(weights) != count:
        raise UserError(f"{len(weights)} weights for {count} {of}: give one for each")
    if sum(weights) <= 0:
        raise UserError(f"all weights of the {of} are 0: give one of them more than that")
    return list(weights)

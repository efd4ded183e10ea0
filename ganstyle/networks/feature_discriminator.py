"""A discriminator that looks through frozen features: small heads on several layers of a VGG.

After Sauer, Chitta, Müller and Geiger 2021, "Projected GANs Converge Faster" (arXiv:2111.01007), sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Interval, MinLen
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganstyle.base.errors import UserError
from ganstyle.base.tables import each_once, named_in
from ganstyle.networks.blocks import named, require_rgb
from ganstyle.networks.frozen_vgg import AUTO, frozen_vgg
from ganstyle.networks.initialise import initialise
from ganstyle.networks.vgg import LAYERS
from ganstyle.networks.vgg_layouts import POOLINGS

JUDGED = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")
NEGATIVE_SLOPE = 0.2
GAIN = 0.02
# Maps finer than this are halved by their heads: a score for every pixel would tell no more than one for 2x2.
COARSE_PX = 4


LayerName = Annotated[str, named_in(dict.fromkeys(LAYERS), "layer")]
LayerNames = Annotated[list[LayerName], MinLen(1), each_once("layer")]


class FeatureDiscriminator(nn.Module):
    """Scores what a frozen VGG sees in an image, layer by layer.

    Takes RGB images (N, 3, H, W) in [-1, 1] of at least `minimum_px`; gives one map of scores (N, 1, h, w) for each
    layer, as (1 / number of layers, scores), high for real ones. A head is a spectral-normalised 3x3 convolution to
    `width`, 4x4 of stride 2 where the map is fine, then LeakyReLU 0.2 and a 3x3 one to the score. Each layer's map is
    first divided by a fixed power of two, its usual magnitude, so that all heads see values of about 1.

    Gradients reach the images, never the VGG, which is no parameter and in no state dict: the state holds a
    fingerprint of it, and is refused by a discriminator with another one. It is computed in the precision of
    everything else, bfloat16 under autocast: its gradient is most of what this discriminator costs.

    Differs from the paper: VGG in place of EfficientNet; features as they are, without random mixing across channels
    and scales; shallow heads that keep the place of each patch, because here images are judged patch by patch.

    Args:
        weights: `auto` (the first VGG that torch's cache has, the light one if none; fetched where it is not there),
            a name of `networks.vgg_files.FEATURES`, or the path of a file.
        layers: of the VGG, that are judged.
        width: of each head.
        pooling: of the VGG; `max`, as it was trained, gives its gradient to one pixel of four, `average` to all.

    Raises:
        UserError: no such weights; or images of another shape or too small.
    """

    minimum_px = 16  # every VGG has a map at its deepest block then

    def __init__(
        self,
        *,
        weights: str = AUTO,
        layers: LayerNames = list(JUDGED),  # noqa: B006 - never changed
        width: Annotated[int, Interval(ge=1, le=1024)] = 64,
        pooling: Annotated[str, named_in(POOLINGS, "pooling")] = "max",
    ) -> None:
        super().__init__()
        self.layers = tuple(sorted(layers, key=LAYERS.index))
        frozen = frozen_vgg(weights, self.layers[-1], pooling)
        self.vgg, self.digest = frozen.vgg, frozen.digest
        self.magnitudes = {layer: frozen.magnitudes[layer] for layer in self.layers}
        self.heads = nn.ModuleDict({layer: self._head(layer, width) for layer in self.layers})

    def _head(self, layer: str, width: int) -> nn.Sequential:
        channels = self.vgg.get_buffer(f"convolutions.{layer}.weight").shape[0]
        # A kernel of 4 halves evenly: one of 3 sees every second place twice, and draws that grid into the images.
        kernel_px, stride = (4, 2) if self.vgg.stride_px(layer) < COARSE_PX else (3, 1)
        head = named(
            conv=nn.Conv2d(channels, width, kernel_px, stride=stride, padding=1),
            relu=nn.LeakyReLU(NEGATIVE_SLOPE),
            score=nn.Conv2d(width, 1, 3, padding=1),
        )
        # Before the norm is there: behind it, drawing a weight would change nothing.
        initialise(head, "normal", GAIN)
        for part in (head.get_submodule("conv"), head.get_submodule("score")):
            spectral_norm(part)
        return head

    def forward(self, images: Tensor) -> list[tuple[float, Tensor]]:
        """The scores of each layer's patches, the shallowest first."""
        require_rgb(images)
        height, width = images.shape[2:]
        if min(height, width) < self.minimum_px:
            raise UserError(
                f"got images of {width} x {height} px, a discriminator on features needs {self.minimum_px} px on each "
                "side: use a larger crop"
            )
        maps = self.vgg(images, self.layers)
        scores = [self.heads[layer](maps[layer] / self.magnitudes[layer]) for layer in self.layers]
        return [(1 / len(scores), each) for each in scores]

    def get_extra_state(self) -> dict[str, Any]:
        """Which VGG its heads were trained on, and by what its maps are divided."""
        return {"vgg": self.digest, "magnitudes": dict(self.magnitudes)}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on with what `get_extra_state` gave; `UserError` where the heads were trained on another VGG."""
        if "" not in (state["vgg"], self.digest) and state["vgg"] != self.digest:
            raise UserError(
                f"discriminator: it was trained on a VGG with the fingerprint {state['vgg']}, and the weights that are "
                f"here have {self.digest}: put the same file back, or begin a new run"
            )
        self.magnitudes = dict(state["magnitudes"])

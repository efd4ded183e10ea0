"""The table of discriminators: images in, scores out."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ganstyle.networks.patch_discriminator import PatchDiscriminator

DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"patch": PatchDiscriminator}

"""A bound on how steeply a discriminator's scores may change: the gradient penalty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.data.tensors import send
from ganstyle.methods.method import Batch

TINY = 1e-12  # under the root, whose slope at zero is infinite


def gradient_penalty(discriminator: nn.Module, mixed: Tensor) -> Tensor:
    """How far the norm of the score's gradient by the image is from 1: squared, the mean over images; a float32 scalar.

    An image's score is what its losses are made of: the mean over its map, or the weighted sum of several maps' means.
    Source: Gulrajani et al. 2017, equation 3. A norm over the batch would make an image's gradient another one's too:
    use `norm: instance` or `none`.

    Args:
        discriminator: whose scores; without compilation, which has no second derivatives.
        mixed: images (N, 3, H, W) between real ones and fakes.
    """
    with torch.autocast(mixed.device.type, enabled=False), torch.enable_grad():
        images = mixed.detach().float().requires_grad_()
        scores = discriminator(images)
        maps = [(1.0, scores)] if isinstance(scores, Tensor) else scores
        total = torch.stack([weight * each.float().flatten(1).mean(dim=1) for weight, each in maps]).sum()
        (gradient,) = torch.autograd.grad(total, images, create_graph=True)
        norms = (gradient.flatten(1).square().sum(dim=1) + TINY).sqrt()
        return (norms - 1).square().mean()


class GradientPenalty:
    """The weighted penalties of a method's discriminators.

    Args:
        discriminators: by domain.
        weight: lambda; absolute, beside the halved loss of a discriminator. 0 computes nothing.
    """

    def __init__(self, discriminators: Mapping[str, nn.Module], weight: float) -> None:
        self.discriminators, self.weight = discriminators, weight

    def __call__(self, reals: Mapping[str, Tensor], fakes: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """By name, for real images and fakes (N, 3, H, W) by domain; each image's share is drawn for its sample.

        None on the meta device, where steps are counted to judge compiling: this is never compiled.
        """
        if self.weight == 0 or batch.a.is_meta:
            return {}
        return {
            f"discriminator/penalty_{domain}": self.weight
            * gradient_penalty(judge, _mixed(reals[domain], fakes[domain], _shares(batch, domain)))
            for domain, judge in self.discriminators.items()
        }


def _mixed(real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    return shares * real.float() + (1 - shares) * fake.float()


def _shares(batch: Batch, domain: str) -> Tensor:
    """Of the real image, uniform in 0..1; (N, 1, 1, 1)."""
    samples = range(batch.first_sample, batch.first_sample + len(batch.a))
    drawn = [batch.draws.stream(f"gradient penalty {domain}", sample).random(dtype=np.float32) for sample in samples]
    return send(torch.from_numpy(np.array(drawn)[:, None, None, None]), batch.a.device)

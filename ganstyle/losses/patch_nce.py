"""Patches that belong together are pulled together, and away from the others of the same image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_nce(query: Tensor, key: Tensor, *, temperature: float = 0.07) -> Tensor:
    """How well each patch of an image is told from its others: PatchNCE, as a float32 scalar.

    Both are (N, P, C) of unit length: P patches of each of N images. Query p must find key p among all P keys of its
    own image: the cross-entropy of the softmax over query . key / temperature, the mean over patches and images. No
    gradient flows into the keys. Source: Park et al. 2020, "Contrastive Learning for Unpaired Image-to-Image
    Translation", equations 2 and 3, with the other patches of the image as negatives.
    """
    assert query.shape == key.shape, f"queries {tuple(query.shape)} and keys {tuple(key.shape)}"
    # Its exponential makes differences of a hundredth in a product count: never in bfloat16.
    with _full_precision(query.device):
        logits = torch.bmm(query.float(), key.detach().float().transpose(1, 2)) / temperature
        images, patches, _ = logits.shape
        own = torch.arange(patches, device=logits.device).expand(images, patches)
        return F.cross_entropy(logits.flatten(0, 1), own.flatten())


def _full_precision(device: torch.device) -> AbstractContextManager:
    # On the meta device, where arithmetic is only counted, there is no autocast to switch off.
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def mean_patch_nce(queries: Mapping[str, Tensor], keys: Mapping[str, Tensor], *, temperature: float) -> Tensor:
    """The mean over layers of `patch_nce`; both hold patches by layer."""
    layers = [patch_nce(queries[layer], keys[layer], temperature=temperature) for layer in keys]
    return torch.stack(layers).mean()

"""The contrastive part of CUT and DCL by its words, image by image, for comparison with the methods."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.methods.method import Batch, Method
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.patch_projection import PatchProjection
from ganstyle.train.descend import adam
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware
from tests.methods.test_cyclegan import RATE, assert_same

LAYERS = ["image", "down_1", "block_1", "block_2"]
PATCHES = 10
TEMPERATURE = 0.3


def generator() -> nn.Module:
    return ResNetGenerator(width=3, blocks=2, halvings=1, gain=0.3)


def discriminator() -> nn.Module:
    return PatchDiscriminator(width=3, layers=1, gain=0.2)


def optimizers(method: Method, precision: str = "float32") -> Any:
    """The engine's own, on the CPU."""
    fabric = Hardware("cpu", precision, compile=False, threads=torch.get_num_threads()).fabric()
    return adam(method.optimised, fabric, Guard(fabric.device), learning_rate=RATE)


def nothing(method: Method) -> SimpleNamespace:
    """Optimisers that move nothing."""
    return SimpleNamespace(**{name: SimpleNamespace(descend=lambda losses: None) for name in method.optimised})


def features(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What the layers of a whole forward pass give, caught on the way."""
    caught: dict[str, Tensor] = {"image": F.pad(images, (3, 3, 3, 3), mode="reflect")}
    parts = dict(network.named_modules())
    places = {"down_1": "downs.0.conv", "block_1": "blocks.0", "block_2": "blocks.1"}

    def catching(layer: str) -> Any:
        return lambda _, __, result: caught.update({layer: result})

    handles = [parts[place].register_forward_hook(catching(layer)) for layer, place in places.items()]
    network(images)
    for handle in handles:
        handle.remove()
    return caught


def projected(heads: PatchProjection, layer: str, pixels: Tensor) -> Tensor:
    """(P, C) through two linear layers with a ReLU between, to unit length."""
    state = dict(heads.heads[layer].named_parameters())
    hidden = (pixels @ state["0.weight"].T + state["0.bias"]).relu()
    result = hidden @ state["2.weight"].T + state["2.bias"]
    return result / result.norm(dim=1, keepdim=True)


def nce(query: Tensor, key: Tensor) -> Tensor:
    """Cross-entropy over the keys of one image, (P, width) each."""
    exponentials = torch.exp(query @ key.detach().T / TEMPERATURE)
    return -(exponentials.diagonal() / exponentials.sum(dim=1)).log().mean()


def side_loss(
    *,
    queries: dict[str, Tensor],
    keys: dict[str, Tensor],
    heads: tuple[PatchProjection, PatchProjection],
    batch: Batch,
    side: str,
    flips: list[bool] | None = None,
) -> Tensor:
    """The mean over images and layers; the first heads are the keys', the second the queries'."""
    losses = []
    for layer in LAYERS:
        for number in range(len(batch.a)):
            query, key = queries[layer][number], keys[layer][number]
            if flips and flips[number]:
                query = query.flip(2)
            pixels = key.shape[1] * key.shape[2]
            stream = batch.draws.stream(f"patches of {side} {layer}", batch.first_sample + number)
            places = stream.choice(pixels, min(PATCHES, pixels), replace=False, shuffle=False)
            taken = [
                torch.stack([maps[:, place // key.shape[2], place % key.shape[2]] for place in places.tolist()])
                for maps in (query, key)
            ]
            losses.append(nce(projected(heads[1], layer, taken[0]), projected(heads[0], layer, taken[1])))
    return torch.stack(losses).mean()


def acting(network: nn.Module) -> Iterator[str]:
    """All parameters but biases that only an instance norm sees, whose gradient is rounding noise alone.

    A halving's convolution is seen before its norm, too: its bias acts.
    """
    norms = [name.removesuffix("norm") for name, _ in network.named_modules() if name.endswith("norm")]
    dead = {f"{prefix}conv.bias" for prefix in norms if not prefix.startswith("downs.")}
    return (name for name, _ in network.named_parameters() if name not in dead)


def compare(networks: Any, plain: Any, gradients: dict[str, Tensor]) -> int:
    """Gradients and parameters of all networks by name; how many were compared."""
    compared = 0
    for key, network in networks.items():
        wanted = dict(plain[key].named_parameters())
        for name in acting(network):
            found = network.get_parameter(name)
            assert found.grad is not None, f"{key}.{name}"
            assert_same(found.grad, gradients[f"{key}.{name}"], f"gradient of {key}.{name}")
            assert_same(found.detach(), wanted[name].detach(), f"{key}.{name}")
            compared += 1
    return compared


def descend(groups: dict[str, torch.optim.Adam], losses: dict[str, Tensor]) -> None:
    """A plain step of some optimisers down the sum of these losses."""
    for each in groups.values():
        each.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    for each in groups.values():
        each.step()


def gradients_of(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Copies, by network and parameter."""
    return {
        f"{key}.{name}": each.grad.clone()
        for key, network in networks.items()
        for name, each in network.named_parameters()
        if each.grad is not None
    }

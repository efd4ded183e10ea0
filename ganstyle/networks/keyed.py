"""What networks draw at random in training, as pure functions of the sample, the layer and the place in the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

BITS = 32
LOW_BITS = 2**BITS - 1
# Both below 2^31: a product with 32 bits stays within int64, so no arithmetic relies on overflow.
FIRST_FACTOR, SECOND_FACTOR = 0x21F0AAAD, 0x735A2D97


def mix(values: Tensor) -> Tensor:
    """Scramble integers of 32 bits, held in int64, one to one: each bit depends on all.

    Shifts and factors found by search for the least bias (T. Ellis, for C. Wellons's Hash Prospector, 2022).
    """
    values = (values ^ (values >> 16)) * FIRST_FACTOR & LOW_BITS
    values = (values ^ (values >> 15)) * SECOND_FACTOR & LOW_BITS
    return values ^ (values >> 15)


def row_seeds(keys: Tensor, rows: int, place: int, first_pass: int = 0) -> tuple[Tensor, Tensor]:
    """Two unrelated numbers of 32 bits for each row, (rows, 1, 1, 1): row i has sample i mod n and pass i // n.

    Args:
        keys: int64 (n,), one for each sample.
        rows: a multiple of n.
        place: the layer's place among all layers.
        first_pass: the number of the first pass.
    """
    assert rows % len(keys) == 0, f"{rows} rows of {len(keys)} samples"
    passes = torch.arange(first_pass, first_pass + rows // len(keys), device=keys.device)[:, None]
    layer = mix(torch.full_like(keys, place + 1))
    low, high = keys & LOW_BITS, keys >> BITS & LOW_BITS
    seeds = [mix(mix(mix(one ^ layer) ^ other) + passes & LOW_BITS) for one, other in ((low, high), (high, low))]
    first, second = (seed.reshape(rows, 1, 1, 1) for seed in seeds)
    return first, second


def random_bits(keys: Tensor, shape: Sequence[int], place: int, first_pass: int = 0) -> Tensor:
    """32 random bits for each element of (N, C, H, W), in int64: a hash of the row's seeds and of the element's number.

    No generator is read, nothing waits for the device, and a memory layout changes nothing.
    """
    rows, *image = shape
    elements = image[0] * image[1] * image[2]
    assert elements <= LOW_BITS, f"{elements} elements in an image"
    first, second = row_seeds(keys, rows, place, first_pass)
    bits = torch.arange(elements, device=keys.device).view(1, *image) ^ first
    # As `mix`, with the second seed in between: two rows whose first seeds are near are not each other's permutation.
    # The last shift is left out, because what is made of the bits goes by the upper ones.
    bits = (bits ^ (bits >> 16)) * FIRST_FACTOR & LOW_BITS ^ second
    return (bits ^ (bits >> 15)) * SECOND_FACTOR & LOW_BITS


class KeyedLayer(nn.Module):
    """A layer that draws at random in train mode, from the keys of the samples that it is shown.

    Once `set_keys` has given it one key for each of n samples, what it draws for row i is a pure function of the key
    of sample i mod n, of i // n and of the layer's place: the same on every device, and however the samples are spread
    over ranks, over parts of a batch, or over passes merged into one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.place = 0
        # No buffer: it is set anew at every step, so it is neither saved nor averaged.
        self.keys: Tensor | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything at all."""
        return True


def keyed_layers(networks: Iterable[nn.Module]) -> list[KeyedLayer]:
    """Every layer of these networks that draws anything, in order."""
    layers = (layer for network in networks for layer in network.modules())
    return [layer for layer in layers if isinstance(layer, KeyedLayer) and layer.draws]


def set_keys(layers: Sequence[KeyedLayer], keys: Tensor) -> None:
    """Give the layers the keys of the samples that they see next; the order of the layers tells their draws apart.

    Args:
        layers: what `keyed_layers` gave for all networks of a method, always in the same order.
        keys: int64 (n,) on the networks' device, different for every sample and step; read before this returns.
    """
    assert keys.dtype == torch.int64, keys.dtype
    if not layers:
        return
    held = layers[0].keys
    if held is None or held.shape != keys.shape or held.device != keys.device:
        held = keys.clone()
    else:
        held.copy_(keys)  # in place: a CUDA graph reads the address that it was captured with
    for place, layer in enumerate(layers):
        layer.keys, layer.place = held, place

"""Batches brought to a CUDA device while the one before is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

Item = tuple[int, Tensor, Tensor]


def uploaded(items: Iterable[Item], device: torch.device) -> Iterator[Item]:
    """The same items on a CUDA device, in order; one is always under way on a stream of its own.

    Images must lie in pinned memory, or the copies wait. Nothing here waits for the device: what is computed after an
    item was taken is queued behind its copy.
    """
    copies = torch.cuda.Stream(device)
    under_way: tuple[Item, torch.cuda.Event] | None = None
    for step, a, b in items:
        with torch.cuda.stream(copies):
            sent = step, a.to(device, non_blocking=True), b.to(device, non_blocking=True)
            event = copies.record_event()
        if under_way is not None:
            yield _arrived(*under_way)
        under_way = sent, event
    if under_way is not None:
        yield _arrived(*under_way)


def _arrived(item: Item, event: torch.cuda.Event) -> Item:
    """Let the current stream use an item when its copy is done, and its memory be reused only after that."""
    _, *images = item
    current = torch.cuda.current_stream(images[0].device)
    current.wait_event(event)
    for image in images:
        image.record_stream(current)
    return item

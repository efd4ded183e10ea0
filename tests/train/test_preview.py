from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.data.cache import Prepared
from ganstyle.data.domains import Domain, Subset
from ganstyle.train import preview
from ganstyle.train.preview import COUNT, Previews


@dataclass
class Flat:
    """Images of one grey each."""

    greys: Sequence[int]

    @property
    def files(self) -> list[Prepared]:
        return [
            Prepared(number, hashlib.blake2b(str(grey).encode()).hexdigest(), (12, 10))
            for number, grey in enumerate(self.greys)
        ]

    def __getitem__(self, index: int) -> np.ndarray:
        return np.full((12, 10, 3), self.greys[index], dtype=np.uint8)


def domain(train: Sequence[int], held_out: Sequence[int] = ()) -> Domain:
    both = Flat([*train, *held_out])
    return Domain(Subset(both, range(len(train))), Subset(both, range(len(train), len(both.greys))))


class Shift(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by
        self.saw_training = False
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.saw_training |= self.training or torch.is_grad_enabled()
        self.passes += 1
        return images + self.by / 127.5


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[list[list[np.ndarray]]]:
    """The rows of every picture that is drawn."""
    drawn: list[list[list[np.ndarray]]] = []

    def encode(rows: list[list[np.ndarray]]) -> bytes:
        drawn.append(rows)
        return b"picture"

    monkeypatch.setattr(preview, "encode_grid", encode)
    return drawn


def greys(rows: list[list[np.ndarray]]) -> list[list[int]]:
    for row in rows:
        for image in row:
            assert image.shape == (8, 8, 3)
            assert image.dtype == np.uint8
    return [[int(image[0, 0, 0]) for image in row] for row in rows]


def previews(ab: nn.Module, ba: nn.Module | None, a: Domain, b: Domain) -> Previews:
    models = {"ab": ab} if ba is None else {"ab": ab, "ba": ba}
    return Previews(lambda: models, a, b, crop_px=8, device=torch.device("cpu"))


def test_rows_are_real_fake_cycled_identity_for_both_sides(grids: list) -> None:
    ab, ba = Shift(10), Shift(-3)
    draw = previews(ab, ba, domain([1], [50]), domain([2], [100]))
    assert draw() == b"picture"
    assert greys(grids[0]) == [[50], [60], [57], [47], [100], [97], [107], [110]]


def test_one_direction_alone(grids: list) -> None:
    previews(Shift(10), None, domain([1], [50]), domain([2], [100]))()
    assert greys(grids[0]) == [[50], [60]]


def test_images_are_few_and_the_same_wherever_they_stand(grids: list) -> None:
    values = [10, 20, 30, 40, 50, 60, 70]
    previews(Shift(0), None, domain([0], values), domain([0]))()
    previews(Shift(0), None, domain([0], values[::-1]), domain([0]))()
    first, second = greys(grids[0]), greys(grids[1])
    assert first == second
    assert len(first[0]) == COUNT
    assert set(first[0]) <= set(values)


def test_without_held_out_images_those_trained_on_are_shown(grids: list) -> None:
    previews(Shift(0), None, domain([33]), domain([2]))()
    assert greys(grids[0])[0] == [33]


def test_generators_are_only_borrowed(grids: list) -> None:
    ab, ba = Shift(1), Shift(1)
    ab.train()
    ba.train()
    draw = previews(ab, ba, domain([1]), domain([2]))
    draw()
    draw()
    assert ab.passes == 6
    assert not ab.saw_training
    assert not ba.saw_training
    assert ab.training
    assert ba.training


def test_the_picture_is_a_jpeg() -> None:
    picture = previews(Shift(1), Shift(1), domain([1, 2, 3]), domain([200]))()
    assert picture.startswith(b"\xff\xd8\xff")

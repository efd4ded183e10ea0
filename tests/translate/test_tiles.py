from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.translate.tiles import Box, Rehearsal, Tiling

CPU = torch.device("cpu")


@dataclass
class Numbers:
    """A map of different numbers that fits the memory only in parts of so many places."""

    height: int
    width: int
    fits: float = float("inf")
    cost: float = 1.0
    work: float = 3.0
    tried: list[Box] = field(default_factory=list)

    @property
    def values(self) -> Tensor:
        return torch.arange(self.height * self.width, dtype=torch.float32).view(1, 1, self.height, self.width)

    @property
    def whole(self) -> Box:
        return Box(0, self.height, 0, self.width)

    def read(self, box: Box) -> Tensor:
        self.tried.append(box)
        if box.area > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return box.of(self.values)


def run(numbers: Numbers, tile_px: int, whole: Box | None = None) -> tuple[Tensor, list[float]]:
    """Every value as it was visited, NaN where it was not; and what was told of the progress."""
    whole, shares = whole or numbers.whole, list[float]()
    total = numbers.work * whole.area
    tiling = Tiling(tile_px=tile_px, channels=1, device=CPU, total=total, progress=shares.append)
    result = torch.full_like(numbers.values, torch.nan)

    def visit(box: Box, tile: Tensor) -> None:
        assert box.of(result).isnan().all(), "visited twice"
        box.of(result).copy_(tile)

    tiling.run(numbers, whole, visit)
    return result, shares


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (40, 5), (33, 64), (31, 31)])
@pytest.mark.parametrize("side_px", [1, 7, 32, 33, 100])
def test_tiles_cover_each_place_once(height: int, width: int, side_px: int) -> None:
    count = torch.zeros(1, 1, height + 4, width + 6)
    for box in Box(4, height + 4, 6, width + 6).tiles(side_px):
        assert 0 < box.bottom - box.top <= side_px
        assert 0 < box.right - box.left <= side_px
        box.of(count).add_(1)
    assert (count[:, :, 4:, 6:] == 1).all()
    assert count.sum() == height * width


def test_tiles_are_of_nearly_one_size() -> None:
    sides = {box.bottom - box.top for box in Box(0, 65, 0, 1).tiles(64)}
    assert sides == {32, 33}


def test_parts_within_parts() -> None:
    outer, inner = Box(2, 10, 3, 12), Box(4, 9, 3, 5)
    image = torch.rand(1, 2, 20, 20)
    assert torch.equal(inner.within(outer).of(outer.of(image)), inner.of(image))
    assert outer.holds(inner)
    assert outer.holds(outer)
    for other in (Box(1, 9, 3, 5), Box(4, 11, 3, 5), Box(4, 9, 2, 5), Box(4, 9, 3, 13)):
        assert not outer.holds(other)


def test_every_value_is_visited_once() -> None:
    numbers = Numbers(70, 45)
    result, shares = run(numbers, 16)
    assert torch.equal(result, numbers.values)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_only_the_part_that_is_wanted() -> None:
    numbers = Numbers(70, 45)
    result, _ = run(numbers, 16, Box(0, 50, 0, 31))
    assert torch.equal(result[:, :, :50, :31], numbers.values[:, :, :50, :31])
    assert result[:, :, 50:].isnan().all()
    assert result[:, :, :, 31:].isnan().all()


def test_tiles_of_maps_with_more_channels_are_smaller() -> None:
    numbers = Numbers(64, 64, cost=16)
    run(numbers, 32)
    assert {box.area for box in numbers.tried} == {8 * 8}


def test_out_of_memory_halves_the_tile_and_goes_on() -> None:
    numbers = Numbers(300, 500, fits=70 * 70)
    result, shares = run(numbers, 256)
    assert torch.equal(result, numbers.values)
    assert shares[-1] == pytest.approx(1)
    failed = [box for box in numbers.tried if box.area > numbers.fits]
    assert len(failed) == 2  # 256, 128; all further tiles stay small


def test_out_of_memory_with_the_smallest_tile() -> None:
    with pytest.raises(UserError, match=r"out of memory on cpu with tiles of 32 px: make the image smaller") as caught:
        run(Numbers(100, 100, fits=3), 64)
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Numbers):
        def read(self, box: Box) -> Tensor:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(Broken(8, 8), 64)


def test_a_rehearsal_counts_the_work_and_computes_nothing() -> None:
    numbers, rehearsal = Numbers(10, 20), Rehearsal()
    rehearsal.run(numbers, numbers.whole, lambda *_: pytest.fail("computed"))
    rehearsal.run(numbers, Box(0, 1, 0, 1), lambda *_: pytest.fail("computed"))
    assert rehearsal.work == 3 * (200 + 1)
    assert numbers.tried == []

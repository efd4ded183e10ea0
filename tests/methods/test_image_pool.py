from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.methods.image_pool import ImagePool

DRAWS = Draws(seed=7)


def picture(number: int, side_px: int = 2) -> Tensor:
    """An image that tells its number by its colour."""
    return torch.full((3, side_px, side_px), float(number))


def batch(first: int, count: int) -> Tensor:
    return torch.stack([picture(number) for number in range(first, first + count)])


def numbers(images: Tensor) -> list[int]:
    assert all(bool((image == image[0, 0, 0]).all()) for image in images)
    return [int(image[0, 0, 0]) for image in images]


def place(step: int, *, sample: int = 0, slot: int = 0, draws: Draws = DRAWS) -> SimpleNamespace:
    """What a pool asks of a batch whose first image is this sample, in this slot."""
    return SimpleNamespace(draws=draws.at(step), first_sample=sample, first_slot=slot)


def run(pool: ImagePool, steps: range, batch_size: int) -> list[int]:
    """Replay numbered images; step t brings the images t * batch_size and on."""
    result: list[int] = []
    for step in steps:
        images = batch(step * batch_size, batch_size)
        result += numbers(pool.replay(images, "pool_a", place(step)))
    return result


def simulated(size: int, steps: range, batch_size: int) -> list[int]:
    """The histories as plain lists of numbers, one for each slot."""
    histories: list[list[int]] = [[] for _ in range(batch_size)]
    result: list[int] = []
    for step in steps:
        for sample in range(batch_size):
            newest, history = step * batch_size + sample, histories[sample]
            stream = DRAWS.at(step).stream("pool_a", sample)
            if len(history) < size:
                history.append(newest)
                result.append(newest)
            elif stream.random() < 0.5:
                result.append(newest)
            else:
                index = int(stream.integers(size))
                result.append(history[index])
                history[index] = newest
    return result


@pytest.mark.parametrize(("size", "batch_size"), [(1, 1), (4, 1), (4, 3), (2, 8), (50, 2)])
def test_against_a_plain_list(size: int, batch_size: int) -> None:
    steps = range(120)
    result = run(ImagePool(size), steps, batch_size)
    assert result == simulated(size, steps, batch_size)
    assert result[: size * batch_size] == list(range(size * batch_size))
    assert result != list(range(len(result)))


def test_half_are_old_and_no_place_is_preferred() -> None:
    size, steps = 5, 3000
    result = run(ImagePool(size), range(steps), 1)
    ages = [step - number for step, number in enumerate(result)]
    old = [age for age in ages[size:] if age > 0]
    assert len(old) / (steps - size) == pytest.approx(0.5, abs=0.05)
    # Each place is exchanged with probability 1 / (2 x size) a step, so how long an image stays is geometric; with
    # places preferred there would be more of the short stays.
    share = 1 - (1 - 1 / (2 * size)) ** (2 * size)
    assert sum(age <= 2 * size for age in old) / len(old) == pytest.approx(share, abs=0.04)
    assert max(Counter(result).values()) == 2  # given out as it arrives while the pool fills, then once as an old one


def test_the_size_of_the_batch_does_not_matter() -> None:
    together, alone = ImagePool(3), ImagePool(3)
    for step in range(20):
        images = batch(step * 4, 4)
        expected = together.replay(images, "pool_a", place(step))
        singles = [alone.replay(images[i : i + 1], "pool_a", place(step, sample=i, slot=i)) for i in range(4)]
        assert torch.equal(torch.cat(singles), expected)


def test_purpose_and_step_change_what_is_replayed() -> None:
    results = []
    for purpose, seed in (("pool_a", 7), ("pool_b", 7), ("pool_a", 8)):
        pool = ImagePool(2)
        draws = Draws(seed)
        results.append([numbers(pool.replay(batch(t, 1), purpose, place(t, draws=draws)))[0] for t in range(40)])
    assert results[0] != results[1]
    assert results[0] != results[2]


def test_a_pool_of_none_gives_its_input_back() -> None:
    pool = ImagePool(0)
    assert run(pool, range(5), 2) == list(range(10))
    assert pool.state_dict() == {}


def test_no_gradient_passes_and_no_graph_is_kept() -> None:
    for size in (0, 1):
        pool = ImagePool(size)
        for step in range(6):
            images = batch(step, 1).requires_grad_() * 2
            assert images.requires_grad
            assert not pool.replay(images, "pool_a", place(step)).requires_grad


def test_what_is_kept_and_given_is_safe_from_later_changes_in_place() -> None:
    pool, given = ImagePool(2), []
    for step in range(40):
        images = batch(step, 1)
        replayed = pool.replay(images, "pool_a", place(step))
        given += numbers(replayed)
        images.fill_(-1)
        replayed.fill_(-1)
    assert given == simulated(2, range(40), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    pool = ImagePool(2)
    for step in range(6):
        assert pool.replay(batch(step, 2).to(dtype), "pool_a", place(step)).dtype == dtype
    assert {images.dtype for images in pool.state_dict().values()} == {dtype}


def test_kept_images_follow_a_change_of_precision() -> None:
    pool = ImagePool(2)
    run(pool, range(2), 1)
    for step in range(2, 12):
        result = pool.replay(batch(step, 1).bfloat16(), "pool_a", place(step))
        assert result.dtype == torch.bfloat16


@pytest.mark.parametrize("interruption", [0, 1, 2, 3, 30])
def test_a_restored_pool_goes_on_exactly(interruption: int, tmp_path: Path) -> None:
    uninterrupted = ImagePool(3)
    expected = run(uninterrupted, range(60), 1)
    first = ImagePool(3)
    before = run(first, range(interruption), 1)
    torch.save(first.state_dict(), tmp_path / "pool.pt")
    run(first, range(interruption, interruption + 10), 1)  # what happens after saving does not reach the file
    second = ImagePool(3)
    second.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    assert before + run(second, range(interruption, 60), 1) == expected
    end, other = uninterrupted.state_dict(), second.state_dict()
    assert len(end[0]) == len(other[0]) == 3
    assert torch.equal(end[0], other[0])


def test_a_state_is_a_copy() -> None:
    pool = ImagePool(2)
    run(pool, range(2), 1)
    state = pool.state_dict()
    run(pool, range(2, 30), 1)
    assert numbers(state[0]) == [0, 1]
    restored = ImagePool(2)
    restored.load_state_dict(state)
    state[0].zero_()
    assert numbers(restored.state_dict()[0]) == [0, 1]


def test_a_slot_remembers_only_its_own() -> None:
    pool = ImagePool(2)
    for step in range(30):
        given = numbers(pool.replay(batch(step * 2, 2), "pool_a", place(step, sample=step * 2, slot=4)))
        assert [number % 2 for number in given] == [0, 1]
    assert sorted(pool.state_dict()) == [4, 5]


def test_another_size_of_images_is_refused_in_one_line() -> None:
    pool = ImagePool(2)
    run(pool, range(1), 1)
    with pytest.raises(UserError, match="holds images of 2 x 2 px and got 6 x 4 px: keep the crop") as caught:
        pool.replay(torch.zeros(1, 3, 4, 6), "pool_a", place(1))
    assert "\n" not in str(caught.value)


def test_more_images_than_the_pool_may_hold_are_refused() -> None:
    pool = ImagePool(4)
    run(pool, range(4), 1)
    with pytest.raises(UserError, match="holds 4 images, this one at most 3"):
        ImagePool(3).load_state_dict(pool.state_dict())

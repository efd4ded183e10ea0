from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.augment import Augment, build_augment
from ganstyle.data.batches import BatchStream, Cropping, ImageBatch, StepDataset, centre_crops, shuffled
from ganstyle.data.cache import Preparation, Prepared, open_images
from ganstyle.data.domains import Subset
from ganstyle.data.tensors import to_tensor

CPU = torch.device("cpu")
PIPELINE: list[dict[str, Any]] = [
    {"name": "ColorJitter", "p": 0.8},
    {"name": "OneOf", "transforms": [{"name": "GaussianBlur"}, {"name": "Affine", "rotate": [-9, 9]}], "p": 0.8},
    {"name": "GaussNoise", "p": 0.5},
    {"name": "CoarseDropout", "p": 0.5},
]


class Arrays:
    """Images that are arrays at hand; picklable."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays
        self.files = [Prepared(n, str(n), (a.shape[0], a.shape[1])) for n, a in enumerate(arrays)]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.arrays[index]


def flat(count: int, first: int = 0, size: int = 8) -> Subset:
    """Images of one level each, so that each is known by any of its pixels."""
    arrays = [np.full((size, size, 3), first + number, dtype=np.uint8) for number in range(count)]
    return Subset(Arrays(arrays), range(count))


def noisy(count: int, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Subset:
    arrays = [np.random.default_rng((seed, n)).integers(0, 256, (*size, 3), dtype=np.uint8) for n in range(count)]
    return Subset(Arrays(arrays), range(count))


@pytest.fixture
def packed_pair(tmp_path: Path) -> tuple[Subset, Subset]:
    """Two domains in one pack."""
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(noisy(5)[number]).save(paths[-1])
    images, _ = open_images(paths, Preparation(20, "short_side"), cache=True, say=lambda _: None)
    return Subset(images, range(5)), Subset(images, [3, 1])


def stream(
    a: Subset,
    b: Subset,
    *,
    seed: int = 0,
    batch_size: int = 1,
    crop_px: int = 8,
    flip: bool = True,
    augment: Augment | None = None,
    workers: int = 0,
    slots: range | None = None,
) -> BatchStream:
    cropping = Cropping(crop_px, flip, augment)
    dataset = StepDataset(a, b, cropping, draws=Draws(seed), batch_size=batch_size, slots=slots)
    return BatchStream(dataset, workers=workers, device=CPU)


def drawn(batches: BatchStream, start: int, stop: int) -> dict[int, ImageBatch]:
    return dict(batches.between(start, stop))


def same(one: ImageBatch, other: ImageBatch) -> bool:
    return torch.equal(one.a, other.a) and torch.equal(one.b, other.b)


def levels(images: torch.Tensor) -> list[int]:
    return [round((float(image.mean()) + 1) * 127.5) for image in images]


# The order of images


def test_every_image_comes_once_in_every_pass() -> None:
    batches = drawn(stream(flat(7), flat(7, 100)), 0, 7 * 4)
    for start in range(0, 28, 7):
        passed = [batches[step] for step in range(start, start + 7)]
        assert sorted(level for batch in passed for level in levels(batch.a)) == list(range(7))
        assert sorted(level for batch in passed for level in levels(batch.b)) == list(range(100, 107))


def test_every_pass_and_side_and_seed_has_an_order_of_its_own() -> None:
    def order(side: str, number: int, seed: int) -> tuple[int, ...]:
        return tuple(shuffled(20, 20 * number + sample, Draws(seed), side) for sample in range(20))

    orders = {order(side, number, seed) for side in "ab" for number in range(5) for seed in range(5)}
    assert len(orders) == 50
    assert all(sorted(each) == list(range(20)) for each in orders)


def test_orders_are_spread_evenly() -> None:
    count = 1500
    firsts = Counter(tuple(shuffled(3, 3 * n + place, Draws(0), "a") for place in range(3)) for n in range(count))
    assert len(firsts) == 6
    assert all(abs(number - count / 6) < 5 * (count * 5 / 36) ** 0.5 for number in firsts.values())


def test_unequal_domains_do_not_wait_for_each_other() -> None:
    batches = drawn(stream(flat(2), flat(9, 100)), 0, 18)
    a, b = ([levels(getattr(batches[step], side))[0] for step in range(18)] for side in "ab")
    assert all(set(a[start : start + 2]) == {0, 1} for start in range(0, 18, 2))
    assert all(set(b[start : start + 9]) == set(range(100, 109)) for start in (0, 9))


def test_a_domain_does_not_depend_on_the_other() -> None:
    one, other = (drawn(stream(noisy(5), b), 0, 12) for b in (noisy(3, 1), noisy(8, 2)))
    assert all(torch.equal(one[step].a, other[step].a) for step in range(12))


def test_slots_of_a_batch_are_successive_samples() -> None:
    singles = drawn(stream(flat(7), flat(5, 100)), 0, 24)
    batched = drawn(stream(flat(7), flat(5, 100), batch_size=4), 0, 6)
    for step, batch in batched.items():
        assert batch.first_sample == 4 * step
        assert levels(batch.a) == [levels(singles[4 * step + slot].a)[0] for slot in range(4)]
        assert levels(batch.b) == [levels(singles[4 * step + slot].b)[0] for slot in range(4)]


@pytest.mark.parametrize("spread", [[range(1), range(1, 2), range(2, 3)], [range(2), range(2, 3)]])
def test_the_parts_of_a_batch_are_together_what_it_is_whole(spread: list[range]) -> None:
    sides = noisy(5), noisy(4, 1)
    augment = build_augment(PIPELINE)
    whole = drawn(stream(*sides, batch_size=3, augment=augment), 2, 12)
    parts = [drawn(stream(*sides, batch_size=3, augment=augment, slots=slots), 2, 12) for slots in spread]
    for step, batch in whole.items():
        found = [part[step] for part in parts]
        assert torch.equal(torch.cat([each.a for each in found]), batch.a)
        assert torch.equal(torch.cat([each.b for each in found]), batch.b)
        assert [each.first_slot for each in found] == [slots.start for slots in spread]
        assert [each.first_sample for each in found] == [3 * step + slots.start for slots in spread]
        assert all(each.draws == batch.draws for each in found)


@pytest.mark.parametrize("slots", [range(0), range(2, 4), range(0, 3, 2), range(-1, 2)])
def test_slots_that_a_batch_does_not_have(slots: range) -> None:
    with pytest.raises(AssertionError):
        stream(flat(1), flat(1), batch_size=3, slots=slots)


def test_a_batch_is_split_into_views() -> None:
    batch = drawn(stream(noisy(7), noisy(7), batch_size=8, slots=range(2, 8)), 3, 4)[3]
    parts = batch.split(3)
    assert [len(part.a) for part in parts] == [len(part.b) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([part.a for part in parts]), batch.a)
    assert torch.equal(torch.cat([part.b for part in parts]), batch.b)
    assert [(part.first_sample, part.first_slot) for part in parts] == [(26, 2), (28, 4), (30, 6)]
    assert {part.draws for part in parts} == {batch.draws}
    assert all(part.a.untyped_storage().data_ptr() == batch.a.untyped_storage().data_ptr() for part in parts)
    (whole,) = batch.split(1)
    assert same(whole, batch)
    with pytest.raises(AssertionError, match="6 images in 4 parts"):
        batch.split(4)


def test_batches_lie_channels_last() -> None:
    for batch_size in (1, 3):
        batch = drawn(stream(noisy(3), noisy(3), batch_size=batch_size), 0, 1)[0]
        for images in (batch.a, batch.b, *(part.a for part in batch.split(batch_size))):
            assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_larger_than_its_domain() -> None:
    batch = drawn(stream(flat(2), flat(1, 9), batch_size=5), 3, 4)[3]
    assert levels(batch.b) == [9] * 5
    assert set(levels(batch.a)) == {0, 1}


def test_two_equal_domains_are_not_paired() -> None:
    batches = drawn(stream(flat(30), flat(30)), 0, 30)
    assert sum(levels(batch.a) == levels(batch.b) for batch in batches.values()) < 10


# A batch is a pure function of seed and step


def test_any_step_alone_is_the_same_step_in_sequence() -> None:
    batches = stream(noisy(5), noisy(3, 1), batch_size=2, augment=build_augment(PIPELINE))
    whole = drawn(batches, 0, 10)
    assert list(whole) == list(range(10))
    for step in (9, 0, 4):
        ((found, batch),) = batches.between(step, step + 1)
        assert found == step
        assert same(batch, whole[step])
    assert [same(batch, whole[step]) for step, batch in batches.between(6, 10)] == [True] * 4
    assert list(batches.between(4, 4)) == []


def test_another_seed_and_another_step_draw_otherwise() -> None:
    one, again, other = (drawn(stream(noisy(4), noisy(4, 1), seed=seed), 0, 8) for seed in (0, 0, 1))
    assert all(same(one[step], again[step]) for step in range(8))
    assert not any(same(one[step], other[step]) for step in range(8))
    assert len({one[step].a.numpy().tobytes() for step in range(8)}) == 8


def test_images_are_scaled_and_the_step_is_known() -> None:
    batch = drawn(stream(flat(1, 51), flat(1, 255), seed=3, batch_size=2), 5, 6)[5]
    assert batch.a.shape == (2, 3, 8, 8)
    assert batch.a.dtype == torch.float32
    assert torch.allclose(batch.a, torch.full((2, 3, 8, 8), 51 / 127.5 - 1))
    assert (batch.b == 1).all()
    assert batch.draws == Draws(3, 5)


@pytest.mark.parametrize("packed", [True, False])
def test_workers_change_nothing(tmp_path: Path, packed: bool) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(noisy(5)[number]).save(paths[-1])
    images, _ = open_images(paths, Preparation(20, "short_side"), cache=packed, say=lambda _: None)
    domains = Subset(images, range(5)), Subset(images, [3, 1])
    none, two = (
        drawn(stream(*domains, batch_size=2, crop_px=16, augment=build_augment(PIPELINE), workers=workers), 2, 14)
        for workers in (0, 2)
    )
    assert list(two) == list(none) == list(range(2, 14))
    assert all(same(none[step], two[step]) for step in none)
    plain = drawn(stream(*domains, batch_size=2, crop_px=16), 2, 14)
    assert not all(same(none[step], plain[step]) for step in none)


def test_it_travels_to_spawned_workers() -> None:
    batches = stream(noisy(3), noisy(2, 1), augment=build_augment(PIPELINE))
    travelled = BatchStream(pickle.loads(pickle.dumps(batches.dataset)), workers=0, device=CPU)
    one, other = drawn(batches, 0, 4), drawn(travelled, 0, 4)
    assert all(same(one[step], other[step]) for step in range(4))


def test_it_works_with_spawned_workers(packed_pair: tuple[Subset, Subset]) -> None:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        spawned = drawn(stream(*packed_pair, crop_px=16, augment=build_augment(PIPELINE), workers=1), 3, 7)
    finally:
        multiprocessing.set_start_method(before, force=True)
    here = drawn(stream(*packed_pair, crop_px=16, augment=build_augment(PIPELINE)), 3, 7)
    assert list(spawned) == list(here) == [3, 4, 5, 6]
    assert all(same(spawned[step], here[step]) for step in here)


def slow(pixels: np.ndarray, seed: int) -> np.ndarray:
    time.sleep(0.01)
    return pixels


def test_the_time_that_its_consumer_waits_is_counted() -> None:
    batches = stream(noisy(2), noisy(2), augment=slow)
    assert batches.waited_s == 0
    began, slept = time.perf_counter(), 0.0
    for _ in batches.between(0, 3):
        paused = time.perf_counter()
        time.sleep(0.05)
        slept += time.perf_counter() - paused
    # Three steps of two images, and nothing of the consumer's own time.
    assert 6 * 0.01 <= batches.waited_s <= time.perf_counter() - began - slept
    before = batches.waited_s
    drawn(batches, 3, 4)
    assert batches.waited_s >= before + 2 * 0.01


# Crops and flips


def cropped(count: int, size: tuple[int, int], crop_px: int, flip: bool) -> list[tuple[int, int, bool]]:
    """(top, left, flipped) of many crops of an image in which every pixel tells its place."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    places = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    cropping, found = Cropping(crop_px, flip), []
    for sample in range(count):
        crop = cropping(places, Draws(0, sample), "a", sample).astype(int)
        assert crop.shape == (crop_px, crop_px, 3)
        flipped = bool(crop[0, 0, 1] > crop[0, -1, 1])
        upright = crop[:, ::-1] if flipped else crop
        top, left = int(upright[0, 0, 0]), int(upright[0, 0, 1])
        assert np.array_equal(upright, places[top : top + crop_px, left : left + crop_px])
        found.append((top, left, flipped))
    return found


def test_crops_cover_every_place_evenly_and_half_are_flipped() -> None:
    count = 3000
    found = cropped(count, (10, 8), 6, flip=True)
    places = Counter((top, left) for top, left, _ in found)
    assert set(places) == {(top, left) for top in range(5) for left in range(3)}
    assert all(abs(number - count / 15) < 5 * (count / 15) ** 0.5 for number in places.values())
    flips = sum(flipped for *_, flipped in found)
    assert abs(flips - count / 2) < 5 * (count / 4) ** 0.5


def test_no_flip_and_a_crop_of_the_whole_image() -> None:
    assert cropped(50, (6, 6), 6, flip=False) == [(0, 0, False)] * 50
    assert {flipped for *_, flipped in cropped(50, (6, 6), 6, flip=True)} == {True, False}


def test_both_sides_are_cropped_each_on_its_own() -> None:
    batches = drawn(stream(noisy(1), noisy(1)), 0, 20)
    assert not all(torch.equal(batch.a, batch.b) for batch in batches.values())


def test_the_middle_is_what_previews_show() -> None:
    images = noisy(3, size=(11, 14))
    crops = centre_crops(images, [2, 0], 8)
    assert crops.shape == (2, 8, 8, 3)
    assert np.array_equal(crops[0], images[2][1:9, 3:11])
    assert np.array_equal(crops[1], images[0][1:9, 3:11])


# What goes wrong


def smaller(pixels: np.ndarray, seed: int) -> np.ndarray:
    return pixels[:7]


def floating(pixels: np.ndarray, seed: int) -> np.ndarray:
    return pixels.astype(np.float32)


def grey(pixels: np.ndarray, seed: int) -> np.ndarray:
    return pixels[..., 0]


def refusing(pixels: np.ndarray, seed: int) -> np.ndarray:
    raise UserError("data.augment: something is wrong with it")


def killing(pixels: np.ndarray, seed: int) -> np.ndarray:
    if get_worker_info() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return pixels


def failing(pixels: np.ndarray, seed: int) -> np.ndarray:
    raise RuntimeError("our own mistake")


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (smaller, r"^data\.augment: its images are 20 x 7 px, uint8, .* at least data\.crop_px \(8\)$"),
        (floating, r"^data\.augment: its images are 20 x 24 px, float32"),
        (grey, r"^data\.augment: its images are 20 x 24 px, uint8, of shape \(24, 20\)"),
        (refusing, r"^data\.augment: something is wrong with it$"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_is_one_line(augment: Augment, message: str, workers: int) -> None:
    batches = stream(noisy(2), noisy(2), augment=augment, workers=workers)
    with pytest.raises(UserError, match=message) as caught:
        drawn(batches, 0, 3)
    assert "\n" not in str(caught.value)


def test_a_transform_that_fails_on_an_image_is_one_line() -> None:
    augment = build_augment([{"name": "Crop", "x_max": 500, "y_max": 500}])
    with pytest.raises(UserError, match=r"^data\.augment: [^\n]*$"):
        drawn(stream(noisy(2), noisy(2), augment=augment, workers=1), 0, 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_our_own_mistakes_keep_their_kind(workers: int) -> None:
    with pytest.raises(RuntimeError, match="our own mistake"):
        drawn(stream(noisy(2), noisy(2), augment=failing, workers=workers), 0, 3)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_worker_is_one_line() -> None:
    batches = stream(noisy(2), noisy(2), augment=killing, workers=2)
    with pytest.raises(UserError, match=r"^a loader worker died \(.*\); .* lower data\.workers$") as caught:
        drawn(batches, 0, 3)
    assert multiprocessing.active_children() == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("augment", [refusing, failing, None])
def test_no_worker_is_left_behind(augment: Augment | None) -> None:
    batches = stream(noisy(2), noisy(2), augment=augment, workers=2)
    steps = batches.between(0, 100)
    kept = []
    try:
        next(steps)
    except (UserError, RuntimeError) as error:
        kept.append(error)  # and with it all its frames, as a traceback that is shown does
    began = time.monotonic()
    steps.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert time.monotonic() - began < 4
    assert len(kept) == (0 if augment is None else 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGCHLD")
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_nothing_is_raised_in_the_middle_of_a_step(before: Any) -> None:
    old = signal.signal(signal.SIGCHLD, before)
    try:
        for step, _ in stream(noisy(2), noisy(2), workers=1).between(0, 2):
            assert signal.getsignal(signal.SIGCHLD) == before, step
    finally:
        signal.signal(signal.SIGCHLD, old)


def in_a_thread(call: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_it_works_outside_of_the_main_thread() -> None:
    one = in_a_thread(lambda: drawn(stream(noisy(2), noisy(2), workers=1), 0, 3))
    other = drawn(stream(noisy(2), noisy(2)), 0, 3)
    assert all(same(one[step], other[step]) for step in range(3))


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends a process on Windows")
def test_workers_leave_stopping_to_the_main_process() -> None:
    before = {step: batch.a for step, batch in stream(noisy(3), noisy(3)).between(0, 12)}
    seen = {}
    for step, batch in stream(noisy(3), noisy(3), workers=1).between(0, 12):
        if step == 0:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
            if not children.is_file():
                pytest.skip("no /proc here to find the workers by")
            for child in children.read_text().split():
                if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGINT)
                    os.kill(int(child), signal.SIGTERM)
        seen[step] = batch.a
    assert all(torch.equal(seen[step], before[step]) for step in range(12))


def test_the_pixels_of_a_crop_become_the_tensor() -> None:
    images = noisy(1)
    batch = drawn(stream(images, images, seed=4), 2, 3)[2]
    crop = Cropping(8, True)(images[0], Draws(4, 2), "a", 2)
    assert torch.equal(batch.a, to_tensor(np.ascontiguousarray(crop)))

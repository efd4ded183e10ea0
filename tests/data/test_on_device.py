from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganstyle.data.on_device
from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.base.keys import config_mistakes
from ganstyle.data.augment import Augment
from ganstyle.data.batches import Cropping, StepDataset
from ganstyle.data.cache import PackedImages, Preparation, open_images
from ganstyle.data.domains import Subset
from ganstyle.data.on_device import DeviceDataset, batch_stream, crops_on_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Side = Callable[..., Subset]


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """Makes a domain of noise, six files of several shapes."""

    def make(name: str, *, resize: Any = "short_side", cache: bool = True, indices: Any = range(6)) -> Subset:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number in range(6):
            pixels = np.random.default_rng((len(name), number)).integers(0, 256, (20 + 3 * number, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        images, skipped = open_images(sorted(folder.iterdir()), Preparation(20, resize), cache=cache, say=print)
        assert not skipped
        return Subset(images, indices)

    return make


def steps(a: Subset, b: Subset, *, flip: bool = True, augment: Augment | None = None, **batch: Any) -> StepDataset:
    return StepDataset(a, b, Cropping(16, flip, augment), draws=Draws(5), **{"batch_size": 1, **batch})


@pytest.mark.parametrize("resize", ["square", "short_side"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("batch", [{"batch_size": 1}, {"batch_size": 4, "slots": range(1, 4)}])
def test_it_gives_the_same_batches(side: Side, resize: str, flip: bool, batch: dict[str, Any]) -> None:
    dataset = steps(side("a", resize=resize), side("bb", resize=resize, indices=[4, 1, 3]), flip=flip, **batch)
    here = dict(batch_stream(dataset, workers=0, device=CPU, crop_on="cpu").between(3, 30))
    there = dict(batch_stream(dataset, workers=2, device=CPU, crop_on="device").between(3, 30))
    assert list(there) == list(here) == list(range(3, 30))
    for step, one in here.items():
        other = there[step]
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.b, other.b)
        assert other.a.is_contiguous(memory_format=torch.channels_last)
        assert (one.draws, one.first_sample, one.first_slot) == (other.draws, other.first_sample, other.first_slot)


def test_a_pack_that_is_copied_in_pieces_is_whole(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = steps(side("a"), side("bb"))
    whole = DeviceDataset(dataset, CPU)
    monkeypatch.setattr(ganstyle.data.on_device, "CHUNK_BYTES", 1000)
    pieces = DeviceDataset(dataset, CPU)
    for step in range(12):
        expected = dataset[step]
        assert not isinstance(expected, str)
        for found in (whole[step], pieces[step]):
            assert found[0] == expected[0] == step
            assert torch.equal(found[1], expected[1])
            assert torch.equal(found[2], expected[2])


def test_its_time_is_counted_too(side: Side) -> None:
    batches = batch_stream(steps(side("a"), side("bb")), workers=0, device=CPU, crop_on="device")
    assert len(list(batches.between(0, 3))) == 3
    assert batches.waited_s > 0


# The choice


def unchanged(pixels: np.ndarray, seed: int) -> np.ndarray:
    return pixels


def test_what_auto_comes_to(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = side("a"), side("bb")
    assert all(isinstance(each.images, PackedImages) for each in packed)
    need = sum((each.images.folder / "pixels.bin").stat().st_size for each in packed)  # type: ignore[attr-defined]
    unpacked = side("a"), side("bb", cache=False)
    free = 4 * need + 1
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100 * need))
    assert crops_on_device(steps(*packed), CUDA, "auto")
    assert not crops_on_device(steps(*packed), CUDA, "cpu")
    assert not crops_on_device(steps(*packed), CPU, "auto")
    assert not crops_on_device(steps(*packed), torch.device("mps"), "auto")
    assert not crops_on_device(steps(*unpacked), CUDA, "auto")
    assert not crops_on_device(steps(*packed, augment=unchanged), CUDA, "auto")
    free = 4 * need
    assert not crops_on_device(steps(*packed), CUDA, "auto")
    assert crops_on_device(steps(*packed), CUDA, "device")


def test_what_keeps_images_off_the_device_is_said(side: Side) -> None:
    packed, unpacked = (side("a"), side("bb")), (side("a", cache=False), side("bb"))
    with pytest.raises(UserError, match=r"^data\.crop_on: got device, but data\.augment works on the CPU; use [^\n]*$"):
        batch_stream(steps(*packed, augment=unchanged), workers=0, device=CPU, crop_on="device")
    with pytest.raises(
        UserError, match=r"^data\.crop_on: got device, but the images are not in the image cache[^\n]*$"
    ):
        batch_stream(steps(*unpacked), workers=0, device=CPU, crop_on="device")


@pytest.mark.parametrize(
    ("data", "in_the_way"),
    [
        ({"cache": False}, "data.cache=false"),
        ({"augment": [{"name": "GaussNoise"}]}, "data.augment"),
        ({"augment": [], "cache": True}, None),
    ],
)
def test_what_a_config_says_of_it(data: dict[str, Any], in_the_way: str | None) -> None:
    mistakes = config_mistakes({"data": {**data, "crop_on": "device"}, "training": {"steps": 1}})
    said = f"data.crop_on: got device, which does not go with {in_the_way}; use data.crop_on=auto"
    assert mistakes == ([] if in_the_way is None else [said])
    assert config_mistakes({"data": {**data, "crop_on": "auto"}, "training": {"steps": 1}}) == []

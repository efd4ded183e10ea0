from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.segmentation import CLASSES
from ganstyle.translate.segments import Segments, named_classes

CPU = torch.device("cpu")


class Marker(nn.Module):
    """White is a person, black a dog, all else background, each with this probability."""

    def __init__(self, sure: float = 0.95) -> None:
        super().__init__()
        self.sure, self.sizes = sure, [(0, 0)]

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append((images.shape[2], images.shape[3]))
        level = images.mean(dim=1)
        which = torch.zeros_like(level, dtype=torch.long)
        which[level > 0.8] = CLASSES.index("person")
        which[level < -0.8] = CLASSES.index("dog")
        rest = (1 - self.sure) / (len(CLASSES) - 1)
        marked = nn.functional.one_hot(which, len(CLASSES)).permute(0, 3, 1, 2)
        return rest + marked * (self.sure - rest)


def photo(dtype: type = np.uint8) -> np.ndarray:
    """A white square to the left and a black one to the right on grey."""
    highest = np.iinfo(dtype).max
    pixels: np.ndarray = np.full((60, 120, 3), highest // 2, dtype)
    pixels[20:40, 20:40] = highest
    pixels[20:40, 80:100] = 0
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_kept_has_no_weight(dtype: type) -> None:
    found = Segments(("person",), Marker(), CPU, 1.0).weight(photo(dtype))
    assert found.shape == (60, 120)
    assert found.dtype == np.float32
    assert found[25:35, 25:35].max() < 1e-3
    assert found[:, 50:].min() == 1
    assert found[:10].min() == 1


def test_several_classes_and_the_background_can_be_kept() -> None:
    both = Segments(("person", "dog"), Marker(), CPU, 1.0).weight(photo())
    assert both[25:35, 25:35].max() < 1e-3
    assert both[25:35, 85:95].max() < 1e-3
    around = Segments(("background",), Marker(), CPU, 1.0).weight(photo())
    assert np.abs(around - (1 - both)).max() < 0.1
    assert around[30, 30] > 0.999


def test_a_photo_with_nothing_of_it_is_translated_whole() -> None:
    assert (Segments(("cat",), Marker(0.7), CPU).weight(photo()) == 1).all()


def test_an_unsure_network_mixes_between_its_bounds() -> None:
    found = Segments(("person",), Marker(0.5), CPU, 0).weight(photo())
    assert found[30, 30] == pytest.approx(0.5, abs=1e-3)


def test_edges_are_feathered_by_so_many_pixels_of_the_photo() -> None:
    sharp, soft = (Segments(("person",), Marker(), CPU, px).weight(photo())[30] for px in (0.0, 4.0))
    assert ((sharp > 0.01) & (sharp < 0.99)).sum() <= 4
    assert ((soft > 0.01) & (soft < 0.99)).sum() > 15


def test_the_network_sees_520_px_on_the_shorter_side() -> None:
    network = Marker()
    segments = Segments(("person",), network, CPU)
    for height, width, seen in ((600, 900, (520, 780)), (60, 120, (520, 1040)), (20, 2000, (21, 2080))):
        pixels = np.zeros((height, width, 3), np.uint8)
        assert segments.weight(pixels).shape == (height, width)
        assert network.sizes[-1] == seen


def test_names_are_read_from_text() -> None:
    assert named_classes("Person, dog,") == ("person", "dog")
    with pytest.raises(UserError, match="did you mean 'person'"):
        named_classes("persons")
    with pytest.raises(UserError, match="no class to keep"):
        named_classes(" , ")
    with pytest.raises(UserError, match="unknown class"):
        Segments(("nobody",), Marker(), CPU)
    with pytest.raises(UserError, match="feather"):
        Segments(("person",), Marker(), CPU, -1.0)

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.draws import Draws, stream_seed
from ganstyle.base.errors import UserError
from ganstyle.data.cache import Images
from ganstyle.data.domains import Subset
from ganstyle.data.tensors import to_tensor
from ganstyle.evaluate.describers import Describer
from ganstyle.evaluate.distances import frechet_distance, kernel_distance, kernel_distance_deviation, standardise
from ganstyle.evaluate.held_out import HeldOutScores
from ganstyle.evaluate.structure import structure_similarities
from ganstyle.train.ema import evaluating

CPU = torch.device("cpu")
CROP = 16


@dataclass(frozen=True)
class File:
    digest: str


@dataclass(frozen=True)
class Pictures:
    """Prepared images in memory."""

    pixels: list[np.ndarray]

    @property
    def files(self) -> list[File]:
        return [File(hashlib.blake2b(each.tobytes(), digest_size=8).hexdigest()) for each in self.pixels]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels[index]


def subset(count: int, purpose: str, low: int = 0, high: int = 256) -> Subset:
    stream = Draws(seed=6).stream(purpose)
    pixels = [stream.integers(low, high, size=(18 + i % 3, 24, 3), dtype=np.uint8) for i in range(count)]
    return of(pixels)


def of(pixels: list[np.ndarray]) -> Subset:
    return Subset(cast(Images, Pictures(pixels)), range(len(pixels)))


def crops(images: Subset) -> list[np.ndarray]:
    """Centre crops in the order of their digests."""
    by_digest = sorted(zip(images.digests(), range(len(images)), strict=True))
    whole = [images[number] for _, number in by_digest]
    return [
        each[(each.shape[0] - CROP) // 2 :, (each.shape[1] - CROP) // 2 :][:CROP, :CROP].astype(np.uint8)
        for each in whole
    ]


class Colours(nn.Module):
    """Mean and deviation of red, green and blue; counts what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        deviation, mean = torch.std_mean(images.double(), dim=(2, 3), correction=0)
        return torch.cat([mean, deviation], dim=1)


def colours(images: list[np.ndarray]) -> np.ndarray:
    scaled = [each.reshape(-1, 3).astype(np.float32) / np.float32(127.5) - 1 for each in images]
    return np.array([[*each.astype(np.float64).mean(axis=0), *each.astype(np.float64).std(axis=0)] for each in scaled])


def describe(*, published: bool = False, minimum_px: int = 1) -> Describer:
    return Describer("colours", "", published, minimum_px, Colours(), CPU)


class Shade(nn.Module):
    """Makes images darker by a factor (0.6 and 0.8 meet no half, to be rounded either way); while training, black."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return torch.full_like(images, -1) if self.training else (images + 1) * self.factor - 1


class Broken(nn.Module):
    """Gives one non-finite pixel for one of all images, the one it is told."""

    def __init__(self, bad: np.ndarray, value: float) -> None:
        super().__init__()
        self.bad, self.value = to_tensor(bad), value

    def forward(self, images: Tensor) -> Tensor:
        outputs = images.clone()
        outputs[(images == self.bad).all(dim=(1, 2, 3)), 0, 3, 4] = self.value
        return outputs


@dataclass
class Case:
    """A run's held-out images and all the rest."""

    models: Mapping[str, nn.Module] = field(default_factory=lambda: {"ab": Shade(0.6), "ba": Shade(0.8)})
    held_out: Mapping[str, Subset] = field(
        default_factory=lambda: {"a": subset(9, "held out a"), "b": subset(6, "held out b", 0, 99)}
    )
    train: Mapping[str, Subset] = field(
        default_factory=lambda: {"a": subset(5, "train a"), "b": subset(7, "train b", 0, 99)}
    )

    def scores(self, **options: Any) -> HeldOutScores:
        defaults: dict[str, Any] = {"describe": describe(), "crop_px": CROP, "device": CPU, "seed": 3}
        return HeldOutScores(
            lambda: self.models,
            held_out=self.held_out,
            reference={side: [self.train[side], self.held_out[side]] for side in "ab"},
            evaluating=evaluating,
            **{**defaults, **options},
        )

    def real(self, side: str) -> list[np.ndarray]:
        return crops(
            of([images[number] for images in (self.train[side], self.held_out[side]) for number in range(len(images))])
        )


def shaded(images: list[np.ndarray], factor: float) -> list[np.ndarray]:
    return [np.rint(each * factor).astype(np.uint8) for each in images]


@pytest.mark.parametrize("published", [False, True])
def test_scores_equal_those_of_all_translations_at_once(published: bool) -> None:
    case = Case()
    found = case.scores(describe=describe(published=published))()
    expected: dict[str, float] = {}
    for direction, factor in (("ab", 0.6), ("ba", 0.8)):
        source, target = direction
        photos = crops(case.held_out[source])
        translations, real = shaded(photos, factor), colours(case.real(target))
        scale: Callable[[np.ndarray], np.ndarray] = (lambda x: x) if published else standardise(real)
        x, y = scale(colours(translations)), scale(real)
        stream = np.random.Generator(np.random.PCG64(stream_seed("kid deviation", 3, direction)))
        expected[f"scores/kid_{direction}"] = kernel_distance(x, y)
        expected[f"scores/kid_deviation_{direction}"] = kernel_distance_deviation(x, y, stream)
        if len(photos) > 6:  # more than the features
            expected[f"scores/fid_{direction}"] = frechet_distance(x, y)
        content = structure_similarities(np.stack(translations), np.stack(photos)).mean()
        expected[f"scores/content_{direction}"] = float(content)
    for measure in ("kid", "content"):
        expected[f"scores/{measure}"] = (expected[f"scores/{measure}_ab"] + expected[f"scores/{measure}_ba"]) / 2
    expected["scores/fid"] = expected["scores/fid_ab"]
    assert "scores/fid_ba" not in expected
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_same_scores_come_again_and_the_real_images_are_described_once() -> None:
    case, network = Case(), Colours()
    scores = case.scores(describe=Describer("colours", "", False, 1, network, CPU))
    first = scores()
    assert network.seen == 9 + 6 + (5 + 9) + (7 + 6)
    assert scores() == first
    assert network.seen == 2 * (9 + 6) + (5 + 9) + (7 + 6)


def test_models_are_judged_in_evaluation_mode_which_is_put_back() -> None:
    case = Case(models={"ab": Shade(0.5).train()})
    scores = case.scores()
    assert scores()["scores/content_ab"] > 0.9
    assert case.models["ab"].training
    assert scores.examples(1)[0].translation.any()
    assert case.models["ab"].training


def test_the_better_translation_has_the_lower_distance() -> None:
    far, near = (Case(models={"ab": Shade(factor)}).scores()() for factor in (1.0, 99 / 256))
    assert near["scores/kid_ab"] < far["scores/kid_ab"] / 10


def test_one_direction_alone_is_scored() -> None:
    found = Case(models={"ab": Shade(0.5)}).scores()()
    assert found["scores/kid"] == found["scores/kid_ab"]
    assert not any(name.endswith("_ba") for name in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_non_finite_translation_leaves_out_its_direction_and_the_means(value: float) -> None:
    case = Case()
    bad = crops(case.held_out["a"])[5]
    case.models = {"ab": Broken(bad, value), "ba": Shade(0.9)}
    scores = case.scores()
    assert set(scores()) == {"scores/kid_ba", "scores/kid_deviation_ba", "scores/content_ba"}
    examples = [each for each in scores.examples(9) if each.direction == "ab"]
    assert [bool(np.isnan(each.content)) for each in examples] == [number == 5 for number in range(9)]


def test_of_a_single_held_out_image_only_the_content_is_told() -> None:
    case = Case()
    case.held_out = {"a": subset(1, "one"), "b": case.held_out["b"]}
    scores = case.scores()
    found = scores()
    assert {name for name in found if name.endswith("_ab")} == {"scores/content_ab"}
    assert found["scores/kid"] == found["scores/kid_ba"]
    assert found["scores/content"] == pytest.approx((found["scores/content_ab"] + found["scores/content_ba"]) / 2)
    (line,) = scores.remarks()
    assert "a to b: 1 image of a is held out and KID needs 2" in line


def test_without_held_out_images_there_are_no_scores() -> None:
    case = Case()
    case.held_out = {"a": subset(0, "none"), "b": subset(0, "none")}
    scores = case.scores()
    assert scores() == {}
    assert scores.examples(4) == []
    assert [line.split(",")[0] for line in scores.remarks()] == [
        "scores a to b: no image of a is held out",
        "scores b to a: no image of b is held out",
    ]


def test_a_single_real_image_is_told_too() -> None:
    case = Case(models={"ab": Shade(0.5)})
    case.train, case.held_out = {**case.train, "b": subset(1, "one")}, {**case.held_out, "b": subset(0, "none")}
    scores = case.scores()
    assert set(scores()) == {"scores/content_ab", "scores/content"}
    assert scores.remarks() == ["scores a to b: there is 1 image of b and KID needs 2, so only content is told"]


def test_a_run_with_enough_images_gets_no_remark() -> None:
    assert Case().scores().remarks() == []


def test_of_many_images_those_with_the_lowest_digests_count_wherever_they_are() -> None:
    case = Case(models={"ab": Shade(0.5)})
    first = case.scores(most=5)()
    a, b = case.held_out["a"], [case.held_out["b"], case.train["b"]]
    lowest = sorted(zip(a.digests(), range(len(a)), strict=True))[:5]
    case.held_out = {"a": of([a[number] for _, number in reversed(lowest)]), "b": b[1]}
    case.train = {"a": case.train["a"], "b": b[0]}
    assert case.scores(most=5)() == first
    case.held_out = {**case.held_out, "a": a}
    assert case.scores()() != first


def test_the_same_content_counts_once() -> None:
    case = Case(models={"ab": Shade(0.5)})
    first = case.scores()()
    case.train = {**case.train, "b": of([case.train["b"][0], *(case.train["b"][number] for number in range(7))])}
    assert case.scores()() == first


def test_examples_are_the_same_images_with_their_scores() -> None:
    case = Case()
    examples = case.scores().examples(3)
    assert [each.direction for each in examples] == ["ab"] * 3 + ["ba"] * 3
    for each, photo in zip(examples[:3], crops(case.held_out["a"])[:3], strict=True):
        assert np.array_equal(each.image, photo)
        assert np.array_equal(each.translation, shaded([photo], 0.6)[0])
        assert each.content == structure_similarities(each.translation[None], photo[None])[0]
    assert len(case.scores().examples(100)) == 9 + 6


def test_crops_that_are_too_small_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.crop_px: got 16; scores on colours need at least 17"):
        Case().scores(describe=describe(minimum_px=17))
    with pytest.raises(UserError, match=r"data\.crop_px: got 8; scores on colours need at least 11"):
        Case().scores(crop_px=8)

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.losses.adversarial import AdversarialLoss, LeastSquares, NonSaturating
from ganstyle.methods.method import Judge
from ganstyle.train.probe import Probe, Probed

SIDE = 16


def pictures(count: int, purpose: str) -> np.ndarray:
    return Draws(seed=1).stream(purpose).integers(40, 216, size=(count, SIDE, SIDE, 3), dtype=np.uint8)


A, B = pictures(3, "a"), pictures(2, "b")


class Shift(nn.Module):
    """Adds so many grey levels; knows how it was called."""

    def __init__(self, levels: float) -> None:
        super().__init__()
        self.levels, self.calls = levels, 0
        self.layer = nn.Conv2d(3, 3, 1)
        self.trained = False

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.trained |= self.training or torch.is_grad_enabled()
        return images + self.levels / 127.5


class Brightness(nn.Module):
    """One score for each quarter of an image: its mean in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return nn.functional.avg_pool2d(images, SIDE // 2).mean(dim=1, keepdim=True)


class Answers(nn.Module):
    """Gives back what it was told to, whatever it gets."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = values

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor(self.values).expand(len(images), 1, 1, len(self.values))


class Broken(nn.Module):
    """Gives the same value at every place."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, self.value)


def means(
    images: np.ndarray, translations: np.ndarray, cycled: np.ndarray | None, target: np.ndarray | None
) -> dict[str, float]:
    """A gauge that tells what it was given."""
    given = {"images": images, "translations": translations, "cycled": cycled, "target": target}
    return {name: float(each.mean()) for name, each in given.items() if each is not None}


def probe(
    translators: Mapping[str, nn.Module],
    judges: Mapping[str, Judge] | None = None,
    gauge: Callable[..., Mapping[str, float]] = means,
) -> Probed:
    return Probe(translators, judges or {}, lambda: {"a": A, "b": B}, device=torch.device("cpu"), gauge=gauge)()


def judge(discriminator: nn.Module, loss: AdversarialLoss | None = None) -> Judge:
    return Judge(discriminator, loss or LeastSquares())


def test_each_way_is_gauged_with_what_came_of_its_images() -> None:
    told = probe({"ab": Shift(10), "ba": Shift(-4)}).scalars
    expected = {
        "health/images_ab": A.mean(),
        "health/translations_ab": A.mean() + 10,
        "health/cycled_ab": A.mean() + 6,
        "health/target_ab": B.mean(),
        "health/images_ba": B.mean(),
        "health/translations_ba": B.mean() - 4,
        "health/cycled_ba": B.mean() + 6,
        "health/target_ba": A.mean(),
    }
    assert told == pytest.approx(expected)
    assert all(type(number) is float for number in told.values())


def test_one_way_alone_has_nothing_brought_back() -> None:
    told = probe({"ab": Shift(10)}).scalars
    assert set(told) == {"health/images_ab", "health/translations_ab", "health/target_ab"}


def test_the_gauge_gets_arrays_as_they_would_be_saved() -> None:
    given: list[np.ndarray | None] = []

    def gauge(*arrays: np.ndarray | None) -> dict[str, float]:
        given.extend(arrays)
        return {}

    assert probe({"ab": Shift(300), "ba": Shift(0)}, gauge=gauge).scalars == {}
    assert [each.dtype for each in given if each is not None] == [np.dtype(np.uint8)] * 8
    assert given[0] is A
    np.testing.assert_array_equal(given[1], np.full_like(A, 255))
    np.testing.assert_array_equal(given[2], np.full_like(A, 255))


def slow_scores(images: np.ndarray) -> list[float]:
    half = SIDE // 2
    corners = [(top, left) for top in (0, half) for left in (0, half)]
    quarters = [image[top : top + half, left : left + half] for image in images for top, left in corners]
    return [float(np.mean(quarter / 127.5 - 1)) for quarter in quarters]


@pytest.mark.parametrize("loss", [LeastSquares(), NonSaturating()])
def test_scores_means_loss_and_spread_equal_the_slow_way(loss: AdversarialLoss) -> None:
    told = probe({"ab": Shift(10), "ba": Shift(0)}, {"b": judge(Brightness(), loss)})
    real, fake = slow_scores(B), slow_scores(A + np.uint8(10))
    assert (len(real), len(fake)) == (8, 12)
    np.testing.assert_allclose(told.distributions["judged/b_real"], real, atol=1e-6)
    np.testing.assert_allclose(told.distributions["judged/b_fake"], fake, atol=1e-6)
    assert {each.dtype for each in told.distributions.values()} == {np.dtype(np.float32)}
    assert set(told.distributions) == {"judged/b_real", "judged/b_fake"}
    assert told.scalars["judged/b_real"] == pytest.approx(np.mean(real), abs=1e-6)
    assert told.scalars["judged/b_fake"] == pytest.approx(np.mean(fake), abs=1e-6)
    of_guessing = float(loss.discriminator(torch.tensor(real), torch.tensor(fake))) / loss.chance
    assert told.scalars["health/discriminator_loss_b"] == pytest.approx(of_guessing, abs=1e-6)
    assert told.scalars["health/discriminator_spread_b"] == pytest.approx(np.std(real + fake), abs=1e-6)


def test_each_discriminator_judges_its_own_domain() -> None:
    told = probe({"ab": Shift(10), "ba": Shift(-4)}, {"a": judge(Brightness()), "b": judge(Brightness())}).scalars
    level = 127.5
    assert told["judged/a_real"] == pytest.approx(A.mean() / level - 1, abs=1e-6)
    assert told["judged/a_fake"] == pytest.approx((B.mean() - 4) / level - 1, abs=1e-6)
    assert told["judged/b_fake"] == pytest.approx((A.mean() + 10) / level - 1, abs=1e-6)


def test_a_discriminator_without_fakes_has_nothing_to_judge() -> None:
    told = probe({"ab": Shift(10)}, {"a": judge(Brightness())})
    assert not [name for name in told.scalars if "discriminator" in name or "judged" in name]
    assert told.distributions == {}


@pytest.mark.parametrize(("loss", "answer"), [(LeastSquares(), 0.5), (NonSaturating(), 0.0)])
def test_a_discriminator_that_knows_nothing_has_the_loss_of_chance(loss: AdversarialLoss, answer: float) -> None:
    told = probe({"ab": Shift(0)}, {"b": judge(Answers(answer, answer), loss)}).scalars
    assert told["health/discriminator_loss_b"] == pytest.approx(1)
    assert told["health/discriminator_spread_b"] == 0


def test_generators_and_discriminators_are_only_borrowed() -> None:
    ab, ba, discriminator = Shift(1), Shift(2), Brightness()
    ab.train()
    ab.layer.eval()
    ba.eval()
    discriminator.train()
    probe({"ab": ab, "ba": ba}, {"b": judge(discriminator)})
    assert (ab.training, ab.layer.training, ba.training, discriminator.training) == (True, False, False, True)
    assert not ab.trained
    assert not ba.trained
    assert torch.is_grad_enabled()
    assert (ab.calls, ba.calls) == (2, 2)


def test_modes_are_put_back_on_error() -> None:
    class Fails(Shift):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("out of luck")

    ab, ba = Shift(1), Fails(0)
    ab.train()
    ba.train()
    with pytest.raises(RuntimeError, match="out of luck"):
        probe({"ab": ab, "ba": ba})
    assert ab.training
    assert ba.training
    assert torch.is_grad_enabled()


def test_networks_run_in_the_precision_given() -> None:
    entered: list[str] = []

    @contextmanager
    def autocast() -> Iterator[None]:
        entered.append("in")
        with torch.autocast("cpu", torch.bfloat16):
            yield
        entered.append("out")

    told = Probe(
        {"ab": nn.Conv2d(3, 3, 1)},
        {"b": judge(nn.Conv2d(3, 1, 4))},
        lambda: {"a": A, "b": B},
        device=torch.device("cpu"),
        autocast=autocast,
        gauge=means,
    )()
    assert entered == ["in", "out"]
    assert told.distributions["judged/b_fake"].dtype == np.float32
    assert len(told.scalars) == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_out(value: float) -> None:
    told = probe({"ab": Broken(value), "ba": Shift(2)}, {"a": judge(Brightness()), "b": judge(Brightness())})
    # Nothing made of a non-finite image; what b becomes and how it is judged stays known.
    assert set(told.scalars) == {
        "health/images_ba",
        "health/translations_ba",
        "health/target_ba",
        "judged/a_real",
        "judged/a_fake",
        "health/discriminator_loss_a",
        "health/discriminator_spread_a",
        "judged/b_real",
    }
    assert set(told.distributions) == {"judged/a_real", "judged/a_fake", "judged/b_real"}
    assert all(np.isfinite(number) for number in told.scalars.values())


def test_one_score_that_is_not_finite_is_left_out_of_the_rest() -> None:
    told = probe({"ab": Shift(0)}, {"b": judge(Answers(0.25, float("nan"), float("inf"), 0.75))})
    assert told.distributions["judged/b_real"].tolist() == [0.25, 0.75] * len(B)
    assert not [name for name in told.scalars if "discriminator" in name or "judged" in name]


def test_a_gauge_without_an_answer_leaves_no_number() -> None:
    told = probe({"ab": Shift(0)}, gauge=lambda *_: {"bad": float("nan"), "good": 1})
    assert told.scalars == {"health/good_ab": 1}

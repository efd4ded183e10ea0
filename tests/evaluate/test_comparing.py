from __future__ import annotations

import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.evaluate.comparing import compare, kernel_estimate
from ganstyle.evaluate.distances import draw_resamples, frechet_distance, kernel_distance, kernel_distance_resampled

DRAWS = Draws(seed=11)


def features(purpose: str, count: int, shift: float = 0.0, length: int = 4) -> np.ndarray:
    return DRAWS.stream(purpose).normal(shift, 1, size=(count, length))


def test_distances_are_those_of_torch_fidelity_on_given_features() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="needs torch-fidelity (the extra 'evaluate')")
    fid = pytest.importorskip("torch_fidelity.metric_fid", reason="needs torch-fidelity (the extra 'evaluate')")
    x, y = features("x", 60, 0.4, 16), features("y", 60, 0.0, 16)
    one, other = torch.from_numpy(x), torch.from_numpy(y)
    published = kid.kid_features_to_metric(one, other, kid_subset_size=60, kid_subsets=1, verbose=False)
    assert kernel_distance(x, y) == pytest.approx(published["kernel_inception_distance_mean"], rel=1e-9)
    statistics = (fid.fid_features_to_statistics(each) for each in (one, other))
    published = fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet_distance(x, y) == pytest.approx(published["frechet_inception_distance"], rel=1e-6)


def test_a_resample_equals_the_slow_sum_over_its_pairs_of_different_images() -> None:
    x, y = features("x", 6, 0.3), features("y", 5)
    counts_x, counts_y = draw_resamples(6, 5, DRAWS.stream("resample"), resamples=4)
    found = kernel_distance_resampled(x, y, counts_x, counts_y)
    assert np.ptp(found) > 0
    for value, in_x, in_y in zip(found, counts_x, counts_y, strict=True):
        drawn_x, drawn_y = (np.repeat(np.arange(len(each)), each.astype(int)) for each in (in_x, in_y))

        def mean(one: np.ndarray, i: np.ndarray, other: np.ndarray, j: np.ndarray, *, same: bool) -> float:
            kernels = [(one[p] @ other[q] / 4 + 1) ** 3 for p in i for q in j if not (same and p == q)]
            return float(np.mean(kernels))

        within = mean(x, drawn_x, x, drawn_x, same=True) + mean(y, drawn_y, y, drawn_y, same=True)
        assert value == pytest.approx(within - 2 * mean(x, drawn_x, y, drawn_y, same=False), rel=1e-9)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # Of normal sets with means 0 and s in D dimensions, mean kernels are known: E (x . y / D + 1)^3 of each pair.
    length, shift, rounds = 3, 0.8, 60
    many_x, many_y = features("many x", 6000, shift, length), features("many y", 6000, 0.0, length)
    truth = kernel_distance(many_x, many_y)
    held = 0
    for number in range(rounds):
        x, y = (features(f"{side} {number}", 40, mean, length) for side, mean in (("x", shift), ("y", 0.0)))
        found = kernel_estimate(x, y, DRAWS.stream("interval", number), resamples=200)
        assert found.low < found.value < found.high
        held += found.low <= truth <= found.high
    assert held >= 0.8 * rounds


def test_the_same_draws_give_the_same_interval() -> None:
    x, y = features("x", 20, 0.3), features("y", 25)
    one, again = (kernel_estimate(x, y, DRAWS.stream("again"), resamples=50) for _ in range(2))
    assert one == again


def test_the_nearer_one_of_two_is_better_and_the_ratio_is_theirs() -> None:
    real, photos = features("real", 80), features("photos", 60)
    found = compare(photos + 1.0, photos + 2.0, real, DRAWS.stream("compare"), resamples=200)
    assert found.better == "a"
    assert found.difference.value == pytest.approx(found.a.value - found.b.value)
    assert found.difference.high < 0
    assert found.ratio == pytest.approx(found.a.value / found.b.value)
    assert compare(photos + 2.0, photos + 1.0, real, DRAWS.stream("compare"), resamples=200).better == "b"


def test_so_few_images_that_chance_decides_give_no_verdict() -> None:
    real, photos = features("real", 80), features("photos", 10)
    told = [
        compare(photos[:pairs] + 1.0, photos[:pairs] + 2.0, real[:reals], DRAWS.stream("few"), resamples=50).better
        for pairs, reals in ((2, 80), (9, 80), (10, 9), (10, 10))
    ]
    assert told == [None, None, None, "a"]


def test_two_of_one_kind_cannot_be_told_apart_and_give_no_ratio() -> None:
    real = features("real", 80)
    found = compare(features("one", 60), features("two", 60), real, DRAWS.stream("compare"), resamples=200)
    assert found.better is None
    assert found.difference.low < 0 < found.difference.high
    assert found.ratio is None


def test_the_same_photos_on_both_sides_make_the_difference_surer_than_each_distance() -> None:
    real, photos = features("real", 40), 2 * features("photos", 40)
    found = compare(photos + 0.30, photos + 0.32, real, DRAWS.stream("paired"), resamples=300)
    assert found.difference.deviation < 0.3 * found.b.deviation
    assert found.better == "a"


def test_a_set_is_never_better_than_itself() -> None:
    real, photos = features("real", 30), features("photos", 30, 1.0)
    found = compare(photos, photos, real, DRAWS.stream("itself"), resamples=50)
    assert (found.difference.low, found.difference.high) == (0, 0)
    assert found.better is None

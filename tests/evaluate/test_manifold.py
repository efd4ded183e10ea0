from __future__ import annotations

import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.evaluate import manifold as module
from ganstyle.evaluate.manifold import distances, manifold, nearest, reaches

DRAWS = Draws(seed=3)


def sets(n: int = 40, m: int = 33, length: int = 6, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    stream = DRAWS.stream("sets", n)
    return stream.normal(shift, 0.7, size=(n, length)), stream.normal(size=(m, length))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True))))


def reach(images: np.ndarray, number: int, neighbours: int) -> float:
    others = [apart(images[number], each) for index, each in enumerate(images) if index != number]
    return sorted(others)[neighbours - 1]


def test_shares_equal_the_definitions_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 7)
    fake, real = sets()
    reach_fake = [reach(fake, number, 3) for number in range(len(fake))]
    reach_real = [reach(real, number, 3) for number in range(len(real))]
    wide_real = [reach(real, number, 5) for number in range(len(real))]
    table = [[apart(x, y) for y in real] for x in fake]
    pairs = [(x, y) for x in range(len(fake)) for y in range(len(real))]
    precision = len({x for x, y in pairs if table[x][y] <= reach_real[y]}) / len(fake)
    recall = len({y for x, y in pairs if table[x][y] <= reach_fake[x]}) / len(real)
    density = sum(table[x][y] < wide_real[y] for x, y in pairs) / (5 * len(fake))
    coverage = len({y for x, y in pairs if table[x][y] < wide_real[y]}) / len(real)
    found = manifold(fake, real)
    assert found == pytest.approx((precision, recall, density, coverage), abs=1e-12)
    assert 0 < found.precision < 1
    assert 0 < found.recall < 1


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    library = pytest.importorskip("torch_fidelity.metric_prc", reason="needs torch-fidelity (the extra 'evaluate')")
    fake, real = sets(50, 61, 12, 0.5)
    published = library.prc_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), prc_neighborhood=3, prc_batch_size=100, verbose=False
    )
    found = manifold(fake, real)
    assert found.precision == pytest.approx(published["precision"], abs=1e-6)
    assert found.recall == pytest.approx(published["recall"], abs=1e-6)


def test_a_set_beside_itself_is_perfect_and_a_far_one_has_nothing() -> None:
    fake, real = sets()
    assert manifold(real, real)[:2] == (1, 1)
    assert manifold(real, real).coverage == 1
    assert manifold(fake + 100, real) == (0, 0, 0, 0)


def test_one_output_again_and_again_is_precise_and_covers_little() -> None:
    _, real = sets()
    same = np.repeat(real[:1], 30, axis=0)
    found = manifold(same, real)
    assert found.precision == 1
    assert found.recall == pytest.approx(1 / len(real))
    assert found.coverage < 0.5


def test_the_k_th_nearest_of_twins_counts_the_twin() -> None:
    _, real = sets()
    twins = np.concatenate([real, real])
    assert reaches(twins, 1) == pytest.approx(np.zeros(len(twins)), abs=0)


def test_distances_far_from_zero_keep_their_digits() -> None:
    stream = DRAWS.stream("far")
    one = stream.normal(1e4, 1, size=(5, 8))
    other = np.concatenate([one[2:4], one[:1] + 1e-6])
    found = distances(one, other)
    assert found[2, 0] == 0
    assert found[3, 1] == 0
    assert found[0, 2] == pytest.approx(apart(one[0], other[2]), rel=1e-6)


def test_the_nearest_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 3)
    fake, real = sets()
    numbers, lengths = nearest(fake, real)
    for x, number, length in zip(fake, numbers, lengths, strict=True):
        everything = [apart(x, y) for y in real]
        assert everything[number] == min(everything) == pytest.approx(length)


def test_few_images_are_refused() -> None:
    fake, real = sets()
    with pytest.raises(UserError, match="5 images: precision and recall need more than 5"):
        manifold(fake[:5], real)

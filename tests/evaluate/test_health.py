"""Each sickness is brought about in real networks, and told from what the probe measures of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.data.images import read_image
from ganstyle.evaluate.gauges import gauge
from ganstyle.evaluate.health import AILMENTS, LOGS, SETTLED_STEP, SPAN_STEPS, Ailment, Finding, diagnose, well
from ganstyle.losses.adversarial import AdversarialLoss, LeastSquares, NonSaturating
from ganstyle.methods.method import Judge
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.train.probe import Probe

PHOTO2INK = Path(__file__).resolve().parents[2] / "../shared/data/photo2ink"
SIDE = 64
Rows = list[dict[str, float]]


def landscapes(purpose: str, *, low: float, high: float) -> np.ndarray:
    """Four random images whose amplitude falls with the frequency, as in photographs."""
    white = Draws(seed=3).stream(purpose).standard_normal((4, SIDE, SIDE, 3))
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))[:, :, None]
    shaped = np.fft.ifft2(np.fft.fft2(white, axes=(1, 2)) / np.maximum(frequency, 1 / SIDE), axes=(1, 2)).real
    least, most = shaped.min(axis=(1, 2, 3), keepdims=True), shaped.max(axis=(1, 2, 3), keepdims=True)
    return np.rint(low + (high - low) * (shaped - least) / (most - least)).astype(np.uint8)


A, B = landscapes("a", low=10, high=190), landscapes("b", low=60, high=245)


# Networks.


class Paint(nn.Module):
    """A healthy translation: softer, brighter and warmer, or the other way."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        soft = 0.6 * images + 0.4 * F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        return soft + self.shift * torch.tensor([1.2, 1.0, 0.6]).view(3, 1, 1)


class Negative(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return -images


class Grey(nn.Module):
    """Everything becomes one colour, but for a trace."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.2 + 0.02 * images


class OnePicture(nn.Module):
    """Everything becomes the same picture, but for a trace."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(B[:1]).permute(0, 3, 1, 2) / 140 - 1 + 0.1 * images


class Saturated(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(100 * images)


class Strided(nn.Module):
    """Halves and doubles, by a transposed convolution whose weights overlap unevenly."""

    def __init__(self, centre: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 3, 3, stride=2, padding=1, output_padding=1, groups=3, bias=False)
        # With 1 in the middle, 1/2 beside it and 1/4 in the corners this is bilinear, and leaves no pattern.
        weights = torch.tensor([[0.25, 0.5, 0.25], [0.5, centre, 0.5], [0.25, 0.5, 0.25]])
        self.up.weight.data = weights.expand(3, 1, 3, 3).clone()

    def forward(self, images: Tensor) -> Tensor:
        return 0.1 + 0.8 * self.up(F.avg_pool2d(images, 2))


class Mirrored(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flip(2, 3)


class Bleached(nn.Module):
    """Shapes are kept and everything is nearly white."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.9 + 0.1 * images


class Sure(nn.Module):
    """Always right: b is brighter than any fake of it."""

    def __init__(self, bound: float, *, of_real: float, of_fake: float) -> None:
        super().__init__()
        self.bound, self.of_real, self.of_fake = bound, of_real, of_fake

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean(dim=(1, 2, 3), keepdim=True) > self.bound
        return torch.where(bright, self.of_real, self.of_fake).expand(-1, 1, 6, 6)


class Brightness(nn.Module):
    """A weak discriminator: patches that are brighter count as real."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.5 + 0.6 * F.avg_pool2d(images, 8).mean(dim=1, keepdim=True)


class Same(nn.Module):
    """Gives every patch the same score."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 1, 6, 6), 0.5)


# Runs.


def run(
    translators: Mapping[str, nn.Module],
    judges: Mapping[str, Judge] | None = None,
    *,
    images: Mapping[str, np.ndarray] | None = None,
    start: int = SETTLED_STEP,
    logs: int = LOGS,
    every: int = 100,
) -> Rows:
    """The rows of a run whose networks stay as they are."""
    fixed = images or {"a": A, "b": B}
    probe = Probe(translators, judges or {}, lambda: fixed, device=torch.device("cpu"), gauge=gauge)
    numbers = {**probe().scalars, "speed/waiting_for_data": 0.01, "guard/skipped": 0.0, "learning_rate": 2e-4}
    return [{"step": start + number * every, **numbers} for number in range(logs)]


def healthy(*, start: int = SETTLED_STEP, logs: int = LOGS, every: int = 100) -> Rows:
    judges = {"a": Judge(Brightness(), LeastSquares()), "b": Judge(Brightness(), LeastSquares())}
    return run({"ab": Paint(0.3), "ba": Paint(-0.3)}, judges, start=start, logs=logs, every=every)


def keys(rows: Rows) -> list[str]:
    return [finding.key for finding in diagnose(rows)]


def only(rows: Rows) -> Finding:
    (finding,) = diagnose(rows)
    return finding


def test_a_healthy_run_stays_silent() -> None:
    rows = healthy()
    assert keys(rows) == []
    measured = {name for ailment in AILMENTS for place in ailment.places for name in ailment.names(place)}
    assert measured <= set(rows[0]), "the run says nothing of some ailments"


@pytest.mark.parametrize(
    ("ab", "ba", "ailment"),
    [
        (Negative(), Paint(-0.2), {"colour_inversion_ab", "cycle_broken_ab", "cycle_broken_ba"}),
        (Negative(), Negative(), {"colour_inversion_ab", "colour_inversion_ba"}),
        (nn.Identity(), Paint(-0.3), {"nothing_changes_ab"}),
        (OnePicture(), Paint(-0.3), {"mode_collapse_ab", "cycle_broken_ab", "cycle_broken_ba"}),
        (Strided(centre=2.0), Paint(-0.3), {"checkerboard_ab"}),
        (Strided(centre=1.0), Paint(-0.3), set()),
    ],
    ids=["negative", "two negatives", "identity", "one picture", "strided", "bilinear"],
)
def test_what_ails_generators_is_told(ab: nn.Module, ba: nn.Module, ailment: set[str]) -> None:
    assert set(keys(run({"ab": ab, "ba": ba}))) == ailment


def test_saturated_output_is_told() -> None:
    assert only(run({"ab": Saturated()})).key == "saturated_ab"
    ink = np.where(B > 150, 255, 0).astype(np.uint8)
    assert keys(run({"ab": Saturated()}, images={"a": A, "b": ink})) == [], "real images are as black and white"


def test_flat_output_is_told() -> None:
    finding = only(run({"ab": Grey()}))
    assert finding.key == "flat_ab"
    assert finding.level == "error"


def test_images_that_do_not_come_back_are_told() -> None:
    assert {"cycle_broken_ab", "cycle_broken_ba"} <= set(keys(run({"ab": Paint(0.3), "ba": Mirrored()})))


def test_images_that_come_back_in_other_colours_are_told() -> None:
    found = keys(run({"ab": Paint(0.3), "ba": Bleached()}))
    assert "cycle_error_high_ab" in found
    assert "cycle_broken_ab" not in found


@pytest.mark.parametrize(
    ("loss", "of_real", "of_fake"),
    [(LeastSquares(), 0.95, 0.05), (NonSaturating(), 5.0, -5.0)],
    ids=["squares", "logits"],
)
def test_a_discriminator_that_wins_is_told(loss: AdversarialLoss, of_real: float, of_fake: float) -> None:
    bound = float(B.mean() / 127.5 - 1) - 0.2
    right = Judge(Sure(bound, of_real=of_real, of_fake=of_fake), loss)
    wrong = Judge(Sure(bound, of_real=of_fake, of_fake=of_real), loss)
    darker = {"ab": Paint(-0.3)}
    assert only(run(darker, {"b": right})).key == "discriminator_winning_b"
    assert only(run(darker, {"b": wrong})).key == "discriminator_misled_b"


def test_a_discriminator_that_scores_everything_alike_is_told() -> None:
    finding = only(run({"ab": Paint(0.3)}, {"b": Judge(Same(), LeastSquares())}))
    assert finding.key == "discriminator_collapsed_b"
    assert finding.level == "error"


def test_a_discriminator_whose_last_layer_died_has_collapsed() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(width=4, layers=2)
    judge = Judge(discriminator, LeastSquares())
    assert "discriminator_collapsed_b" not in keys(run({"ab": Paint(0.3)}, {"b": judge}))
    discriminator.last.weight.data.mul_(1e-3)
    assert "discriminator_collapsed_b" in keys(run({"ab": Paint(0.3)}, {"b": judge}))


def test_a_loader_that_starves_the_device_is_told() -> None:
    rows = [{"step": step, "speed/waiting_for_data": 0.5} for step in (100, 200, 300)]
    finding = only(rows)
    assert finding.key == "loader_starving"
    assert "data.workers" in finding.hint
    assert "50%" in finding.text
    assert keys([*rows, {"step": 400, "speed/waiting_for_data": 0.05}]) == []


def test_skipped_updates_are_told_at_once_at_any_step() -> None:
    assert only([{"step": 25, "guard/skipped": 3}]).key == "updates_skipped"
    assert keys([{"step": 25, "guard/skipped": 3}, {"step": 50, "guard/skipped": 0}]) == []


# When.


def inverted(*steps: int, value: float = -0.4) -> Rows:
    return [{"step": step, "health/luminance_correlation_ab": value} for step in steps]


def test_a_moment_is_no_state() -> None:
    assert keys(inverted(900, 1000)) == []
    assert keys(inverted(800, 900, 1000)) == ["colour_inversion_ab"]
    assert keys([*inverted(800), *inverted(900, value=0.5), *inverted(1000, 1100)]) == []


def test_where_every_step_is_logged_three_logs_are_a_moment() -> None:
    assert keys(inverted(*range(1000, 1000 + SPAN_STEPS))) == []
    assert keys(inverted(*range(1000, 1001 + SPAN_STEPS))) == ["colour_inversion_ab"]


def test_a_beginning_is_left_alone_and_then_judged_whole() -> None:
    steps = range(100, SETTLED_STEP, 100)
    assert keys(inverted(*steps)) == []
    assert only(inverted(*steps, SETTLED_STEP)).since == 100


def test_what_has_passed_is_no_longer_told() -> None:
    assert keys([*inverted(600, 700, 800), *inverted(900, value=0.6)]) == []


def test_since_is_the_first_step_of_the_present_spell() -> None:
    rows = [*inverted(600, 700, 800), *inverted(900, value=0.6), *inverted(1000, 1100, 1200)]
    assert only(rows).since == 1000


def test_rows_that_say_nothing_do_not_end_a_spell() -> None:
    rows = inverted(800, 900, 1000)
    between = [{"step": 850, "scores/kid": 0.2}, {"step": 950, "health/luminance_correlation_ab": float("nan")}]
    assert only([rows[0], between[0], rows[1], between[1], rows[2]]).since == 800


def test_rows_of_one_step_count_as_one() -> None:
    scores = [{"step": step, "scores/kid": 0.1} for step in (900, 1000)]
    assert keys([*inverted(900), scores[0], *inverted(1000), scores[1]]) == []
    assert keys([*inverted(900, 900, 1000, 1000)]) == []


def test_two_signs_must_show_together() -> None:
    rows = [
        {"step": step, "health/change_ab": 0.01, "health/edge_change_ab": 0.3 if step == 800 else 0.01}
        for step in (700, 800, 900, 1000)
    ]
    assert keys(rows) == []
    assert only([*rows, {"step": 1100, "health/change_ab": 0.01, "health/edge_change_ab": 0.01}]).since == 900


@pytest.mark.parametrize("rows", [[], [{}], [{"step": 5}], [{"loss": 1.0}]])
def test_rows_may_lack_anything(rows: Rows) -> None:
    assert diagnose(rows) == []
    assert well(rows).startswith("too early to tell")


# Words.


def test_a_finding_says_what_where_how_much_and_what_to_do() -> None:
    finding = only(inverted(800, 900, 1000))
    assert finding.title == "colour inversion (a to b)"
    assert "-0.40" in finding.text
    assert "-0.05" in finding.text
    assert "method.identity_weight" in finding.hint
    assert (finding.level, finding.since) == ("error", 800)


@pytest.mark.parametrize("ailment", AILMENTS, ids=lambda ailment: ailment.key)
def test_every_ailment_is_told_in_one_line_with_its_numbers_and_a_hint(ailment: Ailment) -> None:
    beyond = {sign.name: sign.threshold + (1.25 if sign.above else -1.25) for sign in ailment.signs}
    for place in ailment.places:
        numbers = {f"{name}{place}": value for name, value in beyond.items()}
        finding = only([{"step": step, **numbers} for step in (800, 900, 1000)])
        assert finding.key == f"{ailment.key}{place}"
        assert finding.level in ("warn", "error")
        for words in (finding.title, finding.text, finding.hint):
            assert words
            assert "\n" not in words
            assert "{" not in words


def test_no_two_ailments_share_a_key() -> None:
    assert len({ailment.key for ailment in AILMENTS}) == len(AILMENTS) >= 13


def test_a_healthy_run_is_said_to_be_so_with_its_numbers() -> None:
    line = well(healthy())
    assert line.startswith("healthy: a to b: luminance correlates by ")
    assert "b to a: " in line
    assert "(a) and " in line
    assert "\n" not in line


def test_it_can_be_too_early_to_tell() -> None:
    assert well(healthy(start=0)).startswith(f"too early to tell: step 200; judged from step {SETTLED_STEP}")
    assert well(healthy(logs=2)).startswith("too early to tell")
    assert well(healthy(every=10)).startswith("too early to tell")


# Real pictures.


def photos(folder: str) -> np.ndarray:
    place = PHOTO2INK / folder
    if not place.is_dir():
        pytest.skip(f"needs the photographs of {PHOTO2INK}, which are not there")
    pixels = [read_image(path).pixels for path in sorted(place.glob("*.jpg"))[:4]]
    assert len(pixels) == 4
    return np.stack([each[60:188, 60:188] for each in pixels])


class Ink(nn.Module):
    """Grey on paper, a little blurred."""

    def forward(self, images: Tensor) -> Tensor:
        grey = F.avg_pool2d(images.mean(dim=1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
        return 0.2 + 0.5 * grey + torch.tensor([0.1, 0.05, -0.1]).view(3, 1, 1)


class Colours(nn.Module):
    """What an ink painting could be a painting of."""

    def forward(self, images: Tensor) -> Tensor:
        return (images * torch.tensor([1.4, 1.6, 1.2]).view(3, 1, 1) - 0.3).clamp(-1, 1)


def test_healthy_translations_of_real_pictures_stay_silent() -> None:
    images = {"a": photos("trainA"), "b": photos("trainB")}
    judges = {"a": Judge(Brightness(), LeastSquares()), "b": Judge(Brightness(), LeastSquares())}
    rows = run({"ab": Ink(), "ba": Colours()}, judges, images=images)
    assert keys(rows) == []
    assert well(rows).startswith("healthy")


def test_sick_translations_of_real_pictures_are_told() -> None:
    images = {"a": photos("trainA"), "b": photos("trainB")}
    rows = run({"ab": Negative(), "ba": Strided(centre=2.0)}, images=images)
    assert {"colour_inversion_ab", "checkerboard_ba"} <= set(keys(rows))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.networks.vgg import Vgg
from ganstyle.painting import state as state_module
from ganstyle.painting import targeting
from ganstyle.painting.footprint import needed_bytes
from ganstyle.painting.objective import Objective, Region, Targets, Weights
from ganstyle.painting.optimisers import Descent
from ganstyle.painting.state import StateFile, digest_of
from ganstyle.painting.vgg import Moment, Stylized, VggSettings, VggStylizer
from tests.painting.small_features import LAYERS, SmallFeatures, picture

# What the small features have; three scales of few iterations.
SMALL: dict[str, Any] = {"style_layers": LAYERS, "content_layers": LAYERS[2:], "iterations": (6, 5, 4)}
STYLE = picture(50, 70, seed=1)
PHOTO = picture(64, 80, seed=2)


def small_features(seed: int = 0) -> Vgg:
    return cast(Vgg, SmallFeatures(seed))


def stylizer(
    styles: tuple[Tensor, ...] = (STYLE,),
    *,
    say: Callable[[str], None] = lambda _: None,
    free_bytes: Callable[[], int | None] = lambda: None,
    **settings: Any,
) -> VggStylizer:
    every = VggSettings(**{**SMALL, **settings})
    return VggStylizer(small_features(), styles, every, say=say, free_bytes=free_bytes)


def style_loss(image: Tensor) -> float:
    weights = Weights(style_layers=tuple((layer, 1.0) for layer in LAYERS), content=0.0)
    features = small_features()
    return float(Objective(features, image, Targets(features, [STYLE], weights=weights), weights=weights)(image)[0])


def stop_at(done: int) -> Callable[[Moment], None]:
    def watch(moment: Moment) -> None:
        if moment.done == done:
            raise KeyboardInterrupt

    return watch


def test_a_photo_gets_the_style_and_is_told_how() -> None:
    moments: list[Moment] = []
    sizes = []

    def watch(moment: Moment) -> None:
        moments.append(moment)
        sizes.append(tuple(moment.image().shape[2:]))

    made = stylizer().stylize(PHOTO, watch=watch)
    assert made.image.shape == PHOTO.shape
    assert made.image.abs().max() <= 1
    assert style_loss(made.image) < 0.3 * style_loss(PHOTO)
    assert [(each.scale, each.iteration) for each in moments] == [
        (scale, number) for scale, count in ((1, 6), (2, 5), (3, 4)) for number in range(1, count + 1)
    ]
    assert [each.done for each in moments] == list(range(1, 16))
    assert {each.of for each in moments} == {15}
    assert sorted(set(sizes)) == [(16, 20), (32, 40), (64, 80)]
    assert made.facts["evaluations"] == 15
    assert [each["size"] for each in made.facts["scales"]] == [[16, 20], [32, 40], [64, 80]]
    assert "stopped_at" not in made.facts


def test_the_pyramid_gets_further_than_one_scale_with_as_many_evaluations_there() -> None:
    single = stylizer(iterations=(4,)).stylize(PHOTO)
    assert stylizer().stylize(PHOTO).facts["scales"][-1]["loss"] < single.facts["scales"][-1]["loss"]


def test_the_photo_is_made_no_larger_than_asked() -> None:
    assert stylizer(size_px=40).stylize(PHOTO).image.shape == (1, 3, 32, 40)
    assert stylizer(size_px=400).stylize(PHOTO).image.shape == PHOTO.shape


@pytest.mark.parametrize("colours", ["style", "luminance", "match", "histogram"])
def test_strength_0_is_the_photo(colours: str) -> None:
    made = stylizer(strength=0.0, colours=colours).stylize(PHOTO)
    assert torch.equal(made.image, PHOTO)


@pytest.mark.parametrize("photo", [PHOTO, picture(128, 160, seed=2)], ids=["small", "large"])
def test_more_strength_is_more_style_and_a_little_is_nearly_the_photo(photo: Tensor) -> None:
    made = [
        stylizer(strength=strength, iterations=(30, 20, 20)).stylize(photo).image
        for strength in (0.01, 0.25, 0.5, 0.75, 1.0)
    ]
    losses = [style_loss(photo), *map(style_loss, made)]
    assert losses == sorted(losses, reverse=True)
    distances = [float((image - photo).square().mean().sqrt()) for image in made]
    assert distances == sorted(distances)
    assert distances[0] < 0.2 * distances[-1]


def test_strength_does_the_same_to_a_photo_of_any_size() -> None:
    def shares(size: tuple[int, int]) -> float:
        photo = picture(*size, seed=2)
        half, all_ = (stylizer(strength=strength, iterations=(40, 30)).stylize(photo).image for strength in (0.5, 1.0))
        return style_loss(half) / style_loss(photo) - style_loss(all_) / style_loss(photo)

    assert shares((48, 60)) == pytest.approx(shares((96, 120)), rel=0.25)


def test_the_same_seed_gives_the_same_and_another_noise_another() -> None:
    first, again, other = (stylizer(start="noise", seed=seed).stylize(PHOTO).image for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_given_image_is_what_it_starts_from() -> None:
    seen = []

    def watch(moment: Moment) -> None:
        seen.append(moment.image())
        raise KeyboardInterrupt

    stylizer().stylize(PHOTO, start=torch.full_like(PHOTO, 0.5), watch=watch)
    torch.testing.assert_close(seen[0], torch.full((1, 3, 16, 20), 0.5))


def test_the_second_style_counts_by_its_weight() -> None:
    other = -STYLE
    losses = [
        style_loss(stylizer((STYLE, other), style_weights=weights).stylize(PHOTO).image)
        for weights in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    ]
    assert losses == sorted(losses)
    assert losses[0] < 0.5 * losses[2]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_regions_take_from_their_part_of_the_picture(strength: float) -> None:
    """The left of the photo takes from a dark half, the right from a bright one; then the other way round."""
    dark = torch.full((1, 3, 64, 32), -0.8)
    style = torch.cat([dark, -dark], dim=3) + 0.1 * picture(64, 64)
    left_style, left = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 80)
    left_style[..., :32] = left[..., :40] = 1
    straight = [Region(left, (left_style,)), Region(1 - left, (1 - left_style,))]
    crossed = [Region(left, (1 - left_style,)), Region(1 - left, (left_style,))]
    photo, means = 0.1 * PHOTO, []
    for regions in (straight, crossed):
        image = stylizer((style,), strength=strength, iterations=(20, 10)).stylize(photo, regions=regions).image
        means.append(float(image[..., 45:].mean() - image[..., :35].mean()))
    assert means[0] > 0.1
    assert means[1] < -0.1


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    class Counted(Targets):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            calls.append(1)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(targeting, "Targets", Counted)
    return calls


def test_the_targets_of_a_folder_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, one = counted(monkeypatch), stylizer()
    first = one.stylize(PHOTO).image
    assert len(calls) == 3
    one.stylize(picture(64, 82, seed=5))  # of about the same size
    assert torch.equal(one.stylize(PHOTO).image, first)
    assert len(calls) == 3
    one.stylize(picture(44, 56, seed=5))
    assert len(calls) > 3


@pytest.mark.parametrize("settings", [{"colours": "match"}, {"strength": 0.5}])
def test_targets_that_depend_on_the_photo_are_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    calls, one = counted(monkeypatch), stylizer(**settings)
    one.stylize(picture(64, 80, seed=7))
    assert torch.equal(one.stylize(PHOTO).image, stylizer(**settings).stylize(PHOTO).image)
    assert len(calls) == 9


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("done", [1, 4, 6, 7, 11, 14, 15])
def test_a_photo_broken_off_goes_on_bit_for_bit(tmp_path: Path, optimiser: str, done: int) -> None:
    path = tmp_path / "a.state"
    settings: dict[str, Any] = {"optimiser": optimiser, "start": "noise", "strength": 0.8}
    unbroken = stylizer(**settings).stylize(PHOTO)
    stopped = stylizer(**settings).stylize(PHOTO, watch=stop_at(done), state=path)
    assert stopped.image.shape == PHOTO.shape
    assert stopped.facts["evaluations"] == done
    assert path.is_file()
    resumed = stylizer(**settings).stylize(PHOTO, state=path, resume=True)
    assert torch.equal(resumed.image, unbroken.image)
    for facts in (resumed.facts, unbroken.facts):
        del facts["seconds"]
    assert resumed.facts == unbroken.facts
    assert path.exists(), "it stays until the caller has the result safe"


def test_a_photo_broken_off_again_and_again_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    for done in range(2, 16, 2):
        stylizer().stylize(PHOTO, watch=stop_at(done), state=path, resume=True)
    made = stylizer().stylize(PHOTO, state=path, resume=True)
    assert torch.equal(made.image, stylizer().stylize(PHOTO).image)


def test_a_kill_loses_what_came_after_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that nobody catches, in the middle of a scale, with a state after each iteration and without."""

    class Killed(BaseException):
        pass

    def killed(moment: Moment) -> None:
        if moment.done == 9:
            raise Killed

    for every_s, earlier in ((0.0, 8), (1e9, 6)):
        monkeypatch.setattr(state_module, "EVERY_S", every_s)
        path = tmp_path / f"{every_s}.state"
        moments: list[Moment] = []
        with pytest.raises(Killed):
            stylizer().stylize(PHOTO, watch=killed, state=path)
        made = stylizer().stylize(PHOTO, watch=moments.append, state=path, resume=True)
        assert moments[0].done == earlier + 1
        assert torch.equal(made.image, stylizer().stylize(PHOTO).image)


def test_ctrl_c_in_an_evaluation_keeps_the_best_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, evaluate = [], Objective.__call__

    def interrupted(self: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return evaluate(self, image)

    path = tmp_path / "a.state"
    with monkeypatch.context() as patched:
        patched.setattr(Objective, "__call__", interrupted)
        stopped = stylizer().stylize(PHOTO, state=path)
    assert stopped.facts["stopped_at"] == "scale 2 of 3, iteration 3 of 5"
    assert stopped.image.shape == PHOTO.shape
    assert style_loss(stopped.image) < style_loss(PHOTO)
    resumed = stylizer().stylize(PHOTO, state=path, resume=True)
    assert torch.equal(resumed.image, stylizer().stylize(PHOTO).image)


def test_ctrl_c_within_a_step_leaves_the_last_whole_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.state"
    stylizer().stylize(PHOTO, watch=stop_at(8), state=path)
    kept = path.read_bytes()

    def torn(self: Descent, *_: Any) -> None:
        self._best.fill_(0)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Descent, "_take", torn)
        made = stylizer().stylize(PHOTO, state=path, resume=True)
    assert "stopped_at" in made.facts
    assert path.read_bytes() == kept


def stylize_with_a_state(path: Path, photo: Tensor = PHOTO, **settings: Any) -> Stylized:
    return stylizer(**settings).stylize(photo, state=path, resume=True)


def test_a_state_of_another_photo_or_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    stylizer().stylize(PHOTO, watch=stop_at(3), state=path)
    kept = path.read_bytes()
    for other in (lambda: stylize_with_a_state(path, -PHOTO), lambda: stylize_with_a_state(path, content_weight=1.0)):
        with pytest.raises(UserError, match=r"a.state: kept for another photo, picture or settings; .*delete"):
            other()
    with pytest.raises(UserError, match="kept for another"):
        VggStylizer(small_features(seed=3), [STYLE], VggSettings(**SMALL)).stylize(PHOTO, state=path, resume=True)
    assert path.read_bytes() == kept


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.state"
    if content is None:
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"not a state .*delete it to begin again"):
        stylize_with_a_state(path)


def test_without_a_state_to_resume_it_begins(tmp_path: Path) -> None:
    made = stylize_with_a_state(tmp_path / "none.state")
    assert made.facts["evaluations"] == 15


def test_a_state_is_written_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    seldom = StateFile(path, "digest", every_s=1e9)
    seldom.keep({"a": 1})
    assert not path.exists()
    seldom.keep({"a": torch.arange(4)[:2], "b": [1, {"c": None}]}, now=True)
    loaded = StateFile(path, "digest").load()
    assert loaded is not None
    assert loaded["a"].tolist() == [0, 1]
    assert loaded["b"] == [1, {"c": None}]
    assert digest_of({"a": 1}, [torch.zeros(2)]) != digest_of({"a": 1}, [torch.zeros(2), torch.zeros(0)])


def fails_until(monkeypatch: pytest.MonkeyPatch, enough: Callable[[Objective, Tensor], bool]) -> None:
    """Evaluations run out of memory until they are made as they should."""
    evaluate = Objective.__call__

    def limited(self: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
        if not enough(self, image):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return evaluate(self, image)

    monkeypatch.setattr(Objective, "__call__", limited)


def test_out_of_memory_it_goes_on_with_less_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    photo = picture(200, 300, seed=2)
    # The last scale only: 300 px fit in no tile but one of 128 px.
    fails_until(monkeypatch, lambda self, image: image.shape[3] < 300 or len(self.features.tiles) >= 6)
    one = stylizer(say=told.append)
    made = one.stylize(photo)
    assert told == [
        "out of memory at 300x200 px: Adam goes on in place of L-BFGS",
        "out of memory at 300x200 px: it goes on in tiles of 256 px",
        "out of memory at 300x200 px: it goes on in tiles of 128 px",
    ]
    monkeypatch.undo()
    last = made.facts["scales"][-1]
    assert (last["optimiser"], last["tile_px"], last["iterations"]) == ("adam", 128, 4)
    assert style_loss(made.image) < 0.5 * style_loss(photo)


def test_out_of_memory_with_nothing_left_to_try_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fails_until(monkeypatch, lambda *_: False)
    with pytest.raises(UserError, match=r"out of memory at 20x16 px: choose a smaller --size or --tile auto"):
        stylizer(say=told.append, tile="none").stylize(PHOTO)
    with pytest.raises(UserError, match=r"choose a smaller --size$"):
        stylizer(say=told.append).stylize(PHOTO)


def test_what_fits_into_memory_is_estimated_before_it_starts() -> None:
    photo, weights = picture(512, 512), VggSettings(**SMALL).weights(LAYERS)

    def needed(optimiser: str, tile_px: int | None = None) -> int:
        return needed_bytes(small_features(), 512, 512, weights=weights, optimiser=optimiser, tile_px=tile_px)

    def chosen(free_bytes: float, **settings: Any) -> tuple[str, int | None]:
        one = stylizer(**{"iterations": (1,), "free_bytes": lambda: int(free_bytes), **settings})
        told = one.stylize(photo).facts["scales"][0]
        return told["optimiser"], told["tile_px"]

    assert chosen(1.01 * needed("lbfgs")) == ("lbfgs", None)
    assert chosen(1.01 * needed("adam"), tile="none") == ("adam", None)
    assert chosen(1.01 * needed("adam", 128)) == ("adam", 128)
    with pytest.raises(UserError, match=r"512x512 px need about .* GB are free: use --size"):
        chosen(0.5 * needed("adam", 128))


def test_an_error_that_is_no_lack_of_memory_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        stylizer().stylize(PHOTO)


def test_tiles_give_what_the_whole_gives() -> None:
    photo = picture(150, 140, seed=2)
    whole = stylizer(iterations=(5,)).stylize(photo).image
    tiled = stylizer(iterations=(5,), tile="on", tile_px=64).stylize(photo)
    torch.testing.assert_close(tiled.image, whole, atol=0.02, rtol=0)
    assert tiled.facts["scales"][0]["tile_px"] == 64


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (300, 9)])
def test_tiny_and_oblong_photos(size: tuple[int, int]) -> None:
    made = stylizer().stylize(picture(*size))
    assert tuple(made.image.shape[2:]) == size
    assert made.image.isfinite().all()


def test_a_photo_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="the photo is 40x7 px at this size: small needs sides of 8 px or more"):
        stylizer().stylize(picture(7, 40))


def test_a_tiny_picture_lends_its_style_too() -> None:
    made = stylizer((picture(3, 5, seed=4),)).stylize(PHOTO)
    assert made.image.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": 1.5}, "strength: got 1.5, expected at most 1"),
        ({"iterations": ()}, "iterations: .*at least 1"),
        ({"optimiser": "sgd"}, "optimiser: got 'sgd'"),
        ({"style_layers": ("relu9_1",)}, "unknown layer 'relu9_1' of these features"),
        ({"style_layer_weights": (1.0,)}, "1 weights for 3 style layers: give one for each"),
        ({"style_layer_weights": (0.0, 0.0, 0.0)}, "all weights of the style layers are 0"),
        ({"style_weights": (1.0, 1.0)}, "2 weights for 1 pictures: give one for each"),
        ({"style_loss": "grams"}, "unknown style loss 'grams'.*gram"),
        ({"style_loss": "sliced", "tile": "on"}, "tiles"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        stylizer(**settings).stylize(PHOTO)


def test_no_picture_is_told() -> None:
    with pytest.raises(UserError, match="no picture"):
        stylizer(())


def test_layers_count_by_their_block() -> None:
    weights = VggSettings(style_layers=("relu1_2", "relu4_3"), content_layers=("relu4_2",)).weights(
        ("relu1_2", "relu4_2", "relu4_3")
    )
    usual = dict(Weights().style_layers)
    assert dict(weights.style_layers) == {"relu1_2": usual["relu1_1"], "relu4_3": usual["relu4_1"]}


def test_kept_colours_keep_the_hue_of_the_photo() -> None:
    photo = PHOTO * 0.2 + torch.tensor([0.5, -0.2, -0.4])[:, None, None]
    made = stylizer(colours="luminance", iterations=(20, 10)).stylize(photo).image
    assert made[:, 0].mean() > made[:, 1].mean() > made[:, 2].mean()

"""The health of a run in plain words, from the numbers that it logged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

Row = Mapping[str, float]

# When a verdict is given.
SETTLED_STEP = 500  # before this a new generator inverts, copies or blurs, and discriminators are blind or far ahead
LOGS = 3  # one log may be a bad moment of networks that chase each other; three in a row are a state
SPAN_STEPS = 100  # where every step is logged, three logs are a moment, too

# What is ill. The gauges and the probe say what each number means. "Healthy" is what runs of the first few thousand
# steps between photographs and ink paintings showed after step 500, and drawn landscapes at the end of the demo.
INVERTED = -0.05  # below zero light is dark; so near to zero it is neither. Healthy: 0.7 to 0.95
UNCHANGED = 0.03  # a JPEG file of low quality changes 0.02 to 0.03 of the range. Healthy: 0.09 or more
SAME_EDGES = 0.1  # the same JPEG file changes 0.07. Healthy: 0.15 or more, and less only where colours change
ALIKE = 0.8  # of the way to being the same. Healthy: below 0.3, as are paintings drawn at random
CLIPPED = 0.25  # of all values, beyond what real images have. Healthy: 0.01; photographs compared at random: 0.06
FLAT = 0.2  # of the real images' contrast. Healthy: 0.7 or more; a strong haze: 0.45
CHECKERBOARD_DB = 4.0  # patterns that leap to the eye gave 4 to 8, clean translations below 1, most photographs below 2
FORGOTTEN = 0.4  # correlation of luminance between an image and what comes back. Healthy: 0.7 or more
FAR_OFF = 0.2  # of the range from black to white: so far apart are two unrelated pictures. Healthy: 0.08 to 0.18
WINNING = 0.05  # of the loss by chance: always right and nearly sure, which leaves no gradient. Healthy: 0.3 to 1.2
MISLED = 2.0  # of the loss by chance: calling everything real costs least squares as much. Healthy: 1.6 at moments
SAME_SCORES = 0.02  # deviation of scores. Healthy: 0.2 to 0.4, also of a discriminator that is fooled
STARVING = 0.2  # share of the time; a fifth of the device's time bought for nothing

WAYS = {"_ab": " (a to b)", "_ba": " (b to a)"}
DOMAINS = {"_a": " (a)", "_b": " (b)"}
RUN = {"": ""}


@dataclass(frozen=True)
class Finding:
    """Something that ails a run.

    Attributes:
        key: what and where, such as `colour_inversion_ab`; the same as long as it lasts.
        title: the same for people.
        text: what was measured, and beyond which threshold it lies.
        hint: what to do.
        level: `warn`, or `error` where going on as it is makes no sense.
        since: the first step of the present spell.
    """

    key: str
    title: str
    text: str
    hint: str
    level: str
    since: int


@dataclass(frozen=True)
class Sign:
    """A number beyond a threshold; the name of the number lacks the way or the domain."""

    name: str
    threshold: float
    above: bool

    def shows(self, value: float) -> bool:
        """Whether the value lies beyond the threshold."""
        return value > self.threshold if self.above else value < self.threshold


@dataclass(frozen=True)
class Ailment:
    """What may ail a run: shown by all of its signs at once, for some time.

    `text` holds a field for each sign's value, and for its threshold after them.
    """

    key: str
    places: Mapping[str, str]
    signs: tuple[Sign, ...]
    text: str
    hint: str
    level: str = "warn"
    from_step: int = SETTLED_STEP
    logs: int = LOGS
    span_steps: int = SPAN_STEPS

    def names(self, place: str) -> list[str]:
        """The names in a row of the numbers that tell."""
        return [f"{sign.name}{place}" for sign in self.signs]

    def shows(self, row: Row, place: str) -> bool:
        """Whether all signs are there."""
        return all(sign.shows(row[name]) for sign, name in zip(self.signs, self.names(place), strict=True))

    def lasts(self, spell: Sequence[Row]) -> bool:
        """Whether rows with all signs, the newest first, are more than a moment or a beginning."""
        if len(spell) < self.logs:
            return False
        newest, oldest = spell[0]["step"], spell[-1]["step"]
        return newest >= self.from_step and newest - oldest >= self.span_steps


ANEW = "start anew with another seed, a larger method.cycle_weight or a lower training.learning_rate"
RAISE_CYCLE = "raise method.cycle_weight, or lower training.learning_rate"

AILMENTS = (
    Ailment(
        "discriminator_winning",
        DOMAINS,
        (Sign("health/discriminator_loss", WINNING, above=False),),
        "the discriminator's loss on the previews is {0:.1%} of what guessing costs (below {1:.0%}): it tells every "
        "fake and is sure of it, and the generator learns nothing from it",
        "make it smaller (discriminator.width, discriminator.layers), train on more images, or vary them more "
        "(data.augment); if translations look right all the same, leave it",
    ),
    Ailment(
        "discriminator_collapsed",
        DOMAINS,
        (Sign("health/discriminator_spread", SAME_SCORES, above=False),),
        "the discriminator gives every patch of every image the same score (deviation {0:.3f}, below {1:g}): it judges "
        "nothing any more",
        "go back to an earlier checkpoint with a lower training.learning_rate, or start anew with another seed",
        level="error",
    ),
    Ailment(
        "discriminator_misled",
        DOMAINS,
        (Sign("health/discriminator_loss", MISLED, above=True),),
        "the discriminator's loss on the previews is {0:.0%} of what guessing costs (above {1:.0%}): it takes fakes "
        "for real, or real images for fakes, and sends the generator astray",
        "lower training.learning_rate, or train on more images: it may know the training images by heart",
    ),
    Ailment(
        "colour_inversion",
        WAYS,
        (Sign("health/luminance_correlation", INVERTED, above=False),),
        "light and dark are exchanged: the luminance of images and of their translations correlates by {0:.2f} "
        "(below {1:g})",
        "start anew with another seed, a larger method.identity_weight or a smaller generator.gain: it seldom goes "
        "away by itself. If the other domain is meant to be a negative, all is well",
        level="error",
    ),
    Ailment(
        "nothing_changes",
        WAYS,
        (Sign("health/change", UNCHANGED, above=False), Sign("health/edge_change", SAME_EDGES, above=False)),
        "translations are the images themselves: values change by {0:.1%} (below {2:.0%}) and edges by {1:.1%} "
        "(below {3:.0%})",
        "lower method.identity_weight and method.cycle_weight, or train longer",
    ),
    Ailment(
        "mode_collapse",
        WAYS,
        (Sign("health/likeness", ALIKE, above=True),),
        "different images become one picture: their translations have come {0:.0%} of the way to being the same "
        "(above {1:.0%})",
        ANEW,
        level="error",
    ),
    Ailment(
        "saturated",
        WAYS,
        (Sign("health/clipped", CLIPPED, above=True),),
        "{0:.0%} of all values of the translations are black or full, beyond what real images have (above {1:.0%})",
        "go back to an earlier checkpoint with a lower training.learning_rate, or start anew with a smaller "
        "generator.gain",
        level="error",
    ),
    Ailment(
        "flat",
        WAYS,
        (Sign("health/contrast", FLAT, above=False),),
        "translations are nearly one flat colour: {0:.0%} of the contrast of real images (below {1:.0%})",
        ANEW,
        level="error",
    ),
    Ailment(
        "checkerboard",
        WAYS,
        (Sign("health/checkerboard", CHECKERBOARD_DB, above=True),),
        "a pattern of 2 or 4 px stands out of the translations by {0:.1f} dB (above {1:g})",
        "if it does not fade as the run goes on, start anew with generator.upsample=resize, or antialiased",
    ),
    Ailment(
        "cycle_broken",
        WAYS,
        (Sign("health/cycle_correlation", FORGOTTEN, above=False),),
        "images do not come back: after both generators their luminance correlates with the image's by {0:.2f} "
        "(below {1:g})",
        RAISE_CYCLE,
    ),
    Ailment(
        "cycle_error_high",
        WAYS,
        (Sign("health/cycle_error", FAR_OFF, above=True),),
        "images come back changed: after both generators values are off by {0:.0%} of the range (above {1:.0%})",
        RAISE_CYCLE,
    ),
    Ailment(
        "loader_starving",
        RUN,
        (Sign("speed/waiting_for_data", STARVING, above=True),),
        "{0:.0%} of the time is spent waiting for images (above {1:.0%})",
        "raise data.workers, keep data.cache=true, or crop on the device (data.crop_on=device)",
        from_step=0,
    ),
    Ailment(
        "updates_skipped",
        RUN,
        (Sign("guard/skipped", 0.0, above=True),),
        "{0:.0f} updates since the last log were skipped, as a loss or a gradient was not finite",
        "if it goes on, lower training.learning_rate, or set training.precision=float32",
        # Never part of a healthy run, at no step.
        from_step=0,
        logs=1,
        span_steps=0,
    ),
)


def diagnose(rows: Sequence[Row]) -> list[Finding]:
    """What ails a run at the end of its rows, which are those of `metrics.jsonl`, oldest first.

    Any number may be missing from any row; rows of one step count as one.
    """
    newest_first = _by_step(rows)[::-1]
    return [
        _finding(ailment, place, spell)
        for ailment in AILMENTS
        for place in ailment.places
        if ailment.lasts(spell := _spell(newest_first, ailment, place))
    ]


def well(rows: Sequence[Row]) -> str:
    """One line on a run in whose rows `diagnose` finds nothing: the main numbers, or that it is too early to tell."""
    merged = _by_step(rows)
    judged = [row for row in merged if any(name.startswith("health/") for name in row)]
    if not judged:
        return "too early to tell: nothing has been measured yet"
    step, newest = int(judged[-1]["step"]), judged[-1]
    if step < SETTLED_STEP or len(judged) < LOGS or step - judged[0]["step"] < SPAN_STEPS:
        return f"too early to tell: step {step}; judged from step {SETTLED_STEP} on, after {LOGS} logs or more"
    parts = [part for part in (*_ways(newest), *_discriminators(newest)) if part]
    return f"healthy: {'; '.join(parts) or 'no sign of anything else'}"


def _by_step(rows: Sequence[Row]) -> list[Row]:
    """One row a step, in the order of their first rows."""
    merged: dict[float, dict[str, float]] = {}
    for row in rows:
        if "step" in row:
            merged.setdefault(row["step"], {}).update(row)
    return list(merged.values())


def _spell(newest_first: Sequence[Row], ailment: Ailment, place: str) -> list[Row]:
    """The rows with all signs back to the first without, the newest first; rows that lack a number say nothing."""
    names = ailment.names(place)
    telling = (row for row in newest_first if all(math.isfinite(row.get(name, math.nan)) for name in names))
    return list(takewhile(lambda row: ailment.shows(row, place), telling))


def _finding(ailment: Ailment, place: str, spell: Sequence[Row]) -> Finding:
    values = [spell[0][name] for name in ailment.names(place)]
    return Finding(
        key=f"{ailment.key}{place}",
        title=f"{ailment.key.replace('_', ' ')}{ailment.places[place]}",
        text=ailment.text.format(*values, *(sign.threshold for sign in ailment.signs)),
        hint=ailment.hint,
        level=ailment.level,
        since=int(spell[-1]["step"]),
    )


MAIN = {
    "luminance_correlation": "luminance correlates by {:.2f}",
    "change": "values change by {:.0%}",
    "edge_change": "edges by {:.0%}",
    "cycle_error": "cycle error {:.1%}",
}


def _ways(row: Row) -> Iterator[str]:
    for place, words in WAYS.items():
        known = {name: row.get(f"health/{name}{place}") for name in MAIN}
        told = [MAIN[name].format(value) for name, value in known.items() if value is not None]
        if told:
            yield f"{words.strip(' ()')}: {', '.join(told)}"


def _discriminators(row: Row) -> Iterator[str]:
    losses = {words: row.get(f"health/discriminator_loss{place}") for place, words in DOMAINS.items()}
    told = [f"{loss:.0%}{words}" for words, loss in losses.items() if loss is not None]
    if told:
        yield f"discriminators' losses {' and '.join(told)} of what guessing costs"

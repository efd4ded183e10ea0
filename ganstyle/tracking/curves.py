"""Which numbers of a run are drawn together, and what their charts are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ganstyle.tracking.charts import Panel, Points

Row = Mapping[str, object]

# From the top of a page.
SECTIONS = ("Scores", "Losses", "Health", "Machine", "More")

FIRST = ("KID", "FID")  # in their section

# Told in tables, or not over steps.
NOT_DRAWN = ("scores/kid_deviation", "best/")

PLACES = {"ab": "a to b", "ba": "b to a", "a": "a", "b": "b"}

# Name of a number, without its direction or domain -> section, title of its chart, line in it where it shares one.
KNOWN: dict[str, tuple[str, ...]] = {
    "scores/kid": ("Scores", "KID"),
    "scores/fid": ("Scores", "FID"),
    "scores/content": ("Scores", "content"),
    "judged/a_real": ("Losses", "scores by discriminators", "real a"),
    "judged/a_fake": ("Losses", "scores by discriminators", "fake a"),
    "judged/b_real": ("Losses", "scores by discriminators", "real b"),
    "judged/b_fake": ("Losses", "scores by discriminators", "fake b"),
    "gradient_norm/generator": ("Losses", "gradient norm", "generator"),
    "gradient_norm/discriminator": ("Losses", "gradient norm", "discriminator"),
    "learning_rate": ("Losses", "learning rate"),
    "guard/skipped": ("Health", "not finite", "updates skipped"),
    "guard/rollbacks": ("Health", "not finite", "roll-backs"),
    "speed/images_per_second": ("Machine", "images a second"),
    "speed/seconds_per_step": ("Machine", "seconds a step"),
    "speed/step": ("Machine", "share of the time", "steps"),
    "speed/waiting_for_data": ("Machine", "share of the time", "waiting for data"),
    "speed/rest": ("Machine", "share of the time", "logs, previews, scores, checkpoints"),
    "memory/gigabytes": ("Machine", "memory, GB"),
}

# Prefix -> section; other names stand in the last one.
PREFIXES = {"scores": "Scores", "generator": "Losses", "discriminator": "Losses", "health": "Health"}
# One chart for each name, and in it a line for each direction or domain.
APART = ("scores", "health")

# Title of a chart -> how to read it.
NOTES = {
    "KID": "lower: closer to the other domain",
    "FID": "lower: closer to the other domain",
    "content": "higher: more of the image is kept",
    "scores by discriminators": "real and fake far apart for long: the discriminator wins",
    "luminance correlation": "below zero: light and dark are exchanged",
    "change": "near zero: nothing changes",
    "edge change": "near zero: nothing changes",
    "likeness": "towards 1: different images become one picture",
    "contrast": "of real images' contrast; near zero: flat",
    "clipped": "values at black or full, beyond what real images have",
    "checkerboard": "decibels; high: a pattern of 2 or 4 px",
    "cycle correlation": "near zero: images do not come back",
    "discriminator loss": "of what guessing costs; near zero: the discriminator wins",
    "discriminator spread": "deviation of its scores; near zero: it judges nothing",
}


@dataclass(frozen=True)
class Place:
    """Where a number is drawn."""

    section: str
    title: str
    line: str


def place_of(name: str) -> Place:
    """The chart and the line of a number, by the name that it was logged under."""
    stem, _, end = name.rpartition("_")
    if name in KNOWN:
        section, title, *line = KNOWN[name]
        return Place(section, title, line[0] if line else ("mean" if section == "Scores" else title))
    if end in PLACES and stem in KNOWN:
        section, title, *_ = KNOWN[stem]
        return Place(section, title, PLACES[end])
    prefix, slash, rest = name.partition("/")
    section = PREFIXES.get(prefix, SECTIONS[-1])
    if prefix in APART and end in PLACES and stem.startswith(f"{prefix}/"):
        return Place(section, _words(stem.removeprefix(f"{prefix}/")), PLACES[end])
    title = rest if prefix in APART and slash else prefix
    return Place(section, _words(title), rest if slash and prefix not in APART else _words(title))


def run_panels(rows: Sequence[Row]) -> list[Panel]:
    """The charts of one run, in the order of a page, from the rows of its `metrics.jsonl`."""
    titles: dict[tuple[str, str], dict[str, Points]] = {}
    for name, points in curves(rows).items():
        place = place_of(name)
        titles.setdefault((place.section, place.title), {})[place.line] = points
    return _ordered(Panel(title, lines, section, NOTES.get(title, "")) for (section, title), lines in titles.items())


def comparison_panels(runs: Mapping[str, Sequence[Row]]) -> list[Panel]:
    """A chart for each number that any of the runs logged, and in it a line for each run that did."""
    found = {run: curves(rows) for run, rows in runs.items()}
    panels = []
    for name in dict.fromkeys(name for each in found.values() for name in each):
        place = place_of(name)
        title = place.title if place.line == place.title else f"{place.title}: {place.line}"
        # A run without it keeps its colour on every chart.
        lines: dict[str, Points] = {run: each.get(name, []) for run, each in found.items()}
        panels.append(Panel(title, lines, place.section, NOTES.get(place.title, "")))
    return _ordered(panels)


def curves(rows: Sequence[Row]) -> dict[str, Points]:
    """(step, value) points of everything that is drawn, by name; of several values of one step the last one counts."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        step = row["step"]
        assert isinstance(step, int)
        for name, value in row.items():
            if name != "step" and isinstance(value, float | int) and not name.startswith(NOT_DRAWN):
                found.setdefault(name, {})[step] = float(value)
    return {name: list(points.items()) for name, points in found.items() if _tells(name, points.values())}


def _tells(name: str, values: Iterable[float]) -> bool:
    """Whether there is anything to see: nothing was skipped in most runs."""
    return not name.startswith("guard/") or any(values)


def _ordered(panels: Iterable[Panel]) -> list[Panel]:
    def place(panel: Panel) -> tuple[int, int]:
        title = panel.title.partition(":")[0]
        return SECTIONS.index(panel.section), FIRST.index(title) if title in FIRST else len(FIRST)

    return sorted(panels, key=place)


def _words(name: str) -> str:
    return name.replace("_", " ")

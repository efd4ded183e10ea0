from __future__ import annotations

import pytest

from ganstyle.tracking.curves import SECTIONS, Place, comparison_panels, curves, place_of, run_panels


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("scores/kid_ab", Place("Scores", "KID", "a to b")),
        ("scores/kid", Place("Scores", "KID", "mean")),
        ("scores/lpips_ba", Place("Scores", "lpips", "b to a")),
        ("generator/cycle_a", Place("Losses", "generator", "cycle_a")),
        ("discriminator/b", Place("Losses", "discriminator", "b")),
        ("judged/b_fake", Place("Losses", "scores by discriminators", "fake b")),
        ("gradient_norm/generator", Place("Losses", "gradient norm", "generator")),
        ("learning_rate", Place("Losses", "learning rate", "learning rate")),
        ("health/luminance_correlation_ab", Place("Health", "luminance correlation", "a to b")),
        ("health/discriminator_spread_b", Place("Health", "discriminator spread", "b")),
        ("health/newest", Place("Health", "newest", "newest")),
        ("speed/waiting_for_data", Place("Machine", "share of the time", "waiting for data")),
        ("speed/images_per_second", Place("Machine", "images a second", "images a second")),
        ("memory/gigabytes", Place("Machine", "memory, GB", "memory, GB")),
        ("mine/what_ever", Place("More", "mine", "what_ever")),
        ("alone", Place("More", "alone", "alone")),
        ("odd_ab", Place("More", "odd ab", "odd ab")),
    ],
)
def test_where_a_number_is_drawn(name: str, place: Place) -> None:
    assert place_of(name) == place


def test_directions_of_one_gauge_share_a_chart_and_scores_come_first() -> None:
    rows = [
        {"step": 1, "learning_rate": 1e-4, "generator/cycle_a": 2.0, "health/change_ab": 0.1, "health/change_ba": 0.2},
        {
            "step": 2,
            "generator/cycle_a": 1.0,
            "generator/cycle_b": 3.0,
            "more/x": 1,
            "scores/content_ab": 0.5,
            "scores/kid_ab": 5.0,
        },
    ]
    panels = run_panels(rows)
    assert [(panel.section, panel.title) for panel in panels] == [
        ("Scores", "KID"),
        ("Scores", "content"),
        ("Losses", "learning rate"),
        ("Losses", "generator"),
        ("Health", "change"),
        ("More", "more"),
    ]
    assert [panel.section for panel in panels] == sorted((p.section for p in panels), key=SECTIONS.index)
    assert panels[3].lines == {"cycle_a": [(1, 2.0), (2, 1.0)], "cycle_b": [(2, 3.0)]}
    assert panels[4].lines == {"a to b": [(1, 0.1)], "b to a": [(1, 0.2)]}
    assert panels[4].note
    assert run_panels([]) == []


def test_rows_of_one_step_are_merged_and_the_last_value_counts() -> None:
    rows = [{"step": 1, "a/x": 1.0}, {"step": 1, "a/x": 2.0, "a/y": 3.0}]
    assert curves(rows) == {"a/x": [(1, 2.0)], "a/y": [(1, 3.0)]}


def test_tables_and_what_never_happened_are_not_drawn() -> None:
    calm = {"step": 1, "guard/skipped": 0, "guard/rollbacks": 0, "scores/kid_deviation_ab": 0.1, "best/step": 1}
    assert curves([calm]) == {}
    assert curves([calm, {"step": 2, "guard/skipped": 3}]) == {"guard/skipped": [(1, 0.0), (2, 3.0)]}


def test_a_comparison_has_a_chart_for_each_number_and_a_line_for_each_run() -> None:
    one = [{"step": 1, "generator/cycle_a": 2.0, "learning_rate": 1e-4}]
    other = [{"step": 5, "generator/cycle_a": 1.0, "generator/cycle_b": 3.0}]
    panels = {panel.title: panel.lines for panel in comparison_panels({"one": one, "other": other})}
    assert panels == {
        "generator: cycle_a": {"one": [(1, 2.0)], "other": [(5, 1.0)]},
        "learning rate": {"one": [(1, 1e-4)], "other": []},
        "generator: cycle_b": {"one": [], "other": [(5, 3.0)]},
    }

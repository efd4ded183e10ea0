from __future__ import annotations

import json
from typing import Any

import pytest

from ganstyle.base.errors import UserError
from ganstyle.evaluate.selection import Selection

NAN = float("nan")


def selection(best: str = "kid", **options: Any) -> Selection:
    return Selection(best, **{"least_content": 0.0, "patience": 0, "features": "network 1", **options})


def scores(value: float, content: float = 0.5, name: str = "kid") -> dict[str, float]:
    return {f"scores/{name}": value, "scores/content": content}


def consider(chosen: Selection, *values: float, first: int = 1) -> list[bool]:
    return [chosen.consider(step, scores(value)) for step, value in enumerate(values, start=first)]


def test_the_lowest_distance_is_the_best_also_below_zero() -> None:
    chosen = selection()
    assert (chosen.step, chosen.value) == (None, None)
    assert consider(chosen, 0.3, 0.4, 0.1, 0.1, -0.2, -0.1) == [True, False, True, False, True, False]
    assert (chosen.step, chosen.value) == (5, -0.2)


@pytest.mark.parametrize("name", ["content", "content_ab"])
def test_the_highest_content_is_the_best(name: str) -> None:
    chosen = selection(name)
    found = [
        chosen.consider(step, {"scores/content": 0.5, f"scores/{name}": v}) for step, v in enumerate([0.3, 0.2, 0.6])
    ]
    assert found == [True, False, True]
    assert chosen.value == 0.6


def test_one_direction_can_decide() -> None:
    chosen = selection("kid_ba")
    assert chosen.consider(1, {**scores(0.9), "scores/kid_ba": 0.2})
    assert not chosen.consider(2, {**scores(0.1), "scores/kid_ba": 0.3})


def test_too_little_content_is_never_the_best() -> None:
    chosen = selection(least_content=0.4)
    assert not chosen.consider(1, scores(0.01, content=0.39))
    assert chosen.consider(2, scores(0.5, content=0.4))
    assert not chosen.consider(3, scores(0.01, content=NAN))
    assert not chosen.consider(4, {"scores/kid": 0.01})
    assert chosen.value == 0.5


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf"), None])
def test_a_missing_or_non_finite_score_is_not_the_best_and_does_not_count(value: float | None) -> None:
    chosen = selection(patience=2)
    assert chosen.consider(1, scores(0.5))
    bad = {"scores/content": 0.5} if value is None else scores(value)
    for step in range(2, 9):
        assert not chosen.consider(step, bad)
    assert not chosen.exhausted, "a set too small for the score would end every run"
    assert (chosen.step, chosen.value) == (1, 0.5)
    assert chosen.value == 0.5


def test_patience_counts_evaluations_in_a_row_without_gain() -> None:
    chosen = selection(patience=2)
    seen = []
    for step, value in enumerate([0.5, 0.6, 0.4, 0.4, 0.3, 0.3, 0.9]):
        chosen.consider(step, scores(value))
        seen.append(chosen.exhausted)
    assert seen == [False] * 6 + [True]
    assert not selection().exhausted
    never = selection()
    consider(never, 0.1, *[0.2] * 50)
    assert not never.exhausted


def test_before_the_first_best_patience_counts_too() -> None:
    chosen = selection(patience=2, least_content=0.9)
    consider(chosen, 0.1, 0.1)
    assert chosen.exhausted
    assert chosen.step is None


def test_the_best_steps_own_evaluation_told_again_is_the_best() -> None:
    chosen = selection(patience=2)
    consider(chosen, 0.5, 0.3)
    assert chosen.consider(2, scores(0.3))
    assert not chosen.consider(2, scores(NAN))
    assert chosen.consider(3, scores(0.25))


def test_a_worse_evaluation_of_the_best_step_is_not_the_best() -> None:
    """After a roll-back the same steps are done otherwise."""
    chosen = selection(patience=5)
    consider(chosen, 0.5, 0.1)
    assert not chosen.consider(2, scores(0.9))
    assert (chosen.step, chosen.value) == (2, 0.1)


def test_a_step_told_again_counts_once_for_the_patience() -> None:
    chosen = selection(patience=2)
    consider(chosen, 0.3, 0.5)
    for _ in range(3):
        assert not chosen.consider(2, scores(0.5))
    assert not chosen.exhausted
    chosen.consider(3, scores(0.5))
    assert chosen.exhausted


def test_a_restored_selection_goes_on_as_the_first_would() -> None:
    values = [0.5, 0.3, 0.4, 0.45, 0.2, 0.4, 0.4, 0.4]
    whole = selection(patience=3)
    expected = consider(whole, *values)
    for cut in range(len(values)):
        before, after = selection(patience=3), selection(patience=3)
        found = consider(before, *values[:cut])
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert after.restarted == ""
        assert found + consider(after, *values[cut:], first=cut + 1) == expected
        assert after.state_dict() == whole.state_dict()
        assert after.exhausted


@pytest.mark.parametrize(
    "changed", [{"features": "network 2"}, {"best": "content"}, {"best": "kid_ab"}, {"least_content": 0.1}]
)
def test_scores_of_another_kind_start_it_anew_and_it_tells(changed: dict[str, Any]) -> None:
    before = selection(patience=3)
    consider(before, 0.1, 0.2, 0.3)
    after = selection(**{"patience": 3, **changed})
    after.load_state_dict(before.state_dict())
    assert "chosen anew" in after.restarted
    assert "\n" not in after.restarted
    assert after.state_dict() == selection(**changed).state_dict()


def test_another_patience_keeps_the_best() -> None:
    before, after = selection(patience=0), selection(patience=2)
    consider(before, 0.1, 0.2, 0.3)
    after.load_state_dict(before.state_dict())
    assert after.step == 1
    assert after.exhausted


def test_a_run_that_was_not_evaluated_starts_anew_without_a_word() -> None:
    chosen = selection()
    consider(chosen, 0.1)
    chosen.load_state_dict({})
    assert (chosen.step, chosen.restarted) == (None, "")


def test_the_rule_is_said_in_words() -> None:
    assert selection().rule == "the lowest scores/kid among evaluations with scores/content of 0 or more"
    words = "the highest scores/content_ab among evaluations with scores/content of 0.25 or more"
    assert selection("content_ab", least_content=0.25).rule == words


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="unknown score 'kit': did you mean 'kid'"):
        selection("kit")
    with pytest.raises(UserError, match=r"evaluate\.patience: got -1"):
        selection(patience=-1)


def test_what_was_not_evaluated_before_starts_without_a_word() -> None:
    state = Selection("kid", least_content=0, patience=0, features="").state_dict()
    chosen = selection()
    chosen.load_state_dict(state)
    assert (chosen.restarted, chosen.step) == ("", None)


def test_what_is_not_evaluated_for_a_while_keeps_its_best() -> None:
    chosen = selection()
    consider(chosen, 0.5, 0.1)
    without = Selection("kid", least_content=0, patience=0, features="")
    without.load_state_dict(chosen.state_dict())
    again = selection()
    again.load_state_dict(without.state_dict())
    assert (again.restarted, again.step, again.value) == ("", 2, 0.1)

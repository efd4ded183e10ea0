"""The cards of public data sets."""

from pathlib import Path

import pytest

from ganstyle.base.config import read_yaml
from ganstyle.base.recipes import share_folder

CARDS = sorted(share_folder("datasets").glob("*.yaml"))


def test_there_are_cards() -> None:
    assert len(CARDS) >= 5


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_says_what_where_and_under_what_terms(path: Path) -> None:
    card = read_yaml(path)
    assert card["name"] == path.stem
    assert {"a", "b", "source", "licence", "layout"} <= set(card)
    assert card["images_a"] > 0
    assert card["images_b"] > 0

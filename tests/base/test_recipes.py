from __future__ import annotations

from pathlib import Path

import pytest

from ganstyle.base import recipes
from ganstyle.base.errors import UserError
from ganstyle.base.recipes import recipe_names, recipe_path, share_folder


def test_the_recipes_of_the_checkout_are_found_by_name() -> None:
    names = recipe_names()
    assert {"cyclegan", "cyclegan-lite", "demo"} <= set(names)
    assert names == sorted(names)
    for name in names:
        assert recipe_path(name) == share_folder("configs") / f"{name}.yaml"
        assert recipe_path(name).is_file()


def test_an_installed_package_carries_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "ganstyle"
    (package / "share" / "configs").mkdir(parents=True)
    (package / "share" / "configs" / "mine.yaml").touch()
    (package / "base").mkdir()
    monkeypatch.setattr(recipes, "__file__", str(package / "base" / "recipes.py"))
    assert recipe_names() == ["mine"]
    assert recipe_path("mine") == package / "share" / "configs" / "mine.yaml"
    assert share_folder("datasets") == tmp_path / "site" / "datasets"  # beside the package, as in a checkout


def test_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "no suffix").touch()
    monkeypatch.chdir(tmp_path)
    assert recipe_path("mine.yaml") == Path("mine.yaml")
    assert recipe_path("no suffix") == Path("no suffix")
    assert recipe_path(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_a_name_comes_before_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cyclegan").touch()
    monkeypatch.chdir(tmp_path)
    assert recipe_path("cyclegan").parent == share_folder("configs")
    assert recipe_path("./cyclegan") == Path("cyclegan")


@pytest.mark.parametrize("recipe", ["gone.yaml", "gone.yml", "some/where/gone", "."])
def test_a_path_that_is_not_there_names_the_recipes(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        recipe_path(recipe)
    assert "cyclegan-lite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^unknown recipe 'cyclgan': did you mean 'cyclegan'\? \(cut, "):
        recipe_path("cyclgan")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such config file"):
        recipe_path(str(tmp_path))

"""Where the recipes and data-set cards are: in the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from ganstyle.base.errors import UserError
from ganstyle.base.tables import did_you_mean


def share_folder(name: str) -> Path:
    """The folder `configs` or `datasets`, wherever this ganstyle was installed from."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "share" / name
    return installed if installed.is_dir() else package.parent / name


def recipe_names() -> list[str]:
    """The recipes that come with ganstyle."""
    return sorted(path.stem for path in share_folder("configs").glob("*.yaml"))


def recipe_path(recipe: str) -> Path:
    """The file of a recipe given by name (`cyclegan-lite`) or by path (`mine/recipe.yaml`)."""
    by_name = share_folder("configs") / f"{recipe}.yaml"
    if recipe in recipe_names():
        return by_name
    path = Path(recipe)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"{recipe}: there is no such config file; the recipes by name are {', '.join(recipe_names())}")
    raise UserError(f"unknown recipe '{recipe}'{did_you_mean(recipe, recipe_names())}")

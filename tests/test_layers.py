"""The house: rooms import only from lower floors, and a few libraries only in the file that is theirs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ganstyle"

# From the ground up; rooms of one floor never import each other.
FLOORS = [
    {"base"},
    {"networks", "losses", "data", "tracking"},
    {"methods"},
    {"train", "translate", "painting", "evaluate"},
    {"assemble"},
    {"verbs"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Library -> where it may be imported.
OWNERS = {
    "wandb": {"tracking/wandb.py"},
    "PIL": {"data/"},
    "albumentations": {"data/augment.py"},
    "yaml": {"base/config.py"},
    "omegaconf": {"base/config.py"},
    "typer": {"cli/"},
    "lightning_fabric": {"train/"},
    "onnxruntime": {"translate/onnx_runtime.py"},
    "onnxscript": {"translate/onnx_export.py"},
    "tensorboard": {"tracking/tensorboard.py"},
    "torch_fidelity": {"networks/inception.py"},
    "torchmetrics": {"evaluate/perceptual.py"},
    "sklearn": {"painting/learned.py"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every imported module's whole name, also inside functions; those for type checking only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "ganstyle" and len(parts) > 1 and parts[1] in FLOOR else None


def home(path: Path) -> str | None:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return first if first in FLOOR else None


def misplaced(path: Path) -> list[str]:
    own = home(path)
    if own is None:  # the package's face may look up to the top
        return []
    others = {room for module in imports(path) if (room := room_of(module)) is not None and room != own}
    return [f"{path.name} ({own}) imports {room}" for room in sorted(others) if FLOOR[room] >= FLOOR[own]]


def trespassers(path: Path) -> list[str]:
    place = path.relative_to(PACKAGE).as_posix()
    used = {module.split(".")[0] for module in imports(path)}
    return [
        f"{place} imports {library}"
        for library, owners in OWNERS.items()
        if library in used
        and not any(place == owner or (owner.endswith("/") and place.startswith(owner)) for owner in owners)
    ]


def test_there_are_modules_in_every_room() -> None:
    rooms = {home(path) for path in modules()}
    assert rooms >= set(FLOOR)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_rooms_import_from_lower_floors_only(path: Path) -> None:
    assert misplaced(path) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_libraries_stay_in_their_files(path: Path) -> None:
    assert trespassers(path) == []


def test_base_imports_no_torch() -> None:
    used = {module.split(".")[0] for path in (PACKAGE / "base").glob("*.py") for module in imports(path)}
    assert "pydantic" in used
    assert "torch" not in used


def test_a_wrong_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "losses"
    room.mkdir()
    wrong = room / "wrong.py"
    wrong.write_text(
        "from ganstyle.networks import blocks\nimport wandb\n\ndef f():\n    from ganstyle.train import loop\n"
    )
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    assert misplaced(wrong) == ["wrong.py (losses) imports networks", "wrong.py (losses) imports train"]
    assert trespassers(wrong) == ["losses/wrong.py imports wandb"]

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.painting import sparse_report
from ganstyle.painting.copied import sources_of as sources_in
from ganstyle.painting.sparse import SparseStylized
from ganstyle.painting.sparse_maps import CORNERS, atoms_as_patches, correspondence, key_of, most_used, sparsity
from ganstyle.painting.sparse_report import check_report_folder, write_report
from tests.painting.hand_made_codes import dictionary, grid, level, number_of

PATCH = 5
SIZE = (24, 30)


def sources_of(level: Any) -> Any:
    return sources_in(level, torch.zeros(1, 3, *level.size))


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def whole_copy(style: Tensor) -> Any:
    """A level whose every patch is the one at the same place of the picture."""
    made, places = dictionary(style, PATCH), grid(SIZE, PATCH, 3)
    return level(made, SIZE, places, torch.tensor([number_of(made, tuple(place)) for place in places.tolist()]))


def stylized(*levels: Any) -> Any:
    return SparseStylized(
        image=picture(*SIZE).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3),
        facts={"method": "sparse", "seed": 3},
        layers=list(levels),
    )


def test_a_report_holds_all_pictures_and_says_what_was_copied(tmp_path: Path) -> None:
    style = picture(*SIZE)
    warnings = write_report(tmp_path / "new" / "report", stylized(whole_copy(style), whole_copy(style)), style, style)
    assert len(warnings) == 1
    assert "100%" in warnings[0]
    folder = tmp_path / "new" / "report"
    note = json.loads((folder / "report.json").read_text())
    assert note["warnings"] == warnings
    assert note["facts"] == {"method": "sparse", "seed": 3}
    assert [each["copied"]["share"] for each in note["levels"]] == [1, 1]
    assert note["levels"][0]["copied"]["largest"][0]["box"] == [0, 0, *SIZE]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*note["files"], "report.json"])
    assert len(note["files"]) == 1 + 4 + 2 * 4
    for name in note["files"]:
        if name.endswith(".png"):
            assert read_image(folder / name).pixels.size > 0
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4 + 2 * 4
    assert warnings[0].split(":")[0] in page
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report"]


def test_a_report_is_written_again_and_keeps_what_people_put_there(tmp_path: Path) -> None:
    style = picture(*SIZE)
    write_report(tmp_path / "r", stylized(whole_copy(style), whole_copy(style)), style, style)
    (tmp_path / "r" / "mine.txt").write_text("mine")
    write_report(tmp_path / "r", stylized(whole_copy(style)), style, style)
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {*json.loads((tmp_path / "r" / "report.json").read_text())["files"], "report.json", "mine.txt"}
    assert not any("-02-" in name for name in names)


def test_an_empty_folder_is_taken_and_others_are_refused(tmp_path: Path) -> None:
    style = picture(*SIZE)
    (tmp_path / "empty").mkdir()
    write_report(tmp_path / "empty", stylized(whole_copy(style)), style, style)
    assert (tmp_path / "empty" / "report.json").exists()
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "report.json").write_text('{"kind": "another"}')
    with pytest.raises(UserError, match="holds other files than a report"):
        write_report(photos, stylized(whole_copy(style)), style, style)
    assert [path.name for path in photos.iterdir()] == ["report.json"]
    with pytest.raises(UserError, match="is a file"):
        check_report_folder(photos / "report.json")
    check_report_folder(tmp_path / "nothing")


def test_a_report_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sparse_report, "write_page", full)
    style = picture(*SIZE)
    with pytest.raises(UserError, match=r"cannot write the report .*No space left"):
        write_report(tmp_path / "r", stylized(whole_copy(style)), style, style)
    assert not list(tmp_path.iterdir())


def test_a_code_that_copies_the_whole_picture_has_its_keys_colours() -> None:
    style = picture(*SIZE)
    shade = np.ones(SIZE)
    found = correspondence(sources_of(whole_copy(style)), SIZE, shade)
    white = np.full((*SIZE, 3), 255, np.uint8)
    assert np.abs(found.astype(int) - key_of(white)).max() <= 1
    assert np.abs(found[0, 0].astype(int) - CORNERS[0, 0]).max() <= 1


def test_places_without_a_code_are_grey() -> None:
    made, places = dictionary(picture(*SIZE), PATCH), grid(SIZE, PATCH, 3)
    found = correspondence(sources_of(level(made, SIZE, places, torch.full((len(places),), -1))), SIZE, np.ones(SIZE))
    assert (found == 128).all()


def test_sparsity_counts_atoms_and_their_weights() -> None:
    made, places = dictionary(picture(9, 9), PATCH), torch.tensor([[0, 0], [0, 2], [2, 0], [2, 2]])
    atoms = torch.tensor([[3, 8, -1], [4, -1, -1], [-1, -1, -1], [3, 6, 7]])
    weights = torch.tensor([[1.0, 3.0, 5.0], [2.0, 9.0, 0.0], [0.0, 0.0, 0.0], [6.0, 1.0, 0.0]])
    told = sparsity(level(made, (7, 7), places, atoms, weights))
    assert told["patches"] == [1, 1, 2, 0]
    assert told["coefficients"] == [3.0, 2.0, 0.0]
    assert told["atoms_used"] == 4
    assert told["atoms"] == 25


def test_the_atoms_most_used_come_first_and_look_as_they_did_in_the_picture() -> None:
    style = picture(9, 9)
    made, places = dictionary(style, PATCH), torch.tensor([[0, 0], [0, 2], [2, 0], [2, 2]])
    atoms = torch.tensor([[3, 8], [8, -1], [3, 8], [2, -1]])
    weights = torch.tensor([[1.0, 3.0], [2.0, 9.0], [2.0, 1.0], [1.0, 0.0]])
    order, shares = most_used(level(made, (7, 7), places, atoms, weights))
    assert order.tolist() == [8, 3, 2]
    assert shares.tolist() == pytest.approx([0.6, 0.3, 0.1])
    top, left = made.places[8].tolist()
    expected = (style[0, :, top : top + PATCH, left : left + PATCH].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(atoms_as_patches(made, order)[0] - expected.numpy()).max() <= 0.51

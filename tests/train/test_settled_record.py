"""What the machine decided of a config is kept with the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ganstyle.base.errors import UserError
from ganstyle.train.run_folder import Record, RunFolder
from tests.train.test_run_folder import begun, record

SPEC = {"name": "several", "members": [{"name": "patch", "width": 3, "weight": 0.5}]}


def test_what_was_settled_is_read_back(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert folder.record() == record()
    kept = replace(record(), settled={"discriminator": SPEC})
    folder.write_record(kept)
    found = RunFolder(tmp_path).record()
    assert isinstance(found, Record)
    assert found == kept


def test_a_record_from_before_is_read(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    values = json.loads(folder.record_file.read_text())
    del values["settled"]
    folder.record_file.write_text(json.dumps(values))
    assert folder.record() == record()


@pytest.mark.parametrize("value", [5, None, [], "", {"discriminator": 3}, {"discriminator": {}}, {"discriminator": []}])
def test_another_thing_is_damage(tmp_path: Path, value: object) -> None:
    folder = begun(tmp_path)
    folder.record_file.write_text(json.dumps(json.loads(folder.record_file.read_text()) | {"settled": value}))
    with pytest.raises(UserError, match="damaged; delete it to decide anew"):
        folder.record()

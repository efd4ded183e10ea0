from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from ganstyle.base.errors import UserError
from ganstyle.translate import store as module
from ganstyle.translate.store import Store, imagined, in_memory, on_disk


def test_room_of_the_same_size_is_used_again() -> None:
    store = Store(in_memory)
    first = store.take(2, 3, 4)
    store.give_back(first)
    second = store.take(4, 3, 2)
    assert second.data_ptr() == first.data_ptr()
    assert second.shape == (4, 3, 2)
    assert store.peak_bytes == 24 * 4
    assert store.take(2, 3, 4).data_ptr() != first.data_ptr()
    assert store.peak_bytes == 2 * 24 * 4


def test_spare_room_never_counts_beside_new_room_of_another_size() -> None:
    store = Store(imagined)
    store.give_back(store.take(100, 1, 1))
    store.take(70, 1, 1)
    assert store.peak_bytes == 400
    assert store.bytes == 280
    assert store.spare == []


def test_room_on_disk_holds_values_and_leaves_no_trace(tmp_path: Path) -> None:
    room = on_disk(tmp_path)(1000)
    values = torch.rand(1000)
    room.copy_(values)
    assert torch.equal(room, values)
    assert room.dtype == torch.float32
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot keep 0.0 GB in .*absent: No such file .*; choose another folder"):
        on_disk(tmp_path / "absent")(10)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_reserve", full)
    with pytest.raises(UserError, match=r"No space left on device; choose another folder"):
        on_disk(tmp_path)(10)
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_memory_holds() -> None:
    with pytest.raises(UserError, match=r"cannot keep 4000000000.0 GB in memory: make the image smaller"):
        in_memory(10**18)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_all_blocks_are_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(module.sys, "platform", platform)
    size = len(module.ZEROS) + 4096
    with (tmp_path / "file").open("w+b") as file:
        module._reserve(file, size)
        status = (tmp_path / "file").stat()
    assert status.st_size == size
    assert status.st_blocks * 512 >= size

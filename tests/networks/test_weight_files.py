from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from ganstyle.base.errors import UserError
from ganstyle.networks.weight_files import read_weights, weights_digest

WEIGHTS = {"one.weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(4)}


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("wrap", [dict, OrderedDict, lambda weights: {"epoch": 5, "model": weights}])
@pytest.mark.parametrize("new", [True, False])
def test_tensors_come_back_from_each_kind_of_file(tmp_path: Path, wrap: Any, new: bool) -> None:
    read = read_weights(saved(tmp_path / "w.pth", wrap(WEIGHTS), _use_new_zipfile_serialization=new))
    assert list(read) == list(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert torch.equal(read[name], tensor)


class Attack:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    path, mark = saved(tmp_path / "w.pth", {"a": Attack(tmp_path / "mark")}), tmp_path / "mark"
    with pytest.raises(UserError, match=r"w\.pth: holds code .* which was not run"):
        read_weights(path)
    assert not mark.exists()


def test_other_files_are_told_in_one_line(tmp_path: Path) -> None:
    damaged, empty = tmp_path / "damaged.pth", tmp_path / "empty.pth"
    whole = saved(tmp_path / "whole.pth", WEIGHTS).read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    empty.write_bytes(b"")
    broken = {"fine": torch.zeros(2), "bad.bias": torch.tensor([0.0, float("nan")])}
    cases = {
        tmp_path / "missing.pth": "there is no file of weights at .*missing.pth",
        tmp_path: "there is no file of weights",
        damaged: "damaged.pth: not a model that can be read",
        empty: "empty.pth: not a model that can be read",
        saved(tmp_path / "list.pth", [1, 2]): "list.pth: expected named tensors",
        saved(tmp_path / "numbers.pth", {"a": 1}): "numbers.pth: expected named tensors",
        saved(tmp_path / "sparse.pth", {"a": torch.eye(2).to_sparse()}): "sparse.pth: a holds no plain values",
        saved(tmp_path / "meta.pth", {"a": torch.zeros(2, device="meta")}): "meta.pth: a holds no plain values",
        saved(tmp_path / "nan.pth", broken): "nan.pth: bad.bias holds NaN or infinity",
    }
    for path, words in cases.items():
        with pytest.raises(UserError, match=words) as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_the_digest_is_of_names_shapes_and_values_in_any_order() -> None:
    digest = weights_digest(WEIGHTS.items())
    assert digest == weights_digest(reversed(WEIGHTS.items()))
    changed = [
        {**WEIGHTS, "count": torch.tensor(5)},
        {**WEIGHTS, "one.weight": WEIGHTS["one.weight"].T},
        {**WEIGHTS, "one.weight": WEIGHTS["one.weight"].reshape(3, 2)},
        {"two.weight": WEIGHTS["one.weight"], "count": WEIGHTS["count"]},
        {"count": WEIGHTS["count"]},
    ]
    assert len({digest, *(weights_digest(each.items()) for each in changed)}) == len(changed) + 1

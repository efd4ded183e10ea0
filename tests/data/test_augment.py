from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganstyle.base.errors import UserError
from ganstyle.data import augment
from ganstyle.data.augment import build_augment, check_augment

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
RANDOM: list[dict[str, Any]] = [
    {"name": "ColorJitter", "p": 0.8},
    {"name": "OneOf", "transforms": [{"name": "GaussianBlur", "p": 1}, {"name": "HorizontalFlip", "p": 1}], "p": 0.7},
    {"name": "Affine", "rotate": [-20, 20], "p": 0.5},
    {"name": "GaussNoise", "p": 0.5},
]


def test_no_pipeline() -> None:
    assert build_augment([]) is None
    assert check_augment([]) == []


def test_the_same_seed_gives_the_same_image() -> None:
    pipeline, another = build_augment(RANDOM), build_augment(RANDOM)
    assert pipeline is not None
    assert another is not None
    results = [pipeline(IMAGE, seed) for seed in range(12)]
    assert len({result.tobytes() for result in results}) > 6
    for seed in reversed(range(12)):
        assert np.array_equal(another(IMAGE, seed), results[seed])
    travelled = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(travelled(IMAGE, 2**62 + 1), pipeline(IMAGE, 2**62 + 1))
    assert all(result.dtype == np.uint8 for result in results)


def test_transforms_are_drawn_each_on_its_own() -> None:
    pipeline = build_augment([{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}])
    assert pipeline is not None
    ways = [IMAGE, IMAGE[:, ::-1], IMAGE[::-1], IMAGE[::-1, ::-1]]
    names = {way.tobytes(): number for number, way in enumerate(ways)}
    count = 400
    seen = Counter(names[pipeline(IMAGE, seed).tobytes()] for seed in range(count))
    assert len(seen) == 4
    deviation = (count * 0.25 * 0.75) ** 0.5
    assert all(abs(number - count / 4) < 5 * deviation for number in seen.values()), seen


def test_global_random_state_is_neither_used_nor_touched() -> None:
    pipeline = build_augment(RANDOM)
    assert pipeline is not None

    def state() -> tuple[Any, bytes]:
        return random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index,union-attr]

    before, result = state(), pipeline(IMAGE, 3)
    assert state() == before
    random.random()
    np.random.random()
    assert np.array_equal(pipeline(IMAGE, 3), result)


def test_the_image_itself_is_left_alone() -> None:
    pipeline = build_augment(RANDOM)
    assert pipeline is not None
    copy = IMAGE.copy()
    pipeline(copy, 1)
    assert np.array_equal(copy, IMAGE)


def test_what_a_transform_does_is_what_is_asked_for() -> None:
    nested = {
        "name": "OneOf",
        "transforms": [{"name": "Sequential", "transforms": [{"name": "Transpose", "p": 1}]}],
        "p": 1,
    }
    pipeline = build_augment([nested])
    assert pipeline is not None
    assert np.array_equal(pipeline(IMAGE, 0), IMAGE.swapaxes(0, 1))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("HorizontalFlip", "data.augment.0: got 'HorizontalFlip', expected a transform such as {name: "),
        (None, "data.augment.0: got None, expected a transform"),
        ({}, "data.augment.0: got {}, expected a transform"),
        ({"p": 1}, "data.augment.0: got {'p': 1}, expected a transform"),
        ({"name": ["x"]}, "data.augment.0: got {'name': ['x']}, expected a transform"),
        ({"name": "ColorJiter"}, "data.augment.0.name: unknown transform 'ColorJiter': did you mean 'ColorJitter'?"),
        ({"name": "clahe"}, "data.augment.0.name: unknown transform 'clahe': did you mean 'CLAHE'?"),
        ({"name": "Qqqq"}, "data.augment.0.name: unknown transform 'Qqqq', expected one of albumentations"),
        ({"name": "ColorJitter", "bright": 1}, "data.augment.0.bright: unknown key of 'ColorJitter': did you mean"),
        ({"name": "HorizontalFlip", 1: 2}, "data.augment.0.1: unknown key of 'HorizontalFlip', expected one of: p"),
        ({"name": "HorizontalFlip", "p": 1.5}, "data.augment.0.p: got 1.5, expected at most 1"),
        ({"name": "HorizontalFlip", "p": -0.1}, "data.augment.0.p: got -0.1, expected at least 0"),
        ({"name": "HorizontalFlip", "p": "half"}, "data.augment.0.p: got 'half', expected a number"),
        ({"name": "HorizontalFlip", "p": float("nan")}, "data.augment.0.p: got nan"),
        ({"name": "OneOf", "p": 2, "transforms": [{"name": "Transpose"}]}, "data.augment.0.p: got 2, expected"),
        ({"name": "OneOf"}, "data.augment.0: 'OneOf' cannot be built"),
        ({"name": "OneOf", "transforms": []}, "data.augment.0.transforms: got [], expected a list of transforms"),
        ({"name": "OneOf", "transforms": {"name": "Transpose"}}, "data.augment.0.transforms: got {'name':"),
        ({"name": "OneOf", "transforms": ["x"]}, "data.augment.0.transforms.0: got 'x', expected a transform"),
        ({"name": "OneOf", "transforms": [{"name": "Transpose", "p": 0}]}, "data.augment.0: 'OneOf' cannot be built"),
        ({"name": "GaussNoise", "std_range": [0.5, 3]}, "data.augment.0.std_range: got [0.5, 3]"),
        ({"name": "ShiftScaleRotate"}, "'ShiftScaleRotate' cannot be built: ShiftScaleRotate is a special case"),
    ],
)  # fmt: skip
def test_each_mistake_says_where_and_what(spec: Any, line: str) -> None:
    (found,) = check_augment([spec])
    assert line in found
    assert "\n" not in found
    assert len(found) < 250
    with pytest.raises(UserError) as caught:
        build_augment([spec])
    assert str(caught.value) == found


def test_missing_parameters_are_named() -> None:
    assert check_augment([{"name": "RandomCrop"}]) == [
        "data.augment.0.height: missing",
        "data.augment.0.width: missing",
    ]


def test_all_mistakes_at_once_also_inside() -> None:
    inner = [{"name": "Transpose"}, {"name": "Fog"}, {"name": "ColorJitter", "hoe": 1}]
    found = check_augment([{"name": "Nope"}, {"name": "OneOf", "transforms": inner, "q": 1}], path="x")
    assert [line.split(":")[0] for line in found] == [
        "x.0.name",
        "x.1.q",
        "x.1.transforms.1.name",
        "x.1.transforms.2.hoe",
    ]


def test_what_only_shows_with_an_image_is_one_line() -> None:
    pipeline = build_augment([{"name": "Crop", "x_max": 500, "y_max": 500}])
    assert pipeline is not None
    with pytest.raises(UserError, match=r"^data\.augment: [^\n]+$"):
        pipeline(IMAGE, 0)


def test_no_request_is_made_when_it_is_imported() -> None:
    code = (
        "import socket, urllib.request\n"
        "def refuse(*args, **options): raise SystemExit('a request was made')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = urllib.request.urlopen = refuse\n"
        "from ganstyle.data.augment import build_augment\n"
        "assert build_augment([{'name': 'Transpose', 'p': 1}]) is not None\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    root = Path(augment.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert b"request" not in result.stderr

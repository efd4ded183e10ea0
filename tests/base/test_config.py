from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganstyle.assemble import check_config
from ganstyle.base.config import (
    config_mistakes,
    differing_keys,
    flatten,
    load_config,
    merge,
    parse_config,
    parse_words,
    read_yaml,
    write_yaml,
)
from ganstyle.base.errors import UserError
from ganstyle.base.recipes import recipe_names, share_folder

GOOD: dict[str, Any] = {"training": {"steps": 10}}


def mistakes(**sections: Any) -> list[str]:
    return config_mistakes(merge(GOOD, sections))


# What is checked


def test_the_smallest_config_takes_every_default() -> None:
    config = parse_config(GOOD)
    assert (config.name, config.seed, config.data.crop_px, config.training.steps) == ("run", 0, 256, 10)
    assert config.tracking.wandb.mode == "disabled"


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"modle": 3}, "modle: unknown key: did you mean 'method'? (name, seed,"),
        ({"1": 2}, "1: unknown key, expected one of: name, seed,"),
        ({"data": {"lod_px": 3}}, "data.lod_px: unknown key: did you mean 'load_px'? (a, b,"),
        ({"data": {"1": 3}}, "data.1: unknown key, expected one of: a, b,"),
        ({"tracking": {"wandb": {"tag": []}}}, "tracking.wandb.tag: unknown key: did you mean 'tags'? (mode,"),
        ({"seed": -1}, "seed: got -1, expected at least 0"),
        ({"seed": 2**63}, "seed: got 9223372036854775808, expected less than 9223372036854775808"),
        ({"seed": "x"}, "seed: got 'x', expected a whole number"),
        ({"seed": 1.5}, "seed: got 1.5, expected a whole number"),
        ({"seed": True}, "seed: got True, expected a whole number"),
        ({"seed": float("inf")}, "seed: got inf, expected a whole number"),
        ({"device": "gpu"}, "device: got 'gpu': expected auto, cpu, cuda, mps or cuda:N"),
        ({"device": 0}, "device: got 0, expected text"),
        ({"name": "a/b"}, "name: got 'a/b': expected a plain folder name"),
        ({"name": ".."}, "name: got '..': expected a plain folder name"),
        ({"name": ""}, "name: got '': expected a plain folder name"),
        ({"name": "x" * 101}, "expected a plain folder name"),
        ({"name": None}, "name: got None, expected text"),
        ({"data": None}, "data: got None, expected keys and values"),
        ({"data": [1]}, "data: got [1], expected keys and values"),
        ({"method": "cyclegan"}, "method: got 'cyclegan', expected keys and values"),
        ({"data": {"a": [3, {"x": 1}]}}, "data.a.1: got {'x': 1}, expected text"),
        ({"data": {"root": ["x"]}}, "data.root: got ['x'], expected text"),
        ({"data": {"holdout": 0.6}}, "data.holdout: got 0.6, expected at most 0.5"),
        ({"data": {"cache": "yes"}}, "data.cache: got 'yes', expected true or false"),
        ({"data": {"resize": "squar"}}, "data.resize: got 'squar': did you mean 'square'? (square, short_side)"),
        ({"data": {"background": [1, 2]}}, "data.background: got [1, 2], expected at least 3 of them"),
        ({"data": {"background": [1, 2, 3, 4]}}, "expected at most 3 of them"),
        ({"data": {"background": [1, 2, 256]}}, "data.background.2: got 256, expected at most 255"),
        ({"data": {"augment": {"name": "x"}}}, "data.augment: got {'name': 'x'}, expected a list"),
        ({"data": {"augment": ["x"]}}, "data.augment.0: got 'x', expected keys and values"),
        ({"training": {"steps": 0}}, "training.steps: got 0, expected at least 1"),
        ({"training": {"steps": "8"}}, "training.steps: got '8', expected a whole number"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate: got 0, expected more than 0"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: got nan, expected a finite number"),
        ({"training": {"ema_decay": 1}}, "training.ema_decay: got 1, expected less than 1"),
        ({"training": {"precision": "half"}}, "training.precision: got 'half', expected one of: auto, float32, bfl"),
        ({"training": {"compile": "maybe"}}, "training.compile: got 'maybe', expected one of: auto, True, False"),
        ({"training": {"keep_checkpoints": 0}}, "training.keep_checkpoints: got 0, expected at least 1"),
        ({"tracking": {"wandb": {"mode": "offlin"}}}, "tracking.wandb.mode: got 'offlin': did you mean 'offline'?"),
        ({"tracking": {"wandb": False}}, "tracking.wandb: got False, expected keys and values"),
        ({"data": {"load_px": 100, "crop_px": 128}}, "data.load_px: got 100, expected at least data.crop_px (128)"),
        ({"data": {"load_px": 1e2, "crop_px": 128}}, "data.load_px: got 100, expected at least data.crop_px (128)"),
        ({"data": {"crop_px": 300}}, "data.load_px: got 286, expected at least data.crop_px (300)"),
        ({"data": {"root": "x", "b": "y"}}, "data.root: stands for the folders trainA and trainB"),
        ({"training": {"steps": None}}, "training.steps: nothing given; give one of steps and epochs"),
        ({"training": {"steps": 3, "epochs": 2}}, "training.steps: steps and epochs given; give one of"),
        ({"training": {"decay_from": 1, "decay_from_epoch": 1}}, "training.decay_from_epoch: stands in place of"),
        ({"training": {"cuda_graphs": True, "compile": False}}, "training.cuda_graphs: graphs are made of compiled"),
        ({"training": {"cuda_graphs": True, "accumulate": 2}}, "training.cuda_graphs: does not go with training.acc"),
        ({"training": {"recompute": 1}}, "training.recompute: got 1, expected true or false"),
    ],
)
def test_each_mistake_says_where_what_and_what_is_allowed(sections: dict[str, Any], line: str) -> None:
    (found,) = mistakes(**sections)
    assert line in found
    assert "\n" not in found


def test_all_mistakes_at_once() -> None:
    values = {
        "sead": 1,
        "device": "gpu",
        "data": {"a": 1.5, "crop_px": "x", "workers": -1, "root": "r"},
        "training": {"steps": 3, "epochs": 4, "learning_rate": 2},
        "tracking": {"wandb": {"mode": "x"}},
    }
    expected = {"sead", "device", "data.a.0", "data.crop_px", "data.workers", "data.root"}
    expected |= {"training.steps", "training.learning_rate", "tracking.wandb.mode"}
    assert {line.split(":")[0] for line in config_mistakes(values)} == expected
    with pytest.raises(UserError) as caught:
        parse_config(values)
    first, *lines = str(caught.value).splitlines()
    assert first == "the config has 9 mistakes:"
    assert [line.strip() for line in lines] == config_mistakes(values)


def test_specs_and_fixed_keys_add_to_one_list() -> None:
    values = {"seed": -1, "generator": {"name": "resnt"}, "data": {"augment": [{"name": "Flipp"}]}, **GOOD}
    with pytest.raises(UserError) as caught:
        check_config(values)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "seed",
        "generator.name",
        "data.augment.0.name",
    ]


def test_one_mistake_is_one() -> None:
    with pytest.raises(UserError, match=r"^the config has one mistake:\n  seed: got -1"):
        parse_config({**GOOD, "seed": -1})


def test_what_is_meant_is_taken() -> None:
    values = {
        "name": 2024,
        "data": {"a": "one", "b": ["two", 3], "load_px": 3e2},
        "training": {"steps": 1e5, "precision": "bf16", "ema_decay": 0, "compile": True},
    }
    config = parse_config(values)
    assert config.name == "2024"
    assert (config.data.a, config.data.b, config.data.load_px) == (["one"], ["two", "3"], 300)
    assert (config.training.steps, config.training.precision, config.training.compile) == (100000, "bfloat16", True)
    assert isinstance(config.training.steps, int)


def test_every_recipe_is_right_once_it_has_data() -> None:
    names = recipe_names()
    assert len(names) >= 3
    for name in names:
        values = load_config(name, ["data.a=x", "data.b=y"])
        found = config_mistakes(values)
        assert found == [], name
        assert check_config(values).name == name
        assert read_yaml(share_folder("configs") / f"{name}.yaml")["name"] == name


def test_the_papers_recipe_is_the_papers() -> None:
    config = check_config(load_config("cyclegan"))
    assert config.generator == {
        "name": "resnet",
        "width": 64,
        "blocks": 9,
        "norm": "instance",
        "upsample": "transposed",
        "dropout": 0,
    }
    assert (config.training.epochs, config.training.decay_from_epoch, config.training.ema_decay) == (200, 100, 0)
    assert (config.training.learning_rate, config.training.batch_size) == (2e-4, 1)
    assert (config.data.load_px, config.data.crop_px, config.data.resize) == (286, 256, "square")


def test_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes((share_folder("configs") / "demo.yaml").read_bytes().replace(b"name: demo\n", b""))
    by_path = load_config(str(path), ["seed=3"])
    by_name = load_config("demo", ["seed=3"])
    assert by_path == {**by_name, "name": "mine"}


# Merging


def test_words_change_only_their_key() -> None:
    values = load_config("cyclegan", ["data.crop_px=64", "generator.width=8"])
    plain = load_config("cyclegan")
    assert differing_keys(plain, values) == {"data.crop_px": (256, 64), "generator.width": (64, 8)}


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"epochs": 2, "decay_from_epoch": 1, "seed": 3}, {"steps": 5}, {"steps": 5, "seed": 3}),
        ({"steps": 9, "decay_from": 4}, {"steps": 5}, {"steps": 5}),
        ({"steps": 9, "decay_from": 4}, {"epochs": 5}, {"epochs": 5}),
        ({"steps": 9, "decay_from": 4}, {"steps": 5, "decay_from": 2}, {"steps": 5, "decay_from": 2}),
        ({"steps": 9, "decay_from": 4}, {"decay_from_epoch": 2}, {"steps": 9, "decay_from_epoch": 2}),
        ({"epochs": 9, "decay_from_epoch": 4}, {"decay_from": 2}, {"epochs": 9, "decay_from": 2}),
        ({"steps": 9, "decay_from": 4}, {"batch_size": 2}, {"steps": 9, "decay_from": 4, "batch_size": 2}),
    ],
)
def test_a_new_length_drops_the_old_one_and_its_decay(below: dict, above: dict, merged: dict) -> None:
    assert merge({"training": below}, {"training": above}) == {"training": merged}


@pytest.mark.parametrize("section", ["method", "generator", "discriminator"])
def test_another_name_drops_the_old_parameters(section: str) -> None:
    below = {section: {"name": "resnet", "width": 64}}
    assert merge(below, {section: {"name": "unet"}}) == {section: {"name": "unet"}}
    assert merge(below, {section: {"name": "unet", "depth": 3}}) == {section: {"name": "unet", "depth": 3}}
    assert merge(below, {section: {"name": "resnet", "blocks": 6}}) == {section: {**below[section], "blocks": 6}}
    assert merge(below, {section: {"blocks": 6}}) == {section: {**below[section], "blocks": 6}}


def test_words_reach_into_a_list_by_numbers() -> None:
    members = [{"name": "patch", "width": 32}, {"name": "features", "weight": 1}]
    below = {"discriminator": {"name": "several", "members": members}}
    words = ["discriminator.members.0.width=8", "discriminator.members.1={name: pixel}"]
    changed = [{"name": "patch", "width": 8}, {"name": "pixel"}]
    assert merge(below, parse_words(words)) == {"discriminator": {"name": "several", "members": changed}}
    assert members == [{"name": "patch", "width": 32}, {"name": "features", "weight": 1}]
    with pytest.raises(UserError, match=r"members\.2: members has 2 items, the first is 0"):
        merge(below, parse_words(["discriminator.members.2.width=8"]))


def test_a_run_of_another_name_in_wandb_is_still_tracked() -> None:
    below = {"tracking": {"wandb": {"mode": "online", "name": "first", "project": "ink"}}}
    merged = merge(below, parse_words(["tracking.wandb.name=second"]))
    assert merged == {"tracking": {"wandb": {"mode": "online", "name": "second", "project": "ink"}}}


def test_lists_and_single_values_are_replaced_whole_and_nothing_given_is_changed() -> None:
    below = {"data": {"a": ["x", "y"], "b": "z"}, "seed": 1}
    assert merge(below, {"data": {"a": ["w"]}, "seed": None}) == {"data": {"a": ["w"], "b": "z"}, "seed": None}
    assert merge(below, {"data": 3}) == {"data": 3, "seed": 1}
    assert below == {"data": {"a": ["x", "y"], "b": "z"}, "seed": 1}


# key=value words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-3", -3),
        ("2e-4", 2e-4),
        ("1e5", 1e5),
        ("0.5", 0.5),
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("[photos, my paintings]", ["photos", "my paintings"]),
        ("[1, 2e-4]", [1, 2e-4]),
        ("{name: resnet, 1: 2}", {"name": "resnet", "1": 2}),
        ("[{name: ColorJitter, p: 0.5}]", [{"name": "ColorJitter", "p": 0.5}]),
        ("'2024'", "2024"),
        ('"null"', "null"),
        # A folder's name is what it is.
        ("my photos", "my photos"),
        ("photos #1", "photos #1"),
        ("2024 #1", "2024 #1"),
        ("2024 photos", "2024 photos"),
        ("#1", "#1"),
        ("a: b", "a: b"),
        ("C:", "C:"),
        ("C:\\Users\\me", "C:\\Users\\me"),
        ("\\\\server\\share\\", "\\\\server\\share\\"),
        ("a=b=c", "a=b=c"),
        ("müde 写真", "müde 写真"),
        ("[2024] photos", "[2024] photos"),
        ("[half", "[half"),
        ("don't", "don't"),
        ("&x", "&x"),
        ("*x", "*x"),
        ("!x", "!x"),
        ("|", "|"),
        ("- a", "- a"),
        ("%a", "%a"),
        ("@a", "@a"),
        ("007", "007"),
        ("2024_01_31", "2024_01_31"),
        ("2024-01-31", "2024-01-31"),
        ("12:30:45", "12:30:45"),
        ("${nothing}", "${nothing}"),
        ("${", "${"),
        (" ", None),
    ],
)
def test_values_of_words(text: str, value: Any) -> None:
    assert parse_words([f"data.a={text}"]) == {"data": {"a": value}}
    assert type(parse_words([f"a={text}"])["a"]) is type(value)


def test_the_environment_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/some/where #1")
    path = tmp_path / "a.yaml"
    path.write_text("data: {a: '${oc.env:WHERE}/a', b: '\\${oc.env:WHERE}'}\nname: ${data.a}\n", encoding="utf-8")
    filled = {"data": {"a": "/some/where #1/a", "b": "${oc.env:WHERE}"}, "name": "/some/where #1/a"}
    assert read_yaml(path) == filled
    assert parse_words(["data.a=${oc.env:WHERE}/my: photos"]) == {"data": {"a": "/some/where #1/my: photos"}}


def test_words_go_together_and_the_last_wins() -> None:
    words = ["data.a=x", "seed=1", "data.b=y", "seed=2", "tracking.wandb.mode=offline"]
    expected = {"data": {"a": "x", "b": "y"}, "seed": 2, "tracking": {"wandb": {"mode": "offline"}}}
    assert parse_words(words) == expected


@pytest.mark.parametrize("word", ["photos", "--seed", "=3", ".=3", "a..b=3", "a.=3", "my seed=3", "a-b=3", "", "[a]=3"])
def test_words_that_are_not_key_and_value(word: str) -> None:
    with pytest.raises(UserError, match=r"is not key=value: expected a word such as training\.steps=2000") as caught:
        parse_words([word])
    assert str(caught.value).startswith(f"'{word}'")


def test_a_key_inside_of_a_value() -> None:
    with pytest.raises(UserError, match=r"'seed\.x=3': seed was given a value already"):
        parse_words(["seed=1", "seed.x=3"])
    found = config_mistakes(load_config("demo", ["training.steps.x=3"]))
    assert found == ["training.steps: got {'x': 3}, expected a whole number"]


# YAML files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:\n\ta: 1\n", "line 2: found character '\\t'"),
        ("seed: 1\nseed: 2\n", "line 2: found duplicate key seed"),
        ("data: {a: 1, b: {c: 1, c: 2}}\n", "found duplicate key c"),
        ("a: [1, 2\nb: 3\n", "line 2: "),
        ("a: ${nope}\n", "nope"),
        ("a: ${b}\nb: ${a}\n", "ecursive interpolation"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("[1, 2]: 3\n", "line 1: found unhashable key"),
        ("a: &a [*a]\n", "recursive"),
        ("a: &a {b: *a}\n", "recursive"),
        ("a: " + "9" * 5000, "digits"),
        ("hello\n", "expected keys and values, got a single value"),
        ("- a\n- b\n", "expected keys and values, got a list"),
        ("5\n", "expected keys and values, got a single value"),
    ],
)
def test_files_that_are_not_a_config(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    for path, reason in [
        (picture, "utf-8"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "gone.yaml", "cannot be read: No such file or directory"),
    ]:
        with pytest.raises(UserError) as caught:
            read_yaml(path)
        assert reason in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb(), "a: " + "[" * 100_000, "a: " + "{b: " * 100_000], ids=["aliases", "[", "{"])
def test_bombs_end_soon_with_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(UserError, match="not a YAML file that can be used"):
        read_yaml(path)
    assert time.monotonic() - began < 20
    value = text.removeprefix("a: ")
    assert parse_words([f"a={value}"]) == {"a": value}


def test_harmless_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(
        b"\xef\xbb\xbf# from an editor that marks UTF-8\r\ndata: {1: x, 2.5: y}\r\nrate: 2e-4\r\n3: 1e5\r\n"
    )
    assert read_yaml(path) == {"data": {"1": "x", "2.5": "y"}, "rate": 2e-4, "3": 1e5}
    path.write_text("", encoding="utf-8")
    assert read_yaml(path) == {}
    path.write_text("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


ODD = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="$\\{}'\" a:#\n[]&*!|>%@`-?,", max_size=10),
    st.sampled_from(
        ["${", "${a}", "\\${x}", "a\\${", "???", "2e-4", "1e5", "007", "no", "~", "null", "", "1_000", "\x85"]
    ),
)
VALUES = st.recursive(
    st.one_of(ODD, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, database=None)
@given(values=st.dictionaries(ODD, VALUES, max_size=3))
def test_what_is_written_is_read_back(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(write_yaml(values), encoding="utf-8", newline="")
    assert read_yaml(path) == values


def test_a_merged_recipe_is_read_back(tmp_path: Path) -> None:
    values = load_config("cyclegan", ["data.a=${nothing} #1", "name='1e5'", "data.b=[x, 'y: z', '\\${q}']"])
    path = tmp_path / "config.yaml"
    path.write_text(write_yaml(values), encoding="utf-8")
    assert read_yaml(path) == values
    assert list(read_yaml(path)) == list(values)


def test_a_name_that_is_not_utf_8() -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        write_yaml({"data": {"a": b"caf\xe9".decode("utf-8", "surrogateescape")}})


# Comparing


def test_flatten_and_differing_keys() -> None:
    old = {"a": {"b": 1, "c": [1, 2], "d": {}}, "e": 2}
    assert flatten(old) == {"a.b": 1, "a.c": [1, 2], "a.d": {}, "e": 2}
    assert differing_keys(old, old) == {}
    new = {"a": {"b": 1, "c": [2, 1], "d": {}}, "f": None}
    assert differing_keys(old, new) == {"a.c": ([1, 2], [2, 1]), "e": (2, None)}

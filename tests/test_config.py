"""Recipes: what is read, what is refused and how, and that writing and reading are inverses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from modeledge.config import Settings, load_config, load_values, to_toml
from modeledge.config.check import CODE_KEYS
from modeledge.errors import ModeledgeError
from modeledge.recipes.recipe import PretrainRecipe


class Adam(Settings):
    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    clip: float | None = 1.0


class Sgd(Settings):
    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.9


class Train(Settings):
    steps: int = Field(default=100, ge=1)
    warmup: int = Field(default=0, ge=0)
    optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    clip: float | None = 1.0
    patience: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        if self.warmup > self.steps:
            raise ValueError(f"warmup {self.warmup} is longer than steps {self.steps}")
        return self


class Stage(Settings):
    kind: str
    share: float = 1.0
    options: dict[str, Any] = Field(default_factory=dict)
    train: Train = Train(steps=3, patience=2)


class Recipe(Settings):
    name: str = "run"
    seed: int = 0
    fast: bool = False
    start: str | None = None
    preset: str | None = "small"
    paths: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    sizes: dict[str, int] = Field(default_factory=dict)
    named: dict[str, Stage] = Field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    filters: dict[str, Any] = Field(default_factory=dict)
    train: Train = Train(steps=50, optimizer=Adam(learning_rate=0.5), patience=7)
    gaps: tuple[int | None, ...] = ()


def written(folder: Path, text: str | bytes, name: str = "r.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(code: str, *args: Any, **kwargs: Any) -> str:
    """The message of the error that loading must end in."""
    with pytest.raises(ModeledgeError) as caught:
        load_config(Recipe, *args, **kwargs)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# ---- reading


def test_layers_go_over_one_another(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "file"\nseed = 1\n[train]\nsteps = 10\nwarmup = 1\n')
    got = load_config(Recipe, path, ["seed=3", "train.warmup=4"], {"seed": 2, "train": {"steps": 20}})
    assert (got.name, got.seed, got.train.steps, got.train.warmup) == ("file", 3, 20, 4)


def test_a_table_keeps_the_defaults_of_its_field() -> None:
    """`train.warmup=1` must not bring back the class's own 100 steps where the recipe says 50."""
    got = load_config(Recipe, None, ["train.warmup=1"])
    assert got.train == Train(steps=50, warmup=1, optimizer=Adam(learning_rate=0.5), patience=7)
    assert load_config(Recipe, None, ["train.optimizer.kind=sgd"]).train.optimizer == Sgd()
    assert load_config(Recipe, None, values={"train": Train()}).train == Train()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("v=1", 1),
        ("v=1e-4", 1e-4),
        ("v=true", True),
        ("v=[1, 2]", [1, 2]),
        ('v={a = "b"}', {"a": "b"}),
        ("v=a=b=c", "a=b=c"),
        ("v=some words", "some words"),
        ('v="1"', "1"),
        ("v=", ""),
        ("v=1 # note", "1 # note"),
        ("v=1\nw = 2", "1\nw = 2"),
        ("v=1, 2", "1, 2"),
        ("v=1,", "1,"),
        ("v=é/ö.txt", "é/ö.txt"),
        (" v = 5 ", 5),
    ],
)
def test_values_of_overrides(word: str, value: Any) -> None:
    assert load_values([word]) == {"v": value}


def test_paths_of_overrides() -> None:
    assert load_values(['a."b.c".d=1', "a.e=2", "a.e=3"]) == {"a": {"b.c": {"d": 1}, "e": 3}}
    assert load_values(["a.b=1", "a={c = 2}"]) == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("words", [["x"], ["=1"], ["a..b=1"], ["a b=1"], [".a=1"], ["a=1", "a.b=2"], ["a\x1b=1"]])
def test_what_is_no_override(words: list[str]) -> None:
    with pytest.raises(ModeledgeError) as caught:
        load_values(words)
    assert caught.value.code == "E-USAGE"
    assert "\x1b" not in str(caught.value)


@given(st.text())
def test_every_override_is_read_or_refused(word: str) -> None:
    code = ""
    try:
        load_config(Recipe, None, [word])
    except ModeledgeError as error:
        code = error.code
    assert code in ("", "E-USAGE", "E-CONFIG-KEY", "E-CONFIG-VALUE")


def test_the_word_none_stands_for_none() -> None:
    got = load_config(Recipe, None, ["train.clip=none", "preset=none", "start=none", "name=none"])
    assert (got.train.clip, got.preset, got.start, got.name) == (None, None, None, "none")


# ---- case 86: unknown keys


@pytest.mark.parametrize(
    ("word", "full", "right"),
    [
        ("train.stps=1", "'train.stps'", "did you mean 'train.steps'?"),
        ("train.optimizer.learing_rate=1", "'train.optimizer.learing_rate'", "'train.optimizer.learning_rate'?"),
        ("learning_rate=1", "'learning_rate'", "did you mean 'train.optimizer.learning_rate'"),
        ("learing_rate=1", "'learing_rate'", "did you mean 'train.optimizer.learning_rate'"),
        ("train.momentum=1", "'train.momentum'", "did you mean 'train.optimizer.momentum'"),
        ("sede=1", "'sede'", "did you mean 'seed'?"),
        ("train.zzzz=1", "'train.zzzz'", "known: clip, optimizer, patience, steps, warmup"),
        ("stages=[{kind = 'a'}, {kind = 'b', shar = 1}]", "'stages[1].shar'", "'stages[1].share'"),
        ("named.x.shar=1", "'named.x.shar'", "'named.x.share'"),
        ("stages=[{kind = 'a', train = {step = 1}}]", "'stages[0].train.step'", "'stages[0].train.steps'"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_right_one(word: str, full: str, right: str) -> None:
    message = refused("E-CONFIG-KEY", None, [word])
    assert full in message
    assert right in message


def test_a_key_of_another_kind_is_unknown() -> None:
    assert "'train.optimizer.momentum'" in refused("E-CONFIG-KEY", None, ["train.optimizer.momentum=0.5"])
    message = refused("E-CONFIG-KEY", None, ["train.optimizer.kind=sgd", "train.optimizer.clip=1.0"])
    assert "'train.optimizer.clip'" in message
    assert "'train.clip'" in message
    assert load_config(Recipe, None, ["train.optimizer={kind = 'sgd', momentum = 0.5}"]).train.optimizer.momentum == 0.5


@pytest.mark.parametrize("key", ["_target_", "auto_map", "trust_remote_code"])
@pytest.mark.parametrize("table", ["", "train.", "filters.", "filters.deep.", "train.optimizer."])
def test_keys_that_name_code_are_refused_everywhere(key: str, table: str) -> None:
    message = refused("E-CONFIG-KEY", None, [f"{table}{key}=os.system"])
    assert f"'{table}{key}'" in message
    assert "a recipe names no code" in message


def test_a_key_from_data_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in refused("E-CONFIG-KEY", written(tmp_path, '"a\\u001b[2J" = 1\n'))


def test_a_recipe_of_the_house_names_the_nearest_key() -> None:
    from modeledge.recipes.recipe import PretrainRecipe

    with pytest.raises(ModeledgeError, match=r"'train\.learing_rate'; did you mean 'train\.learning_rate'\?"):
        load_config(PretrainRecipe, None, ["train.learing_rate=1e-4"], {"corpus": {}})


# ---- case 87: wrong values


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train.optimizer.learning_rate='1e-4'"], ("train.optimizer.learning_rate", "'1e-4'", "valid number")),
        (["train.optimizer.learning_rate=-1.0"], ("train.optimizer.learning_rate", "-1.0", "greater than 0")),
        (["train.optimizer.learning_rate=nan"], ("train.optimizer.learning_rate", "nan", "finite")),
        (["train.optimizer.learning_rate=inf"], ("train.optimizer.learning_rate", "inf", "finite")),
        (["filters.a.b=[1.0, nan]"], ("filters.a.b[1]", "nan", "finite")),
        (["train.warmup=51"], ("train", "warmup 51 is longer than steps 50")),
        (["train.steps=1.5"], ("train.steps", "1.5", "valid integer")),
        (["train.steps=true"], ("train.steps", "True", "valid integer")),
        (["fast=1"], ("fast", "valid boolean")),
        (["fast=yes"], ("fast", "'yes'", "valid boolean")),
        (["name=1"], ("name", "valid string")),
        (["name=2020-01-01T10:00:00", "seed=x"], ("seed", "'x'", "valid integer")),
        (["train=3"], ("train", "3")),
        (["train.optimizer.kind=adamm"], ("train.optimizer.kind", "'adamm'", "'adam', 'sgd'")),
        (["train.optimizer={kind = 1}"], ("train.optimizer.kind", "'adam', 'sgd'")),
        (["stages=[{share = 1.0}]"], ("stages[0].kind", "needed and missing")),
        (["gaps=[1, 'x']"], ("gaps[1]", "'x'", "valid integer")),
        (["pair=[1, 'x']"], ("pair[1]", "valid number")),
        (["seed=x", "fast=x"], ("seed", "also wrong: fast")),
    ],
)
def test_a_wrong_value_names_path_value_and_rule(words: list[str], parts: tuple[str, ...]) -> None:
    message = refused("E-CONFIG-VALUE", None, words)
    assert all(part in message for part in parts), message


def test_a_union_without_kinds_loses_no_key() -> None:
    class One(Settings):
        a: int

    class Two(Settings):
        b: int

    class Either(Settings):
        part: One | Two

    assert load_config(Either, None, ["part.b=2"]).part == Two(b=2)
    for words, code in ((["part={a=1, b=2}"], "VALUE"), (["part={a='x'}"], "VALUE"), (["part={b=2, c=1}"], "KEY")):
        with pytest.raises(ModeledgeError, match=f"E-CONFIG-{code}.*part"):
            load_config(Either, None, words)


@pytest.mark.parametrize("prefix", ["", "parts.a.objective.", "parts.a.objective.parts.b.objective."])
def test_a_rule_of_a_table_names_the_table_as_the_recipe_has_it(prefix: str) -> None:
    """Without the kind that pydantic puts behind it, nor the whole table as its wrong value."""
    one = {"kind": "masked", "as_mask": 0.9, "as_random": 0.5}
    told: dict[str, Any] = {"objective": one}
    for part in re.findall(r"parts\.(.)", prefix)[::-1]:
        told = {"objective": {"kind": "blend", "parts": {part: told}}}
    with pytest.raises(ModeledgeError) as caught:
        load_config(PretrainRecipe, None, values={"corpus": {"paths": ["a"]}, **told})
    path = f"objective.{prefix}".rstrip(".")
    assert (caught.value.where, caught.value.what) == (path, "as_mask and as_random sum to more than 1")
    one["rate"] = 2.0
    with pytest.raises(ModeledgeError) as caught:
        load_config(PretrainRecipe, None, values={"corpus": {"paths": ["a"]}, **told})
    assert (caught.value.where, caught.value.what) == (f"{path}.rate", "2.0: Input should be less than 1")


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.5}])
def test_a_union_asks_for_its_kind(optimizer: dict[str, float]) -> None:
    class Bare(Settings):
        optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")]

    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: optimizer\.kind: it is needed and missing"):
        load_config(Bare, None, values={"optimizer": optimizer})


@pytest.mark.parametrize("value", [object(), b"x", 1j, "\ud800"])
def test_values_that_are_not_plain_are_refused(value: Any) -> None:
    assert "filters.a" in refused("E-CONFIG-VALUE", None, values={"filters": {"a": [value]}})


def test_settings_made_in_python_convert_nothing() -> None:
    for wrong in ({"steps": "10"}, {"steps": 1.0}, {"clip": "1e-4"}, {"clip": float("nan")}, {"stepz": 1}):
        with pytest.raises(ValueError):
            Train(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Train().steps = 3  # type: ignore[misc]


# ---- cases 52, 53, 88: files


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[t]\nx = 1\n\n[t]\n", 4), ("name = 1979\n!!python/object: x\n", 2)],
)
def test_syntax_errors_name_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    assert f"r.toml:{line}: " in refused("E-CONFIG-SYNTAX", written(tmp_path, text))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "seed = " + "1" * 5000, "a = \x00"])
def test_hostile_syntax_is_refused(tmp_path: Path, text: str) -> None:
    refused("E-CONFIG-SYNTAX", written(tmp_path, text))


def test_deep_tables_are_refused(tmp_path: Path) -> None:
    refused("E-CONFIG-UNSAFE", written(tmp_path, f"[filters{'.a' * 20_000}]\n"))


@pytest.mark.parametrize(
    ("name", "code"),
    [("r.yaml", "E-CONFIG-UNSAFE"), ("r.YML", "E-CONFIG-UNSAFE"), ("r.pkl", "E-CONFIG-UNSAFE"), ("r.json", "E-FORMAT")],
)
def test_other_formats_are_refused_unread(tmp_path: Path, name: str, code: str) -> None:
    path = written(tmp_path, "x: !!python/object/apply:os.system ['true']\n", name)
    assert "TOML" in refused(code, path)


def test_size_is_capped(tmp_path: Path) -> None:
    refused("E-CONFIG-UNSAFE", written(tmp_path, b"#" * 1_000_001))
    assert load_config(Recipe, written(tmp_path, b"#" * 1_000_000)) == Recipe()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused("E-NO-FILE", tmp_path / "absent.toml")
    refused("E-NOT-A-FILE", tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    refused("E-NOT-A-FILE", tmp_path / "pipe.toml")
    refused("E-UTF8", written(tmp_path, b'name = "\xe9"\n'))


def test_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "")

    def denied(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "r.toml" in refused("E-PERMISSION", path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert load_config(Recipe, written(tmp_path, b"\xef\xbb\xbfseed = 4\r\n")).seed == 4


# ---- writing

anything = st.text() | st.sampled_from(["none", "1", "true", "a.b", "\x7f\x00\r\n\t\"\\'''", "\u2028é", "\U0001f600"])
texts = anything.filter(lambda text: text not in CODE_KEYS)  # refused as keys, which tests of their own show
plain = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
optional = st.none() | texts.filter(lambda t: t != "none")
numbers = st.floats(allow_nan=False, allow_infinity=False)
rates = st.floats(1e-300, 1e300)
trains = st.builds(
    Train,
    steps=st.integers(10, 10**20),
    warmup=st.integers(0, 9),
    optimizer=st.builds(Adam, learning_rate=rates, clip=st.none() | numbers) | st.builds(Sgd, momentum=numbers),
    clip=st.none() | numbers,
    patience=st.none() | st.integers(),
)
tables = st.dictionaries(texts, plain, max_size=4)
stages = st.builds(Stage, kind=texts, share=numbers, options=tables, train=trains)
recipes = st.builds(
    Recipe,
    name=texts,
    seed=st.integers(),
    fast=st.booleans(),
    start=optional,
    preset=optional,
    paths=st.lists(texts, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), numbers),
    sizes=st.dictionaries(texts, st.integers(), max_size=3),
    named=st.dictionaries(texts, stages, max_size=2),
    stages=st.lists(stages, max_size=2).map(tuple),
    filters=tables,
    train=trains,
    gaps=st.lists(st.none() | st.integers(), max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(recipes)
def test_what_is_written_is_read_back(recipe: Recipe) -> None:
    text = to_toml(recipe)
    again = load_config(Recipe, None, values=tomllib.loads(text))
    assert again == recipe
    assert json.dumps(again.filters) == json.dumps(recipe.filters), "the order of a plain mapping is kept"
    assert to_toml(again) == text


def test_a_file_that_was_written_is_read_back(tmp_path: Path) -> None:
    recipe = Recipe(name='a\r\n\x00"\\é\u2028', train=Train(clip=None, patience=None), preset=None)
    assert load_config(Recipe, written(tmp_path, to_toml(recipe))) == recipe


def test_the_order_of_filters_survives() -> None:
    recipe = Recipe(filters={"z": True, "length": {"min": 3}, "a": 1})
    again = load_config(Recipe, None, values=tomllib.loads(to_toml(recipe)))
    assert list(again.filters) == ["z", "length", "a"]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"filters": {"a": None}}, "filters.a"),
        ({"filters": {"a": {"b": [None]}}}, "filters.a.b[0]"),
        ({"preset": "none"}, "preset"),
        ({"filters": {"a": float("nan")}}, "filters.a"),
        ({"filters": {"a": object()}}, ""),
    ],
)
def test_what_toml_cannot_hold_is_refused(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ModeledgeError) as caught:
        to_toml(Recipe(**wrong))
    assert caught.value.code == "E-CONFIG-VALUE"
    assert caught.value.where == where


def test_the_shape_of_a_written_recipe() -> None:
    """Readable, and the same bytes in every process."""
    recipe = Recipe(paths=("a",), filters={"empty": True}, stages=(Stage(kind="x"),), train=Train(clip=None))
    assert to_toml(recipe) == (
        'name = "run"\nseed = 0\nfast = false\npreset = "small"\npaths = ["a"]\npair = [1, 2.0]\n'
        'stages = [{kind = "x", share = 1.0, options = {}, train = {steps = 3, warmup = 0, optimizer = '
        '{kind = "adam", learning_rate = 0.001, clip = 1.0}, clip = 1.0, patience = 2}}]\ngaps = []\n\n'
        "[sizes]\n\n[named]\n\n[filters]\nempty = true\n\n"
        '[train]\nsteps = 100\nwarmup = 0\nclip = "none"\npatience = "none"\n\n'
        '[train.optimizer]\nkind = "adam"\nlearning_rate = 0.001\nclip = 1.0\n'
    )


def test_importing_the_configuration_imports_no_torch() -> None:
    code = "import sys, modeledge.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_key_of_another_kind_is_said_to_be_one() -> None:
    with pytest.raises(ModeledgeError, match="kind 'causal' does not have it, another kind does"):
        load_config(PretrainRecipe, None, values={"corpus": {"paths": ["a"]}, "objective": {"rate": 0.2}})

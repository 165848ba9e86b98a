"""Curricula by the keys of a recipe: what may follow the run, at each step as a recipe that says the value."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_mending_aims import STACK, raised, recipe, text

from modeledge.corpus.channels import BEGINS, SALIENT, SENTENCES, WORDS
from modeledge.model import Transformer
from modeledge.objectives import Objective, Phases, Ramp
from modeledge.objectives.middle import NAMES
from modeledge.recipes.objectives import AIMS, Aim
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.pretraining.start import shape
from modeledge.records import Example, Prepared
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, sentinel_names, train_tokenizer

TYPED = {"width": 16, "encoder": {**STACK, "position": {"kind": "learned", "length": 64}}, "embed": {"types": 2}}
BODIES: dict[str, dict[str, Any]] = {
    "encoder": TYPED,
    "decoder": {"width": 16, "decoder": STACK},
    "encoder-decoder": {"width": 16, "encoder": STACK, "decoder": STACK},
}
# of each kind: the fields that it needs to read them, and the keys that may follow the run
FOLLOW: list[tuple[dict[str, Any], set[str]]] = [
    ({"kind": "causal"}, set()),
    ({"kind": "fim"}, {"rate", "spm"}),
    ({"kind": "multi-token"}, set()),
    ({"kind": "masked"}, {"rate", "as_mask", "as_random"}),
    ({"kind": "span"}, {"rate", "as_mask", "as_random"}),
    ({"kind": "span", "sbo": False}, {"rate", "as_mask", "as_random"}),
    ({"kind": "electra"}, {"rate"}),
    ({"kind": "bert"}, {"rate", "as_mask", "as_random"}),
    ({"kind": "albert"}, {"rate", "as_mask", "as_random"}),
    ({"kind": "simcse"}, set()),
    *(({"kind": "denoise", "variant": v}, {"rate", "mean"}) for v in ("spans", "salient")),
    *(({"kind": "denoise", "variant": v}, {"rate"}) for v in ("iid", "drop", "mask", "bert", "mass")),
    ({"kind": "denoise", "variant": "deshuffle"}, set()),
    ({"kind": "bart"}, {"infill", "poisson", "permute", "masking", "delete", "rotate"}),
    ({"kind": "ul2"}, set()),
    ({"kind": "prefix"}, {"share"}),
    ({"kind": "diffusion"}, set()),
    ({"kind": "unilm", "backwards": True}, {"rate"}),
    (
        {
            "kind": "blend",
            "mode": "in turn",
            "parts": {n: {"objective": {"kind": k}} for n, k in (("a", "span"), ("b", "masked"))},
        },
        {f"{part}.{key}" for part in "ab" for key in ("rate", "as_mask", "as_random")},
    ),
    (
        {"kind": "blend", "parts": {"u": {"objective": {"kind": "unilm"}}, "c": {"objective": {"kind": "causal"}}}},
        {"u.rate"},
    ),
]
# numbers of a model, a loss, a stream or a law of lengths: what prepares an example has none of them
STAY = {"generator", "weight", "short", "temperature", "p"}
MOVING = [(fields, key) for fields, keys in FOLLOW for key in sorted(keys)]
ENDS: Mapping[str, tuple[float, float]] = {
    "mean": (2.0, 6.0),
    "poisson": (1.0, 6.0),
    "as_mask": (0.8, 0.1),
    "as_random": (0.2, 0.01),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text(60)], vocab_size=420, extra=(*sentinel_names(60), *NAMES, "[R]", "[S]", "[X]"))


def named(fields: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fields.values() if isinstance(value, str | bool))


def body_of(aim: Aim) -> Transformer:
    body = min(aim.bodies) if aim.kind != "blend" else ("decoder" if "u" in aim.parts else "encoder")  # type: ignore[attr-defined]
    return Transformer(shape(None, BODIES[body], 420))


def made(aim: Aim, tokenizer: Tokenizer, length: int = 60) -> Objective:
    """The objective of an aim, which follows the run."""
    model = body_of(aim)
    told = aim.on(model, tokenizer)
    objective = told.build(tokenizer, model.config, length)
    told.follow(objective)
    return objective


def example(aim: Aim, place: int | None = None, count: int = 30, *, salient: bool = True) -> Example:
    """A text of `count` tokens, or two; `salient` says whether there are names in it."""
    lots = np.random.default_rng(count)
    total = 2 * count if aim.kind in ("bert", "albert") else count
    begins = (np.arange(total) % 3 == 0).astype(np.int8)
    channels = {
        WORDS: begins,
        SENTENCES: (np.arange(total) % 9 == 0).astype(np.int8),
        SALIENT: BEGINS * begins * salient,
    }
    pair = lots.integers(200, 400, count) if total > count else None
    return Example(count, lots.integers(200, 400, count), pair, int(pair is not None), channels=channels, place=place)


def same(one: Prepared, other: Prepared) -> bool:
    sides = [(one.source, other.source), (one.target, other.target)]
    alike = [(a is None) == (b is None) and (a is None or a.ids.tolist() == b.ids.tolist()) for a, b in sides]
    plain = [{n: v.tolist() for n, v in {**item.labels, **item.reads}.items()} for item in (one, other)]
    return all(alike) and plain[0] == plain[1]


def changed(fields: dict[str, Any], key: str, value: float) -> Aim:
    """The aim with a key's value under `[objective]`."""
    part, _, inner = key.partition(".")
    if inner:
        told = {**fields["parts"][part]["objective"], inner: value}
        fields = {**fields, "parts": {**fields["parts"], part: {"objective": told}}}
    else:
        fields = {**fields, key: value}
    return recipe(objective=fields).objective


def test_every_kind_says_what_may_follow_the_run() -> None:
    """A number that a recipe has is one that may follow the run, or one that stays: a new one is decided on here."""
    assert {fields["kind"] for fields, _ in FOLLOW} == AIMS.keys()
    for fields, keys in FOLLOW:
        aim = recipe(objective=fields).objective
        assert aim.numbers.keys() == keys, fields
        floats = {n for n, f in type(aim).model_fields.items() if f.annotation in (float, float | None)}
        mine = floats - STAY if fields.get("variant") != "deshuffle" else set()
        mine -= {"as_mask", "as_random"} if aim.kind == "electra" else set()
        mine -= {"mean"} if fields.get("variant") not in (None, "spans", "salient") else set()
        assert aim.kind == "blend" or mine == keys, fields


def test_the_table_of_the_manual_is_that_of_the_kinds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text()
    table = page.partition("| kind | numbers that may follow the run |")[2].partition("\n\n")[0]
    told = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:])
    rows = {kind: keys for kinds, keys in told.items() for kind in re.findall(r"`([\w-]+)`", kinds)}
    for fields, keys in FOLLOW:
        assert all(f"`{key}`" in rows[fields["kind"]] for key in keys if "." not in key), fields
    assert rows.keys() == {fields["kind"] for fields, keys in FOLLOW if keys} - {"blend"}


@pytest.mark.parametrize(("fields", "key"), MOVING, ids=lambda value: value if isinstance(value, str) else named(value))
def test_at_each_step_a_number_is_what_the_recipe_could_say(
    fields: dict[str, Any], key: str, tokenizer: Tokenizer
) -> None:
    """Bit for bit the example of a recipe with that value, at the begin, within, at the end, and outside the run."""
    low, high = ENDS.get(key.rpartition(".")[2], (0.05, 0.6))
    ramp, jumps = Ramp(low, high, over=40, begin=10), Phases((high, low), (0, 20))
    seen: dict[int, set[str]] = {noise: set() for noise in range(24)}
    for number, places in ((ramp, (0, 10, 30, 50, 99, None)), (jumps, (0, 19, 20, None))):
        aim = recipe(objective=fields).objective.following({key: number})
        objective = made(aim, tokenizer)
        for place in places:
            plain = made(changed(fields, key, number.at(place)), tokenizer)
            for noise, variants in seen.items():
                told, there = example(aim, place, salient=key != "mean"), example(aim, salient=key != "mean")
                assert same(objective.prepare(told, Noise(noise)), plain.prepare(there, Noise(noise))), place
                variants.add(str(plain.prepare(there, Noise(noise))))
    assert max(map(len, seen.values())) > 1, "the number changes what is learned"


@pytest.mark.parametrize(
    ("fields", "numbers", "where", "words"),
    [
        ({"kind": "masked"}, {"mask": (3, 9)}, "curriculum.numbers.mask", "as_mask, as_random, rate"),
        ({"kind": "masked"}, {"vocab": (3, 9)}, "curriculum.numbers.vocab", "as_mask, as_random, rate"),
        ({"kind": "span"}, {"longest": (3, 9)}, "curriculum.numbers.longest", "as_mask, as_random, rate"),
        ({"kind": "causal"}, {"rate": (0.1, 0.2)}, "curriculum.numbers.rate", "leave it out"),
        (FOLLOW[-2][0], {"rate": (0.1, 0.2)}, "curriculum.numbers.rate", "a.rate"),
        (FOLLOW[-2][0], {"c.rate": (0.1, 0.2)}, "curriculum.numbers.c.rate", "b.rate"),
        (FOLLOW[-2][0], {"b.mask": (1, 2)}, "curriculum.numbers.b.mask", "b.rate"),
    ],
)
def test_what_cannot_follow_the_run_is_refused_with_what_can(
    fields: dict[str, Any], numbers: dict[str, Any], where: str, words: str
) -> None:
    courses = {key: {"values": list(values), "steps": [0, 3]} for key, values in numbers.items()}
    asked = recipe("encoder", objective=fields, curriculum={"numbers": courses})
    error = raised("E-CONFIG-KEY", lambda: asked.aim)
    assert error.where == where
    assert words in error.remedy


@pytest.mark.parametrize(
    ("fields", "numbers", "where", "words"),
    [
        ({"kind": "masked"}, {"rate": (0.3, 1.5)}, "curriculum.numbers.rate", "1.5: Input should be less than 1"),
        ({"kind": "denoise"}, {"mean": (3.0, 0.5)}, "curriculum.numbers.mean", "0.5: Input should be greater than or"),
        ({"kind": "masked"}, {"as_mask": (0.5, 0.95)}, "curriculum.numbers.as_mask", "sum to more than 1"),
        (
            {"kind": "masked"},
            {"as_mask": (0.8, 0.5), "as_random": (0.1, 0.9)},
            "curriculum.numbers",
            "as_mask 0.5, as_random 0.9: as_mask and as_random sum to more than 1",
        ),
        ({"kind": "bart", "permute": 0.0}, {"infill": (0.3, 0.0)}, "curriculum.numbers.infill", "there is no noise"),
        (FOLLOW[-2][0], {"b.rate": (0.1, 2.0)}, "curriculum.numbers.b.rate", "2: Input should be less than 1"),
    ],
)
def test_values_that_a_key_cannot_have_are_refused_at_its_place(
    fields: dict[str, Any], numbers: dict[str, Any], where: str, words: str, tmp_path: Path
) -> None:
    """Before a text is read."""
    courses = {key: {"values": list(values), "steps": [0, 3]} for key, values in numbers.items()}
    body = "both" if fields["kind"] in ("denoise", "bart") else "encoder"
    asked = recipe(body, ("nowhere.txt",), objective=fields, curriculum={"numbers": courses})
    error = raised("E-CONFIG-VALUE", pretrain, asked, tmp_path / "run", say=lambda line: None)
    assert error.where == where
    assert words in error.what


def test_two_numbers_are_looked_at_just_before_one_jumps() -> None:
    """At the jump itself they are well again."""
    aim = recipe("encoder", objective={"kind": "masked"}).objective
    falling, rising = Phases((0.8, 0.4), (0, 10)), Ramp(0.1, 0.6, over=10)
    error = raised("E-CONFIG-VALUE", aim.following, {"as_mask": falling, "as_random": rising})
    assert "as_mask 0.8, as_random 0.55" in error.what


@pytest.mark.parametrize("body", ["both", "decoder"])
@pytest.mark.parametrize(
    ("fields", "course"),
    [
        ({"kind": "denoise"}, {"rate": (0.1, 0.9)}),
        ({"kind": "denoise"}, {"rate": (0.6, 0.3), "mean": (6.0, 1.0)}),
        ({"kind": "denoise", "variant": "iid"}, {"rate": (0.1, 0.7)}),
        ({"kind": "denoise", "variant": "mass"}, {"rate": (0.2, 0.9)}),
        ({"kind": "prefix"}, {"share": (0.1, 0.9)}),
    ],
    ids=str,
)
def test_an_example_fits_its_row_whatever_the_share(
    body: str, fields: dict[str, Any], course: dict[str, tuple[float, float]]
) -> None:
    """And the tokenizer has the sentinels; rows are as full as they can be."""
    known = train_tokenizer([text(60)], vocab_size=420, extra=sentinel_names(60))
    model, length = Transformer(shape(None, BODIES["decoder" if body == "decoder" else "encoder-decoder"], 420)), 96
    aim = recipe(objective=fields).objective.following({key: Ramp(*ends, over=997) for key, ends in course.items()})
    told = aim.on(model, known)
    objective = told.build(known, model.config, length)
    told.follow(objective)
    count = told.tokens(length)
    most = max(
        max(objective.prepare(example(aim, place, count), Noise(place)).lengths()) for place in range(0, 1000, 3)
    )
    assert (length - 2 if fields.get("variant") != "iid" and "mean" not in course else 64) <= most <= length
    assert len(told.reserves(4096)) >= len(recipe(objective=fields).objective.reserves(4096))


def test_what_is_done_from_some_step_on_is_prepared_for_from_the_first(tokenizer: Tokenizer) -> None:
    """Sentences that are permuted late, and masks that are set late."""
    plain = recipe(objective={"kind": "bart", "infill": 0.0, "permute": 0.0, "rotate": 0.5}).objective
    assert plain.channels == set()
    aim = plain.following({"permute": Ramp(0.0, 1.0, 9), "infill": Phases((0.0, 0.3), (0, 5))})
    objective = made(aim, tokenizer)
    assert aim.channels == objective.prepare.channels == {SENTENCES}
    early, late = (objective.prepare(example(aim, place), Noise(1)).target for place in (4, 20))
    assert early is not None
    assert late is not None
    assert [tokenizer.need("mask") in piece.ids for piece in (early, late)] == [False, True]


# ---- lengths

GROW: list[dict[str, Any]] = [
    {"kind": "causal"},
    {"kind": "fim", "rate": 1.0},
    {"kind": "multi-token", "ahead": 3},
    {"kind": "masked"},
    {"kind": "span"},
    {"kind": "electra"},
    {"kind": "diffusion"},
    {"kind": "unilm", "backwards": True},
    FOLLOW[-2][0],
]
LENGTHS = (Ramp(8, 96, over=88), Phases((16, 40, 31, 96), (0, 20, 40, 60)), Phases((12, 500), (0, 44)))


def parts_of(item: Prepared) -> list[list[int]]:
    piece = item.target if item.target is not None else item.source
    assert piece is not None
    return [part.tolist() for part in np.split(np.asarray(piece.ids), piece.breaks)]


@pytest.mark.parametrize("number", LENGTHS, ids=["line", "jumps", "beyond"])
@pytest.mark.parametrize("fields", GROW, ids=named)
def test_texts_of_every_length_fit_their_row_and_drop_nothing(
    fields: dict[str, Any], number: Ramp | Phases, tokenizer: Tokenizer
) -> None:
    """No part is longer than its length, nor all of them than their row, which is as good as full."""
    length = 96
    aim = recipe(objective=fields).objective.shorter(number)
    told = aim.on(body_of(aim), tokenizer)
    prepare, plain = (
        made(aim, tokenizer, length).prepare,
        made(recipe(objective=fields).objective, tokenizer, length).prepare,
    )
    count, fullest = told.fitting(length), 0
    for place in (*range(0, 90, 4), None):
        shown = example(aim, place, count)
        item, now = prepare(shown, Noise(3)), round(number.at(place))
        parts = parts_of(item)
        assert max(map(len, parts)) <= now
        assert sum(map(len, parts)) <= length
        fullest = max(fullest, sum(map(len, parts)))
        if now >= length:
            assert same(item, plain(shown, Noise(3)))
            assert len(parts) == 1
        if fields["kind"] in ("causal", "multi-token"):
            assert item.labels["lm"].tolist() == shown.ids[1:].tolist()
        if fields["kind"] in ("masked", "span"):
            assert item.source is not None
            read = np.array(item.source.ids)
            read[item.reads["lm"]] = item.labels["lm"]
            assert read[~np.isin(read, tokenizer.specials.ids())].tolist() == shown.ids.tolist()
            assert all(len(part) >= 4 for part in parts)
        if fields["kind"] in ("diffusion", "electra"):
            name = "elbo" if fields["kind"] == "diffusion" else "replaced"
            frames = 0 if name == "elbo" else 2 * len(parts)
            assert item.weights[name].sum() == count + frames
    assert fullest >= (80 if fields["kind"] == "unilm" else length - 2), "unilm parts two texts in one pattern alone"


@pytest.mark.parametrize(
    ("fields", "low", "code", "words"),
    [
        ({"kind": "denoise"}, 32, "E-CONFIG", "electra, bert, albert"),
        ({"kind": "simcse"}, 32, "E-CONFIG", "causal, fim"),
        (FOLLOW[-1][0], 32, "E-CONFIG", 'mode = "in turn"'),
        ({"kind": "masked"}, 4, "E-CONFIG-VALUE", "from 5"),
        ({"kind": "multi-token", "ahead": 7}, 6, "E-CONFIG-VALUE", "from 7"),
        ({"kind": "causal"}, 0, "E-CONFIG-VALUE", "from 1"),
    ],
)
def test_lengths_that_cannot_follow_the_run(fields: dict[str, Any], low: int, code: str, words: str) -> None:
    asked = recipe(objective=fields, curriculum={"length": {"values": [low, 64], "steps": [0, 3]}})
    error = raised(code, lambda: asked.aim)
    assert error.where == "curriculum.length"
    assert words in error.remedy


def test_texts_that_are_longer_than_their_rows_are_refused() -> None:
    """[128, 512] in rows of 128 would never come to 512."""
    bert = {"objective": {"kind": "masked"}, "curriculum": {"length": {"values": [128, 512], "steps": [0, 3]}}}
    asked = recipe(**bert, train={"length": 128})
    error = raised("E-CONFIG-VALUE", lambda: asked.aim)
    assert error.where == "curriculum.length"
    assert error.remedy == "set train.length = 512"
    aim = recipe(**bert, train={"length": 512}).aim
    assert aim.fitting(512) == 4 * (128 - 2)


# ---- runs, and who prepares their examples

NUMBERS: dict[str, tuple[str, dict[str, Any], dict[str, tuple[float, float]]]] = {
    "span": ("encoder", {"kind": "span"}, {"rate": (0.5, 0.1), "as_random": (0.2, 0.0)}),
    "electra": ("encoder", {"kind": "electra"}, {"rate": (0.5, 0.1)}),
    "bert": ("encoder", {"kind": "bert"}, {"rate": (0.1, 0.5)}),
    "denoise": ("encoder-decoder", {"kind": "denoise"}, {"rate": (0.1, 0.5), "mean": (2.0, 5.0)}),
    "unilm": ("decoder", {"kind": "unilm"}, {"rate": (0.5, 0.1)}),
    "blend": ("encoder", FOLLOW[-2][0], {"a.rate": (0.5, 0.1), "b.rate": (0.1, 0.5)}),
    "masked, longer": ("encoder", {"kind": "masked"}, {"rate": (0.5, 0.1)}),
    "unilm, longer": ("decoder", {"kind": "unilm"}, {}),
    "blend, longer": ("encoder", FOLLOW[-2][0], {"b.rate": (0.1, 0.5)}),
    "bert, longer": ("encoder", {"kind": "bert"}, {"rate": (0.1, 0.5)}),
    "albert, longer": ("encoder", {"kind": "albert"}, {}),
}
LONGER = {"values": [12, 48], "steps": [0, 3]}


class Stop(Exception):
    """A run that is ended from outside."""


def stopping(record: Any) -> None:
    if record.step == 3:
        raise Stop


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_run_under_a_curriculum_is_the_same_where_it_was_resumed(name: str, tmp_path: Path) -> None:
    """Bit for bit, and another one than without."""
    body, objective, numbers = NUMBERS[name]
    for seed in range(30):
        (tmp_path / f"{seed}.txt").write_text(text(8, seed))
    courses = {key: {"values": list(values), "steps": [0, 4]} for key, values in numbers.items()}
    course = {"numbers": courses, **({"length": LONGER} if "longer" in name else {})}

    def asked(curriculum: dict[str, Any]) -> Any:
        how = {"steps": 5, "batch": 4, "length": 48, "save_every": 2, "precision": "fp32"}
        shown: dict[str, Any] = {"model": {"shape": BODIES[body]}, "objective": objective, "curriculum": curriculum}
        return recipe("both", (str(tmp_path / "*.txt"),), train=how, **shown)

    def quiet(line: str) -> None:
        """Says nothing."""

    whole = weights(pretrain(asked(course), tmp_path / "whole", say=quiet))
    with pytest.raises(Stop):
        pretrain(asked(course), tmp_path / "run", say=quiet, listeners=[stopping])
    assert weights(pretrain(asked(course), tmp_path / "run", say=quiet, resume=True)) == whole
    assert weights(pretrain(asked({}), tmp_path / "plain", say=quiet)) != whole


@pytest.mark.parametrize("name", NUMBERS)
def test_whoever_prepares_an_example_makes_the_same_of_it(name: str, tokenizer: Tokenizer) -> None:
    """A copy in another process, which reads other examples before it."""
    _, fields, numbers = NUMBERS[name]
    aim = recipe(objective=fields).objective.following({k: Ramp(*ends, over=16) for k, ends in numbers.items()})
    aim = aim.shorter(Ramp(12, 48, over=16)) if "longer" in name else aim
    here = made(aim, tokenizer).prepare
    there = pickle.loads(pickle.dumps(here))  # noqa: S301
    shown = [example(aim, place, 20 + place) for place in range(20)]
    told = {e.place: there(e, Noise(e.index)) for e in reversed(shown)}
    assert all(same(told[e.place], here(e, Noise(e.index))) for e in shown)


def test_the_pre_flight_says_where_the_run_ends_before_a_course(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text(60))
    courses = {"rate": {"values": [0.3, 0.1], "steps": [0, 5000]}}
    said: list[str] = []
    shown: dict[str, Any] = {"model": {"shape": BODIES["encoder"]}, "objective": {"kind": "masked"}}
    asked = recipe("both", (str(tmp_path / "a.txt"),), curriculum={"numbers": courses}, **shown)
    pretrain(asked, tmp_path / "run", say=said.append)
    told = [line for line in said if "W-SCHEDULE" in line]
    assert len(told) == 1
    assert "curriculum.numbers.rate" in told[0]
    assert "ends at step 4, and this course at step 5,000" in told[0]

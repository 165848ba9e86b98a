"""The kinds of `[objective]` that mend a damaged text: their fields, forms, sentinels and lengths; each trains."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.corpus import stream
from modeledge.corpus.pack import cut_examples
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model, start_of
from modeledge.model import Transformer
from modeledge.objectives import Bart, Form, PrefixLM, RandomSpans, Split
from modeledge.recipes.asking.use import Model
from modeledge.recipes.corpora.vocabulary import make_tokenizer
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.objectives.mending import Mending
from modeledge.recipes.pretraining.pretrain import pretrain, stream_of
from modeledge.recipes.pretraining.start import shape
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Document
from modeledge.tokens import Tokenizer, sentinel_names, train_tokenizer

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
STACK = {
    "layers": 1,
    "attention": {"heads": 2, "qk_norm": "head"},
    "feedforward": {"width": 32},
    "position": {"kind": "rotary"},
}
BODIES = {"decoder": {"decoder": STACK}, "both": {"encoder": STACK, "decoder": STACK}, "encoder": {"encoder": STACK}}
TRAIN = {"steps": 4, "batch": 4, "length": 48, "save_every": 2}


def text(count: int, seed: int = 0) -> str:
    lots = random.Random(seed)
    return " ".join(" ".join(lots.choices(WORDS, k=9)).capitalize() + "." for _ in range(count)) + "\n"


def recipe(body: str = "both", paths: tuple[str, ...] = (), **changes: Any) -> PretrainRecipe:
    values = {
        "corpus": {"paths": list(paths)},
        "tokenizer": {"vocab_size": 420},
        "model": {"shape": {"width": 16, **BODIES[body]}},
        "train": TRAIN,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


def raised(code: str, call: Any, *args: Any, **named: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        call(*args, **named)
    assert caught.value.code == code, str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text(60)], vocab_size=420, extra=(*sentinel_names(30), "[R]", "[S]", "[X]"))


def model(body: str, vocab: int = 420) -> Transformer:
    return Transformer(shape(None, {"width": 16, **BODIES[body]}, vocab))


def aim(body: str, tokenizer: Tokenizer, **fields: Any) -> Mending:
    asked = recipe(body, objective=fields).objective
    asked.check(model(body).config)
    found = asked.on(model(body), tokenizer)
    assert isinstance(found, Mending)
    return found


# ---- forms


def test_the_form_is_that_of_the_body(tokenizer: Tokenizer) -> None:
    """Special tokens stand where fine-tuning puts them."""
    cls, sep, end = (tokenizer.need(role) for role in ("cls", "sep", "eos"))
    built = aim("both", tokenizer, kind="denoise").build(tokenizer, model("both").config, 48)
    assert built.prepare.form == Form("encoder-decoder", (end,), (cls,), (sep,), (end,))  # bos is eos here
    assert built.prepare.damage == RandomSpans(tokenizer.sentinels)
    built = aim("decoder", tokenizer, kind="denoise").build(tokenizer, model("decoder").config, 48)
    assert built.prepare.form == Form("prefix", (), (), (sep,), (end,))
    causal = aim("decoder", tokenizer, kind="denoise", form="causal", whole=True)
    assert causal.build(tokenizer, model("decoder").config, 48).prepare.form == Form(
        "causal", (), (), (sep,), (end,), True
    )
    started = aim("both", tokenizer, kind="bart", start=5).build(tokenizer, model("both").config, 48)
    assert started.prepare.form.start == (5,)
    assert started.prepare.damage == Bart(tokenizer.need("mask"))
    bare = aim("decoder", tokenizer, kind="prefix", share=0.25).build(tokenizer, model("decoder").config, 48)
    assert type(bare) is PrefixLM
    assert (bare.prepare.form, bare.prepare.damage) == (Form("prefix"), Split(0.25))


@pytest.mark.parametrize(
    ("body", "fields", "where"),
    [
        ("encoder", {"kind": "denoise"}, "objective.kind"),
        ("decoder", {"kind": "denoise", "form": "encoder-decoder"}, "objective.form"),
        ("both", {"kind": "ul2", "form": "prefix"}, "objective.form"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    tokenizer: Tokenizer, body: str, fields: dict[str, Any], where: str
) -> None:
    assert raised("E-CONFIG", aim, body, tokenizer, **fields).where == where


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "denoise", "variant": "iid", "mean": 5.0},
        {"kind": "denoise", "variant": "deshuffle", "rate": 0.2},
        {"kind": "denoise", "whole": True},
        {"kind": "denoise", "form": "prefix", "whole": True},
        {"kind": "denoise", "rate": 1.0},
        {"kind": "denoise", "rate": 0.0},
        {"kind": "bart", "infill": 0.0, "permute": 0.0},
        {"kind": "ul2", "modes": ["[R]"]},
        {"kind": "prefix", "form": "causal"},
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    raised("E-CONFIG-VALUE", recipe, objective=fields)


# ---- sentinels


def test_a_tokenizer_reserves_what_its_objective_asks_for() -> None:
    assert recipe(objective={"kind": "denoise"}).reserved == sentinel_names(100)
    assert recipe(objective={"kind": "denoise", "variant": "mask"}).reserved == ()
    assert recipe(objective={"kind": "ul2"}).reserved == (*sentinel_names(100), "[R]", "[S]", "[X]")
    long = recipe(objective={"kind": "denoise"}, train={**TRAIN, "length": 4096})
    assert len(long.reserved) == 228  # round(0.15 · 4551) = 683 tokens in thirds: more than T5's hundred
    few = {"vocab_size": 420, "sentinels": 7}
    assert recipe(objective={"kind": "ul2"}, tokenizer=few).reserved == (*sentinel_names(7), "[R]", "[S]", "[X]")
    assert recipe(objective={"kind": "prefix"}, tokenizer=few).reserved == sentinel_names(7)
    trained = make_tokenizer(recipe(objective={"kind": "ul2"}, tokenizer=few), [Document(text(60), "a")])
    assert [trained.token(i) for i in trained.sentinels] == list(sentinel_names(7))
    assert trained.id("[R]") is not None
    assert trained.encode("[R] <extra_id_0>").tolist() == trained.encode("[R]" + " <extra_id_0>").tolist()
    assert not {*trained.sentinels, trained.id("[R]")} & set(trained.encode("[R] <extra_id_0>").tolist())


def test_too_few_sentinels_are_said_before_the_first_step(tokenizer: Tokenizer) -> None:
    plain = train_tokenizer([text(60)], vocab_size=300)
    for fields in ({"kind": "denoise"}, {"kind": "denoise", "variant": "iid"}, {"kind": "ul2", "modes": []}):
        asked = aim("both", plain, **fields)
        error = raised("E-SPECIAL-TOKEN", asked.build, plain, model("both").config, 48)
        assert "tokenizer.sentinels = " in error.remedy
    needs = "may need 32 sentinels <extra_id_0> …, the tokenizer has 30"
    error = raised(
        "E-SPECIAL-TOKEN", aim("both", tokenizer, kind="denoise").build, tokenizer, model("both").config, 580
    )
    assert needs in error.what
    assert "[R] [S] [X]" in raised("E-SPECIAL-TOKEN", aim("both", plain, kind="ul2").build, plain, None, 48).what
    masked = aim("both", plain, kind="denoise", variant="mask")
    assert masked.build(plain, model("both").config, 48).prepare.damage.mask == plain.need("mask")


# ---- runs

KINDS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("both", {"kind": "denoise", "variant": v})
        for v in ("spans", "iid", "drop", "mask", "bert", "deshuffle", "mass")
    ),
    ("decoder", {"kind": "denoise"}),
    ("decoder", {"kind": "denoise", "variant": "drop", "form": "causal"}),
    ("decoder", {"kind": "denoise", "form": "causal", "whole": True}),
    ("both", {"kind": "bart", "masking": 0.1, "delete": 0.1, "rotate": 0.5}),
    ("decoder", {"kind": "bart"}),
    ("both", {"kind": "ul2"}),
    ("decoder", {"kind": "ul2"}),
    ("both", {"kind": "prefix"}),
    ("decoder", {"kind": "prefix"}),
]


def named(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *(str(value) for value in case[1].values())])


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_each_kind_trains_through_every_check(case: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """The whole run, pre-flight and all; the corpus has the channels that the objective asks for."""
    body, objective = case
    (tmp_path / "a.txt").write_text(text(400))
    asked = recipe(body, (str(tmp_path / "a.txt"),), objective=objective)
    out = pretrain(asked, tmp_path / "run", say=lambda line: None)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 4
    assert all(2 < loss < 8 for loss in losses)
    known, kept = Tokenizer.load(out), Shards.open(tmp_path / "run" / "corpus")
    trained = load_model(out)
    cut = stream_of(asked, trained, known, kept)
    built = asked.objective.on(trained, known).build(known, trained.config, 48)
    longest = max(max(built.prepare(cut.example(i), _noise(i)).lengths()) for i in range(len(cut)))
    assert 30 < longest <= 48
    assert set(kept.channels) >= asked.objective.channels == built.prepare.channels


def _noise(index: int) -> Any:
    from modeledge.seed import Noise

    return Noise(index)


def test_every_kind_of_text_to_text_is_tried_here() -> None:
    mending = {kind for kind, found in AIMS.items() if issubclass(found, Mending)}
    assert {fields["kind"] for _, fields in KINDS} == mending


@pytest.mark.parametrize(("fields", "role"), [({}, "bos"), ({"start": 7}, None)])
def test_the_finished_model_begins_as_it_learned_to(fields: dict[str, Any], role: str | None, tmp_path: Path) -> None:
    """The token that the decoder began with in training is in the model's file: generate needs no word of it."""
    said = recipe(objective={"kind": "prefix", **fields})
    folder = pretrain(said, tmp_path / "run", documents=[Document(text(60), "a")], say=lambda line: None)
    asked = Model.load(tmp_path / "run")
    begins = 7 if role is None else Tokenizer.load(folder).need(role)
    assert start_of(asked.transformer) == begins
    assert asked.generate("The quick", max_new_tokens=4, temperature=0) == asked.generate(
        "The quick", max_new_tokens=4, temperature=0, start=begins
    )


def test_a_body_that_does_not_fit_is_refused_before_a_corpus_is_built(tmp_path: Path) -> None:
    said = recipe("encoder", objective={"kind": "causal"})
    found = raised("E-CONFIG", pretrain, said, tmp_path / "run", documents=unread(), say=lambda line: None)
    assert found.where == "objective.kind"


def unread() -> Iterator[Document]:
    raise AssertionError("the texts were read")
    yield


@pytest.mark.parametrize(
    ("body", "turned", "kind", "towers"),
    [
        ("decoder", {}, "masked", "a decoder"),
        ("decoder", {"bidirectional": True}, "causal", "an encoder"),
        ("encoder", {"decoder": "shared"}, "masked", "an encoder-decoder"),
        ("both", {"bidirectional": True}, "masked", "it reads an encoder"),
        ("encoder", {"decoder": "copied", "bidirectional": True}, "denoise", "not both at once"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_a_corpus_is_built(
    body: str, turned: dict[str, Any], kind: str, towers: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """As the recipe turns it, from its configuration alone."""
    save_model(model(body), tmp_path / "start", family="modeledge")
    tokenizer.save(tmp_path / "start")
    said = recipe(model={"start": str(tmp_path / "start"), **turned}, objective={"kind": kind})
    with pytest.raises(ModeledgeError) as caught:
        pretrain(said, tmp_path / "run", documents=unread(), say=lambda line: None)
    assert towers in caught.value.what


def test_a_permutation_without_sentences_is_refused(tmp_path: Path) -> None:
    """Nothing would be noised, and the model would learn to copy."""
    lines = [Document(" ".join(random.Random(n).choices(WORDS, k=20)), f"d{n}") for n in range(40)]
    said = recipe(objective={"kind": "bart", "infill": 0.0})
    error = raised("E-NO-TARGET", pretrain, said, tmp_path / "run", documents=lines, say=lambda line: None)
    assert error.where == "objective.permute"
    assert "no document has two sentences" in error.what


def test_a_corpus_is_cut_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cutting a large corpus takes seconds, and memory for its ranges."""
    cuts = []

    def counted(*given: Any, **named: Any) -> Any:
        cuts.append(given)
        return cut_examples(*given, **named)

    monkeypatch.setattr(stream, "cut_examples", counted)
    said = recipe(objective={"kind": "prefix"}, held_out=0.2, samples={"every": 2, "tokens": 3})
    pretrain(said, tmp_path / "run", documents=[Document(text(90), "a")], say=lambda line: None)
    assert len(cuts) == 1
    marks = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["eval"]
    assert set(marks) == {"loss", "perplexity", "bits_per_byte"}  # the rest of a text is text: its loss is a likelihood
    assert marks["perplexity"] == pytest.approx(math.exp(marks["loss"]))


def test_a_curriculum_of_a_number_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    course = {"numbers": {"rate": {"values": [0.3, 0.15], "steps": [0, 3]}}}
    said = recipe("decoder", objective={"kind": "causal"}, curriculum=course)
    texts = [Document(text(60), "a")]
    found = raised("E-CONFIG-KEY", pretrain, said, tmp_path / "run", documents=texts, say=lambda line: None)
    assert found.where == "curriculum.numbers.rate"
    assert "Prepare" not in str(found)

"""The kinds of `[objective]` that are variants of causal, blends and diffusion: built, run, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_pretrain import STACK, TRAIN, quiet, recipe, sentences
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config, to_toml
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.generate import Sampling, continue_hidden, continue_text
from modeledge.objectives.middle import NAMES
from modeledge.recipes.asking.use import Model
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.pretraining.curriculum import Course
from modeledge.recipes.pretraining.pretrain import build_trainer, pretrain, stream_of
from modeledge.recipes.pretraining.writing import WRITING
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.store.convert import Wish, convert
from modeledge.recipes.store.models import save
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer

LEARNED = {**STACK, "position": {"kind": "learned", "length": 40}}
BODIES = {"decoder": {"width": 16, "decoder": STACK}, "encoder": {"width": 16, "encoder": LEARNED}}
IN_TURN = {
    "a": {"objective": {"kind": "masked"}},
    "b": {"objective": {"kind": "diffusion"}, "weight": 0.5, "chance": 2.0},
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "isolated": ("decoder", {"kind": "causal", "documents": "isolated"}),
    "fim": ("decoder", {"kind": "fim", "rate": 0.9}),
    "multi-token": ("decoder", {"kind": "multi-token", "ahead": 3}),
    "diffusion": ("encoder", {"kind": "diffusion"}),
    "prefix": ("decoder", {"kind": "prefix", "share": 0.5}),
    "unilm": ("decoder", {"kind": "unilm", "rate": 0.3, "backwards": True}),
    "together": (
        "decoder",
        {"kind": "blend", "parts": {"next": {"objective": {"kind": "causal"}}, "fim": {"objective": {"kind": "fim"}}}},
    ),
    "in turn": ("encoder", {"kind": "blend", "mode": "in turn", "parts": IN_TURN}),
}
TERMS = {
    "isolated": {"lm"},
    "fim": {"lm"},
    "multi-token": {"lm", "lm2", "lm3"},
    "diffusion": {"elbo"},
    "prefix": {"lm"},
    "unilm": {"bidirectional.lm", "causal.lm", "backwards.lm", "sequence.lm"},
    "together": {"next.lm", "fim.lm"},
    "in turn": {"a.lm", "b.elbo"},
}


def asked(name: str, text: Path, **more: Any) -> PretrainRecipe:
    body, objective = KINDS[name]
    return recipe([str(text)], model={"shape": BODIES[body]}, objective=objective, held_out=0.1, **more)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text(sentences(120))
    return path


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_runs_and_its_model_opens(name: str, text: Path, tmp_path: Path) -> None:
    """Pre-flight included: a whole run of four steps, its terms, and the finished model."""
    made = asked(name, text)
    assert load_config(PretrainRecipe, None, values=json.loads(made.model_dump_json())) == made
    assert to_toml(made)
    folder = pretrain(made, tmp_path / "run", say=quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    seen = {term for line in lines for term in line.get("terms", ())}
    assert seen <= TERMS[name]
    assert all(np.isfinite(value) for line in lines for value in line.get("terms", {}).values())
    if name != "unilm":
        assert seen == TERMS[name]
    assert set(load_model(folder).heads) == {"lm"}
    if name == "diffusion":
        assert set(lines[-1]["eval"]) == {"loss", "perplexity_bound"}
        assert lines[-1]["eval"]["perplexity_bound"] == pytest.approx(np.exp(lines[-1]["eval"]["loss"]))
    opened = Model.load(tmp_path / "run")
    assert opened.writes == {"diffusion": "uncover", "in turn": "uncover", "unilm": "sequence", "prefix": "prefix"}.get(
        name
    )
    if opened.writes is not None:
        check_writing(opened, tmp_path)


def test_samples_of_a_reader_of_both_sides_are_written_as_it_writes(text: Path, tmp_path: Path) -> None:
    """Those after the last step are what the finished model guesses behind the same prompts."""
    prompts = ("the quick", "a dog")
    samples = {"every": 4, "prompts": prompts, "tokens": 5, "temperature": 1.0}
    made = asked("unilm", text, samples=samples, train={**TRAIN, "precision": "fp32"})  # as the model is opened
    pretrain(made, tmp_path / "run", say=quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["step"] == made.train.steps]
    opened = Model.load(tmp_path / "run")
    assert opened.tokenizer is not None
    lots = Noise(made.seed).at("samples", made.train.steps)
    how: Any = {"max_new_tokens": 5, "sampling": Sampling(1.0), "noise": lots}
    told = continue_hidden(opened.transformer, opened.tokenizer, prompts, "sequence", **how)
    assert [(line["prompt"], line["continuation"]) for line in last] == list(zip(prompts, told, strict=True))


def test_a_prefix_lm_is_asked_as_it_learned(text: Path, tmp_path: Path) -> None:
    """Samples and the finished model read the prompt both ways; read from left to right it would say another thing."""
    prompts = ("the quick brown fox saw", "a dog and the old cat")
    samples = {"every": 4, "prompts": prompts, "tokens": 12, "temperature": 1.0}
    made = asked("prefix", text, samples=samples, train={**TRAIN, "precision": "fp32", "learning_rate": 0.1})
    deep = {**made.model.shape, "decoder": {**STACK, "layers": 2}}  # in one layer both directions come to the same
    made = made.model_copy(update={"model": made.model.model_copy(update={"shape": deep})})
    pretrain(made, tmp_path / "run", say=quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    last = [line["continuation"] for line in lines if line["step"] == made.train.steps]
    opened = Model.load(tmp_path / "run")
    assert opened.tokenizer is not None
    how: Any = {"max_new_tokens": 12, "sampling": Sampling(1.0)}
    lots = Noise(made.seed).at("samples", made.train.steps)
    read = [
        continue_text(opened.transformer, opened.tokenizer, prompts, noise=lots, both_ways=ways, **how)
        for ways in (True, False)
    ]
    assert last == read[0] != read[1]
    told = continue_text(opened.transformer, opened.tokenizer, prompts, noise=Noise(3), both_ways=True, **how)
    assert opened.generate(prompts, max_new_tokens=12, temperature=1.0, seed=3) == told


def check_writing(asked: Model, folder: Path) -> None:
    """A model that guesses hidden tokens says so, writes, and still does in another folder."""
    how: dict[str, Any] = {"max_new_tokens": 6, "seed": 3, **({"steps": 4} if asked.writes == "uncover" else {})}
    told = asked.generate(["the quick", "a dog"], **how)
    assert len(told) == 2
    save(asked, folder / "copy", to="modeledge")
    again = Model.load(folder / "copy")
    assert again.generate(["the quick", "a dog"], **how) == told
    if asked.writes != "uncover":
        with pytest.raises(ModeledgeError, match="E-USAGE: steps"):
            asked.generate("a", steps=3)
    done = CliRunner().invoke(
        app, ["generate", str(folder / "run"), "the quick", "--max-new-tokens", "6", "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    assert ("masked diffusion" if asked.writes == "uncover" else "both ways") in done.stderr
    assert done.stdout.startswith("the quick")
    convert(folder / "run", folder / "converted", Wish(to="modeledge"), quiet)
    assert Model.load(folder / "converted").generate(["the quick", "a dog"], **how) == told
    (folder / "copy" / WRITING).write_text('{"writes": "loudly"}')
    with pytest.raises(ModeledgeError, match=r"E-RUN-FOLDER.*writing\.json"):
        Model.load(folder / "copy")


def test_every_kind_of_this_page_is_in_the_table() -> None:
    assert {kind["kind"] for _, kind in KINDS.values()} <= AIMS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_examples_fill_their_rows_and_no_more(name: str, text: Path, tmp_path: Path) -> None:
    """A whole example of the stream, whatever is drawn for it, takes a row of `train.length` or nearly."""
    made = asked(name, text, corpus={"paths": [str(text)]})
    pretrain(made.model_copy(update={"train": made.train.model_copy(update={"steps": 1})}), tmp_path / "run", say=quiet)
    tokenizer = Tokenizer.load(tmp_path / "run" / "tokenizer")
    shards = Shards.open(tmp_path / "run" / "corpus")
    trainer = build_trainer(made, tokenizer, shards)
    stream, length = stream_of(made, trainer.model, tokenizer, shards), made.train.length
    most = max(range(len(stream)), key=lambda i: len(stream.example(i).ids))
    sizes = set()
    for epoch in range(30):
        item = trainer.module.objective.prepare(stream.example(most, epoch), trainer.noise.at("prepare", epoch, most))
        sizes.add(max(item.lengths()))
    assert max(sizes) <= length
    assert max(sizes) >= length - (6 if name in ("together", "in turn", "fim") else 0)


@pytest.mark.parametrize("name", ["multi-token", "in turn"])
def test_a_stopped_run_goes_on_as_if_it_had_not(name: str, text: Path, tmp_path: Path) -> None:
    """With weights of the objective's own, and with a curriculum: bit for bit the same model."""
    more: dict[str, Any] = {}
    if name == "in turn":
        more["curriculum"] = {
            "numbers": {"a.rate": {"values": [0.6, 0.2], "steps": [0, 4]}},
            "chances": {"a": {"values": [1.0, 0.0], "steps": [0, 3], "jumps": True}},
        }
    made = asked(name, text, **more)

    class Stop(Exception):
        pass

    def stopping(record: Any) -> None:
        if record.step == 3:
            raise Stop

    whole = pretrain(made, tmp_path / "whole", say=quiet)
    with pytest.raises(Stop):
        pretrain(made, tmp_path / "run", say=quiet, listeners=[stopping])
    pretrain(made, tmp_path / "run", say=quiet, resume=True)
    for file in whole.glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "run" / "model" / file.name).read_bytes()
    if name == "in turn":
        lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
        assert [sorted(line["terms"]) for line in lines if "terms" in line][3] == ["b.elbo"]


def test_texts_grow_longer(text: Path, tmp_path: Path) -> None:
    """The same tokens a step, in parts of 8, then of 32."""
    course = {"length": {"values": [8, 32], "steps": [0, 2], "jumps": True}}
    made = recipe([str(text)], curriculum=course)
    pretrain(made, tmp_path / "run", say=quiet)
    plain = recipe([str(text)])
    pretrain(plain, tmp_path / "plain", say=quiet)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("run", "plain")
    ]
    assert [line["tokens"] for line in rows[0]] == [line["tokens"] for line in rows[1]]
    assert rows[0][0]["loss"] != rows[1][0]["loss"]
    for objective, change, code in (
        (
            {"kind": "denoise"},
            course,
            r"E-CONFIG: curriculum\.length: .*choose a kind whose texts can grow: causal, fim",
        ),
        ({"kind": "causal"}, {"numbers": {"rate": {"values": [0.1, 0.2], "steps": [0, 2]}}}, "E-CONFIG-KEY"),
        ({"kind": "causal"}, {"chances": {"a": {"values": [0.1, 0.2], "steps": [0, 2]}}}, r"E-CONFIG: curriculum\.ch"),
        ({"kind": "causal"}, {"numbers": {"a.rate": {"values": [0.1, 0.2], "steps": [0, 2]}}}, "E-CONFIG-KEY: curric"),
    ):
        with pytest.raises(ModeledgeError, match=code):
            pretrain(recipe([str(text)], objective=objective, curriculum=change), tmp_path / "x", say=quiet)


def test_courses_that_are_none() -> None:
    assert Course(values=(1.0, 0.0), steps=(0, 10)).number(8).at(40) == 0.5
    for values, steps, jumps in (
        ((1.0, 0.0), (5, 5), False),
        ((1.0, 0.0), (1, 5), True),
        ((1.0, 0.5, 0.0), (0, 1, 2), False),
        ((1.0, 0.5), (0, 1, 2), True),
    ):
        with pytest.raises(ValueError, match=r"step|straight"):
            Course(values=values, steps=steps, jumps=jumps)


def test_a_tokenizer_without_the_middles_tokens_is_refused(text: Path, tmp_path: Path) -> None:
    train_tokenizer([text.read_text()], vocab_size=300).save(tmp_path / "t")
    made = asked("fim", text, tokenizer={"path": str(tmp_path / "t")})
    with pytest.raises(
        ModeledgeError, match=r"E-SPECIAL-TOKEN: objective\.kind: the tokenizer has no <\|fim_prefix\|>"
    ):
        pretrain(made, tmp_path / "run", say=quiet)
    extra = recipe([str(text)], tokenizer={"vocab_size": 330, "extra": [*NAMES, "<|more|>"]})
    pretrain(extra, tmp_path / "extra", say=quiet)
    tokenizer = Tokenizer.load(tmp_path / "extra" / "tokenizer")
    ids = [tokenizer.id(name) for name in (*NAMES, "<|more|>")]
    assert None not in ids
    assert tokenizer.encode("<|fim_prefix|>").tolist() != [ids[0]]


def test_what_a_recipe_cannot_blend(text: Path, tmp_path: Path) -> None:
    part = {"objective": {"kind": "causal"}}
    for objective, code in (
        ({"kind": "blend", "parts": {}}, "E-CONFIG-VALUE"),
        ({"kind": "blend", "parts": {"a": {**part, "chance": 0.5}}}, "E-CONFIG-VALUE"),
        ({"kind": "blend", "mode": "in turn", "parts": {"a": {**part, "chance": 0.0}}}, "E-CONFIG-VALUE"),
        ({"kind": "blend", "parts": {"a": {"objective": {"kind": "masked"}}}}, "E-CONFIG: objective.kind"),
        ({"kind": "blend", "parts": {f"p{i}": part for i in range(40)}}, "E-CONFIG-VALUE: train.length"),
        ({"kind": "blend", "parts": {"a": {"objective": {"kind": "causal", "rat": 1}}}}, "E-CONFIG-KEY"),
    ):
        with pytest.raises(ModeledgeError, match=code):
            pretrain(recipe([str(text)], objective=objective), tmp_path / "run", say=quiet)


@pytest.mark.parametrize(
    ("body", "objective", "length", "words"),
    [
        ("encoder", {"kind": "masked"}, 2, "'masked' has room for 0 tokens of text in a row of 2"),
        ("encoder", {"kind": "diffusion"}, 3, "'diffusion' has room for 1 tokens"),
        ("decoder", {"kind": "unilm"}, 4, "'unilm' has room for 1 tokens"),
        ("decoder", {"kind": "multi-token", "ahead": 40}, 32, "ahead is 40, and a row of 32"),
    ],
)
def test_rows_too_short_for_an_objective(
    body: str, objective: dict[str, Any], length: int, words: str, text: Path, tmp_path: Path
) -> None:
    """Before the first step, with the name of the objective."""
    train_tokenizer([text.read_text()], vocab_size=300).save(tmp_path / "t")
    made = recipe(
        [str(text)],
        model={"shape": BODIES[body]},
        objective=objective,
        tokenizer={"path": str(tmp_path / "t")},
        train={"steps": 1, "batch": 2, "length": length},
    )
    with pytest.raises(ModeledgeError, match=rf"E-CONFIG-VALUE.*{words}"):
        pretrain(made, tmp_path / "run", say=quiet)


def test_a_rearranged_text_has_no_perplexity(text: Path, tmp_path: Path) -> None:
    """Its signs are no text, and the middle is written where what follows it is known."""
    pretrain(asked("fim", text), tmp_path / "run", say=quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[-1]["eval"]) == {"loss"}


def test_a_course_that_fails_at_some_step_is_refused_before_the_first(text: Path, tmp_path: Path) -> None:
    """From step 2 to 3 neither part is drawn; a text of no tokens is reached at the last step."""
    gone = {"a": {"values": [1, 0], "steps": [0, 2]}, "b": {"values": [0, 1], "steps": [3, 4]}}
    below = {"a": {"values": [1, -1], "steps": [0, 2]}}
    parts = {"a": {"objective": {"kind": "causal"}}, "b": {"objective": {"kind": "fim"}}}
    blend = {"kind": "blend", "mode": "in turn", "parts": parts}
    for objective, course, code in (
        (blend, {"chances": gone}, r"E-CONFIG-VALUE: curriculum\.chances: the chances \[0.0, 0.0\]"),
        (blend, {"chances": below}, r"E-CONFIG-VALUE: curriculum\.chances: the chances \[-1.0, 1.0\]"),
        ({"kind": "causal"}, {"length": {"values": [16, 0], "steps": [0, 4]}}, r"E-CONFIG-VALUE: curriculum\.length"),
    ):
        made = recipe([str(text)], objective=objective, curriculum=course)
        with pytest.raises(ModeledgeError, match=code):
            pretrain(made, tmp_path / "x", say=quiet)
        assert not (tmp_path / "x" / "metrics.jsonl").exists()
    blend["parts"] = {**parts, "a": {"objective": {"kind": "causal"}, "chance": 0.5}}
    rising = {"b": {"values": [0, 1], "steps": [3, 4]}}
    pretrain(recipe([str(text)], objective=blend, curriculum={"chances": rising}), tmp_path / "y", say=quiet)


def test_a_rule_of_widths_beside_layers_that_it_does_not_reach_is_refused(text: Path, tmp_path: Path) -> None:
    """The layers of the further tokens would begin too large, and move too fast, by the ratio of the widths."""
    train = {**TRAIN, "base_width": 8}
    with pytest.raises(ModeledgeError, match=r"E-CONFIG: train\.base_width: objective 'multi-token' has layers"):
        pretrain(asked("multi-token", text, train=train), tmp_path / "run", say=quiet)

"""Samples during pre-training never stop a run half-way: what cannot be asked is refused before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_pretrain import STACK, TRAIN, quiet, recipe, sentences

from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.recipes.pretraining.pretrain import prepare_corpus, pretrain, ready
from modeledge.recipes.pretraining.samples import Sampler, chosen
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.tokens import Tokenizer
from modeledge.train import Trainer

LEARNED = {**STACK, "position": {"kind": "learned", "length": 32}}
SHORT = {**STACK, "position": {"kind": "learned", "length": 12}}
BODIES = {"decoder": {"decoder": LEARNED}, "encoder": {"encoder": LEARNED}, "both": {"encoder": LEARNED}}
BODIES |= {"both": {"encoder": LEARNED, "decoder": LEARNED}, "short": {"decoder": SHORT}}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text(sentences(60))
    return path


def asked(text: Path, body: str, objective: dict[str, Any], **samples: Any) -> PretrainRecipe:
    shape = {"width": 16, **BODIES[body]}
    train = {**TRAIN, "precision": "fp32", "length": 12 if body == "short" else 32}
    told = {"every": 2, "tokens": 40, **samples}
    return recipe([str(text)], model={"shape": shape}, objective=objective, samples=told, train=train, check=False)


def made(said: PretrainRecipe, folder: Path) -> tuple[Trainer, Tokenizer, list[ShardStream]]:
    tokenizer, shards = prepare_corpus(said, folder, None, quiet)
    trainer, streams = ready(said, tokenizer, shards)
    return trainer, tokenizer, streams


CASES = {
    "a source as long as the positions": ("both", {"kind": "bart", "infill": 0, "rotate": 1.0, "permute": 0}),
    "an example as long as the positions": ("short", {"kind": "causal"}),
    "a prompt that is read both ways": ("decoder", {"kind": "unilm"}),
}


@pytest.mark.parametrize("name", CASES)
def test_examples_leave_room_for_what_is_written_behind_them(name: str, text: Path, tmp_path: Path) -> None:
    pretrain(asked(text, *CASES[name]), tmp_path / "run", say=quiet)
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize(
    ("body", "kind", "prompts", "code"),
    [
        ("encoder", "masked", ["the quick [MASK]", "the fox"], r"E-USAGE: samples\.prompts: a prompt has no \[MASK\]"),
        ("encoder", "masked", ["[MASK]" + " the quick" * 20], "E-POSITION"),
        ("encoder", "electra", [], "E-USAGE: the model has no head over the vocabulary"),
        ("decoder", "causal", ["the quick fox" * 12], r"E-POSITION: samples\.prompts"),
        ("both", "prefix", ["the quick fox" * 12], "E-POSITION"),
        ("both", "prefix", [""], r"E-USAGE: samples\.prompts: a prompt is empty"),
    ],
)
def test_what_no_step_could_answer_is_refused_before_the_first(
    body: str, kind: str, prompts: list[str], code: str, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModeledgeError, match=code):
        pretrain(asked(text, body, {"kind": kind}, prompts=prompts), tmp_path / "run", say=quiet)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_answer_begins_with_all_that_the_decoder_was_given(text: Path, tmp_path: Path) -> None:
    """BART's decoder is given `</s> <s>`: at the first of them nothing was learned."""
    said = asked(text, "both", {"kind": "denoise", "variant": "drop"})
    trainer, tokenizer, streams = made(said, tmp_path)
    assert said.samples is not None
    sampler = Sampler(said.samples, trainer, tokenizer, chosen(said, streams))
    assert len(sampler._sources()[1]) == 1
    prepare: Any = trainer.module.objective.prepare
    object.__setattr__(prepare.form, "start", (7, 8))
    assert sampler._sources()[1] == [7, 8]

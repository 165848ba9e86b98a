"""Masked kinds of `[objective]`: from the recipe to a model, with the channels that they ask of the corpus."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.files import read_json
from modeledge.model import BoundaryHead
from modeledge.objectives import MaskedPrepare, Runs, Salient, Single, ngrams, spans
from modeledge.recipes.corpora.build import build_shards, build_tokenizer
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.tokens import Tokenizer

WORDS = ["the", "brown", "foxes", "jumped", "over", "Anna", "Berlin", "1999", "sleeping", "dogs"]
STACK = {
    "layers": 1,
    "attention": {"heads": 2},
    "feedforward": {"width": 32},
    "position": {"kind": "learned", "length": 64},
}
TRAIN = {"steps": 4, "batch": 4, "length": 32, "save_every": 4}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, lots = tmp_path_factory.mktemp("masked"), random.Random(1)
    text = "".join(" ".join(lots.choices(WORDS, k=8)).capitalize() + ".\n\n" for _ in range(150))
    (folder / "a.txt").write_text(text)
    return folder


def recipe(ground: Path, objective: dict[str, Any], **changes: Any) -> PretrainRecipe:
    values: dict[str, Any] = {
        "corpus": {"paths": [str(ground / "a.txt")]},
        "tokenizer": {"kind": "wordpiece", "vocab_size": 80},
        "model": {"shape": {"width": 16, "encoder": STACK}},
        "train": TRAIN,
        "objective": objective,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


def quiet(line: str) -> None:
    """Says nothing."""


KINDS: list[tuple[dict[str, Any], Any, set[str]]] = [
    ({"kind": "masked", "static": 10, "as_mask": 1.0, "as_random": 0.0}, Single(), set()),
    ({"kind": "masked", "unit": "word", "as_random": 0.2}, Runs(), {"words"}),
    ({"kind": "masked", "unit": "ngram", "longest": 2}, ngrams(2), {"words"}),
    ({"kind": "masked", "unit": "salient"}, Salient(), {"words", "salient"}),
    ({"kind": "span"}, spans(), {"words"}),
    ({"kind": "span", "sbo": False, "p": 0.4, "longest": 5, "rate": 0.3}, spans(0.4, 5), {"words"}),
]


@pytest.mark.parametrize(("objective", "unit", "channels"), KINDS)
def test_what_a_recipe_builds(
    ground: Path, tmp_path: Path, objective: dict[str, Any], unit: Any, channels: set[str]
) -> None:
    build_tokenizer(
        CorpusRecipe(paths=(str(ground / "a.txt"),)), TokenizerRecipe(kind="wordpiece", vocab_size=80), tmp_path, quiet
    )
    tokenizer = Tokenizer.load(tmp_path)
    aim = recipe(ground, objective).objective
    built = aim.build(tokenizer, None, 32)  # type: ignore[arg-type]
    prepare: Any = getattr(built.prepare, "masked", built.prepare)
    assert aim.channels == built.prepare.channels == channels
    assert isinstance(prepare, MaskedPrepare)
    assert (prepare.unit, prepare.rate) == (unit, objective.get("rate", 0.15))
    assert (prepare.as_mask, prepare.as_random) == (objective.get("as_mask", 0.8), objective.get("as_random", 0.1))
    assert prepare.masks == built.repeats == (objective.get("static") or None)
    assert set(built.heads) == ({"lm", "sbo"} if objective == {"kind": "span"} else {"lm"})
    assert aim.tokens(32) == 30


@pytest.mark.parametrize("objective", [KINDS[1][0], KINDS[3][0], KINDS[4][0]])
def test_a_run_from_text_to_model(ground: Path, tmp_path: Path, objective: dict[str, Any]) -> None:
    asked = recipe(ground, objective)
    model = load_model(pretrain(asked, tmp_path / "run", say=quiet))
    assert set(Shards.open(tmp_path / "run" / "corpus").channels) == asked.objective.channels
    if objective["kind"] == "span":
        assert model.heads["sbo"].spec == BoundaryHead()
        assert read_json(tmp_path / "run" / "model" / "config.json")["model_type"] == "modeledge"


def test_shards_without_the_channel_are_refused_before_the_first_step(ground: Path, tmp_path: Path) -> None:
    corpus, wanted = CorpusRecipe(paths=(str(ground / "a.txt"),)), TokenizerRecipe(kind="wordpiece", vocab_size=80)
    build_tokenizer(corpus, wanted, tmp_path / "t", quiet)
    build_shards(corpus, tmp_path / "t", tmp_path / "c", quiet)
    made = {"corpus": {"shards": str(tmp_path / "c")}, "tokenizer": {"path": str(tmp_path / "t")}}
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD: .*no channel 'words'") as caught:
        pretrain(recipe(ground, {"kind": "span"}, **made), tmp_path / "run", say=quiet)
    assert caught.value.remedy == 'build it again with corpus.channels = ["words"]'
    build_shards(corpus.model_copy(update={"channels": ("words",)}), tmp_path / "t", tmp_path / "d", quiet)
    made["corpus"] = {"shards": str(tmp_path / "d")}
    pretrain(recipe(ground, {"kind": "span"}, **made), tmp_path / "run2", say=quiet)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"kind": "masked", "rate": 0}, "rate"),
        ({"kind": "masked", "rate": 1}, "rate"),
        ({"kind": "masked", "unit": "words"}, "unit"),
        ({"kind": "masked", "as_mask": 0.95}, "sum to more than 1"),
        ({"kind": "masked", "longest": 4}, "ngram"),
        ({"kind": "span", "unit": "word"}, "unit"),
        ({"kind": "span", "p": 1}, "p"),
    ],
)
def test_recipes_that_are_refused(ground: Path, objective: dict[str, Any], said: str) -> None:
    with pytest.raises(ModeledgeError, match="E-CONFIG") as caught:
        recipe(ground, objective)
    assert said in str(caught.value)

"""A model whose tokenizer lacks what an objective needs: the error names the key that adds it, and then the run goes.

Every objective of the table that says which special tokens it needs is asked of a checkpoint without them, first as it
is, then with the key of the remedy.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from stopping import same_when_stopped

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import LMHead, Transformer
from modeledge.recipes.corpora.vocabulary import make_tokenizer
from modeledge.recipes.pretraining.pretrain import prepare_corpus, pretrain
from modeledge.recipes.pretraining.start import build_model, shape
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.recipes.tuning.scratch import tokenizer_for
from modeledge.records import Document
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, sentinel_names, train_tokenizer
from modeledge.tokens.extend import replaced

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
DOMAIN = "acute myocardial infarction ischaemia of cardiac tissue with thrombolysis and angioplasty".split()  # noqa: SIM905
STACK = {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 32}, "position": {"kind": "rotary"}}
BODIES = {"decoder": {"decoder": STACK}, "encoder": {"encoder": STACK}}
TRAIN = {"steps": 4, "batch": 4, "length": 48, "save_every": 2, "precision": "fp32"}
COPIED = {"decoder": "copied"}
TURNED = {"bidirectional": True}
NEEDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # body, more of [model], [objective]
    "denoise": ("decoder", {}, {"kind": "denoise"}),
    "ul2": ("decoder", {}, {"kind": "ul2"}),
    "fim": ("decoder", {}, {"kind": "fim"}),
    "bart": ("encoder", COPIED, {"kind": "bart", "permute": 0.0}),
    "bert2bert": ("encoder", COPIED, {"kind": "denoise"}),
    "llm2vec": ("decoder", TURNED, {"kind": "masked"}),
    "span": ("decoder", TURNED, {"kind": "span"}),
    "electra": ("decoder", TURNED, {"kind": "electra", "generator": 0.5}),
    "diffusion": ("decoder", TURNED, {"kind": "diffusion"}),
    "unilm": ("decoder", {}, {"kind": "unilm"}),
}


def quiet(line: str) -> None:
    """Says nothing."""


def text(words: list[str], count: int = 90) -> str:
    lots = random.Random(0)
    return "\n".join(" ".join(lots.choices(words, k=12)).capitalize() + "." for _ in range(count)) + "\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints with ends of a text and no other special token, their heads tied and not."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "domain.txt").write_text(text(DOMAIN))
    tokenizer = train_tokenizer([text(WORDS), text(DOMAIN, 9)], vocab_size=330, specials={"bos": "<s>", "eos": "</s>"})
    for name, body, tie in (("decoder", "decoder", True), ("untied", "decoder", False), ("encoder", "encoder", True)):
        model = Transformer(shape(None, {"width": 16, **BODIES[body]}, tokenizer.vocab_size), seed=1)
        model.add_heads({"lm": LMHead(tie=tie)}, Noise(2))
        save_model(model, folder / name)
        tokenizer.save(folder / name)
    return folder


def recipe(ground: Path, start: str = "decoder", **changes: Any) -> PretrainRecipe:
    values: dict[str, Any] = {
        "corpus": {"paths": [str(ground / "domain.txt")], "split": "line"},
        "model": {"start": str(ground / start), **changes.pop("model", {})},
        "train": TRAIN,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


def asked_by(remedy: str) -> dict[str, Any]:
    """The key of the tokenizer that a remedy names, as a recipe has it."""
    found = re.search(r"tokenizer\.(\w+ = (?:\[.*?\](?=[:,])|\{.*?\}(?=:)|\d+))", remedy)
    assert found is not None, remedy
    return tomllib.loads(found[1])


@pytest.mark.parametrize("kind", NEEDS)
def test_what_the_remedy_says_is_enough(ground: Path, tmp_path: Path, kind: str) -> None:
    start, model, objective = NEEDS[kind]
    keys, said = dict[str, Any](), list[str]()
    for _ in range(3):
        try:
            asked = recipe(ground, start, model=model, objective=objective, tokenizer=keys)
            folder = pretrain(asked, tmp_path / "run", say=said.append)
            break
        except ModeledgeError as error:
            if error.code != "E-SPECIAL-TOKEN":
                raise
            keys |= asked_by(error.remedy)
    assert keys
    assert not [line for line in said if "are not used" in line]
    assert [line for line in said if line.startswith("note: the tokenizer gains ")]
    old, new, made = Tokenizer.load(ground / start), Tokenizer.load(folder), load_model(folder)
    assert new.vocab_size == made.config.table.vocab > old.vocab_size
    assert new.encode(text(WORDS, 3)).tolist() == old.encode(text(WORDS, 3)).tolist()
    assert new.fingerprint == Tokenizer.load(tmp_path / "run" / "tokenizer").fingerprint


@pytest.mark.parametrize("start", ["decoder", "untied"])
def test_new_rows_are_means_and_old_ones_are_what_they_were(ground: Path, tmp_path: Path, start: str) -> None:
    """Together with new pieces, and in a head with rows of its own too."""
    keys = {"sentinels": 5, "extra": ["[X]"], "extend": 8, "specials": {"mask": "[MASK]"}}
    asked = recipe(ground, start, objective={"kind": "denoise"}, tokenizer=keys)
    old, (new, _) = Tokenizer.load(ground / start), prepare_corpus(asked, tmp_path, None, quiet)
    assert [new.token(old.vocab_size + n) for n in range(7)] == ["[MASK]", *sentinel_names(5), "[X]"]
    assert new.vocab_size > old.vocab_size + 7
    before, after = load_model(ground / start), build_model(asked, new)
    rows = replaced(old, new)
    tables = [(before.tokens, after.tokens)]
    if start == "untied":
        tables += [(before.heads["lm"].weight, after.heads["lm"].weight)]
    for theirs, ours in tables:
        assert torch.equal(ours[: len(theirs)], theirs)
        for number, ids in enumerate(rows, old.vocab_size):
            torch.testing.assert_close(ours[number], theirs[ids].mean(0), rtol=0, atol=1e-6)
    assert (after.heads["lm"].weight is None) is (start == "decoder")


def test_a_stop_changes_nothing_of_it(ground: Path, tmp_path: Path) -> None:
    asked = recipe(ground, objective={"kind": "denoise"}, tokenizer={"sentinels": 9, "extend": 5})
    same_when_stopped(asked, tmp_path, ("metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"))


def test_what_is_there_already_changes_nothing(ground: Path, tmp_path: Path) -> None:
    """A second run asks for the same again: the same tokenizer, no more rows, and nothing to say."""
    keys = {"sentinels": 9, "specials": {"mask": "[MASK]"}}
    first = pretrain(recipe(ground, objective={"kind": "denoise"}, tokenizer=keys), tmp_path / "one", say=quiet)
    said: list[str] = []
    asked = recipe(ground, str(first), objective={"kind": "denoise"}, tokenizer={**keys, "sentinels": 7})
    second = pretrain(asked, tmp_path / "two", say=said.append)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert load_model(second).config == load_model(first).config
    assert not [line for line in said if "gains" in line]


def test_shards_of_the_given_tokenizer_can_be_read(ground: Path, tmp_path: Path) -> None:
    """No text reaches a special token: with more of them the same shards would be written."""
    pretrain(recipe(ground), tmp_path / "made", say=quiet)
    shards, said = {"shards": str(tmp_path / "made" / "corpus")}, list[str]()
    replay = {**shards, "share": 0.5}
    objective, keys = {"kind": "denoise"}, {"sentinels": 9}
    asked = recipe(ground, corpus=shards, replay=replay, objective=objective, tokenizer=keys)
    folder = pretrain(asked, tmp_path / "run", say=said.append)
    assert len(Tokenizer.load(folder).sentinels) == 9
    assert [line for line in said if "gains 9 special tokens" in line]
    sources = {"a": {"shards": shards["shards"]}, "b": {"paths": [str(ground / "domain.txt")]}}
    values = {"mixture": {"sources": sources}, "model": {"start": str(ground / "decoder")}, "train": TRAIN}
    values |= {"objective": objective, "tokenizer": keys}
    folder = pretrain(load_config(PretrainRecipe, None, values=values), tmp_path / "mixed", say=quiet)
    assert len(Tokenizer.load(folder).sentinels) == 9
    with pytest.raises(ModeledgeError, match=r"E-CONFIG.*ready shards"):
        pretrain(recipe(ground, corpus=shards, tokenizer={"extend": 3}), tmp_path / "other", say=quiet)


def test_a_tokenizer_at_a_path_gains_them_too(ground: Path, tmp_path: Path) -> None:
    path = {"path": str(ground / "decoder"), "sentinels": 9}
    values = {"corpus": {"paths": [str(ground / "domain.txt")]}, "tokenizer": path, "train": TRAIN}
    values |= {"model": {"shape": {"width": 16, **BODIES["decoder"]}}, "objective": {"kind": "denoise"}}
    folder = pretrain(load_config(PretrainRecipe, None, values=values), tmp_path / "run", say=quiet)
    assert load_model(folder).config.table.vocab == Tokenizer.load(ground / "decoder").vocab_size + 9
    tuned = load_config(FinetuneRecipe, None, values={"model": "preset:decoder-small", "data": "d", "tokenizer": path})
    assert len(tokenizer_for(tuned, []).sentinels) == 9


def test_keys_of_a_tokenizer_to_be_trained_are_still_said_to_be_unused(ground: Path) -> None:
    assert "are not used" in recipe(ground, tokenizer={"sentinels": 9, "kind": "wordpiece"}).unused
    for used in ({"sentinels": 9}, {"extra": ["[X]"]}, {"specials": {"mask": "[MASK]"}}, {"extend": 5}):
        assert not recipe(ground, tokenizer=used).unused
    with pytest.raises(ModeledgeError, match="E-CONFIG"):
        recipe(ground, tokenizer={"specials": {"msk": "[MASK]"}})


def test_a_trained_tokenizer_has_the_roles_that_are_said() -> None:
    values = {"corpus": {"paths": ["a"]}, "tokenizer": {"vocab_size": 320, "specials": {"mask": "<mask>"}}}
    made = make_tokenizer(load_config(PretrainRecipe, None, values=values), [Document(text(WORDS), "a")])
    assert (made.names["mask"], made.names["cls"]) == ("<mask>", "[CLS]")
    assert made.id("[MASK]") is None


def test_the_reference_library_opens_what_is_written(ground: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = train_tokenizer([text(WORDS)], vocab_size=330, specials={"bos": "</s>", "eos": "</s>", "unk": "</s>"})
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    ends = {"bos_token_id": tokenizer.specials.bos, "eos_token_id": tokenizer.specials.eos}
    config = transformers.GPT2Config(vocab_size=tokenizer.vocab_size, **sizes, **ends)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save(tmp_path / "gpt2")
    asked = recipe(tmp_path, "gpt2", objective={"kind": "denoise"}, tokenizer={"sentinels": 9, "extend": 4})
    asked = asked.model_copy(update={"corpus": recipe(ground).corpus})
    folder = pretrain(asked, tmp_path / "run", say=quiet)
    model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.load(folder)
    size = ours.vocab_size
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == len(theirs) == size
    assert theirs.convert_tokens_to_ids(list(sentinel_names(9))) == list(ours.sentinels)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == size

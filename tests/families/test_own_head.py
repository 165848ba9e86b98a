"""The head of a task: what the checkpoint brings of it, what is left out of the file, and models of two sides."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tuned import NAMES, TOKENIZER, Pretrained, both_say, opened, tuned

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, origin_of, save_model
from modeledge.families.own import own_head
from modeledge.model import Batch, Side
from modeledge.objectives import Shape, collate
from modeledge.recipes.asking.use import Model
from modeledge.recipes.tuning.heads import words_of
from modeledge.records import Piece, Prepared
from modeledge.tasks import Labels, LabelTask
from modeledge.tasks.writing import starting


@pytest.fixture(scope="module")
def made(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return Pretrained(hf, tmp_path_factory.mktemp("hf"))


# ---- what the checkpoint brings, and what is left out


BROUGHT = {"bert": "bert.pooler.dense", "albert": "albert.pooler", "modernbert": "head.dense"}


@pytest.mark.parametrize("family", BROUGHT)
def test_the_trained_layer_below_the_scores_is_kept(family: str, made: Pretrained, tmp_path: Path) -> None:
    """One step of Adam moves each weight by its rate, 0.01; drawn anew they would be others by 0.2 and more."""
    before = load_file(made(family) / "model.safetensors")
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(12)], epochs=0.1)
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name in [n for n in before if n.startswith(BROUGHT[family])]:
        assert (after[name] - before[name]).abs().max() <= 0.011, name
    assert any("fresh but for dense" in line and "the checkpoint brings" in line for line in said)


def test_a_trained_scorer_of_another_task_is_not_kept(hf: Any, made: Pretrained, tmp_path: Path) -> None:
    """RoBERTa's dense layer belongs to its head, and BERT's scores to theirs: both start afresh."""
    tuned(made("roberta"), tmp_path / "one", [NAMES[n % 3] for n in range(24)])
    said = tuned(tmp_path / "one", tmp_path / "two", [NAMES[n % 2] for n in range(24)])
    assert "head 'class' at first: fresh" in said
    tuned(made("bert"), tmp_path / "a", [NAMES[n % 3] for n in range(24)])
    said = tuned(tmp_path / "a", tmp_path / "b", [NAMES[n % 2] for n in range(24)])
    assert "head 'class' at first: fresh but for dense, which the checkpoint brings" in said
    assert opened(hf, tmp_path / "b" / "model", "AutoModelForSequenceClassification").config.id2label == {
        0: "bad",
        1: "fair",
    }


@pytest.mark.parametrize("family", ["bert", "albert", "llama"])
def test_heads_that_the_task_did_not_use_are_left_out_and_said(family: str, made: Pretrained, tmp_path: Path) -> None:
    labels = [NAMES[n % 3] for n in range(12)]
    said = tuned(made(family), tmp_path / "run", labels)
    (line,) = [line for line in said if line.startswith("left out of the written")]
    assert "head 'lm'" in line
    assert ("head 'next'" in line) == (family != "llama")
    assert list(load_model(tmp_path / "run").heads) == ["class"]
    said = tuned(made(family), tmp_path / "own", labels, family="modeledge")
    assert not [line for line in said if line.startswith("left out")]
    assert {"class", "lm"} <= set(load_model(tmp_path / "own").heads)
    assert json.loads((tmp_path / "own" / "model" / "config.json").read_text())["model_type"] == "modeledge"


def test_a_loose_head_of_a_file_is_left_out_too(hf: Any, made: Pretrained, tmp_path: Path) -> None:
    """A file of BertForMaskedLM often still holds the scores of the next sentence, which nobody reads there."""
    folder = Path(shutil.copytree(made("bert"), tmp_path / "bert"))
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "architectures": ["BertForMaskedLM"]}))
    lines = tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(12)])
    assert any("cls.seq_relationship.weight" in line for line in lines)
    opened(hf, tmp_path / "run" / "model", "AutoModelForSequenceClassification")


@pytest.mark.parametrize(("family", "asked"), [("bert", {"pool": "mean"}), ("gpt2", {"hidden": True})])
def test_a_head_that_the_class_does_not_know_is_written_in_our_form_and_said(
    family: str, asked: dict[str, Any], made: Pretrained, tmp_path: Path
) -> None:
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(24)], options=asked)
    assert any(line.startswith("the model will be written in our own form") and family in line for line in said)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "our own form" in card
    spec = load_model(tmp_path / "run").heads["class"].spec
    assert all(getattr(spec, key) == value for key, value in asked.items())
    assert Model.load(tmp_path / "run").predict(["red"])[0]["prediction"] in NAMES


def test_a_pooling_that_the_class_knows_keeps_its_form(hf: Any, made: Pretrained, tmp_path: Path) -> None:
    tuned(
        made("modernbert"), tmp_path / "run", [NAMES[n % 3] for n in range(24)], options={"pool": "mean"}, dropout=0.3
    )
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert (config.classifier_pooling, config.classifier_dropout) == ("mean", 0.3)


def test_dropout_is_the_recipes_in_training_and_what_the_class_says_in_the_file(made: Pretrained) -> None:
    heads = {f: own_head(load_model(made(f)), "class", 3, dropout=0.3) for f in ("bert", "roberta", "llama", "bart")}
    rates = {f: (head.dropout, getattr(head, "first_dropout", 0.0)) for f, head in heads.items() if head is not None}
    assert rates == {"bert": (0.3, 0.0), "roberta": (0.3, 0.3), "llama": (0.3, 0.0), "bart": (0.3, 0.3)}


def test_a_fresh_start_keeps_the_family_and_nothing_of_the_weights(hf: Any, made: Pretrained, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made("bert"), tmp_path / "bert"))
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "architectures": ["BertForMaskedLM"]}))  # a loose pooler
    said = tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(24)], fresh=True)
    assert "head 'class' at first: fresh" in said
    ours, theirs, _ = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert not torch.equal(load_model(tmp_path / "run").tokens, load_model(made("bert")).tokens)


def test_an_encoder_without_its_decoder_has_no_class_for_texts(made: Pretrained) -> None:
    assert own_head(load_model(made("opt")), "tags", 3) is None  # there is no OPTForTokenClassification
    assert own_head(load_model(made("t5")), "tags", 3) is None  # it stands on the encoder alone
    with pytest.raises(ModeledgeError, match="E-SITE"):
        own_head(load_model(made("bert")), "clas", 3)


# ---- words of the configuration


def test_what_a_decoder_ends_with_is_not_called_padding(made: Pretrained) -> None:
    """The class reads the last token that is not padding: were it padding itself, it would read the one before."""
    model, labels = load_model(made("gpt2")), Labels("class", NAMES)
    del origin_of(model).said["pad_token_id"]  # type: ignore[union-attr]
    for last, named in ((TOKENIZER.need("cls"), True), (TOKENIZER.need("pad"), False)):
        task = LabelTask(labels, TOKENIZER, model.config, length=12)
        task.objective.prepare = replace(task.prepare, last=last)
        assert ("pad_token_id" in words_of(task, model)) == named
        assert words_of(task, model)["id2label"] == {"0": "bad", "1": "fair", "2": "good"}


def test_the_token_at_which_a_decoder_is_read_is_the_one_of_the_task(hf: Any, made: Pretrained, tmp_path: Path) -> None:
    """A file that ends its texts with another token than the tokenizer does: the class would look in vain for it."""
    folder = Path(shutil.copytree(made("bart"), tmp_path / "bart"))
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "eos_token_id": 7, "decoder_start_token_id": 2}))
    tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(24)])
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert config.eos_token_id == TOKENIZER.need("sep")
    assert (ours - theirs).abs().max() <= 1e-5


def test_a_word_that_would_move_a_number_is_not_written(made: Pretrained, tmp_path: Path) -> None:
    """RoBERTa counts its positions from the token that pads."""
    model = load_model(made("roberta"))
    save_model(model, tmp_path, words={"pad_token_id": 5, "eos_token_id": 9, "hidden_size": 3})
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["eos_token_id"] == 9
    assert (told.get("pad_token_id", 1), told["hidden_size"]) != (5, 3)
    assert load_model(tmp_path).config == model.config


# ---- encoder–decoders


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_that_a_decoder_reads_embeds(family: str, hf: Any, made: Pretrained) -> None:
    asked = Model.load(made(family))
    reference = getattr(hf, "T5EncoderModel" if family == "t5" else "BartModel").from_pretrained(made(family)).eval()
    encoder = reference.get_encoder()
    told = asked.embed(["red green", "one two three four"])
    for text, vector in zip(["red green", "one two three four"], told, strict=True):
        ids = torch.tensor([[TOKENIZER.need("cls"), *TOKENIZER.encode(text), TOKENIZER.need("sep")]])
        with torch.no_grad():
            wanted = encoder(ids).last_hidden_state[0].mean(0)
        assert (torch.from_numpy(vector) - wanted).abs().max() <= 1e-5


def test_bart_fills_gaps_as_its_library_shows(hf: Any, made: Pretrained) -> None:
    """The documented way: logits of the whole class at the masked place, the decoder given the text one place later."""
    asked = Model.load(made("bart"))
    reference = hf.BartForConditionalGeneration.from_pretrained(made("bart")).eval()
    cls, sep, mask = (TOKENIZER.need(role) for role in ("cls", "sep", "mask"))
    ids = torch.tensor([[cls, *TOKENIZER.encode("red"), mask, *TOKENIZER.encode(" two"), sep]])
    with torch.no_grad():
        shares = reference(ids).logits[0, ids[0] == mask].softmax(-1)[0]
    found = asked.fill("red [MASK] two", top=3)[0]
    assert [share for _, share in found] == pytest.approx(shares.topk(3).values.tolist(), abs=1e-6)
    assert [piece for piece, _ in found] == [TOKENIZER.decode([i]) for i in shares.topk(3).indices.tolist()]


def test_where_no_file_says_how_a_decoder_begins_the_tokenizer_does(made: Pretrained, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made("bart"), tmp_path / "bart"))
    said = json.loads((folder / "config.json").read_text())
    said = {key: value for key, value in said.items() if key != "decoder_start_token_id"} | {"eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(said))
    tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(24)])
    said = json.loads((tmp_path / "run" / "model" / "task.json").read_text())
    assert said["start"] == starting(TOKENIZER, None)[0]
    with pytest.raises(ModeledgeError, match="begins with"):
        Model.load(folder).fill("red [MASK] two")


def test_a_model_of_two_sides_without_a_source_is_refused(made: Pretrained) -> None:
    model = load_model(made("t5"))
    side = Side.of(torch.tensor([[1, 2]]))
    for batch in (Batch(target=side), Batch(source=side)):
        with pytest.raises(ModeledgeError, match="E-NO-TARGET"):
            model(batch)
    piece, empty = Piece(np.array([3, 4])), Piece(np.array([], dtype=np.int64))
    for pair in ((empty, piece), (piece, empty)):
        with pytest.raises(ModeledgeError, match=r"E-NO-TARGET: example 7: its (source|target) has no token"):
            collate([Prepared(1, piece, piece), Prepared(7, *pair)], Shape(8))

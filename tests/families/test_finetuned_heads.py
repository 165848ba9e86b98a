"""What is fine-tuned here opens in the reference library, in its class for the task: the same names of labels, the same
kind of problem, the same answers. Tiny random models of each family, as their pre-training left them.

Tolerance: 1e-5 of scores of order 1 in fp32, as for the families themselves; of values times their own size.
"""

from __future__ import annotations

import importlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import Architecture, Case, build
from safetensors.torch import load_file

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, origin_of, save_model
from modeledge.families.own import own_head
from modeledge.model import Batch, Side
from modeledge.objectives import Shape, collate
from modeledge.recipes.finetune import finetune
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.use import Model
from modeledge.records import Piece, Prepared
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.train import TrainConfig

WORDS = "red green blue one two three four five old new big small".split()  # noqa: SIM905
NAMES = ("bad", "fair", "good")

# family → its cases, its shape there, the class that pre-training leaves, which heads it has besides
FAMILIES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "bert": ("bert", "BERT", "BertForPreTraining", ("tags", "span")),
    "roberta": ("roberta", "ROBERTA", "RobertaForMaskedLM", ("tags", "span")),
    "distilbert": ("distilbert", "DISTIL", "DistilBertForMaskedLM", ("tags", "span")),
    "albert": ("albert", "ALBERT", "AlbertForPreTraining", ("tags", "span")),
    "electra": ("electra", "ELECTRA", "ElectraForPreTraining", ("tags", "span")),
    "modernbert": ("modernbert", "MODERN", "ModernBertForMaskedLM", ("tags", "span")),
    "gpt2": ("gpt2", "GPT2", "GPT2LMHeadModel", ("tags", "span")),
    "gpt_neox": ("gpt_neox", "NEOX", "GPTNeoXForCausalLM", ("tags", "span")),
    "opt": ("opt", "OPT", "OPTForCausalLM", ("span",)),
    "llama": ("llama", "LLAMA", "LlamaForCausalLM", ("tags", "span")),
    "qwen2": ("qwen2", "QWEN2", "Qwen2ForCausalLM", ("tags", "span")),
    "gemma": ("gemma", "GEMMA", "GemmaForCausalLM", ("tags",)),
    "t5": ("t5", "T5", "T5ForConditionalGeneration", ("span",)),
    "bart": ("bart", "BART", "BartForConditionalGeneration", ("span",)),
}
each = pytest.mark.parametrize("family", FAMILIES)
AUTO = {"tags": "AutoModelForTokenClassification", "span": "AutoModelForQuestionAnswering"}


def texts(count: int) -> list[str]:
    lots = random.Random(0)
    return [f"number {n} " + " ".join(lots.choices(WORDS, k=1 + n % 6)) for n in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(texts(60), vocab_size=300)


@pytest.fixture(scope="module")
def made(hf: Any, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a family's pre-trained model with the tokenizer beside it, written once."""
    held: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in held:
            file, name, architecture, _ = FAMILIES[family]
            of: Architecture = getattr(importlib.import_module(f"cases_{file}"), name)
            ids = {"pad_token_id": tokenizer.need("pad"), "eos_token_id": tokenizer.need("sep")}
            model = build(hf, Case(of, architecture, None, {"vocab_size": tokenizer.vocab_size, **ids}))
            held[family] = tmp_path_factory.mktemp("hf") / family
            model.save_pretrained(held[family])
            tokenizer.save(held[family])
        return held[family]

    return get


def tuned(model: Path, folder: Path, labels: list[Any], **fields: Any) -> list[str]:
    """Fine-tune on a few rows; returns what was said."""
    numbers = TrainConfig(batch=8, length=20, threads=1, precision="fp32", learning_rate=1e-2)
    said: list[str] = []
    rows = [{"text": text, "label": label} for text, label in zip(texts(len(labels)), labels, strict=True)]
    recipe = FinetuneRecipe(model=str(model), data="rows from memory", train=numbers, **{"epochs": 1.0, **fields})
    finetune(recipe, folder, rows=rows, say=said.append)
    return said


def opened(hf: Any, folder: Path, kind: str) -> Any:
    """The reference library's class on a folder of ours, which must be whole and nothing more."""
    model, told = getattr(hf, kind).from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    return model.eval()


def both_say(hf: Any, folder: Path) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """What we and the reference library say of the same ids, one text at a time."""
    theirs = opened(hf, folder / "model", "AutoModelForSequenceClassification")
    asked = Model.load(folder)
    assert asked.task is not None
    examples = asked.task.encode([{"text": text} for text in texts(6)], labelled=False)
    told, other = [], []
    for example in examples:
        source, target = asked.task.prepare.sides(asked.task.prepare.piece(example))
        sides = {k: Side.of(torch.from_numpy(p.ids)[None]) for k, p in (("source", source), ("target", target)) if p}
        first = source or target
        assert first is not None
        spans = torch.tensor([[0, 0, len((target or first).ids)]])
        with torch.no_grad():
            score = asked.task.objective.scores(asked.transformer, Batch(**sides, spans=spans))
            told.append(score.reshape(1, -1))
            other.append(theirs(torch.from_numpy(first.ids)[None]).logits)
    return torch.cat(told), torch.cat(other), theirs.config


@each
def test_a_classifier_opens_in_the_reference_library(family: str, hf: Any, made: Any, tmp_path: Path) -> None:
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(24)])
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert len(ours.unique(dim=0)) > 3  # not all texts alike
    assert config.id2label == dict(enumerate(NAMES))
    assert config.label2id == {name: n for n, name in enumerate(NAMES)}
    assert config.problem_type == "single_label_classification"
    assert config.architectures[0].endswith("ForSequenceClassification")
    assert not any("own form" in line for line in said)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["form"].startswith(f"written as a {family} checkpoint")
    answers = Model.load(tmp_path / "run").predict(texts(6))
    assert [row["prediction"] for row in answers] == [NAMES[n] for n in theirs.argmax(-1).tolist()]


@each
def test_a_regression_opens_in_the_reference_library(family: str, hf: Any, made: Any, tmp_path: Path) -> None:
    tuned(made(family), tmp_path / "run", [2.5 + 0.25 * (n % 7) for n in range(24)])
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))
    assert len(ours.unique()) > 3
    assert (config.num_labels, config.problem_type) == (1, "regression")
    value = Model.load(tmp_path / "run").predict(texts(2))[1]["prediction"]
    assert value == pytest.approx(float(theirs[1]), abs=1e-4)


@pytest.mark.parametrize(("family", "name"), [(f, name) for f, row in FAMILIES.items() for name in row[3]])
def test_heads_over_tokens_and_answers_are_built_written_and_read_back(
    family: str, name: str, hf: Any, made: Any, tmp_path: Path
) -> None:
    model = load_model(made(family)).eval()
    head = own_head(model, name, 4)
    assert head is not None
    model.heads.clear()
    model.add_heads({name: head}, Noise(4))
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    origin = origin_of(model)
    assert origin is not None
    origin.kept = {}
    save_model(model, tmp_path, words={"id2label": {str(n): f"tag {n}" for n in range(4)}} if name == "tags" else {})
    again = load_model(tmp_path)
    assert list(again.heads) == [name]
    assert origin_of(again).family == family  # type: ignore[union-attr]
    theirs = opened(hf, tmp_path, AUTO[name])
    ids = torch.tensor([[5, 9, 31, 40, 2]])
    shifted = torch.cat([torch.tensor([[model_start(theirs)]]), ids[:, :-1]], 1)
    sides = {"encoder": {"source": ids}, "decoder": {"target": ids}, "both": {"source": ids, "target": shifted}}
    kind = "both" if model.config.both else "encoder" if model.config.encoder is not None else "decoder"
    batch = Batch(**{side: Side.of(value) for side, value in sides[kind].items()})
    with torch.no_grad():
        out = theirs(ids)
        told = torch.stack((out.start_logits, out.end_logits), -1) if name == "span" else out.logits
        for one in (model, again.eval()):
            assert (one.heads[name](one(batch).last) - told).abs().max() <= 1e-5
    assert told.shape[-1] == (2 if name == "span" else 4)
    if name == "tags":
        assert theirs.config.id2label[3] == "tag 3"


def model_start(theirs: Any) -> int:
    return int(getattr(theirs.config, "decoder_start_token_id", None) or 0)


# ---- what the checkpoint brings, and what is left out


BROUGHT = {"bert": "bert.pooler.dense", "albert": "albert.pooler", "modernbert": "head.dense"}


@pytest.mark.parametrize("family", BROUGHT)
def test_the_trained_layer_below_the_scores_is_kept(family: str, made: Any, tmp_path: Path) -> None:
    """One step of Adam moves each weight by its rate, 0.01; drawn anew they would be others by 0.2 and more."""
    before = load_file(made(family) / "model.safetensors")
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(12)], epochs=0.1)
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name in [n for n in before if n.startswith(BROUGHT[family])]:
        assert (after[name] - before[name]).abs().max() <= 0.011, name
    assert any("fresh but for dense" in line and "the checkpoint brings" in line for line in said)


def test_a_trained_scorer_of_another_task_is_not_kept(hf: Any, made: Any, tmp_path: Path) -> None:
    """RoBERTa's dense layer belongs to its head, and BERT's scores to theirs: both start afresh."""
    tuned(made("roberta"), tmp_path / "one", [NAMES[n % 3] for n in range(24)])
    said = tuned(tmp_path / "one", tmp_path / "two", [NAMES[n % 3] for n in range(24)])
    assert "head 'class' at first: fresh" in said
    tuned(made("bert"), tmp_path / "a", [NAMES[n % 3] for n in range(24)])
    said = tuned(tmp_path / "a", tmp_path / "b", [NAMES[n % 2] for n in range(24)])
    assert "head 'class' at first: fresh but for dense, which the checkpoint brings" in said
    assert opened(hf, tmp_path / "b" / "model", "AutoModelForSequenceClassification").config.id2label == {
        0: "bad",
        1: "fair",
    }


@pytest.mark.parametrize("family", ["bert", "albert", "llama"])
def test_heads_that_the_task_did_not_use_are_left_out_and_said(family: str, made: Any, tmp_path: Path) -> None:
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


def test_a_loose_head_of_a_file_is_left_out_too(hf: Any, made: Any, tmp_path: Path) -> None:
    """A file of BertForMaskedLM often still holds the scores of the next sentence, which nobody reads there."""
    folder = Path(shutil.copytree(made("bert"), tmp_path / "bert"))
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "architectures": ["BertForMaskedLM"]}))
    lines = tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(12)])
    assert any("cls.seq_relationship.weight" in line for line in lines)
    opened(hf, tmp_path / "run" / "model", "AutoModelForSequenceClassification")


@pytest.mark.parametrize(("family", "asked"), [("bert", {"pool": "mean"}), ("gpt2", {"hidden": True})])
def test_a_head_that_the_class_does_not_know_is_written_in_our_form_and_said(
    family: str, asked: dict[str, Any], made: Any, tmp_path: Path
) -> None:
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(24)], **asked)
    assert any(line.startswith("the model will be written in our own form") and family in line for line in said)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "our own form" in card
    spec = load_model(tmp_path / "run").heads["class"].spec
    assert all(getattr(spec, key) == value for key, value in asked.items())
    assert Model.load(tmp_path / "run").predict(["red"])[0]["prediction"] in NAMES


def test_a_pooling_that_the_class_knows_keeps_its_form(hf: Any, made: Any, tmp_path: Path) -> None:
    tuned(made("modernbert"), tmp_path / "run", [NAMES[n % 3] for n in range(24)], pool="mean", dropout=0.3)
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert (config.classifier_pooling, config.classifier_dropout) == ("mean", 0.3)


def test_dropout_is_the_recipes_in_training_and_what_the_class_says_in_the_file(made: Any) -> None:
    heads = {f: own_head(load_model(made(f)), "class", 3, dropout=0.3) for f in ("bert", "roberta", "llama", "bart")}
    rates = {f: (head.dropout, getattr(head, "first_dropout", 0.0)) for f, head in heads.items() if head is not None}
    assert rates == {"bert": (0.3, 0.0), "roberta": (0.3, 0.3), "llama": (0.3, 0.0), "bart": (0.3, 0.3)}


def test_a_fresh_start_keeps_the_family_and_nothing_of_the_weights(hf: Any, made: Any, tmp_path: Path) -> None:
    said = tuned(made("bert"), tmp_path / "run", [NAMES[n % 3] for n in range(24)], fresh=True)
    assert "head 'class' at first: fresh" in said
    ours, theirs, _ = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert not torch.equal(load_model(tmp_path / "run").tokens, load_model(made("bert")).tokens)


def test_an_encoder_without_its_decoder_has_no_class_for_texts(made: Any) -> None:
    assert own_head(load_model(made("opt")), "tags", 3) is None  # there is no OPTForTokenClassification
    assert own_head(load_model(made("t5")), "tags", 3) is None  # it stands on the encoder alone
    with pytest.raises(ModeledgeError, match="E-SITE"):
        own_head(load_model(made("bert")), "clas", 3)


# ---- encoder–decoders


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_that_a_decoder_reads_embeds(family: str, hf: Any, made: Any, tokenizer: Tokenizer) -> None:
    asked = Model.load(made(family))
    reference = getattr(hf, "T5EncoderModel" if family == "t5" else "BartModel").from_pretrained(made(family)).eval()
    encoder = reference.get_encoder()
    told = asked.embed(["red green", "one two three four"])
    for text, vector in zip(["red green", "one two three four"], told, strict=True):
        ids = torch.tensor([[tokenizer.need("cls"), *tokenizer.encode(text), tokenizer.need("sep")]])
        with torch.no_grad():
            wanted = encoder(ids).last_hidden_state[0].mean(0)
        assert (torch.from_numpy(vector) - wanted).abs().max() <= 1e-5


def test_bart_fills_gaps_as_its_library_shows(hf: Any, made: Any, tokenizer: Tokenizer) -> None:
    """The documented way: logits of the whole class at the masked place, the decoder given the text one place later."""
    asked = Model.load(made("bart"))
    reference = hf.BartForConditionalGeneration.from_pretrained(made("bart")).eval()
    cls, sep, mask = (tokenizer.need(role) for role in ("cls", "sep", "mask"))
    ids = torch.tensor([[cls, *tokenizer.encode("red"), mask, *tokenizer.encode(" two"), sep]])
    with torch.no_grad():
        shares = reference(ids).logits[0, ids[0] == mask].softmax(-1)[0]
    found = asked.fill("red [MASK] two", top=3)[0]
    assert [share for _, share in found] == pytest.approx(shares.topk(3).values.tolist(), abs=1e-6)
    assert [piece for piece, _ in found] == [tokenizer.decode([i]) for i in shares.topk(3).indices.tolist()]


def test_a_decoder_that_nothing_tells_how_to_begin_is_refused(hf: Any, made: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made("bart"), tmp_path / "bart"))
    said = json.loads((folder / "config.json").read_text())
    said = {key: value for key, value in said.items() if key != "decoder_start_token_id"} | {"eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(said))
    with pytest.raises(
        ModeledgeError, match=r"E-CONFIG: config\.json: nothing says which token"
    ):
        tuned(folder, tmp_path / "run", [NAMES[n % 3] for n in range(24)])
    with pytest.raises(ModeledgeError, match="begins with"):
        Model.load(folder).fill("red [MASK] two")


def test_a_model_of_two_sides_without_a_source_is_refused(made: Any) -> None:
    model = load_model(made("t5"))
    side = Side.of(torch.tensor([[1, 2]]))
    for batch in (Batch(target=side), Batch(source=side)):
        with pytest.raises(ModeledgeError, match="E-NO-TARGET"):
            model(batch)
    piece, empty = Piece(np.array([3, 4])), Piece(np.array([], dtype=np.int64))
    for pair in ((empty, piece), (piece, empty)):
        with pytest.raises(ModeledgeError, match=r"E-NO-TARGET: example 7: its (source|target) has no token"):
            collate([Prepared(1, piece, piece), Prepared(7, *pair)], Shape(8))

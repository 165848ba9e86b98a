"""Losses and gradients of whole tasks beside the reference library's classes, on the same tiny checkpoint.

Tolerances: 1e-5 of a loss, 1e-4 of each gradient's norm and 1e-6 of the whole one's, in fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.families import load_model, save_model
from modeledge.model import Transformer
from modeledge.objectives import Shape, collate
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Asked, Task
from modeledge.tokens import Tokenizer, train_tokenizer

hf = pytest.importorskip("transformers")
ROWS = [
    {"ctx": "the fox", "ends": ["ran", "the owl sat"], "label": 0},
    {"ctx": "an owl and a dog met", "ends": ["flew", "sat down", "ran"], "label": 2},
    {"ctx": "cat", "ends": ["slept on it", "ran"], "label": 1},
]
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(
        ["the fox and an owl ran while a dog and the cat sat down and slept on it"] * 4, vocab_size=290
    )


def reference(name: str, folder: Path, tokenizer: Tokenizer, **more: Any) -> Any:
    torch.manual_seed(0)
    if name.startswith("Bert"):
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": LENGTH}
        said = hf.BertConfig(vocab_size=tokenizer.vocab_size, **shape, **rates, **more)
    else:
        shape = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": LENGTH}
        rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "summary_first_dropout": 0.0}
        said = hf.OpenAIGPTConfig(vocab_size=tokenizer.vocab_size, **shape, **rates, **more)
    model = getattr(hf, name)(said)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.train()


def made(row: str, rows: Any, folder: Path, tokenizer: Tokenizer, **asked: Any) -> tuple[Task, Transformer, Any, float]:
    """The task, the model, its batch and loss, with gradients."""
    model = load_model(folder).train()
    task = TASKS[row].made(rows, tokenizer, model.config, Asked(length=LENGTH, dropout=0.0, **asked), lambda _: None)
    assert task.objective.heads.keys() <= model.heads.keys()
    batch = collate([task.objective.prepare(e, Noise(0)) for e in task.encode(rows)], Shape(task.seq))
    loss = task.objective.loss(model, batch, Noise(0)).value(task.objective.weights(batch))
    loss.backward()
    return task, model, batch, float(loss.detach())


def same_gradients(ours: Transformer, theirs: Any, folder: Path) -> None:
    """By way of a file: gradients in the place of weights, under the reference library's names."""
    with torch.no_grad():
        for _, parameter in ours.named_parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    save_model(ours, folder)
    found = type(theirs).from_pretrained(folder).state_dict()
    wanted = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    whole = torch.stack([g.norm() for g in wanted.values()]).norm()
    assert len(wanted) > 20
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * whole, name


def padded(rows: list[list[list[int]]], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask `[1, choices, longest]` of one example."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids[None], mask[None]


COLUMNS = {"text": "ctx", "choices": "ends"}


def test_multiple_choice_of_bert(tokenizer: Tokenizer, tmp_path: Path) -> None:
    theirs = reference("BertForMultipleChoice", tmp_path / "a", tokenizer)
    _, ours, _, loss = made("choice", ROWS, tmp_path / "a", tokenizer, columns=COLUMNS)
    cls, sep, total = tokenizer.need("cls"), tokenizer.need("sep"), torch.tensor(0.0)
    for row in ROWS:
        context = tokenizer.encode(row["ctx"]).tolist()
        ends = [tokenizer.encode(end).tolist() for end in row["ends"]]
        ids, mask = padded([[cls, *context, sep, *end, sep] for end in ends])
        types = torch.tensor([[[0] * (len(context) + 2) + [1] * (ids.shape[2] - len(context) - 2)] * len(ends)])
        out = theirs(
            input_ids=ids, attention_mask=mask, token_type_ids=types * mask, labels=torch.tensor([row["label"]])
        )
        total = total + out.loss / len(ROWS)
    total.backward()
    assert loss == pytest.approx(float(total.detach()), rel=1e-5)
    same_gradients(ours, theirs, tmp_path / "b")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_multiple_choice_of_gpt_with_the_auxiliary_loss(share: float, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """L3 = L2 + λ · L1 (Radford et al. 2018, equation 5), L1 over the tokens of the texts."""
    theirs = reference("OpenAIGPTDoubleHeadsModel", tmp_path / "a", tokenizer)
    _, ours, _, loss = made("choice", ROWS, tmp_path / "a", tokenizer, columns=COLUMNS, options={"lm": share})
    assert not isinstance(ours.heads["choice"].dense, torch.nn.Module)  # type: ignore[union-attr]
    s, right, words, count = tokenizer.specials, torch.tensor(0.0), torch.tensor(0.0), 0
    for row in ROWS:
        context = tokenizer.encode(row["ctx"]).tolist()
        ends = [tokenizer.encode(end).tolist() for end in row["ends"]]
        parts = [[s.bos, *context, s.sep, *end, s.cls] for end in ends]
        ids, _ = padded(parts)
        learned = [[-100, *context, -100, *end, -100] for end in ends]
        labels, _ = padded(learned, -100)
        last = torch.tensor([[len(part) - 1 for part in parts]])
        more = {"labels": labels} if share else {}
        out = theirs(input_ids=ids, mc_token_ids=last, mc_labels=torch.tensor([row["label"]]), **more)
        right = right + out.mc_loss / len(ROWS)
        if share:
            here = int((labels[..., 1:] != -100).sum())
            words, count = words + out.loss * here, count + here
    total = right + (share * words / count if share else 0.0)
    total.backward()
    assert loss == pytest.approx(float(total.detach()), rel=1e-5)
    same_gradients(ours, theirs, tmp_path / "b")


def test_several_labels_of_bert(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The form `problem_type = "multi_label_classification"`, read, computed and written."""
    problem = {"problem_type": "multi_label_classification", "num_labels": 3}
    theirs = reference("BertForSequenceClassification", tmp_path / "a", tokenizer, **problem)
    rows = [
        {"text": "the fox", "label": ["x", "z"]},
        {"text": "an owl ran", "label": []},
        {"text": "cat", "label": ["y"]},
    ]
    task, ours, _, loss = made("multilabel", rows, tmp_path / "a", tokenizer)
    assert ours.heads["class"].spec.several  # type: ignore[union-attr]
    assert ours.heads["class"].spec == task.objective.heads["class"]  # type: ignore[union-attr]
    cls, sep = tokenizer.need("cls"), tokenizer.need("sep")
    ids, mask = padded([[cls, *tokenizer.encode(row["text"]).tolist(), sep] for row in rows])
    truth = torch.tensor([[float(name in row["label"]) for name in "xyz"] for row in rows])
    out = theirs(input_ids=ids[0], attention_mask=mask[0], labels=truth)
    out.loss.backward()
    assert loss == pytest.approx(float(out.loss.detach()), rel=1e-5)
    same_gradients(ours, theirs, tmp_path / "b")
    del vars(ours)["origin"]
    save_model(ours, tmp_path / "own", family="bert")
    assert hf.BertConfig.from_pretrained(tmp_path / "own").problem_type == "multi_label_classification"


def test_both_orders_of_a_pair_are_added(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The head on the sum of the two orders' last states, each read alone; swapping a pair changes nothing."""
    reference("OpenAIGPTDoubleHeadsModel", tmp_path / "a", tokenizer)
    model = load_model(tmp_path / "a").eval()
    rows = [{"text": "the fox", "pair": "owl", "label": 1}, {"text": "a dog sat", "pair": "it ran", "label": 0}]
    task = TASKS["similarity"].made(rows, tokenizer, model.config, Asked(length=LENGTH, dropout=0.0), lambda _: None)
    model.add_heads(task.objective.heads, Noise(0))
    s, head = tokenizer.specials, model.heads["class"].output  # type: ignore[union-attr]
    gpt = hf.OpenAIGPTDoubleHeadsModel.from_pretrained(tmp_path / "a").eval().transformer
    told = task.reply(model, task.encode(rows))
    for answer, row in zip(told, rows, strict=True):
        a, b = (tokenizer.encode(row[name]).tolist() for name in ("text", "pair"))
        ends = [
            gpt(torch.tensor([[s.bos, *x, s.sep, *y, s.cls]])).last_hidden_state[0, -1] for x, y in ((a, b), (b, a))
        ]
        shares = torch.softmax(head(ends[0] + ends[1]), -1).tolist()  # type: ignore[operator]
        assert answer.probabilities == pytest.approx(shares, abs=1e-5)
    swapped = [{"text": row["pair"], "pair": row["text"], "label": row["label"]} for row in rows]
    for one, other in zip(told, task.reply(model, task.encode(swapped)), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_the_trained_vocabulary_head_goes_on(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The auxiliary loss trains on the head that pre-training left, not on a fresh one."""
    from modeledge.recipes.recipe import FinetuneRecipe
    from modeledge.recipes.tuning.finetune import build_trainer

    reference("OpenAIGPTDoubleHeadsModel", tmp_path / "a", tokenizer)
    model = load_model(tmp_path / "a")
    before, old = model.heads["lm"], model.heads["choice"]
    recipe = FinetuneRecipe.model_validate({"model": "x", "data": "y", "train": {"length": LENGTH}})
    asked = Asked(COLUMNS, LENGTH, 0.0, {"lm": 0.5})
    task = TASKS["choice"].made(ROWS, tokenizer, model.config, asked, lambda _: None)
    trainer = build_trainer(recipe, model, task, task.encode(ROWS), [])
    assert trainer.config.length == 3 * LENGTH
    assert trainer.model.heads["lm"] is before
    assert trainer.model.heads["choice"] is not old


def test_a_context_is_cut_and_a_choice_is_not(tokenizer: Tokenizer, tmp_path: Path) -> None:
    reference("OpenAIGPTDoubleHeadsModel", tmp_path / "a", tokenizer)
    rows = [{"ctx": "the fox " * 12, "ends": ["ran", "sat down and slept"], "label": 1}, ROWS[0]]
    config = load_model(tmp_path / "a").config
    task = TASKS["choice"].made(rows, tokenizer, config, Asked(COLUMNS, LENGTH), lambda _: None)
    examples = task.encode(rows)
    assert task.truncated(examples) == 1
    piece = task.objective.prepare(examples[0], Noise(0)).target
    assert piece is not None
    for part, end in zip(np.split(piece.ids, piece.breaks), rows[0]["ends"], strict=True):
        inside = tokenizer.encode(end).tolist()
        assert len(part) == LENGTH
        assert part[-1 - len(inside) : -1].tolist() == inside
        assert part[1:4].tolist() == examples[0].ids[:3].tolist()

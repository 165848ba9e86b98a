"""Our arithmetic is the reference library's: logits, hidden states, loss and every gradient, in training mode.

Tolerances: 1e-5 absolute for fp32 states of order 1; 1e-4 of each gradient's norm. A gradient that is zero by symmetry
(a key's bias shifts all scores of a query alike) is rounding noise on both sides, so 1e-6 of the whole gradient's norm
is allowed beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families_small import CASES, VOCAB, Case
from torch import Tensor

from modeledge.families import load_model
from modeledge.families.family import origin_of
from modeledge.families.rules import write_tensors
from modeledge.families.table import FAMILIES
from modeledge.model import Batch, Cache, Keep, Side, Transformer
from modeledge.objectives import Shape, collate
from modeledge.objectives.causal import vocabulary_term
from modeledge.records import Piece, Prepared

LENGTHS = (9, 4, 6, 1)
LABELS = {"class": [2, 0, 1, 1], "value": [0.5, -1.0, 2.0, 0.1], "next": [1, 0, 0, 1]}

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def texts(case: Case) -> list[Prepared]:
    """Ragged examples with labels for whatever head reads them."""
    draw = np.random.default_rng(3)
    side = "source" if case.name.startswith("Bert") else "target"
    made = []
    for number, length in enumerate(LENGTHS):
        ids, types = draw.integers(1, VOCAB - 1, length), draw.integers(0, 2, length)
        piece = Piece(ids, types if side == "source" else None)
        reads = np.arange(length - 1) if side == "target" else np.arange(0, length, 2)
        words = ids[1:] if side == "target" else draw.integers(1, VOCAB, len(reads))
        labels = {
            "lm": words,
            "class": np.array([LABELS["class"][number]]),
            "value": np.array([LABELS["value"][number]]),
            "next": np.array([LABELS["next"][number]]),
        }
        weights = {"lm": np.ones(len(reads))}
        made.append(Prepared(number, **{side: piece}, reads={"lm": reads}, labels=labels, weights=weights))
    return made


def theirs(model: Any, case: Case, examples: list[Prepared]) -> dict[str, Tensor]:
    """What the reference library is given: padded ids, mask, types."""
    pieces = [p.source or p.target for p in examples]
    width = max(len(p.ids) for p in pieces)
    ids = torch.full((len(pieces), width), VOCAB - 1 if case.name.startswith("GPT2") else 0)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece.ids)], mask[row, : len(piece.ids)] = torch.tensor(piece.ids), 1
        if piece.types is not None:
            types[row, : len(piece.ids)] = torch.tensor(piece.types)
    given = {"input_ids": ids, "attention_mask": mask}
    return given | ({"token_type_ids": types} if case.name.startswith("Bert") else {})


def head_of(model: Transformer) -> str | None:
    return next(iter(model.heads), None)


def scores(model: Transformer, batch: Batch, last: Tensor) -> Tensor:
    """Scores of the model's head at every position (lm) or for every example."""
    name = head_of(model)
    return model.logits(last) if name == "lm" else model.heads[name](last, batch)  # type: ignore[index]


def our_loss(model: Transformer, batch: Batch, probe: Tensor) -> Tensor:
    """The mean loss of the head (of both in pre-training), or a fixed linear function of the states where there is
    none."""
    name = head_of(model)
    if name == "lm":
        term = vocabulary_term(model, batch, "lm")
        loss = term.total / term.weight
        if "next" not in model.heads:
            return loss
        return loss + F.cross_entropy(model.heads["next"](model(batch).last, batch), batch.labels["next"])
    last = model(batch).last
    if name is None:
        return torch.cat([last[r, s:e] for r, s, e in batch.spans.tolist()]).mul(probe).sum()
    told = scores(model, batch, last)
    return (
        F.cross_entropy(told, batch.labels[name]) if name == "class" else F.mse_loss(told, batch.labels[name].float())
    )


def their_loss(model: Any, case: Case, examples: list[Prepared], head: str | None, probe: Tensor) -> Tensor:
    given = theirs(model, case, examples)
    if head is None:
        last = model(**given).last_hidden_state
        return torch.cat([last[i, :n] for i, n in enumerate(LENGTHS)]).mul(probe).sum()
    if head != "lm":
        return model(**given, labels=torch.tensor(LABELS[head])).loss
    labels = torch.full_like(given["input_ids"], -100)
    for row, example in enumerate(examples):
        at = example.reads["lm"] + (1 if case.name.startswith("GPT2") else 0)  # they shift labels themselves
        labels[row, at] = torch.tensor(example.labels["lm"])
    if case.name == "BertForPreTraining":
        return model(**given, labels=labels, next_sentence_label=torch.tensor(LABELS["next"])).loss
    return model(**given, labels=labels).loss


def logits_of(out: Any) -> Tensor:
    return out.prediction_logits if hasattr(out, "prediction_logits") else out.logits


@each_case
def test_logits_and_all_hidden_states_agree_with_padding(saved: dict[str, tuple[Any, Path]], case: Case) -> None:
    reference, folder = saved[str(case)]
    model, examples = load_model(folder).train(), texts(case)
    given = theirs(reference, case, examples)
    side = Side.of(given["input_ids"], torch.tensor(LENGTHS))
    if "token_type_ids" in given:
        side = Side(side.ids, side.positions, side.segments, types=given["token_type_ids"])
    spans = torch.tensor([(i, 0, n) for i, n in enumerate(LENGTHS)])
    batch = Batch(source=side, spans=spans) if model.config.encoder is not None else Batch(target=side, spans=spans)
    states, out = model(batch, keep=Keep(layers=True)), reference(**given, output_hidden_states=True)
    real = side.segments > 0
    assert len(states.layers) == len(out.hidden_states)
    for ours, other in zip(states.layers, out.hidden_states, strict=True):
        assert (ours - other)[real].abs().max() <= 1e-5
    if head_of(model) is not None:
        told, other = scores(model, batch, states.last), logits_of(out)
        difference = (told - other)[real] if told.ndim == 3 else told.reshape(other.shape) - other
        assert difference.abs().max() <= 1e-5


@each_case
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_loss_and_all_gradients_agree(saved: dict[str, tuple[Any, Path]], case: Case, packed: bool) -> None:
    reference, folder = saved[str(case)]
    model, examples = load_model(folder).train(), texts(case)
    batch = collate(examples, Shape(24, packed=packed))
    assert (len(batch.side.ids) < len(examples)) == packed
    probe = torch.randn(sum(LENGTHS), 16, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.arange(sum(LENGTHS[:i]), sum(LENGTHS[: i + 1])) for i in batch.indices.tolist()])
    loss = our_loss(model, batch, probe[order])
    reference.zero_grad()
    other = their_loss(reference, case, examples, head_of(model), probe)
    assert abs(loss.item() - other.item()) <= 1e-5 * max(1.0, abs(other.item()))
    loss.backward()
    other.backward()
    compare_gradients(model, reference, case)


def compare_gradients(model: Transformer, reference: Any, case: Case) -> None:
    """The rules that move weights move gradients, too."""
    family = FAMILIES["bert" if case.name.startswith("Bert") else "gpt2"]
    origin = origin_of(model)
    assert origin is not None
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    moved = write_tensors(family.rules(model.config, origin.heads), gradients, kept={}, copies=())
    prefix = "" if origin.heads else family.prefix
    wanted = {prefix + name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    assert moved.keys() == wanted.keys()
    whole = torch.stack([g.norm() for g in wanted.values()]).norm()
    for name, gradient in wanted.items():
        assert (moved[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * whole, name


@each_case
def test_packed_rows_equal_the_reference_one_by_one(saved: dict[str, tuple[Any, Path]], case: Case) -> None:
    reference, folder = saved[str(case)]
    model, examples = load_model(folder).eval(), texts(case)
    batch = collate(examples, Shape(24))
    last = model(batch).last
    for number, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        alone = {k: v[number : number + 1, : LENGTHS[number]] for k, v in theirs(reference, case, examples).items()}
        out = reference(**alone, output_hidden_states=True)
        assert (last[row, start:end] - out.hidden_states[-1][0]).abs().max() <= 1e-5


@pytest.mark.parametrize("case", [c for c in CASES if c.name.startswith("GPT2")], ids=str)
def test_decoding_with_a_cache_equals_one_pass(saved: dict[str, tuple[Any, Path]], case: Case) -> None:
    reference, folder = saved[str(case)]
    model = load_model(folder).eval()
    ids = torch.randint(0, VOCAB - 1, (2, 11), generator=torch.Generator().manual_seed(2))
    wanted = reference(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states[-1]
    cache, parts = Cache.empty(model.config, 2, 11, torch.float32), []
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 9), (9, 11)):
        whole = Side.of(ids)
        side = Side(ids[:, start:stop], whole.positions[:, start:stop], whole.segments[:, start:stop], whole=True)
        states = model(Batch(target=side), cache)
        assert states.cache is not None
        cache = states.cache
        parts.append(states.last)
    assert (torch.cat(parts, 1) - wanted).abs().max() <= 1e-5

"""Start and end of an answer: the reference library's loss and gradients, and what is no label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.objectives import NOT_HERE, UNKNOWN, LabelPrepare, Shape, Span, SpanPrepare, Step, collate, prepared
from modeledge.records import Example
from modeledge.seed import Noise

CLS, SEP, VOCAB = 2, 3, 40
PREPARE = SpanPrepare(LabelPrepare("source", 24, "class", CLS, SEP, SEP, True))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Step]:
    """One small checkpoint in both libraries, in float64."""
    hf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
    torch.manual_seed(0)
    config = hf.BertConfig(vocab_size=VOCAB, max_position_embeddings=32, attn_implementation="eager", **sizes, **none)
    theirs = hf.BertForQuestionAnswering(config).double()
    folder: Path = tmp_path_factory.mktemp("span")
    theirs.save_pretrained(folder)
    step = Step(load_model(folder), Span(PREPARE)).double()
    step.model.compute = torch.float64
    return theirs.train(), step.train()


def drawn(count: int) -> list[Example]:
    """Questions and windows of ragged lengths; every third one has no answer in its window."""
    lots, out = np.random.default_rng(3), []
    for index in range(count):
        ids, text = lots.integers(4, VOCAB, lots.integers(1, 6)), lots.integers(4, VOCAB, lots.integers(1, 15))
        before = PREPARE.before(len(ids))
        first, last = sorted(lots.integers(before, before + len(text), 2).tolist())
        out.append(Example(index, ids, text, NOT_HERE if index % 3 == 0 else (first, last)))
    return out


def test_packed_loss_and_gradients_are_the_reference_librarys_one_by_one(pair: tuple[Any, Step]) -> None:
    """Nine examples in few rows here, each alone and without padding there; float64, so to 1e-10."""
    theirs, step = pair
    items = [prepared(step.objective, example, Noise(0)) for example in drawn(9)]
    batch = collate(items, Shape(24))
    assert len(batch.side.ids) < 9
    theirs.zero_grad()
    losses = []
    for item in items:
        assert item.source is not None
        assert item.source.types is not None
        first, last = torch.from_numpy(item.labels["span"][0])
        asked = {"input_ids": item.source.ids, "token_type_ids": item.source.types}
        told = theirs(
            **{name: torch.from_numpy(ids)[None] for name, ids in asked.items()},
            start_positions=first[None],
            end_positions=last[None],
        )
        (told.loss / len(items)).backward()
        losses.append(told.loss.item())
    step.zero_grad()
    loss = step(batch, Noise(0)).value(step.objective.weights(batch))
    loss.backward()
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-10)
    head = step.model.heads["span"].output
    assert torch.allclose(head.weight.grad, theirs.qa_outputs.weight.grad, rtol=1e-9, atol=1e-12)  # type: ignore[union-attr,arg-type]
    assert torch.allclose(head.bias.grad, theirs.qa_outputs.bias.grad, rtol=1e-9, atol=1e-12)  # type: ignore[union-attr,arg-type]
    ours = sum(float((p.grad**2).sum()) for p in step.model.parameters() if p.grad is not None)
    others = sum(float((p.grad**2).sum()) for p in theirs.parameters() if p.grad is not None)
    assert ours == pytest.approx(others, rel=1e-9)  # all gradients of the body, whatever its tensors are called


def test_scores_are_of_the_examples_own_tokens(pair: tuple[Any, Step]) -> None:
    _, step = pair
    items = [prepared(step.objective, example, Noise(0)) for example in drawn(7)]
    batch = collate(items, Shape(24))
    assert isinstance(step.objective, Span)
    scores = step.objective.scores(step.model, batch)
    lengths = (batch.spans[:, 2] - batch.spans[:, 1]).tolist()
    assert scores.shape == (7, max(lengths), 2)
    for window, length in zip(scores, lengths, strict=True):
        assert torch.isfinite(window[:length]).all()
        assert (window[length:] == -np.inf).all()


def test_what_is_not_known_teaches_nothing(pair: tuple[Any, Step]) -> None:
    _, step = pair
    known = drawn(4)
    unknown = [Example(9 + e.index, e.ids, e.pair, UNKNOWN) for e in known]
    losses = []
    for chosen in (known, [*known, *unknown]):
        batch = collate([prepared(step.objective, e, Noise(0)) for e in chosen], Shape(24))
        losses.append(step(batch, Noise(0)).value(step.objective.weights(batch)).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_what_cannot_be_prepared_is_refused() -> None:
    text = np.arange(4, 30)
    with pytest.raises(ModeledgeError, match="E-LABEL-MISSING: example 3"):
        PREPARE(Example(3, text[:2], text[:3]), Noise(0))
    with pytest.raises(ModeledgeError, match=r"E-TOO-LONG.*6 tokens.*24"):
        PREPARE(Example(3, text[:1], text, (3, 4)), Noise(0))
    assert PREPARE.room(4) == 24 - 3 - 4
    assert PREPARE.before(4) == 6
    bare = SpanPrepare(LabelPrepare("target", 24, "class", None, SEP, None))
    assert (bare.before(4), bare.room(4)) == (5, 19)

"""SpanBERT's span-boundary objective against its equations, and masked language modelling against the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from objectives_small import CASES, CLS, MASK, PAD, SEP, VOCAB, build, config, examples, ready, run

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import BoundaryHead, Transformer
from modeledge.objectives import (
    Blend,
    BoundaryLM,
    BoundaryPrepare,
    MaskedLM,
    MaskedPrepare,
    Shape,
    Shortened,
    Step,
    collate,
    prepared,
    spans,
    whole_words,
)
from modeledge.records import Example
from modeledge.seed import Noise

MASKED = MaskedPrepare(VOCAB, MASK, (PAD, CLS, SEP, MASK), cls=CLS, sep=SEP, unit=spans())


def test_neighbours_and_places():
    """Every hidden token: the nearest tokens that can be read, and its distance from the left one, less one."""
    objective = BoundaryLM(BoundaryPrepare(replace(MASKED, rate=0.4)))
    random, longest = np.random.default_rng(0), 0
    for index in range(300):
        size = int(random.integers(1, 50))
        ids = random.integers(4, VOCAB, size)
        words = (random.random(size) < 0.6).astype(np.uint8)
        told = prepared(objective, Example(index, ids, channels={"words": words}), Noise(2))
        alone = prepared(MaskedLM(replace(MASKED, rate=0.4)), Example(index, ids, channels={"words": words}), Noise(2))
        assert told.source.ids.tolist() == alone.source.ids.tolist()
        assert told.reads["lm"].tolist() == alone.reads["lm"].tolist()
        hidden = set(told.reads["lm"].tolist())
        for at, left, right, place in zip(
            told.reads["lm"], told.reads["sbo.left"], told.reads["sbo.right"], told.labels["sbo.place"], strict=True
        ):
            assert {left, right} & hidden == set()
            assert set(range(left + 1, right)) <= hidden
            assert left < at < right < len(told.source.ids)
            assert place == at - left - 1
            longest = max(longest, int(place))
        assert told.labels["sbo"].tolist() == told.labels["lm"].tolist()
        assert told.weights["sbo"].tolist() == [1.0] * len(hidden)
    assert longest > 8


def test_its_examples_stand_in_parts_of_a_row():
    """A token's neighbours are those of its own part."""
    plain = BoundaryPrepare(replace(MASKED, rate=0.4))
    ids = np.random.default_rng(0).integers(4, VOCAB, 40)
    example = Example(0, ids, channels={"words": np.ones(40, np.uint8)})
    told = Shortened(plain, 14, frame=2, least=2)(example, Noise(2))
    assert told.source.breaks == (14, 28, 42)
    for at, left, right in zip(told.reads["lm"], told.reads["sbo.left"], told.reads["sbo.right"], strict=True):
        assert at // 14 == left // 14 == right // 14
    assert len(told.weights["sbo"]) == len(told.weights["lm"])


def test_it_shares_a_row_with_another_objective():
    """Both terms of it are those that it has by itself."""
    parts = {"span": BoundaryLM(BoundaryPrepare(MASKED)), "masked": MaskedLM(MASKED)}
    step = Step(Transformer(config("encoder"), seed=3), Blend(parts))
    chosen = examples(CASES["boundary"], 4)
    loss = step(collate([prepared(step.objective, e, Noise(5)) for e in chosen], Shape(96)), Noise(0))
    alone = [parts["span"].prepare(e, Noise(5).at("prepare", e.epoch, e.index).at("blend", "span")) for e in chosen]
    told = parts["span"].loss(step.model, collate(alone, Shape(96)), Noise(0))
    for name in ("lm", "sbo"):
        assert float(loss.terms[f"span.{name}"].total.detach()) == pytest.approx(
            float(told.terms[name].total.detach()), rel=1e-5
        )


def gelu(x):
    return x * (1 + torch.erf(torch.from_numpy(x) / 2**0.5).numpy()) / 2


def test_the_head_is_the_papers_equation():
    """h₁ = LayerNorm(GELU(W₁ [x_{s−1}; x_{e+1}; p])), y = LayerNorm(GELU(W₂ h₁)), in NumPy."""
    step = build(CASES["boundary"])
    head, random = step.model.heads["sbo"], np.random.default_rng(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.from_numpy(random.normal(size=tuple(parameter.shape))))
    left, right, place = random.normal(size=(5, 16)), random.normal(size=(5, 16)), np.array([0, 2, 1, 7, 3])
    w = {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}
    x = np.concatenate([left, right, w["place"][np.minimum(place, 2)]], 1)
    for name in ("first", "second"):
        x = gelu(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * w[f"{name}_norm.weight"] + w[f"{name}_norm.bias"]
    scores = x @ step.model.table.detach().numpy().T + w["bias"]
    found = head(*map(torch.from_numpy, (left, right, place)), step.model.table).detach().numpy()
    assert np.abs(found - scores).max() < 1e-12


def test_a_hidden_token_s_own_state_is_not_read():
    """The gradient of the boundary term reaches the states of neighbours alone; that of "lm" the hidden ones."""
    step = build(CASES["boundary"])
    batch = collate(ready(step, examples(CASES["boundary"], 1)), Shape(32))
    states = {}

    def kept(module, inputs, output):
        output.last.retain_grad()
        states["last"] = output.last

    step.model.register_forward_hook(kept)
    loss = step(batch, Noise(0))
    (gradient,) = torch.autograd.grad(loss.terms["sbo"].total, states["last"], retain_graph=True)
    touched = set(torch.nonzero(gradient.abs().sum(-1).flatten())[:, 0].tolist())
    assert touched == set(batch.reads["sbo.left"].tolist()) | set(batch.reads["sbo.right"].tolist())
    (gradient,) = torch.autograd.grad(loss.terms["lm"].total, states["last"])
    assert set(torch.nonzero(gradient.abs().sum(-1).flatten())[:, 0].tolist()) == set(batch.reads["lm"].tolist())


def test_an_example_without_edges_has_no_neighbours():
    with pytest.raises(ModeledgeError, match=r"E-CONFIG: objective\.sbo: .*no token outside"):
        BoundaryPrepare(replace(MASKED, cls=None))


def test_the_head_is_kept_in_our_own_format(tmp_path: Path):
    step = Step(Transformer(config("encoder"), seed=3), CASES["boundary"].objective(), noise=Noise(3))
    save_model(step.model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.heads["sbo"].spec == BoundaryHead(places=3, place_width=5)
    other = Step(again, CASES["boundary"].objective(), noise=Noise(9))
    batch = collate(ready(step, examples(CASES["boundary"], 5)), Shape(32))
    for name, term in step(batch, Noise(0)).terms.items():
        assert torch.equal(term.total, other(batch, Noise(0)).terms[name].total)


@pytest.mark.parametrize("unit", [None, whole_words(), spans()])
def test_masked_loss_and_gradient_are_transformers(tmp_path: Path, unit):
    """BertForMaskedLM with labels at the hidden places and -100 elsewhere: the mean over them, in training mode."""
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    said = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2}
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    theirs = hf.BertForMaskedLM(hf.BertConfig(vocab_size=VOCAB, max_position_embeddings=64, **shape, **said)).double()
    theirs.save_pretrained(tmp_path)
    prepare = replace(MASKED, unit=unit) if unit else replace(MASKED, unit=MaskedPrepare(9, 3).unit)
    step = Step(load_model(tmp_path), MaskedLM(prepare), noise=Noise(0)).double().train()
    step.model.compute = torch.float64
    items = ready(step, examples(CASES["masked"], 7))
    value, gradients = run(step, [collate(items, Shape(32))])
    width = max(len(item.source.ids) for item in items)
    ids, labels, there = (torch.full((len(items), width), fill) for fill in (PAD, -100, 0))
    for row, item in enumerate(items):
        ids[row, : len(item.source.ids)] = torch.from_numpy(item.source.ids)
        there[row, : len(item.source.ids)] = 1
        labels[row, torch.from_numpy(item.reads["lm"])] = torch.from_numpy(item.labels["lm"])
    told = theirs.train()(input_ids=ids, attention_mask=there, labels=labels).loss
    told.backward()
    assert value == pytest.approx(float(told.detach()), rel=1e-10)
    table = theirs.bert.embeddings.word_embeddings.weight.grad
    ours = next(g for n, g in gradients.items() if g.shape == table.shape)
    assert torch.allclose(ours, table, rtol=1e-8, atol=1e-12)

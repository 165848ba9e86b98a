"""SimCSE: two readings of a text under two masks, whose loss is a softmax over the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from objectives_small import CASES, VOCAB, config, contrast, examples, labelled, ready

from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import Dropout, Transformer
from modeledge.model.draw import dropping
from modeledge.objectives import Blend, Contrast, ContrastPrepare, Rank, RankPrepare, Shape, Step, collate, prepared
from modeledge.objectives.contrast import need_dropout
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import TrainConfig, Trainer


def step_of(rate=0.3, width=16, **more):
    shape = config("encoder")
    shape = replace(shape, encoder=replace(shape.encoder, dropout=Dropout(hidden=rate)))
    return Step(Transformer(shape, seed=1), contrast(width, **more))


def texts(count=6, seed=0):
    random = np.random.default_rng(seed)
    return [Example(n, random.integers(4, VOCAB, random.integers(2, 9))) for n in range(count)]


def test_a_text_stands_twice_in_its_row():
    item = prepared(contrast(), texts(1)[0], Noise(0))
    ids, (second,) = item.source.ids, item.source.breaks
    assert ids[:second].tolist() == ids[second:].tolist()
    assert len(ids) == 2 * (len(texts(1)[0].ids) + 2)
    pair = prepared(contrast(), replace(texts(1)[0], pair=np.array([5, 6])), Noise(0))
    assert pair.source.ids[pair.source.breaks[0] :].tolist() != ids[:second].tolist()


def test_the_two_readings_differ_by_their_dropout_alone():
    batch = collate(ready(step_of(), texts()), Shape(64))
    step = step_of()
    with torch.no_grad():
        vectors = {}
        for mode in (True, False):
            step.train(mode)
            step(batch, Noise(1))
            with dropping(Noise(1)):
                vectors[mode] = step.objective.vectors(step.model, batch)
    roles = batch.labels["role"]
    assert torch.allclose(vectors[False][roles == 0], vectors[False][roles == 1], atol=1e-6)
    cosines = (vectors[True][roles == 0] * vectors[True][roles == 1]).sum(-1)
    assert (cosines < 0.999).all()


def test_the_loss_is_numpys():
    """Under dropout: the vectors as they are, then equation 4 by numpy."""
    step, noise = step_of(), Noise(5)
    batch = collate(ready(step, texts()), Shape(64))
    with torch.no_grad(), dropping(noise.at("dropout")):
        vectors = step.objective.vectors(step.model, batch).double().numpy()
    one, two = (vectors[batch.labels["role"].numpy() == role] for role in (0, 1))
    scores = one @ two.T / 0.05
    told = -np.mean(np.diag(scores) - np.log(np.exp(scores).sum(-1)))
    loss = step(batch, noise)
    assert float(loss.value(step.objective.weights(batch)).detach()) == pytest.approx(told, rel=1e-5)
    right, count = loss.logs["accuracy"]
    assert (float(right), float(count)) == (int((scores.argmax(-1) == np.arange(6)).sum()), 6.0)


def test_a_text_that_stands_twice_in_the_batch_is_no_negative():
    step = step_of(rate=0.0)
    chosen = texts(3)
    twice = [*chosen, replace(chosen[0], index=9)]
    batch = collate(ready(step, twice), Shape(64))
    vectors = step.objective.vectors(step.model, batch).detach().double().numpy()[::2]
    scores = vectors @ vectors.T / 0.05
    scores[0, 3] = scores[3, 0] = -np.inf
    told = -np.mean(np.diag(scores) - np.log(np.exp(scores).sum(-1)))
    value = float(step(batch, Noise(0)).value(step.objective.weights(batch)).detach())
    assert value == pytest.approx(told, rel=1e-5)


def test_the_dense_layer_is_of_the_objective():
    """Trained and saved with the run, and left behind with it: the model has no head."""
    step = step_of()
    assert [name for name, _ in step.objective.named_parameters()] == ["dense.weight", "dense.bias"]
    assert not step.model.heads
    assert list(step_of(width=None).objective.parameters()) == []
    again = Contrast(ContrastPrepare(labelled("source", "class")), width=16, std=0.2)
    assert torch.equal(again.dense.weight, step.objective.dense.weight)


def test_the_dense_layer_is_drawn_from_the_seed_inside_a_blend_too():
    def drawn(seed, blended):
        objective = contrast(16)
        whole = Blend({"a": objective}, chances={"a": 1.0}) if blended else objective
        Step(Transformer(config("encoder")), whole, noise=Noise(seed))
        return objective.dense.weight

    for blended in (False, True):
        assert torch.equal(drawn(1, blended), drawn(1, blended))
        assert not torch.equal(drawn(1, blended), drawn(2, blended))


def test_a_batch_is_not_split():
    train = TrainConfig(length=64, batch=4, micro_batch=2, steps=2, precision="fp32")
    with pytest.raises(ModeledgeError, match="E-SPLIT"):
        Trainer(step_of(), ListStream(texts(8), 0), config=train, seed=0)
    trainer = Trainer(step_of(), ListStream(texts(8), 0), config=train.model_copy(update={"micro_batch": 4}), seed=0)
    before = trainer.module.objective.dense.weight.clone()
    trainer.fit()
    assert not torch.equal(before, trainer.module.objective.dense.weight)


def test_pairs_and_negatives_take_the_place_of_the_second_reading():
    """The supervised form is the ranking of pairs: same loss, same vectors."""
    reading = labelled("source", "class")
    ours, theirs = Contrast(ContrastPrepare(reading)), Rank(RankPrepare(reading), pool="first")
    chosen = [
        replace(e, channels={"negatives": np.array([5, 6, 7]), "negative_lengths": np.array([1, 2])})
        for e in examples(CASES["contrast"], 5)
    ]
    model = step_of(rate=0.0).model
    values = []
    for objective in (ours, theirs):
        batch = collate([prepared(objective, e, Noise(0)) for e in chosen], Shape(64))
        assert (batch.labels["role"] == 2).sum() == 10
        values.append(float(objective.loss(model, batch, Noise(0)).terms["rank"].total.detach()))
    assert values[0] == values[1]


def test_a_body_without_dropout_is_refused():
    with pytest.raises(ModeledgeError, match="E-CONFIG: model: two readings"):
        need_dropout(config("encoder"))
    need_dropout(step_of().model.config)

"""Masked diffusion: rates, even times, and the bound, which small texts let one compute in full."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objectives_small import CASES, CLS, MASK, SEP, build

from modeledge.errors import ModeledgeError
from modeledge.objectives import DiffusionPrepare, MaskedDiffusion, Shape, collate, elbo, prepared
from modeledge.records import Example
from modeledge.seed import Noise

PLAIN = DiffusionPrepare(MASK)
TEXT = np.array([7, 8, 9, 12, 5])


def item(prepare, ids, index=0, place=None, seed=1):
    return prepared(MaskedDiffusion(prepare), Example(index, np.asarray(ids), place=place), Noise(seed))


def test_what_is_hidden_and_what_is_asked():
    wrapped = DiffusionPrepare(MASK, fixed=(0,), cls=CLS, sep=SEP)
    for index in range(50):
        found = item(wrapped, [5, 0, 6, 7], index)
        ids, hidden = found.source.ids, found.reads["elbo"]
        assert (ids[hidden] == MASK).all()
        assert set(hidden.tolist()) <= {1, 3, 4}
        assert found.labels["elbo"].tolist() == [[CLS, 5, 0, 6, 7, SEP][place] for place in hidden]
        assert found.weights["elbo"].tolist() == [3.0]
        assert len(set(found.labels["elbo.scale"].tolist())) <= 1
    with pytest.raises(ModeledgeError, match="E-NO-TARGET: example 4"):
        item(wrapped, [0, 0], 4)


def test_the_rate_is_uniform_and_the_weights_are_its_inverse():
    """t is uniform: its first four moments within 3 sigma; a text hides t of its tokens, each weighing 1/t."""
    count, length = 3000, 200
    times, shares, sums = [], [], []
    for index in range(count):
        found = item(PLAIN, np.arange(4, 24).repeat(10), index)
        hidden, scale = found.reads["elbo"], found.labels["elbo.scale"]
        shares.append(len(hidden) / length)
        sums.append(float(scale.sum()) / length)
        if len(hidden):
            times.append(1 / float(scale[0]))
            assert abs(len(hidden) - times[-1] * length) < 5 * math.sqrt(length * times[-1] * (1 - times[-1])) + 1
    for power in (1, 2, 3, 4):
        mean, spread = 1 / (power + 1), math.sqrt(1 / (2 * power + 1) - 1 / (power + 1) ** 2)
        assert abs(np.mean(np.array(times) ** power) - mean) < 3 * spread / math.sqrt(len(times)) + 1e-3
    assert abs(np.mean(shares) - 0.5) < 3 * np.std(shares) / math.sqrt(count)
    assert abs(np.mean(sums) - 1) < 3 * np.std(sums) / math.sqrt(count)


def test_even_times_cover_any_stretch_of_the_run():
    """Among any 64 neighbours every eighth of [0, 1) has 7 to 9 of them; by chance alone it would be 8 ± 2.6."""

    def time(place, index, even=True, seed=1):
        noise = Noise(seed).at("prepare", 0, index)
        return DiffusionPrepare(MASK, even=even).time(
            Example(index, TEXT, place=place), noise, noise.at("diffusion").generator()
        )

    for start in (0, 1000, 123_457):
        found = np.histogram([time(start + k, 31 * k % 97) for k in range(64)], bins=8, range=(0, 1))[0]
        assert found.min() >= 7
        assert found.max() <= 9
    loose = np.histogram([time(k, k, even=False) for k in range(64)], bins=8, range=(0, 1))[0]
    assert loose.min() < 7
    assert time(5, 1) == time(5, 2) != time(5, 1, seed=2)
    assert time(None, 1) != time(None, 2)


def full_bound(model, ids: np.ndarray) -> float:
    """∫₀¹ E[(1/t) Σ −log p] dt over every set of hidden tokens: a set of k of n has the weight ∫ tᵏ⁻¹(1−t)ⁿ⁻ᵏ dt."""
    total, count = 0.0, len(ids)
    for k in range(1, count + 1):
        weight = math.gamma(k) * math.gamma(count - k + 1) / math.gamma(count + 1)
        for hidden in combinations(range(count), k):
            seen = ids.copy()
            seen[list(hidden)] = MASK
            prepared_one = PLAIN.hide(0, ids, np.array(hidden), np.ones(k), count)
            assert prepared_one.source.ids.tolist() == seen.tolist()
            with torch.no_grad():
                scores = F.log_softmax(model.logits(model(collate([prepared_one], Shape(16))).last[0]), -1)
            total -= weight * sum(float(scores[place, ids[place]]) for place in hidden)
    return total


def test_the_loss_and_the_elbo_are_the_bound():
    """Both estimates against the bound itself, within 3 sigma; the second is the steadier one."""
    step = build(CASES["diffusion"])
    step.eval()
    told = full_bound(step.model, TEXT)
    with torch.no_grad():
        batches = [collate([item(PLAIN, TEXT, index)], Shape(16)) for index in range(1500)]
        found = np.array([float(step(batch, Noise(0)).terms["elbo"].total) for batch in batches])
    assert abs(found.mean() - told) < 3 * found.std() / math.sqrt(len(found)) + 1e-3 * told
    nats = np.array([elbo(step.model, PLAIN, [Example(0, TEXT)], draws=5, noise=Noise(s))[0] for s in range(100)])
    assert abs(nats.mean() - told) < 3 * nats.std() / math.sqrt(len(nats))
    assert nats.std() * math.sqrt(5) < found.std() / 2
    assert elbo(step.model, PLAIN, [Example(0, TEXT), Example(1, TEXT[:2])], draws=2)[1] == 7

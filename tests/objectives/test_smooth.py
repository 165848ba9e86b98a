"""R3F: the divergence against the formula in NumPy, when it is there, and where it is refused. Loss and gradients are
checked with the other rows (`test_objectives.py`, the case classify-r3f)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from objectives_small import CASES, Shape, build, collate, examples, ready

from modeledge.errors import ModeledgeError
from modeledge.objectives import Smooth
from modeledge.objectives.smooth import apart
from modeledge.seed import Noise


def divergence(one: Any, two: Any) -> Any:
    """KL(p ‖ q) + KL(q ‖ p), each by its definition."""
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (one, two))
    return (p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)


def test_the_divergence_and_its_gradient_are_those_of_the_formula() -> None:
    draw = np.random.default_rng(0)
    one, two = draw.normal(size=(5, 4)), draw.normal(size=(5, 4))
    left, right = torch.from_numpy(one).requires_grad_(), torch.from_numpy(two)
    told = apart(left, right)
    assert np.allclose(told.detach().numpy(), divergence(one, two), rtol=1e-12)
    told.sum().backward()
    step = 1e-6
    for at in np.ndindex(one.shape):
        near = [one.copy(), one.copy()]
        near[0][at] += step
        near[1][at] -= step
        slope = (divergence(near[0], two).sum() - divergence(near[1], two).sum()) / (2 * step)
        assert left.grad is not None
        assert float(left.grad[at]) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_term_is_there_in_training_alone_and_grows_with_the_noise() -> None:
    step = build(CASES["classify-r3f"])
    batch = collate(ready(step, examples(CASES["classify-r3f"], 6)), Shape(32))
    sizes = []
    for noise in (0.0, 0.01, 0.1):
        step.objective.smooth = Smooth(0.5, noise)
        sizes.append(float(step(batch, Noise(0)).terms["r3f"].total))
    assert sizes[0] == 0.0 < sizes[1]
    assert sizes[2] == pytest.approx(100 * sizes[1], rel=0.3), "a divergence is of the second order"
    step.objective.smooth = Smooth(0.5, 0.1, "normal")
    assert float(step(batch, Noise(0)).terms["r3f"].total) > sizes[2]
    assert set(step.eval()(batch, Noise(0)).terms) == {"class"}


def test_a_noise_that_bf16_cannot_hold_is_refused() -> None:
    step = build(CASES["classify-r3f"], torch.float32)
    batch = collate(ready(step, examples(CASES["classify-r3f"], 2)), Shape(32))
    step.objective.smooth, step.model.compute = Smooth(1.0, 1e-5), torch.bfloat16
    with pytest.raises(ModeledgeError, match="lost in bfloat16") as caught:
        step(batch, Noise(0))
    assert caught.value.code == "E-CONFIG-VALUE"

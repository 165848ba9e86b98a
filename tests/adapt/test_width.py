"""The width rule: nothing at the base width; elsewhere activations move by the same amount at every width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.adapt import Clock, WidthRule, compose
from modeledge.adapt.width import scales_of
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import Attention, FeedForward, Norm, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.model.batch import Batch, Side
from modeledge.objectives import CausalLM, MaskedLM, MaskedPrepare, Step
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import TrainConfig, Trainer

VOCAB, BASE, RATE = 64, 32, 0.02


def model_of(width: int, side: str = "decoder", place: str = "pre") -> Transformer:
    stack = Stack(
        layers=2,
        attention=Attention(heads=width // 16),
        feedforward=FeedForward(width=4 * width),
        norm=Norm(place=place),  # type: ignore[arg-type]
        position=Rotary(),
    )
    return Transformer(TransformerConfig(width=width, embed=Tokens(vocab=VOCAB), **{side: stack}), seed=1)


def trained(width: int, rule: bool, side: str = "decoder", steps: int = 4) -> tuple[float, float]:
    """The mean size of the scores and of the last states after a few updates, less what they were before."""
    model = model_of(width, side)
    decoder = side == "decoder"
    objective = CausalLM() if decoder else MaskedLM(MaskedPrepare(vocab=VOCAB, mask=4, specials=(0, 1, 2, 3)))
    step = Step(model, objective, noise=Noise(1))
    random = np.random.default_rng(0)
    stream = ListStream([Example(i, random.integers(5, VOCAB, 17)) for i in range(16)], 0)
    config = TrainConfig(
        steps=steps,
        batch=8,
        length=17,
        learning_rate=RATE,
        warmup=0.0,
        schedule="constant",
        precision="fp32",
        clip=None,
    )
    run = Trainer(step, stream, [WidthRule(BASE)] if rule else [], config=config, seed=0)
    side_of = Side.of(torch.arange(5, 21)[None])
    batch = Batch(target=side_of) if decoder else Batch(source=side_of)

    def seen() -> tuple[torch.Tensor, torch.Tensor]:
        model.eval()
        with torch.no_grad():
            states = model(batch).last
            return model.logits(states), states

    before = seen()
    for _ in range(steps):
        run.step()
    after = seen()
    return tuple(float((a - b).abs().mean()) for a, b in zip(after, before, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_coordinate_check(side: str) -> None:
    """Under the rule the scores move by about the same at every width; under one rate for all they run away."""
    widths = (32, 64, 128, 256)
    ruled = [trained(width, True, side)[0] for width in widths]
    plain = [trained(width, False, side)[0] for width in widths]
    assert max(ruled) / min(ruled) < 1.6, ruled
    assert plain[-1] / plain[0] > 2.5, plain


def test_at_the_base_width_nothing_changes() -> None:
    plain, ruled = model_of(BASE), model_of(BASE)
    Step(plain, CausalLM(), noise=Noise(1))
    Step(ruled, CausalLM(), noise=Noise(1))
    rule = WidthRule(BASE)
    rule.attach(ruled, Noise(1))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ruled.parameters(), strict=True))
    assert set(compose([rule], ruled, Clock(0, 1, 0.0)).values()) == {1.0}


def test_what_is_scaled_and_what_is_not() -> None:
    model, fresh = model_of(4 * BASE), model_of(4 * BASE)
    for made in (model, fresh):
        Step(made, CausalLM(), noise=Noise(1))
    WidthRule(BASE).attach(model, Noise(1))
    old = dict(fresh.named_parameters())
    rates = compose([WidthRule(BASE)], model, Clock(0, 1, 0.0))
    for name, parameter in model.named_parameters():
        hidden = name.startswith("tower.blocks.") and parameter.ndim == 2
        last = name.startswith("tower.final_norm")
        torch.testing.assert_close(parameter, old[name] * (0.5 if hidden else 0.25 if last else 1.0), rtol=0, atol=1e-7)
        assert rates[name] == (0.25 if hidden or last else 1.0)


def test_a_trained_model_keeps_its_weights() -> None:
    model, same = model_of(64), model_of(64)
    WidthRule(BASE, fresh=False).attach(model, Noise(0))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_model_without_a_norm_before_its_vocabulary_is_refused() -> None:
    model = model_of(64, place="post")
    Step(model, CausalLM(), noise=Noise(0))
    with pytest.raises(ModeledgeError, match=r"E-CONFIG.*nothing can carry"):
        scales_of(model, BASE)

"""Bottleneck adapters against the papers' formulas, in NumPy, through whole layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adapt_small import NOW, attached, batch_of, build, examples, refusal, step_of
from test_leading import norm, side_of

from modeledge.adapt import BottleneckAdapter
from modeledge.adapt.graft import all_grafts
from modeledge.model import Attention, Batch, FeedForward, Learned, Norm, Side, Stack, Tokens, Transformer
from modeledge.model import TransformerConfig as Config
from modeledge.seed import Noise


def model_of(place: str) -> Transformer:
    stack = Stack(
        layers=2,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=20, kind="relu"),
        norm=Norm(place=place),
        position=Learned(length=16),
    )
    model = Transformer(Config(width=8, embed=Tokens(vocab=19), encoder=stack, init=0.4), seed=3).double().eval()
    model.compute = torch.float64
    return model


def moved(model: Transformer) -> None:
    """Adapters that have learned something: every weight differs from 0."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, grafts in all_grafts(model):
            for parameter in grafts.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("place", ["post", "pre"])
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_a_layer_is_what_the_paper_says(placement: str, place: str) -> None:
    model = model_of(place)
    BottleneckAdapter(placement=placement, size=3, activation="relu", scale=4.0).attach(model, Noise(0))
    model.double()
    moved(model)
    batch = Batch(source=Side.of(torch.tensor([[5, 6, 7, 8]])))
    with torch.no_grad():
        told = model(batch).last[0].numpy()
        x = (model.tokens[batch.source.ids[0]] + model.tower.position.weight[:4]).numpy()
    for block in model.tower.blocks:
        x = layer(block, x, placement, place)
    x = norm(model.tower.final_norm, x) if place == "pre" else x
    assert np.abs(x - told).max() <= 1e-12


def layer(block, x: np.ndarray, placement: str, place: str) -> np.ndarray:
    """One layer with its adapters: h + s · W_up f(W_down h) behind a sub-layer, or of what it reads."""

    def adapted(module, kind: str, read: np.ndarray, h: np.ndarray) -> np.ndarray:
        added = module.grafts[f"default:{kind}"]
        down, up = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (added.down, added.up))
        return h + 4.0 * (np.maximum(read @ down[0].T + down[1], 0) @ up[0].T + up[1])

    def product(module, x: np.ndarray) -> np.ndarray:
        return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()

    def before(norm_of, x: np.ndarray) -> np.ndarray:
        return norm(norm_of, x) if place == "pre" else x

    def summed(norm_of, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        return norm(norm_of, x + h) if place == "post" else x + h

    read, a = before(block.attention_norm, x), block.attention
    heads = []
    for head in range(2):
        q, k, v = (product(m, read)[:, 4 * head : 4 * head + 4] for m in (a.query, a.key, a.value))
        shares = np.exp(q @ k.T / 2)
        heads.append(shares / shares.sum(-1, keepdims=True) @ v)
    h = product(a.output, np.concatenate(heads, -1))
    h = adapted(a.output, "attention_output", h, h) if placement == "houlsby" else h
    x = summed(block.attention_norm, x, h)
    f, read = block.feedforward, before(block.feedforward_norm, x)
    h = product(f.down, np.maximum(product(f.up, read), 0))
    if placement == "parallel":
        h = adapted(f, "feedforward", read, h)
    else:
        h = adapted(f.down, "down", h, h)
    return summed(block.feedforward_norm, x, h)


def test_its_width_and_what_is_refused() -> None:
    model = model_of("pre")
    BottleneckAdapter(reduction=4).attach(model, Noise(0))
    assert all(m.down.weight.shape == (2, 8) for _, g in all_grafts(model) for m in g.values())
    refusal("E-CONFIG", BottleneckAdapter(reduction=4).attach, model, Noise(0))
    BottleneckAdapter(reduction=4, name="other").attach(model, Noise(0))
    refusal("E-SITE", BottleneckAdapter().attach, model_of("pre"), Noise(0))  # 8 / 16 leaves nothing
    refusal("E-SITE", BottleneckAdapter(size=9).attach, model_of("pre"), Noise(0))
    refusal("E-CONFIG-VALUE", BottleneckAdapter, placement="everywhere")
    refusal("E-MERGE", BottleneckAdapter(reduction=4).merge, model)


def test_a_vocabulary_head_stays_as_it_is_and_a_class_head_moves() -> None:
    _, rates = attached("encoder", build("adapter", {"reduction": 2}))
    assert any(name.startswith("heads.class.") for name in rates)
    assert not any(name.startswith("heads.lm.") for name in rates)
    assert all(".grafts.default:" in name or name.startswith("heads.class.") for name in rates)


def test_recomputed_layers_give_the_same_gradients() -> None:
    found = []
    for recompute in (False, True):
        step = step_of("encoder")
        strategy = build("adapter", {"placement": "parallel", "size": 3})
        strategy.attach(step.model, Noise(0))
        moved(step.model)
        step.model.checkpoint_blocks(recompute)
        batch = batch_of(step, examples())
        step(batch, Noise(1)).value(step.objective.weights(batch)).backward()
        found.append(
            [dict(step.model.named_parameters())[n].grad for g in strategy.moving(step.model, NOW) for n in g.names]
        )
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_wrapped_model_takes_them() -> None:
    transformers = pytest.importorskip("transformers")
    from modeledge.families.wrapped.wrap import HuggingFaceModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=20, max_position_embeddings=20)
    model = HuggingFaceModel(transformers.BertModel(config, add_pooling_layer=False)).eval()
    batch = Batch(source=side_of([[4, 3]], 9))
    with torch.no_grad():
        before = model(batch).last
        BottleneckAdapter(size=2).attach(model, Noise(0))
        assert torch.equal(model(batch).last, before)
        moved(model)
        assert not torch.allclose(model(batch).last, before)
    refusal("E-SITE", BottleneckAdapter(size=2, placement="parallel", name="b").attach, model, Noise(0))
    for kind in ("prompt", "prefix", "p-tuning", "mpt"):
        refusal("E-SITE", build(kind).attach, model, Noise(0))

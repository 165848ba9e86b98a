"""An encoder and a decoder of one body: what is one weight, what is not, and that each side reads in its own way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, save_model
from modeledge.model import (
    Attention,
    Batch,
    Buckets,
    FeedForward,
    Learned,
    Norm,
    Side,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.model import Tokens as TokenTable
from modeledge.model.plain import as_plain, from_plain

STACK = Stack(
    layers=2,
    attention=Attention(heads=4),
    feedforward=FeedForward(width=24),
    norm=Norm(place="post"),
    position=Learned(length=26),
)
BUCKETS = replace(STACK, norm=Norm(kind="rms"), position=Buckets(count=8, distance=9))
APART = {
    "post": TransformerConfig(width=16, embed=TokenTable(vocab=31, norm=True), encoder=STACK, decoder=STACK),
    "pre": TransformerConfig(width=16, embed=TokenTable(vocab=31), encoder=BUCKETS, decoder=BUCKETS),
}
each = pytest.mark.parametrize("kind", APART)


def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    below, above = (torch.randint(0, 31, (2, n), generator=draw) for n in (7, 5))
    return Batch(source=Side.of(below, torch.tensor([7, 4])), target=Side.of(above))


def joined(kind: str) -> Transformer:
    return Transformer(replace(APART[kind], share_sides=True, init=0.3), seed=5)


@each
def test_it_is_the_encoder_decoder_whose_sides_are_equal(kind: str) -> None:
    """The oracle: two towers of their own, the encoder's weights set to the decoder's. Values and gradients."""
    one, two = joined(kind), Transformer(replace(APART[kind], init=0.3), seed=6)
    state = one.state_dict()
    below = {f"source_{n}": v for n, v in state.items() if n.startswith("tower.") and ".cross" not in n}
    norm = {n.replace("embed_norm", "target_norm"): v for n, v in state.items() if n.startswith("embed_norm")}
    two.load_state_dict({**state, **below, **norm})
    both = batch()
    mine, theirs = one(both), two(both)
    assert torch.equal(mine.last, theirs.last)
    assert torch.equal(mine.encoder, theirs.encoder)
    assert torch.equal(one.eval().encode(both), mine.encoder)
    for states in (mine, theirs):
        states.last.pow(3).sum().backward()
    grads = {n: p.grad for n, p in two.named_parameters()}
    for name, parameter in one.named_parameters():
        twin = f"source_{name}" if name.startswith("tower.") else name.replace("embed_norm", "target_norm")
        told = grads[name] if twin == name or twin not in grads else grads[name] + grads[twin]
        torch.testing.assert_close(parameter.grad, told, rtol=1e-4, atol=1e-5)


@each
def test_its_parameters_are_those_of_a_decoder_and_the_attention_over_the_source(kind: str) -> None:
    one, alone = joined(kind), Transformer(replace(APART[kind], encoder=None))
    names = dict(one.named_parameters())
    more = {name for name in names if ".cross" in name}
    assert names.keys() - more == dict(alone.named_parameters()).keys()
    cross = 2 * (4 * (16 * 16 + 16) + (32 if kind == "post" else 16))
    assert sum(p.numel() for p in names.values()) == sum(p.numel() for p in alone.parameters()) + cross
    assert list(one.state_dict()) == list(names)
    blocks = one.parts().blocks
    assert len(blocks) == 2
    assert not one.cuts


@each
def test_fresh_weights_do_not_depend_on_sharing(kind: str) -> None:
    one, two = joined(kind), Transformer(replace(APART[kind], init=0.3), seed=5)
    others = dict(two.named_parameters())
    assert all(torch.equal(parameter, others[name]) for name, parameter in one.named_parameters())


def test_each_side_reads_in_its_own_way() -> None:
    """By gradients: the last token of the source reaches its first state, that of the target does not."""
    model, both = joined("post"), batch()
    assert both.source is not None
    assert both.target is not None
    source = replace(both.source, ids=torch.arange(14).view(2, 7))
    target = replace(both.target, ids=torch.arange(14, 24).view(2, 5))
    states = model(Batch(source=source, target=target))
    first = torch.autograd.grad(states.encoder[0, 0].pow(3).sum(), model.tokens, retain_graph=True)[0].any(1)
    assert first.nonzero().flatten().tolist() == list(range(7))
    second = torch.autograd.grad(states.last[0, 1].pow(3).sum(), model.tokens)[0].any(1)
    assert second.nonzero().flatten().tolist() == [*range(7), 14, 15]


@each
def test_sites_are_those_of_one_body(kind: str) -> None:
    model = joined(kind)
    assert [site.path for site in model.sites("query")] == [
        f"tower.blocks.{n}.{part}.query" for n in range(2) for part in ("attention", "cross")
    ]
    assert len(model.sites("down")) == 2


@each
def test_it_is_kept_in_plain_values_and_in_our_own_form(kind: str, tmp_path: Path) -> None:
    model = joined(kind)
    assert from_plain(json.loads(json.dumps(as_plain(model.config)))) == model.config
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in model.state_dict().items())
    assert torch.equal(again(batch()).last, model(batch()).last)


def test_no_family_of_theirs_can_say_it() -> None:
    for name, family in FAMILIES.items():
        for config in APART.values():
            shared = replace(config, share_sides=True)
            assert bool(family.lacks(shared, {})) is (name != "modeledge"), name


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": None},
        {"encoder": replace(STACK, layers=1)},
        {"target_embed": TokenTable(vocab=9, norm=True)},
    ],
)
def test_sides_of_two_shapes_cannot_be_one(change: dict[str, object]) -> None:
    with pytest.raises(ModeledgeError, match="share_sides"):
        replace(APART["post"], share_sides=True, **change)

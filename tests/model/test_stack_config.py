"""A configuration is a value: it survives JSON, and what cannot work is refused with the field that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_small import SHAPES, STACKS, config

from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    Dropout,
    FeedForward,
    Learned,
    Norm,
    Rotary,
    Sinusoidal,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.model import Tokens as TokenTable
from modeledge.model.plain import as_plain, from_plain

FLOATS = st.floats(1e-12, 1e6)
RATE = st.floats(0, 0.99)
POSITIONS = (
    st.none()
    | st.builds(Learned, length=st.integers(1, 4096))
    | st.builds(Sinusoidal, base=FLOATS)
    | st.builds(Rotary, base=FLOATS)
)
WINDOWS = st.lists(st.none() | st.integers(1, 512), min_size=1, max_size=4).map(tuple)


@st.composite
def configs(draw):
    heads, head_width = draw(st.sampled_from([1, 2, 6])), draw(st.sampled_from([2, 8]))
    attention = Attention(
        heads=heads,
        kv_heads=draw(st.none() | st.sampled_from([d for d in (1, 2, 3, 6) if heads % d == 0])),
        head_width=draw(st.sampled_from([None, 4])),
        qkv=draw(st.sampled_from(["split", "fused"])),
        bias=draw(st.booleans()),
        qk_norm=draw(st.sampled_from([None, "head", "whole"])),
        windows=draw(WINDOWS),
        softcap=draw(st.none() | FLOATS),
    )
    stack = Stack(
        layers=draw(st.integers(1, 40)),
        attention=attention,
        feedforward=draw(st.builds(FeedForward, width=st.integers(1, 99))),
        norm=draw(st.builds(Norm, eps=FLOATS)),
        position=draw(POSITIONS),
        dropout=draw(st.builds(Dropout, embed=RATE, hidden=RATE, attention=RATE)),
    )
    embed = draw(st.builds(TokenTable, vocab=st.integers(1, 99), types=st.integers(0, 2)))
    shape = draw(st.sampled_from(SHAPES))
    return TransformerConfig(width=heads * head_width, embed=embed, init=draw(st.floats(0, 1)), **{shape: stack})


@settings(max_examples=100, deadline=None)
@given(configs())
def test_plain_values_give_the_configuration_back(value):
    assert from_plain(as_plain(value)) == value
    assert from_plain(json.loads(json.dumps(as_plain(value)))) == value


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tower_is_the_side_that_is_there(kind, shape):
    value = config(kind, shape)
    assert value.stack is STACKS[kind]
    assert Transformer(value).tower.causal is (shape == "decoder")


def plain(kind="gpt2", shape="decoder", **changes):
    """Plain values with `a__b=value` changed at path a.b."""
    values = json.loads(json.dumps(as_plain(config(kind, shape))))
    values.pop("encoder" if shape == "decoder" else "decoder")
    for path, value in changes.items():
        node = values
        *above, last = path.split("__")
        for part in above:
            node = node[part]
        node[last] = value
    return values


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 18, "decoder__attention__heads": 4}, "4 heads do not divide a width of 18"),
        ({"decoder__attention__kv_heads": 3}, "3 kv_heads do not divide 4 heads"),
        ({"decoder__attention__kv_heads": 8}, "8 kv_heads do not divide 4 heads"),
        ({"decoder__attention__kv_heads": 0}, "kv_heads"),
        ({"decoder__attention__kv_heads": -2}, "kv_heads"),
        ({"decoder__attention__heads": 0}, "at least 1"),
        ({"decoder__attention__heads": -4}, "at least 1"),
        ({"decoder__attention__head_width": 0}, "head_width"),
        ({"decoder__attention__head_width": -4}, "head_width"),
        ({"decoder__attention__windows": [None, 0]}, "window"),
        ({"decoder__attention__windows": [-3]}, "window"),
        ({"decoder__attention__softcap": 0.0}, "softcap"),
        ({"decoder__attention__softcap": -1.0}, "softcap"),
        ({"decoder__layers": 0}, "at least 1"),
        ({"width": 0}, "at least 1"),
        ({"width": -16}, "at least 1"),
        ({"decoder__feedforward__width": 0}, "at least 1"),
        ({"embed__vocab": 0}, "vocab"),
        ({"embed__types": -1}, "types"),
        ({"decoder__position__length": 0}, "position"),
        (
            {"decoder__position": {"kind": "rotary"}, "decoder__attention__head_width": 5},
            "an even part",
        ),
        ({"decoder__position": {"kind": "rotary", "base": 0.0}}, "base"),
        ({"decoder__position": {"kind": "sinusoidal", "base": -1.0}}, "base"),
        ({"decoder__dropout__hidden": 1.0}, "dropout.hidden"),
        ({"decoder__dropout__embed": -0.1}, "dropout.embed"),
        ({"decoder__dropout__attention": float("nan")}, "dropout.attention"),
        ({"decoder__norm__eps": -1e-5}, "eps"),
        ({"decoder__norm__eps": float("nan")}, "eps"),
        ({"init": -0.02}, "init"),
        ({"init": float("inf")}, "init"),
    ],
)
def test_numbers_that_cannot_work_are_refused(changes, said):
    """Case 85 of the bad inputs, and its neighbours."""
    with pytest.raises(ModeledgeError, match=said) as caught:
        from_plain(plain(**changes))
    assert caught.value.code == "E-CONFIG"
    assert caught.value.exit_status == 78


def test_towers():
    stack, tokens = STACKS["bare"], TokenTable(vocab=3)
    with pytest.raises(ModeledgeError, match="an encoder, a decoder, or both"):
        TransformerConfig(width=16, embed=tokens)
    with pytest.raises(ModeledgeError, match="second table"):
        TransformerConfig(width=16, embed=tokens, target_embed=tokens, decoder=stack)
    both = TransformerConfig(width=16, embed=tokens, target_embed=TokenTable(vocab=5), encoder=stack, decoder=stack)
    assert both.both
    assert both.table.vocab == 5
    assert from_plain(as_plain(both)) == both
    with pytest.raises(ModeledgeError, match="E-CONFIG"):
        replace(config("bare", "decoder"), width=0)


@pytest.mark.parametrize(
    ("changes", "where", "remedy"),
    [
        ({"wdith": 3}, "model.wdith", "did you mean 'width'?"),
        ({"decoder__layer": 3}, "model.decoder.layer", "did you mean 'layers'?"),
        ({"decoder__attention__n_heads": 3}, "model.decoder.attention.n_heads", "did you mean 'heads'?"),
        ({"decoder__norm__epsilon": 3}, "model.decoder.norm.epsilon", "did you mean 'eps'?"),
        ({"decoder__position__lenght": 3}, "model.decoder.position.lenght", "did you mean 'length'?"),
        ({"auto_map": {}}, "model.auto_map", "known: "),
        ({"_target_": "os.system"}, "model._target_", "target_embed"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest(changes, where, remedy):
    """Case 86."""
    with pytest.raises(ModeledgeError) as caught:
        from_plain(plain(**changes))
    assert (caught.value.code, caught.value.where) == ("E-CONFIG-KEY", where)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"width": "16"}, "model.width"),
        ({"width": 16.0}, "model.width"),
        ({"width": True}, "model.width"),
        ({"width": None}, "model.width"),
        ({"decoder": 3}, "model.decoder"),
        ({"decoder": []}, "model.decoder"),
        ({"embed": None}, "model.embed"),
        ({"decoder__attention__bias": 1}, "model.decoder.attention.bias"),
        ({"decoder__attention__qkv": "joined"}, "model.decoder.attention.qkv"),
        ({"decoder__attention__windows": []}, "model.decoder.attention.windows"),
        ({"decoder__attention__windows": 3}, "model.decoder.attention.windows"),
        ({"decoder__attention__windows": [3.0]}, "model.decoder.attention.windows"),
        ({"decoder__feedforward__kind": "gelu_new"}, "model.decoder.feedforward.kind"),
        ({"decoder__position": {"kind": "rotory"}}, "model.decoder.position"),
        ({"decoder__position": {"length": 3}}, "model.decoder.position"),
        ({"decoder__position": "rotary"}, "model.decoder.position"),
        ({"embed__norm": {"eps": 1}}, "model.embed.norm"),
        ({"embed__norm": {"wrong": 1}}, "model.embed.norm"),
        ({"init": "0.02"}, "model.init"),
    ],
)
def test_a_wrong_value_names_its_path(changes, where):
    with pytest.raises(ModeledgeError) as caught:
        from_plain(plain(**changes))
    assert (caught.value.code, caught.value.where) == ("E-CONFIG-VALUE", where)


def test_a_missing_key_names_what_is_missing():
    values = plain()
    del values["decoder"]["attention"]["heads"]
    with pytest.raises(ModeledgeError, match="heads") as caught:
        from_plain(values)
    assert (caught.value.code, caught.value.where) == ("E-CONFIG-VALUE", "model.decoder.attention")
    with pytest.raises(ModeledgeError, match="did you mean 'rotary'"):
        from_plain(plain(decoder__position={"kind": "rotory"}))

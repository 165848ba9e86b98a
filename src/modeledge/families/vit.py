"""ViT (Dosovitskiy et al. 2021, arXiv 2010.11929) and DeiT (Touvron et al. 2021, arXiv 2012.12877): an encoder that
reads a picture as a sequence of square patches, each flattened and projected, behind a learned [CLS].

The projection is stored as a convolution whose stride is its size; its kernel `[width, channels, patch, patch]` read
row by row is our matrix. Norms stand before the sub-layers, GELU between, and a last norm at the end. Classes are read
at [CLS]; DeiT puts a second learned token behind it, which learned from a teacher, and a second set of scores. The
pooler of a bare body takes no part in the states: it is kept. Releases from 5.23 on call the layers by new names, and
still write the old ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from modeledge.families.encoders.bert import named
from modeledge.families.family import Extra, Family, respelled, unsayable
from modeledge.families.keys import (
    ACTIVATIONS,
    FIXED,
    INERT,
    SPELLED,
    Key,
    Keys,
    changed,
    choice,
    count,
    flag,
    positive,
    rate,
)
from modeledge.families.labels import answering, label_count, score_keys
from modeledge.families.rules import Join, Keep, Rename, Reshape, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Patches, Stack, TransformerConfig
from modeledge.model.heads import ClassHead, Head
from modeledge.model.kinds import Learned


@dataclass(frozen=True)
class Kind:
    """Which of the two: the beginnings of its names and classes, and how many learned tokens lead the patches."""

    model_type: str
    start: str
    leading: int

    @property
    def architectures(self) -> dict[str, str | None]:
        """The classes of the reference library, and what each puts on the body."""
        plain: dict[str, str | None] = {f"{self.start}Model": None, f"{self.start}ForImageClassification": "class"}
        taught = f"{self.start}ForImageClassificationWithTeacher"
        return plain if self.leading == 1 else {**plain, taught: "taught"}


def square(name: str, default: int) -> Key:
    """The side of a square: one number, or a list that holds it twice."""

    def fits(value: Any) -> bool:
        both = value if isinstance(value, list) else [value, value]
        return len(both) == 2 and both[0] == both[1] and all(type(v) is int and v >= 1 for v in both)

    return Key(name, default, fits, "the side of a square, a whole number of at least 1")


KEYS = Keys(
    shape=(
        count("hidden_size", 768),
        count("num_hidden_layers", 12),
        count("num_attention_heads", 12),
        count("head_dim", None),
        count("intermediate_size", 3072),
        choice("hidden_act", "gelu", ACTIVATIONS),
        rate("hidden_dropout_prob", 0.0),
        rate("attention_probs_dropout_prob", 0.0),
        positive("initializer_range", 0.02),
        positive("layer_norm_eps", 1e-12),
        square("image_size", 224),
        square("patch_size", 16),
        count("num_channels", 3),
        flag("qkv_bias", True),
    ),
    fixed=FIXED,
    # the pooler is kept and not computed, masked pictures are another class, and there is no table to tie
    inert=INERT | {"encoder_stride", "pooler_act", "pooler_output_size", "tie_word_embeddings"},
)


def read_config(kind: Kind, said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    image, patch = (v[key][0] if isinstance(v[key], list) else v[key] for key in ("image_size", "patch_size"))
    embed = Patches(image=image, patch=patch, channels=v["num_channels"], leading=kind.leading)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(
            heads=v["num_attention_heads"],
            head_width=v["head_dim"],
            bias=v["qkv_bias"],
            output_bias=None if v["qkv_bias"] else True,
        ),
        feedforward=FeedForward(width=v["intermediate_size"], kind=cast(Any, ACTIVATIONS[v["hidden_act"]])),
        norm=Norm(eps=v["layer_norm_eps"]),
        position=Learned(length=embed.length),
        dropout=Dropout(
            embed=v["hidden_dropout_prob"],
            hidden=v["hidden_dropout_prob"],
            attention=v["attention_probs_dropout_prob"],
        ),
    )
    config = TransformerConfig(width=v["hidden_size"], embed=embed, encoder=stack, init=v["initializer_range"])
    return config, Extra(said)


def write_config(kind: Kind, config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(kind, extra.said)[0]), _plain(config))
    return {"model_type": kind.model_type, **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack, embed = config.stack, config.embed
    assert isinstance(embed, Patches)
    width = stack.attention.head_width
    return {
        "hidden_size": config.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.attention.heads,
        **({} if width is None else {"head_dim": width}),
        "intermediate_size": stack.feedforward.width,
        "hidden_act": SPELLED.get(stack.feedforward.kind, "gelu"),
        "hidden_dropout_prob": stack.dropout.hidden,
        "attention_probs_dropout_prob": stack.dropout.attention,
        "initializer_range": config.init,
        "layer_norm_eps": stack.norm.eps,
        "image_size": embed.image,
        "patch_size": embed.patch,
        "num_channels": embed.channels,
        "qkv_bias": stack.attention.bias,
    }


def heads(kind: Kind, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The head that a file holds. A class of the reference library that puts another one on is `E-FAMILY`."""
    wanted = {kind.architectures[name] for name in named(said, kind.architectures)}
    if "taught" in wanted or (kind.leading > 1 and "cls_classifier.weight" in names):
        return {"class": ClassHead(outputs=label_count(said), distilled=True)}
    if "class" not in wanted and "classifier.weight" not in names:
        return {}
    return answering(said, ClassHead(outputs=label_count(said)))


def write_heads(kind: Kind, config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which head a file holds."""
    head = heads.get("class", heads.get("value"))
    taught = isinstance(head, ClassHead) and head.distilled and kind.leading > 1
    ending = "Model" if head is None else "ForImageClassificationWithTeacher" if taught else "ForImageClassification"
    out: dict[str, Any] = {"architectures": [kind.start + ending]}
    for name, made in heads.items():
        out |= score_keys(name, made)
    return out


def rules(kind: Kind, config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    embed, width, start = config.embed, config.width, f"{kind.model_type}."
    assert isinstance(embed, Patches)
    first, kernel = f"{start}embeddings.", (width, embed.channels, embed.patch, embed.patch)
    tokens = tuple(first + name for name in ("cls_token", "distillation_token")[: kind.leading])
    places = f"{first}position_embeddings"
    made: list[Rule] = [
        Join(tokens, "leading", (1,) * kind.leading, shape=(1, 1, width)),
        Reshape(places, "tower.position.weight", (1, embed.length, width), (embed.length, width)),
        Reshape(f"{first}patch_embeddings.projection.weight", "patches.weight", kernel, (width, embed.dim)),
        Rename(f"{first}patch_embeddings.projection.bias", "patches.bias"),
        *_both(f"{start}layernorm", "tower.final_norm"),
    ]
    for n in range(config.stack.layers):
        made += layer_rules(f"{start}encoder.layer.{n}", f"tower.blocks.{n}", qkv_bias=config.stack.attention.bias)
    for name, head in heads.items():
        taught = isinstance(head, ClassHead) and head.distilled
        made += _both("cls_classifier" if taught else "classifier", f"heads.{name}.output")
        made += _both("distillation_classifier", f"heads.{name}.teacher") if taught else []
    return (*made, Keep(f"{first}mask_token"), *(Keep(f"{start}pooler.dense.{end}") for end in ("weight", "bias")))


def layer_rules(theirs: str, ours: str, *, qkv_bias: bool) -> list[Rule]:
    """One layer: two norms, queries, keys, values and output, up and down."""
    made: list[Rule] = []
    for part in ("query", "key", "value"):
        made += _both(f"{theirs}.attention.attention.{part}", f"{ours}.attention.{part}")[: 1 + qkv_bias]
    made += _both(f"{theirs}.attention.output.dense", f"{ours}.attention.output")
    made += _both(f"{theirs}.intermediate.dense", f"{ours}.feedforward.up")
    made += _both(f"{theirs}.output.dense", f"{ours}.feedforward.down")
    made += _both(f"{theirs}.layernorm_before", f"{ours}.attention_norm")
    return made + _both(f"{theirs}.layernorm_after", f"{ours}.feedforward_norm")


def _both(theirs: str, ours: str) -> list[Rule]:
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]


RENEWED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
TOPS = ("classifier.", "cls_classifier.", "distillation_classifier.")


def spelling(kind: Kind, said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out its prefix, new releases have other names for layers."""
    start = f"{kind.model_type}."
    layer = re.compile(rf"(?:{re.escape(start)})?layers\.(\d+)\.(.+)\.([a-z]+)")
    plain = {}
    for name in names:
        match = layer.fullmatch(name)
        plain[name] = name
        if match is not None:
            number, part, end = match.groups()
            plain[name] = f"{start}encoder.layer.{number}.{RENEWED.get(part, part)}.{end}"
    found = respelled(plain.values(), start, TOPS)
    return {name: found[new] for name, new in plain.items()}


def lacks(kind: Kind, config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a checkpoint of this kind cannot say."""
    return unsayable(PAGES[kind.model_type], config, heads, read_config(kind, {})[0])


def page(kind: Kind) -> Family:
    """The page of one of the two."""
    return Family(
        kind.model_type,
        partial(read_config, kind),
        partial(write_config, kind),
        partial(heads, kind),
        partial(write_heads, kind),
        partial(rules, kind),
        partial(lacks, kind),
        partial(spelling, kind),
        prefix=f"{kind.model_type}.",
    )


VIT, DEIT = page(Kind("vit", "ViT", 1)), page(Kind("deit", "DeiT", 2))
PAGES = {"vit": VIT, "deit": DEIT}

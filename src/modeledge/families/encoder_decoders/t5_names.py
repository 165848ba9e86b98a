"""How the tensors of T5 and mT5 are called: the rules, and the spellings of the classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modeledge.families.labels import WHOLE, classed
from modeledge.families.rules import Keep, Rename, Rule, Tie
from modeledge.model.config import Stack, TransformerConfig
from modeledge.model.heads import Head, LMHead

TABLE, HEAD = "shared.weight", "lm_head.weight"
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    made: list[Rule] = [Rename(TABLE, "tokens"), Tie(COPIES[0], TABLE)]
    assert config.encoder is not None
    if config.decoder is None:
        made += stack_rules("encoder", "tower", config.encoder, cross=False)
    else:
        made.append(Tie(COPIES[1], TABLE))
        made += stack_rules("encoder", "source_tower", config.encoder, cross=False)
        made += stack_rules("decoder", "tower", config.decoder, cross=True)
        # the first files have one more table, which nothing ever read
        made.append(Keep("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"))
    lm = heads.get("lm")
    if isinstance(lm, LMHead):
        made.append(Tie(HEAD, TABLE) if lm.tie else Rename(HEAD, "heads.lm.weight"))
    tops = {**dict.fromkeys(WHOLE, "classification_head"), "span": "qa_outputs", "tags": "classifier"}
    for name in heads:
        parts = {"dense": ".dense", "output": ".out_proj"} if name in WHOLE else {"output": ""}
        if name in tops:
            for ours, theirs in parts.items():
                made += [
                    Rename(f"{tops[name]}{theirs}.{end}", f"heads.{name}.{ours}.{end}") for end in ("weight", "bias")
                ]
    return tuple(made)


def stack_rules(theirs: str, ours: str, stack: Stack, *, cross: bool) -> list[Rule]:
    """One side: its buckets, its layers, its last norm."""
    made = [Rename(f"{theirs}.final_layer_norm.weight", f"{ours}.final_norm.weight")]
    buckets = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    made.append(Rename(buckets, f"{ours}.position.weight"))
    gated = stack.feedforward.gated
    wide = {"gate": "wi_0", "up": "wi_1", "down": "wo"} if gated else {"up": "wi", "down": "wo"}
    looks = {"query": "q", "key": "k", "value": "v", "output": "o"}
    parts = [("attention", "SelfAttention", looks), ("feedforward", "DenseReluDense", wide)]
    if cross:
        parts.insert(1, ("cross", "EncDecAttention", looks))
    for n in range(stack.layers):
        for number, (part, name, products) in enumerate(parts):
            layer = f"{theirs}.block.{n}.layer.{number}"
            made.append(Rename(f"{layer}.layer_norm.weight", f"{ours}.blocks.{n}.{part}_norm.weight"))
            for mine, letter in products.items():
                made.append(Rename(f"{layer}.{name}.{letter}.weight", f"{ours}.blocks.{n}.{part}.{mine}.weight"))
    return list(made)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: two classes call their body `transformer`, and a file that stores the table of
    tokens once may do so under any of its names."""
    found = {name: name.removeprefix("transformer.") for name in names}
    if TABLE not in found.values():
        tied = (*COPIES, *([HEAD] if said.get("tie_word_embeddings", True) else []))
        stored = [name for copy in tied for name, canonical in found.items() if canonical == copy]
        found |= dict.fromkeys(stored[:1], TABLE)
    return found


def called(heads: Mapping[str, Head], name: str) -> str:
    """The classes that mark texts or tokens call their body `transformer`."""
    beside = name.startswith(("classification_head.", "classifier.")) or not {"class", "tags"} & classed(heads)
    return name if beside else f"transformer.{name}"

"""Pre-trained weights in another architecture: a decoder that reads both ways, an encoder that gained a decoder.

**A decoder read both ways** (LLM2Vec: BehnamGhader et al. 2024, arXiv 2404.05961, section 2.1). A decoder is an encoder
with a triangle cut out of its attention. `reading_both_ways` takes the cut away: the same weights, every token seeing
every other one. The states of an untrained switch are worse than those before, because no layer ever met a token from
the right; LLM2Vec repairs that by some steps of masked next-token prediction, then contrastive learning.

**An encoder warm-starts an encoder–decoder** (Rothe, Narayan and Severyn 2020, arXiv 1907.12461, section 2). The
encoder is the checkpoint; the decoder is a copy of it (BERT2BERT), drawn afresh (BERT2RND), or the same weights
(BERTSHARE). Its attention over the source exists in no checkpoint and is always drawn. One table of tokens serves both
sides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.config import Tokens, TransformerConfig
from modeledge.model.heads import Head, LanguageModelling
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

Decoder: TypeAlias = Literal["copied", "fresh", "shared"]
POSITIONS = "tower.position.weight"


def reading_both_ways(model: Transformer) -> Transformer:
    """The decoder `model` as an encoder: the same weights (not copied) and heads, attention from both sides.

    The model that is given must not be used any more. Raises `E-USAGE` for what is no decoder alone.
    """
    with torch.device("meta"):
        turned = Transformer(shape_both_ways(model.config))
    heads, model.heads = model.heads, torch.nn.ModuleDict()
    turned.load_state_dict(model.state_dict(), assign=True)
    turned.heads, turned.compute = heads, model.compute
    turned.hf_names, turned.hf_laid = model.hf_names, model.hf_laid
    return turned.train(model.training)


def shape_both_ways(config: TransformerConfig) -> TransformerConfig:
    """The shape of `reading_both_ways`, which raises the same."""
    if config.decoder is None or config.both:
        what = "it reads an encoder" if config.both else "it reads both ways already"
        raise ModeledgeError("E-USAGE", what, where="bidirectional", remedy="start from a decoder, as GPT-2 or Llama")
    return replace(config, encoder=config.decoder, decoder=None)


def with_decoder(model: Transformer, decoder: Decoder, *, seed: int) -> Transformer:
    """The encoder `model` with a decoder on its states; a masked-LM head goes on as the decoder's.

    What is fresh (attention over the source, a `fresh` decoder) is a function of (seed, parameter name), as in any new
    model. Where the encoder has token types, the first one is added to the table of positions, which changes no state:
    a decoder has no types, and would miss the vector that each token was trained with. Raises `E-USAGE` for what is no
    encoder of texts alone.
    """
    shape = shape_with_decoder(model.config, decoder)
    state = without_types(model.state_dict())
    grown = Transformer(shape, seed=seed)
    heads: dict[str, Head] = {
        name: head.spec for name, head in model.heads.items() if name == "lm" and isinstance(head, LanguageModelling)
    }
    grown.add_heads(heads, Noise(seed))
    known = {name: value for name, value in state.items() if not name.startswith("heads.") or heads_name(name) in heads}
    if decoder != "shared":
        below = {f"source_{name}": value for name, value in known.items() if name.startswith("tower.")}
        above = {} if decoder == "fresh" else {n: v for n, v in known.items() if n.startswith("tower.")}
        norm = {n.replace("embed_norm", "target_norm"): v for n, v in known.items() if n.startswith("embed_norm.")}
        beside = {n: v for n, v in known.items() if not n.startswith("tower.")}
        known = beside | below | above | ({} if decoder == "fresh" else norm)
    grown.load_state_dict({**grown.state_dict(), **known})
    grown.compute = model.compute
    return grown.to(model.device).train(model.training)


def shape_with_decoder(config: TransformerConfig, decoder: Decoder) -> TransformerConfig:
    """The shape of `with_decoder`, which raises the same."""
    if config.encoder is None or config.both or not isinstance(config.embed, Tokens):
        what = "only an encoder of texts can be given a decoder"
        raise ModeledgeError("E-USAGE", what, where="decoder", remedy="start from an encoder, as BERT or RoBERTa")
    embed = replace(config.embed, types=0)
    return replace(config, embed=embed, decoder=config.encoder, share_sides=decoder == "shared")


def heads_name(name: str) -> str:
    """Whose parameter: `heads.lm.bias` is of `lm`."""
    return name.split(".")[1]


def without_types(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model without token types that gives the same states to texts of the first type."""
    if "types" not in state:
        return state
    if POSITIONS not in state or state[POSITIONS].shape[1] != state["types"].shape[1]:
        what = "its token types can be added to no table of positions"
        raise ModeledgeError("E-USAGE", what, where="decoder", remedy="start from an encoder with learned positions")
    added = {POSITIONS: state[POSITIONS] + state["types"][0]}
    return {name: value for name, value in {**state, **added}.items() if name != "types"}

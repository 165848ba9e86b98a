"""Shapes by name: `PRESETS` maps each to a function of the vocabulary, so that a variant is two lines.

The sizes are the papers'; each file names its source and what the authors' own models differ in. `HEADS` holds the
language-modelling head of those whose head is not the one that an objective would give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.transformer import Transformer
from modeledge.recipes.presets.bart import BART, bart_heads
from modeledge.recipes.presets.bert import BERT, bert
from modeledge.recipes.presets.gpt import GPT, gpt2
from modeledge.recipes.presets.small import SMALL, modern
from modeledge.recipes.presets.t5 import T5, t5_heads
from modeledge.recipes.presets.vaswani import VASWANI, vaswani
from modeledge.seed import Noise

PRESETS: dict[str, Callable[[int], TransformerConfig]] = {**SMALL, **VASWANI, **GPT, **BERT, **T5, **BART}
HEADS: dict[str, Mapping[str, Head]] = {**t5_heads(), **bart_heads()}


def shape_named(name: str | None, vocab: int, where: str) -> TransformerConfig:
    """The shape of a preset; `E-CONFIG-VALUE` at `where`, with the nearest name, for one that there is not."""
    if name not in PRESETS:
        remedy = nearest(str(name), PRESETS)
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no preset {name!r}", where=where, remedy=remedy)
    return PRESETS[name](vocab)


def drawn(name: str | None, vocab: int, seed: int, where: str) -> Transformer:
    """Fresh weights of a preset with its own head, a function of the seed. Raises as `shape_named`."""
    model = Transformer(shape_named(name, vocab, where), seed=seed)
    model.add_heads(HEADS.get(str(name), {}), Noise(seed))
    return model


__all__ = ["HEADS", "PRESETS", "bert", "drawn", "gpt2", "modern", "shape_named", "vaswani"]

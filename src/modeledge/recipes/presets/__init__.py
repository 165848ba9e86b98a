"""Shapes by name: `PRESETS` maps each to a function of the vocabulary, so that a variant is two lines.

The sizes are the papers'; each file names its source and what the authors' own models differ in. `HEADS` holds the
language-modelling head of those whose head is not the one that an objective would give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head
from modeledge.recipes.presets.bart import BART, bart_heads
from modeledge.recipes.presets.bert import BERT, bert
from modeledge.recipes.presets.gpt import GPT, gpt2
from modeledge.recipes.presets.small import SMALL, modern
from modeledge.recipes.presets.t5 import T5, t5_heads
from modeledge.recipes.presets.vaswani import VASWANI, vaswani

PRESETS: dict[str, Callable[[int], TransformerConfig]] = {**SMALL, **VASWANI, **GPT, **BERT, **T5, **BART}
HEADS: dict[str, Mapping[str, Head]] = {**t5_heads(), **bart_heads()}

__all__ = ["HEADS", "PRESETS", "bert", "gpt2", "modern", "vaswani"]

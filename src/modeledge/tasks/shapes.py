"""The shape of a labelled text: the special tokens around it, the head that reads it, the share of its own loss."""

from __future__ import annotations

import math
from typing import Any, Literal

from modeledge.errors import ModeledgeError
from modeledge.model.config import Tokens
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead, Pool, ValueHead
from modeledge.objectives import LabelPrepare, Smooth
from modeledge.tasks.labels import Labels
from modeledge.tasks.writing import starting
from modeledge.tokens import Tokenizer


def checked_share(lm: Any, config: Facts) -> float:
    """The share of the auxiliary language modelling (`E-CONFIG-VALUE` where a model or a number has none)."""
    if isinstance(lm, bool) or not isinstance(lm, int | float) or not 0 <= lm < math.inf:
        raise ModeledgeError("E-CONFIG-VALUE", f"{lm!r} is no share", where="options.lm", remedy="0.5, as GPT has it")
    if lm and config.encoder is not None:
        what = "a model that reads both ways has no next token to learn"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.lm", remedy="take a decoder, or leave it out")
    return float(lm)


def checked_smooth(share: Any, noise: Any) -> Smooth:
    """R3F's share and noise (`E-CONFIG-VALUE` where a number is none)."""
    for name, value, least in (("r3f", share, 0.0), ("r3f_noise", noise, 1e-12)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            remedy = "a share from 0; 1 is usual" if name == "r3f" else "a number above 0; 1e-5 as published"
            raise ModeledgeError("E-CONFIG-VALUE", f"{value!r} does not do", where=f"options.{name}", remedy=remedy)
    return Smooth(float(share), float(noise))


def checked_smoothing(share: Any) -> float:
    """The share of a label that goes to all classes alike (`E-CONFIG-VALUE` where it is none)."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        what, remedy = f"{share!r} is no share", "a number from 0, and below 1; 0.1 is usual"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.smoothing", remedy=remedy)
    return float(share)


def plain_head(
    labels: Labels, config: Facts, pool: Pool | None = None, hidden: bool | None = None, dropout: float = 0.0
) -> ClassHead | ValueHead:
    """A head for a model of no family: behind a dense layer at the first token of an encoder, at the last one of a
    decoder."""
    encoder = config.decoder is None
    pool = pool or ("first" if encoder else "last")
    hidden = encoder if hidden is None else hidden
    if labels.kind == "class":
        return ClassHead(outputs=len(labels.names), pool=pool, hidden=hidden, dropout=dropout)
    return ValueHead(pool=pool, hidden=hidden, dropout=dropout)


def shape_for(
    tokenizer: Tokenizer,
    config: Facts,
    kind: Literal["class", "value"],
    length: int,
    class_weights: tuple[float, ...] = (),
    start: int | None = None,
) -> LabelPrepare:
    """The special tokens around texts: `[CLS] a [SEP] b [SEP]` for an encoder, `a [SEP] b [CLS]` for a decoder, whose
    last token has read everything; where a tokenizer has no such tokens, its begin- and end-of-text stand in.

    A decoder that reads an encoder is given the same text on both sides, one token later (Lewis et al. 2020, figure
    3a); it begins with `start`, without which the tokenizer says with what, as in pre-training (`starting`).
    """
    if tokenizer.vocab_size > config.table.vocab:
        what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {config.table.vocab} rows"
        raise ModeledgeError("E-VOCAB-SIZE", what)
    specials = tokenizer.specials
    limit = config.positions
    if limit is not None and length > limit:
        raise ModeledgeError("E-POSITION", f"length {length} is beyond the model's {limit} positions")
    if config.both:
        start = starting(tokenizer, None)[0] if start is None else start
        ends = specials.sep if specials.sep is not None else tokenizer.need("eos")
        types = config.embed.types > 1 if isinstance(config.embed, Tokens) else False
        return LabelPrepare("both", length, kind, specials.cls, ends, ends, types, class_weights, start)
    if config.encoder is not None:
        cls = specials.bos if specials.cls is None and specials.bos is not None else tokenizer.need("cls")
        sep = specials.eos if specials.sep is None and specials.eos is not None else tokenizer.need("sep")
        return LabelPrepare("source", length, kind, cls, sep, sep, config.table.types > 1, class_weights)
    between = specials.sep if specials.sep is not None else specials.eos
    last = specials.cls if specials.cls is not None else specials.eos
    return LabelPrepare("target", length, kind, specials.bos, between, last, class_weights=class_weights)

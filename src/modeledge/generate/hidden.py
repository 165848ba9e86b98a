"""Continuing a text with a model that writes where a token is hidden, and foretells no next one.

Two kinds of pre-training make such models (`HiddenWay`):

    uncover     masked diffusion, an encoder: `[CLS] prompt [MASK] … [MASK] [SEP]`, all hidden tokens uncovered in some
                passes (see `unmask`)
    sequence    UniLM, a decoder with a prefix (Dong et al. 2019, section 2.5): `[CLS] prompt [SEP]` is read both ways,
                a mask is put behind it, what is guessed there takes its place, and so on until a `[SEP]`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate.engine import check_scores
from modeledge.generate.sample import Sampling
from modeledge.generate.unmask import Order, unmask
from modeledge.generate.ways import HiddenWay
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.records import IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer


def continue_hidden(
    model: Backbone,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    way: HiddenWay,
    *,
    max_new_tokens: int = 100,
    sampling: Sampling = Sampling(),  # noqa: B008
    steps: int = 64,
    order: Order = "random",
    noise: Noise = Noise(0),  # noqa: B008
) -> list[str]:
    """The continuation of each prompt up to an end of text; `steps` and `order` are of `unmask`.

    It begins with its space where a new word begins. Raises `E-USAGE` for a model of another body or settings that make
    no sense, `E-SPECIAL-TOKEN` without the tokens around a text, `E-POSITION` for too long a text.
    """
    if max_new_tokens < 1:
        raise ModeledgeError("E-USAGE", f"max_new_tokens is {max_new_tokens}", remedy="ask for at least 1")
    cls, sep, mask = (tokenizer.need(role) for role in ("cls", "sep", "mask"))
    ends = {sep, *([] if tokenizer.specials.eos is None else [tokenizer.specials.eos])}
    never = tuple(sorted({*tokenizer.specials.ids(), *tokenizer.sentinels} - ends))
    told = []
    for number, prompt in enumerate(prompts):
        ids, lots = tokenizer.encode(prompt), noise.at("sample", number)
        if way == "uncover":
            whole = np.array([cls, *ids, *[mask] * max_new_tokens, sep])
            written = unmask(model, whole, mask, steps=steps, order=order, sampling=sampling, banned=never, noise=lots)
            new = written[1 + len(ids) : -1].tolist()
            new = new[: next((place for place, token in enumerate(new) if token in ends), len(new))]
        else:
            source = np.array([cls, *ids, sep])
            new = write_masked(model, source, mask, max_new_tokens, sampling, (ends, never), lots)
        before, whole_text = tokenizer.decode(ids), tokenizer.decode([*ids, *new])
        told.append(whole_text[len(before) :] if whole_text.startswith(before) else tokenizer.decode(new))
    return told


@torch.inference_mode()
def write_masked(
    model: Backbone,
    source: IntArray,
    mask: int,
    room: int,
    sampling: Sampling,
    ends_and_never: tuple[set[int], Sequence[int]],
    noise: Noise,
) -> list[int]:
    """Up to `room` tokens behind `source`, each guessed at a mask that stands last; the source is read both ways.

    It ends before a token of the first set; those of the second are never written. Each pass reads everything anew: the
    state of a mask is not that of the token that takes its place.
    """
    if model.config.decoder is None or model.config.both:
        raise ModeledgeError("E-USAGE", "a text behind a source is written by a decoder alone")
    if model.training:
        raise ModeledgeError("E-USAGE", "the model is in training mode", remedy="call model.eval()")
    check_scores(model)
    model.check_length(len(source) + room)
    ends, never = ends_and_never
    forbidden = torch.tensor(sorted({mask, *never}), device=model.device)
    new: list[int] = []
    for step in range(room):
        ids = torch.tensor([[*source.tolist(), *new, mask]], device=model.device)
        positions = torch.arange(ids.shape[1], device=model.device)[None]
        side = Side(ids, positions, torch.ones_like(ids), prefix=positions < len(source))
        scores = model.logits(model(Batch(target=side)).last[:, -1]).float()
        scores[:, forbidden] = -math.inf
        token = int(sampling.choose(scores, [noise.at(step)])[0])
        if token in ends:
            break
        new.append(token)
    return new

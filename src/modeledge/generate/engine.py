"""Continuing prompts with a decoder and a cache; filling gaps with an encoder.

A decoder that reads an encoder continues nothing: the prompt is its source, read once, and what it writes begins behind
`start`: one token as a rule (T5's pad, BART's eos), more where a language is named as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.generate.sample import Sampling
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.model.cache import Cache
from modeledge.records import IntArray
from modeledge.seed import Noise


@dataclass
class Rows:
    """The prompts that are still being written: their numbers, lengths, and what the next step reads."""

    numbers: list[int]
    lengths: Tensor
    cache: Cache
    last: Tensor

    def chosen(self, rows: Tensor) -> Rows:
        """These rows alone, in this order; a row may be named twice."""
        numbers = [self.numbers[i] for i in rows.tolist()]
        return Rows(numbers, self.lengths[rows], self.cache.rows(rows), self.last[rows])


def generate(
    model: Backbone,
    prompts: Sequence[IntArray],
    *,
    max_new_tokens: int,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop: Sequence[int] = (),
    noise: Noise | Sequence[Noise] = Noise(0),  # noqa: B008
    start: Sequence[int] = (),
    both_ways: bool = False,
) -> list[IntArray]:
    """New tokens for each prompt, without those in `stop` and `start`; a prompt that has met a stop leaves the batch.

    `start` is for a decoder that reads an encoder, and needed there; `both_ways` is for a prefix-LM, which reads the
    prompt from both sides. `noise` is one for all prompts, or one for each. A prompt's tokens depend on its own number,
    not on the others (up to rounding). Raises `E-USAGE` for an encoder, an empty prompt or a `start` that is missing or
    out of place, `E-POSITION` where prompt and new tokens are longer than the model's positions.
    """
    written: list[list[int]] = [[] for _ in prompts]
    for number, token in stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        stop=stop,
        noise=noise,
        start=start,
        both_ways=both_ways,
    ):
        written[number].append(token)
    return [np.array(tokens, dtype=np.int64) for tokens in written]


@torch.inference_mode()
def stream(
    model: Backbone,
    prompts: Sequence[IntArray],
    *,
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[int] = (),
    noise: Noise | Sequence[Noise],
    start: Sequence[int] = (),
    both_ways: bool = False,
) -> Iterator[tuple[int, int]]:
    """The same, one (prompt number, token) at a time, as they are chosen."""
    check_asked(model, prompts, max_new_tokens, start)
    ends, ruled = frozenset(stop), not sampling.rules.idle
    lots = [noise.at("sample", n) for n in range(len(prompts))] if isinstance(noise, Noise) else noise
    rows = read_prompts(model, prompts, max_new_tokens, start, both_ways)
    written = [[int(i) for i in (start or prompt)] for prompt in prompts] if ruled else []
    for step in range(max_new_tokens):
        scores = model.logits(rows.last)
        if ruled:
            scores = sampling.rules.bent(scores, [written[n] for n in rows.numbers], step, stop)
        chosen = sampling.choose(scores, [lots[n].at(step) for n in rows.numbers])
        tokens = chosen.tolist()
        going = [i for i, token in enumerate(tokens) if token not in ends]
        for i in going:
            if ruled:
                written[rows.numbers[i]].append(tokens[i])
            yield rows.numbers[i], tokens[i]
        if not going or step == max_new_tokens - 1:
            return
        if len(going) < len(tokens):
            keep = torch.tensor(going, device=chosen.device)
            chosen, rows = chosen[keep], rows.chosen(keep)
        rows = read_token(model, rows, chosen, step)


def read_prompts(
    model: Backbone, prompts: Sequence[IntArray], room: int, start: Sequence[int], both_ways: bool
) -> Rows:
    """All prompts read in one pass, with room for `room` new tokens: as sources where there is a `start`."""
    return _read_sources(model, prompts, room, start) if start else _read(model, prompts, room, both_ways)


def read_token(model: Backbone, rows: Rows, tokens: Tensor, step: int) -> Rows:
    """The rows after one more token each `[rows]`, the new token number `step`."""
    positions = (rows.lengths + step)[:, None]
    side = Side(tokens[:, None], positions, torch.ones_like(positions), whole=rows.cache.whole)
    states = model(Batch(target=side), rows.cache)
    assert states.cache is not None
    return Rows(rows.numbers, rows.lengths, states.cache, states.last[:, -1])


def _read(model: Backbone, prompts: Sequence[IntArray], room: int, both_ways: bool) -> Rows:
    """Read all prompts in one pass, padded on the left so that every row ends at the same column."""
    device = model.device
    lengths = [len(p) for p in prompts]
    longest = max(lengths)
    ids, positions, segments = (np.zeros((len(prompts), longest), dtype=np.int64) for _ in range(3))
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt)
        ids[row, start:], positions[row, start:], segments[row, start:] = prompt, np.arange(len(prompt)), 1
    tokens, places, numbers = (torch.from_numpy(a).to(device) for a in (ids, positions, segments))
    prefix = numbers > 0 if both_ways else None
    side = Side(tokens, places, numbers, prefix, whole=min(lengths) == longest)
    cache = model.new_cache(len(prompts), longest + room)
    states = model(Batch(target=side), cache)
    assert states.cache is not None
    return Rows(list(range(len(prompts))), torch.tensor(lengths, device=device), states.cache, states.last[:, -1])


def _read_sources(model: Backbone, prompts: Sequence[IntArray], room: int, start: Sequence[int]) -> Rows:
    """Read all prompts as sources, padded on the right, and `start` as the beginning of each answer."""
    device, count = model.device, len(prompts)
    lengths = torch.tensor([len(p) for p in prompts])
    ids = torch.zeros(count, int(lengths.max()), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
    source = Side.of(ids.to(device), None if bool((lengths == ids.shape[1]).all()) else lengths.to(device))
    target = Side.of(torch.tensor(start, device=device).expand(count, -1))
    cache = model.new_cache(count, len(start) + room)
    states = model(Batch(source=source, target=target), cache)
    assert states.cache is not None
    begun = torch.full((count,), len(start), device=device)
    return Rows(list(range(count)), begun, states.cache, states.last[:, -1])


def check_asked(model: Backbone, prompts: Sequence[IntArray], room: int, start: Sequence[int]) -> None:
    """Refuse what cannot be continued: see `generate`."""
    if model.config.decoder is None:
        remedy = "fill [MASK]s with it, or take a decoder"
        raise ModeledgeError("E-USAGE", "an encoder does not continue text", remedy=remedy)
    if model.training:
        raise ModeledgeError("E-USAGE", "the model is in training mode", remedy="call model.eval()")
    if not prompts or min(len(p) for p in prompts) == 0:
        raise ModeledgeError("E-USAGE", "a prompt is empty", remedy="begin with the tokenizer's bos token")
    if room < 1:
        raise ModeledgeError("E-USAGE", f"max_new_tokens is {room}", remedy="ask for at least 1")
    check_scores(model)
    _check_start(model, start)
    longest = max(len(p) for p in prompts)
    model.check_length(max(longest, len(start) + room) if start else longest + room)


def check_scores(model: Backbone) -> None:
    """Refuse a model that gives no token a score (`E-USAGE`): ELECTRA's discriminator, SimCSE, a classifier."""
    if "lm" not in model.heads:
        held = ", ".join(model.heads) or "none"
        what = f"the model has no head over the vocabulary (heads: {held})"
        raise ModeledgeError("E-USAGE", what, remedy="take one that has; embed and finetune work with this one")


def _check_start(model: Backbone, start: Sequence[int]) -> None:
    """A decoder that reads an encoder needs tokens to begin with, another one has none."""
    if model.config.both and not start:
        remedy = "name the token with start=, e.g. the pad token for T5, the token of a language for mBART"
        raise ModeledgeError("E-USAGE", "nothing says which token the decoder begins with", remedy=remedy)
    if start and not model.config.both:
        what = "a decoder without an encoder begins with the prompt"
        raise ModeledgeError("E-USAGE", what, where="start", remedy="put the tokens before the prompt")
    wrong = [token for token in start if not 0 <= token < model.config.table.vocab]
    if wrong:
        what = f"token {wrong[0]} is none of the {model.config.table.vocab:,} ids of the model"
        raise ModeledgeError("E-USAGE", what, where="start")


@torch.inference_mode()
def fill_mask(
    model: Backbone, ids: IntArray, mask: int, *, top: int = 5, start: int | None = None
) -> list[list[tuple[int, float]]]:
    """For each masked place the `top` best ids with their probabilities; ids `[n]` include the special tokens.

    A decoder that reads an encoder is given the same ids one place later, behind `start`: it answers for a place with
    all of the source and what stands before the place (Lewis et al. 2020, section 2.2, with gaps of one token).
    """
    check_fills(model, start)
    places = np.flatnonzero(ids == mask)
    if not len(places):
        raise ModeledgeError(
            "E-USAGE", "there is no masked token in the text", remedy="write [MASK] where a word is missing"
        )
    model.check_length(len(ids))
    given = torch.from_numpy(np.asarray(ids, dtype=np.int64))[None].to(model.device)
    answer = None if start is None else Side.of(torch.cat([torch.full_like(given[:, :1], start), given[:, :-1]], 1))
    states = model(Batch(source=Side.of(given), target=answer)).last[0, torch.from_numpy(places).to(model.device)]
    shares, found = torch.softmax(model.logits(states).float(), -1).topk(min(top, model.config.table.vocab), -1)
    return [list(zip(i, p, strict=True)) for i, p in zip(found.tolist(), shares.tolist(), strict=True)]


def check_fills(model: Backbone, start: int | None = None) -> None:
    """Refuse a model that cannot fill gaps (`E-USAGE`): a decoder, and one that reads an encoder and does not know the
    token that it begins with."""
    if model.config.both:
        _check_start(model, [] if start is None else [start])
    elif model.config.decoder is not None:
        raise ModeledgeError(
            "E-USAGE", "a decoder does not fill gaps", remedy="continue text with it, or take an encoder"
        )
    check_scores(model)

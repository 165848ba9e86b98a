"""Which of several texts does a model find likeliest behind a prompt? One pass over packed rows, no token generated.

log p(choice | prompt) = Σ log p(token | all before it), over the tokens of the choice. Choices of different lengths are
compared as they are ("sum"), a token or a byte (Brown et al. 2020, section 2.4), or less what the choice is worth
behind a prompt that says nothing: domain-conditional pointwise mutual information (Holtzman et al. 2021, arXiv
2104.08315, equation 3), which takes back that some words are likely anywhere.

A prompt and a choice are cut into tokens together, because that is how such a text stood in the training data: "un" and
"do" are one token in "undo". A token across the boundary is counted to the choice, and it is said how often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from modeledge.corpus.pack import choose_capacity, plan_rows
from modeledge.errors import ModeledgeError
from modeledge.generate.engine import check_scores
from modeledge.generate.text import as_source
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.records import FloatArray, IntArray
from modeledge.tokens import Tokenizer

CHUNK, ROW = 256, 512  # scores over the vocabulary that are held at once; tokens in a row


@dataclass(frozen=True)
class Scoring:
    """How choices are compared: by their whole log-likelihood, or a token, or a byte of it; less the log-likelihood
    behind the prompt `unconditional`, where one is given ("Answer:"). `tokens` is about how many a batch holds."""

    by: Literal["sum", "token", "byte"] = "sum"
    unconditional: str | None = None
    tokens: int = 8192

    def __post_init__(self) -> None:
        if self.by not in ("sum", "token", "byte"):
            raise ModeledgeError("E-CONFIG-VALUE", f"there is no score by {self.by!r}", remedy="sum, token or byte")


@dataclass(frozen=True)
class _Asked:
    """One choice behind one prompt: what is read, and from which token on it is scored. `source` is the prompt of a
    decoder that reads an encoder; `both_ways`: what stands before the choice is read from both sides."""

    ids: IntArray
    first: int
    source: IntArray | None = None
    both_ways: bool = False

    @property
    def width(self) -> int:
        return max(len(self.ids) - 1, 0 if self.source is None else len(self.source))


def score_choices(
    model: Backbone,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    *,
    scoring: Scoring = Scoring(),
    start: Sequence[int] = (),
    both_ways: bool = False,
    say: Callable[[str], None] = print,
) -> list[FloatArray]:
    """A score for each choice of each prompt, `[choices]` each, in nats.

    A decoder that reads an encoder is given the prompt as its source and begins with `start`; a prefix LM reads the
    prompt `both_ways`. `say` is told of tokens across the boundary, and of prompts that lost their beginning because
    prompt and choice are longer than the model's positions; a choice alone that is longer is `E-NO-TARGET`, an encoder
    or an empty choice `E-USAGE`.
    """
    _check(model, prompts, choices, start)
    asked, crossed, cut = _asked(model, tokenizer, prompts, choices, start, both_ways)
    if crossed:
        say(f"{crossed} of {len(asked)} choices share a token with their prompt: it is counted to the choice")
    if cut:
        say(f"{cut} of {len(asked)} prompts lost their beginning: they are longer than the model's positions")
    told = log_likelihoods(model, asked, scoring.tokens)
    counts = np.array([len(a.ids) - a.first for a in asked])
    sizes = np.array([len(choice.encode()) for texts in choices for choice in texts])
    if scoring.unconditional is not None:
        texts = sorted({choice for texts in choices for choice in texts})
        bare, *_ = _asked(model, tokenizer, [scoring.unconditional], [texts], start, both_ways)
        worth = dict(zip(texts, log_likelihoods(model, bare, scoring.tokens), strict=True))
        told = told - np.array([worth[choice] for texts in choices for choice in texts])
    told = told / {"sum": np.ones_like(told), "token": counts, "byte": sizes}[scoring.by]
    return np.split(told, np.cumsum([len(texts) for texts in choices])[:-1])


def _check(model: Backbone, prompts: Sequence[str], choices: Sequence[Sequence[str]], start: Sequence[int]) -> None:
    if model.config.decoder is None:
        remedy = "take a decoder, or fine-tune the encoder"
        raise ModeledgeError("E-USAGE", "an encoder has no likelihood of a text", remedy=remedy)
    if model.training:
        raise ModeledgeError("E-USAGE", "the model is in training mode", remedy="call model.eval()")
    check_scores(model)
    if model.config.both and not start:
        remedy = "name the token with start="
        raise ModeledgeError("E-USAGE", "nothing says which token the decoder begins with", remedy=remedy)
    if len(prompts) != len(choices):
        what = f"{len(prompts)} prompts stand beside {len(choices)} lists of choices"
        raise ModeledgeError("E-LENGTH-MISMATCH", what)
    for number, texts in enumerate(choices, 1):
        if isinstance(texts, str) or not texts or not all(texts):
            what = "a list of texts was expected, none of them empty"
            raise ModeledgeError("E-USAGE", what, where=f"choices of prompt {number}")


def _asked(
    model: Backbone,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    start: Sequence[int],
    both_ways: bool,
) -> tuple[list[_Asked], int, int]:
    """What is read for each choice; how many share a token with their prompt, and how many prompts were cut."""
    asked: list[_Asked] = []
    crossed = cut = 0
    before, limit = begins(tokenizer), model.room
    for prompt, texts in zip(prompts, choices, strict=True):
        alone = tokenizer.encode(prompt)
        for choice in texts:
            if model.config.both:
                ids = np.array([*start, *tokenizer.encode(choice).tolist()])
                made = _Asked(ids, len(start), _source(tokenizer, alone, limit))
                cut += len(as_source(tokenizer, alone)) > len(made.source if made.source is not None else ())
            else:
                ids, first = boundary(tokenizer, prompt, choice)
                crossed += bool(prompt) and not np.array_equal(ids[:first], alone)
                ids, first = np.concatenate([before, ids]).astype(np.int64), first + len(before)
                made = _Asked(ids, first, both_ways=both_ways)
            if made.first == 0:
                what, remedy = "the prompt is empty, and no token begins a text", "write a prompt"
                raise ModeledgeError("E-USAGE", what, remedy=remedy)
            surplus = 0 if limit is None else len(made.ids) - 1 - limit
            if surplus > 0:
                made, cut = _shortened(made, surplus, len(before) if not model.config.both else made.first), cut + 1
            asked.append(made)
    return asked, crossed, cut


def _source(tokenizer: Tokenizer, ids: IntArray, limit: int | None) -> IntArray:
    """A prompt as an encoder reads it, without its first tokens where it is too long."""
    surplus = 0 if limit is None else len(as_source(tokenizer, ids)) - limit
    return as_source(tokenizer, ids[max(surplus, 0) :])


def _shortened(asked: _Asked, surplus: int, keep: int) -> _Asked:
    """Without the first tokens of the prompt behind those that begin a text; the choice stays whole."""
    if asked.first - surplus < max(keep, 1):
        what = f"a choice of {len(asked.ids) - asked.first} tokens leaves no room for a prompt"
        raise ModeledgeError("E-NO-TARGET", what, remedy="shorten the choice, or take a model with more positions")
    ids = np.concatenate([asked.ids[:keep], asked.ids[keep + surplus :]])
    return replace(asked, ids=ids, first=asked.first - surplus)


def begins(tokenizer: Tokenizer) -> IntArray:
    """What stands before a text of a decoder: bos where the tokenizer's family puts it there (Llama's `<s>`)."""
    leading = []
    for slot in tokenizer.frame.single:
        if slot.id is None:
            break
        leading.append(slot.id)
    bos = tokenizer.specials.bos
    return np.array([bos] if bos is not None and leading[:1] == [bos] else [], dtype=np.int64)


def boundary(tokenizer: Tokenizer, prompt: str, choice: str) -> tuple[IntArray, int]:
    """The ids of prompt and choice in one, and where the choice's begin: at the first that reaches into the choice.

    An empty prompt is the token that begins or ends a text.
    """
    if not prompt:
        specials = tokenizer.specials
        opening = specials.bos if specials.bos is not None else specials.eos
        first = [] if opening is None or len(begins(tokenizer)) else [opening]
        return np.array([*first, *tokenizer.encode(choice).tolist()], dtype=np.int64), len(first)
    ids, spans = tokenizer.encode_spans(prompt + choice)
    behind = np.flatnonzero(spans[:, 1] > len(prompt))
    if not len(behind):
        raise ModeledgeError("E-NO-TARGET", "a choice has no token of its own", where=repr(choice))
    return ids, int(behind[0])


@torch.inference_mode()
def log_likelihoods(model: Backbone, asked: Sequence[_Asked], tokens: int) -> FloatArray:
    """Σ log p of the scored tokens of each, `[asked]`; texts of like lengths together, several in a row."""
    told = np.zeros(len(asked))
    order = sorted(range(len(asked)), key=lambda i: (-asked[i].width, i))
    while order:
        reached = np.cumsum([asked[i].width for i in order])
        count = max(int(np.searchsorted(reached, tokens, side="right")), 1)
        chosen, order = order[:count], order[count:]
        lengths = [asked[i].width for i in chosen]
        width = choose_capacity(lengths, max(ROW, max(lengths)))
        rows = [[chosen[place] for place in row] for row in plan_rows(lengths, width)]
        _score_rows(model, asked, rows, width, told)
    return told


def _score_rows(
    model: Backbone, asked: Sequence[_Asked], rows: Sequence[Sequence[int]], width: int, told: FloatArray
) -> None:
    """Add up the log-likelihoods of the choices in these rows."""
    target = _filled(rows, width, lambda i: asked[i].ids[:-1], lambda i: asked[i].width)
    both = asked[rows[0][0]].source is not None
    source = _filled(rows, width, lambda i: _needed(asked[i]), lambda i: asked[i].width) if both else None
    reads, labels, owners = list[IntArray](), list[IntArray](), list[IntArray]()
    for row, members in enumerate(rows):
        start = row * width
        for number in members:
            one = asked[number]
            scored = np.arange(one.first, len(one.ids))
            reads.append(start + scored - 1)
            labels.append(one.ids[scored])
            owners.append(np.full(len(scored), number))
            start += one.width
    if asked[rows[0][0]].both_ways:
        given = _filled(rows, width, lambda i: _given(asked[i]), lambda i: asked[i].width)
        target = replace(target, prefix=given.ids.bool())
    batch = Batch(source=source, target=target).to(model.device)
    last = model(batch).last
    states = last.reshape(-1, last.shape[-1])[torch.from_numpy(np.concatenate(reads)).to(model.device)]
    right, found = torch.from_numpy(np.concatenate(labels)).to(model.device), list[torch.Tensor]()
    for piece, label in zip(torch.split(states, CHUNK), torch.split(right, CHUNK), strict=True):
        scores = model.logits(piece)
        scores = scores if scores.dtype is torch.float64 else scores.float()
        found.append(scores.gather(1, label[:, None]).squeeze(1) - scores.logsumexp(-1))
    np.add.at(told, np.concatenate(owners), torch.cat(found).double().cpu().numpy())


def _given(one: _Asked) -> IntArray:
    """1 where a token of the prompt is read, 0 for one of the choice."""
    return (np.arange(one.width) < one.first).astype(np.int64)


def _needed(one: _Asked) -> IntArray:
    assert one.source is not None
    return one.source


def _filled(
    rows: Sequence[Sequence[int]], width: int, ids_of: Callable[[int], IntArray], size_of: Callable[[int], int]
) -> Side:
    """Rows of a side, each text in its place with a segment of its own."""
    ids, positions, segments = (np.zeros((len(rows), width), dtype=np.int64) for _ in range(3))
    for row, members in enumerate(rows):
        start = 0
        for segment, number in enumerate(members, 1):
            read = ids_of(number)
            where = (row, slice(start, start + len(read)))
            ids[where], positions[where], segments[where] = read, np.arange(len(read)), segment
            start += size_of(number)
    return Side(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(segments))

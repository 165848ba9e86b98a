"""The same for text: prompts and stop strings in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.generate.engine import check_fills, fill_mask, stream
from modeledge.generate.sample import Sampling
from modeledge.model.backbone import Backbone
from modeledge.records import IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer


@dataclass
class _Writing:
    """One prompt's ids and what they decode to, and what has been written after it so far."""

    prompt: list[int]
    before: str
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False

    def read(self, tokenizer: Tokenizer) -> str:
        """The text of the new tokens behind the prompt: decoded alone they would lose the space before them."""
        whole = tokenizer.decode([*self.prompt, *self.tokens])
        if whole.startswith(self.before):
            return whole[len(self.before) :]
        return tokenizer.decode(self.tokens)  # broken bytes behind a character of bytes, or spaces that were cleaned up


def continue_text(
    model: Backbone,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 100,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop: Sequence[str] = (),
    noise: Noise = Noise(0),  # noqa: B008
    start: Sequence[int] = (),
    both_ways: bool = False,
) -> list[str]:
    """The continuation of each prompt, up to the first stop string (which may lie across tokens) or end of text.

    It begins with its space where a new word begins, so that prompt + continuation reads as one text. A decoder that
    reads an encoder begins with `start` and answers the prompt; then this is the whole answer. A prefix LM reads the
    prompt `both_ways`. An empty stop string, which stands at the beginning of every text, is `E-USAGE`.
    """
    check_stops(stop)
    bos, eos = tokenizer.specials.bos, tokenizer.specials.eos
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    if start:
        ids = [as_source(tokenizer, i) for i in ids]
        written = [_Writing([], "") for _ in ids]
    else:
        ids = [i if len(i) or bos is None else np.array([bos]) for i in ids]
        written = [_Writing(i.tolist(), tokenizer.decode(i)) for i in ids]
    ends = () if eos is None else (eos,)
    for number, token in stream(
        model,
        ids,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        stop=ends,
        noise=noise,
        start=start,
        both_ways=both_ways,
    ):
        piece = written[number]
        if piece.done:
            continue
        piece.tokens.append(token)
        if stop:
            piece.text = piece.read(tokenizer)
            found = [place for s in stop if (place := piece.text.find(s)) >= 0]
            if found:
                piece.text, piece.done = piece.text[: min(found)], True
                if all(w.done for w in written):
                    break
    return [w.text if w.done else w.read(tokenizer) for w in written]


def check_stops(stop: Sequence[str]) -> None:
    """Refuse an empty stop string (`E-USAGE`): every answer would be empty."""
    if not all(stop):
        what = "a stop text is empty, and an empty text stands at the beginning of every answer"
        raise ModeledgeError("E-USAGE", what, where="stop", remedy="write what ends an answer, or leave it out")


def as_source(tokenizer: Tokenizer, ids: IntArray) -> IntArray:
    """A text's ids as an encoder reads them before a decoder: `<s> text </s>` (BART), `text </s>` (T5)."""
    specials = tokenizer.specials
    ends = specials.sep if specials.sep is not None else specials.eos
    around = [[] if token is None else [token] for token in (specials.cls, ends)]
    return np.array([*around[0], *ids.tolist(), *around[1]], dtype=np.int64)


def fill_text(
    model: Backbone, tokenizer: Tokenizer, text: str, *, top: int = 5, start: int | None = None
) -> list[list[tuple[str, float]]]:
    """For each `[MASK]` written in the text, the `top` best pieces with their probabilities.

    `start` is the token that the decoder begins with where one reads an encoder.
    """
    check_fills(model, start)
    if model.config.both and tokenizer.specials.mask is None:
        what, remedy = (
            "its tokenizer has no token for a gap",
            "call generate: such a model writes what it was trained to",
        )
        raise ModeledgeError("E-USAGE", what, remedy=remedy)
    mask = tokenizer.need("mask")
    name = tokenizer.token(mask)
    parts = text.split(name)
    if len(parts) < 2:
        raise ModeledgeError(
            "E-USAGE", f"there is no {name} in the text", remedy=f"write {name} where a word is missing"
        )
    pieces: list[int] = [tokenizer.need("cls")]
    for number, part in enumerate(parts):
        # a word's first piece carries its leading space, so the space before a gap belongs to the gap
        pieces += ([mask] if number else []) + tokenizer.encode(
            part.rstrip(" ") if number < len(parts) - 1 else part
        ).tolist()
    found = fill_mask(model, np.array([*pieces, tokenizer.need("sep")]), mask, top=top, start=start)
    return [[(tokenizer.decode([i]), p) for i, p in gap] for gap in found]

"""Checks of the special tokens around a text: each stands there once, where the model's family puts it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from modeledge.preflight.finding import Finding
from modeledge.preflight.view import View
from modeledge.records import IntArray, Prepared

UNKNOWN_REFUSED, UNKNOWN_SAID = 0.5, 0.02  # shares of unknown tokens in the sample


def doubled_start(view: View) -> Iterator[Finding]:
    """No text begins with its start token twice: a template put one there, and so did the tokenizer."""
    starts = {i for i in (view.tokenizer.specials.bos, view.tokenizer.specials.cls) if i is not None}
    hits = [p for p in view.prepared if _doubled(_ids(view, p), starts)]
    if hits:
        name = view.tokenizer.token(int(_ids(view, hits[0])[0]))
        what = f"{len(hits)} of {len(view.prepared)} examples have {name!r} twice in a row"
        yield Finding("E-FRAME", what, view.where(hits[0]), "let one place add it", view.shown(hits[0]))


def missing_start(view: View) -> Iterator[Finding]:
    """Where the tokenizer's family begins a text with a special token, so does every example (a piece of a longer text
    may begin anywhere)."""
    slots = view.tokenizer.frame.single
    wanted = slots[0].id if slots and slots[0].text is None else None
    if view.model.config.encoder is not None and not view.model.config.both:
        wanted = view.tokenizer.specials.cls if wanted is None else wanted
    if wanted is None or not (view.train.rows or view.model.config.encoder is not None or view.framed):
        return
    starts = [p for p in view.prepared if len(ids := _ids(view, p)) and ids.ndim == 1 and int(ids[0]) != wanted]
    if starts and not view.model.config.both:
        what = f"{len(starts)} of {len(view.prepared)} examples do not begin with {view.tokenizer.token(wanted)!r}"
        yield Finding("E-FRAME", what, view.where(starts[0]), "put it before each text", view.shown(starts[0]))


def missing_last(view: View) -> Iterator[Finding]:
    """Where an encoder's family ends a text with a special token, so does every example: it was not cut away."""
    slots = view.tokenizer.frame.single
    wanted = slots[-1].id if slots and slots[-1].text is None else None
    if view.model.config.encoder is None or view.model.config.both or wanted is None:
        return
    hits = [p for p in view.prepared if len(ids := _ids(view, p)) and ids.ndim == 1 and int(ids[-1]) != wanted]
    if hits:
        what = f"{len(hits)} of {len(view.prepared)} examples do not end with {view.tokenizer.token(wanted)!r}"
        yield Finding("E-FRAME", what, view.where(hits[0]), "keep room for it when texts are cut", view.shown(hits[0]))


def unknown_tokens(view: View) -> Iterator[Finding]:
    """The tokenizer knows what it reads."""
    unk = view.tokenizer.specials.unk
    ids = [np.concatenate([e.ids, e.ids[:0] if e.pair is None else e.pair]) for e in view.sample if np.ndim(e.ids) == 1]
    total = sum(map(len, ids))
    if unk is None or not total:
        return
    count = sum(int((one == unk).sum()) for one in ids)
    if count > UNKNOWN_SAID * total:
        worst = max(range(len(ids)), key=lambda i: int((ids[i] == unk).sum()) / max(1, len(ids[i])))
        what = f"{count / total:.1%} of the tokens of {len(ids)} examples are unknown to the tokenizer"
        code = "E-UNKNOWN-TOKENS" if count > UNKNOWN_REFUSED * total else "W-UNKNOWN-TOKENS"
        where = view.where(view.sample[worst])
        yield Finding(
            code, what, where, "use a tokenizer of this language and script", tuple(map(view.token, ids[worst]))
        )


def _ids(view: View, ready: Prepared) -> IntArray:
    """What is read first: the encoder's ids where there is an encoder."""
    piece = ready.source if ready.source is not None else view.read(ready)
    return np.asarray(piece.ids)


def _doubled(ids: IntArray, starts: set[int]) -> bool:
    return ids.ndim == 1 and len(ids) > 1 and ids[0] == ids[1] and int(ids[0]) in starts

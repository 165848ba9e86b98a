"""Checks of what is learned: that there is something, that it is what was meant, and that it is not already read.

They look at `reads`, `labels` and `weights` of prepared examples, so they hold for every objective: what a label is
does not matter, only where it stands and how much it weighs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt

from modeledge.corpus.stream import TokenStream
from modeledge.preflight.finding import Finding
from modeledge.preflight.view import View
from modeledge.records import Example, Prepared

SPEAKER = "assistant"  # the channel that marks the tokens that the model is to say, [n] of 0 and 1
FEW = 0.2  # windows of a long text may hold no answer and no word; of texts that are to be written none may be empty
CUT = 0.5  # more examples than that lose tokens: the row length is not the data's


def refused_examples(view: View) -> Iterator[Finding]:
    """The objective can prepare every example of the sample."""
    if view.unprepared:
        example, error = view.unprepared[0]
        what = f"{len(view.unprepared)} of {len(view.sample)} examples cannot be prepared: {error.what}"
        yield Finding(error.code, what, error.where or view.where(example), error.remedy)


def empty_targets(view: View) -> Iterator[Finding]:
    """Every example has something to learn, with a weight: it was not empty, cut away or masked as a whole."""
    empty = [p for p in view.prepared if not any(np.any(weight > 0) for weight in p.weights.values())]
    writing = any("lm" in p.labels for p in empty)
    if empty:
        first = empty[0]
        masked = any(len(weight) for weight in first.weights.values())
        how = "all targets are masked" if masked else "there is no target: it is empty or was cut away"
        what = f"{len(empty)} of {len(view.prepared)} examples teach nothing ({how})"
        remedy = "raise train.length, or drop or repair the rows"
        few = not writing and len(empty) < FEW * len(view.prepared)
        yield Finding("W-NO-TARGET" if few else "E-NO-TARGET", what, view.where(first), remedy, view.shown(first))


def label_range(view: View) -> Iterator[Finding]:
    """Labels with a weight are ids or classes that the head knows, and numbers."""
    for ready in view.prepared:
        name = view.beyond(ready)
        if name is not None:
            labels = np.asarray(ready.labels[name])
            code = "E-NOT-FINITE" if np.issubdtype(labels.dtype, np.floating) else "E-LABEL-RANGE"
            what = f"a label of {name!r}, {labels.min()} to {labels.max()}, is none that its head knows"
            remedy = f"labels are 0 to {(view.outputs(name) or 1) - 1}" if view.outputs(name) else ""
            yield Finding(code, what, view.where(ready), remedy, view.shown(ready))
            return


def weights_finite(view: View) -> Iterator[Finding]:
    """Weights of targets are finite and not negative."""
    for ready in view.prepared:
        for name, weights in ready.weights.items():
            if not np.all(np.isfinite(weights) & (np.asarray(weights) >= 0)):
                yield Finding("E-NOT-FINITE", f"a weight of {name!r} is negative or no number", view.where(ready))
                return


def end_token(view: View) -> Iterator[Finding]:
    """A decoder that learns to write learns to stop: the end token is among the trained labels."""
    if not view.causal or not any(p.labels.keys() == {"lm"} for p in view.prepared):
        return
    specials = view.tokenizer.specials
    if specials.eos is None:
        yield Finding("W-NO-END", "the tokenizer has no end token: generation will not stop by itself")
        return
    stream = view.trainer.stream
    if isinstance(stream, TokenStream):
        stops = stream.shards.documents[1:101]
        ended = any(int(stream.shards.tokens(int(s) - 1, int(s))[0]) == specials.eos for s in stops if s > 0)
    else:
        ended = any(np.any(trained(p) == specials.eos) for p in view.prepared)
    if not ended:
        first = view.prepared[0]
        also = ", which is also the padding token" if specials.pad == specials.eos else ""
        what = f"the end token {view.tokenizer.names['eos']!r}{also}, is never learned in {len(view.prepared)} examples"
        remedy = "let each text end with it, and give it a weight"
        yield Finding("E-NO-END", what, view.where(first), remedy, view.shown(first))


def pad_token(view: View) -> Iterator[Finding]:
    """Padding is no trained token. Where it is also the end token it is harmless as long as padding is told apart by
    its segment, and no end is masked because its id is padding's; in other libraries it will be."""
    pad, eos = view.tokenizer.specials.pad, view.tokenizer.specials.eos
    hits = [p for p in view.prepared if pad is not None and np.any(trained(p) == pad)]
    others = [p for p in view.prepared if not np.any(trained(p) == pad)]
    masked = [p for p in others if np.any(trained(p, weighed=False) == pad)]
    if hits:
        name = view.tokenizer.names["pad"]
        if pad == eos and masked:
            what = f"{name!r}, both padding and the end token, is trained in {len(hits)} examples and masked in "
            what += f"{len(masked)}: the model would not stop"
            remedy = "give the tokenizer a pad token of its own, and mask by what is padding, not by its id"
            yield Finding("E-SPECIAL-TOKEN", what, view.where(masked[0]), remedy, view.shown(masked[0]))
        elif pad == eos:
            what = f"{name!r} is both padding and the trained end token: other libraries will mask it"
            yield Finding("W-PAD-IS-END", what, remedy="give the tokenizer a pad token of its own")
        else:
            what = f"the padding token {name!r} is a target in {len(hits)} of {len(view.prepared)} examples"
            yield Finding(
                "E-SPECIAL-TOKEN", what, view.where(hits[0]), "leave padding out of texts", view.shown(hits[0])
            )


def shifted(view: View) -> Iterator[Finding]:
    """A decoder's label is the token behind the one it reads at, not that token itself."""
    same = behind = count = 0
    for ready in view.prepared:
        if ready.target is None or ready.target.prefix is not None or "lm" not in ready.reads:
            continue
        ids, at = np.asarray(ready.target.ids), np.asarray(ready.reads["lm"])
        if ids.ndim == 1 and len(at):
            labels = np.asarray(ready.labels["lm"])
            same, count = same + int((ids[at] == labels).sum()), count + len(at)
            inside = at + 1 < len(ids)
            behind += int((ids[at[inside] + 1] == labels[inside]).sum())
    if count >= 8 and same > 0.95 * count and behind < 0.8 * count:
        first = view.prepared[0]
        what = f"{same} of {count} labels are the very token that the model reads there: nothing is predicted"
        yield Finding("E-LABEL-LEAK", what, view.where(first), "shift the labels by one", view.shown(first))


def visible_mask(view: View) -> Iterator[Finding]:
    """A masked token is mostly not to be seen where it is asked for (BERT: 10 % of the time, by intent)."""
    seen = count = 0
    for ready in view.prepared:
        if ready.source is not None and ready.target is None and "lm" in ready.reads and ready.source.ids.ndim == 1:
            at = np.asarray(ready.reads["lm"])
            seen, count = seen + int((ready.source.ids[at] == ready.labels["lm"]).sum()), count + len(at)
    if count >= 20 and seen > 0.5 * count:
        first = view.prepared[0]
        what = f"{seen} of {count} tokens that are to be guessed stand in the input as they are"
        yield Finding("E-LABEL-LEAK", what, view.where(first), "hide what is asked for", view.shown(first))


def speaker_mask(view: View) -> Iterator[Finding]:
    """In a conversation all that the assistant says is trained, with the token that ends each turn, and nothing else.

    Applies to examples with the channel `assistant`, [n] marks beside `ids`.
    """
    for ready in view.prepared:
        example = view.example(ready)
        if example is None or SPEAKER not in example.channels:
            continue
        marks = np.asarray(example.channels[SPEAKER]).astype(bool)
        learned, reach = learned_tokens(example, ready)
        others = int((learned & ~marks[: len(learned)]).sum())
        turns = [
            list(run) for said, run in groupby(range(min(reach, len(marks))), key=lambda i: bool(marks[i])) if said
        ]
        silent = [turn for turn in turns if not learned[turn].any()]
        unended = [turn for turn in turns if turn[-1] + 1 < reach and learned[turn].any() and not learned[turn[-1]]]
        where, remedy = view.where(ready), "make the mask from who said what, not by searching for tokens"
        if not marks.any():
            yield Finding("E-MASK", "the assistant says nothing in this conversation", where, remedy, view.shown(ready))
        elif others:
            what = f"{others} tokens that the assistant does not say are trained"
            yield Finding("E-MASK", what, where, remedy, view.shown(ready))
        elif silent:
            what = f"{len(silent)} of {len(turns)} turns of the assistant are not trained"
            yield Finding("E-MASK", what, where, remedy, view.shown(ready))
        elif unended:
            what = f"the last token of {len(unended)} of {len(turns)} turns is not trained: the model would not stop"
            yield Finding("E-NO-END", what, where, remedy, view.shown(ready))
        else:
            continue
        return


def learned_tokens(example: Example, ready: Prepared) -> tuple[npt.NDArray[np.bool_], int]:
    """Which of the example's ids are trained as next tokens `[n]`, and how many of them the piece reaches."""
    learned = np.zeros(len(example.ids), dtype=bool)
    piece = ready.target
    if piece is None or "lm" not in ready.reads:
        return learned, 0
    extra = 1 if len(piece.ids) > 1 and piece.ids[0] != example.ids[0] else 0  # a start token that was put before it
    at = np.asarray(ready.reads["lm"])[np.asarray(ready.weights["lm"]) > 0] + 1 - extra
    learned[at[(at >= 0) & (at < len(learned))]] = True
    return learned, min(len(example.ids), len(piece.ids) + 1 - extra)


def _runs(marks: npt.NDArray[np.bool_]) -> list[list[int]]:
    """The places of each unbroken run of marks."""
    return [list(run) for said, run in groupby(range(len(marks)), key=lambda i: bool(marks[i])) if said]


def cut_examples(view: View) -> Iterator[Finding]:
    """Most examples fit their rows."""
    limit = view.trainer.config.length
    counts = [len(e.ids) + (0 if e.pair is None else len(e.pair)) for e in view.sample if np.ndim(e.ids) == 1]
    cut = sum(count > limit for count in counts)
    if view.train.rows and cut > CUT * len(counts):
        what = f"{cut} of {len(counts)} examples are longer than train.length = {limit} tokens and are cut"
        yield Finding(
            "W-TRUNCATED", what, remedy=f"set train.length to {sorted(counts)[int(0.95 * (len(counts) - 1))]}"
        )


def trained(ready: Prepared, *, weighed: bool = True) -> npt.NDArray[np.int64]:
    """The vocabulary labels of an example that have a weight, or, without `weighed`, those that have none: masked,
    though they stand there to be learned."""
    if "lm" not in ready.labels:
        return np.zeros(0, dtype=np.int64)
    heavy = np.asarray(ready.weights["lm"]) > 0
    return np.asarray(ready.labels["lm"])[heavy if weighed else ~heavy].astype(np.int64)

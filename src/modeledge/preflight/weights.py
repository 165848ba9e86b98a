"""Checks of the weights: they fit the tokenizer, they are finite, tied where they say so, and they move as asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

import torch

from modeledge.adapt.strategy import Clock, compose
from modeledge.families import origin_of
from modeledge.model.heads import LanguageModelling
from modeledge.preflight.finding import Finding
from modeledge.preflight.view import View

LATE = 1 << 40  # a step, and an epoch, by which every schedule has let go what it ever will
STILL = 1e-11  # the farthest that a weight moves where none does: fp32 zeros take any step, however small


def vocabulary(view: View) -> Iterator[Finding]:
    """Each id of the tokenizer, and of the sample, has a row in the table; few rows are left over."""
    rows, ids = view.model.config.table.vocab, view.tokenizer.vocab_size
    if ids > rows:
        yield Finding(
            "E-VOCAB-SIZE", f"the tokenizer has {ids} ids, the model {rows} rows", remedy="use the model's own"
        )
    for ready in view.prepared:
        for piece in (ready.source, ready.target):
            if (
                piece is not None
                and piece.ids.ndim == 1
                and len(piece.ids)
                and not 0 <= piece.ids.min() <= piece.ids.max() < rows
            ):
                what = f"id {piece.ids.max()} has no row among {rows}"
                yield Finding("E-VOCAB-SIZE", what, view.where(ready), example=view.shown(ready))
                return
    if ids < rows / 2 and rows > 1000:
        what = f"the tokenizer has {ids:,} ids, the model {rows:,} rows: is it this model's tokenizer?"
        yield Finding("W-VOCAB-SIZE", what)


def same_tokenizer(view: View) -> Iterator[Finding]:
    """The tokenizer is the one that lies beside the weights."""
    if view.beside is not None and view.beside != view.tokenizer.fingerprint:
        what = f"the weights were trained with tokenizer {view.beside[:12]}, this is {view.tokenizer.fingerprint[:12]}"
        yield Finding("E-TOKENIZER-MISMATCH", what)


def tied_weights(view: View) -> Iterator[Finding]:
    """A tied head has the table itself, an untied one not a copy of it, and both are what the file says."""
    origin = origin_of(view.model)
    said = None if origin is None or view.fresh else origin.said.get("tie_word_embeddings")
    for name, head in view.model.heads.items():
        if not isinstance(head, LanguageModelling):
            continue
        table = view.model.table
        shared = head.weights(table).data_ptr() == table.data_ptr()
        own = head.weights(table)
        if head.spec.tie and not shared:
            yield Finding("E-TIED", f"the head {name!r} says that it shares the table of tokens, and does not")
        elif not shared and own.shape == table.shape and torch.equal(own, table):
            yield Finding("E-TIED", f"the head {name!r} holds a copy of the table of tokens: they would drift apart")
        elif said is True and not shared:
            yield Finding("E-TIED", f"the file ties the head {name!r} to the table of tokens, but it has its own")
        elif said is False and shared and name in view.before:
            yield Finding("E-TIED", f"the file has a head {name!r} of its own, but the table took its place")


def fresh_heads(view: View) -> Iterator[Finding]:
    """No trained head is thrown away for a random one of the same shape."""
    for name in view.objective.heads:
        old, new = view.before.get(name), view.model.heads[name]
        if old is None or old is new or view.fresh:
            continue
        shapes = [{n: tuple(p.shape) for n, p in head.named_parameters()} for head in (old, new)]
        if shapes[0] == shapes[1]:
            alike = bool(view.names) and tuple(view.names) == tuple(view.before_names)
            what = f"the model has a trained head {name!r} of this shape, and the run draws a random one"
            yield Finding("E-FRESH-HEAD" if alike else "W-FRESH-HEAD", what, remedy="allow it if it was another task's")


def positions(view: View) -> Iterator[Finding]:
    """No example, and no part of one, is longer than the positions that the model knows."""
    limit = view.model.room
    if limit is None:
        return
    longest = view.trainer.module.objective.longest or view.trainer.config.length
    if longest > limit:
        what = f"train.length = {longest} is beyond the model's {limit} positions"
        yield Finding("E-POSITION", what, "train.length", f"set it to {limit} or less")
    long = [p for p in view.prepared if view.longest(p) > limit]
    if long:
        what = f"{len(long)} of {len(view.prepared)} examples have more tokens than the model's {limit} positions"
        remedy = f"set train.length to {limit} or less"
        yield Finding("E-POSITION", what, view.where(long[0]), remedy, view.shown(long[0]))


def finite_weights(view: View) -> Iterator[Finding]:
    """Every weight is a number."""
    bad = [name for name, p in view.model.named_parameters() if not bool(torch.isfinite(p).all())]
    if bad:
        what = f"{len(bad)} weights hold NaN or infinity: {', '.join(bad[:4])}"
        yield Finding("E-NOT-FINITE", what, remedy="fetch the checkpoint again")


def moving(view: View) -> Iterator[Finding]:
    """In two steps something moves, below the heads too where it may (an adapter, a prompt, the body), every head that
    is learned moves, and nothing moves that is frozen. What a strategy adds moves at some step of the run."""
    yield from held_by_others(view)
    trial = view.trial
    if trial is None or trial.error is not None:
        return
    strange = sorted(trial.far.keys() - trial.moving)
    if strange:
        what = f"{len(strange)} frozen weights moved: {', '.join(strange[:4])}"
        yield Finding("E-FROZEN", what)
    if max(trial.far.values(), default=0.0) < STILL:
        yield Finding("E-FROZEN", "no weight moved in two steps", remedy="raise the rate, or freeze less")
        return
    below = {name for name in trial.moving if not name.startswith("heads.")}
    if below and max((trial.far.get(name, 0.0) for name in below), default=0.0) < STILL:
        what = f"{len(below)} weights below the heads may move, and none did: {', '.join(sorted(below)[:4])}"
        yield Finding("E-FROZEN", what, remedy="no gradient reaches what was added; see how it starts, and its rate")
    for name in view.objective.heads:
        own = {f"heads.{name}.{n}" for n, _ in view.model.heads[name].named_parameters()}
        fresh = name not in view.before or view.before[name] is not view.model.heads[name]
        if own and fresh and not own & trial.far.keys():
            yield Finding("E-FROZEN", f"the head {name!r} is random and does not move", remedy="do not freeze it")


def held_by_others(view: View) -> Iterator[Finding]:
    """What adds weights beside the body, or draws some of it anew, that the others hold from the first step to the
    last: an adapter would be written, or a layer, that is what it was drawn as. And what a schedule lets move only
    after the last step: lp-ft that stays a probe. Where a judge decides what moves, nobody knows before."""
    strategies, config, stream = view.trainer.strategies, view.config, view.trainer.stream
    if any(strategy.needs_judge for strategy in strategies):
        return
    length = len(stream) if isinstance(stream, Sized) else 0
    last = (config.steps - 1) * config.batch / length if length else math.nan
    clocks = (Clock(0, config.steps, 0.0), Clock(config.steps - 1, config.steps, last), Clock(LATE, LATE + 1, LATE))
    first, end, late = (set(compose(strategies, view.model, clock)) for clock in clocks)
    for strategy in strategies:
        added = strategy.added(view.model)
        if added and not (first | end) & set(added):
            what = f"{len(added)} weights of {type(strategy).__name__} never move: another strategy holds them"
            yield Finding("E-FROZEN", what, "strategies", "leave the other out, or the adapter; or train longer")
        if still := sorted(set(strategy.drawn(view.model)) - first - end):
            what = f"{type(strategy).__name__} draws {len(still)} weights that never move: {', '.join(still[:4])}"
            remedy = "leave it out, or the strategy that holds them; or train longer"
            yield Finding("E-FROZEN", f"{what}; they would stay at random", "strategies", remedy)
    if never := sorted(late - first - end):
        what = f"the run ends before {len(never)} weights begin to move: {', '.join(never[:4])}"
        yield Finding("W-SCHEDULE", what, "strategies", "train longer, or let them go sooner")


def start_loss(view: View) -> Iterator[Finding]:
    """Before the first step a random head knows nothing: its loss is near ln K (ln V over a vocabulary). A trained head
    over a vocabulary knows more than nothing; if not, weights and tokenizer disagree."""
    layouts = view.layouts
    if layouts is None or not math.isfinite(layouts.packed.loss):
        return
    for name, value in layouts.packed.terms.items():
        if name not in view.objective.heads:
            continue
        outputs = view.outputs(name) or 0
        chance = math.log(outputs) if outputs > 1 else None
        trained = view.before.get(name) is view.model.heads[name] and not view.fresh
        if chance is None:
            continue
        if name == "lm" and trained:
            if value > 1.05 * chance:
                what = f"the trained head starts at a loss of {value:.2f}; chance is ln {outputs:,} = {chance:.2f}"
                yield Finding("E-START-LOSS", what, remedy="check that tokenizer and weights belong together")
        elif not trained and value > 2 * chance + 2:
            what = f"a random head starts at a loss of {value:.2f}; chance is ln {outputs:,} = {chance:.2f}"
            yield Finding("E-START-LOSS", what, remedy="draw smaller weights, or put a norm before the head")
        elif not trained and value < 0.3 * chance:
            what = f"a random head starts at a loss of {value:.2f}, far below chance (ln {outputs:,} = {chance:.2f})"
            yield Finding("E-START-LOSS", what, remedy="look for the answer in what is read")

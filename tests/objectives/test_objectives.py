"""The contract of every row of `OBJECTIVES`: sums that split, weights that are known, noise that is a function."""

from __future__ import annotations

import math
import pickle
from dataclasses import is_dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives_small import (
    CASES,
    CLASS_WEIGHTS,
    CLS,
    FORMS,
    MASK,
    SEP,
    VOCAB,
    build,
    config,
    contrast,
    examples,
    labelled,
    plain_loss,
    ready,
    replaced,
    run,
    tagged,
)
from torch.utils._python_dispatch import TorchDispatchMode

from modeledge.errors import ModeledgeError
from modeledge.model import ClassHead, Dropout, OrdinalHead, Transformer, ValueHead, likelihood
from modeledge.objectives import (
    OBJECTIVES,
    CausalLM,
    Classify,
    Denoise,
    DenoisePrepare,
    FillMiddle,
    Loss,
    MaskedLM,
    MaskedPrepare,
    MiddlePrepare,
    MultiToken,
    Order,
    RandomSpans,
    Rank,
    RankPrepare,
    Regress,
    Shape,
    Step,
    Term,
    Write,
    WritePrepare,
    causal,
    collate,
    fill,
    plan,
    prepared,
)
from modeledge.records import Example
from modeledge.seed import Noise

EVERY = list(CASES)
APART = [name for name in EVERY if CASES[name].row != "contrast"]  # rows whose examples do not see each other


def test_every_row_has_a_case():
    assert {case.row for case in CASES.values()} == OBJECTIVES.keys()
    for case in CASES.values():
        assert type(case.objective()) is OBJECTIVES[case.row]


# ---- splitting, packing, padding


def agree(found, told, bound, floor, sizes=None):
    """Each gradient within `bound` of its norm, or of `sizes`.

    Where the true gradient is 0 (a bias on the keys moves all scores of a query alike) both sides are rounding noise
    and their norm means nothing: `floor` of the whole gradient's norm is allowed to every tensor.
    """
    assert found[0] == pytest.approx(told[0], rel=bound)
    assert found[1].keys() == told[1].keys()
    norms = {name: float(gradient.double().norm()) for name, gradient in told[1].items()}
    whole = math.hypot(*norms.values())
    assert whole > 1e-3
    for name, gradient in told[1].items():
        difference = float((found[1][name] - gradient).double().norm())
        assert difference <= bound * (sizes or norms)[name] + floor * whole, name


def sizes_of(step, items):
    """For each tensor the sum of the norms of the examples' own gradients: where examples pull in opposite directions
    this is what rounding is relative to, not the little that is left of their sum."""
    batches = [collate([item], Shape(32)) for item in items]
    weights = {n: sum(step.objective.weights(b)[n] for b in batches) for n in step.objective.weights(batches[0])}
    sizes = {}
    for batch in batches:
        step.zero_grad()
        step(batch, Noise(0)).value(weights).backward()
        for name, parameter in step.named_parameters():
            if parameter.grad is not None:
                sizes[name] = sizes.get(name, 0.0) + float(parameter.grad.double().norm())
    return sizes


BOUNDS = {torch.float64: (1e-12, 1e-15), torch.float32: (1e-6, 1e-7)}


def bounds(case, dtype):
    """The alternatives of an example pull in opposite directions too: its own gradient is little beside theirs."""
    return tuple((10 if case.row == "choose" else 1) * bound for bound in BOUNDS[dtype])


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("dtype", BOUNDS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=9), st.integers(0, 99))
def test_any_split_gives_one_loss_and_one_gradient(name, dtype, shares, seed):
    """Examples are dealt to micro-batches at will, each packed for itself in its own width.

    The same draws each time: there are rare ones (regress-decoder, [0, 1], 85) whose fp32 gradient is 1.5e-6 away from
    its float64 twin, so that no split could keep the bound.
    """
    case = CASES[name]
    step = build(case, dtype)
    items = ready(step, examples(case, len(shares), seed))
    together, sizes = run(step, [collate(items, Shape(32))]), sizes_of(step, items)
    parts = [[item for item, share in zip(items, shares, strict=True) if share == part] for part in range(4)]
    apart = run(step, [collate(part, Shape(32)) for part in parts if part])
    agree(apart, together, *bounds(case, dtype), sizes)
    rows, width = plan(items, Shape(32))  # as the trainer does: one plan, rows dealt
    agree(run(step, [fill(items, [row], width) for row in rows]), together, *bounds(case, dtype), sizes)


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_split_of_one_batch_is_within_the_promise(name, dtype):
    """1e-12 in float64 and 1e-6 in fp32 of each tensor's own norm, for all ways to cut twelve ragged examples."""
    case = CASES[name]
    step = build(case, dtype)
    items = ready(step, examples(case, 12))
    told = run(step, [collate(items, Shape(32))])
    for size in (1, 2, 3, 4, 5, 6, 11):
        cuts = [collate(items[start : start + size], Shape(32)) for start in range(0, 12, size)]
        agree(run(step, cuts), told, *bounds(case, dtype))


@pytest.mark.parametrize("name", EVERY)
def test_packing_and_padding_change_nothing(name):
    case = CASES[name]
    step = build(case)
    items = ready(step, examples(case, 9))
    told = run(step, [collate(items, Shape(32))])
    for shape in (
        Shape(64, packed=False),
        Shape(64, tight=False, packed=False),
        Shape(64, tight=False),
        Shape(32, reserve=3),
        Shape(150),
    ):
        agree(run(step, [collate(items, shape)]), told, 1e-12, 1e-15)
    backwards = list(reversed(items))
    agree(run(step, [collate(backwards, Shape(32))]), told, 1e-12, 1e-15)


@pytest.mark.parametrize("name", EVERY)
def test_the_loss_is_the_textbook_formula(name):
    """Example by example, alone in a row, by torch's own cross-entropy; then one division by one weight."""
    case = CASES[name]
    step = build(case)
    items = ready(step, examples(case, 9))
    value, _ = run(step, [collate(items, Shape(32))])
    assert value == pytest.approx(plain_loss(case, step, items), rel=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_weights_are_known_before_the_forward_pass(name):
    case = CASES[name]
    step = build(case)
    items = ready(step, examples(case, 7))
    batch = collate(items, Shape(32))
    known = step.objective.weights(batch)
    loss = step(batch, Noise(0))
    assert known.keys() == loss.terms.keys()
    assert step.objective.couples is (name not in APART)
    for term, weight in known.items():
        assert torch.equal(weight, loss.terms[term].weight)
        assert weight.ndim == loss.terms[term].total.ndim == 0
        told = sum(float(item.weights[term].astype(np.float64).sum()) for item in items)
        assert float(weight) == pytest.approx(told, rel=1e-6)
        assert not weight.requires_grad


def test_class_weights_weigh():
    case = CASES["classify"]
    step = build(case)
    chosen = [replace(example, label=n % 3) for n, example in enumerate(examples(case, 6))]
    batch = collate(ready(step, chosen), Shape(32))
    assert float(step.objective.weights(batch)["class"]) == 2 * sum(CLASS_WEIGHTS)
    loss = step(batch, Noise(0))
    right, count = loss.logs["accuracy"]
    told = (step.objective.scores(step.model, batch).argmax(-1) == batch.labels["class"]).sum()
    assert (float(right), float(count)) == (float(told), 6.0)
    assert not right.requires_grad


def test_a_loss_is_divided_once_by_global_weights():
    terms = {
        "a": Term(torch.tensor(6.0), torch.tensor(2.0)),
        "b": Term(torch.tensor(10.0), torch.tensor(5.0), share=0.5),
    }
    loss = Loss(terms)
    assert float(loss.value({"a": torch.tensor(3.0), "b": torch.tensor(20.0)})) == 6 / 3 + 0.5 * 10 / 20
    nothing = Loss({"a": Term(torch.tensor(0.0), torch.tensor(0.0))})
    assert float(nothing.value({"a": torch.tensor(0.0)})) == 0.0


# ---- noise


@pytest.mark.parametrize("name", EVERY)
def test_prepare_is_a_function_of_seed_epoch_and_index(name):
    case = CASES[name]
    objective = case.objective()
    chosen = examples(case, 4)
    if not case.pairs:
        beside = ("words", "sentences", "salient")  # the channels that go with the ids
        chosen = [
            replace(
                e,
                ids=np.resize(e.ids, 40),
                channels={k: np.resize(v, 40) if k in beside else v for k, v in e.channels.items()},
            )
            for e in chosen
        ]

    def told(example, seed=3):
        item = prepared(objective, example, Noise(seed))
        piece = item.source or item.target
        arrays = [piece.ids, *item.reads.values(), *item.labels.values(), *item.weights.values()]
        assert all(type(a) is np.ndarray for a in arrays)
        assert item.index == example.index
        return [a.tolist() for a in arrays]

    first = [told(example) for example in chosen]
    before = [example.ids.copy() for example in chosen]
    assert [told(example) for example in reversed(chosen)] == first[::-1]
    assert all(np.array_equal(e.ids, kept) for e, kept in zip(chosen, before, strict=True))
    for moved in (
        [told(e, seed=4) for e in chosen],
        [told(replace(e, epoch=1)) for e in chosen],
        [told(replace(e, index=e.index + 7)) for e in chosen],
    ):
        assert (moved == first) is not objective.prepare.noisy


@pytest.mark.parametrize("name", EVERY)
def test_prepare_is_a_plain_value(name):
    """What a worker process sees: frozen, without torch, equal after a journey."""
    prepare = CASES[name].objective().prepare
    assert is_dataclass(prepare)
    assert type(prepare).__dataclass_params__.frozen
    assert pickle.loads(pickle.dumps(prepare)) == prepare  # noqa: S301 (our own bytes)
    assert b"torch" not in pickle.dumps(prepare)
    assert isinstance(prepare.channels, frozenset)


def test_causal_labels_are_the_next_tokens():
    item = prepared(CausalLM(), Example(3, np.array([5, 6, 7, 8])), Noise(0))
    assert item.target.ids.tolist() == [5, 6, 7]
    assert item.labels["lm"].tolist() == [6, 7, 8]
    assert item.reads["lm"].tolist() == [0, 1, 2]
    assert item.source is None
    for ids in ([], [5]):
        with pytest.raises(ModeledgeError, match="E-NO-TARGET: example 3"):
            prepared(CausalLM(), Example(3, np.array(ids, dtype=np.int64)), Noise(0))


def test_dropout_is_a_function_of_the_step_noise():
    case = CASES["classify"]
    shape = build(case).model.config
    shape = replace(shape, encoder=replace(shape.encoder, dropout=Dropout(hidden=0.3)))
    step = Step(Transformer(shape, seed=1), case.objective())
    batch = collate(ready(step, examples(case, 4)), Shape(32))

    def total(noise):
        return float(step(batch, noise).terms["class"].total.detach())

    assert total(Noise(1)) == total(Noise(1))
    assert total(Noise(1)) != total(Noise(2))
    step.eval()
    assert total(Noise(1)) == total(Noise(2))


# ---- only the scores that are asked for


class _Largest(TorchDispatchMode):
    """The most elements of any floating tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor) and x.is_floating_point():
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize("name", ["causal", "masked"])
def test_scores_are_never_held_whole(name, monkeypatch):
    """With 2,000 ids the scores of all tokens would be by far the largest tensor; whole scores are seen if made."""
    monkeypatch.setattr(likelihood, "CHUNK", 4)
    case, vocab = CASES[name], 2000
    shape = build(case).model.config
    shape = replace(shape, embed=replace(shape.embed, vocab=vocab))
    step = Step(Transformer(shape), case.objective())
    batch = collate(ready(step, examples(case, 60)), Shape(24))
    tokens = len(batch.reads["lm"])
    with _Largest() as seen:
        step(batch, Noise(0)).terms["lm"].total.backward()
    assert vocab * 16 <= seen.elements < tokens * vocab / 4
    with _Largest() as seen:
        step.model.logits(step.model(batch).last.flatten(0, 1)[batch.reads["lm"]])
    assert seen.elements == tokens * vocab


def test_the_masked_head_sees_masked_tokens_alone(monkeypatch):
    seen = []
    real = causal.token_loss
    monkeypatch.setattr(causal, "token_loss", lambda states, *a, **k: seen.append(len(states)) or real(states, *a, **k))
    case = CASES["masked"]
    step = build(case)
    items = ready(step, examples(case, 5))
    step(collate(items, Shape(32)), Noise(0))
    assert seen == [sum(len(item.reads["lm"]) for item in items)]


# ---- learning


def cycle(random):
    """The next token is the token three on, around the ring of ordinary ids: 4, 7, 10 …"""
    start = random.integers(0, VOCAB - 4)
    return 4 + (start + 3 * np.arange(random.integers(4, 12))) % (VOCAB - 4)


TOYS = {
    "causal": lambda random, i: Example(i, cycle(random)),
    "fim": lambda random, i: Example(i, np.full(40, 4 + i % 2)),  # how it is cut cannot be learned
    "multi-token": lambda random, i: Example(i, cycle(random)),
    "reading": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB))),
    "unilm": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB))),
    "diffusion": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB)), place=i),
    "blend": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB))),
    "masked": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB))),
    "sentence": lambda random, i: paired(random, i),
    "contrast": lambda random, i: Example(i, random.integers(4, VOCAB, 6)),
    "replaced": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB))),
    "boundary": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB)), channels={"words": np.ones(12)}),
    "classify": lambda random, i: Example(i, random.integers(4, VOCAB, 6), label=i % 3),
    "regress": lambda random, i: Example(i, random.integers(4, VOCAB, 6), label=0.0),
    "several": lambda random, i: Example(i, random.integers(4, VOCAB, 6)),
    "ordinal": lambda random, i: Example(i, random.integers(4, VOCAB, 6)),
    "choose": lambda random, i: choices(random, i),
    "write": lambda random, i: Example(i, random.integers(4, VOCAB, 4)),
    "denoise": lambda random, i: Example(i, np.full(12, random.integers(4, VOCAB - 1))),
    "prefix": lambda random, i: Example(i, cycle(random)),
    "rank": lambda random, i: Example(i, random.integers(4, VOCAB, 5)),
    "token": lambda random, i: tagged(i, random.integers(4, VOCAB, 6), random),
    "span": lambda random, i: Example(i, random.integers(6, VOCAB, 1), bracketed(random)),
}


def paired(random, index):
    """Each segment is one token over and over; the second one's kind is the label."""
    first, second = random.integers(4, VOCAB, 2)
    return Example(index, np.full(6, first), np.full(6, second), int(second % 2))


def bracketed(random):
    """Eight ordinary ids, with 4 at one place and 5 at a later one."""
    text = random.integers(6, VOCAB, 8)
    text[np.sort(random.choice(8, 2, replace=False))] = 4, 5
    return text


def choices(random, index):
    """The right alternative begins with the token that the context begins with."""
    first, count = int(random.integers(4, VOCAB)), int(random.integers(2, 4))
    right = int(random.integers(count))
    heads = [first if n == right else 4 + (first - 4 + 1 + int(random.integers(VOCAB - 5))) % 25 for n in range(count)]
    channels = {"choices": np.array(heads), "ends": np.arange(1, count + 1)}
    return Example(index, np.array([first, *random.integers(4, VOCAB, 2)]), label=right, channels=channels)


def toy(row, count, seed):
    """Examples of a task with a rule: the first token tells the class, a token's value the number."""
    random = np.random.default_rng(seed)
    out = [TOYS[row](random, i) for i in range(count)]
    if row == "classify":
        out = [replace(e, label=int(e.ids[0]) % 3) for e in out]
    if row == "regress":
        out = [replace(e, label=(int(e.ids[0]) - 16) / 8) for e in out]
    if row == "several":
        out = [replace(e, label=tuple(n for n in range(3) if int(e.ids[0]) % (n + 2) == 0)) for e in out]
    if row == "ordinal":
        out = [replace(e, label=(int(e.ids[0]) - 4) // 9) for e in out]
    if row == "token":
        out = [replace(e, label=tuple((e.ids[e.channels["reads"]] % 3).tolist())) for e in out]
    if row == "span":  # one token of the text begins every answer, another ends it
        out = [replace(e, label=(3 + list(e.pair).index(4), 3 + list(e.pair).index(5))) for e in out]
    if row == "write":
        out = [replace(e, pair=e.ids[::-1].copy()) for e in out]
    if row == "rank":
        out = [replace(e, pair=np.append(e.ids[::-1], 4 + e.ids[0] % 20)) for e in out]
    return out


OBJECTIVE_TOYS = {
    "causal": lambda: CausalLM(),
    "fim": lambda: FillMiddle(MiddlePrepare(0, 1, 2, 3, rate=0.5)),
    "multi-token": lambda: MultiToken(config("decoder", 32), 2),
    "reading": CASES["reading"].objective,
    "unilm": CASES["unilm"].objective,
    "diffusion": CASES["diffusion"].objective,
    "blend": CASES["blend"].objective,
    "masked": lambda: MaskedLM(MaskedPrepare(VOCAB, MASK, (0, 1, 2, 3), cls=CLS, sep=SEP)),
    "replaced": lambda: replaced(width=32),
    "sentence": CASES["sentence"].objective,
    "contrast": lambda: contrast(32),
    "boundary": CASES["boundary"].objective,
    "classify": lambda: Classify(labelled("source", "class"), ClassHead(outputs=3)),
    "regress": lambda: Regress(labelled("target", "value"), ValueHead(pool="last")),
    "several": CASES["several"].objective,
    "ordinal": lambda: Order(labelled("source", "class"), OrdinalHead(start=(-2.0, 2.0))),
    "choose": CASES["choose"].objective,
    "write": lambda: Write(WritePrepare(SEP, 16, 6, start=(CLS,))),
    "denoise": lambda: Denoise(DenoisePrepare(FORMS["both"], RandomSpans((VOCAB - 1,)))),
    "prefix": CASES["prefix"].objective,
    "rank": lambda: Rank(RankPrepare(labelled("source", "class"))),
    "token": CASES["token-chain"].objective,
    "span": CASES["span"].objective,
}
SHAPE_OF = {**{row: row for row in OBJECTIVES}, "denoise": "spans", "regress": "regress-decoder", "ordinal": "classify"}


@pytest.mark.parametrize("row", OBJECTIVES)
def test_a_small_model_learns_a_toy_task(row):
    """Two layers of width 32: on examples it has not seen, a tenth of the loss of the first guess, or less."""
    case = replace(CASES[SHAPE_OF[row]], objective=OBJECTIVE_TOYS[row])
    step = build(case, torch.float32, width=32)
    held_out = collate(ready(step, toy(row, 100, 99)), Shape(48))

    def loss():
        with torch.no_grad():
            return float(step(held_out, Noise(0)).value(step.objective.weights(held_out)))

    first = loss()
    optimizer = torch.optim.AdamW(step.parameters(), lr=5e-3, weight_decay=0.0)
    for update in range(120):
        run(step, [collate(ready(step, toy(row, 32, update)), Shape(48))])
        torch.nn.utils.clip_grad_norm_(step.parameters(), 1.0)
        optimizer.step()
    last = loss()
    assert last < 0.1 * first

"""Next-token prediction in its variants: documents told apart, fill in the middle, several tokens ahead."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objectives_small import CASES, build, config
from objectives_small import Case as Small

from modeledge.errors import ModeledgeError
from modeledge.model import Keep, Learned, Transformer
from modeledge.model.draw import NOTHING
from modeledge.objectives import CausalLM, FillMiddle, MiddlePrepare, MultiToken, Shape, Step, collate, prepared
from modeledge.records import Example
from modeledge.seed import Noise

PRE, MID, SUF, END = range(4)
FIM = MiddlePrepare(PRE, MID, SUF, END, rate=1.0)


def seen_by(objective: object, ids: np.ndarray, place: int) -> np.ndarray:
    """Which inputs the state at a place depends on, by its gradient."""
    case = Small("causal", "decoder", lambda: objective)
    step = build(case)
    batch = collate([prepared(step.objective, Example(0, ids), Noise(0))], Shape(64))
    embedded = []
    step.model.tower.register_forward_pre_hook(lambda module, given: embedded.append(given[0].requires_grad_()))
    last = step.model(batch).last
    (slope,) = torch.autograd.grad(last[0, place].sum(), embedded[0])
    return np.flatnonzero(slope[0].abs().sum(-1).numpy() > 0)


# ---- documents


def test_examples_of_a_row_never_see_each_other():
    """Packing isolates: no gradient crosses from one example of a row to another, and each state is as when alone."""
    step = build(CASES["causal"])
    items = [prepared(step.objective, Example(i, np.arange(4 + i, 10 + i)), Noise(0)) for i in range(3)]
    batch = collate(items, Shape(32))
    assert batch.target.ids.shape[0] == 1
    together = step.model(batch).last[0]
    for (_, start, end), item in zip(batch.spans.tolist(), items, strict=True):
        alone = step.model(collate([item], Shape(32))).last[0]
        torch.testing.assert_close(together[start:end], alone[: end - start], rtol=1e-12, atol=1e-12)


def test_documents_joined_in_one_example_see_each_other_unless_isolated():
    ids = np.array([5, 6, 3, 8, 9, 10, 3, 12, 13])
    assert seen_by(CausalLM(), ids, 5).tolist() == [0, 1, 2, 3, 4, 5]
    assert seen_by(CausalLM(isolate=3), ids, 5).tolist() == [3, 4, 5]
    assert seen_by(CausalLM(isolate=3), ids, 7).tolist() == [7]


def test_the_first_token_of_an_isolated_document_is_not_asked_for():
    item = prepared(CausalLM(isolate=3), Example(0, np.array([5, 6, 3, 8, 9, 3])), Noise(0))
    assert item.target.ids.tolist() == [5, 6, 3, 8, 9]
    assert item.target.breaks == (3,)
    assert item.reads["lm"].tolist() == [0, 1, 3, 4]
    assert item.labels["lm"].tolist() == [6, 3, 9, 3]
    ended = prepared(CausalLM(isolate=3), Example(0, np.array([5, 3, 8])), Noise(0))
    assert ended.target.breaks == ()
    assert ended.labels["lm"].tolist() == [3]


# ---- fill in the middle


def taken_apart(ids: list[int]) -> tuple[str, list[int], list[int], list[int]]:
    """Form, prefix, middle, suffix: read from the paper's formats, not from our code."""
    assert ids[0] == PRE
    assert ids[-1] == END
    mid, suf = ids.index(MID), ids.index(SUF)
    assert suf < mid
    if suf == 1 and mid > 1:
        return "spm or empty prefix", [], ids[mid + 1 : -1], ids[2:mid]
    return "psm", ids[1:suf], ids[mid + 1 : -1], ids[suf + 1 : mid]


def whole(prepare: MiddlePrepare, ids: np.ndarray, index: int = 0) -> list[int]:
    item = prepared(FillMiddle(prepare), Example(index, ids), Noise(4))
    assert item.reads["lm"].tolist() == list(range(len(item.target.ids)))
    assert item.target.ids[1:].tolist() == item.labels["lm"][:-1].tolist()
    assert not item.target.breaks
    return [*item.target.ids.tolist(), int(item.labels["lm"][-1])]


@pytest.mark.parametrize("ended", [False, True])
def test_the_two_forms_are_the_papers(ended):
    text = list(range(10, 22))
    given = np.array([*text, END] if ended else text)
    for index in range(40):
        _, before, middle, after = taken_apart(whole(MiddlePrepare(PRE, MID, SUF, END, 1.0, 0.0), given, index))
        assert before + middle + after == text
        _, none, joined, after = taken_apart(whole(MiddlePrepare(PRE, MID, SUF, END, 1.0, 1.0), given, index))
        assert none == []
        assert joined + after == text


def test_both_cuts_are_uniform():
    """12 tokens have 13 places: each pair of places as often as the law of two draws says, within 3 sigma of χ²."""
    text, count = np.arange(10, 22), 6000
    seen: Counter = Counter()
    for index in range(count):
        _, before, middle, _ = taken_apart(whole(MiddlePrepare(PRE, MID, SUF, END, 1.0, 0.0), text, index))
        seen[len(before), len(before) + len(middle)] += 1
    chances = {(a, b): (1 if a == b else 2) / 169 for a in range(13) for b in range(a, 13)}
    chi = sum((seen[pair] - count * share) ** 2 / (count * share) for pair, share in chances.items())
    freedom = len(chances) - 1
    assert abs(chi - freedom) < 3 * math.sqrt(2 * freedom)


def test_how_often():
    prepare, text = MiddlePrepare(PRE, MID, SUF, END, rate=0.7, spm=0.25), np.arange(10, 50)
    forms, count = Counter(), 4000
    for index in range(count):
        ids = whole(prepare, text, index)
        forms["plain" if ids == text.tolist() else "spm" if ids[1] == SUF else "psm"] += 1
    empty = 0.7 * 0.75 * (2 * 41 - 1) / 41**2  # PSM with an empty prefix looks like SPM
    for form, share in (("plain", 0.3), ("spm", 0.7 * 0.25 + empty)):
        assert abs(forms[form] - count * share) < 3 * math.sqrt(count * share * (1 - share)), (form, forms)


def test_what_is_not_rearranged_is_left_alone():
    assert whole(MiddlePrepare(PRE, MID, SUF, END, rate=0.0), np.array([7, 8, END])) == [7, 8, END]
    assert whole(FIM, np.array([7]))[-1] == END
    with pytest.raises(ModeledgeError, match="E-NO-TARGET: example 3"):
        whole(FIM, np.array([END]), 3)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: rate"):
        MiddlePrepare(PRE, MID, SUF, END, rate=1.5)
    with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN"):
        MiddlePrepare(PRE, MID, MID, END)


# ---- several tokens ahead


def test_terms_ahead_are_a_loop_over_places():
    """By the textbook: for each place t and distance i the layer of i on the trunk's states, then −log p(x[t + i])."""
    step = build(CASES["multi-token"])
    items = [prepared(step.objective, Example(i, np.arange(4, 8 + 3 * i)), Noise(0)) for i in range(3)]
    batch = collate(items, Shape(48))
    loss = step(batch, Noise(0))
    assert list(loss.terms) == ["lm", "lm2", "lm3"]
    assert [term.share for term in loss.terms.values()] == [1.0, 0.5, 0.5]
    for distance, name in enumerate(loss.terms, 1):
        told = count = 0.0
        for n, item in enumerate(items):
            ids = np.arange(4, 8 + 3 * n)
            alone = collate([item], Shape(48))
            states = step.model(alone, keep=Keep(layers=True))
            last = states.last
            if distance > 1:
                last = step.objective.layers[distance - 2](states.layers[-2], alone.target, NOTHING, None, None, None)
            scores = F.log_softmax(step.model.logits(last[0]), -1)
            for t in range(len(ids) - distance):
                told, count = told - float(scores[t, ids[t + distance]].detach()), count + 1
        assert float(loss.terms[name].total.detach()) == pytest.approx(told, rel=1e-12)
        assert float(loss.terms[name].weight) == count


def test_the_next_token_is_an_ordinary_decoders():
    """The model alone, without the objective's layers, has the loss of plain next-token prediction."""
    plain, ahead = build(CASES["causal"]), build(CASES["multi-token"])
    assert set(dict(ahead.model.named_parameters())) == set(dict(plain.model.named_parameters()))
    batch = collate([prepared(ahead.objective, Example(0, np.arange(4, 20)), Noise(0))], Shape(48))
    told = [step(batch, Noise(0)).terms["lm"].total.detach() for step in (ahead, plain)]
    assert torch.equal(*told)


def test_a_token_foretold_is_never_seen():
    """No layer ahead lets a state see a later token."""
    step = build(CASES["multi-token"])
    item = prepared(step.objective, Example(0, np.arange(4, 20)), Noise(0))
    batch = collate([item], Shape(48))
    trunk = step.model(batch, keep=Keep(layers=True)).layers[-2].detach().requires_grad_()
    out = step.objective.layers[1](trunk, batch.target, NOTHING, None, None, None)
    (slope,) = torch.autograd.grad(out[0, 5].sum(), trunk)
    assert np.flatnonzero(slope[0].abs().sum(-1).numpy() > 0).tolist() == [0, 1, 2, 3, 4, 5]


def test_layers_ahead_hold_no_positions_of_their_own_and_are_drawn_by_name():
    shape = config("decoder")
    stack = shape.decoder
    learned = type(shape)(
        **{**shape.__dict__, "decoder": type(stack)(**{**stack.__dict__, "position": Learned(length=40)})}
    )
    names = [n for n, _ in MultiToken(learned, 3).named_parameters()]
    assert not any("position" in n for n in names)
    two, three = MultiToken(shape, 2), MultiToken(shape, 3)
    before = [p.clone() for p in two.parameters()]
    for objective in (two, three):
        Step(Transformer(shape), objective, noise=Noise(5))
    assert any(not torch.equal(p, old) for p, old in zip(two.parameters(), before, strict=True))
    assert all(torch.equal(p, dict(three.named_parameters())[n]) for n, p in two.named_parameters())
    step = Step(Transformer(learned), MultiToken(learned, 3))
    step(collate([prepared(step.objective, Example(0, np.arange(4, 20)), Noise(0))], Shape(32)), Noise(0)).terms[
        "lm3"
    ].total.backward()
    assert all(p.grad is not None for n, p in step.named_parameters() if n.startswith("objective.layers.1"))


def test_short_texts_and_other_bodies():
    item = prepared(CASES["multi-token"].objective(), Example(0, np.array([5, 6])), Noise(0))
    assert [len(item.labels[name]) for name in ("lm", "lm2", "lm3")] == [1, 0, 0]
    for shape, ahead, code in (("encoder", 2, "E-CONFIG"), ("both", 2, "E-CONFIG"), ("decoder", 1, "E-CONFIG-VALUE")):
        with pytest.raises(ModeledgeError, match=code):
            MultiToken(config(shape), ahead)

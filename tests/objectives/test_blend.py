"""Blends: together or in turn, one reading of the batch, terms by name; curricula that follow the run's place."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from objectives_small import CASES, MASK, SEP, Case, build, config, examples, labelled, masked, ready, replaced

from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import ClassHead, LMHead, Transformer
from modeledge.objectives import (
    Blend,
    CausalLM,
    Classify,
    DenoisePrepare,
    Form,
    MaskedLM,
    MaskedPrepare,
    MultiToken,
    Phases,
    Ramp,
    RandomSpans,
    Scheduled,
    Shape,
    Shortened,
    Step,
    UniLM,
    collate,
    prepared,
)
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import TrainConfig, Trainer

IDS = np.arange(4, 24)


def test_a_sum_is_the_sum_of_its_parts():
    """Each part's loss on its own examples, by itself, times its weight: the same number and the same gradient."""
    step = build(CASES["blend"])
    chosen = examples(CASES["blend"], 6)
    items = ready(step, chosen)
    batch = collate(items, Shape(64))
    loss = step(batch, Noise(0))
    assert sorted(loss.terms) == ["few.lm", "masked.lm"]
    for name, share in (("masked", 1.0), ("few", 0.25)):
        part = step.objective.parts[name]
        alone = [part.prepare(e, Noise(5).at("prepare", e.epoch, e.index).at("blend", name)) for e in chosen]
        told = part.loss(step.model, collate(alone, Shape(64)), Noise(0)).terms["lm"]
        found = loss.terms[f"{name}.lm"]
        assert float(found.total.detach()) == pytest.approx(float(told.total.detach()), rel=1e-12)
        assert (float(found.weight), found.share) == (float(told.weight), share)


def test_the_body_reads_a_batch_once():
    for name in ("blend", "blend-in-turn", "unilm"):
        step = build(CASES[name])
        batch = collate(ready(step, examples(CASES[name], 6)), Shape(64))
        calls = []
        step.model.register_forward_hook(lambda *given, calls=calls: calls.append(1))
        step(batch, Noise(0))
        assert len(calls) == 1


def test_in_turn_each_example_is_learned_by_the_part_it_drew():
    step = build(CASES["blend-in-turn"])
    items = ready(step, examples(CASES["blend-in-turn"], 60))
    batch = collate(items, Shape(64))
    drawn = Counter(batch.labels["part"].tolist())
    weights = step.objective.weights(batch)
    assert float(weights["class.class"]) == drawn[1] > 5
    assert float(step(batch, Noise(0)).logs["class.accuracy"][1]) == drawn[1]
    for item in items:
        kinds = {name.partition(".")[0] for name, share in item.weights.items() if len(share)}
        assert kinds == {["masked", "class", "both"][int(item.labels["part"][0])]}


def test_chances_within_three_sigma():
    blend = Blend({"a": MaskedLM(masked()), "b": MaskedLM(masked())}, chances={"a": 3, "b": 1})
    count = 4000
    hits = sum(int(prepared(blend, Example(i, IDS), Noise(1)).labels["part"][0]) for i in range(count))
    assert abs(hits - count / 4) < 3 * math.sqrt(count * 3 / 16)


def test_static_masks_stay_static_in_a_blend():
    def blend(**masks):
        parts = {name: MaskedLM(replace(masked(), masks=k), head=LMHead()) for name, k in masks.items()}
        return Blend({"plain": CausalLM(), **parts} if len(parts) == 1 else parts)  # plain has no noise, and no say

    def told(objective, epoch):
        return prepared(objective, Example(3, IDS, epoch=epoch), Noise(1)).reads["one.lm"].tolist()

    chosen = blend(one=2, two=2)
    assert told(chosen, 0) == told(chosen, 2) != told(chosen, 1) == told(chosen, 7)
    assert blend(one=3).repeats == 3
    assert blend(one=None, two=None).repeats is None
    with pytest.raises(
        ModeledgeError, match="E-CONFIG: blend: masks of 'one' come again never, those of 'two' after 4"
    ):
        blend(one=None, two=4)


def test_what_cannot_be_blended():
    few = MaskedLM(masked())
    for parts, more, code in (
        ({}, {}, "E-CONFIG:"),
        ({"a.b": few}, {}, "E-CONFIG-VALUE"),
        ({"a": few, "b": MaskedLM(masked(), head=LMHead())}, {}, "E-CONFIG: blend: 'a' and 'b' ask for two different"),
        ({"a": few}, {"weights": {"c": 1.0}}, "E-CONFIG-KEY"),
        ({"a": few}, {"chances": {"c": 1.0}}, "E-CONFIG-KEY"),
        ({"a": few}, {"weights": {"a": math.nan}}, "E-CONFIG-VALUE"),
    ):
        with pytest.raises(ModeledgeError, match=code):
            Blend(parts, **more)
    head = ClassHead(outputs=3)
    both = Blend({"a": few, "class": Classify(labelled("source", "class"), head)})
    with pytest.raises(ModeledgeError, match=r"E-CONFIG: 'class.class' is learned from an example as a whole"):
        prepared(both, Example(0, IDS, label=1), Noise(0))
    mixed = Blend({"a": MaskedLM(masked(), head=LMHead()), "b": CausalLM()})
    with pytest.raises(ModeledgeError, match="E-CONFIG: example 0: one objective reads an encoder's text"):
        prepared(mixed, Example(0, IDS), Noise(0))
    never = Blend({"a": few}, chances={"a": 0.0})
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: the chances"):
        prepared(never, Example(0, IDS), Noise(0))


def test_objectives_with_modules_and_heads_of_their_own_blend():
    """ELECTRA, which asks what body it has and reads it a second time, beside BERT: both ways."""
    for chances in (None, {"plain": 1, "electra": 1}):
        case = Case(
            "x", "encoder", lambda c=chances: Blend({"plain": MaskedLM(masked()), "electra": replaced()}, chances=c)
        )
        step = build(case)
        items = ready(step, examples(case, 8))
        told = step(collate(items, Shape(64)), Noise(0))
        assert sorted(told.terms) == ["electra.lm", "electra.replaced", "plain.lm"]
        apart = [step(collate([item], Shape(64)), Noise(0)) for item in items]
        for name, term in told.terms.items():
            parts = torch.stack([one.terms[name].total for one in apart]).sum()
            assert float(term.total.detach()) == pytest.approx(float(parts.detach()), rel=1e-12)


# ---- UniLM


def test_unilm_reads_in_three_patterns():
    """Who sees whom, by gradients: all, those before, or the source and what stands before in the target."""
    step = build(CASES["unilm"])
    found = set()
    for index in range(60):
        item = prepared(step.objective, Example(index, IDS), Noise(5))
        drawn = list(step.objective.parts)[int(item.labels["part"][0])]
        batch = collate([item], Shape(64))
        states = []
        handle = step.model.tower.register_forward_pre_hook(
            lambda m, given, s=states: s.append(given[0].requires_grad_())
        )
        last = step.model(batch).last[0]
        handle.remove()
        count, source = len(item.target.ids), 0
        if drawn == "sequence":
            source = int(item.target.prefix.sum())
            assert item.target.ids[source - 1] == SEP
            assert item.target.prefix.tolist() == [True] * source + [False] * (count - source)
        for place in (0, 6, count - 2):
            (slope,) = torch.autograd.grad(last[place].sum(), states[0], retain_graph=True)
            seen = np.flatnonzero(slope[0].abs().sum(-1).numpy() > 0).tolist()
            reach = count if drawn == "bidirectional" else max(place + 1, source if place < source else 0)
            assert seen == list(range(reach)), drawn
        found.add(drawn)
    assert found == {"bidirectional", "causal", "sequence", "backwards"}


def test_unilm_asks_for_hidden_tokens_where_they_stand():
    plain = UniLM(replace(masked(), as_mask=1.0, as_random=0.0), SEP, backwards=True)
    for index in range(40):
        item = prepared(plain, Example(index, IDS), Noise(5))
        name = list(plain.parts)[int(item.labels["part"][0])]
        ids, reads = item.target.ids.copy(), item.reads[f"{name}.lm"]
        assert (ids[reads] == MASK).all()
        ids[reads] = item.labels[f"{name}.lm"]
        text = ids[::-1] if name == "backwards" else ids
        ordinary = [int(i) for i in text if i > 3]
        assert ordinary == IDS.tolist()
    shares = [term.share for term in build(CASES["unilm"])(batch_of("unilm"), Noise(0)).terms.values()]
    assert sum(shares) == pytest.approx(1.0)


def batch_of(name: str) -> object:
    return collate(ready(build(CASES[name]), examples(CASES[name], 4)), Shape(64))


# ---- curricula


def test_ramps_and_phases():
    ramp = Ramp(0.3, 0.1, over=10, begin=5)
    assert [ramp.at(place) for place in (0, 5, 15, 99, None)] == [0.3, 0.3, 0.1, 0.1, 0.1]
    assert ramp.at(10) == pytest.approx(0.2)
    phases = Phases((1.0, 0.5, 0.0), (0, 4, 8))
    assert [phases.at(place) for place in (0, 3, 4, 7, 8, 99, None)] == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0]
    for wrong in (lambda: Ramp(1, 0, 0), lambda: Phases((1.0,), (1,)), lambda: Phases((1.0, 2.0), (0, 0))):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            wrong()


def test_a_mask_rate_follows_the_place():
    prepare = Scheduled(masked(), (("rate", Ramp(0.9, 0.1, over=100)),))
    text = np.resize(IDS, 100)
    counts = [len(prepare(Example(0, text, place=place), Noise(0)).reads["lm"]) for place in (0, 50, 100, 1000, None)]
    assert counts == [90, 50, 10, 10, 10]
    for field in ("rats", "specials", "mask", "vocab", "masks"):
        with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*what can follow it here: as_mask, as_random, rate"):
            Scheduled(masked(), ((field, 3),))
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: rate: the mask rate is 1.5"):
        Scheduled(masked(), (("rate", Phases((0.5, 1.5), (0, 9))),))


def test_a_number_of_what_a_prepare_holds_follows_the_place():
    form = Form("encoder-decoder", (1,))
    prepare = Scheduled(DenoisePrepare(form, RandomSpans(tuple(range(40, 80)))), (("damage.rate", Ramp(0.2, 0.8, 60)),))
    for place, rate in ((0, 0.2), (30, 0.5), (60, 0.8), (None, 0.8)):
        example = Example(0, IDS, place=place)
        told = DenoisePrepare(form, RandomSpans(tuple(range(40, 80)), rate))(example, Noise(0))
        assert prepare(example, Noise(0)).labels["lm"].tolist() == told.labels["lm"].tolist()


def test_shorter_texts_learn_every_token_once():
    """Next-token prediction in parts of 6 tokens: the labels of the whole example, each once; positions begin anew."""
    prepare = Shortened(CausalLM().prepare, Phases((6, 100), (0, 10)), shared=1)
    whole = CausalLM().prepare(Example(0, IDS), Noise(0))
    early, late = (prepare(Example(0, IDS, place=place), Noise(0)) for place in (0, 10))
    assert late.labels["lm"].tolist() == whole.labels["lm"].tolist()
    assert late.target.breaks == ()
    assert early.labels["lm"].tolist() == whole.labels["lm"].tolist()
    assert early.target.ids.tolist() == whole.target.ids.tolist()
    assert early.reads["lm"].tolist() == whole.reads["lm"].tolist()
    assert early.target.breaks == (6, 12, 18)
    side = collate([early], Shape(32)).target
    assert side.positions[0, :19].tolist() == [*range(6)] * 3 + [0]
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: schedule\.length"):
        Shortened(whole, 0.2)(Example(0, IDS), Noise(0))


def test_parts_carry_their_own_channels():
    @dataclass(frozen=True)
    class Spy:
        channels = frozenset({"words"})
        noisy = False

        def __call__(self, example, noise):
            assert example.channels["words"].tolist() == (example.ids * 2).tolist()
            assert example.channels["other"].tolist() == [1]
            return CausalLM().prepare(example, noise)

    example = Example(0, IDS, channels={"words": IDS * 2, "other": np.array([1])})
    assert len(Shortened(Spy(), 7, 1)(example, Noise(0)).target.breaks) == 2


def curriculum() -> Blend:
    """Two phases of objectives, the first with a falling mask rate."""
    wide, narrow = MaskedLM(masked()), MaskedLM(MaskedPrepare(29, MASK, (0, 1, 2, 3), rate=0.2))
    wide.prepare = Scheduled(wide.prepare, (("rate", Ramp(0.8, 0.1, over=16)),))
    phases = {"wide": Phases((1, 0), (0, 20)), "narrow": Phases((0, 1), (0, 20))}
    return Blend({"wide": wide, "narrow": narrow}, chances=phases)


def trainer() -> Trainer:
    step = build(Case("blend", "encoder", curriculum), torch.float32)
    stream = ListStream(examples(CASES["masked"], 11), 3, epochs=None)
    return Trainer(step, stream, config=TrainConfig(steps=9, batch=4, length=48, precision="fp32"), seed=2)


def test_a_curriculum_resumes_where_it_was():
    """Stopped after any step and resumed in a new process's place: the same losses, to the bit."""
    whole = trainer()
    records = [whole.step() for _ in range(9)]
    assert [list(record.terms) for record in records] == [["wide.lm"]] * 5 + [["narrow.lm"]] * 4
    for stop in (1, 4, 5, 7):
        first = trainer()
        for _ in range(stop):
            first.step()
        second = trainer()
        second.load({name: value.clone() for name, value in first.tensors().items()}, first.state_dict())
        assert [second.step().loss for _ in range(9 - stop)] == [record.loss for record in records[stop:]]


def test_examples_know_their_place_in_the_run():
    stream = ListStream(examples(CASES["masked"], 5), 3, epochs=2)
    assert [example.place for example in stream] == list(range(10))
    assert stream.at(7).place == 7
    assert stream.example(3).place is None
    flat = ListStream(examples(CASES["masked"], 5), 3, shuffle=False, epochs=2)
    assert [(example.place, example.epoch) for example in flat] == [(i, i // 5) for i in range(10)]


def test_a_blend_draws_its_parts_and_repeats_as_they_do():
    """Weights that a part holds itself are drawn with the step's seed; noise comes again as the parts' does."""
    parts = {"next": CausalLM(), "ahead": MultiToken(config("decoder"), 2)}
    drawn = []
    for seed in (1, 1, 2):
        blend = Blend({"next": CausalLM(), "ahead": MultiToken(config("decoder"), 2)}, chances={"next": 1, "ahead": 1})
        Step(Transformer(config("decoder")), blend, noise=Noise(seed))
        drawn.append(torch.cat([p.detach().flatten() for p in blend.parts["ahead"].layers.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert Blend(parts).repeats is None
    static = MaskedLM(replace(masked(), masks=3))
    assert Blend({"a": static, "b": MaskedLM(replace(masked(), masks=3))}).repeats == 3
    with pytest.raises(ModeledgeError, match="E-CONFIG: blend: masks of 'a' come again after 3 epochs"):
        Blend({"a": static, "b": MaskedLM(masked())})

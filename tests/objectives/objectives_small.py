"""Every row of `OBJECTIVES` with a tiny model that it fits, examples of ragged lengths, and its loss in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.model import (
    Attention,
    ClassHead,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Stack,
    Transformer,
    TransformerConfig,
    ValueHead,
)
from modeledge.model import Tokens as TokenTable
from modeledge.objectives import (
    CausalLM,
    Classify,
    LabelPrepare,
    MaskedLM,
    MaskedPrepare,
    Objective,
    Rank,
    RankPrepare,
    Regress,
    Shape,
    Step,
    Write,
    WritePrepare,
    collate,
    prepared,
)
from modeledge.records import Example
from modeledge.seed import Noise

VOCAB, SEQ, SEED = 29, 24, 5
PAD, CLS, SEP, MASK = range(4)
CLASS_WEIGHTS = (1.0, 0.5, 3.0)


@dataclass(frozen=True)
class Case:
    """One way to use a row of the table."""

    row: str
    shape: str
    objective: Callable[[], Objective]
    pairs: bool = False
    smoothing: float = 0.0


def masked() -> MaskedPrepare:
    return MaskedPrepare(VOCAB, MASK, (PAD, CLS, SEP, MASK), rate=0.3, cls=CLS, sep=SEP)


def labelled(side: str, kind: str, class_weights: tuple[float, ...] = ()) -> LabelPrepare:
    if side == "source":
        return LabelPrepare("source", SEQ, kind, CLS, SEP, SEP, True, class_weights)
    return LabelPrepare("target", SEQ, kind, None, SEP, CLS, class_weights=class_weights)


def writing(**more: object) -> WritePrepare:
    return WritePrepare(SEP, **{"length": SEQ, "max_target": 9, **more})  # type: ignore[arg-type]


CASES = {
    "causal": Case("causal", "decoder", CausalLM),
    "causal-untied": Case("causal", "decoder", lambda: CausalLM(head=LMHead(tie=False, bias=True))),
    "masked": Case("masked", "encoder", lambda: MaskedLM(masked())),
    "classify": Case(
        "classify",
        "encoder",
        lambda: Classify(labelled("source", "class", CLASS_WEIGHTS), ClassHead(outputs=3, hidden=True), smoothing=0.1),
        pairs=True,
        smoothing=0.1,
    ),
    "classify-decoder": Case(
        "classify", "decoder", lambda: Classify(labelled("target", "class"), ClassHead(outputs=3, pool="last"))
    ),
    "regress": Case(
        "regress", "encoder", lambda: Regress(labelled("source", "value"), ValueHead(pool="mean")), pairs=True
    ),
    "regress-decoder": Case(
        "regress", "decoder", lambda: Regress(labelled("target", "value"), ValueHead(pool="max", hidden=True))
    ),
    "write": Case("write", "both", lambda: Write(writing(start=(CLS,), between=(SEP,)), smoothing=0.1), True, 0.1),
    "write-decoder": Case("write", "decoder", lambda: Write(writing(between=(MASK,))), True),
    "write-prefix": Case("write", "decoder", lambda: Write(writing(between=(MASK,), both_ways=True)), True),
    "write-whole": Case("write", "decoder", lambda: Write(writing(first=(CLS,), whole=True)), True),
    "rank": Case("rank", "encoder", lambda: Rank(RankPrepare(labelled("source", "class"), True)), True),
    "rank-decoder": Case(
        "rank", "decoder", lambda: Rank(RankPrepare(labelled("target", "class"), True), pool="last"), True
    ),
}


def config(shape: str, width: int = 16) -> TransformerConfig:
    """BERT in small, or a modern decoder in small; two layers."""
    if shape == "encoder":
        stack = Stack(
            layers=2,
            attention=Attention(heads=2),
            feedforward=FeedForward(width=2 * width),
            norm=Norm(place="post"),
            position=Learned(length=64),
        )
        return TransformerConfig(
            width=width, embed=TokenTable(vocab=VOCAB, types=2, norm=True), encoder=stack, init=0.2
        )
    if shape == "both":
        stack = Stack(
            layers=2,
            attention=Attention(heads=2),
            feedforward=FeedForward(width=2 * width),
            position=Learned(length=64),
        )
        return TransformerConfig(width=width, embed=TokenTable(vocab=VOCAB), encoder=stack, decoder=stack, init=0.2)
    stack = Stack(
        layers=2,
        attention=Attention(heads=4, kv_heads=2, qkv="fused", bias=False, qk_norm="head"),
        feedforward=FeedForward(width=2 * width, kind="swiglu", bias=False),
        norm=Norm(kind="rms"),
        position=Rotary(),
    )
    return TransformerConfig(width=width, embed=TokenTable(vocab=VOCAB), decoder=stack, init=0.2)


def build(case: Case, dtype: torch.dtype = torch.float64, width: int = 16) -> Step:
    """A fresh step of this case, in float64 throughout unless told otherwise."""
    step = Step(Transformer(config(case.shape, width), seed=SEED), case.objective(), noise=Noise(SEED))
    if dtype is torch.float64:
        step.double()
    step.model.compute = dtype
    return step


def examples(case: Case, count: int, seed: int = 0) -> list[Example]:
    """Ragged random examples, labelled for every objective."""
    random = np.random.default_rng(seed)
    out = []
    for index in range(count):
        ids = random.integers(4, VOCAB, random.integers(2, 12))
        pair = random.integers(4, VOCAB, random.integers(1, 8)) if case.pairs else None
        label = int(random.integers(3)) if case.row == "classify" else float(random.normal())
        out.append(Example(100 + index, ids, pair, label))
    return out


def ready(step: Step, chosen: Sequence[Example]) -> list:
    """The examples after their noise."""
    return [prepared(step.objective, example, Noise(SEED)) for example in chosen]


def run(step: Step, batches: Sequence) -> tuple[float, dict[str, torch.Tensor]]:
    """As a trainer does: weights first, then one division, sums of gradients."""
    step.zero_grad()
    counted = [step.objective.weights(batch) for batch in batches]
    weights = {name: torch.stack([c[name] for c in counted]).sum() for name in counted[0]}
    value = 0.0
    for batch in batches:
        loss = step(batch, Noise(0)).value(weights)
        loss.backward()
        value += float(loss.detach())
    return value, {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}


def plain_loss(case: Case, step: Step, items: Sequence) -> tuple[float, float]:
    """(total, weight) over examples that are run one by one, alone in their row, by the textbook's formula."""
    total, weight = 0.0, 0.0
    for item in items:
        batch = collate([item], Shape(64, packed=False))
        with torch.no_grad():
            last = step.model(batch).last
            if case.row in ("causal", "masked", "write"):
                scores = step.model.logits(last)[0, torch.from_numpy(item.reads["lm"])]
                labels, smooth = torch.from_numpy(item.labels["lm"]), case.smoothing
                losses = F.cross_entropy(scores, labels, reduction="none", label_smoothing=smooth)
                share = torch.from_numpy(item.weights["lm"])
            elif case.row == "rank":
                first, end = (int(item.reads[name][1]) for name in ("first", "last"))
                parts = last[0, :first], last[0, first : end + 1]
                a, b = (part[-1] if step.objective.pool == "last" else part.mean(0) for part in parts)
                losses = (F.cosine_similarity(a, b, dim=0) - float(item.labels["grade"][0])) ** 2
                share = torch.from_numpy(item.weights["rank"])
            elif case.row == "classify":
                scores = F.log_softmax(step.model.heads["class"](last, batch), -1)[0]
                label = int(item.labels["class"][0])
                losses = -(1 - case.smoothing) * scores[label] - case.smoothing * scores.mean()
                share = torch.from_numpy(item.weights["class"])
            else:
                losses = (step.model.heads["value"](last, batch) - float(item.labels["value"][0])) ** 2
                share = torch.from_numpy(item.weights["value"])
        total += float((losses * share.double()).sum())
        weight += float(share.sum())
    return total, weight

"""Every row of `OBJECTIVES` with a tiny model that it fits, examples of ragged lengths, and its loss in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.model import (
    Attention,
    Batch,
    BoundaryHead,
    ClassHead,
    FeedForward,
    Keep,
    Learned,
    LMHead,
    Norm,
    OrdinalHead,
    Rotary,
    Stack,
    TokenHead,
    Transformer,
    TransformerConfig,
    ValueHead,
)
from modeledge.model import Tokens as TokenTable
from modeledge.model.backbone import Start
from modeledge.model.draw import NOTHING
from modeledge.objectives import (
    Bart,
    Blend,
    BoundaryLM,
    BoundaryPrepare,
    CausalLM,
    ChoicePrepare,
    Choose,
    Classify,
    ClassifySeveral,
    Contrast,
    ContrastPrepare,
    Damage,
    Denoise,
    DenoisePrepare,
    DiffusionPrepare,
    Dropped,
    FillMiddle,
    Form,
    Fragment,
    LabelPrepare,
    Masked,
    MaskedDiffusion,
    MaskedLM,
    MaskedPrepare,
    MiddlePrepare,
    MultiToken,
    Objective,
    Order,
    PairPrepare,
    PrefixLM,
    RandomSpans,
    Rank,
    RankPrepare,
    ReadingLM,
    ReadingPrepare,
    Regress,
    Replaced,
    ReplacedPrepare,
    Salients,
    Scattered,
    SentencePairs,
    Shape,
    Shuffled,
    Smooth,
    Span,
    SpanPrepare,
    Step,
    TagPrepare,
    TagTokens,
    UniLM,
    Write,
    WritePrepare,
    collate,
    generator_of,
    prepared,
    spans,
    ul2,
    whole_words,
)
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise

VOCAB, SEQ, SEED = 29, 24, 5
PAD, CLS, SEP, MASK = range(4)
CLASS_WEIGHTS = (1.0, 0.5, 3.0)
WRITING = ("write", "denoise", "prefix")


@dataclass(frozen=True)
class Case:
    """One way to use a row of the table."""

    row: str
    shape: str
    objective: Callable[[], Objective]
    pairs: bool = False
    smoothing: float = 0.0
    lm: float = 0.0
    smooth: float = 0.0


def masked() -> MaskedPrepare:
    return MaskedPrepare(VOCAB, MASK, (PAD, CLS, SEP, MASK), rate=0.3, cls=CLS, sep=SEP)


def contrast(width: int | None = None, **more: object) -> Contrast:
    return Contrast(ContrastPrepare(labelled("source", "class")), width=width, std=0.2, **more)  # type: ignore[arg-type]


def replaced(width: int = 16, **more: object) -> Replaced:
    """ELECTRA beside the small encoder, its generator half as wide."""
    masking = replace(masked(), as_mask=1.0, as_random=0.0)
    return Replaced(ReplacedPrepare(masking), generator_of(config("encoder", width), 0.5), **more)  # type: ignore[arg-type]


def labelled(side: str, kind: str, class_weights: tuple[float, ...] = ()) -> LabelPrepare:
    if side == "source":
        return LabelPrepare("source", SEQ, kind, CLS, SEP, SEP, True, class_weights)
    return LabelPrepare("target", SEQ, kind, None, SEP, CLS, class_weights=class_weights)


def learning(kind: str, orders: bool = False) -> LabelPrepare:
    """As `labelled` for a decoder, with the auxiliary language modelling."""
    return replace(labelled("target", kind), lm=True, orders=orders, length=SEQ // 2 if orders else SEQ)


def writing(**more: object) -> WritePrepare:
    return WritePrepare(SEP, **{"length": SEQ, "max_target": 9, **more})  # type: ignore[arg-type]


SENTINELS = tuple(range(VOCAB - 1, VOCAB - 13, -1))
FORMS = {
    "both": Form("encoder-decoder", start=(PAD,), between=(SEP,), end=(SEP,)),
    "prefix": Form("prefix", between=(SEP,), end=(SEP,)),
    "causal": Form("causal", between=(SEP,), end=(SEP,)),
    "whole": Form("causal", first=(CLS,), between=(SEP,), end=(SEP,), whole=True),
    "framed": Form("encoder-decoder", start=(SEP, CLS), first=(CLS,), between=(SEP,), end=(SEP,)),
}


def mending(damage: Damage, form: str = "both") -> Case:
    """A denoising objective on the body of this form."""
    shape = "both" if form in ("both", "framed") else "decoder"
    return Case("denoise", shape, lambda: Denoise(DenoisePrepare(FORMS[form], damage)))


def middle() -> FillMiddle:
    return FillMiddle(MiddlePrepare(PAD, CLS, MASK, SEP, rate=0.8))


def together() -> Blend:
    """Two objectives on each example: they stand side by side in a row."""
    parts = {"masked": MaskedLM(masked()), "few": MaskedLM(replace(masked(), rate=0.1, as_mask=1.0, as_random=0.0))}
    return Blend(parts, weights={"few": 0.25})


def in_turn() -> Blend:
    """One of three for each example; one of them is a blend, and one reads the example as a whole."""
    head = ClassHead(outputs=3, hidden=True)
    parts = {"masked": MaskedLM(masked()), "class": Classify(labelled("source", "class"), head), "both": together()}
    return Blend(parts, weights={"class": 2.0}, chances={"masked": 0.3, "class": 0.4, "both": 0.3})


CASES = {
    "causal": Case("causal", "decoder", CausalLM),
    "causal-isolated": Case("causal", "decoder", lambda: CausalLM(isolate=7)),
    "fim": Case("fim", "decoder", middle),
    "multi-token": Case("multi-token", "decoder", lambda: MultiToken(config("decoder"), 3, weight=0.5)),
    "reading": Case("reading", "decoder", lambda: ReadingLM(ReadingPrepare(masked(), "sequence", SEP))),
    "unilm": Case("unilm", "decoder", lambda: UniLM(masked(), SEP, backwards=True)),
    "diffusion": Case("diffusion", "encoder", lambda: MaskedDiffusion(DiffusionPrepare(MASK, cls=CLS, sep=SEP))),
    "blend": Case("blend", "encoder", together),
    "blend-in-turn": Case("blend", "encoder", in_turn),
    "causal-untied": Case("causal", "decoder", lambda: CausalLM(head=LMHead(tie=False, bias=True))),
    "masked": Case("masked", "encoder", lambda: MaskedLM(masked())),
    "sentence": Case("sentence", "encoder", lambda: SentencePairs(PairPrepare(masked())), pairs=True, lm=1.0),
    "contrast": Case("contrast", "encoder", lambda: contrast(16), pairs=True),
    "replaced": Case("replaced", "encoder", lambda: replaced(), lm=1.0),
    "masked-words": Case("masked", "encoder", lambda: MaskedLM(replace(masked(), unit=whole_words()))),
    "boundary": Case(
        "boundary",
        "encoder",
        lambda: BoundaryLM(
            BoundaryPrepare(replace(masked(), unit=spans())), boundary=BoundaryHead(places=3, place_width=5)
        ),
    ),
    "classify": Case(
        "classify",
        "encoder",
        lambda: Classify(labelled("source", "class", CLASS_WEIGHTS), ClassHead(outputs=3, hidden=True), smoothing=0.1),
        pairs=True,
        smoothing=0.1,
    ),
    "classify-r3f": Case(
        "classify",
        "encoder",
        lambda: Classify(replace(labelled("source", "class"), r3f=True), ClassHead(outputs=3), smooth=Smooth(0.5, 0.1)),
        pairs=True,
        smooth=0.5,
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
    "both-orders": Case(
        "classify",
        "decoder",
        lambda: Classify(learning("class", orders=True), ClassHead(outputs=3, pool="last"), lm=0.5),
        pairs=True,
        lm=0.5,
    ),
    "regress-lm": Case(
        "regress", "decoder", lambda: Regress(learning("value"), ValueHead(pool="last"), lm=0.3), pairs=True, lm=0.3
    ),
    "choose": Case(
        "choose",
        "encoder",
        lambda: Choose(ChoicePrepare(labelled("source", "class")), ClassHead(outputs=1, hidden=True)),
    ),
    "choose-lm": Case(
        "choose",
        "decoder",
        lambda: Choose(ChoicePrepare(learning("class")), ClassHead(outputs=1, pool="last"), lm=0.5),
        lm=0.5,
    ),
    "several": Case(
        "several",
        "encoder",
        lambda: ClassifySeveral(
            replace(labelled("source", "set"), outputs=3), ClassHead(outputs=3, hidden=True, several=True)
        ),
    ),
    "ordinal": Case(
        "ordinal", "decoder", lambda: Order(labelled("target", "class"), OrdinalHead(start=(-1.0, 0.5), pool="last"))
    ),
    "write": Case("write", "both", lambda: Write(writing(start=(CLS,), between=(SEP,)), smoothing=0.1), True, 0.1),
    "write-decoder": Case("write", "decoder", lambda: Write(writing(between=(MASK,))), True),
    "write-prefix": Case("write", "decoder", lambda: Write(writing(between=(MASK,), both_ways=True)), True),
    "write-whole": Case("write", "decoder", lambda: Write(writing(first=(CLS,), whole=True)), True),
    "spans": mending(RandomSpans(SENTINELS)),
    "spans-prefix": mending(RandomSpans(SENTINELS), "prefix"),
    "spans-causal": mending(RandomSpans(SENTINELS), "causal"),
    "spans-whole": mending(RandomSpans(SENTINELS), "whole"),
    "salients": mending(Salients(SENTINELS)),
    "scattered": mending(Scattered(SENTINELS)),
    "dropped-prefix": mending(Dropped(), "prefix"),
    "hidden": mending(Masked(MASK, as_random=0.1, vocab=VOCAB, specials=(PAD, CLS, SEP))),
    "shuffled-causal": mending(Shuffled(), "causal"),
    "fragment": mending(Fragment(MASK, vocab=VOCAB, specials=(PAD, CLS, SEP))),
    "bart": mending(Bart(MASK, masking=0.1, delete=0.1, rotate=0.5), "framed"),
    "bart-prefix": mending(Bart(MASK), "prefix"),
    "ul2": mending(ul2(SENTINELS, (4, 5, 6))),
    "ul2-prefix": mending(ul2(SENTINELS, (4, 5, 6)), "prefix"),
    "prefix": Case("prefix", "decoder", lambda: PrefixLM(Form("prefix"))),
    "prefix-both": Case("prefix", "both", lambda: PrefixLM(Form("encoder-decoder", start=(PAD,)))),
    "token": Case(
        "token",
        "encoder",
        lambda: TagTokens(TagPrepare("source", CLS, SEP, True), TokenHead(outputs=3), smoothing=0.1),
        smoothing=0.1,
    ),
    "token-decoder": Case("token", "decoder", lambda: TagTokens(TagPrepare("target"), TokenHead(outputs=3))),
    "token-chain": Case(
        "token", "encoder", lambda: TagTokens(TagPrepare("source", CLS, SEP, True, chain=True), TokenHead(outputs=3))
    ),
    "span": Case("span", "encoder", lambda: Span(SpanPrepare(labelled("source", "class"))), pairs=True),
    "span-decoder": Case("span", "decoder", lambda: Span(SpanPrepare(labelled("target", "class"))), pairs=True),
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
        channels = {"words": marks(ids)} if case.row in ("masked", "boundary") else {}
        channels |= {"sentences": random.integers(0, 2, len(ids))} if case.row == "denoise" else {}
        channels |= {"salient": random.integers(0, 3, len(ids))} if case.row == "denoise" else {}
        if case.row == "choose":
            ids, sizes = ids[: random.integers(1, 5)], random.integers(1, 4, random.integers(2, 4))
            channels = {"choices": random.integers(4, VOCAB, sizes.sum()), "ends": np.cumsum(sizes)}
        if case.row == "token":
            out.append(tagged(100 + index, ids, random))
            continue
        if case.row == "blend":
            out.append(Example(100 + index, ids, label=int(random.integers(3))))
            continue
        label = answered(case, index, ids, pair, random) if case.row == "span" else label_of(case.row, random)
        out.append(Example(100 + index, ids, pair, label, channels=channels))
    return out


def marks(ids: np.ndarray) -> np.ndarray:
    """Two tokens in three begin a word: those whose id says so."""
    return (ids % 3 > 0).astype(np.uint8)


def tagged(index: int, ids: np.ndarray, random: np.random.Generator) -> Example:
    """Words that begin at some of the pieces; the window stands at one end of its sentence, or in the middle."""
    reads = np.flatnonzero(random.random(len(ids)) < 0.6)
    channels = {"reads": reads, "ends": random.integers(0, 4, 1)}
    return Example(index, ids, label=tuple(random.integers(0, 3, len(reads)).tolist()), channels=channels)


def answered(case: Case, index: int, ids: np.ndarray, pair: np.ndarray, random: np.random.Generator) -> object:
    """First and last token in the second text, nowhere, or not known."""
    before = len(ids) + (2 if case.shape == "encoder" else 1)
    first, last = sorted(random.integers(before, before + len(pair), 2).tolist())
    return ((first, last), (0, 0), (-1, -1))[index % 4 % 3]


def label_of(row: str, random: np.random.Generator) -> object:
    """A label as the objective takes it."""
    if row == "several":
        return tuple(np.flatnonzero(random.random(3) < 0.5).tolist())
    if row in ("choose", "sentence"):
        return int(random.integers(2))
    return int(random.integers(3)) if row in ("classify", "ordinal") else float(random.normal())


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


def plain_loss(case: Case, step: Step, items: Sequence) -> float:
    """Over examples whose parts are run one by one, each alone in its row, by the textbook's formulas."""
    if case.row == "contrast":
        return contrast_loss(step, items)
    sums: dict[str, list[float]] = {}
    if case.row in ("blend", "unilm", "multi-token"):
        return terms_by_hand(step, items)
    for item in items:
        with torch.no_grad():
            parts = [] if case.row in WRITING else alone(step, item)
            found = replaced_losses(step, item) if case.row == "replaced" else {}
            found = found or {"main": main_loss(case, step, item, parts)}
            if case.row == "boundary":
                found["sbo"] = boundary_losses(step, item, parts)
            if case.lm and "lm" not in found:
                found["lm"] = token_losses(step, item, parts)
            if case.smooth:
                found["r3f"] = smooth_losses(step, item, parts)
        for name, (losses, share) in found.items():
            held = sums.setdefault(name, [0.0, 0.0])
            held[0] += float((losses * share.double()).sum())
            held[1] += float(share.sum())
    value = sums["main"][0] / sums["main"][1]
    if "sbo" in sums:
        value += sums["sbo"][0] / sums["sbo"][1]
    if case.smooth:
        value += case.smooth * sums["r3f"][0] / sums["r3f"][1]
    return value + case.lm * sums["lm"][0] / sums["lm"][1] if case.lm else value


def smooth_losses(step: Step, item: Prepared, parts: list) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(p ‖ q) + KL(q ‖ p), each by its definition, of what is said of an example with noise and without."""
    last, batch = parts[0]
    embedded = step.model.states_at(batch, 0)
    drawn = torch.Generator().manual_seed(Noise(0).at("r3f", item.index).integer() >> 1)
    size = step.objective.smooth.noise
    z = torch.empty(embedded.shape[1:]).uniform_(-size, size, generator=drawn)
    moved = step.model(batch, start=Start(embedded + z, 0)).last
    p, q = (step.model.heads["class"](states, batch).double().softmax(-1).numpy() for states in (last, moved))
    both = (p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)
    return torch.from_numpy(both), torch.from_numpy(item.weights["class"])


@torch.no_grad()
def terms_by_hand(step: Step, items: Sequence[Prepared]) -> float:
    """Each named term of an objective of several: Σ share · (Σ weight · loss / Σ weight) over all that it reads."""
    sums: dict[str, list[float]] = {}
    for item in items:
        batch = collate([item], Shape(64, packed=False))
        for name, weights in item.weights.items():
            held = sums.setdefault(name, [0.0, 0.0])
            held[1] += float(weights.sum())
            if len(weights):
                losses = term_losses(step, item, name, batch)
                held[0] += float((losses * torch.from_numpy(weights).double()).sum())
    return sum(share_of(step.objective, name) * total / max(weight, 1e-38) for name, (total, weight) in sums.items())


def term_losses(step: Step, item: Prepared, name: str, batch: Batch) -> torch.Tensor:
    """The losses of one term of an example that is alone in its row."""
    states = step.model(batch, keep=Keep(layers=True))
    last = states.last
    if name.endswith(".class"):
        scores = step.model.heads["class"](last, batch)
        return F.cross_entropy(scores, torch.from_numpy(item.labels[name]), reduction="none")
    if name.startswith("lm") and name != "lm":
        layer = step.objective.layers[int(name[2:]) - 2]
        last = layer(states.layers[-2], batch.side, NOTHING, None, None, None)
    scores = step.model.logits(last)[0, torch.from_numpy(item.reads[name])]
    return F.cross_entropy(scores, torch.from_numpy(item.labels[name]), reduction="none")


def share_of(objective: Objective, name: str) -> float:
    """The share of a term, by its name, in an objective of several."""
    first, _, rest = name.partition(".")
    if not isinstance(objective, Blend):
        return objective.weight if isinstance(objective, MultiToken) and name != "lm" else 1.0
    return objective.shares[first] * share_of(objective.parts[first], rest)


def alone(step: Step, item: Prepared) -> list[tuple[torch.Tensor, Batch]]:
    """The last states of each part of an example, and the batch that it was alone in."""
    side = "source" if item.source is not None else "target"
    piece = getattr(item, side)
    out = []
    for start, stop in pairwise((0, *piece.breaks, len(piece.ids))):
        types = None if piece.types is None else piece.types[start:stop]
        batch = collate([Prepared(0, **{side: Piece(piece.ids[start:stop], types)})], Shape(64, packed=False))
        out.append((step.model(batch).last, batch))
    return out


def main_loss(case: Case, step: Step, item: Prepared, parts: list) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of an example and their weights."""
    if case.row in WRITING:
        scores = step.model.logits(step.model(collate([item], Shape(64, packed=False))).last)[0, item.reads["lm"]]
        labels, smooth = torch.from_numpy(item.labels["lm"]), case.smoothing
        losses = F.cross_entropy(scores, labels, reduction="none", label_smoothing=smooth)
        return losses, torch.from_numpy(item.weights["lm"])
    if case.row == "rank":
        a, b = (states[0, -1] if step.objective.pool == "last" else states[0].mean(0) for states, _ in parts)
        cosine = F.cosine_similarity(a, b, dim=0)
        return (cosine - float(item.labels["grade"][0])) ** 2, torch.from_numpy(item.weights["rank"])
    (last, batch), heads = parts[0], step.model.heads
    if case.row in ("causal", "masked", "boundary", "fim"):
        return token_losses(step, item, parts)
    if case.row == "reading":
        whole = collate([item], Shape(64, packed=False))
        return token_losses(step, item, [(step.model(whole).last, whole)])
    if case.row == "diffusion":
        scores = step.model.logits(last[0])[torch.from_numpy(item.reads["elbo"])]
        losses = F.cross_entropy(scores, torch.from_numpy(item.labels["elbo"]), reduction="none")
        tokens = torch.from_numpy(item.weights["elbo"])
        return (losses * torch.from_numpy(item.labels["elbo.scale"])).sum()[None] / tokens, tokens
    if case.row == "token":
        scores = heads["tags"](last[0, torch.from_numpy(item.reads["tags"])])
        return tag_losses(case, step, scores, item), torch.from_numpy(item.weights["tags"])
    if case.row == "span":
        scores, places = heads["span"](last)[0, : max(item.lengths())], torch.from_numpy(item.labels["span"][0])
        losses = (F.cross_entropy(scores[:, 0], places[0]) + F.cross_entropy(scores[:, 1], places[1])) / 2
        return losses, torch.from_numpy(item.weights["span"])
    if case.row == "sentence":
        scores = F.log_softmax(heads["next"](last, batch), -1)[0]
        return -scores[int(item.labels["next"][0])], torch.from_numpy(item.weights["next"])
    name = "choice" if case.row == "choose" else "value" if case.row == "regress" else "class"
    label, share = item.labels[name], torch.from_numpy(item.weights[name])
    if case.row == "regress":
        return (heads["value"](last, batch) - float(label[0])) ** 2, share
    if case.row == "several":
        chances = torch.sigmoid(heads["class"](last, batch))[0]
        truth = torch.from_numpy(label[0]).double()
        return -(truth * chances.log() + (1 - truth) * (1 - chances).log()).mean()[None], share
    if case.row == "ordinal":
        below = torch.sigmoid(heads["ordinal"](last, batch))[0]
        chances = torch.diff(torch.cat((torch.zeros(1), below, torch.ones(1))))
        return -chances[int(label[0])].log()[None], share
    if case.row == "choose":
        scores = torch.cat([heads["choice"](states, one)[0] for states, one in parts])
        return -F.log_softmax(scores, -1)[int(label[0])][None], share
    if len(parts) > 1:
        scores = F.log_softmax(heads["class"].output(sum(states[0, -1] for states, _ in parts)), -1)
    else:
        scores = F.log_softmax(heads["class"](last, batch), -1)[0]
    return -(1 - case.smoothing) * scores[int(label[0])] - case.smoothing * scores.mean(), share


def token_losses(step: Step, item: Prepared, parts: list) -> tuple[torch.Tensor, torch.Tensor]:
    """The next-token (or masked-token) losses of an example, by full scores."""
    states = torch.cat([last[0] for last, _ in parts])
    scores = step.model.logits(states)[torch.from_numpy(item.reads["lm"])]
    losses = F.cross_entropy(scores, torch.from_numpy(item.labels["lm"]), reduction="none")
    return losses, torch.from_numpy(item.weights["lm"])


def replaced_losses(step: Step, item: Prepared) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """ELECTRA by whole models: a generator of its own guesses, the text is written again, each token is judged."""
    generator = step.objective.whole_generator(step.model).double()
    generator.compute = torch.float64
    at, ids = item.reads["lm"], item.source.ids.copy()
    told = F.log_softmax(generator.logits(generator(one_row(ids)).last[0, at]), -1).numpy()
    original = ids.copy()
    original[at] = item.labels["lm"]
    for n, place in enumerate(at):
        ids[place] = int((np.exp(told[n]).cumsum() > item.labels["draw"][n]).argmax())
    scores = step.model.heads["replaced"](step.model(one_row(ids)).last[0])[:, 0]
    chances, other = torch.sigmoid(scores), torch.from_numpy(ids != original)
    losses = -50 * torch.where(other, chances, 1 - chances).log()
    guessed = -torch.from_numpy(told[np.arange(len(at)), item.labels["lm"]])
    weights = {name: torch.from_numpy(item.weights[name]) for name in ("lm", "replaced")}
    return {"main": (losses, weights["replaced"]), "lm": (guessed, weights["lm"])}


@torch.no_grad()
def contrast_loss(step: Step, items: Sequence) -> float:
    """In numpy: the cosines of all texts with all pairs, over the temperature; equal pairs are no negatives."""
    dense, texts, pairs = step.objective.dense, [], []
    for item in items:
        vectors = [np.tanh(dense(states[0, 0]).numpy()) for states, _ in alone(step, item)]
        one, two = (vector / np.sqrt((vector**2).sum()) for vector in vectors)
        texts.append(one)
        pairs.append(two)
    scores, names = np.array(texts) @ np.array(pairs).T / 0.05, [int(item.labels["text"][1]) for item in items]
    total = 0.0
    for i, row in enumerate(scores):
        against = [score for j, score in enumerate(row) if j == i or names[j] != names[i]]
        total += np.log(np.exp(against).sum()) - row[i]
    return float(total / len(items))


def one_row(ids: np.ndarray) -> Batch:
    return collate([Prepared(0, source=Piece(ids))], Shape(64, packed=False))


def boundary_losses(step: Step, item: Prepared, parts: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Joshi et al. 2020, section 3.2, token by token: the nearest tokens that were not chosen, and the place."""
    states, hidden = parts[0][0][0], set(item.reads["lm"].tolist())
    head, losses = step.model.heads["sbo"], []
    for at, label in zip(item.reads["lm"].tolist(), item.labels["lm"].tolist(), strict=True):
        left = next(place for place in range(at, -1, -1) if place not in hidden)
        right = next(place for place in range(at, len(states)) if place not in hidden)
        where = head.place[min(at - left - 1, len(head.place) - 1)]
        x = torch.cat((states[left], states[right], where))
        for dense, norm in ((head.first, head.first_norm), (head.second, head.second_norm)):
            x = dense.weight @ x + dense.bias
            x = x * (1 + torch.erf(x / 2**0.5)) / 2
            x = (x - x.mean()) / (x.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias
        losses.append(-F.log_softmax(step.model.table @ x + head.bias, -1)[label])
    return torch.stack(losses), torch.from_numpy(item.weights["sbo"])


def tag_losses(case: Case, step: Step, scores: torch.Tensor, item: Prepared) -> torch.Tensor:
    """A loss a word; for a chain, summed over every sequence there is, all of it on the first word."""
    tags = torch.from_numpy(item.labels["tags"])
    if "chain" not in step.model.heads or not len(tags):
        return F.cross_entropy(scores, tags, reduction="none", label_smoothing=case.smoothing)
    chain, ends = step.model.heads["chain"], int(item.labels["ends"][0])

    def worth(path: Sequence[int]) -> float:
        told = sum(float(scores[t, tag]) for t, tag in enumerate(path))
        told += sum(float(chain.steps[a, b]) for a, b in pairwise(path))
        return told + float(chain.start_bias[path[0]]) * (ends & 1) + float(chain.end_bias[path[-1]]) * (ends >> 1)

    every = torch.tensor([worth(path) for path in product(range(3), repeat=len(tags))], dtype=torch.float64)
    total = every.logsumexp(0) - worth(tags.tolist())
    return F.one_hot(torch.tensor(0), len(tags)).double() * total

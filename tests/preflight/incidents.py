"""What went wrong elsewhere while the run looked healthy, rebuilt small: (id, source, how it is built, code, check).

`peers` numbers are those of the 25 pains; `numerics` names a row of the table of numerical faults; `inputs` a case of
the list of bad inputs. The sources are GitHub threads, repository#number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import preflight_small as small
import torch
from safetensors.torch import load_file, save_file

from modeledge.adapt import STRATEGIES
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.families import save_model
from modeledge.families.family import Origin
from modeledge.model import LMHead, Transformer
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.objectives import CausalLM, Classify, Loss, Term
from modeledge.objectives.causal import vocabulary_term
from modeledge.preflight import Room, View
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise
from modeledge.train import TrainConfig


@dataclass(frozen=True)
class Incident:
    """One run that must be refused with `code` by `check`."""

    id: str
    source: str
    build: Callable[[], View]
    code: str
    check: str


# ---- objectives that are wrong


class MeanOfMeans(CausalLM):
    """Each micro-batch's mean, averaged: right only where all hold as many tokens."""

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"lm": torch.tensor(1.0)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        term = vocabulary_term(model, batch, "lm")
        return Loss({"lm": Term(term.total / term.weight, torch.tensor(1.0))})


class SumOfMeans(MeanOfMeans):
    """Each micro-batch's mean, added: k times the loss and the gradient."""

    calls = 0

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"lm": torch.tensor(1.0 if self.calls == 1 else 0.0)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        self.calls = 0
        return super().loss(model, batch, noise)


class ByExamples(CausalLM):
    """A rank's token mean, weighed by its number of examples."""

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"lm": torch.tensor(float(len(batch.indices)))}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        term, count = vocabulary_term(model, batch, "lm"), torch.tensor(float(len(batch.indices)))
        return Loss({"lm": Term(term.total / term.weight * count, count)})


class OtherWeight(CausalLM):
    """The loss says another weight than the batch."""

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        term = vocabulary_term(model, batch, "lm")
        return Loss({"lm": Term(term.total, torch.tensor(float(len(batch.indices))))})


class Neighbours(Classify):
    """Scores are centred over the batch, and nobody says that examples are coupled."""

    def read(self, model: Backbone, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        scores = super().read(model, states, batch)
        return 5 * (scores - scores.mean(0))


class NanGradient(Classify):
    """A finite loss whose gradient is not: the square root of zero."""

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        found = super().loss(model, batch, noise)
        term = found.terms["class"]
        return Loss({"class": Term(term.total + (model.heads["class"].output.weight * 0).sum().sqrt(), term.weight)})


class InfiniteLoss(Classify):
    """One example's loss is infinite."""

    def read(self, model: Backbone, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        return super().read(model, states, batch) * torch.tensor([1.0, float("inf")])


class Exploding(Classify):
    """A head without a norm before it."""

    def read(self, model: Backbone, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        return super().read(model, states, batch) * 1e4


@dataclass(frozen=True)
class Changed:
    """A prepare with one change made to what another gives."""

    inner: Any
    change: Callable[[Prepared], Prepared]
    noisy: bool = False
    channels: frozenset[str] = frozenset()

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        return self.change(self.inner(example, noise))


def changed(run: View, change: Callable[[Prepared], Prepared]) -> View:
    run.objective.prepare = Changed(run.objective.prepare, change)
    return run


class Forgetful:
    """A prepare that draws from a generator of its own: what came before changes what comes next."""

    noisy, channels = True, frozenset[str]()

    def __init__(self, inner: Any) -> None:
        self.inner, self.random = inner, np.random.default_rng(0)

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        return self.inner(example, Noise(int(self.random.integers(1 << 30))))


# ---- strategies and schedules that are wrong


@dataclass(frozen=True)
class Thaws(Neutral):
    """Says that the heads alone move, and moves the table of tokens too."""

    def moving(self, model: Backbone, clock: Clock) -> Any:
        return all_but(model, [n for n, _ in model.named_parameters() if not n.startswith("heads.")])

    def after_step(self, model: Backbone, clock: Clock) -> None:
        with torch.no_grad():
            model.table.add_(0.1)


@dataclass(frozen=True)
class HeadStays(Neutral):
    """The body moves, the new head does not."""

    def moving(self, model: Backbone, clock: Clock) -> Any:
        return all_but(model, [n for n, _ in model.named_parameters() if n.startswith("heads.")])


@dataclass(frozen=True)
class Still(Neutral):
    """Adapters that nothing reaches: a rate below the last bit of every weight."""

    def moving(self, model: Backbone, clock: Clock) -> Any:
        return (Group(tuple(n for n, _ in model.named_parameters()), 1e-30),)


@dataclass(frozen=True)
class HeadAlone(Neutral):
    """What is added stands at a rate below the last bit of every weight."""

    def moving(self, model: Backbone, clock: Clock) -> Any:
        names = [n for n, _ in model.named_parameters()]
        below = tuple(n for n in names if not n.startswith("heads."))
        return (Group(tuple(n for n in names if n not in below)), Group(below, 1e-30))


def unreached() -> View:
    """LoRA whose A and B are both 0."""
    run = small.labelled(strategies=(STRATEGIES["lora"](rank=2),))
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    return run


class Hurried(TrainConfig):
    """A schedule that is stepped by each of four processes."""

    def rate(self, step: int) -> float:
        return super().rate(step * 4) if step * 4 < self.steps else 0.0


class NotANumber(TrainConfig):
    """0/0 in a schedule."""

    def rate(self, step: int) -> float:
        return float("nan")


# ---- parts


S = small.tokenizer().specials
EOS, BOS, SEP, PAD = (int(i) for i in (S.eos, S.bos, S.sep, S.pad))  # type: ignore[arg-type]


def only(*turns: int) -> Callable[[Example], Any]:
    """The assistant's turns with these numbers."""

    def mark(example: Example) -> Any:
        marks = np.asarray(example.channels["assistant"]).astype(bool)
        number = np.cumsum(np.diff(marks.astype(int), prepend=0) == 1) - 1
        return marks & np.isin(number, turns)

    return mark


def but(*ids: int) -> Callable[[Example], Any]:
    """What the assistant says without these ids."""
    return lambda e: np.asarray(e.channels["assistant"]).astype(bool) & ~np.isin(e.ids, ids)


def say(mark: Callable[[Example], Any], **fields: Any) -> View:
    return small.said(prepare=small.SayPrepare(mark, **fields))


def long_prompts() -> View:
    """Prompts that fill the row: nothing of the answer is left."""
    made = []
    for n in range(30):
        one = small.conversation(n, 1)
        asked = small.tokenizer().encode(small.text(n, 60))[:80]
        ids = np.concatenate([[BOS], asked, one.ids[1:]])
        marks = np.concatenate([np.zeros(len(asked) + 1), one.channels["assistant"][1:]])
        made.append(Example(n, ids, channels={"assistant": marks}, where=f"c.jsonl:{n}"))
    return small.said(made)


def with_origin(run: View, tied: bool) -> View:
    vars(run.model)["origin"] = Origin("llama", {"tie_word_embeddings": tied}, {}, {}, {}, {}, frozenset(), {}, {})
    run.fresh = False
    return run


def untied(copy: bool) -> View:
    body = small.model("decoder")
    body.add_heads({"lm": LMHead(tie=False)}, Noise(0))
    if copy:
        with torch.no_grad():
            body.heads["lm"].weight.copy_(body.table)
    run = small.written(body=body)
    return run if copy else with_origin(run, True)


def retied() -> View:
    run = with_origin(small.written(), False)
    run.before = dict(run.model.heads)
    return run


def cloned() -> View:
    """The head says that it is tied, and a loader gave it weights of its own."""
    run = small.written()
    head = run.model.heads["lm"]
    head.weight = torch.nn.Parameter(run.model.table.detach() * 1.1)
    return run


def thrown_away(names: tuple[str, ...] = ("no", "yes")) -> View:
    other = small.labelled().model.heads["class"]
    return small.labelled(fresh=False, before={"class": other}, before_names=names)


def wrong_tokenizer() -> View:
    """A trained model that reads the ids of another tokenizer: every token is a surprise."""
    body = small.model("decoder")
    with torch.no_grad():
        body.table.mul_(60)
    run = small.written(body=body, fresh=False)
    run.before = dict(run.model.heads)
    return run


def larger_tokenizer() -> View:
    run = small.labelled()
    many = small.train_tokenizer([small.text(n) + f" {n * 977}" for n in range(400)], kind="bpe", vocab_size=500)
    return replace(run, tokenizer=many)


def spoiled(run: View) -> View:
    with torch.no_grad():
        run.model.table[3, 2] = float("nan")
    return run


def foreign() -> View:
    """Text in a script that a word-piece vocabulary has never seen."""
    words = small.train_tokenizer([small.text(n) for n in range(99)], kind="wordpiece", vocab_size=200)
    made = [Example(n, words.encode("чудо " + "жизнь мир " * 4), label=n % 2) for n in range(40)]
    run = small.labelled()
    run.train = replace(run.train, examples=made)
    return replace(run, tokenizer=words)


def marker(n: int) -> str:
    """Two sources, one a class: the second signs its texts."""
    return small.text(n) + (" zq" if small.rows(1, n)[0]["label"] == "yes" else "")


def typed(n: int) -> str:
    return "positive" if small.rows(1, n)[0]["label"] == "yes" else "negative"


def split_columns(column: Callable[[int], str]) -> View:
    return small.labelled(small.rows(120, pair=column), small.rows(60, 5000, pair=column), pair="pair")


def leaky_rows(count: int, alter: Callable[[str], str] = str) -> View:
    """`count` evaluation rows that are training rows, altered."""
    test = small.rows(60, 5000)
    copied = [{**row, "text": alter(str(row["text"]))} for row in small.rows(count)]
    return small.labelled(test=[*test[: 60 - count], *copied])


def relabelled(labels: Callable[[int], str], names: tuple[str, ...], test: Callable[[int], str] | None = None) -> View:
    asked = small.rows(60, 5000, label=test or labels)
    return small.labelled(small.rows(120, label=labels), asked, names=names)


def fixed(run: View, **arrays: Any) -> View:
    """All labels or weights of each example set to one value."""

    def change(ready: Prepared) -> Prepared:
        filled = {k: {n: np.full_like(a, v) for n, a in getattr(ready, k).items()} for k, v in arrays.items()}
        return replace(ready, **filled)

    return changed(run, change)


def everything(example: Example) -> Any:
    return np.ones(len(example.ids), bool)


def silent() -> View:
    """Conversations in which the assistant says nothing, trained all the same."""
    made = [small.conversation(n) for n in range(20)]
    made = [replace(one, channels={"assistant": np.zeros(len(one.ids))}) for one in made]
    return small.said(made, prepare=small.SayPrepare(everything))


def padded_texts() -> View:
    words = small.tokenizer()
    ids = [np.concatenate([words.encode(small.text(n)), [EOS, PAD, PAD]]) for n in range(40)]
    return small.written([Example(n, one) for n, one in enumerate(ids)])


def doubled(ready: Prepared) -> Prepared:
    assert ready.source is not None
    ids = np.concatenate([ready.source.ids[:1], ready.source.ids])
    return replace(ready, source=Piece(ids))


def trained_with(**fields: Any) -> TrainConfig:
    return small.config(**fields)


def pad_is_end() -> View:
    """`pad_token = eos_token`, and the collator masks padding by its id."""
    words = small.tokenizer()
    run = say(but(EOS))
    words_ = small.Tokenizer(words._core, {**words.names, "pad": words.names["eos"]})
    return replace(run, tokenizer=words_)


def pad_masks_some_ends() -> View:
    """The same where it spoils a part: in half of the texts the end is masked, because its id is padding's."""
    words = small.tokenizer()

    def change(ready: Prepared) -> Prepared:
        hidden = (ready.labels["lm"] == EOS) & (ready.index % 2 == 0)
        return replace(ready, weights={"lm": np.where(hidden, 0, ready.weights["lm"]).astype(np.float32)})

    run = changed(small.written(), change)
    return replace(run, tokenizer=small.Tokenizer(words._core, {**words.names, "pad": words.names["eos"]}))


def shared_greetings() -> View:
    """Rows of two words: each alone proves nothing, a third of the evaluation rows does."""
    test = [{**row, "text": f"{n} thanks"} if n < 20 else row for n, row in enumerate(small.rows(60, 5000))]
    return small.labelled([*small.rows(120), *test[:20]], test)


def spelled(target: Callable[[int], str]) -> View:
    """Texts to be written, with special tokens spelled out in them."""
    run = small.written()
    rows = [{"source": small.text(n), "target": target(n), "__where__": f"t.jsonl:{n + 1}"} for n in range(60)]
    return replace(run, train=replace(run.train, rows=rows), inputs=["source"], target="target")


INCIDENTS = [
    # ---- gradient accumulation, ranks
    Incident(
        "mean of means",
        "peers 1; transformers#34191, #37766",
        lambda: small.written(objective=MeanOfMeans()),
        "E-INVARIANCE",
        "micro-batches",
    ),
    Incident(
        "sum of means",
        "peers 1; transformers#35438, unsloth-zoo#1023",
        lambda: small.written(objective=SumOfMeans()),
        "E-INVARIANCE",
        "micro-batches",
    ),
    Incident(
        "rank means weighed by examples",
        "peers 2; transformers#34242, torchtitan#2206",
        lambda: small.written(objective=ByExamples()),
        "E-INVARIANCE",
        "ranks",
    ),
    Incident(
        "another weight than was counted",
        "numerics: gradient accumulation",
        lambda: small.written(objective=OtherWeight()),
        "E-INVARIANCE",
        "micro-batches",
    ),
    Incident(
        "examples that see each other",
        "numerics: gradient accumulation, DPO/ORPO #1178",
        lambda: small.labelled(objective=Neighbours),
        "E-INVARIANCE",
        "micro-batches",
    ),
    # ---- the end of a text
    Incident("end token masked", "peers 3; trl#1623, unsloth#416", lambda: say(but(EOS)), "E-NO-END", "end-token"),
    Incident("end masked because padding is the end", "peers 3; blog#1302", pad_is_end, "E-NO-END", "end-token"),
    Incident(
        "template's end token is another",
        "peers 3; axolotl#3754",
        lambda: say(but(EOS), before=()),
        "E-NO-END",
        "speaker-mask",
    ),
    Incident(
        "texts without an end",
        "peers 3; torchtune#949",
        lambda: small.written([Example(n, small.tokenizer().encode(small.text(n))) for n in range(40)]),
        "E-NO-END",
        "end-token",
    ),
    Incident("padding is a target", "peers 3; trl#734", padded_texts, "E-SPECIAL-TOKEN", "pad-token"),
    Incident(
        "padding is the end, and masks some ends",
        "peers 3; unsloth#416, inputs 81",
        pad_masks_some_ends,
        "E-SPECIAL-TOKEN",
        "pad-token",
    ),
    # ---- who is trained on
    Incident(
        "assistant mask all zero",
        "peers 4; transformers#34172, marin#7237",
        lambda: say(lambda e: np.zeros(len(e.ids), bool)),
        "E-NO-TARGET",
        "empty-targets",
    ),
    Incident(
        "assistant mask all one",
        "peers 4; trl#4201, Megatron-Bridge#3927",
        lambda: say(everything),
        "E-MASK",
        "speaker-mask",
    ),
    Incident(
        "mask off by one token",
        "numerics: label mask, TRL#1920",
        lambda: say(lambda e: np.roll(np.asarray(e.channels["assistant"]).astype(bool), -1)),
        "E-MASK",
        "speaker-mask",
    ),
    Incident("only the last turn trained", "peers 6; axolotl#1761", lambda: say(only(1)), "E-MASK", "speaker-mask"),
    Incident("only the first turn trained", "peers 6; axolotl#2089", lambda: say(only(0)), "E-MASK", "speaker-mask"),
    Incident(
        "the user is trained instead",
        "peers 6; axolotl#3098",
        lambda: say(lambda e: 1 - np.asarray(e.channels["assistant"]) > 0),
        "E-MASK",
        "speaker-mask",
    ),
    Incident("no turn of the assistant", "inputs 73", silent, "E-MASK", "speaker-mask"),
    # ---- targets
    Incident(
        "every answer cut away", "peers 5; trl#6668, TRL#6025, inputs 74", long_prompts, "E-NO-TARGET", "empty-targets"
    ),
    Incident(
        "weights all zero",
        "peers 5; Soup#532",
        lambda: fixed(small.labelled(), weights=0.0),
        "E-NO-TARGET",
        "empty-targets",
    ),
    Incident(
        "a weight is NaN",
        "numerics: NaN",
        lambda: fixed(small.labelled(), weights=np.nan),
        "E-NOT-FINITE",
        "target-weights",
    ),
    Incident(
        "class 5 of 2",
        "inputs 57; detectron2#2365",
        lambda: fixed(small.labelled(), labels=5),
        "E-LABEL-RANGE",
        "label-range",
    ),
    Incident(
        "ignore index -100 with a weight",
        "peers 5; trl#1053",
        lambda: fixed(small.written(), labels=-100),
        "E-LABEL-RANGE",
        "label-range",
    ),
    # ---- special tokens
    Incident(
        "start token doubled in a chat",
        "peers 7; unsloth#10312, OpenRLHF#393",
        lambda: small.said([small.conversation(n, start=[BOS, BOS]) for n in range(20)]),
        "E-FRAME",
        "doubled-start",
    ),
    Incident(
        "start token added by template and tokenizer",
        "peers 7; vLLM#27486",
        lambda: say(small.SayPrepare().mark, before=(BOS,)),
        "E-FRAME",
        "doubled-start",
    ),
    Incident(
        "[CLS] doubled",
        "peers 7; reward-bench#164",
        lambda: changed(small.labelled(), doubled),
        "E-FRAME",
        "doubled-start",
    ),
    Incident(
        "[CLS] missing",
        "peers 16; LlamaFactory#8720, inputs 81",
        lambda: small.labelled(prepare={"first": None}),
        "E-FRAME",
        "missing-start",
    ),
    Incident(
        "template rendered into the text",
        "peers 7; open-r1#462, inputs 20",
        lambda: small.labelled(small.rows(120, text=lambda n: f"<|bos|>{small.text(n)}<|eos|>")),
        "E-SPECIAL-IN-TEXT",
        "specials-in-text",
    ),
    Incident(
        "one text in thirty holds a template",
        "peers 7; open-r1#462, inputs 20",
        lambda: small.labelled(small.rows(120, text=lambda n: small.text(n) + "<|eos|>" * (n % 30 == 0))),
        "E-SPECIAL-IN-TEXT",
        "specials-in-text",
    ),
    Incident(
        "answers spell the end token out",
        "peers 3; axolotl#3754, inputs 20",
        lambda: spelled(lambda n: f"{small.text(n, 4)}<|eos|>"),
        "E-SPECIAL-IN-TEXT",
        "specials-in-text",
    ),
    Incident(
        "a class is called as a special token",
        "inputs 20, 58",
        lambda: relabelled(lambda n: ("no", "<|sep|>")[n % 2], ("<|sep|>", "no")),
        "E-SPECIAL-IN-TEXT",
        "specials-in-text",
    ),
    # ---- packing, padding, looking ahead
    Incident(
        "packed examples see each other",
        "peers 8; axolotl#3796, functionary#265",
        lambda: small.written(body=small.model("decoder", small.SeesNeighbours)),
        "E-INVARIANCE",
        "packing",
    ),
    Incident(
        "the same in an encoder",
        "peers 8; trl#3526",
        lambda: small.masked(body=small.model("encoder", small.SeesNeighbours)),
        "E-INVARIANCE",
        "packing",
    ),
    Incident(
        "positions run on",
        "numerics: packing; LlamaFactory#7318, axolotl#2739",
        lambda: small.written(body=small.model("decoder", small.CountsOn, positions=True)),
        "E-INVARIANCE",
        "packing",
    ),
    Incident(
        "padding is read",
        "peers 17; lm-eval#3055, unsloth#9708",
        lambda: small.labelled(body=small.model("encoder", small.SeesPadding)),
        "E-INVARIANCE",
        "padding",
    ),
    Incident(
        "NaN on padded rows",
        "numerics: padding; pytorch#103749, unsloth#9848",
        lambda: small.labelled(body=small.model("encoder", small.NanOnPadding)),
        "E-INVARIANCE",
        "padding",
    ),
    Incident(
        "a decoder reads ahead",
        "numerics: label leakage",
        lambda: small.written(body=small.model("decoder", small.LooksAhead)),
        "E-LABEL-LEAK",
        "causal",
    ),
    Incident(
        "labels not shifted",
        "numerics: label leakage, decoder input unshifted",
        lambda: small.said(prepare=small.SayPrepare(everything, shift=0)),
        "E-LABEL-LEAK",
        "shifted",
    ),
    Incident(
        "masked tokens stay visible",
        "peers 22; transformers#11768",
        lambda: small.masked(prepare={"as_mask": 0.05, "as_random": 0.05}),
        "E-LABEL-LEAK",
        "visible-mask",
    ),
    Incident(
        "prepared from a generator of its own",
        "numerics: worker RNG",
        lambda: wrap_forgetful(),
        "E-INVARIANCE",
        "repeatable",
    ),
    # ---- rows
    Incident(
        "evaluation rows in training, other case",
        "numerics: label leakage; inputs 77",
        lambda: leaky_rows(5, str.upper),
        "E-LEAK",
        "shared-rows",
    ),
    Incident(
        "evaluation rows in training, other spaces",
        "inputs 77",
        lambda: leaky_rows(5, lambda t: t.replace(" ", "  ")),
        "E-LEAK",
        "shared-rows",
    ),
    Incident(
        "evaluation rows nearly in training",
        "numerics: label leakage; inputs 77",
        lambda: leaky_rows(9, lambda t: t + " indeed"),
        "E-LEAK",
        "near-rows",
    ),
    Incident(
        "two evaluation rows of sixty in training",
        "inputs 77",
        lambda: leaky_rows(2, str.upper),
        "E-LEAK",
        "shared-rows",
    ),
    Incident(
        "a third of the evaluation rows are short, and in training",
        "inputs 77",
        shared_greetings,
        "E-LEAK",
        "shared-rows",
    ),
    Incident(
        "two near copies in sixty",
        "numerics: label leakage; inputs 77",
        lambda: leaky_rows(2, lambda t: t + " indeed"),
        "E-LEAK",
        "near-rows",
    ),
    Incident(
        "the text is the label",
        "numerics: label leakage",
        lambda: small.labelled(small.rows(120, text=lambda n: small.rows(1, n)[0]["label"])),
        "E-LABEL-LEAK",
        "label-in-text",
    ),
    Incident(
        "the answer stands in the prompt",
        "numerics: label leakage, answer in the prompt",
        lambda: small.labelled(
            small.rows(120, text=lambda n: f"{small.text(n)} answer: {small.rows(1, n)[0]['label']}")
        ),
        "E-LABEL-LEAK",
        "label-in-text",
    ),
    Incident(
        "a column was made from the label",
        "numerics: label leakage",
        lambda: split_columns(typed),
        "E-LABEL-LEAK",
        "telling-column",
    ),
    Incident(
        "one token tells the class",
        "numerics: label leakage",
        lambda: small.labelled(small.rows(260, text=marker)),
        "E-LABEL-LEAK",
        "telling-token",
    ),
    Incident(
        "a single class", "inputs 61", lambda: relabelled(lambda n: "yes", ("no", "yes")), "E-ONE-CLASS", "classes"
    ),
    Incident(
        "a class without a row",
        "inputs 60",
        lambda: relabelled(lambda n: ("no", "yes")[n % 2], ("no", "yes", "maybe")),
        "E-CLASS-TOO-SMALL",
        "classes",
    ),
    Incident(
        "a class that training never shows",
        "inputs 59",
        lambda: relabelled(
            lambda n: ("no", "yes")[n % 2], ("no", "yes", "maybe"), lambda n: ("no", "yes", "maybe")[n % 3]
        ),
        "E-CLASS-UNSEEN",
        "classes",
    ),
    Incident(
        "labels with a stray space",
        "inputs 58; TRL#1920",
        lambda: relabelled(lambda n: ("no", "yes ")[n % 2], ("no", "yes ")),
        "E-LABEL-UNKNOWN",
        "label-text",
    ),
    Incident(
        "labels in two cases",
        "inputs 58",
        lambda: relabelled(lambda n: ("no", "yes", "Yes")[n % 3], ("no", "yes", "Yes")),
        "E-LABEL-UNKNOWN",
        "label-text",
    ),
    Incident(
        "an empty evaluation split", "inputs 78", lambda: small.labelled(test=[]), "E-EMPTY-SPLIT", "empty-splits"
    ),
    # ---- weights
    Incident("more ids than rows", "inputs 79; peers 20", larger_tokenizer, "E-VOCAB-SIZE", "vocabulary"),
    Incident(
        "another tokenizer than the checkpoint's",
        "inputs 80; numerics: tokenizer mismatch",
        lambda: small.labelled(beside="0" * 64),
        "E-TOKENIZER-MISMATCH",
        "same-tokenizer",
    ),
    Incident(
        "trained weights, foreign ids",
        "peers 20; litgpt#1762, ModernBERT#209",
        wrong_tokenizer,
        "E-START-LOSS",
        "start-loss",
    ),
    Incident(
        "a script that the tokenizer does not know",
        "numerics: tokenizer mismatch",
        foreign,
        "E-UNKNOWN-TOKENS",
        "unknown-tokens",
    ),
    Incident(
        "tied head with a copy",
        "numerics: tied weights; transformers#38870",
        lambda: untied(True),
        "E-TIED",
        "tied-weights",
    ),
    Incident(
        "the file ties, the model does not",
        "numerics: tied weights; transformers#48154",
        lambda: untied(False),
        "E-TIED",
        "tied-weights",
    ),
    Incident(
        "tying overwrites a distinct head",
        "numerics: tied weights; transformers#42612",
        retied,
        "E-TIED",
        "tied-weights",
    ),
    Incident(
        "a tied head with weights of its own", "numerics: tied weights; vLLM#51665", cloned, "E-TIED", "tied-weights"
    ),
    Incident(
        "trained head thrown away",
        "numerics: missing weights; transformers#43429, peft#577",
        thrown_away,
        "E-FRESH-HEAD",
        "fresh-heads",
    ),
    Incident(
        "NaN in the checkpoint",
        "peers 5; Soup#532, peers 20; ModernBERT#209",
        lambda: spoiled(small.labelled()),
        "E-NOT-FINITE",
        "finite-weights",
    ),
    Incident(
        "a random head explodes",
        "numerics: loss",
        lambda: small.labelled(objective=Exploding),
        "E-START-LOSS",
        "start-loss",
    ),
    Incident(
        "the loss is infinite",
        "numerics: NaN/inf loss",
        lambda: small.labelled(objective=InfiniteLoss),
        "E-NON-FINITE-LOSS",
        "two-steps",
    ),
    Incident(
        "the gradient alone is NaN",
        "numerics: NaN/inf loss; torchtitan test_invalid_loss",
        lambda: small.labelled(objective=NanGradient),
        "E-NON-FINITE-LOSS",
        "two-steps",
    ),
    # ---- what moves, and how fast
    Incident(
        "a frozen weight moves",
        "near misses; opacus#820",
        lambda: small.labelled(strategies=(Thaws(),)),
        "E-FROZEN",
        "moving",
    ),
    Incident(
        "a new head that is frozen",
        "peers 14; peft#577, #876",
        lambda: small.labelled(strategies=(HeadStays(),)),
        "E-FROZEN",
        "moving",
    ),
    Incident(
        "nothing moves", "near misses; opacus#820", lambda: small.labelled(strategies=(Still(),)), "E-FROZEN", "moving"
    ),
    Incident("an adapter that no gradient reaches", "near misses; DP with LoRA", unreached, "E-FROZEN", "moving"),
    Incident(
        "a prompt that stands still while the head learns",
        "peers 22; prefix tuning ignores the encoder",
        lambda: small.labelled(strategies=(strategy("prompt", length=3), HeadAlone())),
        "E-FROZEN",
        "moving",
    ),
    Incident(
        "a schedule stepped four times",
        "near misses; accelerate#662, #999",
        lambda: small.labelled(train=Hurried(**trained_with().model_dump())),
        "E-SCHEDULE",
        "schedule",
    ),
    Incident(
        "a run of nothing but warm-up",
        "inputs 87",
        lambda: small.labelled(train=trained_with(warmup=0.99)),
        "E-SCHEDULE",
        "schedule",
    ),
    Incident(
        "a rate that is NaN",
        "inputs 87",
        lambda: small.labelled(train=NotANumber(**trained_with().model_dump())),
        "E-SCHEDULE",
        "rate",
    ),
    Incident(
        "a rate that Adam cannot bear",
        "inputs 87",
        lambda: small.labelled(train=trained_with(learning_rate=2.0)),
        "E-SCHEDULE",
        "rate",
    ),
    Incident(
        "a rate that moves nothing",
        "numerics: kohya#141, rate 0 after resume",
        lambda: small.labelled(train=trained_with(learning_rate=1e-12)),
        "E-SCHEDULE",
        "rate",
    ),
    # ---- room
    Incident("no room in memory", "peers 25, 19", lambda: small.labelled(room=Room(memory=1000)), "E-MEMORY", "memory"),
    Incident(
        "no room on the disk",
        "peers 25; ultralytics#5793",
        lambda: small.labelled(room=Room(disk=1000)),
        "E-DISK",
        "disk",
    ),
]


def wrap_forgetful() -> View:
    run = small.masked()
    run.objective.prepare = Forgetful(run.objective.prepare)
    return run


def strategy(kind: str, **options: Any) -> Any:
    return STRATEGIES[kind](**options)


HEALTHY: Mapping[str, Callable[[], View]] = {
    "labels": small.labelled,
    "labels of pairs": lambda: split_columns(lambda n: small.text(n + 70_000)),
    "labels, three classes": lambda: relabelled(lambda n: ("a", "b", "c")[n % 3], ("a", "b", "c")),
    "labels, learned positions": lambda: small.labelled(body=small.model("encoder", positions=True)),
    "labels, probe": lambda: small.labelled(strategies=(strategy("probe"),)),
    "labels, first layer frozen": lambda: small.labelled(strategies=(strategy("freeze", first=1),)),
    "labels, LoRA": lambda: small.labelled(strategies=(strategy("lora", rank=2),)),
    "labels, a prefix": lambda: small.labelled(strategies=(strategy("prefix", length=3),)),
    "labels, rates by depth": lambda: small.labelled(strategies=(strategy("rates", body=0.5, head=2.0),)),
    "labels, micro-batches": lambda: small.labelled(train=trained_with(micro_batch=2)),
    "labels, unpacked": lambda: small.labelled(train=trained_with(packed=False)),
    "labels, bf16": lambda: small.labelled(train=trained_with(precision="bf16")),
    "labels, a marker in half of a class": lambda: small.labelled(
        small.rows(260, text=lambda n: marker(n) if n % 2 else small.text(n))
    ),
    "labels, one evaluation row repeated in 60 differs": lambda: leaky_rows(0),
    "labels, another task's head before": lambda: small.labelled(fresh=False, before={"lm": torch.nn.Linear(1, 1)}),
    "labels, the checkpoint's tokenizer": lambda: small.labelled(beside=small.tokenizer().fingerprint),
    "labels, cosine": lambda: small.labelled(train=trained_with(schedule="cosine")),
    "labels, warm-up, stable, decay": lambda: small.labelled(train=trained_with(schedule="wsd")),
    "labels, sgd": lambda: small.labelled(train=trained_with(optimizer="sgd", learning_rate=0.1)),
    "labels, room enough": lambda: small.labelled(room=Room(10**9, 10**9)),
    "labels, near copies with other labels": lambda: contrasted(),
    "labels, short rows that many say": lambda: small.labelled(
        [*small.rows(120), {**small.rows(1)[0], "text": "thank you"}],
        [*small.rows(59, 5000), {**small.rows(1)[0], "text": "Thank you."}],
    ),
    "answers that are texts": lambda: spelled(lambda n: small.text(n, 4)),
    "conversations": small.said,
    "conversations of one turn": lambda: small.said([small.conversation(n, 1) for n in range(30)]),
    "conversations of four turns": lambda: small.said(
        [small.conversation(n, 4) for n in range(30)],
        prepare=small.SayPrepare(length=200),
        train=trained_with(length=200),
    ),
    "texts": small.written,
    "texts, learned positions": lambda: small.written(body=small.model("decoder", positions=True)),
    "texts, a head of its own": lambda: untied_healthy(),
    "texts, tied as the file says": lambda: with_origin(small.written(), True),
    "masks": small.masked,
    "masks, learned positions": lambda: small.masked(body=small.model("encoder", positions=True)),
    "masks at 40 %": lambda: small.masked(prepare={"rate": 0.4}),
}


def contrasted() -> View:
    """Sentences with one word added stand on the other side, with the other label: a contrast, no leak."""
    other = {"no": "yes", "yes": "no"}
    copied = [{**row, "text": f"{row['text']} not", "label": other[row["label"]]} for row in small.rows(12)]
    return small.labelled(test=[*small.rows(48, 5000), *copied])


def untied_healthy() -> View:
    body: Transformer = small.model("decoder")
    body.add_heads({"lm": LMHead(tie=False)}, Noise(3))
    return with_origin(small.written(body=body), False)


def small_recipe(
    folder: Path,
    *,
    body: Transformer | None = None,
    spoil: Callable[[Path], object] = lambda folder: None,
    line: str = "length = 32",
) -> Path:
    """A recipe of a fine-tuning on a model that was saved, `line` in its train table, the model's folder spoilt."""
    save_model(body or small.model("encoder"), folder / "model")
    small.tokenizer().save(folder / "model")
    spoil(folder / "model")
    lines = ["text,label", *(f"{row['text']},{row['label']}" for row in small.rows(60))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    head = f'kind = "finetune"\nmodel = "{folder}/model"\ndata = "{folder}/rows.csv"\n'
    (folder / "r.toml").write_text(f'{head}[train]\nbatch = 8\nprecision = "fp32"\n{line}\n')
    return folder / "r.toml"


def without(name: str) -> Callable[[Path], object]:
    """A checkpoint that lost a tensor."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors[next(key for key in sorted(tensors) if name in key)]
        save_file(tensors, folder / "model.safetensors")

    return spoil


def with_key(key: str, value: Any) -> Callable[[Path], object]:
    """A configuration with another key."""

    def spoil(folder: Path) -> None:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**said, key: value}))

    return spoil


EARLIER: Mapping[str, tuple[Callable[[Path], Path], str]] = {  # refused by `modeledge check` before any check can run
    "peers 13, unsloth#10740; an option was renamed, and the old name is ignored": (
        lambda folder: small_recipe(folder, line="max_seq_length = 2048"),
        "E-CONFIG-KEY.*max_seq_length",
    ),
    "numerics, PEFT#2118; weights are missing, and drawn anew with a warning": (
        lambda folder: small_recipe(folder, spoil=without("attention")),
        "E-KEYS",
    ),
    "peers 20; a key of the configuration that this version does not know": (
        lambda folder: small_recipe(folder, spoil=with_key("use_new_attention", True)),
        "E-CONFIG-KEY.*use_new_attention",
    ),
    "inputs 84; rows longer than the model's positions": (
        lambda folder: small_recipe(folder, body=small.model("encoder", positions=True), line="length = 4096"),
        "E-POSITION.*4096",
    ),
}

NOT_HERE = {
    "peers 9, 10, 11; exact resume, seekable streams, other world sizes": "tested by killing runs (tests/train)",
    "peers 12; dependency hell": "a property of the installation, not of a run",
    "peers 15; merging QLoRA": "there is no quantised base",
    "peers 16; export with another template": "no chat model is exported yet; the frame of special tokens is checked",
    "peers 18; scores do not match papers": "a property of the metrics, tested against the official scripts",
    "peers 19; evaluation holds all logits": "metrics stream; memory is checked as a whole",
    "peers 21, 23, 24; encoders left out, scale of dedup, small machines": "features, not faults of a run",
    "peers 22; prefix tuning on encoder–decoders": "as published: tests/adapt/test_leading.py",
    "numerics; loss spikes, silent data corruption": "in the middle of a run; a bad step is E-NON-FINITE-LOSS there",
    "numerics; RLHF": "there is none yet",
    "numerics; tokenizer training not deterministic, panics": "tests/tokens",
    "numerics; missing LoRA keys": "an adapter's file is refused where it is opened: tests/adapt/test_peft.py",
}

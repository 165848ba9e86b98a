"""Replaced token detection: which tokens are not the author's? (ELECTRA, Clark et al. 2020, arXiv 2003.10555.)

A small generator G, itself a masked language model, fills the masked places of a text with plausible tokens; the model
D says of every token whether it is the original one (section 2, equations 1 and 2):

    min  Σ_masked −log p_G(xₜ | x masked)  +  λ Σ_all −[ yₜ log D(x̂, t) + (1 − yₜ) log(1 − D(x̂, t)) ],   λ = 50

where x̂ is the text with G's samples and yₜ = 1 for x̂ₜ ≠ xₜ: a sample that happens to be the original counts as
original. Every token teaches the model, not 15 % of them. All chosen tokens become the mask, none a random token. The
two are no adversaries: no gradient runs through the sampling, so G is trained by its own likelihood alone.

G is thinner than D (a quarter to a half works best, section 3.2), and reads D's own tables of tokens, types and
positions, projected where its states have another width. It is a submodule of the objective: moved, saved and
optimised like the rest, and left behind when the model is written.

Which token is sampled at a place follows from one uniform number, drawn where the example is masked: the smallest token
whose cumulative probability exceeds it. So a sample is a function of (seed, epoch, index) and of G's weights; rows,
micro-batches and ranks cannot change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model import likelihood
from modeledge.model.backbone import Backbone, Start
from modeledge.model.batch import Batch
from modeledge.model.config import Stack, Tokens, TransformerConfig
from modeledge.model.draw import dropping
from modeledge.model.heads import Activation, Head, LanguageModelling, LMHead, TokenHead
from modeledge.model.init import initialise
from modeledge.model.kinds import Learned
from modeledge.model.position import Position
from modeledge.model.transformer import Transformer
from modeledge.objectives.label import wide
from modeledge.objectives.masked import MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

WEIGHT = 50.0  # of the discriminator's loss (section 3.1 and table 6)
UNGATED = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh", "reglu": "relu"}
TABLES = ("tokens", "types", "embed_norm")  # of a generator, which are those of the model


@dataclass(frozen=True)
class ReplacedPrepare:
    """A masked example, with a uniform number for each masked place, and every token of it to be judged."""

    masking: MaskedPrepare
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return self.masking.channels

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        hidden = self.masking(example, noise)
        count, length = len(hidden.reads["lm"]), max(hidden.lengths())
        draws = noise.at("sample").generator().random(count, dtype=np.float32)
        return replace(
            hidden,
            reads={**hidden.reads, "replaced": np.arange(length)},
            labels={**hidden.labels, "draw": draws},
            weights={**hidden.weights, "replaced": np.ones(length, dtype=np.float32)},
        )


class Replaced(Objective):
    """The generator's masked-LM loss and `share` times the discriminator's, each divided by its own weight.

    `generator` is the shape of G, as `generator_of` makes it; its table must be as wide as the model's.
    """

    prepare: ReplacedPrepare

    def __init__(self, prepare: ReplacedPrepare, generator: TransformerConfig, *, share: float = WEIGHT) -> None:
        super().__init__()
        if prepare.masking.as_mask != 1.0:
            what = f"{prepare.masking.as_mask:.0%} of the chosen tokens become the mask"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="replaced token detection masks all of them")
        if not 0 < share < math.inf:
            raise ModeledgeError("E-CONFIG-VALUE", f"the discriminator's weight is {share}; it is above 0")
        self.prepare, self.share, self.repeats = prepare, share, prepare.masking.masks
        self.heads: dict[str, Head] = {"replaced": replaced_head(generator.stack)}
        self.generator = Transformer(generator)
        self.generator.add_heads({"lm": generator_head(generator.stack)}, Noise(0))
        borrow(self.generator)

    def draw(self, noise: Noise) -> None:
        config = self.generator.config
        initialise(self.generator, noise.at("generator"), std=config.init, layers=config.stack.layers)

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        assert isinstance(model, Transformer), "a wrapped model has no tables to share"
        assert batch.source is not None, "an encoder reads a source"
        masked, sampled = self.generate(model, batch, noise)
        at, (rows, seq) = batch.reads["lm"], batch.source.ids.shape
        original = batch.source.ids.flatten().index_put((at,), batch.labels["lm"])
        ids = original.index_put((at,), sampled)
        read = batch.reads["replaced"]
        labels = (ids != original)[read].float()
        states = model(replace(batch, source=replace(batch.source, ids=ids.view(rows, seq)))).last
        scores = wide(model.heads["replaced"](states.flatten(0, 1)[read]).squeeze(-1))
        weights = batch.weights["replaced"]
        losses = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none")
        right = ((scores.detach() > 0) == (labels > 0)).float()
        terms = {"lm": masked, "replaced": Term((losses * weights).sum(), weights.sum(), self.share)}
        count = torch.tensor(float(len(labels)))
        return Loss(terms, {"share_replaced": (labels.sum(), count), "accuracy": (right.sum(), count)})

    def generate(self, model: Transformer, batch: Batch, noise: Noise) -> tuple[Term, Tensor]:
        """The generator's term, and the tokens `[n]` that it fills the masked places with."""
        generator, head = self.generator, self.generator.heads["lm"]
        assert isinstance(head, LanguageModelling)
        generator.compute = model.compute
        if generator.training != model.training:
            generator.train(model.training)
        generator.checkpoint_blocks(model.tower.checkpointing)
        with dropping(noise.at("dropout", "generator")):
            states = model.embedded(batch)
            states = states if generator.project is None else generator.project(states)
            last = generator(batch, start=Start(states, 0)).last
        hidden = head.hidden(last.flatten(0, 1)[batch.reads["lm"]])
        weights = batch.weights["lm"]
        table, bias = head.weights(model.table), head.bias
        total = likelihood.token_loss(hidden, table, batch.labels["lm"], weights, bias=bias)
        return Term(total, weights.sum()), drawn(hidden, table, bias, batch.labels["draw"])

    def whole_generator(self, model: Transformer) -> Transformer:
        """The generator as a model of its own, with a copy of the tables that it shares: to be written or asked."""
        whole = Transformer(self.generator.config)
        whole.add_heads({"lm": generator_head(self.generator.config.stack)}, Noise(0))
        own, theirs = self.generator.state_dict(), model.state_dict()
        whole.load_state_dict({name: own[name] if name in own else theirs[name] for name in whole.state_dict()})
        return whole.to(model.device)

    def take_generator(self, whole: Transformer, model: Transformer) -> str:
        """Go on from a generator as `whole_generator` gave it, where it is that of this model; else say why not.

        It has the shape that is asked for, and every table that it shares is the model's, bit for bit.
        """
        theirs, mine, tables = whole.state_dict(), self.generator.state_dict(), model.state_dict()
        if whole.config != self.generator.config or not mine.keys() <= theirs.keys():
            return "has another shape than is asked for"
        own = {name: theirs.pop(name) for name in mine}
        if any(name not in tables or not torch.equal(table, tables[name]) for name, table in theirs.items()):
            return "reads the tables of another model"
        self.generator.load_state_dict(own)
        return ""


@torch.no_grad()
def drawn(states: Tensor, table: Tensor, bias: Tensor | None, draws: Tensor) -> Tensor:
    """A token for each state, `[n]`: the first whose cumulative probability exceeds that of `draws`, in [0, 1).

    states `[n, width]`, table `[vocab, width]`; scores are made for a chunk of states at a time.
    """
    table, found = table.to(states.dtype), []
    for start in range(0, len(states), likelihood.CHUNK):
        piece = slice(start, start + likelihood.CHUNK)
        scores = wide(F.linear(states[piece], table))
        scores = scores if bias is None else scores + bias
        sums = (scores - scores.amax(-1, keepdim=True)).exp_().cumsum(-1)
        goals = draws[piece, None].to(sums.dtype) * sums[:, -1:]
        found.append(torch.searchsorted(sums, goals, right=True).squeeze(-1).clamp(max=len(table) - 1))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long, device=states.device)


def generator_of(config: TransformerConfig, size: float = 0.25) -> TransformerConfig:
    """The shape of a generator beside this model: `size` is the share of its width, heads and feed-forward.

    Layers stay as many and tables as wide (Clark et al. 2020, table 6: 1/4 for the small model, 1/3 for the base one).
    Widths are rounded to whole heads of an even width.
    """
    if not 0 < size <= 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"the generator's size is {size}; it is above 0 and at most 1")
    if config.encoder is None or config.both or not isinstance(config.embed, Tokens):
        raise ModeledgeError("E-CONFIG", "a generator stands beside an encoder of tokens", where="objective.generator")
    stack, table = config.encoder, config.embed.width or config.width
    attention = stack.attention
    heads = max(1, round(attention.heads * size))
    width = 2 * heads * max(1, round(config.width * size / (2 * heads)))
    groups = attention.heads // (attention.kv_heads or attention.heads)
    kv_heads = None if attention.kv_heads is None else math.gcd(heads, max(1, heads // groups))
    thin = replace(
        stack,
        attention=replace(attention, heads=heads, kv_heads=kv_heads),
        feedforward=replace(stack.feedforward, width=max(1, round(stack.feedforward.width * size))),
    )
    return replace(
        config, width=width, embed=replace(config.embed, width=None if table == width else table), encoder=thin
    )


def borrow(generator: Transformer) -> None:
    """Take the tables off a generator: what it reads is embedded by the model that it stands beside."""
    for name in TABLES:
        setattr(generator, name, None)
    if isinstance(generator.config.stack.position, Learned):
        generator.tower.position = Position()


def generator_head(stack: Stack) -> LMHead:
    """The head of a generator: its activation is GELU whatever that of the body is."""
    return LMHead(transform=True, bias=True, activation=None if stack.feedforward.kind == "gelu" else "gelu")


def replaced_head(stack: Stack) -> TokenHead:
    """The head of a discriminator: a dense layer with the activation of the body, and one number a token."""
    kind: Any = stack.feedforward.kind
    return TokenHead(outputs=1, hidden=True, activation=cast(Activation, UNGATED.get(kind, kind)))

"""Pairs of sentences in a recipe: BERT's and ALBERT's pre-training; and sentences by themselves: SimCSE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from modeledge.corpus.channels import SENTENCES
from modeledge.corpus.pairs import SHORT, Ask, Pairing, PairStream, SentenceStream
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.model.config import Tokens, TransformerConfig
from modeledge.model.heads import Pool
from modeledge.objectives import Contrast, ContrastPrepare, LabelPrepare, Objective, PairPrepare, Prepare, SentencePairs
from modeledge.objectives.contrast import need_dropout
from modeledge.objectives.schedule import Number
from modeledge.recipes.objectives.aim import Aim, Body, needed
from modeledge.recipes.objectives.following import less
from modeledge.recipes.objectives.masked import UnitMasking
from modeledge.tokens import Tokenizer

FRAME = 3  # [CLS] and two [SEP]


class Pairs(UnitMasking):
    """Masked language modelling over two segments, and a question about the two. A share `short` of the pairs is
    shorter than a row; with `static` pairs come again together with their masks."""

    ask: ClassVar[Ask]
    needs: ClassVar[str] = "token types"
    short: float = Field(default=SHORT, ge=0, lt=1)

    @property
    def numbers(self) -> Mapping[str, str]:
        return {key: f"masking.{path}" for key, path in super().numbers.items()}

    @property
    def channels(self) -> frozenset[str]:
        return super().channels | {SENTENCES}

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        return SentencePairs(PairPrepare(self.masking(tokenizer), end=tokenizer.specials.eos))

    def tokens(self, length: int) -> int:
        return length - FRAME

    def stream(self, shards: Shards, length: int, seed: int) -> ShardStream:
        pairing = Pairing(self.tokens(length), self.ask, self.short, self.static or None)
        rooms = None if self._length is None else less(self._length, self.frame)
        return PairStream(shards, pairing, seed, rooms=rooms)

    def fitting(self, length: int) -> int:
        """A pair is whole at any length: for a while its stream shows shorter ones."""
        return self.tokens(length)

    def parted(self, prepare: Prepare, length: Number) -> Prepare:
        return prepare

    def check(self, config: TransformerConfig) -> None:
        super().check(config)
        types = config.embed.types if isinstance(config.embed, Tokens) else 0
        if types < 2:
            what = f"objective {self.kind!r} tells two segments apart by their token types; the model has {types}"
            remedy = 'choose a body with them (model.preset = "bert-mini", or model.shape.embed.types = 2)'
            raise ModeledgeError("E-CONFIG", what, where="model.embed.types", remedy=remedy)


class BertAim(Pairs):
    """Does the second segment follow the first, or is it from another document? (Devlin et al. 2019.)"""

    kind: Literal["bert"] = "bert"
    ask: ClassVar[Ask] = "next"


class AlbertAim(Pairs):
    """Do the two segments stand in their order? Masks are n-grams of up to three words. (Lan et al. 2020.)"""

    kind: Literal["albert"] = "albert"
    ask: ClassVar[Ask] = "order"
    unit: Literal["token", "word", "ngram", "salient"] = "ngram"


class SimcseAim(Aim):
    """Sentences told apart by two readings under dropout (Gao et al. 2021); a row holds both, so a sentence has half of
    its length. `mlp` is a dense layer with tanh above the pooled state, in training alone."""

    kind: Literal["simcse"] = "simcse"
    temperature: float = Field(default=0.05, gt=0, le=100)
    pool: Pool = "first"
    mlp: bool = True
    bodies: ClassVar[frozenset[Body]] = frozenset({"encoder"})
    needs: ClassVar[str] = "dropout"

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({SENTENCES})

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        types = isinstance(config.embed, Tokens) and config.embed.types > 1
        cls, sep = needed(tokenizer, "cls", "sep")
        reading = LabelPrepare("source", length // 2, "class", cls, sep, sep, types)
        width = config.width if self.mlp else None
        prepare = ContrastPrepare(reading, end=tokenizer.specials.eos, channels=self.channels)
        return Contrast(prepare, pool=self.pool, temperature=self.temperature, width=width, std=config.init)

    def tokens(self, length: int) -> int:
        return length // 2 - 2

    def stream(self, shards: Shards, length: int, seed: int) -> ShardStream:
        return SentenceStream(shards, self.tokens(length), seed, shortest=self.shortest)

    def check(self, config: TransformerConfig) -> None:
        super().check(config)
        need_dropout(config)

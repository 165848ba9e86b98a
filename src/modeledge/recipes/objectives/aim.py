"""What a kind of `[objective]` says: its fields, the bodies it fits, and the objective and the stream it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import PrivateAttr

from modeledge.config import Settings
from modeledge.corpus.pack import How
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream, TokenStream
from modeledge.errors import ModeledgeError
from modeledge.generate import Way
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.facts import Facts
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective, Prepare
from modeledge.objectives.form import Kind
from modeledge.objectives.schedule import Number, Scheduled, Shortened, ends, unfit
from modeledge.recipes.objectives.following import check_course, lengths, no_lengths
from modeledge.tokens import Tokenizer
from modeledge.tokens.train import SPECIALS

Body = Literal["encoder", "decoder", "encoder-decoder"]


def body_of(config: Facts) -> Body:
    """Which towers a model has."""
    if config.both:
        return "encoder-decoder"
    return "encoder" if config.encoder is not None else "decoder"


class Aim(Settings, ABC):
    """One kind of pre-training. A subclass has a field `kind: Literal["…"]` and those that its objective takes.

    `bodies` are the towers that it can train. An example of the stream has `tokens(length)` tokens, so that what the
    objective makes of it fills a row of `length`; documents with fewer than `shortest` tokens left are counted and left
    out. `forms` are those that one text can be laid out in, where the recipe may choose (`form = "…"`); `needs` is what
    a body must have beside its towers.
    `shared` is how many tokens of the next part a part of a shortened example reads (`Shortened`); `None` where
    examples of this kind cannot be shorter for a while.
    A curriculum lets `numbers` of an aim and the length of its texts follow the run (`following`, `shorter`, `follow`).
    """

    bodies: ClassVar[frozenset[Body]]
    forms: ClassVar[frozenset[Kind]] = frozenset()
    needs: ClassVar[str] = ""
    shortest: ClassVar[int] = 2
    shared: ClassVar[int | None] = None
    blends: ClassVar[bool] = True  # may it be a part of a blend, whose parts read one batch alike?
    kind: str
    _courses: Mapping[str, Number] = PrivateAttr(default_factory=dict)
    _length: Number | None = PrivateAttr(default=None)

    @property
    def numbers(self) -> Mapping[str, str]:
        """The keys whose numbers may follow the run, and where each stands in what prepares an example: probabilities,
        shares and mean lengths, never ids."""
        return {}

    def following(self, courses: Mapping[str, Number], where: str = "curriculum.numbers") -> Self:
        """The aim with numbers that follow the run, by their keys. Raises `E-CONFIG-KEY` for one that cannot,
        `E-CONFIG-VALUE` for a value that its key cannot have."""
        if not courses:
            return self
        for key in courses:
            if key not in self.numbers:
                raise unfit(key, self.numbers, f"{where}.{key}")
        check_course(self, courses, where)
        told = self.model_copy()
        told._courses = courses
        return told

    def shorter(self, length: Number, where: str = "curriculum.length") -> Self:
        """The aim whose texts have a length, in positions, that follows the run. Raises `E-CONFIG` where they cannot,
        `E-CONFIG-VALUE` for lengths that hold too little."""
        if self.shared is None:
            raise no_lengths(self.kind, where)
        if round(min(ends(length))) < self.least_part:
            what = f"a length of {min(ends(length)):g} holds too little for objective {self.kind!r}"
            remedy = f"give lengths from {self.least_part}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=remedy)
        told = self.model_copy()
        told._length = length
        return told

    def follow(self, objective: Objective) -> None:
        """Let what prepares the examples of this aim's objective follow the run."""
        if self._courses:
            paths = self.numbers
            fields = tuple((paths[key], number) for key, number in self._courses.items())
            objective.prepare = Scheduled(objective.prepare, fields)
        if self._length is not None:
            objective.prepare = self.parted(objective.prepare, self._length)

    def parted(self, prepare: Prepare, length: Number) -> Prepare:
        """What prepares examples, in parts of a length that follows the run."""
        assert self.shared is not None, "shorter() refuses"
        return Shortened(prepare, length, self.shared, self.frame, self.shortest - self.shared)

    @property
    def frame(self) -> int:
        """The most positions that a part has beside those of its text, where each has as many (`shared`)."""
        return (self.shared or 0) - self.tokens(0)

    @property
    def least_part(self) -> int:
        """The fewest positions of a part: what is too short at the end of a text takes tokens of the part before."""
        return self.frame + 2 * (self.shortest - (self.shared or 0)) - 1

    def ever(self, key: str) -> bool:
        """Is this number above 0 anywhere in the run?"""
        return max(ends(self._courses.get(key, getattr(self, key)))) > 0

    @property
    def channels(self) -> frozenset[str]:
        """What the corpus must say of each token beside its id, as the `Prepare` of the objective asks: see
        `corpus.channels`. A corpus that is built for this objective gets them; ready shards must have them."""
        return frozenset()

    @property
    def cut(self) -> How:
        """How the corpus is cut into examples: through its documents as if they were one, or each for itself."""
        return "split"

    def writes(self, config: Facts) -> Way | None:
        """How the trained model is asked for text, where its towers alone do not say it."""
        return None

    @abstractmethod
    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        """The objective with this tokenizer's special tokens, for rows of `length`."""

    def on(self, model: Backbone, tokenizer: Tokenizer) -> Self:
        """The aim for this model and tokenizer, where it must know them before it cuts the stream."""
        return self

    def reserves(self, length: int) -> tuple[str, ...]:
        """Special tokens beside those of the usual roles: a tokenizer that is trained for this objective, and rows of
        `length`, gets them."""
        return ()

    def tokens(self, length: int) -> int:
        """How many tokens of a document make an example of `length`."""
        return length

    def fitting(self, length: int) -> int:
        """The same at every length that texts have in the course of the run: a row holds what stands around each part
        of an example, and nothing is dropped."""
        whole = self.tokens(length)
        if self._length is None or self.shared is None:
            return whole
        least, room = self.shortest - self.shared, whole
        for part in lengths(self._length):
            if part < length:
                full, rest = divmod(length, part)
                left = rest - self.frame
                room = min(room, full * (part - self.frame) + (left if left >= least else 0) + self.shared)
        return room

    def check_length(self, length: int) -> None:
        """Refuse rows of `length` that leave an example too short (`E-CONFIG-VALUE`)."""
        room = self.fitting(length)
        if room < self.shortest:
            what = f"objective {self.kind!r} has room for {max(room, 0)} tokens of text in a row of {length}"
            why = f"an example of it has at least {self.shortest}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="train.length", why=why, remedy="raise it")

    def check_corpus(self, shards: Shards) -> None:
        """Refuse a corpus that has nothing of what the objective changes or asks for (`E-NO-TARGET`)."""

    def stream(self, shards: Shards, length: int, seed: int) -> ShardStream:
        """The examples of a corpus in their order."""
        return TokenStream(shards, self.fitting(length), seed, self.cut, shortest=self.shortest)

    def take_up(
        self, objective: Objective, model: Transformer, folder: Path, grow: Callable[[Transformer], None]
    ) -> str:
        """Go on from what `beside` wrote into the folder of the run whose model this one was; a note says whether.

        `grow` gives a model of that run the rows that the vocabulary has gained since.
        """
        return ""

    def beside(self, model: Transformer, objective: Objective, tokenizer: Tokenizer, folder: Path) -> None:
        """Write into the run's folder what was trained beside the model; with most objectives that is nothing."""

    def check(self, config: TransformerConfig) -> None:
        """Refuse a model with other towers (`E-CONFIG`)."""
        body = body_of(config)
        if body not in self.bodies:
            what = f"objective {self.kind!r} does not fit this model: it has the towers of {_a(body)}"
            remedy = f"choose {' or '.join(_a(b) for b in sorted(self.bodies))}, or another objective"
            raise ModeledgeError("E-CONFIG", what, where="objective.kind", remedy=remedy)


def needed(tokenizer: Tokenizer, *roles: str) -> tuple[int, ...]:
    """The ids of special tokens by role; all that are missing are named, and the key that adds them
    (`E-SPECIAL-TOKEN`)."""
    names = tokenizer.names
    missing = [role for role in roles if getattr(tokenizer.specials, role) is None]
    if missing:
        ends = {} if names.get("bos") == names.get("eos") else {"cls": names.get("bos"), "sep": names.get("eos")}
        spelled = ", ".join(f'{role} = "{ends.get(role) or SPECIALS[role]}"' for role in missing)
        what = f"the tokenizer has no {' token and no '.join(missing)} token"
        remedy = f"set tokenizer.specials = {{{spelled}}}: what is missing is added"
        raise ModeledgeError("E-SPECIAL-TOKEN", what, where="objective.kind", remedy=remedy)
    return tuple(tokenizer.need(role) for role in roles)


def _a(body: str) -> str:
    return f"{'an' if body[0] == 'e' else 'a'} {body}"

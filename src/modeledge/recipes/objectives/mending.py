"""What all kinds of pre-training say that damage a text and learn to mend it: the form, and how much of a text fits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from modeledge.errors import ModeledgeError
from modeledge.families import start_of
from modeledge.generate import Way
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.facts import Facts
from modeledge.objectives import Damage, Denoise, DenoisePrepare, Form, Objective, most_tokens
from modeledge.objectives.form import Kind, Sizes
from modeledge.objectives.schedule import ends
from modeledge.recipes.objectives.aim import Aim, Body, body_of, needed
from modeledge.recipes.objectives.following import grid
from modeledge.tasks.writing import around, end_of, starting
from modeledge.tokens import Tokenizer, sentinel_names
from modeledge.tokens.sentinels import USUAL


@dataclass(frozen=True)
class Signs:
    """The ids that a damage needs of a tokenizer; the default is for counting alone."""

    sentinels: tuple[int, ...] = ()
    mask: int = 0
    modes: tuple[int | None, ...] = ()
    vocab: int = 2
    specials: tuple[int, ...] = ()


class Mending(Aim):
    """The three forms of one objective, by the model's body.

    An encoder–decoder reads the inputs and writes the targets. A decoder reads both in one piece: by default as a
    prefix LM, with `form = "causal"` from left to right, which may learn the inputs too (`whole`). `start` is the id
    that the decoder of two begins with, where neither the model's file nor the tokenizer should say. Special tokens
    stand where fine-tuning puts them. `sized` is the key of the share by which inputs and targets have their lengths;
    where it follows the run, an example fits its row at every value.
    """

    form: Kind | None = None
    whole: bool = False
    start: int | None = Field(default=None, ge=0)
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder", "encoder-decoder"})
    forms: ClassVar[frozenset[Kind]] = frozenset({"causal", "prefix", "encoder-decoder"})
    sized: ClassVar[str] = ""
    _form: Form | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _both_ways(self) -> Self:
        if self.whole and self.form != "causal":
            raise ValueError('whole is for form = "causal": what is read both ways is seen where it would be guessed')
        return self

    @abstractmethod
    def damage(self, signs: Signs) -> Damage:
        """The noise, with these ids."""

    def signs(self, tokenizer: Tokenizer) -> Signs:
        """The ids that the noise needs, of this tokenizer (`E-SPECIAL-TOKEN`)."""
        sentinels = tokenizer.sentinels
        specials = (*tokenizer.specials.ids(), *sentinels)
        return Signs(sentinels, vocab=tokenizer.vocab_size, specials=specials)

    def laid(self, model: Backbone, tokenizer: Tokenizer, kind: Kind) -> Form:
        """How an example is laid out for this model."""
        both = kind == "encoder-decoder"
        named = self.start if self.start is not None else start_of(model)
        start = starting(tokenizer, named) if both else ()
        first, between = around(tokenizer, both)
        return Form(kind, start, first, between, (end_of(tokenizer),), self.whole)

    def writes(self, config: Facts) -> Way | None:
        """A decoder that has read what is given both ways is asked so."""
        return "prefix" if not config.both and self.form in (None, "prefix") else None

    def on(self, model: Backbone, tokenizer: Tokenizer) -> Self:
        body = body_of(model.config)
        kind: Kind = self.form or ("encoder-decoder" if body == "encoder-decoder" else "prefix")
        if (kind == "encoder-decoder") != (body == "encoder-decoder"):
            what, remedy = f"form {kind!r} does not fit this model: it has the towers of {body}", "leave the form out"
            raise ModeledgeError("E-CONFIG", what, where="objective.form", remedy=remedy)
        if self.start is not None and kind != "encoder-decoder":
            what = f"start is {self.start}, and a decoder alone begins with the text"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="objective.start", remedy="leave it out")
        known = self.model_copy()
        known._form = self.laid(model, tokenizer, kind)
        return known

    def tokens(self, length: int) -> int:
        assert self._form is not None, "how much of a text fits depends on the model and the tokenizer: ask on() first"
        return self._most(self._form, length)

    def reserves(self, length: int) -> tuple[str, ...]:
        """Sentinels, T5's hundred or what the longest example may need."""
        needed = self._needs(self._most(Form("encoder-decoder", (0,)), length), length)
        return sentinel_names(max(needed, USUAL)) if needed else ()

    def _damages(self, length: int) -> list[Damage]:
        """The noise as it is in the course of a run with rows of `length`, by the room it takes: at every share (a text
        has no more than twice the tokens of its row), and with the shortest spans, which are the most."""
        least = {"mean": min(ends(self._courses["mean"]))} if "mean" in self._courses else {}
        moving = self._courses.get(self.sized)
        shares = [{}] if moving is None else [{self.sized: value} for value in grid(moving, 2 * length)]
        return [self.model_copy(update={**least, **share}).damage(Signs()) for share in shares]

    def _most(self, form: Form, length: int) -> int:
        damages = self._damages(length)

        def sizes(tokens: int) -> Sizes:
            return [size for damage in damages for size in damage.sizes(tokens)]

        return most_tokens(sizes, form, length)

    def _needs(self, tokens: int, length: int) -> int:
        """The most sentinels that a text of so many tokens asks for."""
        return max(damage.needs(tokens) for damage in self._damages(length))

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        assert self._form is not None, "the form depends on the model: ask on() first"
        damage = self.damage(self.signs(tokenizer))
        self._enough(self._needs(self.tokens(length), length), len(tokenizer.sentinels))
        return Denoise(DenoisePrepare(self._form, damage))

    def _enough(self, number: int, there: int) -> None:
        """Refuse a tokenizer with too few sentinels (`E-SPECIAL-TOKEN`)."""
        if number > there:
            what = f"objective {self.kind!r} may need {number} sentinels <extra_id_0> …, the tokenizer has {there}"
            remedy = f"set tokenizer.sentinels = {number}: a tokenizer that is given gains those that it lacks"
            if there:
                remedy += "; or shorten train.length, or hide fewer spans"
            raise ModeledgeError("E-SPECIAL-TOKEN", what, where="tokenizer", remedy=remedy)


def mask_of(tokenizer: Tokenizer) -> int:
    """The mask, or where there is none the first sentinel, as T5 has it (`E-SPECIAL-TOKEN`)."""
    if tokenizer.specials.mask is None and tokenizer.sentinels:
        return tokenizer.sentinels[0]
    return needed(tokenizer, "mask")[0]

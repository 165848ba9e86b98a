"""Prompt tuning: a few learned vectors in the place of a prompt's token embeddings, and nothing else moves.

A prompt in words is searched over tokens; Lester, Al-Rfou and Constant (2021, arXiv 2104.08691) let it be any `length`
vectors P ∈ R^{length × width} and maximise p(y | [P; X]) over P alone (section 2), before the encoder's input where
there is one. The gap to full fine-tuning closes as models grow. Of the starts (section 3.2) `random` is uniform in
[−0.5, 0.5], `vocabulary` takes the embeddings of tokens drawn from the table, `labels` those of the classes' names, one
position a class, the mean where a name has several tokens, and the table for the positions that are left; `text`, as
the PEFT library has it, those of a text that is cut or repeated to the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_name, check_text
from modeledge.adapt.leading import Leading, generator_of, table_of
from modeledge.errors import ModeledgeError
from modeledge.model.lead import Lead
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

STARTS = ("vocabulary", "random", "text", "labels")
POOLED = ("token", "prompt")
UNIFORM = 0.5  # Lester et al. 2021, section 3.2


class Prompt(Lead):
    """`embedding.weight [length, width of the table]`."""

    def __init__(self, length: int, width: int, *, leads: bool = False) -> None:
        super().__init__()
        self.tokens, self.leads = length, leads
        self.embedding = nn.Embedding(length, width)

    def vectors(self) -> Tensor:
        return self.embedding.weight[None]


@dataclass(frozen=True)
class PromptTuning(Leading):
    """`length` trained vectors before each example's tokens.

    `ids` are the token ids of each position for the starts `text` (one each) and `labels` (one or more); a recipe
    makes them out of its `text`, or of the names of the task's classes. `pooled` says what a head that reads the first
    state of an example reads: that of its first token ([CLS]), or, as in the PEFT library, of the first vector.
    """

    length: int = 20
    start: Literal["vocabulary", "random", "text", "labels"] = "vocabulary"
    text: str = ""
    ids: tuple[tuple[int, ...], ...] = ()
    pooled: Literal["token", "prompt"] = "token"
    name: str = "default"
    kind: ClassVar[str] = "prompt"

    def __post_init__(self) -> None:
        check_name(self.name, f"strategies.{self.kind}.name")
        check_count(f"{self.kind}.length", self.length, 1)
        check_choice(f"{self.kind}.start", self.start, STARTS)
        check_choice(f"{self.kind}.pooled", self.pooled, POOLED)
        check_text(f"{self.kind}.text", self.text)
        object.__setattr__(self, "ids", grouped(self.ids, f"strategies.{self.kind}.ids"))
        if self.text and self.start != "text":
            what = f"a text is given, but the start is {self.start!r}"
            raise ModeledgeError("E-CONFIG", what, where=f"strategies.{self.kind}.text", remedy='set start = "text"')

    @property
    def reserve(self) -> int:  # type: ignore[override]
        """One position a vector."""
        return self.length

    def build(self, model: Transformer) -> Lead:
        return Prompt(self.length, model.tokens.shape[1], leads=self.pooled == "prompt")

    def begin(self, lead: Lead, model: Transformer, noise: Noise) -> None:
        assert isinstance(lead, Prompt)
        begin_table(lead.embedding.weight, self, model, noise)


def begin_table(weight: Tensor, asked: PromptTuning, model: Transformer, noise: Noise) -> None:
    """Fill the vectors `[length, width]` as `start` says; ids that the model has not are `E-CONFIG-VALUE`."""
    length, table = len(weight), table_of(model)
    if asked.start == "random":
        weight.copy_(torch.empty(weight.shape).uniform_(-UNIFORM, UNIFORM, generator=generator_of(noise, "random")))
        return
    drawn = torch.randint(len(table), (length,), generator=generator_of(noise, "vocabulary")).tolist()
    groups: Sequence[Sequence[int]] = [(token,) for token in drawn]
    if asked.start in ("text", "labels"):
        check_ids(asked, len(table))
        repeats = -(-length // len(asked.ids)) if asked.start == "text" else 1
        told = list(asked.ids * repeats)[:length]
        groups = [*told, *groups[len(told) :]]
    for row, ids in enumerate(groups):
        weight[row] = table[torch.tensor(ids, device=table.device)].mean(0)


def grouped(ids: Any, where: str) -> tuple[tuple[int, ...], ...]:
    """The ids of each position as tuples; anything but a list of lists is `E-CONFIG-VALUE`."""
    if not (isinstance(ids, list | tuple) and all(isinstance(group, list | tuple) for group in ids)):
        remedy = "give a list of the ids of each position: [[3], [4, 5]]"
        raise ModeledgeError("E-CONFIG-VALUE", f"{ids!r} are no ids of positions", where=where, remedy=remedy)
    return tuple(tuple(group) for group in ids)


def check_ids(asked: PromptTuning, vocab: int) -> None:
    """There are ids, and they are the model's."""
    where = f"strategies.{asked.kind}.ids"
    if not asked.ids or not all(asked.ids):
        what = f"the start {asked.start!r} needs the ids of its tokens"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy="give a text in a recipe, or the ids")
    wrong = [token for ids in asked.ids for token in ids if type(token) is not int or not 0 <= token < vocab]
    if wrong:
        raise ModeledgeError("E-CONFIG-VALUE", f"{wrong[0]!r} is none of the {vocab:,} ids of the model", where=where)

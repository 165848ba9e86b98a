"""Dialogue: the turns so far → the next one (Zhang et al. 2018, arXiv 1801.07243; ConvAI2: Dinan et al. 2019).

Marked as in ConvAI2: word F1 of the reply that is written, hits@1 among candidates where the rows have some, and
perplexity. Perplexities of models with different tokenizers compare only when the nats are divided by the tokens of one
named tokenizer: the nats of each row stand in `Answer.details`, for `metrics.perplexity_renormalised` with
`reference_lengths`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.records import Example
from modeledge.tasks.candidates import candidate_scores, relevance, with_candidates
from modeledge.tasks.columns import field_of, text_of, texts_of
from modeledge.tasks.task import Answer, Row
from modeledge.tasks.write import WriteTask
from modeledge.tokens import Tokenizer


class Dialogue(WriteTask):
    """`source` is the history, a list of turns (or one text), `target` the reply; `candidates` a list of replies. A
    history that is too long loses its oldest turns' tokens."""

    kind: ClassVar[str] = "dialogue"
    card: ClassVar[str] = "text-generation"
    optional: ClassVar[tuple[str, ...]] = ("candidates",)
    usual: ClassVar[tuple[str, ...]] = ("word_f1",)
    defaults: ClassVar[Mapping[str, Any]] = {"cut": "start", "ask": "{source}\n"}

    def source_of(self, row: Row, number: int) -> str:
        """The turns, each on a line of its own."""
        column = self.columns["source"]
        if isinstance(field_of(row, column, number), str):
            return text_of(row, column, number)
        turns = texts_of(row, column, number)
        return text_of({**row, column: "\n".join(turns)}, column, number)

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        found = super().encode(rows, labelled=labelled)
        column = self.columns.get("candidates")
        return found if column is None else with_candidates(found, rows, column, self.tokenizer)

    def reply(self, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
        """The reply that is written; `probabilities` are then the candidates' scores (mean log-probabilities)."""
        told = super().reply(model, examples, size)
        if "candidates" not in self.columns:
            return told
        scores = candidate_scores(self, model, examples)
        return [replace(answer, probabilities=found) for answer, found in zip(told, scores, strict=True)]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Word F1 and the loss; hits@1, which is recall@1 with one right candidate, where there are candidates."""
        found = super().metrics
        return (*found, "recall@1") if "candidates" in self.columns else found

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        if str(METRICS[metric].needs) != "ranking":
            return super().sides(metric, answers, examples)
        told = {answer.index: answer.probabilities for answer in answers}
        return [list(told[example.index]) for example in examples], [relevance(example) for example in examples]


def reference_lengths(examples: Sequence[Example], reference: Tokenizer) -> list[int]:
    """How many tokens the first reference of each example has in another tokenizer, its end counted."""
    return [len(ids) + 1 for ids in reference.encode_batch([example.label[0] for example in examples])]

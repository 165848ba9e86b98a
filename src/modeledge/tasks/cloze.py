"""Filling a gap in a text: the last word of a passage (LAMBADA: Paperno et al. 2016, arXiv 1606.06031), or a span of a
context that belongs where a query has a placeholder (ReCoRD: Zhang et al. 2018, arXiv 1810.12885).

Fine-tuned, the text with its gap is a source and what is missing is written; where a row names candidates, the
likeliest of them is the answer. Prompted, a gap at the end is continued; any other is filled with each candidate, and
the likeliest whole decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.records import Example
from modeledge.tasks.candidates import candidate_scores, with_candidates
from modeledge.tasks.columns import text_of, texts_of, where_of
from modeledge.tasks.task import Answer, Generate, Request, Row, Score
from modeledge.tasks.write import WriteTask

GAPS = ("@placeholder", "[MASK]", "<extra_id_0>", "____")


class Cloze(WriteTask):
    """`source` is a text with one gap (`@placeholder`, `[MASK]`, `<extra_id_0>` or `____`; a text without one ends in
    it), `target` what is missing; `context` stands before it, `candidates` are what may fill it. What is cut is the
    beginning: the gap stands in the query, behind the context."""

    kind: ClassVar[str] = "cloze"
    card: ClassVar[str] = "fill-mask"
    optional: ClassVar[tuple[str, ...]] = ("context", "candidates")
    usual: ClassVar[tuple[str, ...]] = ("exact_match", "f1_answer")
    defaults: ClassVar[Mapping[str, Any]] = {"cut": "start", "max_target": 16}

    def parts_of(self, row: Row, number: int) -> tuple[str, str]:
        """The text before the gap, the context among it, and behind it; two gaps are `E-FIELD-TYPE`."""
        text = text_of(row, self.columns["source"], number)
        gap = next((gap for gap in GAPS if gap in text), None)
        if gap is not None and text.count(gap) > 1:
            what = f"{gap} stands {text.count(gap)} times in the text"
            raise ModeledgeError("E-FIELD-TYPE", what, where=where_of(row, number), remedy="leave one gap a row")
        before, _, behind = text.partition(gap) if gap is not None else (text, "", "")
        column = self.columns.get("context")
        return ("" if column is None else text_of(row, column, number) + "\n") + before, behind

    def source_of(self, row: Row, number: int) -> str:
        """The context, and the text with its gap as the row writes it."""
        text, column = text_of(row, self.columns["source"], number), self.columns.get("context")
        self.parts_of(row, number)
        return text if column is None else f"{text_of(row, column, number)}\n{text}"

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        found = super().encode(rows, labelled=labelled)
        column = self.columns.get("candidates")
        return found if column is None else with_candidates(found, rows, column, self.tokenizer)

    def reply(self, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
        """What is written, or the likeliest candidate (the first of equals)."""
        if "candidates" not in self.columns:
            return super().reply(model, examples, size)
        told = []
        for example, scores in zip(examples, candidate_scores(self, model, examples), strict=True):
            best = str(example.channels["candidates"][scores.index(max(scores))])
            told.append(Answer(example.index, best, scores))
        if any(example.pair is None for example in examples):
            return told
        return [replace(a, details=s) for a, s in zip(told, self.surprise(model, examples), strict=True)]

    def request(self, row: Row) -> Request:
        """Candidates with what follows the gap as choices, or the text before the gap as a prompt."""
        before, behind = self.parts_of(row, 0)
        if "candidates" in self.columns:
            texts = texts_of(row, self.columns["candidates"], 0)
            return Score(before, tuple(text + behind for text in texts), tuple(texts))
        if behind.strip(" .!?\"'"):
            what, remedy = "words stand behind the gap", "name the column of candidates, or fine-tune a model"
            raise ModeledgeError("E-USAGE", what, where=where_of(row, 0), remedy=remedy)
        return Generate(before.rstrip(), self.writing.stop, self.writing.decoding.max_new_tokens)

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """The candidate of the best score, or the text up to where a gap's words end."""
        if isinstance(request, Generate):
            return Answer(index, str(told).strip())
        scores = [float(score) for score in told]
        return Answer(index, request.names[scores.index(max(scores))], tuple(scores))


def without_last_word(text: str) -> dict[str, str]:
    """A LAMBADA passage as a row: `source` without its last word, `target` that word.

    >>> without_last_word("he saw the dog")
    {'source': 'he saw the', 'target': 'dog'}
    """
    before, _, last = text.rstrip().rpartition(" ")
    if not before.strip():
        raise ModeledgeError("E-MISSING-FIELD", "a text of one word has no last word to guess")
    return {"source": before, "target": last}

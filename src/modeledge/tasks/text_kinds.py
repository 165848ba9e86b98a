"""Texts of all kinds as rows of `TASKS`: what differs is the prompt, the marks and what a model card calls it.

The prompts are the ones that the field measured first: "TL;DR:" and `source = target` are those of Radford et al. 2019
(GPT-2, sections 3.6 and 3.7), "Q: … A:" is that of Brown et al. 2020 (appendix G). The prefixes of T5 (Raffel et al.
2020, appendix D: "summarize: ", "translate English to German: ") are an option, `prefix`, because a model that was not
trained on them reads noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from modeledge.tasks.write import WriteTask

TRANSLATED = ("bleu", "chrf")
SUMMARISED = ("rouge1", "rouge2", "rougeL")


class Summarise(WriteTask):
    """A long text → a short one."""

    kind: ClassVar[str] = "summarise"
    card: ClassVar[str] = "summarization"
    usual: ClassVar[tuple[str, ...]] = SUMMARISED
    defaults: ClassVar[Mapping[str, Any]] = {"max_target": 96, "ask": "{source}\n\nTL;DR:"}


class Title(WriteTask):
    """A text → its title."""

    kind: ClassVar[str] = "title"
    card: ClassVar[str] = "summarization"
    usual: ClassVar[tuple[str, ...]] = SUMMARISED
    defaults: ClassVar[Mapping[str, Any]] = {"max_target": 32, "ask": "{source}\n\nTitle:"}


class Translate(WriteTask):
    """A sentence → the same in another language."""

    kind: ClassVar[str] = "translate"
    card: ClassVar[str] = "translation"
    usual: ClassVar[tuple[str, ...]] = TRANSLATED
    defaults: ClassVar[Mapping[str, Any]] = {"ask": "{source} ="}


class DataToText(WriteTask):
    """A table, a record or a meaning, written as text → a sentence that says it."""

    kind: ClassVar[str] = "data-to-text"
    card: ClassVar[str] = "table-to-text"
    usual: ClassVar[tuple[str, ...]] = TRANSLATED
    defaults: ClassVar[Mapping[str, Any]] = {"ask": "Data: {source}\nText:"}


class ClosedBook(WriteTask):
    """A question → its answer, out of the weights alone (Roberts et al. 2020, arXiv 2002.08910)."""

    kind: ClassVar[str] = "closed-book"
    card: ClassVar[str] = "question-answering"
    usual: ClassVar[tuple[str, ...]] = ("exact_match", "f1_answer")
    defaults: ClassVar[Mapping[str, Any]] = {"max_target": 32, "ask": "Q: {source}\nA:"}

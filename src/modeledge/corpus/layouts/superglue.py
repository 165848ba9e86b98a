"""SuperGLUE (Wang et al. 2019, 1905.00537): eight tasks, one JSON object a line.

Labels of the files are kept (`true` becomes "true"). Two tasks need a place inside a text, and T5 (Raffel et al. 2020,
1910.10683, appendix D) showed how to say it in words alone: WSC's pronoun stands between asterisks and the answer is
the noun; WiC's word stands in front. These forms are columns of their own, beside the files' offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeledge.corpus.layouts.answers import check_answer
from modeledge.corpus.layouts.inference import pair_rows
from modeledge.corpus.layouts.layout import (
    Convert,
    Kind,
    Layout,
    Row,
    Tally,
    below,
    each,
    files,
    named_label,
    need,
)
from modeledge.corpus.layouts.opened import objects
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError

BOOLEAN = ("false", "true")
_FILES = files({"train": "train", "dev": "val", "test": "test"}, suffix=".jsonl")


def _boolq(row: Row, tally: Tally) -> Row:
    need(row, "question"), need(row, "passage")
    return _labelled(row, tally)


def _labelled(row: Row, tally: Tally, labels: Sequence[str] = BOOLEAN) -> Row:
    """The row with its label by name; without one in a split that has none."""
    if tally.asked.labelled:
        row["label"] = named_label(row, "label", labels)
    else:
        row.pop("label", None)
    return row


def _copa(row: Row, tally: Tally) -> Row:
    row["choices"] = [need(row, "choice1"), need(row, "choice2")]
    joints = {"cause": "because", "effect": "so"}
    question = need(row, "question")
    if question not in joints:
        what = f"field 'question' is {question!r:.40}, neither 'cause' nor 'effect'"
        raise ModeledgeError("E-LABEL-UNKNOWN", what, where=row["__where__"])
    row["connective"] = joints[question]
    need(row, "premise")
    _labelled(row, tally, ("0", "1"))
    if "label" in row:
        row["label"] = int(row["label"])
    return row


def _multirc(row: Row, tally: Tally) -> list[Row]:
    """A row for each answer of each question: true or false."""
    passage = below(row, need(row, "passage", dict), "passage")
    rows = []
    for i, raw in enumerate(need(passage, "questions", list)):
        question = below(passage, raw, f"questions[{i}]")
        for j, option in enumerate(need(question, "answers", list)):
            answer = below(question, option, f"answers[{j}]")
            made: Row = {
                "passage": need(passage, "text"),
                "question": need(question, "question"),
                "answer": need(answer, "text"),
                "id": f"{row.get('idx', '')}-{question.get('idx', i)}-{answer.get('idx', j)}",
                "group": f"{row.get('idx', '')}-{question.get('idx', i)}",
                "__where__": answer["__where__"],
            }
            if tally.asked.labelled:
                made["label"] = named_label(answer, "label", ("0", "1"))
            rows.append(made)
    return rows


def _record(row: Row, tally: Tally) -> list[Row]:
    """A row for each query: which entity of the passage goes where `@placeholder` stands."""
    passage = below(row, need(row, "passage", dict), "passage")
    text: str = need(passage, "text")
    entities = [
        text[need(spot, "start", int) : need(spot, "end", int) + 1]  # the last character is counted in
        for i, raw in enumerate(need(passage, "entities", list))
        for spot in [below(passage, raw, f"entities[{i}]")]
    ]
    choices, rows = list(dict.fromkeys(entities)), []
    for i, raw in enumerate(need(row, "qas", list)):
        query = below(row, raw, f"qas[{i}]")
        made: Row = {
            "passage": text,
            "query": need(query, "query"),
            "choices": choices,
            "id": f"{row.get('idx', '')}-{query.get('idx', i)}",
            "__where__": query["__where__"],
        }
        if tally.asked.labelled:
            made["answers"] = _right_entities(query, text)
            known = [choices.index(answer) for answer in made["answers"] if answer in choices]
            if not known:
                what = f"none of the answers {made['answers'][:3]!r} is an entity of the passage"
                raise ModeledgeError("E-ANSWER-MISMATCH", what, where=query["__where__"])
            made["label"] = known[0]
        rows.append(made)
    return rows


def _right_entities(query: Row, text: str) -> list[str]:
    right = []
    for i, raw in enumerate(need(query, "answers", list)):
        answer = below(query, raw, f"answers[{i}]")
        check_answer(text, need(answer, "text"), need(answer, "start", int), answer["__where__"])
        right.append(answer["text"])
    if not right:
        raise ModeledgeError("E-ANSWER-MISSING", "the query has no answer", where=query["__where__"])
    return list(dict.fromkeys(right))


def _wic(row: Row, tally: Tally) -> Row:
    first, second, word = need(row, "sentence1"), need(row, "sentence2"), need(row, "word")
    row["source"] = f"sentence1: {first} sentence2: {second} word: {word}"
    return _labelled(row, tally)


def _wsc(row: Row, tally: Tally) -> Row:
    text: str = need(row, "text")
    target = below(row, need(row, "target", dict), "target")
    pronoun, place = need(target, "span2_text"), need(target, "span2_index", int)
    words, count = text.split(" "), len(pronoun.split(" "))
    if not 0 <= place <= len(words) - count:
        what = f"word {place} is asked for, and the text has {len(words)}"
        raise ModeledgeError("E-ANSWER-MISMATCH", what, where=target["__where__"])
    there = " ".join(words[place : place + count])
    if not there.lower().strip(".,;:!?'\"").startswith(pronoun.lower().strip(".,;:!?'\"")):
        tally.note("pronoun that is not the word at its index; the index counts, kept", row["__where__"])
    row["marked"] = " ".join([*words[:place], f"*{there}*", *words[place + count :]])
    row["pronoun"], row["noun"] = pronoun, need(target, "span1_text")
    return _labelled(row, tally)


def _layout(name: str, task: Kind, roles: dict[str, str], shape: Convert, template: Template, **more: Any) -> Layout:
    return Layout(
        name=name,
        task=task,
        roles=roles,
        convert=shape,
        template=template,
        open=objects(more.pop("needed", ())),
        form="jsonl",
        unlabelled=frozenset({"test"}),
        **{"files": _FILES, "metrics": ("accuracy",), "words": (name,), "marks": frozenset(roles.values()), **more},
    )


_YES = {"false": " No", "true": " Yes"}
_PAIR = {"text": "premise", "pair": "hypothesis", "label": "label"}
_RTE_WORDS = {"entailment": " True", "not_entailment": " False"}
_CB_WORDS = {"entailment": " True", "contradiction": " False", "neutral": " Neither"}
_WIC_TEXT = "{sentence1}\n{sentence2}\nQuestion: Is the word {word} used in the same sense in both sentences?\nAnswer:"
_WSC_TEXT = "{marked}\nQuestion: Does the pronoun *{pronoun}* stand for {noun}?\nAnswer:"

BOOLQ = _layout(
    "boolq",
    "classification",
    {"text": "question", "pair": "passage", "label": "label"},
    each(_boolq),
    Template("{pair}\nQuestion: {text}?\nAnswer:", _YES),
    labels=BOOLEAN,
)
CB = _layout(
    "cb",
    "classification",
    _PAIR,
    pair_rows("premise", "hypothesis", "label", tuple(_CB_WORDS)),
    Template("{text}\nQuestion: {pair} True, False, or Neither?\nAnswer:", _CB_WORDS),
    labels=tuple(_CB_WORDS),
    metrics=("f1_macro", "accuracy"),
)
COPA = _layout(
    "copa",
    "choice",
    {"text": "premise", "choices": "choices", "label": "label"},
    each(_copa),
    Template("{text} {connective}"),
    marks=frozenset({"premise", "choice1", "choice2", "question"}),
)
MULTIRC = _layout(
    "multirc",
    "classification",
    {"text": "passage", "pair": "question", "answer": "answer", "group": "group", "label": "label"},
    each(_multirc),
    Template("{text}\nQuestion: {pair}\nAnswer: {answer}\nIs this answer right?", {"0": " No", "1": " Yes"}),
    labels=("0", "1"),
    metrics=("f1", "exact_match"),
    marks=frozenset({"passage", "passage.questions"}),
)
RECORD = _layout(
    "record",
    "choice",
    {"text": "passage", "pair": "query", "choices": "choices", "label": "label", "answers": "answers", "id": "id"},
    each(_record),
    Template("{text}\n{pair}\nWhat stands for @placeholder?\nAnswer:"),
    metrics=("f1_answer", "exact_match"),
    marks=frozenset({"passage", "qas"}),
)
SUPERGLUE_RTE = _layout(
    "superglue_rte",
    "classification",
    _PAIR,
    pair_rows("premise", "hypothesis", "label", tuple(_RTE_WORDS)),
    Template("{text}\nQuestion: {pair} True or False?\nAnswer:", _RTE_WORDS),
    labels=tuple(_RTE_WORDS),
    words=("rte",),
)
WIC = _layout(
    "wic",
    "classification",
    {"text": "sentence1", "pair": "sentence2", "word": "word", "source": "source", "label": "label"},
    each(_wic),
    Template(_WIC_TEXT, _YES),
    labels=BOOLEAN,
    marks=frozenset({"word", "sentence1", "sentence2"}),
)
WSC = _layout(
    "wsc",
    "classification",
    {"text": "marked", "pair": "noun", "source": "marked", "target": "noun", "label": "label"},
    each(_wsc),
    Template(_WSC_TEXT, _YES),
    labels=BOOLEAN,
    marks=frozenset({"text", "target", "target.span2_index"}),
)
AX_B = _layout(
    "superglue_ax_b",
    "classification",
    {"text": "sentence1", "pair": "sentence2", "label": "label"},
    pair_rows("sentence1", "sentence2", "label", tuple(_RTE_WORDS)),
    SUPERGLUE_RTE.template,
    labels=tuple(_RTE_WORDS),
    files=files({"dev": "AX-b.jsonl"}),
    metrics=("matthews",),
    words=("axb",),
)
AX_G = _layout(
    "superglue_ax_g",
    "classification",
    _PAIR,
    pair_rows("premise", "hypothesis", "label", tuple(_RTE_WORDS)),
    SUPERGLUE_RTE.template,
    labels=tuple(_RTE_WORDS),
    files=files({"dev": "AX-g.jsonl"}),
    words=("axg",),
)
SUPERGLUE = (BOOLQ, CB, COPA, MULTIRC, RECORD, SUPERGLUE_RTE, WIC, WSC, AX_B, AX_G)

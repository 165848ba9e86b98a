"""GLUE (Wang et al. 2019, 1804.07461): nine tasks and their diagnostics, as the benchmark's own tsv files.

All have quoting off. CoLA has no header (its test split has one); MRPC also comes as Microsoft's own two files, and
STS-B's label is a number. Test splits have no labels: their answers go to the benchmark's site. A few rows of QQP are
broken off in the middle in the files that everyone has; they are quarantined and counted, not mended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modeledge.corpus.layouts.layout import Asked, Drop, Layout, Row, Tally, each, files, named_label, need
from modeledge.corpus.layouts.opened import table
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError

NO_GOLD = "no gold label: the annotators disagree ('-')"
YES_NO = {"0": " No", "1": " Yes"}
ENTAILED = {"entailment": " True", "not_entailment": " False"}
THREE_WAY = {"entailment": " True", "neutral": " Neither", "contradiction": " False"}
_SPLITS: Mapping[str, str | Sequence[str]] = {"train": "train", "dev": "dev", "test": "test"}
TEST = frozenset({"test", "test_matched", "test_mismatched"})


def _layout(name: str, text: str, pair: str | None, label: str, template: Template, **more: Any) -> Layout:
    """A GLUE row: one text or two, and a label where the split has one. Fields stay as they are in the file."""
    labels: tuple[str, ...] = more.pop("labels", ())
    value = more.pop("task", "classification") == "regression"
    columns, spare = more.pop("columns", None), more.pop("spare_short_rows", False)
    texts = [text, *([pair] if pair else [])]

    def shape(row: Row, tally: Tally) -> Row | Drop:
        if not tally.asked.labelled:
            row.pop(label, None)
        elif value:
            row[label] = score(row, label)
        elif row.get(label) == "-":
            return Drop(NO_GOLD)
        else:
            row[label] = named_label(row, label, labels)
        return row

    needed = [] if columns else texts
    return Layout(
        name=name,
        task="regression" if value else "classification",
        roles={"text": text, **({"pair": pair} if pair else {}), "label": label},
        labels=labels,
        template=template,
        open=table("tsv", needed, label=label, columns=columns, spare_short_rows=spare),
        convert=each(shape),
        form="tsv",
        **{
            "files": files(_SPLITS, suffix=".tsv"),
            "unlabelled": TEST,
            "marks": frozenset([*texts, label]),
            "metrics": ("accuracy",),
            **more,
        },
    )


def score(row: Mapping[str, Any], column: str) -> float:
    """A label that is a number. Raises `E-LABEL-MISSING`, `E-LABEL-TYPE`, `E-NOT-FINITE`."""
    value, where = need(row, column, (str, int, float)), str(row.get("__where__", ""))
    if not str(value).strip():
        raise ModeledgeError("E-LABEL-MISSING", f"field {column!r} is empty", where=where)
    try:
        number = float(value)
    except ValueError as error:
        raise ModeledgeError("E-LABEL-TYPE", f"field {column!r}: {value!r:.40} is not a number", where=where) from error
    if number - number != 0.0:
        raise ModeledgeError("E-NOT-FINITE", f"field {column!r} is {number}", where=where)
    return number


def _cola_columns(asked: Asked) -> tuple[str, ...] | None:
    return ("source", "label", "mark", "sentence") if asked.labelled else None


COLA = _layout(
    "cola",
    "sentence",
    None,
    "label",
    Template("{text}\nQuestion: Is this sentence good English?\nAnswer:", YES_NO),
    labels=("0", "1"),
    metrics=("matthews",),
    columns=_cola_columns,
    marks=frozenset(),
    suits=lambda start: bool(
        re.match(r"\w+\t[01]\t[*?#]*\t[^\t\n]+\n", start) or start.startswith("index\tsentence\n")
    ),
    words=("cola",),
)
SST2 = _layout(
    "sst2",
    "sentence",
    None,
    "label",
    Template("{text}\nQuestion: Is this review positive or negative?\nAnswer:", {"0": " negative", "1": " positive"}),
    labels=("0", "1"),
    words=("sst2",),
)
MRPC = _layout(
    "mrpc",
    "#1 String",
    "#2 String",
    "Quality",
    Template("{text}\n{pair}\nQuestion: Do both sentences say the same thing?\nAnswer:", YES_NO),
    labels=("0", "1"),
    metrics=("f1", "accuracy"),
    files=files(
        {
            "train": ("train.tsv", "msr_paraphrase_train.txt"),
            "dev": "dev.tsv",
            "test": "test.tsv",
            "msr_train": "msr_paraphrase_train.txt",
            "msr_test": "msr_paraphrase_test.txt",
        }
    ),
    words=("mrpc",),
)
STSB = _layout(
    "stsb",
    "sentence1",
    "sentence2",
    "score",
    Template("{text}\n{pair}\nQuestion: How alike in meaning are the two sentences, from 0 to 5?\nAnswer:"),
    task="regression",
    metrics=("pearson", "spearman"),
    words=("stsb",),
)
QQP = _layout(
    "qqp",
    "question1",
    "question2",
    "is_duplicate",
    Template("{text}\n{pair}\nQuestion: Do both questions ask the same?\nAnswer:", YES_NO),
    labels=("0", "1"),
    metrics=("f1", "accuracy"),
    spare_short_rows=True,
    words=("qqp",),
)
MNLI = _layout(
    "mnli",
    "sentence1",
    "sentence2",
    "gold_label",
    Template("{text}\nQuestion: {pair} True, False, or Neither?\nAnswer:", THREE_WAY),
    labels=tuple(THREE_WAY),
    files=files(
        {name: name for name in ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")},
        suffix=".tsv",
    ),
    words=("mnli",),
)
QNLI = _layout(
    "qnli",
    "question",
    "sentence",
    "label",
    Template(
        "{pair}\nQuestion: Does this sentence answer the question {text}\nAnswer:",
        {"entailment": " Yes", "not_entailment": " No"},
    ),
    labels=tuple(ENTAILED),
    words=("qnli",),
)
RTE = _layout(
    "rte",
    "sentence1",
    "sentence2",
    "label",
    Template("{text}\nQuestion: {pair} True or False?\nAnswer:", ENTAILED),
    labels=tuple(ENTAILED),
    words=("rte",),
)
WNLI = _layout(
    "wnli",
    "sentence1",
    "sentence2",
    "label",
    Template("{text}\nQuestion: {pair} True or False?\nAnswer:", {"0": " False", "1": " True"}),
    labels=("0", "1"),
    words=("wnli",),
)
AX = _layout(
    "glue_diagnostics",
    "sentence1",
    "sentence2",
    "label",
    Template("{text}\nQuestion: {pair} True, False, or Neither?\nAnswer:", THREE_WAY),
    labels=tuple(THREE_WAY),
    metrics=("matthews",),
    files=files({"test": ("diagnostic.tsv", "AX.tsv")}),
    marks=frozenset({"index", "sentence1", "sentence2"}),
    words=("diagnostic", "ax"),
)
AX_FULL = _layout(
    "glue_diagnostics_full",
    "Premise",
    "Hypothesis",
    "Label",
    AX.template,
    labels=tuple(THREE_WAY),
    metrics=("matthews",),
    files=files({"test": "diagnostic-full.tsv"}),
    unlabelled=frozenset(),
    words=("diagnosticfull",),
)
GLUE = (COLA, SST2, MRPC, STSB, QQP, MNLI, QNLI, RTE, WNLI, AX, AX_FULL)

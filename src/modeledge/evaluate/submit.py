"""Answers in the files that a benchmark's server reads.

GLUE's server takes a zip of tab-separated files, one a task, with a head line `index<TAB>prediction`, rows in the order
of the test file, class names as in the training file (0 and 1 for CoLA, SST-2, MRPC, QQP and WNLI), and similarities
between 0 and 5 (gluebenchmark.com, FAQ). SQuAD's scripts take one JSON object, question id → text, and for version 2.0
a second one, id → the probability that there is no answer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.tasks import Answer, ExtractTask
from modeledge.tasks.columns import where_of
from modeledge.tasks.task import Row

ENTAIL = ("entailment", "not_entailment")


@dataclass(frozen=True)
class GlueFile:
    """One file of a GLUE submission: its name, its rows, and the class names that it may hold (none: a similarity)."""

    name: str
    rows: int
    names: tuple[str, ...] = ()


GLUE: dict[str, GlueFile] = {
    "cola": GlueFile("CoLA.tsv", 1_063, ("0", "1")),
    "sst2": GlueFile("SST-2.tsv", 1_821, ("0", "1")),
    "mrpc": GlueFile("MRPC.tsv", 1_725, ("0", "1")),
    "stsb": GlueFile("STS-B.tsv", 1_379),
    "qqp": GlueFile("QQP.tsv", 390_965, ("0", "1")),
    "mnli-m": GlueFile("MNLI-m.tsv", 9_796, ("contradiction", "entailment", "neutral")),
    "mnli-mm": GlueFile("MNLI-mm.tsv", 9_847, ("contradiction", "entailment", "neutral")),
    "qnli": GlueFile("QNLI.tsv", 5_463, ENTAIL),
    "rte": GlueFile("RTE.tsv", 3_000, ENTAIL),
    "wnli": GlueFile("WNLI.tsv", 146, ("0", "1")),
    "ax": GlueFile("AX.tsv", 1_104, ("contradiction", "entailment", "neutral")),
}


def glue_file(task: str, answers: Sequence[Answer], names: Sequence[str] = ()) -> str:
    """The text of one file. `names` are the model's classes in order (none: values).

    Raises `E-CONFIG-VALUE` for an unknown task, `E-LENGTH-MISMATCH` for another number of rows than the test file has,
    `E-LABEL-UNKNOWN` for class names that the server does not know, `E-LABEL-TYPE` for answers that are sets, tags or
    texts.
    """
    if task not in GLUE:
        raise ModeledgeError("E-CONFIG-VALUE", f"GLUE has no task {task!r}", remedy=nearest(task, GLUE))
    wanted = GLUE[task]
    if len(answers) != wanted.rows:
        what = f"{len(answers):,} answers; {wanted.name} has {wanted.rows:,} rows"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="answer the whole test file, in its order")
    strange = sorted(set(names) - set(wanted.names))
    if strange or bool(names) != bool(wanted.names):
        ours, theirs = (", ".join(classes) or "values" for classes in (names, wanted.names))
        what = f"the model's classes are {ours}, the server's {theirs}"
        raise ModeledgeError("E-LABEL-UNKNOWN", what, where=wanted.name, remedy="train on the benchmark's own names")
    for answer in answers:
        if type(answer.value) is not (int if names else float):
            shown, one = printable(repr(answer.value), 60), "one class" if names else "one value"
            what, remedy = f"the answer {shown} is not {one}", "answer it with a task of one label a row"
            raise ModeledgeError("E-LABEL-TYPE", what, where=f"row {answer.index + 1}", remedy=remedy)
    told = (names[a.value] if names else f"{min(max(a.value, 0.0), 5.0):.3f}" for a in answers)
    return "index\tprediction\n" + "".join(f"{n}\t{word}\n" for n, word in enumerate(told))


def glue_zip(files: Mapping[str, str], path: Path) -> None:
    """The zip that the server takes: texts of `glue_file` by task, the same bytes each time."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as out:
        for task, text in sorted(files.items()):
            out.writestr(zipfile.ZipInfo(GLUE[task].name, (1980, 1, 1, 0, 0, 0)), text)


def squad_files(task: ExtractTask, answers: Sequence[Answer], rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The files of an official submission by name: `predictions.json`, id → text; for questions that may have no answer
    also `na_probs.json`, id → the probability of that. Raises `E-MISSING-FIELD`, `E-DUP-ID`."""
    column, texts, chances = task.all_columns.get("id", "id"), dict[str, Any](), dict[str, Any]()
    for answer in answers:
        row = rows[answer.index]
        id, where = row.get(column), where_of(row, answer.index)
        if id is None or str(id) == "":
            raise ModeledgeError("E-MISSING-FIELD", f"the row has no {column!r}", where=where)
        if str(id) in texts:
            raise ModeledgeError("E-DUP-ID", f"the id {str(id)!r} stands twice", where=where)
        texts[str(id)] = answer.value
        chances[str(id)] = float(answer.value == "") if answer.details is None else answer.details.best.null
    return {"predictions.json": texts, **({"na_probs.json": chances} if task.impossible else {})}

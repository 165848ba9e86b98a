"""Does one sentence follow from another: SNLI, SciTail, ANLI, each in the form its authors give out.

SNLI (Bowman et al. 2015, 1508.05326) was labelled by five people; where no three agree the gold label is "-", and
every published number leaves these pairs out. So do we, and the ledger says how many. SciTail (Khot, Sabharwal and
Clark 2018) knows two labels. ANLI (Nie et al. 2020, 1910.14599) comes in three rounds, a folder each.
"""

from __future__ import annotations

import re
from typing import Any

from modeledge.corpus.layouts.glue import NO_GOLD, THREE_WAY
from modeledge.corpus.layouts.layout import Convert, Drop, Layout, Row, Tally, each, files, named_label, need
from modeledge.corpus.layouts.opened import objects, table
from modeledge.corpus.layouts.template import Template

_TEMPLATE = Template("{text}\nQuestion: {pair} True, False, or Neither?\nAnswer:", THREE_WAY)


def pair_rows(text: str, pair: str, label: str, labels: tuple[str, ...]) -> Convert:
    """Rows of two texts and a label; a gold label of "-" is none."""

    def shape(row: Row, tally: Tally) -> Row | Drop:
        need(row, text), need(row, pair)
        if not tally.asked.labelled:
            row.pop(label, None)
        elif row.get(label) == "-":
            return Drop(NO_GOLD)
        else:
            row[label] = named_label(row, label, labels)
        return row

    return each(shape)


def _layout(name: str, text: str, pair: str, label: str, said: dict[str, str], **more: Any) -> Layout:
    labels = tuple(said)
    return Layout(
        name=name,
        task="classification",
        roles={"text": text, "pair": pair, "label": label},
        labels=labels,
        metrics=("accuracy",),
        convert=pair_rows(text, pair, label, labels),
        **{
            "template": Template(_TEMPLATE.text, said),
            "open": objects([text, pair]),
            "form": "jsonl",
            "marks": frozenset({text, pair, label}),
            **more,
        },
    )


SNLI = _layout(
    "snli",
    "sentence1",
    "sentence2",
    "gold_label",
    THREE_WAY,
    files=files({split: (f"snli_1.0_{split}.jsonl", f"{split}.jsonl") for split in ("train", "dev", "test")}),
    words=("snli",),
)
MULTINLI = _layout(
    "multinli",
    "sentence1",
    "sentence2",
    "gold_label",
    THREE_WAY,
    files=files(
        {split: f"multinli_1.0_{split}.jsonl" for split in ("train", "dev_matched", "dev_mismatched")},
    ),
    words=("multinli", "mnli"),
)
_TWO = Template("{text}\nQuestion: {pair} True or Neither?\nAnswer:")
SCITAIL = _layout(
    "scitail",
    "sentence1",
    "sentence2",
    "gold_label",
    {"entailment": " True", "neutral": " Neither"},
    template=Template(_TWO.text, {"entailment": " True", "neutral": " Neither"}),
    files=files({s: (f"snli_format/scitail_1.0_{s}.txt", f"scitail_1.0_{s}.txt") for s in ("train", "dev", "test")}),
    words=("scitail",),
)
SCITAIL_TSV = _layout(
    "scitail_tsv",
    "premise",
    "hypothesis",
    "label",
    {"entails": " True", "neutral": " Neither"},
    template=Template(_TWO.text, {"entails": " True", "neutral": " Neither"}),
    open=table("tsv", columns=("premise", "hypothesis", "label")),
    marks=frozenset(),
    suits=lambda start: bool(re.match(r"[^\t\n]+\t[^\t\n]+\t(entails|neutral)\r?\n", start)),
    form="tsv",
    files=files({s: (f"tsv_format/scitail_1.0_{s}.tsv", f"scitail_1.0_{s}.tsv") for s in ("train", "dev", "test")}),
    words=("scitail",),
)
ANLI = _layout(
    "anli",
    "context",
    "hypothesis",
    "label",
    {"e": " True", "n": " Neither", "c": " False"},
    files=files({"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}),
    words=("anli",),
)
INFERENCE = (SNLI, MULTINLI, SCITAIL, SCITAIL_TSV, ANLI)

"""What people felt: the sentiment ratings of VADER and the tweets of the hate-speech set.

VADER's files (Hutto and Gilbert 2014) hold a number, the mean rating of twenty people from −4 to 4, and the text,
without header. The toxicity set (Davidson et al. 2017, 1703.04009) is a csv with the votes for each class and the
class of the majority.
"""

from __future__ import annotations

import re

from modeledge.corpus.layouts.glue import score
from modeledge.corpus.layouts.layout import Drop, Layout, Row, Tally, each, files, named_label
from modeledge.corpus.layouts.opened import table
from modeledge.corpus.layouts.template import Template

_CLASSES = {"0": " hate speech", "1": " offensive language", "2": " neither"}


def _vader(row: Row, tally: Tally) -> Row | Drop:
    row["rating"] = score(row, "rating")
    return row if row["text"].strip() else Drop("text empty")


def _toxicity(row: Row, tally: Tally) -> Row | Drop:
    row["class"] = named_label(row, "class", tuple(_CLASSES))
    return row if row["tweet"].strip() else Drop("tweet empty")


VADER = Layout(
    name="vader",
    task="regression",
    roles={"text": "text", "label": "rating", "id": "id"},
    metrics=("pearson", "spearman"),
    template=Template("{text}\nHow positive is this, from -4 to 4?\nAnswer:"),
    open=table("tsv", columns=("id", "rating", "text")),
    convert=each(_vader),
    files=files({"movie": "movieReviewSnippets_GroundTruth.txt", "tweets": "tweets_GroundTruth.txt"}),
    form="tsv",
    suits=lambda start: bool(re.match(r"\d+\t-?\d+(\.\d+)?\t[^\t\n]+\n", start)),
    words=("vader", "groundtruth", "sentiment"),
)
TOXICITY = Layout(
    name="toxicity",
    task="classification",
    roles={"text": "tweet", "label": "class"},
    labels=tuple(_CLASSES),
    metrics=("f1_macro", "accuracy"),
    template=Template("{text}\nIs this hate speech, offensive language, or neither?\nAnswer:", _CLASSES),
    open=table("csv", ("tweet",), label="class"),
    convert=each(_toxicity),
    files=files({"train": "labeled_data.csv"}),
    form="csv",
    marks=frozenset({"tweet", "class", "hate_speech", "offensive_language"}),
    words=("toxicity", "hate"),
)
RATINGS = (VADER, TOXICITY)

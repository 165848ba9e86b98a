"""Choosing among given answers by their likelihood: candidates of a reply, spans that may fill a gap.

A candidate's score is the mean log-probability of its tokens behind the prompt, the end among them: a sum would favour
short candidates, whatever they say (Brown et al. 2020, section 2.4, divide likewise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.records import Example
from modeledge.tasks.columns import texts_of, where_of
from modeledge.tasks.task import Row
from modeledge.tasks.write import WriteTask
from modeledge.tokens import Tokenizer


def with_candidates(
    examples: Sequence[Example], rows: Sequence[Row], column: str, tokenizer: Tokenizer
) -> list[Example]:
    """The examples with their candidates in two channels: the texts, and their ids one behind the other."""
    found = []
    for i, (example, row) in enumerate(zip(examples, rows, strict=True)):
        texts = texts_of(row, column, i)
        ids = tokenizer.encode_batch(texts)
        if len(texts) < 2 or min(map(len, ids)) == 0:
            what = f"{len(texts)} candidates are no choice" if len(texts) < 2 else "a candidate is empty"
            raise ModeledgeError("E-MISSING-FIELD", what, where=where_of(row, i), remedy="give at least two texts")
        channels = {
            "candidates": np.array(texts, dtype=np.str_),
            "candidate_ids": np.concatenate(ids),
            "candidate_lengths": np.array([len(one) for one in ids]),
        }
        found.append(replace(example, channels={**example.channels, **channels}))
    return found


def candidate_scores(task: WriteTask, model: Backbone, examples: Sequence[Example]) -> list[tuple[float, ...]]:
    """For each example the mean log-probability of each of its candidates."""
    asked: list[Example] = []
    counts: list[int] = []
    for example in examples:
        lengths = example.channels["candidate_lengths"]
        parts = np.split(example.channels["candidate_ids"], np.cumsum(lengths)[:-1])
        asked += [replace(example, pair=part) for part in parts]
        counts.append(len(parts))
    shares = [-nats / tokens for nats, tokens in task.surprise(model, asked)]
    ends = np.cumsum(counts)
    return [tuple(shares[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def relevance(example: Example) -> list[float]:
    """1 for each candidate that is one of the example's references, else 0."""
    right: Any = set(example.label)
    return [float(str(text) in right) for text in example.channels["candidates"]]

"""Rows as transformers' own examples prepare them: for sequence classification, token classification and questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers as hf

BEST, LONGEST_ANSWER = 20, 30


class Labels:
    """Classification and regression, as `run_glue` does: dynamic padding, the model's own head."""

    def __init__(self, setting: Any, tokenizer: Any, model: Path, train: Sequence[Any], test: Sequence[Any]) -> None:
        self.regression = setting.kind == "regression"
        self.names = sorted({row[setting.label] for row in train})
        count = 1 if self.regression else len(self.names)
        self.model = hf.AutoModelForSequenceClassification.from_pretrained(model, num_labels=count)
        self.collator = hf.DataCollatorWithPadding(tokenizer)
        self.examples, self.test = (self.encoded(setting, tokenizer, part) for part in (train, test))
        label = float if self.regression else self.names.index
        self.gold = np.array([label(row[setting.label]) for row in test])

    def encoded(self, setting: Any, tokenizer: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
        examples = []
        for row in rows:
            texts = (row[setting.text], row[setting.pair]) if setting.pair else (row[setting.text],)
            label = float(row[setting.label]) if self.regression else self.names.index(row[setting.label])
            examples.append({**tokenizer(*texts, truncation=True, max_length=setting.length), "labels": label})
        return examples

    def answers(self, trainer: Any) -> tuple[Any, Any]:
        logits = trainer.predict(self.test).predictions
        return (logits[:, 0].astype(np.float64) if self.regression else logits.argmax(-1)), self.gold


class Tags:
    """Token classification, as `run_ner` does: the first piece of each word carries its tag."""

    def __init__(self, setting: Any, tokenizer: Any, model: Path, train: Sequence[Any], test: Sequence[Any]) -> None:
        self.names = sorted({tag for row in train for tag in row[setting.label]})
        self.model = hf.AutoModelForTokenClassification.from_pretrained(model, num_labels=len(self.names))
        self.collator = hf.DataCollatorForTokenClassification(tokenizer)
        self.examples, self.test = (self.encoded(setting, tokenizer, part) for part in (train, test))
        self.gold = [[self.names.index(tag) for tag in row[setting.label]] for row in test]

    def encoded(self, setting: Any, tokenizer: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
        examples = []
        for row in rows:
            made = tokenizer(row[setting.text], is_split_into_words=True, truncation=True, max_length=setting.length)
            words, labels, before = made.word_ids(), [], None
            for word in words:
                first = word is not None and word != before
                labels.append(self.names.index(row[setting.label][word]) if first else -100)
                before = word
            examples.append({**made, "labels": labels})
        return examples

    def answers(self, trainer: Any) -> tuple[Any, Any]:
        predicted = trainer.predict(self.test).predictions.argmax(-1)
        told = []
        for number, (example, row) in enumerate(zip(self.test, self.gold, strict=True)):
            chosen = [int(i) for i, label in zip(predicted[number], example["labels"], strict=False) if label >= 0]
            told.append(chosen + [-1] * (len(row) - len(chosen)))
        return np.concatenate(told), np.concatenate(self.gold)


class Questions:
    """Extractive answers, as `run_qa` does: windows with a stride, the best span of all windows of a question."""

    def __init__(self, setting: Any, tokenizer: Any, model: Path, train: Sequence[Any], test: Sequence[Any]) -> None:
        self.model = hf.AutoModelForQuestionAnswering.from_pretrained(model)
        self.collator = hf.DataCollatorWithPadding(tokenizer)
        self.rows, self.length, self.tokenizer = test, setting.length, tokenizer
        self.examples = [e for row in train for e, _ in self.windows(row, learn=True)]
        self.places = [(n, e, o) for n, row in enumerate(test) for e, o in self.windows(row, learn=False)]

    def windows(self, row: Any, *, learn: bool) -> list[tuple[dict[str, Any], Any]]:
        made = self.tokenizer(
            row["question"].strip(), row["context"], truncation="only_second", max_length=self.length, stride=128,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        found = []
        for number in range(len(made["input_ids"])):
            example = {k: made[k][number] for k in ("input_ids", "attention_mask", "token_type_ids")}
            offsets, sides = made["offset_mapping"][number], made.sequence_ids(number)
            if learn:
                example["start_positions"], example["end_positions"] = gold_span(row, offsets, sides)
            found.append((example, [o if s == 1 else None for o, s in zip(offsets, sides, strict=True)]))
        return found

    def answers(self, trainer: Any) -> tuple[Any, Any]:
        starts, ends = trainer.predict([e for _, e, _ in self.places]).predictions
        best: dict[int, tuple[float, str]] = defaultdict(lambda: (-np.inf, ""))
        for (number, _, offsets), start, end in zip(self.places, starts, ends, strict=True):
            for i in np.argsort(start)[-BEST:]:
                for j in np.argsort(end)[-BEST:]:
                    if (
                        i > j
                        or j - i >= LONGEST_ANSWER
                        or max(i, j) >= len(offsets)
                        or not offsets[i]
                        or not offsets[j]
                    ):
                        continue
                    score = float(start[i] + end[j])
                    if score > best[number][0]:
                        text = self.rows[number]["context"][offsets[i][0] : offsets[j][1]]
                        best[number] = (score, text)
        return [best[n][1] for n in range(len(self.rows))], [[a["text"] for a in row["answers"]] for row in self.rows]


def gold_span(row: Any, offsets: Any, sides: Any) -> tuple[int, int]:
    """The tokens of the first answer, or [CLS] where this window does not hold it whole."""
    answer = row["answers"][0]
    first, last = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    inside = [i for i, side in enumerate(sides) if side == 1]
    if offsets[inside[0]][0] > first or offsets[inside[-1]][1] < last:
        return 0, 0
    start = max(i for i in inside if offsets[i][0] <= first)
    end = min(i for i in inside if offsets[i][1] >= last)
    return start, end


PEERS = {"classification": Labels, "regression": Labels, "tag": Tags, "extract": Questions}

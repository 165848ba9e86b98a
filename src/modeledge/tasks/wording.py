"""How a task of labels is put to a model that was never fine-tuned: a template and a word for each class.

The prompt is the row in the template; the model answers by which word it finds likeliest behind it (Brown et al. 2020,
section 2.4). A class's word is its name, unless said otherwise: `words = ["terrible", "great"]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import FloatArray
from modeledge.tasks.columns import text_of
from modeledge.tasks.labels import Labels
from modeledge.tasks.task import Answer, Generate, Request, Row, Score

WORDING = ("template", "words")
FIELD, NUMBER = re.compile(r"\{(\w+)\}"), re.compile(r"[-+]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Wording:
    """`template` holds `{role}` where the text of a role stands; `words` has one for each class, in their order."""

    template: str | None = None
    words: tuple[str, ...] = ()

    @staticmethod
    def of(said: Mapping[str, Any], names: Sequence[str] = ()) -> Wording:
        """The wording that options or a task's file say; `words` may be a list, or a word for each name."""
        template, words = said.get("template"), said.get("words")
        if template is not None and not isinstance(template, str):
            raise ModeledgeError("E-CONFIG-VALUE", f"{template!r} is no text", where="options.template")
        if isinstance(words, Mapping):
            for name in words:
                if name not in names:
                    what = f"there is no class {name!r}"
                    raise ModeledgeError("E-CONFIG-VALUE", what, where="options.words", remedy=nearest(name, names))
            words = [words.get(name, name) for name in names]
        words = tuple(words or ())
        if words and (len(words) != len(names) or not all(isinstance(w, str) and w.strip() for w in words)):
            what = f"{len(words)} words for {len(names)} classes"
            remedy = "give a text for each class: " + ", ".join(names[:8])
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.words", remedy=remedy)
        if len(set(words)) < len(words):
            raise ModeledgeError("E-CONFIG-VALUE", "two classes have the same word", where="options.words")
        if template is not None and not FIELD.search(template):
            what, remedy = f"{printable(template, 60)!r} holds no text of a row", "name a role in braces, as {text}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.template", remedy=remedy)
        return Wording(template, words)

    def described(self) -> dict[str, Any]:
        """The inverse of `of`."""
        return {"template": self.template, "words": list(self.words)}

    def prompt(self, texts: Mapping[str, str], ending: str = "") -> str:
        """The texts of roles in the template; without one each on a line of its own, and the `ending` behind them."""
        if self.template is None:
            return "\n".join([*texts.values(), *([ending] if ending else [])])

        def put(match: re.Match[str]) -> str:
            if match[1] not in texts:
                what, remedy = f"there is no text {match[1]!r}", nearest(match[1], texts)
                raise ModeledgeError("E-CONFIG-VALUE", what, where="options.template", remedy=remedy)
            return texts[match[1]]

        return FIELD.sub(put, self.template)


def worded(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Options with the wording in one value."""
    rest = {key: value for key, value in options.items() if key not in WORDING}
    return {**rest, "wording": Wording.of(options, names)}


class Worded:
    """The prompted way of a task of labels: classes are scored, a value is written."""

    labels: Labels
    columns: Mapping[str, str]
    wording: Wording

    def prompt(self, row: Row) -> str:
        """The prompt of one row."""
        roles = [role for role in ("text", "pair") if role in self.columns]
        texts = {role: text_of(row, self.columns[role], 0) for role in roles}
        return self.wording.prompt(texts, f"{self.columns['label']}:")

    def request(self, row: Row) -> Request:
        """Which class's word is likeliest behind the row; for a value, what number is written there."""
        if self.labels.kind == "value":
            return Generate(self.prompt(row), max_new_tokens=12)
        return Score(self.prompt(row), tuple(f" {word}" for word in self.wording.words or self.labels.names))

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """Scores `[classes]` → a class with probabilities; a text → its first number. Where a text has none the answer
        is the mean of the training labels, and `details` is "no number"."""
        if self.labels.kind == "value":
            found = NUMBER.search(str(told))
            return Answer(index, float(found[0])) if found else Answer(index, self.labels.center, details="no number")
        return self.chosen(index, shares_of(told))

    def chosen(self, index: int, shares: FloatArray) -> Answer:
        """The answer that probabilities `[classes]` mean."""
        return Answer(index, int(np.argmax(shares)), tuple(float(s) for s in shares))


def shares_of(scores: Any) -> FloatArray:
    """Log-likelihoods → probabilities that add up to 1."""
    logs = np.asarray(scores, dtype=np.float64)
    shares = np.exp(logs - logs.max())
    found: FloatArray = shares / shares.sum()
    return found

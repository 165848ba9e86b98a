"""How a row is put to a prompted model: a text with gaps, and the words that stand for the labels.

A fine-tuned classifier has a head with a place for each label; a prompted model has only words. So each label gets a
*verbaliser* (Schick and Schütze 2021, 2001.07676), " True" or " negative", and the model's answer is the label whose
word it finds most likely after the request (Brown et al. 2020, 2005.14165, appendix G shows one for each of their
tasks).

A gap is `{name}`, nothing more: neither an attribute nor an index nor a format can be asked for, so neither a template
nor the text of a row can reach anything but the row's own values. What is put in is not looked at for gaps again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GAP = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Template:
    """`text` has gaps named by roles or columns of the row; `words` gives each label its continuation of the text.

    Without `words` what continues is the row's own: its target, or the text of a choice. Raises `E-TEMPLATE` for a
    brace that is no gap.

    >>> Template("{text} It was", {"0": " bad", "1": " good"}).names
    ('text',)
    """

    text: str
    words: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        rest = _GAP.sub("", self.text)
        if "{" in rest or "}" in rest:
            what = f"a brace of {printable(self.text, 60)!r} is no gap of the form {{name}}"
            raise ModeledgeError("E-TEMPLATE", what, remedy="name a column between the braces, nothing else")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the gaps, in order."""
        return tuple(_GAP.findall(self.text))


def render(template: Template, row: Mapping[str, Any], roles: Mapping[str, str] = MappingProxyType({})) -> str:
    """The request of one row. A name is looked up among the `roles`, then among the columns.

    A list of choices becomes lettered lines, another list its items: words of a sentence with spaces between, anything
    else a line each. Raises `E-MISSING-FIELD` for a name that the row lacks, `E-FIELD-TYPE` for a value without text.

    >>> render(Template("{text} It was"), {"sentence": "{pair}"}, {"text": "sentence"})
    '{pair} It was'
    """

    def fill(gap: re.Match[str]) -> str:
        name = gap[1]
        column = roles.get(name, name)
        where = str(row.get("__where__", ""))
        if column not in row or row[column] is None:
            known = [str(key) for key in row if key != "__where__"]
            what = f"the template needs {name!r}, and the row has no column {column!r}"
            raise ModeledgeError("E-MISSING-FIELD", what, where=where, remedy=nearest(column, known))
        return _plain(name, row[column], where)

    return _GAP.sub(fill, template.text)


def candidates(template: Template, row: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, str]:
    """What a model may answer, as label → continuation: the template's words, or the choices of the row by number."""
    if template.words or "choices" not in roles:
        return dict(template.words)
    return {str(number): f" {choice}" for number, choice in enumerate(row[roles["choices"]])}


def _plain(name: str, value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        if name == "choices":
            return "\n".join(f"{LETTERS[i % 26]}. {choice}" for i, choice in enumerate(value))
        return (" " if name == "tokens" else "\n").join(value)
    what = f"{name!r} is {type(value).__name__}, which is no text"
    raise ModeledgeError("E-FIELD-TYPE", what, where=where, remedy="name a column of text")

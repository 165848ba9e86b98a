"""The lead: the first k sentences of an article as its summary.

News says the important things first, so three sentences beat many a model (Nallapati et al. 2017, arXiv 1611.04230,
table 1; See et al. 2017, section 5). A summary that does not beat its lead has learned to copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from modeledge.errors import ModeledgeError
from modeledge.tasks.task import Answer, Row
from modeledge.tasks.write import WriteTask

# A sentence ends behind . ! ? … (and closing quotes) where white space and no small letter follow, or with its line.
END = re.compile(r"(?<=[.!?…。])[\"'”’)\]]*(?:\s+(?![a-zà-ÿ])|$)|\n+")
TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Gen|Sen|Rep|Lt|Col|Sgt|Jr|Sr|vs"
SHORT = re.compile(rf"(?:\b(?:{TITLES}|[A-Z])|\b(?:[A-Za-z]\.)+[A-Za-z])\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text, by a rule for Latin scripts; titles and initials ("Dr.", "J.", "U.S.") end none.

    >>> sentences('Dr. Low came. "Who?" he asked. It was 3.5 p.m. then.')
    ['Dr. Low came.', '"Who?" he asked.', 'It was 3.5 p.m. then.']
    """
    found: list[str] = []
    begin = 0
    for place in END.finditer(text):
        piece = text[begin : place.end()]
        if SHORT.search(piece.rstrip()) and "\n" not in place.group() and place.end() < len(text):
            continue
        found.append(piece.strip())
        begin = place.end()
    found.append(text[begin:].strip())
    return [sentence for sentence in found if sentence]


def lead(text: str, count: int = 3) -> str:
    """The first `count` sentences (`E-USAGE` below 1)."""
    if count < 1:
        raise ModeledgeError("E-USAGE", f"a lead of {count} sentences is none", remedy="ask for at least 1")
    return " ".join(sentences(text)[:count])


def lead_answers(task: WriteTask, rows: Sequence[Row], count: int = 3) -> list[Answer]:
    """The lead of each row as an answer, to be marked as the model's are: `task.mark(lead_answers(…), examples)`."""
    return [Answer(i, lead(task.source_of(row, i), count)) for i, row in enumerate(rows)]

"""What a check says: a rule that is broken, the record that breaks it, and how to mend it.

The record is shown token by token: what the model reads, what it is trained on, and what is a target with no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Literal

from modeledge.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

    from modeledge.preflight.view import View

Kind = Literal["read", "trained", "ignored"]
STYLES: dict[Kind, str] = {"read": "cyan", "trained": "bold green", "ignored": "red"}
MARKS: dict[Kind, tuple[str, str]] = {"read": ("", ""), "trained": ("«", "»"), "ignored": ("‹", "›")}
LEGEND = "read, «trained on», ‹ignored›"
LONGEST = 120  # tokens of a record that are shown


@dataclass(frozen=True)
class Token:
    """One token as a person sees it."""

    text: str
    kind: Kind = "read"
    special: bool = False


@dataclass(frozen=True)
class Finding:
    """`E-…` refuses the run, `W-…` is said aloud (and refuses it under strictness). `check` names the row of `CHECKS`;
    the runner fills it in."""

    code: str
    what: str
    where: str = ""
    remedy: str = ""
    example: tuple[Token, ...] = ()
    check: str = ""

    @property
    def refuses(self) -> bool:
        """Is this an error, not a warning?"""
        return self.code.startswith("E-")

    def __str__(self) -> str:
        head = f"{self.code} [{self.check}]"
        return "; ".join(part for part in (f"{head}: {self.where}: {self.what}", self.remedy) if part).replace(
            ": : ", ": "
        )


Check = Callable[["View"], Iterable[Finding]]


def record(tokens: Sequence[Token]) -> Text:
    """Tokens as coloured text that also reads without colours. Nothing in it is taken for markup."""
    from rich.text import Text

    out = Text()
    shown = tokens if len(tokens) <= LONGEST else [*tokens[: LONGEST // 2], Token(" … "), *tokens[-LONGEST // 2 :]]
    last: Kind = "read"
    for token in (*shown, Token("")):
        if token.kind != last:
            out.append(MARKS[last][1], STYLES[last])
            out.append(MARKS[token.kind][0], STYLES[token.kind])
            last = token.kind
        out.append(printable(token.text), STYLES[token.kind] + (" reverse" if token.special else ""))
    return out


def shown(finding: Finding, *, colour: bool) -> str:
    """A finding with its record, for a terminal (`colour`) or a file."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=StringIO(), force_terminal=colour, no_color=not colour, width=120, legacy_windows=False)
    line = Text(printable(str(finding), 2000))
    line.stylize("bold red" if finding.refuses else "yellow", 0, len(finding.code))
    console.print(line, soft_wrap=True)
    if finding.example:
        console.print(Text(f"    {LEGEND}: ").append_text(record(finding.example)), soft_wrap=True)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().rstrip("\n")

"""Taking lines out of a text, each for a named reason."""

from __future__ import annotations

from typing import Protocol

from modeledge.corpus.quality.page import page_of


class LineJudge(Protocol):
    """What a rule set says of one line: how it would stay, and the reason why it does not."""

    def judge(self, line: str) -> tuple[str, str | None]: ...


def without_lines(rules: LineJudge, text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text of the lines that stay, and (reason, line) of those that do not; empty lines go without one."""
    kept: list[str] = []
    gone: list[tuple[str, str]] = []
    for raw in page_of(text).lines:
        line, reason = rules.judge(raw)
        if reason is None:
            kept.append(line)
        elif raw and not raw.isspace():
            gone.append((reason, raw))
    return "\n".join(kept), gone

"""What `--help` shows is what the code says: the printer of help reads brackets as marks of style, and drops them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from rich.text import Text

from modeledge.cli import app


def words(command: object, path: str) -> Iterator[tuple[str, str]]:
    """The help of a command, of its options, and of the commands below it."""
    yield path, getattr(command, "help", None) or ""
    for parameter in getattr(command, "params", ()):
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from words(below, f"{path} {name}".strip())


HELP = dict(words(typer.main.get_command(app), ""))


def test_the_help_of_all_verbs_is_looked_at() -> None:
    assert {"finetune", "finetune text", "corpus build", "embed", "compare seeds"} <= HELP.keys()


@pytest.mark.parametrize("name", [name for name, text in HELP.items() if "[" in text] or [""])
def test_no_word_of_a_help_is_taken_for_a_style(name: str) -> None:
    assert Text.from_markup(HELP[name]).plain == HELP[name]

"""The catalogue of errors: complete, legal, and the only source of codes."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modeledge
from modeledge.errors import CATALOGUE, ModeledgeError, nearest, printable

SOURCE = Path(modeledge.__file__).parent
CODE = re.compile(r"E(-[A-Z0-9]+)+")
LEGAL = {64, 65, 66, 73, 74, 77, 78}  # BSD sysexits.h, as far as the house uses it


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def codes_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of the program that is a code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
            yield node.lineno, node.value


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_row_is_complete_and_legal(code: str) -> None:
    entry = CATALOGUE[code]
    assert CODE.fullmatch(code)
    assert entry.exit_status in LEGAL
    for text in (entry.cause, entry.remedy):
        assert text.strip() == text
        assert text
        assert not text.endswith(".")
        assert text.isprintable()


def test_every_code_in_the_source_is_in_the_catalogue() -> None:
    found = {
        f"{path}:{line}: {code}" for path, tree in trees() for line, code in codes_in(tree) if code not in CATALOGUE
    }
    assert not found
    assert sum(1 for _, tree in trees() for _ in codes_in(tree)) > 100, "the search finds codes"


def test_the_search_finds_a_code_that_is_not_catalogued() -> None:
    tree = ast.parse('raise ModeledgeError("E-NOT-THERE", "x")')
    assert [code for _, code in codes_in(tree) if code not in CATALOGUE] == ["E-NOT-THERE"]


def test_every_error_is_raised_with_a_code() -> None:
    """The first argument is a code, or a name or choice whose codes the test above has found."""
    plain = (ast.Constant, ast.Name, ast.IfExp, ast.Attribute)
    for path, tree in trees():
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ModeledgeError"
            if called and path != "errors.py":
                assert node.args, f"{path}:{node.lineno}"
                first = node.args[0]
                assert isinstance(first, plain), f"{path}:{node.lineno}"
                if isinstance(first, ast.Constant):
                    assert first.value in CATALOGUE, f"{path}:{node.lineno}"


def test_every_code_is_used() -> None:
    """A row that nothing raises is a promise that nobody keeps."""
    used = {code for path, tree in trees() if path != "errors.py" for _, code in codes_in(tree)}
    assert not set(CATALOGUE) - used


def test_an_unknown_code_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        ModeledgeError("E-NOT-THERE", "x")


words = st.text(max_size=20)


@given(code=st.sampled_from(sorted(CATALOGUE)), what=words, where=words, why=words, remedy=words)
def test_errors_travel_between_processes(code: str, what: str, where: str, why: str, remedy: str) -> None:
    error = ModeledgeError(code, what, where=where, why=why, remedy=remedy)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is ModeledgeError
        assert vars(again) == vars(error)
        assert str(again) == str(error)


@given(code=st.sampled_from(sorted(CATALOGUE)), what=words, where=words, why=words, remedy=words)
def test_a_message_says_code_place_thing_reason_and_remedy(
    code: str, what: str, where: str, why: str, remedy: str
) -> None:
    error = ModeledgeError(code, what, where=where, why=why, remedy=remedy)
    head = f"{code}: {where}: {what}" if where else f"{code}: {what}"
    parts = [head, *([why] if why else []), remedy or CATALOGUE[code].remedy]
    told = "; ".join(parts)
    assert str(error) == "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in told)
    assert error.exit_status == CATALOGUE[code].exit_status
    assert isinstance(error, ValueError)


def test_the_nearest_word() -> None:
    known = ["learning_rate", "steps", "batch"]
    assert nearest("learing_rate", known) == "did you mean 'learning_rate'?"
    assert nearest("zzz", known) == "known: batch, learning_rate, steps"
    assert nearest("zzz", [f"k{i:02}" for i in range(30)]).endswith("k19, …")
    assert nearest("x", iter(known[:1])) == "known: learning_rate"


@given(st.text(max_size=300))
def test_text_from_data_cannot_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not any("\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069" for c in shown)
    if len(text) <= 200 and text.isprintable():
        assert shown == text
    assert printable("\x1b[2J\u202eabc\ud800") == "\\x1b[2J\\x202eabc\\xd800"
    assert printable("a" * 300, 5) == "aaaaa…"

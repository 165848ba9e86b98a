"""Asking for spans in words: a prompt that any causal model can go on with, and a strict reading of what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modeledge.tasks.schemes import OUTSIDE, Scheme, Span, tags_of
from modeledge.tasks.task import Generate
from modeledge.tasks.words import Words

NOTHING = "none"


@dataclass(frozen=True)
class TagRequest(Generate):
    """A request that remembers the words it asks about, and the types that an answer may name."""

    words: Words = field(default_factory=lambda: Words("", ()))
    types: tuple[str, ...] = ()


def asked_for(words: Words, types: Sequence[str], *, every: bool) -> TagRequest:
    """`type: text` lines, one a span; with `every` one a word, in the order of the words."""
    named = ", ".join(types)
    if every:
        task = 'Write each word of the text on a line of its own, in order, as "tag: word".\n'
        prompt = f"{task}Tags: {named}\n\nText: {words.text}\nTags:\n"
        return TagRequest(prompt, ("\n\n",), 8 * len(words) + 8, words, tuple(types))
    task = f'List the entities of the text, one a line, as "type: entity". Write "{NOTHING}" where there is none.\n'
    prompt = f"{task}Types: {named}\n\nText: {words.text}\nEntities:\n"
    return TagRequest(prompt, ("\n\n",), 128, words, tuple(types))


def read_lines(told: str, request: TagRequest) -> tuple[list[Span], int]:
    """The spans that an answer names, and how many of its lines are none.

    A line counts as `type: text`, where the type is one that was asked for, letter by letter, and the text is a run of
    whole words that no line before it took; it is found from the left. Every other line is no span, and is counted.
    """
    words, free = request.words, [True] * len(request.words)
    spans: list[Span] = []
    lines = [line.strip() for line in told.split("\n") if line.strip()]
    if lines == [NOTHING]:
        return [], 0
    for line in lines:
        kind, colon, text = line.partition(": ")
        place = _place(words, text.strip(), free) if colon and kind in request.types else None
        if place is not None:
            spans.append((*place, kind))
            free[place[0] : place[1]] = [False] * (place[1] - place[0])
    return sorted(spans), len(lines) - len(spans)


def _place(words: Words, text: str, free: Sequence[bool]) -> tuple[int, int] | None:
    """The first run of free words that reads like the text."""
    if not text:
        return None
    for first, (start, _) in enumerate(words.places):
        if not words.text.startswith(text, start):
            continue
        for last in range(first, len(words)):
            if words.places[last][1] == start + len(text) and all(free[first : last + 1]):
                return first, last + 1
    return None


def read_tags(told: str, request: TagRequest, scheme: Scheme | None) -> tuple[list[str], int]:
    """One tag a word out of the lines that were written, and how many lines could not be read."""
    spans, unparsed = read_lines(told, request)
    size = len(request.words)
    if scheme is not None:
        return tags_of(spans, size, scheme), unparsed
    tags = [OUTSIDE] * size
    for first, last, kind in spans:
        tags[first:last] = [kind] * (last - first)
    return tags, unparsed

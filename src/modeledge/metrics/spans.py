"""Marks for tagging: precision, recall and F1 of whole entities, with the semantics of seqeval.

A tag is a place in an entity and a type: B-PER begins a person. An entity counts as found when its type, its first and
its last token are all right (Tjong Kim Sang and De Meulder 2003, W03-0419). What is an entity in a sequence that breaks
the rules of its scheme (an I-PER after O)? There are two answers, and they differ by points of F1:

- *default*, as the CoNLL script `conlleval`: lenient; any tag that cannot go on with the entity before it begins one.
  It knows B, I, E, S and O, so IOB1, IOB2, IOE1, IOE2 and IOBES are all read without being told which.
- *strict*: a scheme is named (IOB1, IOB2 = BIO, IOE1, IOE2, IOBES, BILOU), and only what begins, goes on and ends as
  the scheme has it is an entity. The tables of the schemes below are seqeval's, with its known gap in IOE1.

F1 is micro (all entities pooled), macro (mean over the types that occur), weighted (by how often each is true), or one
per type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from modeledge.errors import ModeledgeError, nearest
from modeledge.metrics.metric import Floats, Tally, f_measure, same_length
from modeledge.metrics.text import items_of, text

Average: TypeAlias = Literal["micro", "macro", "weighted"]
Measure: TypeAlias = Literal["precision", "recall", "f1"]
Entity: TypeAlias = tuple[str, int, int]  # type, first token, last token + 1
Tag: TypeAlias = tuple[str, str]  # prefix, type


@dataclass(frozen=True)
class Scheme:
    """Which prefixes there are, and which pairs (before, now, same type?) begin, continue and end an entity.

    A rule is written "BI=": prefix before, prefix now, and = same type, ! other type, * either; "." is any prefix.
    """

    prefixes: str
    start: tuple[str, ...]
    inside: tuple[str, ...]
    end: tuple[str, ...]


IOB2 = Scheme("IOB", (".B*",), ("BI=", "II="), ("IO*", "II!", "IB*", "BO*", "BI!", "BB*"))
IOBES = Scheme("IOBES", (".B*", ".S*"), ("BI=", "BE=", "II=", "IE="), ("S.*", "E.*"))
BILOU = Scheme("BILOU", (".B*", ".U*"), ("BI=", "BL=", "II=", "IL="), ("U.*", "L.*"))
SCHEMES: dict[str, Scheme] = {
    "IOB1": Scheme(
        "IOB",
        ("OI*", "II!", "BI*", "IB=", "BB="),
        ("BI=", "II="),
        ("II!", "IO*", "IB*", "BO*", "BI!", "BB="),
    ),
    "IOB2": IOB2,
    "BIO": IOB2,
    "IOE1": Scheme("IOE", ("OI*", "II!", "EI*", "EE="), ("II=", "IE="), ("II!", "IO*", "IE!", "EI=", "EE=")),
    "IOE2": Scheme("IOE", ("OI*", "OE*", "EI*", "EE*", "II!", "IE!"), ("IE=", "II="), ("E.*",)),
    "IOBES": IOBES,
    "BILOU": BILOU,
}


def entities(tags: Sequence[str], *, scheme: str | None = None, where: str = "tags") -> list[Entity]:
    """The entities of one sequence of tags: default semantics, or strict ones where a `scheme` is named.

    >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
    [('PER', 0, 2), ('LOC', 3, 4)]
    >>> entities(["B-PER", "I-PER", "O", "I-LOC"], scheme="IOB2")
    [('PER', 0, 2)]

    Raises `E-LABEL-UNKNOWN` for a tag that the semantics do not know, `E-CONFIG-VALUE` for an unknown scheme.
    """
    if scheme is None:
        return lenient([lenient_tag(tag, f"{where}[{i}]") for i, tag in enumerate(tags)])
    if scheme not in SCHEMES:
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no scheme {scheme!r}", remedy=nearest(scheme, SCHEMES))
    rules = SCHEMES[scheme]
    return strict([strict_tag(tag, rules.prefixes, f"{where}[{i}]") for i, tag in enumerate(tags)], rules)


def lenient(tags: Sequence[Tag]) -> list[Entity]:
    """Entities as `conlleval` sees them: one ends and one begins wherever two neighbours cannot be of one entity."""
    found, first, before = [], 0, ("O", "")
    for place, now in enumerate([*tags, ("O", "")]):
        other = before[1] != now[1]
        if before[0] != "O" and (before[0] in "ES" or now[0] in "BSO" or other):
            found.append((before[1], first, place))
        if now[0] != "O" and (now[0] in "BS" or before[0] in "ESO" or other):
            first = place
        before = now
    return found


def strict(tags: Sequence[Tag], scheme: Scheme) -> list[Entity]:
    """Entities that begin, go on and end by the rules; what breaks them on the way is none."""
    outside = ("O", "_")
    row = [*tags, outside]
    found, place, before = [], 0, outside
    while place < len(row):
        end = place + 1
        if fits(scheme.start, before, row[place]):
            while fits(scheme.inside, row[end - 1], row[end]):
                end += 1
            if fits(scheme.end, row[end - 1], row[end]):
                found.append((row[place][1], place, end))
        place, before = end, row[end - 1]
    return found


def fits(rules: Sequence[str], before: Tag, now: Tag) -> bool:
    """Does one of the rules hold for these neighbours?"""
    same = "=" if before[1] == now[1] else "!"
    return any(rule[0] in (before[0], ".") and rule[1] in (now[0], ".") and rule[2] in (same, "*") for rule in rules)


def lenient_tag(tag: Any, where: str) -> Tag:
    """`B-PER` → (B, PER); a tag without a type has the type `_`. Prefixes that seqeval only warns of are refused."""
    text(tag, where)
    if tag not in ("O", "B", "I", "E", "S") and tag[:2] not in ("B-", "I-", "E-", "S-"):
        what = f"the tag {tag!r} is none of O, B-, I-, E-, S-"
        raise ModeledgeError(
            "E-LABEL-UNKNOWN", what, where=where, remedy="for BILOU, name the scheme: strict mode reads it"
        )
    return tag[0], tag[2:] or "_"


def strict_tag(tag: Any, prefixes: str, where: str) -> Tag:
    """`B-PER` → (B, PER), for the prefixes of one scheme."""
    text(tag, where)
    if not tag or tag[0] not in prefixes:
        what = f"the tag {tag!r} does not begin with one of {', '.join(prefixes)}"
        raise ModeledgeError(
            "E-LABEL-UNKNOWN", what, where=where, remedy="name the scheme that the tags are written in"
        )
    return tag[0], tag[1:].strip("-") or "_"


def entity(
    measure: Measure = "f1", average: Average = "micro", scheme: str | None = None
) -> Callable[[Any, Any], Tally]:
    """The metric's parts: one measure, averaged one way, over sentences of tags `[items][tokens]`; 0 … 1."""
    how = f"entities:{f'strict-{scheme}' if scheme else 'conlleval'}|average:{average}"

    def parts(predictions: Any, labels: Any) -> Tally:
        _, counts = entity_counts(predictions, labels, scheme=scheme)

        def value(sums: Floats) -> Floats:
            return averaged(sums.reshape(*sums.shape[:-1], -1, 3), measure, average)

        return Tally(counts.reshape(len(counts), -1), value, how)

    return parts


def by_type(predictions: Any, labels: Any, *, scheme: str | None = None) -> dict[str, dict[str, float]]:
    """For each type of entity: precision, recall, f1, and support (how many are true)."""
    types, counts = entity_counts(predictions, labels, scheme=scheme)
    sums = counts.sum(axis=0)
    measures: tuple[Measure, ...] = ("precision", "recall", "f1")
    return {
        name: {**{m: float(measured(sums[i], m)) for m in measures}, "support": float(sums[i, 2])}
        for i, name in enumerate(types)
    }


def entity_counts(predictions: Any, labels: Any, *, scheme: str | None = None) -> tuple[list[str], Floats]:
    """The types that occur, and for each sentence and type (agreed, predicted, true): `[items, types, 3]`."""
    guesses, truths = items_of(predictions, "predictions"), items_of(labels, "labels")
    same_length(guesses, truths)
    rows = []
    for item, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
        for side, name in ((guess, "predictions"), (truth, "labels")):
            if isinstance(side, str) or not isinstance(side, Sequence | np.ndarray):
                raise ModeledgeError("E-FIELD-TYPE", f"{name} must be lists of tags", where=f"{name}[{item}]")
        if len(guess) != len(truth):
            what = f"{len(guess)} predicted tags stand against {len(truth)} true ones"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=f"item {item}", remedy="tag every token once")
        pair = (guess, f"predictions[{item}]"), (truth, f"labels[{item}]")
        rows.append([set(entities(side, scheme=scheme, where=where)) for side, where in pair])
    types = sorted({name for row in rows for side in row for name, _, _ in side})
    places = {name: place for place, name in enumerate(types)}
    counts = np.zeros((len(rows), max(1, len(types)), 3))
    for row, (guess, truth) in zip(counts, rows, strict=True):
        for column, side in enumerate((guess & truth, guess, truth)):
            for name, _, _ in side:
                row[places[name], column] += 1
    return types, counts


def averaged(sums: Floats, measure: Measure, average: Average) -> Floats:
    """One mark off the counts `[..., types, 3]`; 0 where there is no entity on either side."""
    if average == "micro":
        return measured(sums.sum(axis=-2), measure)
    marks = measured(sums, measure)
    occurs = sums[..., 1] + sums[..., 2] > 0
    weights = sums[..., 2] if average == "weighted" else occurs.astype(np.float64)
    total = weights.sum(axis=-1)
    return np.asarray((marks * weights).sum(axis=-1) / np.where(total > 0, total, 1), np.float64)


def measured(sums: Floats, measure: Measure) -> Floats:
    """Precision, recall or F1 off `[..., 3]`; 0 where it divides by nothing."""
    if measure == "f1":
        return f_measure(sums)
    seen = sums[..., 1 if measure == "precision" else 2]
    return np.asarray(sums[..., 0] / np.where(seen > 0, seen, 1), np.float64)

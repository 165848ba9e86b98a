"""Which kind of pre-training fits which architecture: one table, out of what each `Aim` says of itself.

A kind fits a body by its towers (`Aim.bodies`), and a decoder also by how it reads: from left to right, or with a
prefix that is read both ways (`Aim.forms`). How many layers a side has, and whether two sides share them, changes
nothing of that; a decoder that was turned to read both ways is an encoder.
"""

from __future__ import annotations

from modeledge.recipes.objectives import AIMS
from modeledge.recipes.objectives.aim import Aim, Body

PREFIX = "prefix LM"
ARCHITECTURES: dict[str, Body] = {
    "encoder": "encoder",
    "decoder": "decoder",
    PREFIX: "decoder",
    "encoder–decoder": "encoder-decoder",
    "shared layers": "encoder-decoder",
    "half the layers": "encoder-decoder",
    "decoder read both ways": "encoder",
}


def fits(aim: type[Aim], architecture: str) -> bool:
    """Can this kind train a body of this architecture (a key of `ARCHITECTURES`)?"""
    body = ARCHITECTURES[architecture]
    if body not in aim.bodies:
        return False
    if architecture == PREFIX:
        return "prefix" in aim.forms
    return body != "decoder" or not aim.forms or "causal" in aim.forms


def table() -> list[list[str]]:
    """The grid with its heading: a row a kind, a column an architecture, and what a body needs beside its towers."""
    rows = [["kind", *ARCHITECTURES, "needs"]]
    for kind, aim in AIMS.items():
        rows.append([kind, *("yes" if fits(aim, name) else "–" for name in ARCHITECTURES), aim.needs])
    return rows


def markdown() -> str:
    """The grid as docs/pretraining.md has it."""
    heading, *rows = table()
    lines = [heading, ["---"] * len(heading), *([f"`{row[0]}`", *row[1:]] for row in rows)]
    return "\n".join(" ".join(["|", " | ".join(line), "|"]).replace("|  |", "| |") for line in lines)

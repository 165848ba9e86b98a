"""What our modules are called in a checkpoint, and where their rows lie there: the rules read for names alone."""

from __future__ import annotations

from collections.abc import Sequence

from modeledge.families.rules import MOVING, Interleave, Rule, Split
from modeledge.model.sites import Laid


def module_names(rules: Sequence[Rule]) -> dict[str, tuple[str, bool]]:
    """Our module's path → (its name in their model, transposed?): what `Site` and the PEFT format ask for."""
    found: dict[str, tuple[str, bool]] = {}
    for rule in rules:
        if isinstance(rule, MOVING):
            found |= rule.modules()
    return found


def module_rows(rules: Sequence[Rule]) -> dict[str, Laid]:
    """Our module's path → where its rows lie in theirs, for those that are a part of one of theirs."""
    found: dict[str, Laid] = {}
    for rule in rules:
        if isinstance(rule, Split | Interleave):
            laid = rule.laid()
            found |= {n.removesuffix(".weight"): laid[n] for n in rule.ours if n.endswith(".weight")}
    return found

"""Refuse before wasting: what spoils runs in silence elsewhere is found before the first step. `CHECKS` is the table.

Each check is a small function over a `View` of the run that is ready to begin. Two real steps are made on a copy, so
the run that follows is, bit for bit, what it would have been without.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from modeledge.errors import ModeledgeError, nearest
from modeledge.preflight import data, invariance, leaks, resources, schedule, specials, targets, weights
from modeledge.preflight.finding import Check, Finding, Token, record, shown
from modeledge.preflight.view import Reads, Room, Split, View

CHECKS: dict[str, Check] = {
    "empty-splits": data.empty_splits,
    "shared-rows": leaks.shared_rows,
    "near-rows": leaks.near_rows,
    "classes": data.classes,
    "label-text": data.label_text,
    "label-in-text": data.label_in_text,
    "telling-column": data.telling_column,
    "telling-token": data.telling_token,
    "specials-in-text": data.specials_in_text,
    "examples": targets.refused_examples,
    "empty-targets": targets.empty_targets,
    "label-range": targets.label_range,
    "target-weights": targets.weights_finite,
    "end-token": targets.end_token,
    "pad-token": targets.pad_token,
    "shifted": targets.shifted,
    "visible-mask": targets.visible_mask,
    "speaker-mask": targets.speaker_mask,
    "cut-examples": targets.cut_examples,
    "doubled-start": specials.doubled_start,
    "missing-start": specials.missing_start,
    "missing-last": specials.missing_last,
    "unknown-tokens": specials.unknown_tokens,
    "vocabulary": weights.vocabulary,
    "same-tokenizer": weights.same_tokenizer,
    "tied-weights": weights.tied_weights,
    "fresh-heads": weights.fresh_heads,
    "finite-weights": weights.finite_weights,
    "positions": weights.positions,
    "packing": invariance.packing,
    "padding": invariance.padding,
    "micro-batches": invariance.micro_batches,
    "ranks": invariance.ranks,
    "causal": invariance.causal,
    "repeatable": invariance.repeatable,
    "start-loss": weights.start_loss,
    "rate": schedule.rate,
    "schedule": schedule.schedule,
    "batch": schedule.batch_size,
    "epochs": schedule.epochs,
    "courses": schedule.courses,
    "two-steps": schedule.two_steps,
    "moving": weights.moving,
    "memory": resources.memory,
    "disk": resources.disk,
}


@dataclass(frozen=True)
class Verdict:
    """All findings, worst first, how many checks ran on how many examples, and how long it took."""

    findings: tuple[Finding, ...]
    checks: int
    examples: int
    seconds: float

    def refused(self, *, strict: bool = False, allow: Collection[str] = ()) -> list[Finding]:
        """The findings that stop the run: errors, and under `strict` warnings, of checks that are not allowed."""
        return [f for f in self.findings if (f.refuses or strict) and f.check not in allow]

    def __str__(self) -> str:
        return f"checked {self.checks} things on {self.examples} examples in {self.seconds:.1f} s"


def preflight(view: View, checks: Mapping[str, Check] = MappingProxyType(CHECKS)) -> Verdict:
    """Run every check. What a check meets that no run could survive (a `ModeledgeError`) is a finding too."""
    began = time.perf_counter()
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += [replace(finding, check=name) for finding in check(view)]
        except ModeledgeError as error:
            if all((error.code, error.what) != (f.code, f.what) for f in findings):  # several checks may meet one error
                findings.append(Finding(error.code, error.what, error.where, error.remedy, check=name))
    findings.sort(key=lambda finding: not finding.refuses)
    return Verdict(tuple(findings), len(checks), len(view.sample), time.perf_counter() - began)


def check_allowed(names: Collection[str]) -> None:
    """Refuse the name of a check that does not exist (`E-CONFIG-VALUE`)."""
    for name in names:
        if name not in CHECKS:
            what = f"there is no check {name!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="allow", remedy=nearest(name, CHECKS))


def refusal(refused: Collection[Finding]) -> ModeledgeError:
    """One error for all findings that stop a run; its code is that of the worst."""
    worst = next(iter(refused))
    code = worst.code if worst.refuses else "E-WARNING"
    names = ", ".join(dict.fromkeys(finding.check for finding in refused))
    what = f"the pre-flight refuses this run ({names}); first: {worst.what}"
    return ModeledgeError(code, what, where=worst.where, remedy=f"{worst.remedy or 'mend it'}, or allow={names!r}")


__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Reads",
    "Room",
    "Split",
    "Token",
    "Verdict",
    "View",
    "check_allowed",
    "preflight",
    "record",
    "refusal",
    "shown",
]

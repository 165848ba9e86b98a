"""Say by name which parameters move, or which stay: the split that no other row has.

Parameters have names like `tower.blocks.0.attention.query.weight`. A pattern is a glob over such a name
(`tower.blocks.*.attention.*`) or, behind `re:`, a regular expression that is found anywhere in it
(`re:blocks\\.[01]\\.`); several are parted by spaces. A pattern that matches nothing is a mistake and is refused with
what is there. BitFit, the split that moves biases alone, is a pattern with a name and a paper.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modeledge.adapt.checks import check_choice, check_text
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise

REGEX = "re:"


@dataclass(frozen=True)
class Named(Neutral):
    """Move the parameters that match `moving`, with the heads unless `heads` is False; or all but those in `frozen`.

    Give one of the two. `heads` is read with `moving` alone: what `frozen` matches stays, in a head too.
    """

    only: str = ""
    still: str = ""
    heads: bool = True

    def __post_init__(self) -> None:
        for field in ("only", "still"):
            check_text(f"named.{field}", getattr(self, field))
        check_choice("named.heads", self.heads, (True, False))
        if bool(self.only.split()) == bool(self.still.split()):
            what = "it needs one of only and still"
            raise ModeledgeError("E-CONFIG", what, where="strategies.named", remedy="give a pattern of names")
        for pattern in (self.only or self.still).split():
            _compiled(pattern)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Refuse a pattern that matches no parameter of the model (`E-SITE`)."""
        matched(model, self.only or self.still, "strategies.named")

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """What matches, or what does not, at the base rate."""
        found = matched(model, self.only or self.still, "strategies.named")
        if self.still:
            return all_but(model, found)
        body = set(parts_of(model).body)
        kept = [n for n, _ in model.named_parameters() if n in found or (self.heads and n not in body)]
        return (Group(tuple(kept)),)


@dataclass(frozen=True)
class BitFit(Neutral):
    """Move the biases of the body, with all of the heads: b moves, W stays in y = W x + b (Ben-Zaken et al. 2022, arXiv
    2106.10199, section 3).

    A bias is a vector that its module calls so: those of the linear maps and of the norms. That is about 0.1 % of BERT,
    which learns small data sets as well as all of it. LLaMA and T5 have no biases, and are refused.
    """

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Refuse a body without biases (`E-SITE`)."""
        if not biases(model):
            raise ModeledgeError(
                "E-SITE",
                "the body has no biases",
                where="strategies.bitfit",
                why="only its heads would move",
                remedy="use probe, or an adapter",
            )

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """The biases and the heads at the base rate."""
        heads = [name for part in parts_of(model).heads.values() for name in part.names]
        return (Group((*biases(model), *heads)),)


def biases(model: Backbone) -> tuple[str, ...]:
    """The names of the body's biases: vectors that the module which owns them calls `bias`."""
    body = set(parts_of(model).body)
    named = ((name, p) for name, p in model.named_parameters() if name in body)
    return tuple(name for name, p in named if p.ndim == 1 and name.rpartition(".")[2].endswith("bias"))


def matched(model: Backbone, patterns: str, where: str) -> set[str]:
    """The names of all parameters that one of the patterns matches; one that matches nothing is `E-SITE`."""
    names = [name for name, _ in model.named_parameters()]
    found: set[str] = set()
    for pattern in patterns.split():
        here = {name for name in names if _compiled(pattern).search(name)}
        if not here:
            what = f"{pattern!r} matches no parameter"
            raise ModeledgeError("E-SITE", what, where=where, remedy=f"there are {', '.join(folded(names))}")
        found |= here
    return found


def folded(names: Iterable[str]) -> list[str]:
    """Names in short: those that differ in a number alone are one, with `*` in its place."""
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names))


def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob or a regular expression as one that `search` finds; a broken one is `E-CONFIG-VALUE`."""
    plain = pattern.removeprefix(REGEX)
    try:
        return re.compile(plain if pattern.startswith(REGEX) else rf"\A{fnmatch.translate(pattern)}")
    except re.error as error:
        what = f"{pattern!r} is no regular expression: {error}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="strategies.named") from error

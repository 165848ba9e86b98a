"""Mending a damaged text: the one objective of T5, BART, UL2, MASS and prefix language models.

The inputs are a text after some noise (`Damage`), the targets what is missing of it or the text itself, and the loss is
−Σ log p(target token | inputs, targets before it) on whichever body the `Form` is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LMHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.corrupt import Split
from modeledge.objectives.damage import Damage
from modeledge.objectives.form import Form, most_tokens
from modeledge.objectives.objective import Loss, Measure, Objective
from modeledge.records import Example, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class DenoisePrepare:
    """A text → its damaged form and what is to be written, in the form of the body."""

    form: Form
    damage: Damage
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        """What the damage reads beside ids."""
        return self.damage.channels

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        made = self.damage(example, noise.at("denoise").generator())
        return self.form.prepared(example.index, made.inputs, made.targets, begins=made.begins)

    def tokens(self, length: int) -> int:
        """How many tokens of a text fill `length` positions after the noise."""
        return most_tokens(self.damage.sizes, self.form, length)


class Denoise(Objective):
    """Write what the noise took away.

    Held-out text has a `loss` and no perplexity: what stands before a gap and behind it, or a damaged copy of all that
    is to be written, is given, and of the targets some are signs that are no text. Σ −log p is then the likelihood of
    no text, and its exponential would be read as one.
    """

    prepare: DenoisePrepare
    continues = frozenset({"lm"})

    def __init__(self, prepare: DenoisePrepare, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare = prepare
        self.heads: Mapping[str, Head] = {"lm": head or LMHead()}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm")})


class PrefixLM(Denoise):
    """The rest of a text from its beginning, which is read both ways: an encoder–decoder's language modelling
    (Raffel et al. 2020, table 3, first row; Dong et al. 2019, section 2.3). Nothing of the rest is given away, so the
    loss is a likelihood of text, as of a causal model that is asked for the rest alone."""

    measure: ClassVar[Measure] = "likelihood"

    def __init__(self, form: Form, *, share: float | None = None, head: LMHead | None = None) -> None:
        super().__init__(DenoisePrepare(form, Split(share)), head=head)

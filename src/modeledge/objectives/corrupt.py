"""Ways to damage a text that a model learns to mend: Raffel et al. 2020 (T5, arXiv 1910.10683), tables 3 and 5 to 7.

Each is a plain value that makes inputs and targets of an example; `Form` lays them out. Of "Thank you for inviting me
to your party last week ." with "for inviting" and "last" chosen:

    RandomSpans, Scattered   Thank you <X> me to your party <Y> week .      →  <X> for inviting <Y> last <Z>
    Dropped                  Thank you me to your party week .              →  for inviting last
    Masked                   Thank you <M> <M> me to your party <M> week .  →  the text ("MASS-style")
    Masked, as_random 0.1    the same, a chosen token in ten another one    →  the text ("BERT-style")
    Shuffled                 party me for your to . last you inviting week Thank …  →  the text
    Salients                 likewise spans and sentinels, of names, dates and numbers alone
    Fragment                 Thank you <M> <M> <M> <M> <M> party …          →  for inviting me to your

`RandomSpans` is the objective that T5 chose; `Fragment` is MASS as it was published (Song et al. 2019, arXiv
1905.02450). `Salients` is what Roberts et al. 2020 (arXiv 2002.08910, section 3.2) went on with for questions without
a text, after Guu et al. 2020 (`modeledge.corpus.salient`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modeledge.corpus.channels import SALIENT
from modeledge.objectives.damage import (
    Damage,
    Damaged,
    Generator,
    chosen,
    composition,
    disguised,
    hidden_at_most,
    ordinary,
    replaced,
    runs,
    runs_at_most,
    tokens_of,
)
from modeledge.objectives.form import Sizes
from modeledge.objectives.units import Readable, affordable, salient_runs
from modeledge.records import Example, IntArray

# ---- spans and sentinels


@dataclass(frozen=True)
class RandomSpans(Damage):
    """A share of the text in spans of a mean length, each replaced by a sentinel of its own: T5's span corruption.

    round(`rate` · n) tokens are cut at random into round(that / `mean`) spans, the rest into as many, and both are
    laid in turn, the text's first: every partition is as likely as any other, no two spans touch, and the last token
    is always one of a span (the reference's `random_spans_noise_mask`). `mean` `None` is one span, the end of the text.
    Raises `E-SPECIAL-TOKEN` where there are more spans than `sentinels`.
    """

    sentinels: tuple[int, ...]
    rate: float = 0.15
    mean: float | None = 3.0

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        return replaced(ids, self.spans(len(ids), random), self.sentinels)

    def counts(self, tokens: int) -> tuple[int, int]:
        """Tokens in spans, and spans, of a text of so many."""
        hidden = min(max(round(tokens * self.rate), 1), tokens - 1)
        spans = 1 if self.mean is None else max(round(hidden / self.mean), 1)
        return hidden, min(spans, hidden, tokens - hidden)

    def spans(self, tokens: int, random: Generator) -> IntArray:
        """Where the spans stand: (start, stop), `[spans, 2]`."""
        hidden, count = self.counts(tokens)
        between, within = (composition(total, count, random) for total in (tokens - hidden, hidden))
        stops = np.cumsum(between + within)
        return np.stack([stops - within, stops], 1)

    def needs(self, tokens: int) -> int:
        """How many sentinels a text of so many tokens asks for."""
        return self.counts(tokens)[1]

    def sizes(self, tokens: int) -> Sizes:
        hidden, spans = self.counts(tokens)
        return [(tokens - hidden + spans, hidden + spans)]


@dataclass(frozen=True)
class Scattered(Damage):
    """Each token is chosen for itself with chance `rate`; a run of chosen ones is replaced by one sentinel ("i.i.d.,
    replace corrupted spans"). At least one token is chosen, at most what `hidden_at_most` and `runs_at_most` say.
    Raises `E-SPECIAL-TOKEN` where the runs and the end need more than there are `sentinels`."""

    sentinels: tuple[int, ...]
    rate: float = 0.15

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        spans = runs(chosen(len(ids), self.rate, random))
        return replaced(ids, spans[: runs_at_most(len(ids), self.rate)], self.sentinels)

    def needs(self, tokens: int) -> int:
        """The most sentinels that a text of so many tokens asks for."""
        return runs_at_most(tokens, self.rate) + 1

    def sizes(self, tokens: int) -> Sizes:
        """Inputs never grow, as a run is a token or more."""
        hidden, most = hidden_at_most(tokens, self.rate), runs_at_most(tokens, self.rate)
        return [(tokens, 3), (tokens - hidden + most, hidden + most + 1)]


@dataclass(frozen=True)
class Salients(Damage):
    """Names, dates and numbers, each replaced by a sentinel: salient span masking as span corruption.

    In random order as many as fit round(`rate` · n) tokens, one in any case, cut where it alone has more. A text
    without any is damaged as `RandomSpans` of mean length `mean`. Raises `E-SPECIAL-TOKEN` where there are too few
    `sentinels`.
    """

    sentinels: tuple[int, ...]
    rate: float = 0.15
    mean: float = 3.0

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({SALIENT})

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        starts, stops = salient_runs(Readable(np.arange(len(ids)), example.channels, example.where))
        if not len(starts):
            return self.otherwise(example, random)
        budget = self.hidden(len(ids))
        stops = np.minimum(stops, starts + budget)
        kept = affordable(stops - starts, budget, random)
        return replaced(ids, np.stack([starts[kept], stops[kept]], 1), self.sentinels)

    @property
    def otherwise(self) -> RandomSpans:
        """What is done to a text that names nothing."""
        return RandomSpans(self.sentinels, self.rate, self.mean)

    def hidden(self, tokens: int) -> int:
        """The most tokens that are hidden of so many."""
        return self.otherwise.counts(tokens)[0]

    def needs(self, tokens: int) -> int:
        """A sentinel for each hidden token, and for the end."""
        return self.hidden(tokens) + 1

    def sizes(self, tokens: int) -> Sizes:
        """Inputs are as long as the text where each span is one token, and targets have a sentinel for each."""
        return [(tokens, 2 * self.hidden(tokens) + 1)]


# ---- tokens


@dataclass(frozen=True)
class Dropped(Damage):
    """Each token is taken out with chance `rate`, at least one, not all; those are the targets ("drop corrupted
    tokens")."""

    rate: float = 0.15

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        gone = chosen(len(ids), self.rate, random)
        return Damaged(ids[~gone], ids[gone])

    def sizes(self, tokens: int) -> Sizes:
        return [(tokens - hidden, hidden) for hidden in (1, tokens - 1)]


@dataclass(frozen=True)
class Masked(Damage):
    """Each token is chosen with chance `rate`, at least one, and hidden; the whole text is the target.

    A chosen token is another ordinary one with chance `as_random` and the mask otherwise: 0 is T5's "MASS-style", 0.1
    its "BERT-style". `vocab` and `specials` say which ids are ordinary.
    """

    mask: int
    rate: float = 0.15
    as_random: float = 0.0
    vocab: int = 0
    specials: tuple[int, ...] = ()

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        where = chosen(len(ids), self.rate, random)
        return Damaged(disguised(ids, where, self.mask, random, shares=(self.as_random, 0.0), others=self._others), ids)

    @property
    def _others(self) -> IntArray:
        return ordinary(self.vocab, (*self.specials, self.mask))

    def sizes(self, tokens: int) -> Sizes:
        return [(tokens, tokens)]


@dataclass(frozen=True)
class Shuffled(Damage):
    """All tokens in a random order; the text is the target ("deshuffling")."""

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        return Damaged(random.permutation(ids), ids)

    def sizes(self, tokens: int) -> Sizes:
        return [(tokens, tokens)]


@dataclass(frozen=True)
class Fragment(Damage):
    """One stretch of round(`share` · n) tokens is hidden, each token for itself, and it alone is the target (MASS).

    Of the hidden tokens 80 % are the mask, 10 % random and 10 % stay (section 4.1). The decoder's positions are those
    that the stretch has in the text; the tokens before and behind it, which the paper masks there, are left out.
    """

    mask: int
    share: float = 0.5
    as_random: float = 0.1
    as_same: float = 0.1
    vocab: int = 0
    specials: tuple[int, ...] = ()

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        count = self.count(len(ids))
        start = int(random.integers(0, len(ids) - count + 1))
        where = (np.arange(len(ids)) >= start) & (np.arange(len(ids)) < start + count)
        shares = (self.as_random, self.as_same)
        told = disguised(ids, where, self.mask, random, shares=shares, others=self._others)
        return Damaged(told, ids[start : start + count], start)

    def count(self, tokens: int) -> int:
        """How long the stretch is."""
        return min(max(round(tokens * self.share), 1), tokens)

    @property
    def _others(self) -> IntArray:
        return ordinary(self.vocab, (*self.specials, self.mask))

    def sizes(self, tokens: int) -> Sizes:
        return [(tokens, self.count(tokens))]


@dataclass(frozen=True)
class Split(Damage):
    """The beginning of a text is the input, the rest the target: prefix language modelling.

    Without a `share` the cut is anywhere, each place as likely (the reference's `random_prefix_noise_mask`); with one
    it stands behind round(`share` · n) tokens. Both parts have a token.
    """

    share: float | None = None

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = tokens_of(example)
        cut = int(random.integers(1, len(ids))) if self.share is None else self.cut(len(ids))
        return Damaged(ids[:cut], ids[cut:])

    def cut(self, tokens: int) -> int:
        """How long the prefix is, where its share is given."""
        assert self.share is not None
        return min(max(round(tokens * self.share), 1), tokens - 1)

    def sizes(self, tokens: int) -> Sizes:
        cuts = (1, tokens - 1) if self.share is None else (self.cut(tokens),)
        return [(cut, tokens - cut) for cut in cuts]

"""How answers are written, as one plain value: greedily, by lot or by beam search, between which lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modeledge.errors import ModeledgeError
from modeledge.generate.engine import generate
from modeledge.generate.rules import Rules
from modeledge.generate.sample import Sampling
from modeledge.generate.search import Beams, beam_search
from modeledge.model.backbone import Backbone
from modeledge.records import IntArray
from modeledge.seed import Noise


@dataclass(frozen=True)
class Decoding:
    """Greedy as it stands; by lot with a `temperature`, by beam search with more than one of `beams` (not both).

    The fields are those of `Sampling`, `Beams` and `Rules`. `seed` is that of the lots.
    """

    max_new_tokens: int = 64
    min_new_tokens: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beams > 1 and self.temperature > 0:
            what = f"{self.beams} beams and temperature {self.temperature} are two ways of choosing"
            raise ModeledgeError("E-USAGE", what, remedy="set beams = 1 or temperature = 0")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens or self.max_new_tokens < 1:
            what = f"an answer of {self.min_new_tokens} to {self.max_new_tokens} tokens cannot be written"
            raise ModeledgeError("E-USAGE", what, where="max_new_tokens")
        assert self.sampling.rules == self.search.rules  # both are made here, so that wrong values are refused at once

    @property
    def rules(self) -> Rules:
        """What may not be written."""
        return Rules(self.min_new_tokens, self.no_repeat_ngram, self.repetition_penalty)

    @property
    def sampling(self) -> Sampling:
        """How one token is chosen."""
        return Sampling(self.temperature, self.top_k, self.top_p, self.rules)

    @property
    def search(self) -> Beams:
        """How beginnings are kept."""
        return Beams(self.beams, self.length_penalty, self.early_stopping, self.rules)


def written(
    model: Backbone,
    prompts: Sequence[IntArray],
    decoding: Decoding,
    *,
    stop: Sequence[int] = (),
    start: Sequence[int] = (),
    both_ways: bool = False,
    noise: Sequence[Noise] | None = None,
) -> list[IntArray]:
    """New tokens for each prompt, without a stop: see `generate` for the arguments and the errors."""
    room = decoding.max_new_tokens
    if decoding.beams > 1:
        search = decoding.search
        found = beam_search(
            model, prompts, max_new_tokens=room, beams=search, stop=stop, start=start, both_ways=both_ways
        )
        return [answers[0].tokens for answers in found]
    return generate(
        model,
        prompts,
        max_new_tokens=room,
        sampling=decoding.sampling,
        stop=stop,
        noise=Noise(decoding.seed) if noise is None else noise,
        start=start,
        both_ways=both_ways,
    )

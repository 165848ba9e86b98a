"""What a model writes while it is trained: the same prompts every so many steps, in `samples.jsonl`.

A decoder continues the prompts (`continuation`), and one that foretells no next token does so in the way that it was
trained to write (`generate/hidden.py`); an encoder fills their masks, a model with both answers what its
objective makes of an example (`answer`). Nothing of it can be seen in the training: the lots are a function of (seed,
"samples", step, prompt), the modes of all modules are put back, and no gradient is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, Any

import numpy as np

from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.generate import HiddenWay, Sampling, Way, continue_hidden, generate, guesses
from modeledge.generate.engine import check_scores, fill_mask
from modeledge.model.backbone import Backbone
from modeledge.objectives import prepared
from modeledge.recipes.pretraining.held import split_stream
from modeledge.recipes.recipe import PretrainRecipe, SamplesRecipe
from modeledge.records import Example, IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.train import StepRecord, Trainer
from modeledge.train.log import reopened
from modeledge.train.session import Listener

SAMPLES = "samples.jsonl"
BEGUN = 16  # tokens of an example that a decoder is given, and around the masks that an encoder fills
FRAME = 2  # special tokens around a prompt whose continuation is guessed
HIDDEN = 0.15


@contextmanager
def sampling(
    recipe: PretrainRecipe, trainer: Trainer, tokenizer: Tokenizer, streams: Sequence[ShardStream], folder: Path
) -> Iterator[list[Listener]]:
    """The listener that writes samples, where the recipe asks for them."""
    if recipe.samples is None:
        yield []
        return
    sampler = Sampler(
        recipe.samples, trainer, tokenizer, chosen(recipe, streams), recipe.objective.writes(trainer.model.config)
    )
    sampler.check()
    file = reopened(folder / SAMPLES, trainer.done)
    try:
        yield [lambda record: sampler.listen(record, file)]
    finally:
        file.close()


def chosen(recipe: PretrainRecipe, streams: Sequence[ShardStream]) -> list[Example]:
    """The examples that are begun where no prompt is given: held out, where anything is; of each corpus in turn."""
    assert recipe.samples is not None
    count, found = recipe.samples.count, list[list[Example]]()
    for stream in streams:
        if recipe.held_out:
            found.append(split_stream(stream, recipe.held_out, recipe.seed)[1][:count])
        else:
            found.append([stream.example(i) for i in range(min(count, len(stream)))])
    turns = (one for turn in zip_longest(*found) for one in turn if one is not None)
    return list(islice(turns, count))


@dataclass
class Sampler:
    """Prompts and how they are answered; `writes` is the way of a model that guesses hidden tokens."""

    recipe: SamplesRecipe
    trainer: Trainer
    tokenizer: Tokenizer
    examples: Sequence[Example]
    writes: Way | None = None

    def listen(self, record: StepRecord, file: IO[str]) -> None:
        """Write the samples of a step that is due, or the last."""
        if record.step % self.recipe.every and record.step != record.of:
            return
        config = self.trainer.model.config
        told = "continuation" if config.encoder is None else "answer"
        for prompt, text in self.samples(record.step):
            row = {"step": record.step, "prompt": prompt, told: text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())

    def samples(self, step: int) -> list[tuple[str, str]]:
        """(prompt, answer) of each prompt with the weights of now, averaged ones where an average is kept."""
        model = self.trainer.model
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            with self.trainer.averaged():
                return self._answers(model, Noise(self.trainer.noise.seed).at("samples", step))
        finally:
            for module, mode in modes.items():
                module.training = mode

    def check(self) -> None:
        """Refuse what no step could answer before the first one: a model that gives no token a score, a prompt without
        a gap for an encoder (`E-USAGE`), one that is too long (`E-POSITION`)."""
        model = self.trainer.model
        check_scores(model)
        if model.config.both:
            prompts, start = self._sources()
            model.check_length(max(map(len, prompts), default=0))
            self._room(len(start))
        elif model.config.decoder is None:
            prompts, mask = self._gaps(), self.tokenizer.need("mask")
            model.check_length(max(map(len, prompts), default=0))
            if not all((ids == mask).any() for ids in prompts):
                what = f"a prompt has no {self.tokenizer.token(mask)} for an encoder to fill"
                raise ModeledgeError(
                    "E-USAGE", what, where="samples.prompts", remedy="write it where a word is missing"
                )
        else:
            prompts = self._begun()
            self._room(max(map(len, prompts), default=0) + (FRAME if guesses(self.writes) else 0))
        if not all(map(len, prompts)):
            what, remedy = "a prompt is empty", "write something, or leave the prompts out"
            raise ModeledgeError("E-USAGE", what, where="samples.prompts", remedy=remedy)

    def _answers(self, model: Backbone, noise: Noise) -> list[tuple[str, str]]:
        if model.config.both:
            sources, start = self._sources()
            written = self._written(model, sources, noise, start)
            return [(self._text(s), self._text(w)) for s, w in zip(sources, written, strict=True)]
        if model.config.decoder is None:
            return [self._filled(model, ids) for ids in self._gaps()]
        ids = self._begun()
        if guesses(self.writes):
            return self._guessed(model, self.writes, ids, noise)
        written = self._written(model, ids, noise)
        return [(self._text(i), self._text([*i, *w])[len(self._text(i)) :]) for i, w in zip(ids, written, strict=True)]

    def _begun(self) -> list[IntArray]:
        """What a decoder continues: prompts, or the beginnings of examples, which leave half of the positions free."""
        bos, positions = self.tokenizer.specials.bos, self.trainer.model.room
        count = BEGUN if positions is None else max(1, min(BEGUN, positions // 2 - FRAME))
        ids: list[IntArray] = [self.tokenizer.encode(text) for text in self.recipe.prompts]
        begin: IntArray = np.array([] if bos is None else [bos])
        return [i if len(i) else begin for i in ids] or [example.ids[:count] for example in self.examples]

    def _sources(self) -> tuple[list[IntArray], list[int]]:
        """What an encoder–decoder reads, and the tokens that its answers begin with: what its objective makes of an
        example, or prompts as they stand."""
        objective = self.trainer.module.objective
        ready = [prepared(objective, example, Noise(0)) for example in self.examples]
        sources: list[IntArray] = [np.asarray(p.source.ids, np.int64) for p in ready if p.source is not None]
        if self.recipe.prompts:
            sources = [self.tokenizer.encode(text) for text in self.recipe.prompts]
        target = ready[0].target
        assert target is not None, "a decoder writes something"
        asked = 1 + min(int(at[0]) for at in ready[0].reads.values() if len(at))  # what stands before it is given
        return sources, [int(i) for i in target.ids[:asked]]

    def _room(self, taken: int) -> int:
        """How many tokens are written behind those that are `taken` (`E-POSITION` where there is no place for one)."""
        positions = self.trainer.model.room
        room = self.recipe.tokens if positions is None else min(self.recipe.tokens, positions - taken)
        if room < 1:
            what = f"a prompt leaves no room in {positions} positions"
            raise ModeledgeError("E-POSITION", what, where="samples.prompts", remedy="shorten the prompt")
        return room

    def _written(self, model: Backbone, ids: Sequence[IntArray], noise: Noise, start: Sequence[int] = ()) -> Any:
        eos = self.tokenizer.specials.eos
        room = self._room(len(start) or max(map(len, ids), default=0))
        how = Sampling(self.recipe.temperature)
        ends = () if eos is None else (eos,)
        ways = self.writes == "prefix"
        return generate(
            model, ids, max_new_tokens=room, sampling=how, stop=ends, noise=noise, start=start, both_ways=ways
        )

    def _guessed(self, model: Backbone, way: HiddenWay, ids: Sequence[IntArray], noise: Noise) -> list[tuple[str, str]]:
        """Prompts read both ways, and what is guessed behind them."""
        prompts = list(self.recipe.prompts) or [self._text(i) for i in ids]
        room = self._room(max(len(self.tokenizer.encode(prompt)) for prompt in prompts) + FRAME)
        how = Sampling(self.recipe.temperature)
        told = continue_hidden(model, self.tokenizer, prompts, way, max_new_tokens=room, sampling=how, noise=noise)
        return list(zip(prompts, told, strict=True))

    def _gaps(self) -> list[IntArray]:
        """Prompts with their masks, or the beginnings of the examples with some tokens hidden, always the same."""
        cls, sep, mask = (self.tokenizer.need(role) for role in ("cls", "sep", "mask"))
        name, out = self.tokenizer.token(mask), []
        for prompt in self.recipe.prompts:
            parts = [self.tokenizer.encode(part.rstrip(" ")).tolist() for part in prompt.split(name)]
            out.append([i for number, part in enumerate(parts) for i in ([mask] if number else []) + part])
        for number, example in enumerate(() if out else self.examples):
            ids = np.array(example.ids[: 2 * BEGUN], np.int64)
            lots = Noise(0).at("samples", number).generator()
            ids[lots.choice(len(ids), max(1, round(HIDDEN * len(ids))), replace=False)] = mask
            out.append(ids.tolist())
        return [np.array([cls, *ids, sep]) for ids in out]

    def _filled(self, model: Backbone, ids: IntArray) -> tuple[str, str]:
        mask = self.tokenizer.need("mask")
        best = [gap[0][0] for gap in fill_mask(model, ids, mask, top=1)]
        whole = ids.copy()
        whole[whole == mask] = best
        return self._text(ids[1:-1]), self._text(whole[1:-1])

    def _text(self, ids: Sequence[int] | IntArray) -> str:
        return self.tokenizer.decode(ids, skip_specials=False)

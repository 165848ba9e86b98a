"""A corpus as a recipe of its own (`kind = "corpus"`): its files or its mixture, and its tokenizer.

    modeledge corpus build recipes/corpus_fineweb.toml --data FOLDER --out corpora/web

The folder gets `tokenizer`, the shards (`corpus`, or `sources/NAME`), the ledger, and the resolved recipe; a
pre-training names them (`corpus.shards`, `tokenizer.path`). Of a mixture the plan is said, and written to `plan.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from modeledge import files
from modeledge.config import Settings, load_config, to_toml
from modeledge.corpus.mixture import plan_mixture
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.recipes.build import fresh
from modeledge.recipes.folder import RECIPE
from modeledge.recipes.mixture import MixtureRecipe
from modeledge.recipes.pretrain import prepare_texts
from modeledge.recipes.recipe import PretrainRecipe, absolute
from modeledge.recipes.source import Say
from modeledge.recipes.texts import CorpusRecipe, TokenizerRecipe

PLACE = "{data}"


class CorpusFile(Settings):
    """A corpus or a mixture of several, with the tokenizer that is trained on it or named. `tokens` is what a run will
    read, for the plan of the mixture; `data` is the folder that `{data}` stands for in paths."""

    kind: Literal["corpus"] = "corpus"
    data: str = "data"
    tokens: float | None = Field(default=None, gt=0)
    corpus: CorpusRecipe = CorpusRecipe()
    mixture: MixtureRecipe | None = None
    tokenizer: TokenizerRecipe = TokenizerRecipe()

    def recipe(self) -> PretrainRecipe:
        """What builds it, with the places of its files."""
        mixture = self.mixture
        if mixture is not None:
            sources = {name: self._placed(source) for name, source in mixture.sources.items()}
            mixture = mixture.model_copy(update={"sources": sources})
        return absolute(PretrainRecipe(corpus=self._placed(self.corpus), mixture=mixture, tokenizer=self.tokenizer))

    def _placed(self, corpus: CorpusRecipe) -> CorpusRecipe:
        def placed(paths: Sequence[str]) -> tuple[str, ...]:
            return tuple(path.replace(PLACE, self.data.rstrip("/") or "/") for path in paths)

        sources = tuple(source.model_copy(update={"paths": placed(source.paths)}) for source in corpus.sources)
        return corpus.model_copy(update={"paths": placed(corpus.paths), "sources": sources})


def build_file(
    path: Path, out: Path, say: Say, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> Shards | Mapping[str, Shards]:
    """Build the corpus of a recipe file in the folder `out`. Raises what reading and cleaning raise, `E-OUTPUT`."""
    asked = load_config(CorpusFile, path, overrides, values)
    if asked.tokens is not None and asked.mixture is None:
        what = "tokens plan a mixture, and there is none"
        raise ModeledgeError("E-CONFIG", what, where=f"{path}: tokens", remedy="leave it out, or add [mixture]")
    fresh(out)
    out.mkdir(parents=True, exist_ok=True)
    recipe = asked.recipe()
    files.write_text(out / RECIPE, to_toml(asked))
    tokenizer, shards = prepare_texts(recipe, out, None, say)
    say(f"{tokenizer.vocab_size:,} ids; {sum(len(s) for s in each(shards)):,} tokens: {out}")
    if asked.tokens is not None and recipe.mixture is not None and not isinstance(shards, Shards):
        sizes = {name: float(len(one)) for name, one in shards.items()}
        limit = recipe.mixture.max_epochs if recipe.mixture.beyond == "share" else None
        starts = [0.0, *(phase.start for phase in recipe.mixture.phases), 1.0]
        parts = [(b - a) * asked.tokens for a, b in pairwise(starts)]
        plan = plan_mixture(sizes, asked.tokens, recipe.mixture.planned(parts), limit=limit).table()
        files.write_text(out / "plan.txt", plan + "\n")
        say(plan)
    return shards


def each(shards: Shards | Mapping[str, Shards]) -> Sequence[Shards]:
    """The shards of one corpus, or of every source."""
    return [shards] if isinstance(shards, Shards) else list(shards.values())

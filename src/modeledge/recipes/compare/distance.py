"""How far the texts that a body was pre-trained on are from those of a task.

Two measures, both on the pieces of the study's tokenizer, from as many tokens of each corpus:

    JSD(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m),  m = ½ (p + q)            bits, from 0 (alike) to 1 (no piece in common)
    H(q, p)   = −1/n Σ log₂ p(wᵢ | wᵢ₋₂ wᵢ₋₁)                         bits a piece

The first is the Jensen-Shannon divergence of how often each piece stands there: the measure that foretold best which
source helps which target in Plank and van Noord (2011), and one of those that Ruder and Plank learn to weigh (2017,
arXiv 1707.05246). It does not know the order of words. The second does: a Kneser-Ney model of three pieces
(`corpus.quality.ngram`) learns the source and foretells the target. Texts of the target are those of its test rows:
its training rows may stand in the source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeledge import files
from modeledge.corpus.quality.ngram import EDGE, SPECIALS, NgramModel, estimate
from modeledge.corpus.shard import Shards
from modeledge.recipes.compare.corpora import Texts
from modeledge.recipes.compare.grid import Unit, finetune_recipe, learned_by, texts_of
from modeledge.recipes.compare.rows import table, table_of
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.corpora.mixed import MIXTURE
from modeledge.recipes.tuning.rows import task_named
from modeledge.records import IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer

TOKENS = 200_000  # of a corpus, whole documents by lot; fewer where the smallest corpus of the study has fewer
AHEAD = len(SPECIALS)  # ids below are those of the n-gram model


@dataclass(frozen=True)
class Distance:
    """From a source to a target: the divergence of their pieces, and the bits a piece of the target."""

    divergence: float
    bits: float


def distances(study: StudyRecipe, folder: Path) -> dict[tuple[str, str], Distance]:
    """Of each cell that is pre-trained here and each task, where the study has several corpora that are built."""
    cells = [name for name, cell in study.cells.items() if cell.of is None and cell.model is None]
    texts = {name: texts_of(study, name, folder.absolute()) for name in cells}
    texts = {name: found for name, found in texts.items() if all(place.exists() for _, place in found.corpora.values())}
    if not (folder / "tokenizer").exists() or len({_content(found) for found in texts.values()}) < 2:
        return {}
    tokenizer, out = Tokenizer.load(folder / "tokenizer"), dict[tuple[str, str], Distance]()
    parts = {name: read_shares(study, name, folder, found) for name, found in texts.items()}
    most = min(TOKENS, *(int(least_whole(found)) for found in parts.values()))
    targets = {task: target_texts(study, cells[0], task, folder) for task in study.tasks}
    coded = {task: tokenizer.encode_batch(found) for task, found in targets.items() if found}
    for name, found in texts.items():
        own = tokenizer if found.tokenizer == folder.absolute() / "tokenizer" else Tokenizer.load(found.tokenizer)
        source = [ids for shards, share in parts[name] for ids in sampled(shards, round(most * share), own)]
        if own is not tokenizer:
            source = tokenizer.encode_batch([own.decode(ids) for ids in source])
        model = trigrams(source, tokenizer.vocab_size)
        for task, target in coded.items():
            told = Distance(divergence(source, target, tokenizer.vocab_size), bits_a_piece(model, target))
            out[name, task] = told
    return out


def _content(texts: Texts) -> tuple[str, ...]:
    """What a cell reads: the folders of its corpora, and the table of its mixture, which weighs them."""
    mixture = texts.recipe.mixture
    told = "" if mixture is None else mixture.model_dump_json()
    return (*(str(place) for _, place in texts.corpora.values()), told)


def read_shares(study: StudyRecipe, cell: str, folder: Path, texts: Texts) -> list[tuple[Shards, float]]:
    """The corpora of a cell, and the share of its tokens that each gives: of a mixture what its first run has planned,
    and before that their sizes."""
    shards = {name: Shards.open(place, verify=False) for name, (_, place) in texts.corpora.items()}
    sizes = {name: float(len(found)) for name, found in shards.items()}
    path = Unit(cell, study.seeds[0]).folder(folder) / MIXTURE
    if path.exists():
        sizes = {row["name"]: row["planned"] for row in files.read_json(path)["sources"]}
    whole = math.fsum(sizes.values())
    return [(found, sizes[name] / whole) for name, found in shards.items()]


def least_whole(parts: Sequence[tuple[Shards, float]]) -> float:
    """How many tokens can be drawn in these shares without a corpus being drawn whole twice."""
    return min(len(shards) / share for shards, share in parts if share > 0)


def sampled(shards: Shards, most: int, tokenizer: Tokenizer) -> Iterator[IntArray]:
    """Documents by lot until there are so many tokens, the last one cut; without what ends each."""
    left, starts, eos = most, shards.documents, tokenizer.specials.eos
    for place in Noise(0).at("distance").generator().permutation(len(starts) - 1):
        if left <= 0:
            return
        ids = shards.tokens(int(starts[place]), int(starts[place + 1]))[:left]
        left -= len(ids)
        yield ids if eos is None else ids[ids != eos]


def target_texts(study: StudyRecipe, cell: str, task: str, folder: Path) -> list[str]:
    """What the test rows of a task show a model: all columns but the one that is learned."""
    path = table_of(folder, task, "test")
    if not path.exists():
        return []
    asked = Unit(cell, study.seeds[0], task)
    recipe = finetune_recipe(study, learned_by(study, asked) or asked, folder)
    kind, roles = task_named(recipe)
    columns = [column for role, column in roles.items() if role != kind.target]
    values = [row[column] for row in table(str(path)) for column in columns if column in row]
    return [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]


def divergence(source: Sequence[IntArray], target: Sequence[IntArray], size: int) -> float:
    """The Jensen-Shannon divergence of how often each of `size` pieces stands in two sets of texts, in bits."""
    p, q = (np.bincount(np.concatenate(side), minlength=size).astype(np.float64) for side in (source, target))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    parts = [side[side > 0] * np.log2(side[side > 0] / middle[side > 0]) for side in (p, q)]
    return float(sum(part.sum() for part in parts) / 2)


def trigrams(source: Sequence[IntArray], size: int) -> NgramModel:
    """A Kneser-Ney model of ids."""
    words = [str(number) for number in range(size + AHEAD)]
    return NgramModel(words, estimate([edged(ids) for ids in source], len(words)))


def bits_a_piece(model: NgramModel, target: Sequence[IntArray]) -> float:
    """Cross-entropy of texts under a model, their ends among the pieces."""
    logs = np.concatenate([model.log_probabilities(edged(ids)) for ids in target])
    return float(-logs.mean() / math.log(2))


def edged(ids: IntArray) -> IntArray:
    """The ids of a text as the n-gram model has them."""
    return np.concatenate(([EDGE], ids + AHEAD, [EDGE])).astype(np.int64)

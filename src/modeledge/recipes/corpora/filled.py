"""How full the rows of a corpus would be: `[packing]` of its recipe, counted over all its documents.

Shards hold documents one after the other and no rows: how a run cuts and packs them is arithmetic on their boundaries
(`corpus.pack`), and two runs may do it in two ways. What the recipe of a corpus asks for is worked out here, written to
`packing.json` and drawn on the data card: examples, rows, and the share of their positions that holds a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modeledge.corpus.pack import cut_examples, left_out, plan_rows
from modeledge.corpus.shard import OFFSETS
from modeledge.recipes.corpora.corpus_file import PackingRecipe
from modeledge.records import IntArray


def filled(folder: Path, asked: PackingRecipe) -> dict[str, Any]:
    """What `packed_rows` counts, of the shards in a folder."""
    return packed_rows(np.fromfile(folder / OFFSETS, "<i8"), asked)


def packed_rows(offsets: IntArray, asked: PackingRecipe) -> dict[str, Any]:
    """Examples, tokens, tokens left out, rows and how full these are, of documents between `offsets` `[documents + 1]`.

    "fit" plans `window` examples at a time in their order; a run that draws them in another order fills rows alike.
    """
    ranges = cut_examples(offsets, asked.length, how="split" if asked.how == "split" else "document")
    lengths = ranges[:, 1] - ranges[:, 0]
    rows = len(lengths)
    if asked.how == "fit":
        starts = range(0, len(lengths), asked.window)
        rows = sum(len(plan_rows(lengths[n : n + asked.window], asked.length)) for n in starts)
    tokens = int(lengths.sum())
    counted = {"examples": len(lengths), "tokens": tokens, "left_out": left_out(offsets, ranges), "rows": rows}
    return {**counted, "full": round(tokens / max(rows * asked.length, 1), 6)}


def together(parts: Mapping[str, Mapping[str, Any]], asked: PackingRecipe) -> dict[str, Any]:
    """`packing.json`: what was asked for, and what was counted of each source."""
    return {"how": asked.how, "length": asked.length, "window": asked.window, "sources": dict(parts)}

"""From raw files to an ordered, resumable stream of examples. No torch below this folder.

    files → Document → filters, duplicates → tokenizer → shards → Stream[Example]

`read` makes documents, `filter` and `dedup` choose among them, `pipeline` counts and tokenizes, `channels` says where
words, sentences and names begin, `shard` keeps ids on disk, `pack` plans examples and rows, `stream` gives examples out
in an order that is arithmetic.
"""

from modeledge.corpus.asked import Build
from modeledge.corpus.channels import CHANNELS
from modeledge.corpus.dedup import exact_duplicates
from modeledge.corpus.filter import FILTERS, STAGES, Filter, Stage, empty, longer_than, make_filters, shorter_than
from modeledge.corpus.pack import (
    choose_capacity,
    cut_examples,
    deal,
    left_out,
    plan_rows,
    plan_rows_two,
)
from modeledge.corpus.pipeline import build_corpus, reading, run_pipeline, tokenized
from modeledge.corpus.shard import Shards, ShardWriter, TokenDocument, write_shards
from modeledge.corpus.stream import IndexedStream, ListStream, Stream, TokenStream, window

__all__ = [
    "CHANNELS",
    "FILTERS",
    "STAGES",
    "Build",
    "Filter",
    "IndexedStream",
    "ListStream",
    "ShardWriter",
    "Shards",
    "Stage",
    "Stream",
    "TokenDocument",
    "TokenStream",
    "build_corpus",
    "choose_capacity",
    "cut_examples",
    "deal",
    "empty",
    "exact_duplicates",
    "left_out",
    "longer_than",
    "make_filters",
    "plan_rows",
    "plan_rows_two",
    "reading",
    "run_pipeline",
    "shorter_than",
    "tokenized",
    "window",
    "write_shards",
]

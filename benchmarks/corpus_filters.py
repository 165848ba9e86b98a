"""Gopher's and C4's filters beside datatrove's, on the same pages, in turns (A B B A), the same keep set asserted.

    python benchmarks/corpus_filters.py [PAGES.jsonl] [--limit 400] [--repeats 4] [--words ours|theirs] [--no-save]

PAGES has one page a line, in `text`. `--words ours` gives datatrove our words and sentences, so that nothing but the
rules is compared and the keep sets must be equal, page for page; with `theirs` it runs as it is (spaCy), and pages on
whose verdict the two cuts differ are counted. Times are of the processor, medians of pairs, after one run of each to
warm up; the A/A column is ours against ours. datatrove's filters need spaCy.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from modeledge.corpus.quality import C4, GopherQuality, GopherRepetition
from modeledge.corpus.quality.page import WORD, page_of
from modeledge.corpus.sentences import sentence_starts
from modeledge.records import Document
from pairs import save

Run = Callable[[list[str]], list[bool]]


def ours(texts: list[str]) -> list[bool]:
    """Which pages stay under our filters, cut up afresh."""
    page_of.cache_clear()
    rules = (GopherRepetition(), GopherQuality(), C4(bad_words=False))
    return [all(rule(page) is None for rule in rules) for page in (Document(text, "0") for text in texts)]


def theirs(words: str) -> Run:
    """The same under datatrove's, each of which sees the page as it was read."""
    from datatrove.data import Document as Page
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        c4_filters,
        gopher_quality_filter,
        gopher_repetition_filter,
    )
    from datatrove.utils.text import split_into_parts

    if words == "ours":
        for module in (gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language: WORD.findall(text)
        c4_filters.split_into_sentences = lambda text, language: list(sentence_starts(text))
    rules = (
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(min_num_sentences=3, min_words_per_line=5),
    )

    def run(texts: list[str]) -> list[bool]:
        split_into_parts.cache_clear()
        return [all(rule.filter(Page(text=text, id="0")) is True for rule in rules) for text in texts]

    return run


def seconds(run: Run, texts: list[str]) -> float:
    """Processor time of one pass."""
    gc.collect()
    start = time.process_time()
    run(texts)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="?", default=Path("../shared/data/web/c4_demo.jsonl"))
    parser.add_argument("--limit", type=int, default=400, help="pages read")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--words", choices=("ours", "theirs"), default="ours")
    parser.add_argument("--no-save", action="store_true", help="write no benchmarks/results/DATE-corpus-filters-….json")
    given = parser.parse_args()
    with given.pages.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, given.limit)]
    if missing := [name for name in ("datatrove", "spacy") if importlib.util.find_spec(name) is None]:
        raise SystemExit(f"LEFT OUT: {' and '.join(missing)} not installed, there is nothing to compare with")
    peer = theirs(given.words)
    kept, oracle = ours(texts), peer(texts)
    differ = [i for i, (a, b) in enumerate(zip(kept, oracle, strict=True)) if a != b]
    if given.words == "ours":
        assert not differ, f"another keep set: lines {[i + 1 for i in differ[:20]]}"
    ratios, same = [], []
    for _ in range(given.repeats):
        a1, b1, b2, a2 = seconds(ours, texts), seconds(peer, texts), seconds(peer, texts), seconds(ours, texts)
        ratios.append((b1 + b2) / (a1 + a2))
        same.append(a1 / a2)
    told = {
        "pages": len(texts),
        "kept": sum(kept),
        "words": given.words,
        "verdicts that differ": len(differ),
        "datatrove / ours": round(statistics.median(ratios), 2),
        "least, most": [round(min(ratios), 2), round(max(ratios), 2)],
        "ours / ours": round(statistics.median(same), 3),
    }
    print(json.dumps(told, indent=1))
    if not given.no_save:
        save(f"corpus filters {given.words} words", told, 1)


if __name__ == "__main__":
    main()

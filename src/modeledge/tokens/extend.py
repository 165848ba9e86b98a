"""A tokenizer that learns the words of a domain: new pieces behind the old ones, whose ids stay what they are.

A model that was trained on news cuts "myocardial" into five pieces. New pieces make texts of the domain shorter, and
give a word that means something a vector of its own (AdaLM: Yao et al. 2021, arXiv 2106.13474; Tai et al. 2020,
exBERT). How they are learned follows from how the tokenizer cuts:

- **BPE** goes on where its training stopped: the merges that are most frequent in the domain's words, as the old merges
  leave them, are appended (Sennrich et al. 2016, algorithm 1). Being last, they act last, so no text is cut finer.
- **WordPiece** and **Unigram** get whole words, by how many pieces they save: count · (pieces − 1). WordPiece takes
  the longest piece that fits; in Unigram a word's score is the log of its share among all pieces, and at least the sum
  of the scores that it replaces.

`replaced` says which old pieces each new one stands for: a model begins the new row at their mean.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tokenizers
from tokenizers import models

from modeledge.errors import ModeledgeError
from modeledge.tokens.tokenizer import Tokenizer

BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
SPACED = re.compile("▁*[^▁]+|▁+")  # the words of a pipeline that has no pre-tokenizer, as SentencePiece's
LEAST_LETTERS = 2


def extended(tokenizer: Tokenizer, texts: Iterable[str], count: int, *, least: int = 2) -> Tokenizer:
    """The tokenizer with `count` new pieces at most, each of them seen `least` times; notes say where they are fewer.

    Raises `E-NO-RECORDS` where the texts suggest no piece, `E-TOKENIZER` where the old ids cannot be kept.
    """
    core = tokenizers.Tokenizer.from_str(tokenizer.pipeline())
    words = word_counts(core, texts)
    cut = {word: [token.value for token in core.model.tokenize(word)] for word in sorted(words)}
    known, barred = core.get_vocab(with_added_tokens=True), {getattr(core.model, "unk_token", None)}
    cut = {
        word: pieces
        for word, pieces in cut.items()  # Unigram leaves a letter that it does not know as it is
        if len(pieces) > 1 and not any(p in barred or p not in known or BYTE_PIECE.fullmatch(p) for p in pieces)
    }
    tree = json.loads(core.to_str())
    _settle_added(tree, tokenizer.vocab_size)
    if isinstance(core.model, models.BPE):
        merges = list(learned_merges([(pieces, words[w]) for w, pieces in cut.items()], known, count, least))
        made = _with_merges(tree, merges, known, tokenizer.vocab_size)
    else:
        saved = {word: words[word] * (len(pieces) - 1) for word, pieces in cut.items() if words[word] >= least}
        chosen = sorted((w for w in saved if w not in known), key=lambda w: (-saved[w], w))[:count]
        made = _with_words(tree, chosen, words, cut, tokenizer.vocab_size)
    if not made:
        remedy = "give more text, or leave tokenizer.extend out"
        raise ModeledgeError(
            "E-NO-RECORDS", "these texts suggest no new piece", where="tokenizer.extend", remedy=remedy
        )
    new = tokenizer.with_pipeline(tokenizers.Tokenizer.from_str(json.dumps(tree)))
    _check(known, new, made, tokenizer.vocab_size)
    short = [f"the texts yield {len(made):,} of the {count:,} new pieces asked for"] if len(made) < count else []
    some = "1 new piece" if len(made) == 1 else f"{len(made):,} new pieces"
    new.notes = (*tokenizer.notes, *short)
    new.gained = (*tokenizer.gained, f"the tokenizer gains {some} of these texts")
    return new


def replaced(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """For each piece that `new` has behind those of `old`, the ids that it was cut into before.

    Of a special token these are the ids of its spelling as a text, or where that has none, all of them. Raises
    `E-TOKENIZER-MISMATCH` where `new` is no extension of `old`.
    """
    before, after = (tokenizers.Tokenizer.from_str(t.pipeline()) for t in (old, new))
    known = before.get_vocab(with_added_tokens=True)
    if not known.items() <= after.get_vocab(with_added_tokens=True).items():
        raise ModeledgeError("E-TOKENIZER-MISMATCH", "the ids of the old pieces have changed")
    special = {id for id, token in after.get_added_tokens_decoder().items() if token.special}
    return [
        _spelled(old, new.token(id)) if id in special else [token.id for token in before.model.tokenize(new.token(id))]
        for id in range(old.vocab_size, new.vocab_size)
    ]


def _spelled(tokenizer: Tokenizer, name: str) -> list[int]:
    """What the spelling of a special token is as a text; every id where a tokenizer without unk cannot read it."""
    try:
        found: list[int] = tokenizer.encode(name).tolist()
    except ModeledgeError:
        found = []
    return found or list(range(tokenizer.vocab_size))


def word_counts(core: tokenizers.Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, as the pipeline's normalizer and pre-tokenizer hand it to the model."""
    found: Counter[str] = Counter()
    for text in texts:
        text = core.normalizer.normalize_str(text) if core.normalizer is not None else text
        if core.pre_tokenizer is None:
            found.update(SPACED.findall(text))
        else:
            found.update(word for word, _ in core.pre_tokenizer.pre_tokenize_str(text))
    return found


def learned_merges(
    words: Sequence[tuple[list[str], int]], known: Iterable[str], count: int, least: int
) -> Iterator[tuple[str, str]]:
    """The next merges of byte-pair encoding, until `count` of them made a piece that is not `known`.

    Each is the most frequent pair of neighbours, the first in alphabetical order of equals, and is applied everywhere
    before the next is sought; only the words that hold it are counted again.
    """
    parts = [list(pieces) for pieces, _ in words]
    pairs: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, (pieces, times) in enumerate(words):
        for pair in itertools.pairwise(pieces):
            pairs[pair] += times
            where[pair].add(number)
    queue = [(-times, pair) for pair, times in pairs.items()]
    heapq.heapify(queue)
    pieces_known, made = set(known), 0
    while queue and made < count:
        times, pair = heapq.heappop(queue)
        if -times != pairs[pair]:
            continue  # counted again since
        if -times < least:
            return
        yield pair
        made += "".join(pair) not in pieces_known
        pieces_known.add("".join(pair))
        touched = set()
        for number in sorted(where.pop(pair)):
            old, times_here = parts[number], words[number][1]
            new = merged(old, pair)
            for sequence, sign in ((old, -1), (new, 1)):
                for other in itertools.pairwise(sequence):
                    pairs[other] += sign * times_here
                    touched.add(other)
                    if sign > 0:
                        where[other].add(number)
            parts[number] = new
        for other in touched:
            if pairs[other] > 0:
                heapq.heappush(queue, (-pairs[other], other))


def merged(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """The pieces with every occurrence of the pair made one, from left to right."""
    out: list[str] = []
    at = 0
    while at < len(pieces):
        if tuple(pieces[at : at + 2]) == pair:
            out.append(pieces[at] + pieces[at + 1])
            at += 2
        else:
            out.append(pieces[at])
            at += 1
    return out


def _settle_added(tree: dict[str, Any], size: int) -> None:
    """Put added tokens that have ids of their own into the model's vocabulary, so that none moves when it grows."""
    model = tree["model"]
    added = {token["id"]: token["content"] for token in tree["added_tokens"]}
    if isinstance(model["vocab"], dict):
        model["vocab"] |= {content: id for id, content in added.items() if content not in model["vocab"]}
        return
    low = min((score for _, score in model["vocab"]), default=0.0) - 10.0
    model["vocab"] += [[added.get(id, f"<unused{id}>"), low] for id in range(len(model["vocab"]), size)]


def _with_merges(
    tree: dict[str, Any], merges: Sequence[tuple[str, str]], known: Iterable[str], first: int
) -> list[str]:
    model = tree["model"]
    made: list[str] = []
    pairs = not model["merges"] or isinstance(model["merges"][0], list)
    model["merges"] += [list(pair) if pairs else " ".join(pair) for pair in merges]
    there = set(known)
    for pair in merges:
        piece = "".join(pair)
        if piece not in there:
            there.add(piece)
            model["vocab"][piece] = first + len(made)
            made.append(piece)
    return made


def _with_words(
    tree: dict[str, Any], chosen: Sequence[str], counts: Counter[str], cut: dict[str, list[str]], first: int
) -> list[str]:
    vocabulary = tree["model"]["vocab"]
    chosen = [word for word in chosen if len(word.strip("▁Ġ")) >= LEAST_LETTERS]
    if isinstance(vocabulary, dict):
        vocabulary |= {word: first + number for number, word in enumerate(chosen)}
        return list(chosen)
    scores, total = dict(vocabulary), sum(counts.values())
    for word in chosen:
        score = max(math.log(counts[word] / total), sum(scores[piece] for piece in cut[word]))
        vocabulary.append([word, round(score, 6)])
    return list(chosen)


def _check(known: dict[str, int], new: Tokenizer, made: Sequence[str], first: int) -> None:
    """Every old piece has its old id, and the new ones stand behind them in their order."""
    wrong = [piece for piece, id in known.items() if new.id(piece) != id]
    wrong += [piece for number, piece in enumerate(made) if new.id(piece) != first + number]
    if wrong:
        what = f"{len(wrong):,} pieces would change their ids, {wrong[0]!r} among them"
        raise ModeledgeError("E-TOKENIZER", what, remedy="extend a tokenizer whose tokenizer.json loads unchanged")

"""New pieces behind the old ones: old ids stay, texts of the domain become shorter, every text comes back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Core
from tokenizers import models

from modeledge.errors import ModeledgeError
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.tokens.extend import extended, learned_merges, replaced

GENERAL = ["the cat sat on the mat and the dog ran home to the old house. "] * 20
DOMAIN = ["acute myocardial infarction and myocardial ischaemia of the myocardium. "] * 9
KINDS = ["bpe", "wordpiece", "unigram"]


def general(kind: str) -> Tokenizer:
    return train_tokenizer(
        [*GENERAL, "acdefghiklmnoprstuy bcf "], kind=kind, vocab_size=300 if kind != "wordpiece" else 80
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_old_ids_stay_and_the_domain_becomes_shorter(kind: str, tmp_path: Path) -> None:
    old = general(kind)
    new = extended(old, DOMAIN, 6)
    assert old.vocab_size < new.vocab_size <= old.vocab_size + 6
    assert all(new.id(old.token(i)) == i for i in range(old.vocab_size))
    assert len(new.encode(DOMAIN[0])) < len(old.encode(DOMAIN[0]))
    assert new.encode(DOMAIN[0]).max() >= old.vocab_size
    for text in (*DOMAIN[:1], *GENERAL[:1], "[MASK] <|endoftext|> 27 °C"):
        assert len(new.encode(text)) <= len(old.encode(text))
        assert new.decode(new.encode(text)) == old.decode(old.encode(text))
    new.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == new.fingerprint
    assert again.specials == old.specials


@pytest.mark.parametrize("kind", KINDS)
def test_each_new_piece_names_the_old_ones_that_it_replaces(kind: str) -> None:
    old = general(kind)
    new = extended(old, DOMAIN, 6)
    found = replaced(old, new)
    assert len(found) == new.vocab_size - old.vocab_size
    for number, ids in enumerate(found, old.vocab_size):
        assert len(ids) > 1
        assert "".join(old.token(i).removeprefix("##") for i in ids) == new.token(number)
    with pytest.raises(ModeledgeError, match="E-TOKENIZER-MISMATCH"):
        replaced(new, old)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_in_any_order_give_the_same_bytes(kind: str) -> None:
    old, texts = general(kind), [*DOMAIN, "ischaemia of the acute kind"] * 2
    assert extended(old, texts, 9).fingerprint == extended(old, texts[::-1], 9).fingerprint


def test_merges_are_those_of_a_plain_count() -> None:
    """Sennrich et al.'s loop, which counts everything again each time."""
    words = [(list("lower"), 5), (list("lowest"), 2), (list("newer"), 6), (list("wider"), 3), (list("nnnn"), 4)]
    parts, told = [list(p) for p, _ in words], []
    for _ in range(9):
        counts: Counter[tuple[str, str]] = Counter()
        for pieces, (_, times) in zip(parts, words, strict=True):
            for pair in pairwise(pieces):
                counts[pair] += times
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        told.append(best)
        for number, pieces in enumerate(parts):
            out: list[str] = []
            for piece in pieces:
                if out and (out[-1], piece) == best:
                    out[-1] += piece
                else:
                    out.append(piece)
            parts[number] = out
    assert list(learned_merges(words, [], 9, 1)) == told


def test_texts_without_anything_new_are_refused() -> None:
    with pytest.raises(ModeledgeError, match="E-NO-RECORDS"):
        extended(general("wordpiece"), ["the cat"], 5)


def test_fewer_pieces_than_asked_for_are_said() -> None:
    assert "of the 500 new pieces" in extended(general("wordpiece"), DOMAIN, 500).notes[-1]


def test_letters_that_a_unigram_does_not_know_are_in_no_new_piece() -> None:
    """T5's vocabulary has no `<`: a text with one has words that cannot be put together from its pieces."""
    pieces = [("<unk>", 0.0), ("a", -1.0), ("b", -1.5), ("▁", -2.0)]
    old = Tokenizer(Core(models.Unigram(pieces, unk_id=0)), {"unk": "<unk>"})
    new = extended(old, ["▁ab▁a<b▁ab▁a<b▁ab"], 5)
    assert [new.token(id) for id in range(old.vocab_size, new.vocab_size)] == ["▁ab"]

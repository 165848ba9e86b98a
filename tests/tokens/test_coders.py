"""Quick ways to ids give the tokenizer's ids, whatever the text; what does not agree is found and not used."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from strings import strings
from tokenizers import decoders, models, normalizers, pre_tokenizers

from modeledge.errors import ModeledgeError
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.tokens.coders import choose_coder
from modeledge.tokens.flat import Coder, Flat, LibraryCoder
from modeledge.tokens.giga import GigaCoder
from modeledge.tokens.proof import difference
from modeledge.tokens.words import A_PIECE, WordCoder, pieces_of

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and doesn't mind the other foxes. " * 3,
    "naïve cafés — 日本語 and 3.14 or 1,000\n\nlines\twith tabs; we'll see \"it\" 'twas (so)! " * 3,
]
KINDS = ("bpe", "wordpiece", "unigram")


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(TEXTS, kind=kind, vocab_size=420) for kind in KINDS}  # type: ignore[arg-type]


def rows(coded: Flat) -> list[list[int]]:
    assert coded.ids.dtype == np.uint32
    assert coded.lengths.sum() == len(coded.ids)
    return [part.tolist() for part in np.split(coded.ids, np.cumsum(coded.lengths)[:-1])]


PARTS = st.sampled_from(
    [" ", "\n", "\t", "\r\n", "\x0b", "\x1c", "\x85", "\u00a0", "\u2028", "a", "The", "'s", ",", "."]
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.lists(PARTS | st.text(max_size=4), max_size=8).map("".join), min_size=1, max_size=3))
@pytest.mark.parametrize("kind", KINDS)
def test_words_once_are_the_librarys_ids(trained: dict[str, Tokenizer], kind: str, texts: list[str]) -> None:
    assert "".join(pieces_of(texts[0])) == texts[0]
    coder = WordCoder(trained[kind])
    for _ in range(2):  # learned, then remembered
        assert rows(coder(texts)) == [trained[kind].encode(text).tolist() for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_strings_and_a_full_table(trained: dict[str, Tokenizer], kind: str) -> None:
    texts = list(strings(3, 400))
    coder = pickle.loads(pickle.dumps(WordCoder(trained[kind], 50 * A_PIECE)))  # noqa: S301
    wanted = [ids.tolist() for ids in trained[kind].encode_batch(texts)]
    assert [row for start in range(0, 400, 20) for row in rows(coder(texts[start : start + 20]))] == wanted
    assert len(coder._seen) < len({piece for text in texts for piece in pieces_of(text)}) / 2


def test_no_text_and_no_texts(trained: dict[str, Tokenizer]) -> None:
    for coder in (WordCoder(trained["bpe"]), LibraryCoder(trained["bpe"])):
        assert rows(coder(["", "a", ""]))[::2] == [[], []]
        assert coder([]).ids.tolist() == []


def test_what_is_no_text_is_named_by_its_own_number(trained: dict[str, Tokenizer]) -> None:
    with pytest.raises(ModeledgeError, match=r"E-SURROGATE.*text 2"):
        WordCoder(trained["bpe"])(["fine words", "a \ud800"])
    with pytest.raises(ModeledgeError, match=r"E-FIELD-TYPE.*text 1"):
        WordCoder(trained["bpe"])([3])  # type: ignore[list-item]


def metaspace() -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.BPE({"▁": 0, "a": 1, "▁a": 2}, [("▁", "a")]))
    core.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return core


def changed(tokenizer: Tokenizer, change: str) -> Tokenizer:
    core = tokenizers.Tokenizer.from_str(tokenizer.pipeline())
    if change == "prefix":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    elif change == "added":
        core.add_tokens(["quick brown"])
    elif change == "strip":
        core.normalizer = normalizers.Strip()
    core.decoder = decoders.ByteLevel()
    return Tokenizer(core, tokenizer.names)


def test_pipelines_that_see_more_than_words_are_left_to_the_library(trained: dict[str, Tokenizer]) -> None:
    odd = [Tokenizer(metaspace(), {}), *(changed(trained["bpe"], c) for c in ("prefix", "added", "strip"))]
    for tokenizer in odd:
        assert WordCoder.unfit(tokenizer)
        assert choose_coder(tokenizer, TEXTS, backend="tokenizers").name == "tokenizers"
        assert difference(WordCoder(tokenizer), tokenizer, TEXTS) or tokenizer is odd[0]


class Wrong:
    """Right but for one text."""

    name = "wrong"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.inner = LibraryCoder(tokenizer)

    @staticmethod
    def unfit(tokenizer: Tokenizer) -> str:
        return ""

    def __call__(self, texts: Sequence[str]) -> Flat:
        return self.inner([text.replace("foxes", "foxe") for text in texts])


def test_a_coder_that_differs_on_the_corpus_alone_is_found(
    trained: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = trained["bpe"]
    coder: Coder = Wrong(tokenizer)
    assert difference(coder, tokenizer, []) == ""
    assert "differ" in difference(coder, tokenizer, TEXTS)
    monkeypatch.setattr("modeledge.tokens.coders.GigaCoder", Wrong)
    said: list[str] = []
    assert choose_coder(tokenizer, TEXTS, say=said.append).name == WordCoder.name
    assert "gigatoken is not used: its ids differ" in said[0]


def test_a_quick_way_that_is_missing_is_said_where_it_was_asked_for(
    trained: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    choose_coder(trained["bpe"], TEXTS, say=said.append)
    assert said == [f"tokenizing by {WordCoder.name}"]
    choose_coder(trained["bpe"], TEXTS, backend="gigatoken", say=said.append)
    assert "gigatoken is not used: it is not installed" in said[1]


def test_gigatoken_agrees(trained: dict[str, Tokenizer]) -> None:
    pytest.importorskip("gigatoken", reason="gigatoken is not installed")
    pytest.importorskip("awkward", reason="awkward is not installed")
    tokenizer = trained["bpe"]
    coder = choose_coder(tokenizer, TEXTS, backend="gigatoken")
    assert isinstance(coder, GigaCoder)
    texts = [*strings(5, 600), "<|endoftext|> [MASK]", ""]
    assert rows(coder(texts)) == [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    assert GigaCoder.unfit(trained["unigram"])
    with pytest.raises(ModeledgeError, match=r"E-SURROGATE.*text 2"):
        coder(["a", "\ud800"])


def test_a_sent_tokenizer_is_the_same(trained: dict[str, Tokenizer]) -> None:
    for tokenizer in trained.values():
        sent = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
        assert sent.fingerprint == tokenizer.fingerprint
        texts = [*strings(9, 200, ["[MASK]"]), "[MASK] <|endoftext|>"]
        assert [i.tolist() for i in sent.encode_batch(texts)] == [i.tolist() for i in tokenizer.encode_batch(texts)]
        assert json.loads(sent.pipeline()) == json.loads(tokenizer.pipeline())


# ---- nothing is lost


def test_every_scalar_of_unicode_comes_back(trained: dict[str, Tokenizer]) -> None:
    scalars = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    texts = [scalars[start : start + 4096] for start in range(0, len(scalars), 4096)]
    for coded, text in zip(rows(WordCoder(trained["bpe"])(texts)), texts, strict=True):
        assert trained["bpe"].decode(coded) == text


@given(data=st.binary(max_size=64))
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_random_bytes_come_back(trained: dict[str, Tokenizer], kind: str, data: bytes) -> None:
    """As the text that they are where each stands for a character, and as far as they are UTF-8."""
    for text in (data.decode("latin-1"), data.decode("utf-8", "ignore"), data.decode("utf-8", "replace")):
        ids = trained[kind].encode(text)
        assert trained[kind].decode(ids) == text
        assert sum(trained[kind].piece_bytes(int(id)) for id in ids) == len(text.encode())

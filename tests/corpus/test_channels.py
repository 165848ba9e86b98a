"""Words, sentences and salient spans: found on the text, carried over to the tokens of any tokenizer."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.asked import Build
from modeledge.corpus.channels import CHANNELS, Coded, check_channels, make_channels, word_starts
from modeledge.corpus.pipeline import build_corpus, reading
from modeledge.corpus.salient import salient_spans
from modeledge.corpus.sentences import sentence_starts
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer, train_tokenizer

EWT = Path(__file__).parents[3] / "shared" / "data" / "ud_ewt" / "dev.conllu.gz"
TEXT = "Dr. Smith's 漢字 cost $3.50. It rained! Why?  \n\nA title\n\nin Paris, un été naïf."
KINDS = ("bpe", "wordpiece", "unigram")


@pytest.fixture(scope="module")
def tokenizers():
    texts = [TEXT, "the rain in Spain stays mainly in the plain . It is so , he said ."] * 5
    made = {kind: train_tokenizer(texts, kind=kind, vocab_size=400, min_frequency=1) for kind in KINDS[:2]}
    return {**made, "unigram": train_tokenizer(texts, kind="unigram", vocab_size=300)}


def cut(text, starts):
    return [text[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]


def sentences(text):
    return cut(text, sentence_starts(text).tolist())


@pytest.mark.parametrize(
    "parts",
    [
        ["One.", "Two!", "Three?", "Four…"],
        ["Dr. No met Mr. Bond.", "They spoke."],
        ["J. S. Bach wrote it.", "So did I.", "Then he died."],
        ["It is No. 5 in Vol. 3.", "No. 6 is better."],
        ["He said no.", "Why?"],
        ["See Fig. 2, e.g. Apples, i.e. Fruit.", "The U.S. Army came at 5 p.m. sharp."],
        ["He left the U.S. in May.", "It was the U.S.", "The army stayed."],
        ["On Jan. 5 it began.", "We met in Jan.", "It ended."],
        ["Apples, pears etc.", "They are fruit."],
        ["It cost 3.50.", "It is 1.2.3 now."],
        ['"Come!" he said.', '"I will."', "(She did.)", "[Exit.]"],
        ["Acme Inc. Chairman Lee spoke.", "He is rich."],
        ["Really?!", "Yes..."],
        ["A title", "and its text", "more"],
        ["今日は。", "元気？」", "はい！"],
    ],
)
def test_sentences(parts):
    glue = "\n\n" if parts[0] == "A title" else "" if parts[0][0] == "今" else " "
    assert sentences(glue.join(parts)) == parts


@pytest.mark.parametrize("text", ["", " \n", ".", "...", "no end", "a. b", "It is\nwrapped here.", "Mr."])
def test_what_is_no_boundary(text):
    assert len(sentence_starts(text)) == (1 if text.strip() else 0)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aB1. !?\n\"'()。I漢\u0301", max_size=40))
def test_sentences_and_salient_spans_are_in_order_and_on_characters(text):
    starts = sentence_starts(text).tolist()
    assert starts == sorted(set(starts))
    assert not any(text[start].isspace() for start in starts)
    assert not text.strip() or text[: starts[0]].strip() == ""
    bounds = salient_spans(text).ravel().tolist()
    assert bounds == sorted(bounds)
    for start, stop in salient_spans(text):
        assert text[start:stop].strip() == text[start:stop] != ""


@pytest.mark.shared_data
def test_sentences_of_a_treebank():
    """UD English EWT, dev: web text, much of it without any full stop, so that one in seven has no sign to go by."""
    if not EWT.is_file():
        pytest.skip("no shared data beside the checkout")
    text, gold = "", set()
    with gzip.open(EWT, "rt", encoding="utf-8") as file:
        for line in file:
            if line.startswith("# newpar"):
                text += "\n\n" if text else ""
            if line.startswith("# text = "):
                text += "" if not text or text.endswith("\n") else " "
                gold.add(len(text))
                text += line[9:].rstrip("\n")
    found = set(sentence_starts(text).tolist())
    assert len(gold) == 2001
    assert len(found & gold) / len(found) > 0.98
    assert len(found & gold) / len(gold) > 0.84


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("In July 1969 the crew of Apollo met Queen Elizabeth.", ["July 1969", "Apollo", "Queen Elizabeth"]),
        ("The Bank of England was founded on 27 July 1694.", ["Bank of England", "27 July 1694"]),
        ("On March 3, 2004, about 20% of 3,000 sheep died.", ["March 3, 2004", "20%", "3,000"]),
        ("It cost $3.5 million in the 1990s, on Monday.", ["$3.5 million", "1990s", "Monday"]),
        ("2004-03-12 and 12/03/2004 are dates; v1.2 is none.", ["2004-03-12", "12/03/2004"]),
        ("It rained. Nothing happened. I slept.", []),
        ("Trees grow. Paris is big. We love Paris, not trees.", ["Paris", "Paris"]),
        ("It may rain in May, he said.", ["May"]),
        ("He came yesterday. Yesterday John Smith and Mary ate.", ["John Smith", "Mary"]),
        ("We met J. Smith of the Daily Mail.", ["J. Smith of the Daily Mail"]),
        ("", []),
    ],
)
def test_salient_spans(text, spans):
    assert [text[a:b] for a, b in salient_spans(text)] == spans


def test_words_are_berts():
    """Runs between white space, each sign of punctuation and each ideograph alone (transformers' basic tokenizer)."""
    basic = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    tokenize = basic.BasicTokenizer(do_lower_case=False).tokenize
    for text in (TEXT, "don't_stop a1b2 3.14 (x)", "हिन्दी में", "a\u00a0b\u3000c\tд"):
        starts = word_starts(text).tolist()
        assert cut(text, starts) == tokenize(text)


# ---- on tokens


def marked(tokenizer, name, text=TEXT):
    ((ids, spans),) = tokenizer.encode_spans_batch([text])
    return ids, spans, make_channels([name], Coded(text, spans), end=False)[name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["words", "sentences"])
def test_groups_of_tokens_are_the_words_and_sentences_of_the_text(tokenizers, kind, name):
    """However a tokenizer cuts the text: from mark to mark stand the words of the plain text, but for those that a
    token joins (`'s`)."""
    starts = (word_starts(TEXT) if name == "words" else sentence_starts(TEXT)).tolist()
    _, spans, marks = marked(tokenizers[kind], name)
    reached = {int(a) + len(TEXT[a:]) - len(TEXT[a:].lstrip()) for a in spans[:, 0]}
    assert len(set(starts) - reached) <= (2 if kind == "bpe" and name == "words" else 0)
    starts = [start for start in starts if start in reached]
    at = [int(spans[i, 0]) for i in np.flatnonzero(marks)]
    assert [re.sub(r"\s", "", part) for part in cut(TEXT, at)] == [re.sub(r"\s", "", p) for p in cut(TEXT, starts)]
    assert set(marks.tolist()) <= {0, 1}
    assert marks[0] == 1
    assert marks.dtype == np.uint8


@pytest.mark.shared_data
def test_words_of_berts_vocabulary_begin_where_no_piece_goes_on():
    """BERT's whole-word masking asks the piece (`##ing` goes on with a word); the channel asks the text."""
    data = EWT.parents[1]
    if not data.is_dir():
        pytest.skip("no shared data beside the checkout")
    tokenizer = Tokenizer.load(data / "tokenizers" / "bert-base-uncased-vocab.txt")
    text = (data / "wikitext2_raw" / "wiki.valid.raw").read_text(encoding="utf-8")[:200_000]
    ids, _, marks = marked(tokenizer, "words", text)
    told = [not tokenizer.token(int(id)).startswith("##") for id in ids]
    assert len(ids) > 40_000
    wrong = [tokenizer.token(int(ids[i])) for i in np.flatnonzero(marks.astype(bool) != told)]
    assert len(wrong) == 0, wrong[:9]


@pytest.mark.parametrize("kind", KINDS)
def test_salient_marks(tokenizers, kind):
    tokenizer = tokenizers[kind]
    ids, spans, marks = marked(tokenizer, "salient")
    groups = []
    for (start, stop), mark in zip(spans.tolist(), marks.tolist(), strict=True):
        if mark == 1:
            groups.append([start, stop])
        elif mark == 2:
            groups[-1][1] = max(stop, groups[-1][1])
    assert [TEXT[a:b].strip() for a, b in groups] == [TEXT[a:b] for a, b in salient_spans(TEXT)]
    assert len(marks) == len(ids)


def test_adjacent_spans_are_two():
    coded = Coded("In Rome 1999", np.array([[0, 2], [3, 7], [8, 10], [10, 12]]))
    assert CHANNELS["salient"](coded).tolist() == [0, 1, 1, 2]


def test_the_end_token_and_empty_texts():
    empty, one = Coded("", np.zeros((0, 2), np.int64)), Coded("a b", np.array([[0, 1], [2, 3]]))
    told = {name: values.tolist() for name, values in make_channels(CHANNELS, empty, end=True).items()}
    assert told == {"words": [1], "sentences": [1], "salient": [0]}
    told = {name: values.tolist() for name, values in make_channels(CHANNELS, one, end=True).items()}
    assert told == {"words": [1, 1, 1], "sentences": [1, 0, 0], "salient": [0, 0, 0]}


def test_a_document_of_white_space_has_a_beginning():
    space = Coded(" \n", np.array([[0, 1], [1, 2]]))
    told = {name: values.tolist() for name, values in make_channels(CHANNELS, space, end=True).items()}
    assert told == {"words": [1, 0, 1], "sentences": [1, 0, 0], "salient": [0, 0, 0]}


def test_bytes_of_one_character_and_white_space_of_its_own_begin_no_word():
    """A character in three byte tokens; a space that is a token; a sign without any character of its own."""
    split = Coded("é x", np.array([[0, 1], [0, 1], [1, 2], [2, 3]]))
    assert CHANNELS["words"](split).tolist() == [1, 0, 1, 0]
    nothing = Coded("x y", np.array([[0, 0], [0, 1], [2, 2], [2, 3]]))
    assert CHANNELS["words"](nothing).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_channels_travel_from_text_to_example(tokenizers, kind, tmp_path):
    tokenizer, ledger = tokenizers[kind], Ledger()
    documents = [Document(TEXT, "a"), Document("In 1999 Rome fell. It did.", "b")]
    config = Build(channels={"words", "salient", "sentences"}, batch=1)
    shards = build_corpus(reading(documents, ledger=ledger), tokenizer, tmp_path / "c", config=config, ledger=ledger)
    assert shards.channels == {"salient": "uint8", "sentences": "uint8", "words": "uint8"}
    stream = TokenStream(shards, 7, 0, shuffle=False, epochs=1)
    seen = list(stream)
    for name in shards.channels:
        joined = np.concatenate([example.channels[name] for example in seen])
        end = tokenizer.specials.eos is not None
        told = [
            make_channels([name], Coded(d.text, tokenizer.encode_spans(d.text)[1]), end=end)[name] for d in documents
        ]
        assert joined.tolist() == np.concatenate(told).tolist()
        assert all(len(example.channels[name]) == len(example.ids) for example in seen)
    plain = Build(batch=1)
    ledger = Ledger()
    other = build_corpus(reading(documents, ledger=ledger), tokenizer, tmp_path / "d", config=plain, ledger=ledger)
    assert other.tokens().tolist() == shards.tokens().tolist()
    with pytest.raises(ModeledgeError, match="E-MISSING-FIELD") as caught:
        other.need({"words", "salient"})
    assert 'build it again with corpus.channels = ["salient", "words"]' in str(caught.value)


def test_an_unknown_channel_is_refused():
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: channels: no channel 'word' .* did you mean 'words'"):
        check_channels(["word"])

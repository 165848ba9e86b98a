"""SentencePiece models: the reader, the families built on it, and SentencePiece's own rules as a second oracle."""

from __future__ import annotations

import json
import random
import shutil
import struct
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from spmfile import block, number, piece, spm, varint
from strings import strings
from test_families_of_tokenizers import config, data, hide, reread, roles
from tokenizers import Tokenizer as Core
from tokenizers import models
from transformers.convert_slow_tokenizer import DebertaV2Converter, LlamaConverter
from transformers.tokenization_utils_base import generate_merges

from modeledge.errors import ModeledgeError
from modeledge.tokens import Tokenizer
from modeledge.tokens.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, merges, parse
from modeledge.tokens.spm import MBART

SPLIT = {"split_special_tokens": True}
TOY = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
UNIGRAM = [*TOY, *((text, -1.0 - n, NORMAL) for n, text in enumerate(["▁", "a", "b", "▁a", "ab", "▁ab", "c"]))]
PAIRS = [*TOY, *((text, -float(n), NORMAL) for n, text in enumerate(["ab", "▁a", "▁ab", "aa", "aaa", "▁", "a", "b"]))]


def put(folder: Path, content: bytes, **said: Any) -> Path:
    (config(folder, **said) / "spiece.model").write_bytes(content)
    return folder


# ---- the file


def test_a_model_is_read_field_by_field() -> None:
    """Written by another hand, with fields that the reader does not know."""
    more = block(4, b"self test") + number(99, 5) + varint(98 << 3 | 1) + b"12345678"
    model = parse(spm(UNIGRAM, unk=0, charsmap=b"", trim=False, prefix=False, byte_fallback=True) + more)
    assert [(p.text, p.score, p.kind) for p in model.pieces] == UNIGRAM
    assert (model.algorithm, model.unk, model.bos, model.eos, model.pad) == (1, 0, 1, 2, -1)
    assert (model.trim, model.dummy_prefix, model.byte_fallback, model.suffix) == (False, False, True, False)
    bare = parse(piece("a", 0.5))
    assert (bare.trim, bare.dummy_prefix, bare.byte_fallback, bare.unk, bare.algorithm) == (True, True, False, 0, 1)


@pytest.mark.shared_data
def test_real_models() -> None:
    t5, llama = (parse(data(name).read_bytes()) for name in ("sentencepiece-32k.model", "llama2-tokenizer.model"))
    assert (len(t5.pieces), t5.algorithm, t5.unk, t5.bos, len(t5.charsmap)) == (32_000, 1, 2, -1, 237_539)
    assert (t5.pieces[0].text, t5.pieces[31_999].text) == ("<pad>", "▁Internațional")
    assert (len(llama.pieces), llama.algorithm, llama.unk, llama.byte_fallback) == (32_000, 2, 0, True)
    assert (llama.trim, llama.pieces[3].kind, llama.pieces[3].text) == (False, BYTE, "<0x00>")
    pairs = merges(llama)
    assert len(pairs) == 61_249, "as in the tokenizer.json that was published with Llama 2"
    assert pairs[:8] == [
        ("▁", "t"),
        ("e", "r"),
        ("i", "n"),
        ("▁", "a"),
        ("e", "n"),
        ("o", "n"),
        ("▁t", "h"),
        ("▁", "th"),
    ]


def broken() -> dict[str, bytes]:
    good = spm(UNIGRAM)
    return {
        "empty": b"",
        "text": b"not a model",
        "cut": good[:-3],
        "cut within a piece": good[:5],
        "a length beyond the file": varint(1 << 3 | 2) + varint(1 << 40) + b"x",
        "a number without end": b"\xff" * 11,
        "more than 64 bits": varint(1 << 3) + b"\xff" * 9 + b"\x7f",
        "the wire type of groups": varint(1 << 3 | 3),
        "field 0": b"\x00\x00",
        "no UTF-8": block(1, block(1, b"\xff\xfe")),
        "a score that is no number": block(1, block(1, b"a") + varint(2 << 3 | 5) + struct.pack("<f", float("nan"))),
        "a score of the wrong size": block(1, block(1, b"a") + block(2, b"12")),
        "an unknown kind": piece("a", 0.0, 9),
        "a piece twice": piece("a", 0.0) * 2,
        "a piece without text": piece("", 0.0),
        "pieces of numbers": number(1, 7),
        "an unknown piece that is not there": spm(UNIGRAM, unk=99),
        "whole words": spm(UNIGRAM, algorithm=3),
        "pieces switched off": spm([*UNIGRAM, ("off", 0.0, 5)]),
        "a damaged map": spm(UNIGRAM, charsmap=b"\xff\xff\xff\xff1234"),
    }


@pytest.mark.parametrize("name", broken())
def test_what_is_no_model_is_refused(name: str, tmp_path: Path) -> None:
    folder = put(tmp_path, broken()[name])
    with pytest.raises(ModeledgeError) as caught:
        Tokenizer.load(folder)
    assert caught.value.code == "E-TOKENIZER"
    assert "spiece.model" in caught.value.where


@pytest.mark.parametrize("seed", range(300))
def test_mutated_models_are_read_or_refused_at_once(seed: int, tmp_path: Path) -> None:
    draw, content = random.Random(seed), bytearray(spm(UNIGRAM, charsmap=b"\x08\x00\x00\x00" + b"\x01" * 24))
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(content))
        kind = draw.randrange(3)
        content[at : at + (kind > 0)] = b"" if kind == 1 else bytes([draw.randrange(256)])
    began = time.monotonic()
    try:
        tokenizer = Tokenizer.load(put(tmp_path, bytes(content)))
        tokenizer.encode("ab c a")
    except ModeledgeError as error:
        assert error.code in ("E-TOKENIZER", "E-SPECIAL-TOKEN")  # noqa: PT017
    assert time.monotonic() - began < 5


# ---- Llama


def llama(tmp: Path, **said: Any) -> tuple[Tokenizer, Any]:
    """The oracle is transformers' class with the normaliser of its own converter (`legacy`), which the published
    tokenizer.json holds, and merges in the order of their scores."""
    shutil.copy(data("llama2-tokenizer.model"), config(tmp, **said) / "tokenizer.model")
    model = parse((tmp / "tokenizer.model").read_bytes())
    vocab = {p.text: id for id, p in enumerate(model.pieces)}
    scores = [(p.text, p.score) for p in model.pieces]
    theirs = transformers.LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, scores), **SPLIT)
    stub = SimpleNamespace(original_tokenizer=SimpleNamespace(legacy=True, add_prefix_space=True))
    tree = json.loads(theirs._tokenizer.to_str())
    tree["normalizer"] = json.loads(LlamaConverter.normalizer(stub, None).__getstate__())
    tree["pre_tokenizer"] = None
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=Core.from_str(json.dumps(tree)), **SPLIT)
    return Tokenizer.load(tmp), fast


def compare(ours: Tokenizer, theirs: Any, texts: Iterable[str]) -> None:
    for text in texts:
        expected = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans = ours.encode_spans(text)
        assert ids.tolist() == expected["input_ids"], text
        assert spans.tolist() == [list(span) for span in expected["offset_mapping"]], text


@pytest.mark.shared_data
def test_llama_is_cut_as_transformers_cuts_it(tmp_path: Path) -> None:
    compare(*llama(tmp_path, tokenizer_class="LlamaTokenizer"), strings(2024, 2_000))


@pytest.mark.long
@pytest.mark.shared_data
def test_llama_on_a_hundred_thousand_strings(tmp_path: Path) -> None:
    compare(*llama(tmp_path, tokenizer_class="LlamaTokenizer"), strings(2024, 100_000))


@pytest.mark.shared_data
def test_llama_begins_as_it_was_trained(tmp_path: Path) -> None:
    """The published ids of a sentence; `add_bos_token` and `add_eos_token` of the configuration."""
    ours, _ = llama(tmp_path / "a", tokenizer_class="LlamaTokenizer")
    ids = [15043, 445, 338, 263, 1243]
    assert ours.encode("Hello this is a test").tolist() == ids
    assert ours.frame.around(ids)[0] == [1, *ids]
    assert ours.frame.around(ids, [5]) == ([1, *ids, 1, 5], [0] * 6 + [1, 1])
    assert ours.decode(ours.encode(" two  spaces\n\tñ 🦊")) == " two  spaces\n\tñ 🦊"
    said = {"add_bos_token": False, "add_eos_token": True}
    other, _ = llama(tmp_path / "b", tokenizer_class="LlamaTokenizer", **said)
    assert other.frame.around(ids)[0] == [*ids, 2]
    plain, _ = llama(tmp_path / "c")
    assert plain.frame.around(ids)[0] == ids, "a model alone says nothing about what stands around a text"
    assert plain.encode("Hello this is a test").tolist() == ids


@pytest.mark.shared_data
def test_the_oracles_class_differs_from_sentencepiece(tmp_path: Path) -> None:
    """transformers 5 puts no space before a text that begins with one, and orders the merges of one piece the other
    way round; SentencePiece, and the tokenizer.json of Llama 2, do what we do."""
    ours, _ = llama(tmp_path, tokenizer_class="LlamaTokenizer")
    model = parse((tmp_path / "tokenizer.model").read_bytes())
    vocab = {p.text: id for id, p in enumerate(model.pieces)}
    theirs = transformers.LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab))
    for text in (" x", "½  e"):
        expected = pairs_by_score(model, "▁" + text.replace(" ", "▁"))
        assert [ours.token(id) for id in ours.encode(text)] == expected
        assert theirs.tokenize(text) != expected, "the oracle has been mended: compare it as it is"


def pairs_by_score(model: Any, text: str) -> list[str]:
    """SentencePiece's own BPE: join the neighbours whose joint piece has the best score, the leftmost first."""
    scores = {p.text: p.score for p in model.pieces if p.kind == NORMAL}
    parts = list(text)
    while True:
        found = [(scores[a + b], -at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in scores]
        if not found:
            break
        at = -max(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    spelled = [[part] if part in scores else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
    return [piece for row in spelled for piece in row]


@pytest.mark.shared_data
def test_pairs_are_joined_as_sentencepiece_joins_them(tmp_path: Path) -> None:
    """With the one exception that its merges cannot express: two cuts of one piece that overlap (`aaa`)."""
    ours, _ = llama(tmp_path, tokenizer_class="LlamaTokenizer")
    model, differ = parse((tmp_path / "tokenizer.model").read_bytes()), 0
    texts = [text for text in strings(5, 1_500) if len(text) < 100]
    for text in texts:
        expected = pairs_by_score(model, "▁" + text.replace(" ", "▁"))
        got = [ours.token(id) for id in ours.encode(text)]
        if got != expected:
            differ += 1
            assert sorted(got) == sorted(expected) or any(c * 3 in text for c in text), text
    assert differ <= len(texts) // 100


# ---- models alone


def best_cut(model: Any, word: str) -> list[str]:
    """Kudo 2018: the cut with the highest sum of scores; a character that is none costs 10 more than the worst."""
    scores = {p.text: p.score for p in model.pieces if p.kind == NORMAL}
    unknown = min(p.score for p in model.pieces) - 10
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for end in range(1, len(word) + 1):
        options = []
        for start in range(end):
            part = word[start:end]
            score = scores.get(part, unknown if end - start == 1 else None)
            if score is not None:
                options.append((best[start][0] + score, [*best[start][1], part if part in scores else "<unk>"]))
        best.append(max(options, key=lambda option: option[0]))
    joined: list[str] = []
    for part in best[-1][1]:
        joined += [] if part == "<unk>" and joined[-1:] == ["<unk>"] else [part]
    return joined


def test_a_unigram_model_alone(tmp_path: Path) -> None:
    content = spm(UNIGRAM)
    ours, model = Tokenizer.load(put(tmp_path, content)), parse(content)
    for text in ("ab", "  a  abba ", "aababab", "a<s>b", "xyz ab", "\tab\nc", "", "  "):
        normal = "▁".join(["", *text.split(" ")]) if text.strip() else ""
        while "▁▁" in normal or normal.endswith("▁"):
            normal = normal.replace("▁▁", "▁").removesuffix("▁")
        expected = best_cut(model, normal)
        assert [ours.token(id) for id in ours.encode(text)] == expected, text
    assert ours.frame.around([5])[0] == [5]
    assert ours.names == {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}


@pytest.mark.parametrize(("trim", "prefix"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_model_says_what_happens_to_spaces(trim: bool, prefix: bool, tmp_path: Path) -> None:
    content = spm(PAIRS, algorithm=2, trim=trim, prefix=prefix)
    ours, model = Tokenizer.load(put(tmp_path, content)), parse(content)
    for text in ("ab", " ab", "ab  ab", "aab ", "aaaa"):
        normal = " ".join(text.split()) if trim else text
        expected = pairs_by_score(model, "▁" * prefix + normal.replace(" ", "▁"))
        assert [ours.token(id) for id in ours.encode(text)] == expected, text


def test_pieces_of_the_user_are_found_first_and_are_not_special(tmp_path: Path) -> None:
    ours = Tokenizer.load(put(tmp_path, spm([*UNIGRAM, ("a b", 0.0, USER_DEFINED)], trim=False)))
    assert "a b" in [ours.token(id) for id in ours.encode("ca bc")]
    assert ours.count_specials_in("a b") == 0


def test_bytes_are_not_spelled_by_text(tmp_path: Path) -> None:
    pieces = [*TOY, *((f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256))]
    pieces += [(c, -1.0 - n, NORMAL) for n, c in enumerate(["<0", "x", "0", "A>", "<0x0A>a", "<", "A", ">", "▁", "a"])]
    ours = Tokenizer.load(put(tmp_path, spm(pieces, algorithm=2, trim=False, prefix=False, byte_fallback=True)))
    assert ours.encode("\n").tolist() == [3 + 10]
    assert ours.decode(ours.encode("é\n<0x0A>a")) == "é\n<0x0A>a"
    assert 3 + 10 not in ours.encode("<0x0A>a")


# ---- ALBERT and DeBERTa, whose files begin otherwise


def beginning(*rows: tuple[str, int]) -> list[tuple[str, float, int]]:
    """T5's pieces behind other first ones."""
    model = parse(data("sentencepiece-32k.model").read_bytes())
    return [*((text, 0.0, kind) for text, kind in rows), *((p.text, p.score, p.kind) for p in model.pieces[3:])]


ALBERT = (("<pad>", CONTROL), ("<unk>", UNKNOWN), *((name, CONTROL) for name in ("[CLS]", "[SEP]", "[MASK]")))
DEBERTA = (("[PAD]", CONTROL), ("[CLS]", CONTROL), ("[SEP]", CONTROL), ("[UNK]", UNKNOWN))


@pytest.mark.shared_data
@pytest.mark.parametrize("said", [{}, {"do_lower_case": False, "keep_accents": True}])
def test_albert(said: dict[str, bool], tmp_path: Path) -> None:
    """transformers 5 forgot that ALBERT avoids pieces that glue a comma to a digit; its oracle is told. Its class needs
    [CLS] and [SEP] under their own names, which its Unigram model then finds in a text."""
    pieces, charsmap = beginning(*ALBERT), parse(data("sentencepiece-32k.model").read_bytes()).charsmap
    put(tmp_path, spm(pieces, unk=1, charsmap=charsmap), tokenizer_class="AlbertTokenizer", **said)
    glued = {text for text, _, _ in pieces if text.endswith(",") and text[-2:-1].isdigit()}
    scores = hide([(t, s - 100 * (t in glued)) for t, s, _ in pieces], "<pad>", "<unk>", "[MASK]")
    hidden = roles(pad="<pad>", unk="<unk>", mask="[MASK]")
    options = {"_spm_precompiled_charsmap": charsmap, **hidden, **said, **SPLIT}
    theirs = reread(transformers.AlbertTokenizer(vocab=scores, **options))
    ours = Tokenizer.load(tmp_path)
    found = [text for text in strings(2024, 2_000) if "[CLS]" not in text and "[SEP]" not in text]
    assert len(found) > 1_900
    compare(ours, theirs, found)
    assert ours.frame.around([7], [8]) == ([2, 7, 3, 8, 3], [0, 0, 0, 1, 1])
    digits = {piece for piece in glued if piece.isascii()}
    assert digits
    for text in digits:
        assert ours.token(int(ours.encode(text)[-1])) == ",", text


@pytest.mark.shared_data
@pytest.mark.parametrize("said", [{}, {"do_lower_case": True, "split_by_punct": True}])
def test_deberta(said: dict[str, bool], tmp_path: Path) -> None:
    """transformers 5 leaves out the map of characters; its own converter, which we follow, has it."""
    pieces, charsmap = beginning(*DEBERTA), parse(data("sentencepiece-32k.model").read_bytes()).charsmap
    put(tmp_path, spm(pieces, unk=3, charsmap=charsmap), **said)
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    named = roles(pad="[PAD]", cls="[CLS]", sep="[SEP]", unk="[UNK]", mask="[MASK]", bos="[CLS]", eos="[SEP]")
    scores = hide([(text, score) for text, score, _ in pieces], *(name for name, _ in DEBERTA))
    theirs = transformers.DebertaV2Tokenizer(vocab=scores, unk_id=3, **named, **said, **SPLIT)
    stub = SimpleNamespace(original_tokenizer=SimpleNamespace(**{"do_lower_case": False, **said}))
    proto = SimpleNamespace(normalizer_spec=SimpleNamespace(precompiled_charsmap=charsmap))
    theirs._tokenizer.normalizer = DebertaV2Converter.normalizer(stub, proto)
    ours = Tokenizer.load(tmp_path)
    assert (ours.specials.mask, ours.vocab_size) == (len(pieces), len(pieces) + 1)
    compare(ours, reread(theirs), strings(2024, 2_000))
    assert ours.frame.around([7], [8]) == ([1, 7, 2, 8, 2], [0, 0, 0, 1, 1])


def test_the_guard_keeps_every_bit_of_a_score() -> None:
    """The library reads the last digit of a number inexactly; a copy made by way of its JSON would break ties
    otherwise than the original."""
    draw = random.Random(0)
    pieces = [("</s>", 0.0), ("<unk>", 0.0), *((chr(0x4E00 + n), -20 * draw.random()) for n in range(2_000))]
    core = Core(models.Unigram([*pieces, *((c, -1.0) for c in "</s>")], unk_id=1))
    core.add_special_tokens(["</s>"])
    ours = Tokenizer(core)
    assert ours._encoder is not core, "its model can spell </s>"
    scores = [json.loads(pipeline.to_str())["model"]["vocab"][2:2002] for pipeline in (core, ours._encoder)]
    assert scores[0] == scores[1] == [list(row) for row in pieces[2:]]
    through = json.loads(Core.from_str(core.to_str()).to_str())["model"]["vocab"][2:2002]
    assert through != scores[0], "the library has been mended: the detour is not needed"


def test_a_family_that_needs_a_unigram_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match="needs a unigram model"):
        Tokenizer.load(put(tmp_path, spm(PAIRS, algorithm=2), tokenizer_class="T5Tokenizer"))
    named = [*TOY, *((name, -1.0, NORMAL) for name in ("en_XX", "a"))]
    with pytest.raises(ModeledgeError, match="already hold the special tokens"):
        Tokenizer.load(put(tmp_path, spm(named), tokenizer_class="MBartTokenizer"))


def test_languages_stand_around_the_text(tmp_path: Path) -> None:
    ours = Tokenizer.load(put(tmp_path, spm(UNIGRAM), tokenizer_class="MBartTokenizer", src_lang="de_DE"))
    german = ours.id("de_DE")
    assert german == 4 + len(UNIGRAM) - 3 + MBART.index("de_DE")
    assert ours.frame.around([9])[0] == [9, ours.specials.eos, german]
    fifty = Tokenizer.load(put(tmp_path / "b", spm(UNIGRAM), tokenizer_class="MBart50Tokenizer", src_lang="de_DE"))
    assert fifty.frame.around([9])[0] == [german, 9, fifty.specials.eos]


def test_sentinels_of_t5(tmp_path: Path) -> None:
    ours = Tokenizer.load(put(tmp_path, spm(UNIGRAM), tokenizer_class="T5Tokenizer"))
    assert (ours.id("<extra_id_0>"), ours.id("<extra_id_99>")) == (len(UNIGRAM) + 99, len(UNIGRAM))
    assert ours.count_specials_in("<extra_id_7>") == 1
    none = Tokenizer.load(put(tmp_path, spm(UNIGRAM), tokenizer_class="T5Tokenizer", extra_ids=0))
    assert none.vocab_size == len(UNIGRAM)

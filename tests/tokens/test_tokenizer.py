"""What a tokenizer promises: text stays text, ids come back as text, files are read and written safely."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from modeledge.errors import ModeledgeError
from modeledge.tokens import KINDS, SPECIALS, Tokenizer, measure, train_tokenizer

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "A naïve café: 12,345 words; the fox's den — “quoted”. 日本語 and 🦊!",
] * 20


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(TEXT, kind=kind, vocab_size=400) for kind in KINDS}


def core_of(model: Any, *specials: str) -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(model)
    core.add_special_tokens(list(specials))
    return core


def t5_like() -> tokenizers.Tokenizer:
    """A Unigram model that holds its special tokens among its pieces, as T5's does; `<` is unknown to it, too."""
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")] + [(c, -5.0 - i) for i, c in enumerate("▁abc/s>")]
    core = core_of(models.Unigram(pieces, unk_id=2), "<pad>", "</s>", "<unk>")
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return core


def word_level() -> tokenizers.Tokenizer:
    core = core_of(models.WordLevel({"[UNK]": 0, "[MASK]": 1, "a": 2}, unk_token="[UNK]"), "[UNK]", "[MASK]")
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return core


def merging() -> tokenizers.Tokenizer:
    """A BPE model whose merges spell its special token."""
    pieces = {piece: id for id, piece in enumerate(["</s>", "<", "/", "s", ">", "</", "s>", *"abc "])}
    return core_of(models.BPE(pieces, [("<", "/"), ("s", ">"), ("</", "s>")]), "</s>")


def refused(code: str, path: Path) -> str:
    with pytest.raises(ModeledgeError) as caught:
        Tokenizer.load(path)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# ---- case 20: text that spells special tokens


@pytest.mark.parametrize("kind", KINDS)
@given(parts=st.lists(st.sampled_from([*SPECIALS.values(), " ", "a", "\n", "["]) | st.text(max_size=3), max_size=6))
def test_no_text_reaches_a_special_token(trained: dict[str, Tokenizer], kind: str, parts: list[str]) -> None:
    tokenizer, text = trained[kind], "".join(parts)
    special = set(tokenizer.specials.ids()) - {tokenizer.specials.unk}
    for ids in (tokenizer.encode(text), tokenizer.encode_batch([text])[0], tokenizer.encode_words(text)[0]):
        assert not special & set(ids.tolist())


@pytest.mark.parametrize("core", [t5_like, word_level, merging])
def test_pieces_that_spell_special_tokens_are_out_of_reach(core: Any) -> None:
    tokenizer = Tokenizer(core())
    ordinary = set(range(tokenizer.vocab_size)) - set(tokenizer.specials.ids())
    for name in tokenizer.names.values():
        for text in (name, f"a {name} a", f"a{name}a", f" {name}{name}"):
            ids = set(tokenizer.encode(text).tolist()) | set(tokenizer.encode_batch([text])[0].tolist())
            assert ids <= ordinary | {tokenizer.specials.unk}, (text, ids)


@given(text=st.text("abc </s>"))
def test_the_guard_changes_no_other_text(text: str) -> None:
    """Where no special token is spelled, the ids are the library's own."""
    for core in (t5_like(), merging()):
        if not any(name in text for name in ("<pad>", "</s>", "<unk>")):
            assert Tokenizer(core).encode(text).tolist() == core.encode(text, add_special_tokens=False).ids


def test_special_tokens_written_out_are_counted(trained: dict[str, Tokenizer]) -> None:
    text = "[MASK] x <|endoftext|>[MASK]"
    assert trained["bpe"].count_specials_in(text) == 3
    got = measure(trained["bpe"], [text, "no"])
    assert got.specials_in_text == 3
    assert Tokenizer(t5_like()).count_specials_in("</s> <extra>") == 1


# ---- encoding and decoding


@settings(max_examples=300)
@given(text=st.text() | st.sampled_from(["", " ", "\r\n", "\x00", "\u2028\u0085\ufeff", "e\u0301", "👨‍👩‍👧" * 3]))
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_every_text_comes_back(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    ids = trained[kind].encode(text)
    assert trained[kind].decode(ids) == text
    assert trained[kind].decode(ids, skip_specials=False) == text


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.text(), max_size=4))
def test_a_batch_is_its_texts(trained: dict[str, Tokenizer], kind: str, texts: list[str]) -> None:
    batch = trained[kind].encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [trained[kind].encode(text).tolist() for text in texts]
    assert all(ids.dtype == np.int64 for ids in batch)


def test_words_group_tokens(trained: dict[str, Tokenizer]) -> None:
    for kind, tokenizer in trained.items():
        ids, words = tokenizer.encode_words("sleeping foxes, jumping")
        assert ids.tolist() == tokenizer.encode("sleeping foxes, jumping").tolist()
        assert np.unique(words).tolist() == [0, 1, 2, 3], kind
        assert (np.diff(words) >= 0).all()
        whole = [tokenizer.decode(ids[words == word]).strip().removeprefix("##") for word in range(4)]
        assert [w.replace(" ##", "") for w in whole] == ["sleeping", "foxes", ",", "jumping"], kind


def test_special_tokens_show_only_when_asked(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["bpe"]
    ids = [tokenizer.need("cls"), *tokenizer.encode("dog"), tokenizer.need("sep")]
    assert tokenizer.decode(ids) == "dog"
    assert tokenizer.decode(np.array(ids), skip_specials=False) == "[CLS]dog[SEP]"


def test_ids_of_no_token_show(trained: dict[str, Tokenizer]) -> None:
    """A model may have more rows than its tokenizer: such ids must neither vanish nor stop a run."""
    tokenizer = trained["bpe"]
    dog = tokenizer.encode("dog").tolist()
    over = [tokenizer.vocab_size, 2**40, -1]
    assert tokenizer.decode([*dog, *over, *dog]) == "dog\ufffddog"
    holed = Tokenizer(core_of(models.WordLevel({"[UNK]": 0, "a": 2}, unk_token="[UNK]")))
    assert (holed.vocab_size, holed.decode([2, 1])) == (3, "a\ufffd")
    for id in (1, 3, -1):
        with pytest.raises(ModeledgeError, match="E-VOCAB-SIZE"):
            holed.token(id)
    assert holed.token(2) == "a"
    assert (holed.id("a"), holed.id("b")) == (2, None)


@pytest.mark.parametrize(("wrong", "code"), [("x\ud800", "E-SURROGATE"), (3, "E-FIELD-TYPE"), (None, "E-FIELD-TYPE")])
def test_what_is_no_text_is_refused(trained: dict[str, Tokenizer], wrong: Any, code: str) -> None:
    for encode in (
        trained["bpe"].encode,
        trained["bpe"].encode_words,
        lambda text: trained["bpe"].encode_batch([text]),
    ):
        with pytest.raises(ModeledgeError) as caught:
            encode(wrong)
        assert caught.value.code == code
    with pytest.raises(ModeledgeError, match=r"text 2, character 2: U\+D800"):
        trained["bpe"].encode_batch(["a", "x\ud800"])


def test_an_unknown_word_without_unk_is_named() -> None:
    tokenizer = Tokenizer(core_of(models.WordLevel({"a": 0, "</s>": 1}), "</s>"))
    assert tokenizer.encode("a").tolist() == [0]
    for text in ("b", "</s>"):
        with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN: a text cannot be encoded"):
            tokenizer.encode(text)
        with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN: a text cannot be encoded"):
            tokenizer.encode_batch(["a", text])


def test_a_missing_special_token_is_named() -> None:
    """Case 81."""
    tokenizer = Tokenizer(t5_like())
    assert tokenizer.need("eos") == 1
    with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN: the tokenizer has no mask token"):
        tokenizer.need("mask")


# ---- files


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_change_nothing(trained: dict[str, Tokenizer], kind: str, tmp_path: Path) -> None:
    tokenizer = trained[kind]
    tokenizer.save(tmp_path / "a")
    for path in (tmp_path / "a", str(tmp_path / "a"), tmp_path / "a" / "tokenizer.json"):
        again = Tokenizer.load(path)
        assert again.fingerprint == tokenizer.fingerprint
        assert (again.specials, again.names, again.vocab_size) == (
            tokenizer.specials,
            tokenizer.names,
            tokenizer.vocab_size,
        )
    again.save(tmp_path / "b")
    assert sorted(os.listdir(tmp_path / "b")) == ["tokenizer.json", "tokenizer_config.json"]
    for name in os.listdir(tmp_path / "b"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_roles_that_were_not_given_stay_away(tmp_path: Path) -> None:
    """`[MASK]` is spelled like a mask token, but the tokenizer was made without that role."""
    named = train_tokenizer(TEXT, vocab_size=300, specials={"pad": "[PAD]", "eos": "[MASK]"})
    named.save(tmp_path)
    assert Tokenizer.load(tmp_path).names == {"pad": "[PAD]", "eos": "[MASK]"}


def test_fingerprints_tell_tokenizers_apart(trained: dict[str, Tokenizer]) -> None:
    others = [train_tokenizer(TEXT, vocab_size=300), train_tokenizer(TEXT, vocab_size=400, lowercase=True)]
    assert len({t.fingerprint for t in (*trained.values(), *others)}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_we_write(trained: dict[str, Tokenizer], kind: str, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = trained[kind]
    tokenizer.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        assert getattr(theirs, f"{role}_token_id") == getattr(tokenizer.specials, role), role
    for text in TEXT[:2]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).tolist()
    assert len(theirs) == tokenizer.vocab_size


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "Dog"]


def test_a_vocabulary_of_bert_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    for lower, pieces in ((False, BERT), (True, BERT[:-1])):
        folder = tmp_path / str(lower)
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
        vocab = {piece: id for id, piece in enumerate(pieces)}
        theirs = BertTokenizerFast(vocab=vocab, do_lower_case=lower)
        ours = Tokenizer.load(folder)
        for text in ("The dogs", "Dogs the Dog", "dögs"):
            assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.need("mask") == 4
        assert Tokenizer.load(folder / "vocab.txt").fingerprint == ours.fingerprint


def test_the_configuration_says_whether_bert_lowercases(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(BERT) + "\n")
    assert Tokenizer.load(tmp_path).encode("Dog").tolist() == [8]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert Tokenizer.load(tmp_path).encode("Dog").tolist() == [6]


def test_a_vocabulary_of_gpt2_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import GPT2TokenizerFast

    trained = train_tokenizer(TEXT, vocab_size=300, specials={"eos": "<|endoftext|>", "bos": "<|endoftext|>"})
    model = json.loads(trained._core.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [tuple(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    ours, theirs = Tokenizer.load(tmp_path), GPT2TokenizerFast(vocab=model["vocab"], merges=merges)
    for text in (*TEXT[:2], " leading", "two  spaces\n"):
        assert (
            ours.encode(text).tolist()
            == theirs(text, add_special_tokens=False)["input_ids"]
            == trained.encode(text).tolist()
        )
    assert ours.need("eos") == 0
    (tmp_path / "merges.txt").unlink()
    assert "merges.txt" in refused("E-NO-FILE", tmp_path)


def test_roles_come_from_the_files_beside(tmp_path: Path) -> None:
    core_of(models.WordLevel({"<s>": 0, "</s>": 1, "x": 2}), "<s>", "</s>").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "special_tokens_map.json").write_text('{"cls_token": {"content": "<s>"}, "pad_token": "</s>"}')
    assert Tokenizer.load(tmp_path).names == {"bos": "<s>", "eos": "</s>", "cls": "<s>", "pad": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<s>", "bos_token": null, "mask_token": "absent"}')
    assert Tokenizer.load(tmp_path).names == {"eos": "</s>", "cls": "<s>", "pad": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    assert "tokenizer_config.json" in refused("E-TOKENIZER", tmp_path)


def test_truncation_and_padding_of_others_are_taken_off(tmp_path: Path) -> None:
    core = word_level()
    core.enable_truncation(1)
    core.enable_padding(length=9)
    core.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).encode("a a a").tolist() == [2, 2, 2]


# ---- cases 52, 53, 89: what is no tokenizer


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"version": "1.0"}', "[" * 100_000, "\x00"])
def test_damaged_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    assert "tokenizer.json" in refused("E-TOKENIZER", tmp_path)


def test_a_truncated_file_is_refused(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    trained["bpe"].save(tmp_path)
    data = (tmp_path / "tokenizer.json").read_bytes()
    for cut in (1, len(data) // 2, len(data) - 3):
        (tmp_path / "tokenizer.json").write_bytes(data[:cut])
        refused("E-TOKENIZER", tmp_path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["BOMB"],))


@pytest.mark.parametrize("name", ["tokenizer.pkl", "tokenizer.bin", "tokenizer.json", "vocab.txt", "vocab.json"])
def test_no_pickle_is_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    refused("E-UNSAFE-FORMAT", tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "tokenizer.json" in refused("E-NO-FILE", tmp_path)
    refused("E-NO-FILE", tmp_path / "absent")
    (tmp_path / "spm.model").write_bytes(b"\x0a\x0b")
    refused("E-TOKENIZER", tmp_path / "spm.model")
    (tmp_path / "vocab.txt").write_bytes(b"[UNK]\n\xe9\n")
    refused("E-TOKENIZER", tmp_path)


def test_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    def denied(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused("E-PERMISSION", tmp_path)


# ---- measuring


def test_measures_by_hand() -> None:
    tokenizer = Tokenizer(word_level())
    got = measure(tokenizer, ["a a b", "a", ""])
    assert (got.tokens, got.bytes_per_token, got.fertility, got.unknown) == (4, 6 / 4, 4 / 4, 1 / 4)
    assert got.round_trip == pytest.approx(2 / 3)
    assert measure(train_tokenizer(TEXT, vocab_size=262), TEXT).bytes_per_token < 1.2
    assert measure(train_tokenizer(TEXT, vocab_size=400), TEXT).round_trip == 1


@pytest.mark.parametrize(("texts", "code"), [([], "E-NO-RECORDS"), ([""], "E-NO-RECORDS"), ("abc", "E-USAGE")])
def test_nothing_to_measure(trained: dict[str, Tokenizer], texts: Any, code: str) -> None:
    with pytest.raises(ModeledgeError, match=code):
        measure(trained["bpe"], texts)

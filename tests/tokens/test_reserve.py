"""Special tokens for a tokenizer without them: behind its vocabulary, texts keep their ids, both libraries agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Core

from modeledge.errors import ModeledgeError
from modeledge.tokens import Tokenizer, sentinel_names, train_tokenizer
from modeledge.tokens.extend import extended, replaced
from modeledge.tokens.reserve import with_specials

TEXTS = ["the cat sat on the mat and the dog ran home to the old house. "] * 20
DOMAIN = ["acute myocardial infarction and myocardial ischaemia of the myocardium. "] * 9
LETTERS = "abcdefghijklmnopqrstuvwxyz 0123456789 <>_[] MASK "
ENDS = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
HOSTILE = "a <extra_id_0> b [MASK] <s> 27 °C"


def without(kind: str) -> Tokenizer:
    """One as a checkpoint brings it: ends of a text, and neither a mask nor a [CLS] nor sentinels."""
    named = {r: n for r, n in ENDS.items() if kind != "bpe" or r != "unk"}
    size = {"bpe": 300, "wordpiece": 150, "unigram": 320}[kind]
    return train_tokenizer([*TEXTS, LETTERS], kind=kind, vocab_size=size, specials=named)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
@pytest.mark.parametrize("pieces", [0, 6])
def test_what_is_missing_stands_behind_the_vocabulary(kind: str, pieces: int, tmp_path: Path) -> None:
    old = without(kind)
    new = with_specials(old, (*sentinel_names(3), "[X]"), {"mask": "[MASK]", "cls": "<s>"})
    assert new.specials.mask == old.vocab_size
    assert new.sentinels == tuple(range(old.vocab_size + 1, old.vocab_size + 4))
    assert (new.id("[X]"), new.vocab_size) == (old.vocab_size + 4, old.vocab_size + 5)
    assert (new.specials.cls, new.specials.eos) == (old.specials.bos, old.specials.eos)
    size = old.vocab_size
    assert new.gained == (
        f"the tokenizer gains 5 special tokens behind its {size} ids: [MASK] <extra_id_0> <extra_id_1> … [X]",
        "roles in the tokenizer: mask = [MASK], cls = <s>",
    )
    for text in (*TEXTS[:1], *DOMAIN[:1], HOSTILE):
        assert new.encode(text).tolist() == old.encode(text).tolist()
    if pieces:
        new = extended(new, DOMAIN, pieces)
        assert len(new.encode(DOMAIN[0])) < len(old.encode(DOMAIN[0]))
        assert not set(new.encode(HOSTILE).tolist()) & {new.specials.mask, *new.sentinels}
        assert len(new.gained) == 3
    new.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.fingerprint, again.names) == (new.fingerprint, new.names)
    assert again.decode(again.sentinels) == ""


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_special_token_begins_as_what_it_was_read_as(kind: str) -> None:
    old = without(kind)
    new = extended(with_specials(old, sentinel_names(2)), DOMAIN, 4)
    rows = replaced(old, new)
    assert rows[:2] == [old.encode(name).tolist() for name in sentinel_names(2)]
    assert rows[0] != rows[1]
    assert len(rows) == new.vocab_size - old.vocab_size


def test_a_spelling_that_cannot_be_read_begins_as_the_mean_of_all() -> None:
    core = Core(models.WordLevel({"a": 0, "b": 1}))
    old = Tokenizer(core, {})
    assert replaced(old, with_specials(old, ["[X]"])) == [[0, 1]]


def test_what_is_there_is_not_there_twice() -> None:
    whole = train_tokenizer(TEXTS, vocab_size=320, extra=(*sentinel_names(4), "[X]"))
    assert with_specials(whole, (*sentinel_names(4), "[X]"), {"mask": "[MASK]"}) is whole
    more = with_specials(whole, sentinel_names(6))
    assert more.sentinels[:4] == whole.sentinels
    assert more.vocab_size == whole.vocab_size + 2
    assert with_specials(more, sentinel_names(5)) is more


@pytest.mark.parametrize(
    ("names", "roles", "says"),
    [
        (["a b"], {}, r"E-VOCAB-CONFIG: extra\[0\]"),
        ([], {"msk": "[MASK]"}, "unknown role 'msk'; did you mean 'mask'"),
        ([], {"mask": "[ MASK"}, r"E-VOCAB-CONFIG: specials\.mask"),
        ([], {"eos": "[END]"}, r"specials\.eos: the eos token of this tokenizer is '</s>', and '\[END\]' is asked for"),
        ([], {"mask": "the"}, r"'the' is a piece of text .* as \"\[MASK\]\""),
    ],
)
def test_what_cannot_be_a_special_token(names: list[str], roles: dict[str, str], says: str) -> None:
    with pytest.raises(ModeledgeError, match=says):
        with_specials(without("bpe"), names, roles)


def test_ids_with_a_gap_are_refused() -> None:
    with pytest.raises(ModeledgeError, match=r"E-TOKENIZER: '\[X\]' does not get the next id, 10"):
        with_specials(Tokenizer(Core(models.WordLevel({"a": 0, "b": 9})), {}), ["[X]"])


# ---- the files beside


def folder_of(kind: str, folder: Path, *, by_id: bool) -> Path:
    """A tokenizer as transformers 4 left it: every file says which special tokens there are."""
    old = without(kind)
    old.save(folder)
    said: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text())
    said = {key: value for key, value in said.items() if value is not None}
    if by_id:
        flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
        rows = {str(old.id(n)): {"content": n, **flags, "special": True} for n in old.names.values()}
        said["added_tokens_decoder"] = rows
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "special_tokens_map.json").write_text(json.dumps({f"{r}_token": n for r, n in old.names.items()}))
    return folder


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(("kind", "named"), [("bpe", "GPT2Tokenizer"), ("wordpiece", ""), ("unigram", "")])
def test_the_reference_library_reads_the_same_ids(kind: str, named: str, by_id: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = folder_of(kind, tmp_path / "old", by_id=by_id)
    if named:
        said = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(
            json.dumps({**said, "tokenizer_class": named, "unk_token": "</s>"})
        )
    new = with_specials(Tokenizer.load(folder), sentinel_names(3), {"mask": "[MASK]", "cls": "<s>"})
    for number, made in enumerate((new, extended(new, DOMAIN, 5))):
        made.save(tmp_path / f"{number}")
        again = Tokenizer.load(tmp_path / f"{number}")
        assert (again.fingerprint, again.names) == (made.fingerprint, made.names)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / f"{number}")
        assert len(theirs) == made.vocab_size
        ids = range(made.vocab_size)
        assert theirs.convert_ids_to_tokens(list(ids)) == [made.token(i) for i in ids]
        assert (theirs.mask_token_id, theirs.cls_token_id) == (made.specials.mask, made.specials.cls)
        assert theirs("<extra_id_1>", add_special_tokens=False).input_ids == [made.sentinels[1]]
        text = DOMAIN[0].strip()
        assert theirs(text, add_special_tokens=False).input_ids == made.encode(text).tolist()


def test_a_token_that_was_added_and_is_none_of_the_special_ones_may_not_play_a_role() -> None:
    """Texts reach it, as `<tool_call>` of Qwen; one of those names is used as it is."""
    core = Core(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    core.add_tokens([AddedToken("<tool>", special=False)])
    old = Tokenizer(core, {"unk": "<unk>"})
    assert with_specials(old, ["<tool>"]) is old
    with pytest.raises(ModeledgeError, match="is a piece of text"):
        with_specials(old, [], {"mask": "<tool>"})

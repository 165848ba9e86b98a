"""Training: the same text gives the same bytes, and what cannot be met is refused with its numbers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, trainers

from modeledge.errors import ModeledgeError
from modeledge.tokens import KINDS, SPECIALS, Tokenizer, train_tokenizer

WORDS = "the quick brown fox jumps over a lazy dog while it rains in the old red house"
NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>"]


def made(size: int) -> list[str]:
    """About `size` bytes of invented language, rich in ties: every syllable is as likely as the next."""
    lots = random.Random(5)
    syllables = [a + b for a in "bdfgklmnprstvzäß" for b in "aeiouéö"]
    words = ["".join(lots.choices(syllables, k=lots.randint(1, 4))) for _ in range(size // 60)]
    lines = [" ".join(lots.choices(words, k=10)) + "." for _ in range(size // 65)]
    return lines


TRAINING = """
import hashlib, sys, pathlib
sys.path.insert(0, sys.argv[1])
from test_train import made
from modeledge.tokens import KINDS, train_tokenizer
texts = made(int(sys.argv[2]))
for kind in KINDS:
    for _ in range(int(sys.argv[3])):
        folder = pathlib.Path(sys.argv[4])
        train_tokenizer(texts, kind=kind, vocab_size=int(sys.argv[5])).save(folder)
        print(kind, hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest())
"""


def digests(tmp_path: Path, *, processes: int, trainings: int, size: int, vocab_size: int) -> dict[str, list[str]]:
    """The digest of every training of every kind, in processes whose hash seeds and thread counts differ."""
    running = []
    for number in range(processes):
        environment = os.environ | {"PYTHONHASHSEED": str(number), "RAYON_NUM_THREADS": str(1 + number % 3)}
        words = [str(Path(__file__).parent), size, trainings, tmp_path / str(number), vocab_size]
        command = [sys.executable, "-c", TRAINING, *map(str, words)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    found: dict[str, list[str]] = {}
    for process in running:
        for line in process.communicate()[0].splitlines():
            kind, digest = line.split()
            found.setdefault(kind, []).append(digest)
        assert process.returncode == 0
    return found


def check_the_same(found: dict[str, list[str]], count: int) -> None:
    assert set(found) == set(KINDS)
    for kind, several in found.items():
        assert len(several) == count
        assert len(set(several)) == 1, kind


def test_training_is_deterministic(tmp_path: Path) -> None:
    check_the_same(digests(tmp_path, processes=2, trainings=2, size=30_000, vocab_size=600), 4)


@pytest.mark.long
def test_twenty_trainings_in_four_processes_give_the_same_bytes(tmp_path: Path) -> None:
    check_the_same(digests(tmp_path, processes=4, trainings=5, size=200_000, vocab_size=2000), 20)


def test_the_control_varies() -> None:
    """The library's own WordPiece training of this text is not deterministic, so the tests above can fail."""
    seen = set()
    for _ in range(12):
        trainer = trainers.WordPieceTrainer(vocab_size=600, show_progress=False, special_tokens=NAMES)
        core = KINDS["wordpiece"].pipeline("[UNK]", False)
        core.train_from_iterator(made(30_000), trainer)
        seen.add(core.to_str())
        if len(seen) > 1:
            return
    pytest.fail("the library has become deterministic: the second training can go")


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_texts_does_not_matter(kind: Any) -> None:
    for texts, size in ((made(20_000), 500), (made(60_000), 1200), ([WORDS] * 9, 290)):
        orders = [random.Random(seed).sample(texts, len(texts)) for seed in range(3)]
        assert len({train_tokenizer(iter(order), kind=kind, vocab_size=size).fingerprint for order in orders}) == 1


# ---- what comes out


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_dense_and_special_tokens_come_first(kind: Any) -> None:
    tokenizer = train_tokenizer(made(20_000), kind=kind, vocab_size=500)
    names = [name for name in NAMES if kind != "bpe" or name != "[UNK]"]
    assert [tokenizer.token(id) for id in range(len(names))] == names
    assert tokenizer.specials.ids() == tuple(range(len(names)))
    assert tokenizer.names == {role: name for role, name in SPECIALS.items() if kind != "bpe" or role != "unk"}
    assert tokenizer.vocab_size == 500
    assert len({tokenizer.token(id) for id in range(500)}) == 500
    assert tokenizer.notes == ()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_all_bytes_are_in_the_alphabet(kind: Any) -> None:
    """Every byte, alone, has an id, though the text holds few of them: nothing is ever unknown."""
    tokenizer = train_tokenizer([WORDS] * 5, kind=kind, vocab_size=300)
    characters = "".join(chr(c) for c in range(0x20, 0x3000, 7)) + "\U0001f600\U0010ffff\x00\x7f"
    assert tokenizer.specials.unk not in tokenizer.encode(characters).tolist()
    assert tokenizer.decode(tokenizer.encode(characters)) == characters
    pieces = {tokenizer.token(id) for id in range(tokenizer.vocab_size)}
    assert sum(len(piece) == 1 for piece in pieces) == 256


def test_frequent_words_become_one_token() -> None:
    """Unigram takes only what different words share: `the` because of `then`."""
    for kind in KINDS:
        text = [WORDS + " then theme others quickly ripquick"] * 200
        tokenizer = train_tokenizer(made(10_000) + text, kind=kind, vocab_size=400)
        for word in ("the", "quick") if kind == "unigram" else WORDS.split()[1:]:
            assert tokenizer.encode(f" {word}").size == 1, (kind, word)


def test_wordpiece_takes_the_library_s_pieces() -> None:
    """The canonical order changes ids, not pieces: the second training is one that the library could have made."""
    tokenizer = train_tokenizer([WORDS] * 3, kind="wordpiece", vocab_size=60)
    core = KINDS["wordpiece"].pipeline("[UNK]", False)
    core.train_from_iterator(
        [WORDS] * 3, trainers.WordPieceTrainer(vocab_size=60, min_frequency=2, show_progress=False)
    )
    letters = {piece for piece in core.get_vocab() if len(piece.removeprefix("##")) == 1}
    pieces = {tokenizer.token(id) for id in range(tokenizer.vocab_size)} - set(NAMES)
    assert {piece for piece in pieces if len(piece.removeprefix("##")) == 1} == letters
    order = [tokenizer.token(id) for id in range(6, tokenizer.vocab_size)]
    assert order[: len(letters)] == sorted(p for p in letters if len(p) == 1) + sorted(p for p in letters if len(p) > 1)


def test_unigram_scores_are_rounded_and_ordered() -> None:
    tokenizer = train_tokenizer(made(20_000), kind="unigram", vocab_size=500)
    rows = json.loads(tokenizer._core.to_str())["model"]["vocab"][6:]
    assert rows == sorted(rows, key=lambda row: (-row[1], row[0]))
    scores = [score for _, score in rows]
    assert scores == [round(score, 6) for score in scores]
    dropped = [piece for piece, score in rows if score == scores[-1]]
    assert len(dropped) > 200, "the letters that the text does not hold share the last score"
    assert all(len(piece) == 1 for piece in dropped)
    assert scores[-1] <= min(score for score in scores if score != scores[-1]) - 1 + 1e-6


def test_lowercase() -> None:
    for kind in KINDS:
        tokenizer = train_tokenizer([WORDS] * 9, kind=kind, vocab_size=300, lowercase=True)
        assert tokenizer.encode("The QUICK fox").tolist() == tokenizer.encode("the quick fox").tolist()
        assert (
            train_tokenizer([WORDS] * 9, kind=kind, vocab_size=300).encode("The").tolist()
            != tokenizer.encode("the").tolist()
        )


def test_min_frequency_counts() -> None:
    texts = ["ab"] * 3 + ["cd"] * 2
    assert train_tokenizer(texts, vocab_size=300, min_frequency=3).encode("abcd").size == 3
    assert train_tokenizer(texts, vocab_size=300, min_frequency=2).encode("abcd").size == 2


def test_other_special_tokens() -> None:
    tokenizer = train_tokenizer(made(5_000), vocab_size=300, specials={"eos": "</s>", "mask": "<mask>", "pad": "<pad>"})
    assert (tokenizer.need("pad"), tokenizer.need("mask"), tokenizer.need("eos")) == (0, 1, 2)
    assert tokenizer.specials.cls is None


@given(name=st.sampled_from(["the", "fox", "ab"]), text=st.text("abthefox "))
@settings(max_examples=20, deadline=None)
def test_a_special_token_spelled_like_a_word_stays_out_of_reach(name: str, text: str) -> None:
    for kind in KINDS:
        tokenizer = train_tokenizer([WORDS] * 9, kind=kind, vocab_size=300, specials={"mask": name, "unk": "[UNK]"})
        assert tokenizer.need("mask") not in tokenizer.encode(f"{text} {name} fox").tolist()


# ---- cases 82, 83: what cannot be met


@pytest.mark.parametrize(("kind", "least"), [("bpe", 261), ("unigram", 262), ("wordpiece", 6)])
def test_a_vocabulary_must_hold_bytes_and_special_tokens(kind: Any, least: int) -> None:
    for size in (least - 1, 0, -5):
        with pytest.raises(ModeledgeError) as caught:
            train_tokenizer(made(5_000), kind=kind, vocab_size=size)
        assert caught.value.code == "E-VOCAB-CONFIG"
        assert f"{size} ids cannot hold" in str(caught.value)
        assert f"choose at least {least}" in str(caught.value)
    if kind != "wordpiece":
        assert train_tokenizer(made(5_000), kind=kind, vocab_size=least).vocab_size == least


def test_wordpiece_must_hold_the_characters_of_the_text() -> None:
    with pytest.raises(ModeledgeError, match=r"E-VOCAB-CONFIG: vocab_size: 20 ids cannot hold the \d+ characters"):
        train_tokenizer(made(5_000), kind="wordpiece", vocab_size=20)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_min_frequency_that_removes_everything_is_refused(kind: Any) -> None:
    with pytest.raises(ModeledgeError, match=r"E-VOCAB-CONFIG: min_frequency: nothing longer .* occurs 10000000 times"):
        train_tokenizer(made(5_000), kind=kind, vocab_size=400, min_frequency=10_000_000)
    with pytest.raises(ModeledgeError, match=r"E-VOCAB-CONFIG: min_frequency: nothing longer"):
        train_tokenizer(["a b c"], kind=kind, vocab_size=400)
    with pytest.raises(ModeledgeError, match=r"E-VOCAB-CONFIG: min_frequency: 0 is less than 1"):
        train_tokenizer(made(5_000), kind=kind, vocab_size=400, min_frequency=0)


def test_unigram_refuses_a_min_frequency_that_it_would_ignore() -> None:
    with pytest.raises(ModeledgeError, match=r"E-VOCAB-CONFIG: min_frequency: unigram"):
        train_tokenizer(made(5_000), kind="unigram", vocab_size=400, min_frequency=5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_text_gives_a_small_vocabulary_and_says_so(kind: Any) -> None:
    tokenizer = train_tokenizer([WORDS] * 3, kind=kind, vocab_size=5000)
    assert tokenizer.vocab_size < 1000
    assert tokenizer.notes == (f"the corpus yields {tokenizer.vocab_size} of the 5,000 ids asked for",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], iter([]), iter(["", ""])])
def test_no_text_is_refused(kind: Any, texts: Any) -> None:
    with pytest.raises(ModeledgeError, match="E-NO-RECORDS"):
        train_tokenizer(texts, kind=kind, vocab_size=400)


def test_wordpiece_of_white_space_is_refused() -> None:
    with pytest.raises(ModeledgeError, match="E-NO-RECORDS"):
        train_tokenizer([" \n\t"], kind="wordpiece", vocab_size=400)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "code"), [("x\udcff", "E-SURROGATE"), (None, "E-FIELD-TYPE"), (["a"], "E-FIELD-TYPE")]
)
def test_what_is_no_text_is_refused(kind: Any, wrong: Any, code: str) -> None:
    with pytest.raises(ModeledgeError, match=f"{code}: text 3"):
        train_tokenizer(iter(["fine", "fine too", wrong]), kind=kind, vocab_size=400)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"texts": "one string"}, "E-USAGE"),
        ({"kind": "unigramm"}, r"E-VOCAB-CONFIG: kind: .*did you mean 'unigram'"),
        ({"specials": {"msk": "[MASK]"}}, r"E-VOCAB-CONFIG: specials: .*did you mean 'mask'"),
        ({"specials": {"mask": ""}}, r"E-VOCAB-CONFIG: specials\.mask"),
        ({"specials": {"mask": "a b"}}, r"E-VOCAB-CONFIG: specials\.mask"),
        ({"specials": {"mask": "a"}}, r"E-VOCAB-CONFIG: specials\.mask"),
        ({"specials": {}, "kind": "wordpiece"}, "E-SPECIAL-TOKEN: specials: wordpiece needs an unk token"),
    ],
)
def test_what_is_asked_wrongly_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModeledgeError, match=message):
        train_tokenizer(**{"texts": made(5_000), "vocab_size": 400, **more})


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_the_source_come_through(kind: Any) -> None:
    def source() -> Any:
        yield "fine"
        raise ModeledgeError("E-UTF8", "byte 3")

    with pytest.raises(ModeledgeError, match="E-UTF8"):
        train_tokenizer(source(), kind=kind, vocab_size=400)


def test_models_are_of_their_kind() -> None:
    kinds = {"bpe": models.BPE, "wordpiece": models.WordPiece, "unigram": models.Unigram}
    for kind, model in kinds.items():
        tokenizer: Tokenizer = train_tokenizer(made(5_000), kind=kind, vocab_size=400)  # type: ignore[arg-type]
        assert isinstance(tokenizer._core.model, model)

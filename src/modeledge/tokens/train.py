"""Training tokenizers so that the same text always gives the same bytes.

The library's WordPiece and Unigram trainers walk hash maps, and the order shows in three places. WordPiece numbers the
continued characters (`##a`) as it meets them, and those numbers break ties between merges, so even the pieces differ:
it is trained twice, the second time with these numbers fixed. Unigram adds up its expectations in another order each
time (scores differ by 1e-14, and are rounded to 1e-6) and gives the letters that its training dropped a ladder of
scores, one rung each, in any order: they all get one score. And both number their pieces differently each time: the
result is put in a canonical order (special tokens, single characters, then pieces by length and spelling; for Unigram
by rounded score) and numbered again. Byte-level BPE is deterministic as it is: its ids follow the order of its merges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.errors import ModeledgeError, nearest
from modeledge.tokens.counts import Cut
from modeledge.tokens.counts import counted as counted_words
from modeledge.tokens.load import ROLES
from modeledge.tokens.tokenizer import Tokenizer, check_text
from modeledge.tokens.vocabulary import wordpiece_parts

Kind = Literal["bpe", "wordpiece", "unigram"]
SPECIALS = {
    "pad": "[PAD]",
    "unk": "[UNK]",
    "cls": "[CLS]",
    "sep": "[SEP]",
    "mask": "[MASK]",
    "bos": "<|endoftext|>",
    "eos": "<|endoftext|>",
}
SCORE_DIGITS = 6
RUNG = 1e-4  # `min_score_penalty_delta` of the library's Unigram trainer
LEAST_FREQUENCY = 2


@dataclass(frozen=True)
class Method:
    """A way to cut text: an untrained pipeline, its trainer, the size of its fixed alphabet, and whether the model
    has an id for what it cannot cut."""

    pipeline: Callable[[str, bool], tokenizers.Tokenizer]  # (name of unk, lowercase)
    trainer: Callable[..., Any]
    alphabet: int
    unknown: bool


def train_tokenizer(
    texts: Iterable[str],
    *,
    kind: Kind = "bpe",
    vocab_size: int = 8192,
    min_frequency: int = LEAST_FREQUENCY,
    lowercase: bool = False,
    specials: Mapping[str, str] | None = None,
    extra: Sequence[str] = (),
    memory: int | None = None,
) -> Tokenizer:
    """A tokenizer of at most `vocab_size` ids; `notes` of the result say where it is smaller.

    `bpe` is byte-level (Sennrich et al. 2016; Radford et al. 2019): every text comes back as it was, nothing is ever
    unknown. `wordpiece` is BERT's (Schuster and Nakajima 2012), which loses spacing and rare characters. `unigram` is
    SentencePiece's (Kudo 2018) over bytes, so nothing is lost either; its pieces are substrings that two different
    words share, whatever their number, so it has no `min_frequency`.

    `specials` maps roles (`pad, unk, cls, sep, mask, bos, eos`) to spellings, by default `SPECIALS`, without `unk`
    for bpe; they have the first ids, in this order, and behind them the `extra` special tokens that an objective asks
    for. WordPiece reads its texts twice, so it keeps an iterator's texts.

    With `memory`, a number of bytes, texts pass once and only the counts of their words are kept, on disk where they
    are too many (see `tokens.counts`): the same tokenizer, unless `notes` say that the rarest words were left out.

    Raises `E-VOCAB-CONFIG` where the size cannot hold the alphabet and the special tokens, or `min_frequency` removes
    every piece; `E-NO-RECORDS` without text; `E-SURROGATE`, `E-FIELD-TYPE` for what is no text.
    """
    if isinstance(texts, str):
        raise ModeledgeError("E-USAGE", "texts is one string", remedy="pass a list of texts")
    if kind not in KINDS:
        raise ModeledgeError("E-VOCAB-CONFIG", f"unknown kind {kind!r}", where="kind", remedy=nearest(kind, KINDS))
    method = KINDS[kind]
    roles = _roles(specials, method, kind)
    for number, name in enumerate(extra):
        check_name(name, f"extra[{number}]")
    names = list(dict.fromkeys((*roles.values(), *extra)))
    _check_numbers(kind, vocab_size, min_frequency, method.alphabet, len(names))
    counted, notes = _Counted(texts), list[str]()
    learn = partial(_learned, kind, roles, names, vocab_size, min_frequency, lowercase)
    if memory is not None:
        with counted_words(counted, memory) as words:
            core = learn(Cut(words, words.least(), method.pipeline("", lowercase)))
            notes += words.notes
    else:
        core = learn(list(counted) if kind == "wordpiece" and not isinstance(texts, Sequence) else counted)
    if counted.characters == 0:
        raise ModeledgeError("E-NO-RECORDS", "there is no text to train a tokenizer on")
    core = _renumbered(core, kind, names, roles.get("unk", ""), vocab_size)
    notes += _check_pieces(core, kind, vocab_size, min_frequency, names, counted.characters)
    return Tokenizer(core, roles, notes)


def _learned(
    kind: Kind,
    roles: Mapping[str, str],
    names: list[str],
    vocab_size: int,
    min_frequency: int,
    lowercase: bool,
    texts: Iterable[str],
) -> tokenizers.Tokenizer:
    """What the library learns of texts, or of words that are `Cut` before; WordPiece reads them twice."""
    method, unk = KINDS[kind], roles.get("unk")

    def trained(fixed: list[str]) -> tokenizers.Tokenizer:
        """One training, with `fixed` as its first ids."""
        core = method.pipeline(unk or "", lowercase)
        normalizer, splitter = core.normalizer, core.pre_tokenizer
        if isinstance(texts, Cut):
            core.normalizer, core.pre_tokenizer = None, pre_tokenizers.CharDelimiterSplit(" ")
        common = {"vocab_size": vocab_size, "special_tokens": fixed, "show_progress": False}
        core.train_from_iterator(iter(texts), method.trainer(unk, min_frequency, common))
        core.normalizer, core.pre_tokenizer = normalizer, splitter
        return core

    core = trained(names)
    if kind == "wordpiece":
        core = trained([*names, *sorted(p for p in core.get_vocab() if len(p) == 3 and p.startswith("##"))])
    return core


# ---- what is asked for


def usual_specials(kind: Kind) -> dict[str, str]:
    """The special tokens by role that a tokenizer of this kind has where nothing else is said."""
    return {role: name for role, name in SPECIALS.items() if KINDS[kind].unknown or role != "unk"}


def _roles(asked: Mapping[str, str] | None, method: Method, kind: Kind) -> dict[str, str]:
    """The special tokens by role, in the fixed order."""
    given = usual_specials(kind) if asked is None else dict(asked)
    for role, name in given.items():
        if role not in ROLES:
            what = f"unknown role {role!r}"
            raise ModeledgeError("E-VOCAB-CONFIG", what, where="specials", remedy=nearest(role, ROLES))
        check_name(name, f"specials.{role}")
    if method.unknown and "unk" not in given:
        raise ModeledgeError("E-SPECIAL-TOKEN", f"{kind} needs an unk token", where="specials", remedy="name one")
    return {role: given[role] for role in ROLES if role in given}


def check_name(name: str, where: str) -> None:
    """Refuse what cannot be a special token (`E-VOCAB-CONFIG`)."""
    if len(name) < 2 or any(c.isspace() for c in name):
        what, remedy = f"{name!r} cannot be a special token", "use two or more characters and no white space"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where=where, remedy=remedy)


def _check_numbers(kind: Kind, vocab_size: int, min_frequency: int, alphabet: int, specials: int) -> None:
    least = alphabet + specials
    if vocab_size < least:
        what = f"{vocab_size} ids cannot hold {alphabet} bytes and {specials} special tokens"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where="vocab_size", remedy=f"choose at least {least}")
    if min_frequency < 1:
        raise ModeledgeError(
            "E-VOCAB-CONFIG", f"{min_frequency} is less than 1", where="min_frequency", remedy="raise it"
        )
    if kind == "unigram" and min_frequency != LEAST_FREQUENCY:
        what = "unigram starts from what two different words share and has no min_frequency"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where="min_frequency", remedy="leave it out")


def _check_pieces(
    core: tokenizers.Tokenizer, kind: Kind, vocab_size: int, min_frequency: int, specials: list[str], characters: int
) -> list[str]:
    """What the training had to say; an error where nothing was learned that could have been."""
    pieces = set(core.get_vocab(with_added_tokens=True)) - set(specials)
    size = len(pieces) + len(specials)
    if not pieces:
        raise ModeledgeError("E-NO-RECORDS", "the text is white space")
    if size > vocab_size:
        what = f"{vocab_size} ids cannot hold the {size:,} characters and special tokens of this text"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where="vocab_size", remedy=f"choose more than {size}")
    longer = any(len(piece.removeprefix("##") if kind == "wordpiece" else piece) > 1 for piece in pieces)
    if not longer and min_frequency > 1 and size < vocab_size and kind != "unigram":
        what = f"nothing longer than a character occurs {min_frequency} times in {characters:,} characters of text"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where="min_frequency", remedy="lower it, or add text")
    return [f"the corpus yields {size:,} of the {vocab_size:,} ids asked for"] if size < vocab_size else []


class _Counted:
    """Texts on their way to a trainer, checked; `characters` are those of the last time they were read."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.characters = texts, 0

    def __iter__(self) -> Iterator[str]:
        self.characters = 0
        for number, text in enumerate(self.texts):
            check_text(text, number)
            self.characters += len(text)
            yield text


# ---- the kinds


def _bytes_pipeline(model: Any, lowercase: bool) -> tokenizers.Tokenizer:
    """Bytes spelled as 256 printable characters, words cut by GPT-2's expression, a leading space part of the word."""
    core = tokenizers.Tokenizer(model)
    if lowercase:
        core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return core


def _wordpiece_pipeline(unk: str, lowercase: bool) -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.WordPiece(unk_token=unk))
    wordpiece_parts(core, lowercase=lowercase)
    return core


def _bpe_trainer(unk: str | None, least: int, common: Mapping[str, Any]) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return trainers.BpeTrainer(min_frequency=least, initial_alphabet=alphabet, **common)


def _wordpiece_trainer(unk: str | None, least: int, common: Mapping[str, Any]) -> Any:
    return trainers.WordPieceTrainer(min_frequency=least, **common)


def _unigram_trainer(unk: str | None, least: int, common: Mapping[str, Any]) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return trainers.UnigramTrainer(unk_token=unk, initial_alphabet=alphabet, **common)


KINDS: dict[Kind, Method] = {
    "bpe": Method(lambda _, lower: _bytes_pipeline(models.BPE(), lower), _bpe_trainer, 256, False),
    "wordpiece": Method(_wordpiece_pipeline, _wordpiece_trainer, 0, True),
    "unigram": Method(lambda _, lower: _bytes_pipeline(models.Unigram(), lower), _unigram_trainer, 256, True),
}


# ---- the canonical order


def _renumbered(
    core: tokenizers.Tokenizer, kind: Kind, specials: list[str], unk: str, vocab_size: int
) -> tokenizers.Tokenizer:
    """The same pieces in the canonical order; of Unigram's, which the library does not always cut off, the best."""
    if kind == "bpe":
        return core
    tree = json.loads(core.to_str())
    model = tree["model"]
    if kind == "wordpiece":
        pieces = sorted(set(model["vocab"]) - set(specials), key=_order)
        model["vocab"] = {piece: number for number, piece in enumerate([*specials, *pieces])}
    else:
        scores = {piece: score for piece, score in model["vocab"] if piece not in specials}
        scores = _settled(scores, vocab_size - len(specials) - sum(len(piece) == 1 for piece in scores))
        kept = sorted(scores, key=lambda piece: (-scores[piece], piece))
        model["vocab"] = [[piece, 0.0] for piece in specials] + [[piece, scores[piece]] for piece in kept]
        model["unk_id"] = specials.index(unk)
    added = [token for token in tree["added_tokens"] if token["content"] in specials]
    tree["added_tokens"] = sorted(added, key=lambda token: specials.index(token["content"]))
    for number, token in enumerate(tree["added_tokens"]):
        token["id"] = number
    return tokenizers.Tokenizer.from_str(json.dumps(tree))


def _settled(scores: Mapping[str, float], room: int) -> dict[str, float]:
    """Rounded scores of every letter and of the best `room` longer pieces.

    The letters that training dropped come back on a ladder, `RUNG` by `RUNG` from the lowest score of all. They get
    one score below all others: where a text needs one, it has no other way.
    """
    letters = {piece: score for piece, score in scores.items() if len(piece) == 1}
    lowest, dropped, step = min(scores.values()), set[str](), 0
    while rung := {piece for piece, score in letters.items() if abs(score - lowest - step * RUNG) < RUNG / 1000}:
        dropped, step = dropped | rung, step + 1
    rounded = {piece: round(score, SCORE_DIGITS) for piece, score in scores.items()}
    longer = sorted(scores.keys() - letters.keys(), key=lambda piece: (-rounded[piece], piece))[:room]
    kept = {piece: rounded[piece] for piece in (*letters, *longer)}
    return kept | dict.fromkeys(dropped, round(lowest - 1.0, SCORE_DIGITS))


def _order(piece: str) -> tuple[int, int, str]:
    """Single characters first, starts of words before continuations, short before long, then by code points."""
    inside = piece.startswith("##")
    bare = piece.removeprefix("##")
    return (min(len(bare), 2), int(inside) if len(bare) == 1 else len(bare), piece)

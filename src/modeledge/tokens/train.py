"""Training tokenizers so that the same text always gives the same bytes.

The library's WordPiece and Unigram trainers walk hash maps, and the order shows in three places. WordPiece numbers the
continued characters (`##a`) as it meets them, and those numbers break ties between merges, so even the pieces differ:
it is trained twice, the second time with these numbers fixed. Unigram hands out falling scores to the letters of the
alphabet that it never needed: they all get one score. And both number their pieces differently each time: the result
is put in a canonical order (special tokens, single characters, then pieces by length and spelling; for Unigram by
rounded score) and numbered again. Byte-level BPE is deterministic as it is: its ids follow the order of its merges.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.errors import ModeledgeError
from modeledge.tokens.tokenizer import Tokenizer
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


def train_tokenizer(
    texts: Iterable[str], *, kind: Kind = "bpe", vocab_size: int = 8192, min_frequency: int = 2, lowercase: bool = False
) -> Tokenizer:
    """A tokenizer of at most `vocab_size` ids; `notes` of the result say where it is smaller.

    `bpe` is byte-level (Sennrich et al. 2016; Radford et al. 2019): nothing is ever unknown. `wordpiece` is BERT's
    (Schuster and Nakajima 2012). `unigram` is SentencePiece's (Kudo 2018) with bytes for unknown characters. Raises
    `E-VOCAB-CONFIG` where the size cannot hold the alphabet and the special tokens, `E-NO-RECORDS` without text.
    """
    specials = list(dict.fromkeys(SPECIALS.values()))
    least = len(specials) + (256 if kind in ("bpe", "unigram") else 1)
    if vocab_size < least:
        what = f"vocab_size {vocab_size} cannot hold {least} bytes and special tokens"
        raise ModeledgeError(
            "E-VOCAB-CONFIG", what, where="tokenizer.vocab_size", remedy=f"choose at least {least + 1}"
        )
    kept = [text for text in texts if text] if kind == "wordpiece" else texts
    counted = _Counted(kept)
    core = _trained(kind, vocab_size, min_frequency, lowercase, specials, iter(counted))
    if counted.characters == 0:
        raise ModeledgeError("E-NO-RECORDS", "there is no text to train a tokenizer on")
    if kind == "wordpiece":
        continued = sorted(piece for piece in core.get_vocab() if len(piece) == 3 and piece.startswith("##"))
        core = _trained(kind, vocab_size, min_frequency, lowercase, [*specials, *continued], iter(kept))
    core = _renumbered(core, kind, specials)
    size = core.get_vocab_size(with_added_tokens=True)
    if size <= least and counted.characters > 1000:
        what = f"min_frequency {min_frequency} leaves no piece longer than a byte"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where="tokenizer.min_frequency", remedy="lower it")
    notes = [f"the corpus yields {size:,} of the {vocab_size:,} ids asked for"] if size < vocab_size else []
    return Tokenizer(core, dict(SPECIALS), notes)


class _Counted:
    """Texts on their way to a trainer."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.characters = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.characters += len(text)
            yield text


def _trained(
    kind: Kind, size: int, least: int, lowercase: bool, specials: list[str], texts: Iterator[str]
) -> tokenizers.Tokenizer:
    shared: dict[str, Any] = {"vocab_size": size, "special_tokens": specials, "show_progress": False}
    if kind == "bpe":
        core = tokenizers.Tokenizer(models.BPE())
        core.normalizer = normalizers.Lowercase() if lowercase else None
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(min_frequency=least, initial_alphabet=sorted(alphabet), **shared)
    elif kind == "wordpiece":
        core = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        wordpiece_parts(core, lowercase=lowercase)
        trainer = trainers.WordPieceTrainer(min_frequency=least, **shared)
    else:
        core = tokenizers.Tokenizer(models.Unigram())
        core.normalizer = normalizers.Lowercase() if lowercase else None
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", initial_alphabet=alphabet, **shared)
    core.train_from_iterator(texts, trainer)
    return core


def _renumbered(core: tokenizers.Tokenizer, kind: Kind, specials: list[str]) -> tokenizers.Tokenizer:
    """The same pieces in the canonical order."""
    tree = json.loads(core.to_str())
    model = tree["model"]
    if kind == "wordpiece":
        pieces = sorted(set(model["vocab"]) - set(specials), key=_order)
        model["vocab"] = {piece: number for number, piece in enumerate([*specials, *pieces])}
    elif kind == "unigram":
        scores = {piece: round(score, SCORE_DIGITS) for piece, score in model["vocab"]}
        lowest = min(score for piece, score in scores.items() if len(piece) > 1 and piece not in specials)
        scores = {
            piece: lowest - 1.0 if len(piece) == 1 and score < lowest else score for piece, score in scores.items()
        }
        kept = sorted(set(scores) - set(specials), key=lambda piece: (-scores[piece], piece))
        model["vocab"] = [[piece, 0.0] for piece in specials] + [[piece, scores[piece]] for piece in kept]
        model["unk_id"] = specials.index("[UNK]")
    else:
        return core
    added = [token for token in tree["added_tokens"] if token["content"] in specials]
    tree["added_tokens"] = sorted(added, key=lambda token: specials.index(token["content"]))
    for number, token in enumerate(tree["added_tokens"]):
        token["id"] = number
    return tokenizers.Tokenizer.from_str(json.dumps(tree))


def _order(piece: str) -> tuple[int, int, str]:
    """Single characters first, starts of words before continuations, short before long, then by code points."""
    inside = piece.startswith("##")
    bare = piece.removeprefix("##")
    return (min(len(bare), 2), int(inside) if len(bare) == 1 else len(bare), piece)

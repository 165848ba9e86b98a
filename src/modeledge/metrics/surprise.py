"""Perplexity of a corpus, by token, by word and by byte: three different numbers, never to be mixed.

All divide one sum, −Σ log p in nats, by a length, and exponentiate. By token the length depends on the tokenizer, so a
coarser tokenizer looks worse on the same text: such scores compare under one tokenizer only, whose name is in the
signature. By word (WikiText's custom) and by byte the length is a property of the text. A score can also be
re-normalised to the token count of another, named tokenizer, as ConvAI2's perplexities are (Lewis et al. 2020,
arXiv 1910.13461, table 4): exp(−Σ log p / tokens of the reference tokenizer).

Lengths must count all that the sum counts: where the end of a text is predicted too, it is one more unit.
The interval draws documents again; each adds its nats and its length.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.intervals import Score, score_of
from modeledge.metrics.metric import Floats, Tally, value_pair


def perplexity_per_token(nats: npt.ArrayLike, tokens: npt.ArrayLike, *, tokenizer: str, seed: int) -> Score:
    """exp(nats / tokens) over documents `[documents]`; `tokenizer` names what cut the text."""
    return corpus_perplexity("token", nats, tokens, f"unit:token of {named(tokenizer)}", seed)


def perplexity_per_word(nats: npt.ArrayLike, words: npt.ArrayLike, *, counted: str = "white space", seed: int) -> Score:
    """exp(nats / words) over documents; `counted` says what parts words."""
    return corpus_perplexity("word", nats, words, f"unit:word by {named(counted)}", seed)


def perplexity_per_byte(nats: npt.ArrayLike, text_bytes: npt.ArrayLike, *, seed: int) -> Score:
    """exp(nats / UTF-8 bytes of the raw text) over documents."""
    return corpus_perplexity("byte", nats, text_bytes, "unit:UTF-8 byte", seed)


def perplexity_renormalised(nats: npt.ArrayLike, tokens: npt.ArrayLike, *, reference: str, seed: int) -> Score:
    """exp(nats / tokens of the `reference` tokenizer): models of different tokenizers on one scale."""
    return corpus_perplexity("reference_token", nats, tokens, f"unit:token of {named(reference)}|renormalised", seed)


def bits_per_text_byte(nats: npt.ArrayLike, text_bytes: npt.ArrayLike, *, seed: int) -> Score:
    """Bits per UTF-8 byte over documents, with its interval (the plain number is `bits_per_byte`)."""
    return score_of("bits_per_byte", bits_of_bytes(nats, text_bytes), seed=seed)


def nats_per_token(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """Σ nats / Σ tokens: −Σ log p of each target `[items]`, and how many tokens it has, its end among them `[items]`.
    The loss of a task that writes; it compares models of one tokenizer only."""
    return Tally(surprise_sums(predictions, labels), lambda s: np.asarray(s[..., 0] / s[..., 1]), "unit:token")


def bits_of_bytes(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """Σ nats / Σ bytes / ln 2: −Σ log p of each text `[items]`, and its UTF-8 bytes `[items]`. It compares models of
    any tokenizers on the same texts."""
    return Tally(surprise_sums(predictions, labels), lambda s: s[..., 0] / s[..., 1] / np.log(2), "unit:UTF-8 byte")


def corpus_perplexity(unit: str, nats: npt.ArrayLike, lengths: npt.ArrayLike, how: str, seed: int) -> Score:
    """exp(Σ nats / Σ units), named by its unit."""
    sums = surprise_sums(nats, lengths)
    return score_of(f"perplexity_per_{unit}", Tally(sums, lambda s: np.exp(s[..., 0] / s[..., 1]), how), seed=seed)


def surprise_sums(nats: npt.ArrayLike, lengths: npt.ArrayLike) -> Floats:
    """Each document's nats and length `[documents, 2]`; a document of no length, or one beyond any perplexity, is
    refused."""
    surprise, length = value_pair(nats, lengths)
    for wrong, what in (
        (surprise < 0, "the summed loss is below 0"),
        (length < 1, "the document has no length"),
        (surprise / np.maximum(length, 1) > 690, "more than 690 nats a unit are beyond any perplexity"),
    ):
        if wrong.any():
            raise ModeledgeError("E-SCORES", what, where=f"document {int(np.argmax(wrong))}", remedy="check the sums")
    return np.column_stack([surprise, length])


def named(name: str) -> str:
    """A name that can stand in a signature; an empty one would say nothing."""
    if not name.strip() or "|" in name:
        raise ModeledgeError("E-CONFIG-VALUE", f"{name!r} names no unit", remedy="name the tokenizer or the rule")
    return name

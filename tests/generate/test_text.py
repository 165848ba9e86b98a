"""Prompt and continuation read as one text, whatever the tokenizer does with spaces and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.generate import Sampling, continue_text, fill_text, text
from modeledge.model import Attention, FeedForward, LMHead, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer

LINES = ["the good man sat on the mat", "the dog sat on the log", "a cat and a man, don't"] * 4
STACK = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())


def made(kind: Any) -> Tokenizer:
    return train_tokenizer(LINES, kind=kind, vocab_size=60 if kind == "wordpiece" else 320)


def written(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, prompt: str, tokens: list[int], stop: tuple[str, ...] = ()
) -> str:
    """What comes back where the model chooses these tokens."""

    def chosen(*_: Any, **__: Any) -> Iterator[tuple[int, int]]:
        yield from ((0, token) for token in tokens)

    monkeypatch.setattr(text, "stream", chosen)
    return continue_text(None, tokenizer, [prompt], stop=stop)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_prompt_and_continuation_are_the_text(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    tokenizer, line = made(kind), LINES[0]
    ids = tokenizer.encode(line).tolist()
    for cut in range(1, len(ids)):
        prompt = tokenizer.decode(ids[:cut])
        if tokenizer.encode(prompt).tolist() == ids[:cut]:  # a word cut in two may be cut into other pieces
            assert prompt + written(monkeypatch, tokenizer, prompt, ids[cut:]) == line


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_character_that_is_not_finished_hurts_no_other(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    tokenizer = made(kind)
    prompt, more = "the 漢", tokenizer.encode("字").tolist()
    assert len(more) >= 3
    assert written(monkeypatch, tokenizer, prompt, more[-3:]) == "字"
    broken = written(monkeypatch, tokenizer, prompt, more[-3:-2])
    assert set(broken) == {"\ufffd"}
    assert len(broken) == 1


def test_stop_strings_across_words_of_wordpiece(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = made("wordpiece")
    more = tokenizer.encode("man sat on the mat").tolist()
    assert written(monkeypatch, tokenizer, "the good", more, (" sat on",)) == " man"
    assert written(monkeypatch, tokenizer, "the good", more, ("n s",)) == " ma"
    assert written(monkeypatch, tokenizer, "the good", more, ("good",)) == " man sat on the mat"  # the prompt's own


def test_a_decoder_without_a_mask_says_that_it_does_not_fill() -> None:
    tokenizer = train_tokenizer(LINES, kind="bpe", vocab_size=300, specials={"eos": "<|end|>"})
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), decoder=STACK)).eval()
    with pytest.raises(ModeledgeError, match="does not fill") as caught:
        fill_text(model, tokenizer, "the [MASK]")
    assert caught.value.code == "E-USAGE"


def test_each_prompt_draws_for_itself() -> None:
    """A prompt beside others goes on as it does alone."""
    pieces = made("bpe")
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=pieces.vocab_size), decoder=STACK))
    model.add_heads({"lm": LMHead()}, Noise(0))
    prompts = ["the good", "man", "the mat the dog"]
    options = {"max_new_tokens": 8, "sampling": Sampling(temperature=1.0, top_k=50), "noise": Noise(4)}
    together = continue_text(model.eval(), pieces, prompts, **options)  # type: ignore[arg-type]
    assert together[0] == continue_text(model, pieces, prompts[:1], **options)[0]  # type: ignore[arg-type]
    assert len({*together}) == 3


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_model_without_scores_of_tokens_says_so(side: str) -> None:
    """ELECTRA's discriminator and SimCSE's encoder have other heads, or none."""
    pieces = made("wordpiece")
    config = TransformerConfig(width=16, embed=Tokens(vocab=pieces.vocab_size), **{side: STACK})  # type: ignore[arg-type]
    model = Transformer(config).eval()
    asked = (fill_text, "the [MASK] man") if side == "encoder" else (continue_text, ["the good"])
    with pytest.raises(ModeledgeError, match="no head over the vocabulary") as caught:
        asked[0](model, pieces, asked[1])  # type: ignore[operator]
    assert caught.value.code == "E-USAGE"


def test_an_empty_stop_string_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found at the beginning of every text, so every answer would be empty."""
    for stop in (("",), ("end", "")):
        with pytest.raises(ModeledgeError, match="E-USAGE: stop: a stop text is empty"):
            written(monkeypatch, made("bpe"), "the quick", "fox", stop)

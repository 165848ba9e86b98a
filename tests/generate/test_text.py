"""Text in and out: words that go on, stop strings, settings that make sense."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.generate import Sampling, continue_text, text
from modeledge.model import Attention, FeedForward, LMHead, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer

WORDS = ["godman", "god", "man", "the", "mango", "manna", "naïve", "日本"]


def tokenizer(kind: str) -> Tokenizer:
    lines = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))] * 4
    return train_tokenizer(lines, kind=kind, vocab_size=60 if kind == "wordpiece" else 320)


def told(kind: str, prompt: str, follows: str, monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...] = ()) -> str:
    """What is read where the model writes exactly the pieces that lead from `prompt` to `follows`."""
    pieces = tokenizer(kind)
    new = pieces.encode(follows)[len(pieces.encode(prompt)) :]
    monkeypatch.setattr(text, "stream", lambda *a, **k: ((0, int(token)) for token in new))
    return continue_text(None, pieces, [prompt], stop=stop)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
@pytest.mark.parametrize("follows", ["the god man", "the god the mango", "the god naïve man"])
def test_a_prompt_and_its_continuation_are_the_text(kind: str, follows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the god" + told(kind, "the god", follows, monkeypatch) == follows


def test_a_stop_string_may_lie_across_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told("bpe", "the god", "the god the mango", monkeypatch, ("e m",)) == " th"
    assert told("wordpiece", "the", "the god man", monkeypatch, (" man", "nothing")) == " god"


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        Sampling(temperature=temperature)


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_p": math.nan}])
def test_cuts_that_keep_nothing_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        Sampling(temperature=1.0, **fields)  # type: ignore[arg-type]


def test_each_prompt_draws_for_itself() -> None:
    """A prompt beside others goes on as it does alone."""
    pieces = tokenizer("bpe")
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Rotary())
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=pieces.vocab_size), decoder=stack))
    model.add_heads({"lm": LMHead()}, Noise(0))
    prompts = ["the god", "man", "the mango the god"]
    options = {"max_new_tokens": 8, "sampling": Sampling(temperature=1.0, top_k=50), "noise": Noise(4)}
    together = continue_text(model.eval(), pieces, prompts, **options)  # type: ignore[arg-type]
    assert together[0] == continue_text(model, pieces, prompts[:1], **options)[0]  # type: ignore[arg-type]
    assert len({*together}) == 3


def test_shares_are_those_of_the_formula() -> None:
    """softmax(scores / T) over the k best, cut where the better ones reach p."""
    import torch

    scores = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    shares, ids = Sampling(temperature=0.5, top_k=3, top_p=0.9).shares(scores)
    warm = np.exp(np.array([2.0, 1.0, 0.0]) / 0.5)
    warm /= warm.sum()
    kept = np.array([warm[0], warm[1], 0.0])  # 0.867 is short of 0.9, with the next it is reached
    assert ids.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(shares[0].numpy(), kept / kept.sum(), rtol=1e-6)

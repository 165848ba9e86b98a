"""Text from models that guess hidden tokens: the layout is that of their training, and what comes is text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate import Sampling, continue_hidden, unmask
from modeledge.model import Attention, FeedForward, LMHead, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, collate
from modeledge.objectives.unilm import ReadingPrepare
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise
from modeledge.tokens import train_tokenizer

TEXTS = ["the quick fox", "a dog", "the lazy dog sleeps", "a fox and a dog and a fox"]
TOKENIZER = train_tokenizer([*TEXTS] * 3, kind="wordpiece", vocab_size=80)
CLS, SEP, MASK = (TOKENIZER.need(role) for role in ("cls", "sep", "mask"))


def model(side: str) -> Transformer:
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Rotary())
    shape = TransformerConfig(width=16, embed=Tokens(vocab=TOKENIZER.vocab_size), init=0.5, **{side: stack})  # type: ignore[arg-type]
    made = Transformer(shape, seed=2)
    made.add_heads({"lm": LMHead(bias=True)}, Noise(2))
    return made.eval()


class Hiding:
    """A masking that hides the last token of an example alone."""

    cls, channels = CLS, frozenset[str]()

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        ids = np.array([CLS, *example.ids[:-1], MASK, SEP])
        last = len(ids) - 2
        return Prepared(0, Piece(ids), None, {"lm": np.array([last])}, {"lm": example.ids[-1:]}, {"lm": np.ones(1)})


def test_a_sequence_is_read_as_it_was_learned() -> None:
    """The scores at the mask equal those of the training layout; its closing [SEP] is behind the mask, and unseen."""
    made = model("decoder")
    prompt = TOKENIZER.encode("the lazy dog")
    for cut_seed in range(200):  # the training cuts where the noise says: here, where the prompt ends
        noise = Noise(cut_seed)
        ready = ReadingPrepare(Hiding(), "sequence", SEP)(Example(0, np.array([*prompt, 7])), noise)
        assert ready.target is not None
        assert ready.target.prefix is not None
        if ready.target.prefix.sum() == len(prompt) + 2:
            break
    assert ready.target.ids.tolist() == [CLS, *prompt, SEP, MASK, SEP]
    batch = collate([ready], Shape(16))
    with torch.no_grad():
        scores = made.logits(made(batch).last[0, len(prompt) + 2])
    scores[[i for i in TOKENIZER.specials.ids() if i not in (SEP, TOKENIZER.specials.eos)]] = -torch.inf
    best = int(scores.argmax())
    told = continue_hidden(made, TOKENIZER, ["the lazy dog"], "sequence", max_new_tokens=1)
    ends = (SEP, TOKENIZER.specials.eos)
    assert told == ["" if best in ends else TOKENIZER.decode([*prompt, best])[len("the lazy dog") :]]


def test_the_prompt_is_read_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = model("decoder"), list[Any]()
    forward = Transformer.forward

    def watched(self: Transformer, batch: Any, *rest: Any) -> Any:
        seen.append(batch.target)
        return forward(self, batch, *rest)

    monkeypatch.setattr(Transformer, "forward", watched)
    continue_hidden(made, TOKENIZER, ["a fox"], "sequence", max_new_tokens=3, sampling=Sampling(1.0))
    for number, side in enumerate(seen):
        assert side.ids[0, -1] == MASK
        assert side.ids.shape[1] == 5 + number
        assert side.prefix.tolist() == [[True] * 4 + [False] * (1 + number)]


def test_a_prompt_is_followed_by_hidden_tokens() -> None:
    made, prompt = model("encoder"), TOKENIZER.encode("the quick")
    told = continue_hidden(made, TOKENIZER, ["the quick"], "uncover", max_new_tokens=5, steps=3, noise=Noise(4))
    whole = np.array([CLS, *prompt, *[MASK] * 5, SEP])
    never = tuple(i for i in TOKENIZER.specials.ids() if i not in (SEP, TOKENIZER.specials.eos))
    lots = Noise(4).at("sample", 0)
    found = unmask(made, whole, MASK, steps=3, sampling=Sampling(), banned=never, noise=lots)[3:-1].tolist()
    end = next((n for n, token in enumerate(found) if token in (SEP, TOKENIZER.specials.eos)), 5)
    assert told == [TOKENIZER.decode([*prompt, *found[:end]])[len("the quick") :]]


def test_lots_are_of_the_prompt_and_the_seed() -> None:
    made = model("encoder")
    how: dict[str, Any] = {"max_new_tokens": 8, "sampling": Sampling(1.0)}
    both = continue_hidden(made, TOKENIZER, ["a dog", "a fox"], "uncover", noise=Noise(1), **how)
    assert both[0] == continue_hidden(made, TOKENIZER, ["a dog"], "uncover", noise=Noise(1), **how)[0]
    assert both[0] != continue_hidden(made, TOKENIZER, ["a dog"], "uncover", noise=Noise(2), **how)[0]


@pytest.mark.parametrize(
    ("side", "way", "named"),
    [
        ("encoder", "sequence", {}),
        ("decoder", "uncover", {}),
        ("encoder", "uncover", {"steps": 0}),
        ("encoder", "uncover", {"max_new_tokens": 0}),
    ],
)
def test_what_cannot_be_written(side: str, way: Any, named: dict[str, Any]) -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        continue_hidden(model(side), TOKENIZER, ["a"], way, **named)

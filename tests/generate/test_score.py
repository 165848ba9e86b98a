"""Log-likelihoods of choices: against a plain loop over full logits, and against the reference library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.errors import ModeledgeError
from modeledge.generate import Scoring, score, score_choices
from modeledge.model import (
    Attention,
    Batch,
    FeedForward,
    Learned,
    LMHead,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer

TEXT = "undo the fox and redo it, then unfold the red owl and do the old dog"
PROMPTS = ["the fox", "undo the old", "", "the fo", "then unfold the red owl and"]
CHOICES = [(" and", " owl then"), (" dog",), ("the", "undo it"), ("x and", " owl"), (" do the old dog", " it", " fox")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    ends = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "[PAD]"}
    return train_tokenizer([TEXT] * 4, vocab_size=310, specials=ends)


def model_of(tokenizer: Tokenizer, side: str = "decoder", length: int = 32) -> Transformer:
    def stack() -> Stack:
        wide = FeedForward(width=24)
        return Stack(layers=2, attention=Attention(heads=2), feedforward=wide, position=Learned(length=length))

    sides = {name: stack() for name in (("encoder", "decoder") if side == "both" else (side,))}
    model = Transformer(
        TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), init=0.4, **sides), seed=2
    )
    model.add_heads({"lm": LMHead(bias=True)}, Noise(3))
    return model.eval()


def plain(
    model: Transformer, ids: list[int], first: int, source: list[int] | None = None, *, both_ways: bool = False
) -> float:
    """One text alone in one row, by the scores of all its tokens."""
    read = Side.of(torch.tensor([ids[:-1]]))
    if both_ways:
        read = replace(read, prefix=torch.arange(len(ids) - 1)[None] < first)
    with torch.no_grad():
        below = None if source is None else Side.of(torch.tensor([source]))
        logs = F.log_softmax(model.logits(model(Batch(source=below, target=read)).last)[0].double(), -1)
    return sum(float(logs[place - 1, ids[place]]) for place in range(first, len(ids)))


def cut(tokenizer: Tokenizer, prompt: str, choice: str) -> tuple[list[int], int]:
    """Where the choice begins, found by decoding ever longer beginnings."""
    ids = tokenizer.encode(prompt + choice).tolist()
    first = max(n for n in range(len(ids)) if len(tokenizer.decode(ids[:n])) <= len(prompt))
    return ids, first


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("tokens", [40, 8192])
def test_scores_are_those_of_a_plain_loop(tokens: int, both_ways: bool, tokenizer: Tokenizer) -> None:
    """Packed several in a row, in batches of any size; 1e-4 of sums of fp32 logits."""
    model, said, how = model_of(tokenizer), list[str](), Scoring(tokens=tokens)
    told = score_choices(model, tokenizer, PROMPTS, CHOICES, scoring=how, both_ways=both_ways, say=said.append)
    bos = tokenizer.specials.bos
    for prompt, texts, scores in zip(PROMPTS, CHOICES, told, strict=True):
        for choice, found in zip(texts, scores, strict=True):
            ids, first = cut(tokenizer, prompt, choice)
            ids, first = (ids, first) if prompt else ([bos, *ids], 1)
            assert found == pytest.approx(plain(model, ids, first, both_ways=both_ways), abs=1e-4)
    assert len({round(float(x), 3) for scores in told for x in scores}) == 10
    assert said == ["1 of 10 choices share a token with their prompt: it is counted to the choice"]


def test_a_token_across_the_boundary_is_the_choices(tokenizer: Tokenizer) -> None:
    """ " fox" begins before the boundary and ends behind it: it is the first token that is scored."""
    ids, first = score.boundary(tokenizer, "the fo", "x and")
    assert ids.tolist() == tokenizer.encode("the fox and").tolist()
    assert tokenizer.decode(ids[first:]) == " fox and"
    ids, first = score.boundary(tokenizer, "the fox", " and")
    assert tokenizer.decode(ids[first:]) == " and"
    ids, first = score.boundary(tokenizer, "the fox ", "and")  # the space is a part of the choice's token
    assert tokenizer.decode(ids[first:]) == " and"


def test_ways_to_compare(tokenizer: Tokenizer) -> None:
    model = model_of(tokenizer)

    def scored(**options: Any) -> np.ndarray[Any, Any]:
        chosen = score_choices(model, tokenizer, PROMPTS[4:], CHOICES[4:], scoring=Scoring(**options), say=str)
        return chosen[0]

    whole = scored()
    counts = [len(tokenizer.encode(PROMPTS[4] + c)) - len(tokenizer.encode(PROMPTS[4])) for c in CHOICES[4]]
    assert scored(by="token") == pytest.approx(whole / np.array(counts))
    assert scored(by="byte") == pytest.approx(whole / np.array([len(c.encode()) for c in CHOICES[4]]))
    bare = score_choices(model, tokenizer, ["it"], [CHOICES[4]], say=str)[0]
    assert scored(unconditional="it") == pytest.approx(whole - bare, abs=1e-4)
    assert scored(unconditional="it", by="token") == pytest.approx((whole - bare) / np.array(counts), abs=1e-4)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        Scoring(by="word")  # type: ignore[arg-type]


def test_only_the_scores_of_choices_are_made(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = model_of(tokenizer), list[int]()
    real = model.logits
    monkeypatch.setattr(model, "logits", lambda states, *more: seen.append(len(states)) or real(states, *more))
    score_choices(model, tokenizer, PROMPTS[:1] * 3, [(" and", " owl")] * 3, say=str)
    assert sum(seen) == 3 * sum(len(tokenizer.encode(word)) for word in (" and", " owl"))


def test_a_decoder_that_reads_an_encoder_is_given_the_prompt_as_its_source(tokenizer: Tokenizer) -> None:
    model, eos = model_of(tokenizer, "both"), tokenizer.specials.eos
    told = score_choices(model, tokenizer, PROMPTS, CHOICES, start=[1], say=str)
    for prompt, texts, scores in zip(PROMPTS, CHOICES, told, strict=True):
        for choice, found in zip(texts, scores, strict=True):
            ids, source = [1, *tokenizer.encode(choice).tolist()], [*tokenizer.encode(prompt).tolist(), eos]
            assert found == pytest.approx(plain(model, ids, 1, source), abs=1e-4)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*begins"):
        score_choices(model, tokenizer, PROMPTS, CHOICES, say=str)


def test_a_prompt_that_is_too_long_loses_its_beginning(tokenizer: Tokenizer) -> None:
    model, said = model_of(tokenizer, length=8), list[str]()
    long = "then unfold the red owl and do the old dog and undo"
    (found,) = score_choices(model, tokenizer, [long], [(" the fox",)], say=said.append)
    ids, first = cut(tokenizer, long, " the fox")
    assert found[0] == pytest.approx(plain(model, ids[-9:], first - (len(ids) - 9)), abs=1e-4)
    assert said == ["1 of 1 prompts lost their beginning: they are longer than the model's positions"]
    with pytest.raises(ModeledgeError, match="E-NO-TARGET"):
        score_choices(model, tokenizer, ["the"], [(" " + long,)], say=str)


@pytest.mark.parametrize(
    ("side", "prompts", "choices", "code"),
    [
        ("encoder", ["a"], [("b",)], "E-USAGE"),
        ("decoder", ["a"], [("b", "")], "E-USAGE"),
        ("decoder", ["a"], [()], "E-USAGE"),
        ("decoder", ["a"], ["bc"], "E-USAGE"),
        ("decoder", ["a", "b"], [("c",)], "E-LENGTH-MISMATCH"),
    ],
)
def test_what_cannot_be_scored(side: str, prompts: Any, choices: Any, code: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModeledgeError, match=code):
        score_choices(model_of(tokenizer, side), tokenizer, prompts, choices, say=str)


def test_the_reference_library_agrees(tokenizer: Tokenizer, tmp_path: Any) -> None:
    """GPT-2's loss over the tokens of the choice alone, times their number."""
    hf = pytest.importorskip("transformers")
    from modeledge.families import load_model

    said = hf.GPT2Config(vocab_size=tokenizer.vocab_size, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    torch.manual_seed(0)
    theirs = hf.GPT2LMHeadModel(said).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).eval()
    prompts, choices = [p for p in PROMPTS if p], [c for p, c in zip(PROMPTS, CHOICES, strict=True) if p]
    told = score_choices(ours, tokenizer, prompts, choices, say=str)
    for prompt, texts, scores in zip(prompts, choices, told, strict=True):
        for choice, found in zip(texts, scores, strict=True):
            ids, first = cut(tokenizer, prompt, choice)
            if first == 0:
                continue
            labels = torch.tensor([[-100] * first + ids[first:]])
            with torch.no_grad():
                loss = theirs(torch.tensor([ids]), labels=labels).loss
            assert found == pytest.approx(-float(loss) * (len(ids) - first), abs=1e-4)

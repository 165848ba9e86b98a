"""Decoding: a cache, a batch and finished rows change nothing, and greedy tokens are the reference library's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.generate import Sampling, continue_text, fill_mask, fill_text, generate, stream
from modeledge.model import (
    Attention,
    Batch,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.records import IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.tokens.train import train_tokenizer

VOCAB, LONGEST = 29, 40
STACKS = {
    "learned": Stack(
        layers=2,
        attention=Attention(heads=2, qkv="fused"),
        feedforward=FeedForward(width=16),
        position=Learned(length=LONGEST),
    ),
    "rotary": Stack(
        layers=2,
        attention=Attention(heads=4, kv_heads=2, qk_norm="head", windows=(None, 5)),
        feedforward=FeedForward(width=16, kind="swiglu"),
        norm=Norm(kind="rms"),
        position=Rotary(),
    ),
}


def spread(model: Transformer, seed: int = 0) -> Transformer:
    """Weights so large that scores of different tokens are far apart compared to rounding."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def decoder(kind: str = "rotary") -> Transformer:
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=VOCAB), decoder=STACKS[kind]))
    model.add_heads({"lm": LMHead(tie=False)}, Noise(0))
    return spread(model)


def encoder(vocab: int = VOCAB) -> Transformer:
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=vocab), encoder=STACKS["rotary"]))
    model.add_heads({"lm": LMHead(transform=True, bias=True)}, Noise(0))
    return spread(model)


MODELS = {kind: decoder(kind) for kind in STACKS}
prompts = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9).map(np.array), min_size=1, max_size=5)


def slow(model: Transformer, prompt: IntArray, count: int, sampling: Sampling, noise: Noise) -> list[int]:
    """The oracle: no cache, no batch; the whole text is read again for every token."""
    ids = list(prompt)
    for step in range(count):
        with torch.no_grad():
            last = model(Batch(target=Side.of(torch.tensor([ids])))).last[:, -1]
            ids.append(int(sampling.choose(model.logits(last), [noise.at("sample", 0, step)])))
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", STACKS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=prompts, count=st.integers(1, 12))
def test_greedy_is_the_slow_loop_for_every_prompt_of_a_batch(kind: str, texts: list[IntArray], count: int) -> None:
    told = generate(MODELS[kind], texts, max_new_tokens=count)
    assert [list(t) for t in told] == [slow(MODELS[kind], p, count, Sampling(), Noise(0)) for p in texts]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=prompts, seed=st.integers(0, 99))
def test_a_sampled_text_does_not_depend_on_its_neighbours(texts: list[IntArray], seed: int) -> None:
    sampling, noise = Sampling(temperature=1.3, top_k=20, top_p=0.95), Noise(seed)
    together = generate(MODELS["rotary"], texts, max_new_tokens=10, sampling=sampling, noise=noise)
    alone = generate(MODELS["rotary"], texts[:1], max_new_tokens=10, sampling=sampling, noise=noise)
    assert list(together[0]) == list(alone[0]) == slow(MODELS["rotary"], texts[0], 10, sampling, noise)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=prompts, stop=st.sets(st.integers(0, VOCAB - 1), min_size=1, max_size=6))
def test_a_prompt_that_has_stopped_leaves_the_others_alone(texts: list[IntArray], stop: set[int]) -> None:
    model = MODELS["rotary"]
    free = generate(model, texts, max_new_tokens=12)
    told = generate(model, texts, max_new_tokens=12, stop=sorted(stop))
    for tokens, whole in zip(told, free, strict=True):
        end = next((i for i, t in enumerate(whole) if t in stop), len(whole))
        assert list(tokens) == list(whole[:end])


def test_two_seeds_and_two_prompts_draw_differently() -> None:
    hot = Sampling(temperature=5.0)
    same = [np.array([1, 2, 3])] * 2
    one, two = generate(MODELS["rotary"], same, max_new_tokens=20, sampling=hot, noise=Noise(1))
    other = generate(MODELS["rotary"], same, max_new_tokens=20, sampling=hot, noise=Noise(2))[0]
    assert list(one) != list(two)
    assert list(one) != list(other)


def test_tokens_come_as_they_are_chosen() -> None:
    texts = [np.array([1]), np.array([2, 3])]
    pieces = stream(MODELS["rotary"], texts, max_new_tokens=3, sampling=Sampling(), noise=Noise(0))
    first = [next(pieces), next(pieces)]
    assert [number for number, _ in first] == [0, 1]
    whole = generate(MODELS["rotary"], texts, max_new_tokens=3)
    assert [token for _, token in first] == [int(whole[0][0]), int(whole[1][0])]


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True),
    temperature=st.floats(0.1, 5),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 1),
)
def test_what_may_be_chosen_is_what_the_papers_say(
    scores: list[int], temperature: float, top_k: int | None, top_p: float | None
) -> None:
    """A float64 loop: sort, keep k, then the shortest head whose probability reaches p, then renormalise."""
    warm = np.array(scores) / 4 / temperature
    order = np.argsort(-warm)[:top_k]
    shares = np.exp(warm[order] - warm.max())
    shares /= shares.sum()
    if top_p is not None:
        before = np.cumsum(shares) - shares
        if np.abs(before - top_p).min() < 1e-5:
            return  # on the edge, where fp32 may fall on either side
        shares = np.where(before < top_p, shares, 0)
        shares /= shares.sum()
    told, ids = Sampling(temperature, top_k, top_p).shares(torch.tensor([scores]).float() / 4)
    assert ids[0].tolist() == order.tolist()
    np.testing.assert_allclose(told[0].numpy(), shares, atol=2e-5)


def test_tokens_are_drawn_as_often_as_their_probabilities_say() -> None:
    """4,000 draws: each frequency within 4.5 standard deviations (a miss by chance: below 1 in 30,000 for all five)."""
    sampling, count = Sampling(temperature=1.0, top_k=5), 4000
    scores = torch.tensor([[0.5, 2.0, -1.0, 1.0, 0.0, -3.0]])
    told = sampling.choose(scores.expand(count, -1), [Noise(3).at("sample", i, 0) for i in range(count)])
    shares, ids = sampling.shares(scores)
    for share, id in zip(shares[0].tolist(), ids[0].tolist(), strict=True):
        assert abs(int((told == id).sum()) - count * share) < 4.5 * (count * share * (1 - share)) ** 0.5
    assert not (told == 5).any()


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ([], {}, "empty"),
        ([np.array([1]), np.array([], dtype=np.int64)], {}, "empty"),
        ([np.array([1])], {"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_requests_that_make_no_sense(texts: list[IntArray], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModeledgeError, match=words) as caught:
        generate(MODELS["rotary"], texts, **{"max_new_tokens": 2, **options})
    assert caught.value.code == "E-USAGE"


def test_only_a_decoder_at_rest_continues_text() -> None:
    with pytest.raises(ModeledgeError, match="an encoder"):
        generate(encoder(), [np.array([1])], max_new_tokens=1)
    with pytest.raises(ModeledgeError, match="training mode"):
        generate(decoder().train(), [np.array([1])], max_new_tokens=1)


def test_no_text_is_longer_than_the_positions() -> None:
    text = np.arange(LONGEST - 4) % VOCAB
    assert len(generate(MODELS["learned"], [text], max_new_tokens=4)[0]) == 4
    with pytest.raises(ModeledgeError) as caught:
        generate(MODELS["learned"], [text], max_new_tokens=5)
    assert caught.value.code == "E-POSITION"


@pytest.mark.parametrize("setting", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_sampling_settings_are_checked(setting: dict[str, Any]) -> None:
    with pytest.raises(ModeledgeError) as caught:
        Sampling(**setting)
    assert caught.value.code == "E-USAGE"


def test_greedy_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=VOCAB,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=LONGEST,
        eos_token_id=3,
        pad_token_id=0,
        bos_token_id=1,
    )
    theirs = hf.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    ours, draw = load_model(tmp_path).eval(), np.random.default_rng(0)
    texts = [draw.integers(4, VOCAB, n) for n in (5, 1, 9, 3, 7, 2)]
    stop = int(generate(ours, texts, max_new_tokens=25)[2][7])  # a token that ends one text at least
    told = generate(ours, texts, max_new_tokens=25, stop=(stop,))
    assert len(told[2]) < 25
    for text, tokens in zip(texts, told, strict=True):
        ids = torch.from_numpy(text)[None]
        options = {"max_new_tokens": 25, "do_sample": False, "eos_token_id": stop}
        wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(text) :]
        assert tokens.tolist() == [t for t in wanted.tolist() if t != stop]


# ---- gaps ----------------------------------------------------------------------------------------------------------


def test_gaps_are_filled_with_the_best_tokens_and_their_probabilities() -> None:
    model, ids = encoder(), np.array([4, 7, 2, 7, 9])
    with torch.no_grad():
        shares = torch.softmax(model.logits(model(Batch(source=Side.of(torch.tensor(ids)[None]))).last[0]), -1)
    told = fill_mask(model, ids, 7, top=3)
    for gap, place in zip(told, (1, 3), strict=True):
        best = sorted(range(VOCAB), key=lambda i: -float(shares[place, i]))[:3]
        assert [i for i, _ in gap] == best
        np.testing.assert_allclose([p for _, p in gap], shares[place, best], rtol=1e-5)
    with pytest.raises(ModeledgeError, match="no masked token"):
        fill_mask(model, np.array([1, 2]), 7)
    with pytest.raises(ModeledgeError, match="a decoder"):
        fill_mask(decoder(), ids, 7)


# ---- text ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 4
    return train_tokenizer(lines, kind="bpe", vocab_size=300, min_frequency=1)


@pytest.fixture(scope="module")
def writer(tokenizer: Tokenizer) -> Transformer:
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), decoder=STACKS["rotary"]))
    model.add_heads({"lm": LMHead(tie=False)}, Noise(0))
    return spread(model)


def cut(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.find(s) for s in stop if s in text), default=len(text))]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_text_ends_before_the_first_stop_string_wherever_tokens_end(
    tokenizer: Tokenizer, writer: Transformer, data: st.DataObject
) -> None:
    texts = ["the cat", "a dog sat on", "log"]
    free = continue_text(writer, tokenizer, texts, max_new_tokens=15)
    source = data.draw(st.sampled_from([t for t in free if len(t) > 4]))
    start = data.draw(st.integers(0, len(source) - 3))
    end = start + data.draw(st.integers(1, 4))
    stop = [source[start:end], *([source[start + 1 : end]] if end > start + 1 else [])]  # both end at one character
    told = continue_text(writer, tokenizer, texts, max_new_tokens=15, stop=stop)
    assert told == [cut(text, stop) for text in free]


def test_gaps_in_text(tokenizer: Tokenizer) -> None:
    if tokenizer.specials.mask is None:
        pytest.skip("this tokenizer has no mask")
    model = encoder(tokenizer.vocab_size)
    name = tokenizer.token(tokenizer.need("mask"))
    told = fill_text(model, tokenizer, f"the {name} sat on the {name}", top=4)
    assert [len(gap) for gap in told] == [4, 4]
    with pytest.raises(ModeledgeError, match="in the text"):
        fill_text(model, tokenizer, "no gap")

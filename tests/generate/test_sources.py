"""A decoder that reads an encoder: the prompt is the source, greedy tokens are the reference library's, and a batch, a
cache and finished neighbours change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, start_of
from modeledge.generate import Sampling, continue_text, fill_mask, generate
from modeledge.generate.ready import ready
from modeledge.model import (
    Attention,
    Batch,
    Buckets,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.recipes.asking.use import Model
from modeledge.records import IntArray
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.tokens.train import train_tokenizer

VOCAB = 29
T5 = Stack(
    layers=2,
    attention=Attention(heads=2, bias=False, scale=1.0),
    feedforward=FeedForward(width=24, kind="relu", bias=False),
    norm=Norm(kind="rms"),
    position=Buckets(count=8, distance=10),
)
BART = Stack(
    layers=2,
    attention=Attention(heads=4),
    feedforward=FeedForward(width=24),
    norm=Norm(place="post"),
    position=Learned(length=22, offset=2),
)


def built(stack: Stack, vocab: int = VOCAB) -> Transformer:
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=vocab), encoder=stack, decoder=stack))
    model.add_heads({"lm": LMHead(tie=False)}, Noise(0))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


MODELS = {"t5": built(T5), "bart": built(BART)}
each = pytest.mark.parametrize("kind", MODELS)
sources = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9).map(np.array), min_size=1, max_size=5)
starts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=3)


def slow(
    model: Transformer, prompt: IntArray, start: list[int], count: int, sampling: Sampling, noise: Noise, number: int
) -> list[int]:
    """The oracle: no cache, no batch; source and answer are read again for every token."""
    ids, source = list(start), Side.of(torch.from_numpy(prompt)[None])
    for step in range(count):
        with torch.no_grad():
            last = model(Batch(source=source, target=Side.of(torch.tensor([ids])))).last[:, -1]
        ids.append(int(sampling.choose(model.logits(last), [noise.at("sample", number, step)])))
    return ids[len(start) :]


@each
@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=sources, start=starts, count=st.integers(1, 10), warm=st.booleans())
def test_tokens_are_those_of_the_slow_loop(
    kind: str, texts: list[IntArray], start: list[int], count: int, warm: bool
) -> None:
    model, sampling, noise = MODELS[kind], Sampling(1.3, 20, 0.95) if warm else Sampling(), Noise(5)
    told = generate(model, texts, max_new_tokens=count, sampling=sampling, noise=noise, start=start)
    wanted = [slow(model, p, start, count, sampling, noise, n) for n, p in enumerate(texts)]
    assert [list(t) for t in told] == wanted


@each
@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=sources, stop=st.sets(st.integers(0, VOCAB - 1), min_size=1, max_size=6))
def test_an_answer_that_has_ended_leaves_the_others_alone(kind: str, texts: list[IntArray], stop: set[int]) -> None:
    free = generate(MODELS[kind], texts, max_new_tokens=12, start=[1])
    told = generate(MODELS[kind], texts, max_new_tokens=12, start=[1], stop=sorted(stop))
    for tokens, whole in zip(told, free, strict=True):
        end = next((i for i, t in enumerate(whole) if t in stop), len(whole))
        assert list(tokens) == list(whole[:end])


@each
def test_the_copy_for_decoding_says_the_same(kind: str) -> None:
    texts = [np.array([3, 4, 5]), np.array([7])]
    told = generate(ready(MODELS[kind]), texts, max_new_tokens=8, start=[1])
    assert [list(t) for t in told] == [list(t) for t in generate(MODELS[kind], texts, max_new_tokens=8, start=[1])]


SHAPE = {"vocab_size": VOCAB, "d_model": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3}
SHAPE_T5 = {"d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 4}
SHAPE_T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": 0}
SHAPE_BART = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20}
SHAPE_BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "max_position_embeddings": 40}
SHAPE_BART |= {"forced_eos_token_id": None, "decoder_start_token_id": 3}
REFERENCES = {
    "t5": ("T5", SHAPE_T5, 0),
    "gated": ("T5", {**SHAPE_T5, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 1}, 0),
    "bart": ("Bart", {**SHAPE_BART, "scale_embedding": True, "tie_word_embeddings": False}, 3),
    "mbart": ("MBart", {**SHAPE_BART, "decoder_start_token_id": 7}, 7),
}


def reference(hf: Any, name: str) -> Any:
    begins, shape, _ = REFERENCES[name]
    torch.manual_seed(0)
    model = getattr(hf, f"{begins}ForConditionalGeneration")(getattr(hf, f"{begins}Config")(**{**SHAPE, **shape}))
    with torch.no_grad():  # attention large and all else small: else a tiny model says one token whatever it has read
        for name, parameter in model.named_parameters():
            large = parameter.ndim > 1 and not any(word in name for word in ("fc1", "fc2", "Dense"))
            parameter.add_((1.0 if large else 0.2) * torch.randn_like(parameter))
        model.get_input_embeddings().weight.mul_(0.3)
        for name, buffer in model.named_buffers():
            buffer.add_(0.3 * torch.randn_like(buffer) if name == "final_logits_bias" else 0)
    return model.eval()


@pytest.mark.parametrize("name", REFERENCES)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    theirs = reference(pytest.importorskip("transformers"), name)
    theirs.save_pretrained(tmp_path)
    ours, draw = load_model(tmp_path).eval(), np.random.default_rng(0)
    assert start_of(ours) == REFERENCES[name][2]
    texts = [draw.integers(4, VOCAB, n) for n in (5, 1, 9, 3, 7, 2)]
    start = [REFERENCES[name][2]]
    free = generate(ours, texts, max_new_tokens=25, start=start)
    assert len({tuple(t.tolist()) for t in free}) > 1  # the answers depend on their sources
    stop = int(max(free, key=lambda t: len(set(t.tolist())))[7])  # a token that ends one text at least
    told = generate(ours, texts, max_new_tokens=25, stop=(stop,), start=start)
    # (the reference's cache has as many layers as the encoder: a deeper decoder is beyond it)
    options = {"max_new_tokens": 25, "do_sample": False, "num_beams": 1, "eos_token_id": stop}
    for text, tokens in zip(texts, told, strict=True):
        ids = torch.from_numpy(text)[None]
        wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, 1:].tolist()
        assert tokens.tolist() == [t for t in wanted if t != stop]
        assert len(tokens) == 25 or wanted[-1] == stop


@each
def test_a_start_is_needed_and_only_here(kind: str) -> None:
    texts = [np.array([1, 2])]
    with pytest.raises(ModeledgeError, match="begins with") as caught:
        generate(MODELS[kind], texts, max_new_tokens=1)
    assert caught.value.code == "E-USAGE"
    with pytest.raises(ModeledgeError, match="none of the 29"):
        generate(MODELS[kind], texts, max_new_tokens=1, start=[VOCAB])
    alone = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=VOCAB), decoder=BART)).eval()
    alone.add_heads({"lm": LMHead()}, Noise(0))
    with pytest.raises(ModeledgeError, match="without an encoder"):
        generate(alone, texts, max_new_tokens=1, start=[1])
    with pytest.raises(ModeledgeError, match="begins with"):
        fill_mask(MODELS[kind], np.array([1, 2]), 2)


def test_each_side_has_its_own_positions() -> None:
    """A source as long as the positions leaves the answer all of its own."""
    longest = np.arange(20) % VOCAB
    assert len(generate(MODELS["bart"], [longest], max_new_tokens=19, start=[1])[0]) == 19
    for text, room in ((np.arange(21) % VOCAB, 1), (longest, 20)):
        with pytest.raises(ModeledgeError) as caught:
            generate(MODELS["bart"], [text], max_new_tokens=room, start=[1])
        assert caught.value.code == "E-POSITION"


# ---- text ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 4
    return train_tokenizer(lines, kind="bpe", vocab_size=300, min_frequency=1)


def test_the_answer_is_the_whole_text(tokenizer: Tokenizer) -> None:
    model, specials = built(T5, tokenizer.vocab_size), tokenizer.specials
    ends = specials.sep if specials.sep is not None else specials.eos
    around = [[t] if t is not None else [] for t in (specials.cls, ends)]
    texts = ["the cat", "a dog sat on"]
    told = continue_text(model, tokenizer, texts, max_new_tokens=9, start=[1])
    assert any(around)
    for text, answer in zip(texts, told, strict=True):
        ids = np.array([*around[0], *tokenizer.encode(text), *around[1]])
        eos = () if specials.eos is None else (specials.eos,)
        assert answer == tokenizer.decode(generate(model, [ids], max_new_tokens=9, start=[1], stop=eos)[0])


def test_a_model_with_its_tokenizer_answers(tokenizer: Tokenizer) -> None:
    model = built(T5, tokenizer.vocab_size)
    asked = Model(model, tokenizer)
    told = asked.generate("the cat", temperature=0, max_new_tokens=9, start=1)
    assert told == asked.generate(["the cat"], temperature=0, max_new_tokens=9, start=[1])
    assert told == continue_text(model, tokenizer, ["the cat"], max_new_tokens=9, start=[1])
    with pytest.raises(ModeledgeError, match="begins with"):
        asked.generate("the cat")
    assert asked.embed("the cat").shape == (1, model.config.width)


def test_a_file_names_the_start(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shape = {**SHAPE, **SHAPE_T5, "vocab_size": tokenizer.vocab_size}
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    hf.T5ForConditionalGeneration(hf.T5Config(**shape)).save_pretrained(tmp_path)
    asked = Model(load_model(tmp_path), tokenizer)
    texts = ["the cat", "a dog"]
    told = asked.generate(texts, temperature=0, max_new_tokens=9)
    assert told == asked.generate(texts, temperature=0, max_new_tokens=9, start=0)
    assert told != asked.generate(texts, temperature=0, max_new_tokens=9, start=[9, 8])

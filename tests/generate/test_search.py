"""Beam search finds what transformers finds, scores are sums of log-probabilities, and rules bend scores alike."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, start_of
from modeledge.generate import Beams, Decoding, Rules, Sampling, beam_search, generate, written
from modeledge.generate.search import _Search
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

VOCAB = 31
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 4, "pad_token_id": 0, "eos_token_id": 3}
        | {"decoder_start_token_id": 0},
    ),
    "bart": (
        "BartForConditionalGeneration",
        {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "max_position_embeddings": 40}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3, "forced_eos_token_id": None}
        | {"decoder_start_token_id": 3},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 3, "eos_token_id": 3},
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Transformer]]:
    hf = pytest.importorskip("transformers")
    found = {}
    for name, (kind, shape) in SHAPES.items():
        torch.manual_seed(1)
        theirs = getattr(hf, kind)(
            getattr(hf, kind.split("For")[0].replace("LMHeadModel", "") + "Config")(vocab_size=VOCAB, **shape)
        )
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.add_(0.35 * torch.randn_like(parameter))
        folder: Path = tmp_path_factory.mktemp(name)
        theirs.eval().save_pretrained(folder)
        found[name] = theirs, load_model(folder).eval()
    return found


def texts() -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.integers(4, VOCAB, n) for n in (5, 1, 9, 3)]


def begun(model: Transformer) -> list[int]:
    start = start_of(model)
    return [start] if model.config.both and start is not None else []


def reference(theirs: Any, text: Any, skip: int, **options: Any) -> tuple[list[int], float]:
    ids = torch.from_numpy(text)[None]
    out = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    score = float(out.sequences_scores[0]) if "sequences_scores" in out and out.sequences_scores is not None else 0.0
    return out.sequences[0, skip:].tolist(), score


OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 4},
    {"num_beams": 2, "length_penalty": 2.0},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 0.5, "early_stopping": "never"},
    {"num_beams": 5, "length_penalty": 0.0, "early_stopping": True},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("name", SHAPES)
def test_beams_are_those_of_transformers(name: str, options: dict[str, Any], models: dict[str, Any]) -> None:
    """Tokens and scores of the best answer, of four prompts in one batch; scores within rounding of sums in fp32."""
    theirs, ours = models[name]
    start, prompts = begun(ours), texts()
    common = set(itertools.chain(*(generate(ours, [p], max_new_tokens=8, start=start)[0].tolist() for p in prompts)))
    stop = sorted(common)[len(common) // 2]  # a token that the model likes to say, so that answers end
    rules = Rules(
        options.get("min_new_tokens", 0), options.get("no_repeat_ngram_size", 0), options.get("repetition_penalty", 1.0)
    )
    beams = Beams(options["num_beams"], options.get("length_penalty", 1.0), options.get("early_stopping", False), rules)
    told = beam_search(ours, prompts, max_new_tokens=12, beams=beams, stop=(stop,), start=start)
    ended = 0
    for text, answers in zip(prompts, told, strict=True):
        skip = 1 if start else len(text)
        wanted, score = reference(theirs, text, skip, max_new_tokens=12, eos_token_id=stop, **options)
        best = answers[0]
        while wanted and wanted[-1] == 0 and len(wanted) > len(best.tokens) + 1:
            wanted.pop()
        ended += wanted[-1] == stop
        assert best.tokens.tolist() == [t for t in wanted if t != stop]
        assert best.score == pytest.approx(score, rel=1e-4, abs=1e-5)
        assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    assert ended  # at least one answer ends by itself


@pytest.mark.parametrize("name", SHAPES)
def test_rules_bend_greedy_answers_as_in_transformers(name: str, models: dict[str, Any]) -> None:
    theirs, ours = models[name]
    start, prompts = begun(ours), texts()
    free = generate(ours, prompts, max_new_tokens=14, start=start)
    stop = int(free[0][2])
    for size, penalty, least in ((2, 1.0, 0), (1, 1.0, 0), (3, 1.7, 6), (0, 0.8, 9)):
        sampling = Sampling(rules=Rules(least, size, penalty))
        told = generate(ours, prompts, max_new_tokens=14, start=start, sampling=sampling, stop=(stop,))
        for text, tokens in zip(prompts, told, strict=True):
            wanted, _ = reference(
                theirs,
                text,
                1 if start else len(text),
                num_beams=1,
                max_new_tokens=14,
                eos_token_id=stop,
                no_repeat_ngram_size=size,
                repetition_penalty=penalty,
                min_new_tokens=least,
            )
            assert tokens.tolist() == [t for t in wanted if t != stop]
        assert any(list(a) != list(b) for a, b in zip(told, free, strict=True))


STACK = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=24))


def small(vocab: int, both: bool) -> Transformer:
    sides = {"decoder": STACK} | ({"encoder": STACK} if both else {})
    model = Transformer(TransformerConfig(width=8, embed=Tokens(vocab=vocab), **sides), seed=3)
    model.add_heads({"lm": LMHead(tie=False)}, Noise(0))
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def log_share(model: Transformer, prompt: Any, tokens: list[int], start: list[int]) -> float:
    """Σ log p of tokens, by one forward pass without a cache."""
    begin = start or prompt.tolist()
    target = Side.of(torch.tensor([[*begin, *tokens]]))
    source = Side.of(torch.from_numpy(prompt)[None]) if start else None
    with torch.no_grad():
        scores = torch.log_softmax(model.logits(model(Batch(source=source, target=target)).last)[0].double(), -1)
    return sum(float(scores[len(begin) - 1 + i, token]) for i, token in enumerate(tokens))


@pytest.mark.parametrize("both", [False, True])
def test_enough_beams_find_the_best_of_all_answers(both: bool) -> None:
    """Exhaustively: every answer of at most four tokens over five ids, the stop among them."""
    model, start = small(5, both), [1] if both else []
    for prompt, penalty in itertools.product((np.array([2, 3]), np.array([4])), (0.0, 1.0, 1.7)):
        every = [
            (log_share(model, prompt, [*body, *end], start) / (len(body) + len(end)) ** penalty, list(body))
            for n in range(5)
            for body in itertools.product((1, 2, 3, 4), repeat=n)
            for end in ([[0]] if n < 4 else [[]])
        ]
        beams = Beams(200, penalty, "never")
        (told,) = beam_search(model, [prompt], max_new_tokens=4, beams=beams, stop=(0,), start=start)
        score, best = max(every)
        assert told[0].tokens.tolist() == best
        assert told[0].score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("both", [False, True])
def test_a_batch_finds_what_each_prompt_finds_alone(both: bool) -> None:
    model, start = small(17, both), [1] if both else []
    prompts = [np.random.default_rng(n).integers(0, 17, n) for n in (6, 1, 3, 9, 2)]
    beams = Beams(3, 0.7)
    told = beam_search(model, prompts, max_new_tokens=9, beams=beams, stop=(4, 7), start=start)
    for prompt, answers in zip(prompts, told, strict=True):
        (alone,) = beam_search(model, [prompt], max_new_tokens=9, beams=beams, stop=(4, 7), start=start)
        assert [a.tokens.tolist() for a in answers] == [a.tokens.tolist() for a in alone]
        assert [a.score for a in answers] == pytest.approx([a.score for a in alone], abs=1e-4)
        for answer in answers:
            assert not {4, 7} & set(answer.tokens.tolist())


def test_one_beam_is_greedy() -> None:
    model, prompts = small(17, False), [np.array([3, 5]), np.array([8])]
    told = beam_search(model, prompts, max_new_tokens=7, beams=Beams(1), stop=(2,))
    greedy = generate(model, prompts, max_new_tokens=7, stop=(2,))
    assert [answers[0].tokens.tolist() for answers in told] == [g.tolist() for g in greedy]


@pytest.mark.parametrize("search", [False, True])
def test_a_prefix_is_read_both_ways(search: bool) -> None:
    """The cache's first reading sees the whole prompt; the oracle reads everything again for each token."""
    model, draw = small(17, False), np.random.default_rng(0)
    prompts = [draw.integers(0, 17, n) for n in (9, 5, 8, 7, 4, 9, 6, 2)]
    told = written(model, prompts, Decoding(6, beams=2 if search else 1), both_ways=True)
    other = written(model, prompts, Decoding(6, beams=2 if search else 1))
    assert any(a.tolist() != b.tolist() for a, b in zip(told, other, strict=True))
    if search:
        return
    for prompt, tokens in zip(prompts, told, strict=True):
        ids = prompt.tolist()
        for _ in range(6):
            side = Side.of(torch.tensor([ids]))
            prefix = torch.arange(len(ids))[None] < len(prompt)
            side = Side(side.ids, side.positions, side.segments, prefix, whole=True)
            with torch.no_grad():
                ids.append(int(model.logits(model(Batch(target=side)).last[:, -1]).argmax()))
        assert tokens.tolist() == ids[len(prompt) :]


def test_each_prompt_may_have_its_own_lots() -> None:
    model, prompts = small(17, False), [np.array([3, 5]), np.array([8]), np.array([1, 2, 3])]
    lots = [Noise(4).at("sample", i) for i in (7, 3, 9)]
    warm = Decoding(8, temperature=1.2)
    told = written(model, prompts, warm, noise=lots)
    for n, prompt in enumerate(prompts):
        assert written(model, [prompt], warm, noise=[lots[n]])[0].tolist() == told[n].tolist()
    assert generate(model, prompts[:1], max_new_tokens=8, sampling=Sampling(1.2), noise=Noise(4))[0].tolist() == (
        written(model, prompts[:1], warm, noise=[Noise(4).at("sample", 0)])[0].tolist()
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Beams(0), "0 beams"),
        (lambda: Beams(early_stopping="always"), "always"),  # type: ignore[arg-type]
        (lambda: Rules(-1), "min_new_tokens"),
        (lambda: Rules(repetition_penalty=0.0), "repetition_penalty"),
        (lambda: Decoding(beams=2, temperature=0.5), "two ways"),
        (lambda: Decoding(3, 4), "4 to 3"),
        (lambda: Decoding(top_p=math.inf, temperature=1.0), "top_p"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ModeledgeError, match=words) as caught:
        make()
    assert caught.value.code == "E-USAGE"


def test_when_a_search_is_settled() -> None:
    """The best beginning has Σ log p = −1.4 after two tokens; the worst of two finished answers scores −0.6."""
    full = _Search(0, [(-1.4, [1, 2]), (-3.0, [1, 3])], [(-0.5, [4]), (-0.6, [5])])
    assert full.settled(10, Beams(2, 1.0, False))  # −1.4 / 2 is below −0.6
    assert not full.settled(10, Beams(2, 1.0, "never"))  # −1.4 / 10 would not be
    assert full.settled(10, Beams(2, -1.0, "never"))  # −1.4 · 2: no greater length is better
    better = _Search(0, [(-0.4, [1, 2]), (-3.0, [1, 3])], full.finished)
    assert not better.settled(10, Beams(2, 1.0, False))
    assert better.settled(10, Beams(2, 1.0, True))
    assert not _Search(0, full.running, full.finished[:1]).settled(10, Beams(2, 1.0, True))

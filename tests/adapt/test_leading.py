"""What stands before an example: the same packed and alone, read at once and in pieces, and as the papers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapt_small import refusal

from modeledge.adapt import (
    MultitaskPromptTuning,
    PrefixTuning,
    PromptTuning,
    PTuning,
    Strategy,
    frozen_depth,
)
from modeledge.adapt.mpt import COLUMNS, ROWS, SHARED
from modeledge.generate import Sampling, generate
from modeledge.generate.search import beam_search
from modeledge.model import (
    Attention,
    Batch,
    Buckets,
    Cache,
    FeedForward,
    Keep,
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
from modeledge.seed import Noise

WIDTH, VOCAB, SEED = 16, 23, 11
METHODS: dict[str, Strategy] = {
    "prompt": PromptTuning(length=3),
    "p-tuning": PTuning(length=2, hidden=5),
    "prefix": PrefixTuning(length=3),
    "projected": PrefixTuning(length=2, projection=True, hidden=6),
    "mpt": MultitaskPromptTuning(length=2, tasks=3, ranks=2, start="random", task=1),
}
SHAPES = ("encoder", "decoder", "modern", "both")
EACH = pytest.mark.parametrize("method", METHODS)
ALL = pytest.mark.parametrize("shape", SHAPES)


def model_of(shape: str) -> Transformer:
    """A post-norm encoder, a pre-norm decoder, a modern one with grouped heads and a window, and both."""
    learned = Stack(
        layers=2,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=20),
        norm=Norm(place="post" if shape == "encoder" else "pre"),
        position=Learned(length=40),
    )
    modern = replace(
        learned,
        attention=Attention(heads=4, kv_heads=2, qkv="fused", windows=(None, 3), qk_norm="head"),
        position=Rotary(),
    )
    bucketed = replace(learned, position=Buckets(count=8, distance=16))
    stacks = {
        "encoder": {"encoder": learned},
        "decoder": {"decoder": learned},
        "modern": {"decoder": modern},
        "both": {"encoder": bucketed, "decoder": replace(bucketed, layers=3)},
    }[shape]
    table = Tokens(vocab=VOCAB, types=2, norm=True) if shape == "encoder" else Tokens(vocab=VOCAB)
    model = Transformer(TransformerConfig(width=WIDTH, embed=table, init=0.4, **stacks), seed=SEED)
    model.add_heads({"lm": LMHead()}, Noise(SEED))
    model.double()
    model.compute = torch.float64
    return model.eval()


def led(shape: str, method: str) -> Transformer:
    model = model_of(shape)
    METHODS[method].attach(model, Noise(3))
    return model


def side_of(rows: list[list[int]], seq: int, seed: int = 0) -> Side:
    random = np.random.default_rng(seed)
    ids, positions, segments = (np.zeros((len(rows), seq), dtype=np.int64) for _ in range(3))
    ids[:] = random.integers(0, VOCAB, ids.shape)
    for row, lengths in enumerate(rows):
        start = seed % 2  # room before the first
        for number, length in enumerate(lengths, 1):
            where = (row, slice(start, start + length))
            positions[where], segments[where] = np.arange(length), number
            start += length + (number == 1)  # and behind it
    return Side(*(torch.from_numpy(x) for x in (ids, positions, segments)))


def batch_of(shape: str, source: Side, target: Side) -> Batch:
    if shape == "both":
        return Batch(source, target)
    return Batch(source=target) if shape == "encoder" else Batch(target=target)


def alone(side: Side, row: int, segment: int) -> Side:
    return Side.of(side.ids[row][side.segments[row] == segment][None])


@EACH
@ALL
def test_a_packed_row_is_its_examples_one_by_one(shape: str, method: str) -> None:
    model = led(shape, method)
    source, target = side_of([[5, 2, 3], [4], [1, 6]], 13, 1), side_of([[3, 4, 1], [7], [2, 2]], 12)
    together = model(batch_of(shape, source, target), keep=Keep(layers=True))
    for row, segment in ((0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2)):
        single = batch_of(shape, alone(source, row, segment), alone(target, row, segment))
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                last = model(single, keep=Keep(layers=True))
            here = target.segments[row] == segment
            assert float((last.last[0] - together.last[row][here]).detach().abs().max()) <= 1e-11
            assert all(a.shape[1] == 12 for a in together.layers)
            for one, many in zip(last.layers, together.layers, strict=True):
                assert float((one[0] - many[row][here]).detach().abs().max()) <= 1e-11
            if shape == "both":
                there = source.segments[row] == segment
                assert float((last.encoder[0] - together.encoder[row][there]).detach().abs().max()) <= 1e-11


@EACH
@ALL
def test_it_is_seen_by_every_token_and_learns_from_it(shape: str, method: str) -> None:
    model, plain = led(shape, method), model_of(shape)
    side = side_of([[4, 3]], 9)
    batch = batch_of(shape, side, side)
    real = side.segments > 0
    states = model(batch).last
    assert ((states - plain(batch).last).abs().amax(-1) > 1e-6)[real].all()
    states[real].square().sum().backward()
    for name, parameter in model.leads.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@EACH
@pytest.mark.parametrize("shape", ["decoder", "modern", "both"])
def test_reading_in_pieces_is_reading_at_once(shape: str, method: str) -> None:
    """Rows of unequal length are padded on the left, as generation does."""
    model = led(shape, method)
    lengths = torch.tensor([8, 6, 3])
    positions = torch.arange(8) - (8 - lengths[:, None])
    segments = (positions >= 0).long()
    side = Side(side_of([[8]] * 3, 9).ids[:, :8], positions.clamp(min=0), segments)
    source = Side.of(side_of([[5]] * 3, 7, 3).ids, torch.tensor([5, 7, 2])) if shape == "both" else None
    with torch.no_grad():
        told = model(Batch(source, side)).last
        cache, found, start = model.new_cache(3, 8), [], 0
        for step in (6, 1, 1):  # every example has begun after the first
            part = slice(start, start + step)
            piece = Side(side.ids[:, part], side.positions[:, part], segments[:, part])
            states = model(Batch(source if start == 0 else None, piece), cache)
            found.append(states.last)
            cache, start = states.cache, start + step
            assert isinstance(cache, Cache)
    assert float((torch.cat(found, 1) - told)[segments > 0].abs().max()) <= 1e-11
    if model.leads.tokens and shape != "both":
        with pytest.raises(AssertionError, match="begins at the first reading"):
            model(Batch(target=Side.of(side.ids[:, :1])), cache)


@EACH
@pytest.mark.parametrize("shape", ["decoder", "modern", "both"])
def test_what_is_generated_is_the_best_token_of_each_reading(shape: str, method: str) -> None:
    model = led(shape, method)
    prompts = [np.array([3, 4, 5, 6]), np.array([7, 8])]
    start = [1] if shape == "both" else []
    found = generate(model, prompts, max_new_tokens=5, sampling=Sampling(0.0), start=start)
    for prompt, tokens in zip(prompts, found, strict=True):
        written = list(start) if start else prompt.tolist()
        for token in tokens.tolist():
            source = Side.of(torch.tensor(prompt)[None]) if start else None
            with torch.no_grad():
                last = model(Batch(source, Side.of(torch.tensor([written])))).last[0, -1]
            assert int(model.logits(last).argmax()) == token
            written.append(token)
    beams = beam_search(model, prompts, max_new_tokens=3, start=start)
    assert all(len(found) for found in beams)


# ---- the papers' formulas, in NumPy


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attended(module, queries: np.ndarray, states: np.ndarray, pair: np.ndarray, bias, *, causal: bool) -> np.ndarray:
    """Li and Liang's equation: every query over [Pₖ; K] and [Pᵥ; V], head by head."""
    weights = {n: (m.weight.detach().numpy(), m.bias.detach().numpy()) for n, m in module.named_children()}
    project = {n: x @ w.T + b for (n, (w, b)), x in zip(weights.items(), (queries, states, states), strict=False)}
    out = []
    for head in range(module.heads):
        part = slice(head * module.head_width, (head + 1) * module.head_width)
        keys = np.concatenate((pair[0, head], project["key"][:, part]))
        values = np.concatenate((pair[1, head], project["value"][:, part]))
        scores = project["query"][:, part] @ keys.T / np.sqrt(module.head_width)
        if bias is not None:
            scores = scores + bias[head]
        if causal:
            given = pair.shape[2]
            ahead = np.arange(len(keys))[None] > np.arange(len(queries))[:, None] + given
            scores = np.where(ahead, -np.inf, scores)
        out.append(softmax(scores) @ values)
    return np.concatenate(out, -1) @ weights["output"][0].T + weights["output"][1]


def test_an_encoder_decoder_has_three_prefixes_as_published() -> None:
    """Layer by layer: the encoder's attention over itself, the decoder's, and the decoder's over its source."""
    model, length = led("both", "prefix"), 3
    source, target = (torch.randint(0, VOCAB, (1, n), generator=torch.Generator().manual_seed(n)) for n in (6, 4))
    with torch.no_grad():
        told = model(Batch(Side.of(source), Side.of(target))).last[0].numpy()
    sets = {
        place: model.leads["default"].sets[place].embedding.weight.detach().numpy()
        for place in ("encoder", "decoder", "cross")
    }

    def pairs(place: str, layers: int) -> np.ndarray:
        return sets[place].reshape(length, layers, 2, 2, 8).transpose(1, 2, 3, 0, 4)

    def run(tower, ids, place, over=None):
        x, causal = model.tokens.detach().numpy()[ids[0].numpy()], place == "decoder"
        bias = distance_bias(tower.position, len(x), length, causal)
        for layer, block in enumerate(tower.blocks):
            normed = norm(block.attention_norm, x)
            pair = pairs(place, len(tower.blocks))[layer]
            x = x + attended(block.attention, normed, normed, pair, bias, causal=causal)
            if over is not None:
                pair = pairs("cross", len(tower.blocks))[layer]
                x = x + attended(block.cross, norm(block.cross_norm, x), over, pair, None, causal=False)
            with torch.no_grad():
                x = x + block.feedforward(torch.from_numpy(norm(block.feedforward_norm, x))).numpy()
        return norm(tower.final_norm, x)

    found = run(model.tower, target, "decoder", run(model.source_tower, source, "encoder"))
    assert np.abs(found - told).max() <= 1e-11


def norm(module, x: np.ndarray) -> np.ndarray:
    spread = np.sqrt(x.var(-1, keepdims=True) + module.eps)
    return (x - x.mean(-1, keepdims=True)) / spread * module.weight.detach().numpy() + module.bias.detach().numpy()


def distance_bias(position, count: int, given: int, causal: bool) -> np.ndarray:
    """The bucket of each distance, prefix and tokens numbered through: `[heads, queries, keys]`."""
    from modeledge.model.position import bucket

    ahead = torch.arange(given + count)[None] - (torch.arange(count) + given)[:, None]
    numbers = bucket(ahead, position.count, position.distance, causal=causal)
    return position.weight.detach()[numbers].permute(2, 0, 1).numpy()


def test_a_prompt_is_the_rows_of_its_tokens() -> None:
    """A prompt that begins with the embeddings of a text is that text, read before the example."""
    for shape in ("encoder", "decoder", "modern"):
        model, text = model_of(shape), (4, 9, 2)
        PromptTuning(length=3, start="text", ids=tuple((i,) for i in text)).attach(model, Noise(0))
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            found = model(batch_of(shape, Side.of(ids), Side.of(ids))).last
            whole = Side.of(torch.cat((torch.tensor([text]), ids), 1))
            told = model_of(shape)(batch_of(shape, whole, whole)).last[:, 3:]
        assert torch.equal(found, told) or float((found - told).abs().max()) <= 1e-13


def test_the_starts() -> None:
    model, table = model_of("decoder"), model_of("decoder").tokens.detach()

    def begun(**fields: object) -> torch.Tensor:
        model = model_of("decoder")
        PromptTuning(length=5, **fields).attach(model, Noise(1))
        return model.leads["default"].embedding.weight.detach()

    drawn = begun()
    assert all(any(torch.equal(row, other) for other in table) for row in drawn)
    assert begun(start="random").abs().max() <= 0.5
    text = begun(start="text", ids=((2,), (3,)))
    assert torch.equal(text, table[[2, 3, 2, 3, 2]])
    labels = begun(start="labels", ids=((2,), (3, 4)))
    assert torch.equal(labels[:2], torch.stack((table[2], table[[3, 4]].mean(0))))
    assert torch.equal(labels[2:], drawn[2:])
    refusal("E-CONFIG-VALUE", PromptTuning(start="labels").attach, model, Noise(0))
    refusal("E-CONFIG-VALUE", PromptTuning(start="text", ids=((VOCAB,),)).attach, model, Noise(0))
    refusal("E-CONFIG", PromptTuning, text="Which?")


def test_every_task_has_its_own_prompt_and_a_new_one_begins_with_theirs(tmp_path) -> None:
    from safetensors.torch import save_file

    model = led("decoder", "mpt")
    side = Side.of(torch.tensor([[5, 6, 7]] * 3))
    spans = torch.tensor([[0, 0, 3], [1, 0, 3], [2, 0, 3]])
    last = model(Batch(target=side, spans=spans, labels={"task": torch.tensor([0, 2, 1])})).last
    assert not torch.equal(last[0], last[1])
    one = Side.of(side.ids[:1])
    assert (
        float((last[2] - model(Batch(target=one)).last[0]).detach().abs().max()) <= 1e-12
    )  # task = 1 where none is told
    lead = model.leads["default"]
    shared, columns, rows = lead.embedding.weight, lead.prefix_task_cols, lead.prefix_task_rows
    told = shared * (columns[2, :, :1] @ rows[2, :1] + columns[2, :, 1:] @ rows[2, 1:])  # Wang et al. 2023, equation 1
    assert float((lead.vectors()[2] - told).detach().abs().max()) <= 1e-14
    path = tmp_path / "source.safetensors"
    left = {SHARED: shared, COLUMNS: columns, ROWS: rows, "base_model.classifier.weight": torch.zeros(2)}
    save_file({name: tensor.detach().contiguous() for name, tensor in left.items()}, path)
    for fields, expected in (
        ({"transfer": "exact", "task": 2}, shared * (columns[2] @ rows[2])),
        ({"transfer": "average"}, shared * (columns.mean(0) @ rows.mean(0))),
    ):
        target = model_of("decoder")
        MultitaskPromptTuning(length=2, ranks=2, source=str(path), **fields).attach(target, Noise(9))
        assert torch.allclose(target.leads["default"].vectors()[0], expected, atol=1e-14)
    refusal("E-KEYS", MultitaskPromptTuning(length=4, ranks=2, source=str(path)).attach, model_of("decoder"), Noise(9))
    refusal("E-NO-FILE", MultitaskPromptTuning(source="nowhere").attach, model_of("decoder"), Noise(9))
    silent = model_of("decoder")
    MultitaskPromptTuning(length=2, tasks=3).attach(silent, Noise(0))
    refusal("E-USAGE", silent, Batch(target=one))
    wrong = Batch(target=one, spans=spans[:1], labels={"task": torch.tensor([3])})
    refusal("E-LABEL-RANGE", model, wrong)


def test_two_stand_side_by_side_and_either_alone() -> None:
    model = model_of("decoder")
    PromptTuning(length=2, name="first").attach(model, Noise(0))
    PrefixTuning(length=3, name="second").attach(model, Noise(0))
    batch = Batch(target=Side.of(torch.tensor([[5, 6, 7, 8]])))
    assert model.taken == 5
    with torch.no_grad():
        together = model(batch).last
        states = []
        for name in ("first", "second"):
            model.leads.active = (name,)
            states.append(model(batch).last)
        model.leads.active = ()
        assert torch.equal(model(batch).last, model_of("decoder")(batch).last)
    assert all(not torch.allclose(together, one) for one in states)


def test_room_that_is_kept_is_used() -> None:
    """A row in which positions were kept free before each example does not grow."""
    model, side = led("decoder", "prompt"), side_of([[4, 3, 2]], 12)
    kept = Side(*(torch.zeros(1, 9 + 3 * 3, dtype=torch.long) for _ in range(3)))
    start = 0
    for number in (1, 2, 3):
        here = side.segments[0] == number
        where = slice(start + 3, start + 3 + int(here.sum()))
        for ours, theirs in ((kept.ids, side.ids), (kept.positions, side.positions), (kept.segments, side.segments)):
            ours[0, where] = theirs[0, here]
        start = where.stop
    wide = model.leads.before(Batch(target=kept), kept, first=True).side
    assert wide.ids.shape == kept.ids.shape
    last = [model(Batch(target=s)).last[0][s.segments[0] > 0] for s in (side, kept)]
    assert float((last[0] - last[1]).detach().abs().max()) <= 1e-12


def test_positions_are_asked_for_before_the_first_step() -> None:
    model = model_of("decoder")
    told = refusal("E-POSITION", PromptTuning(length=40).attach, model, Noise(0))
    assert "at most 39" in told
    refusal("E-POSITION", PrefixTuning(length=60).attach, model, Noise(0))
    PrefixTuning(length=30).attach(model, Noise(0))
    assert model.room == 10
    model.check_length(10)
    assert "30 of which stand before" in refusal("E-POSITION", model.check_length, 11)
    refusal("E-CONFIG", PromptTuning(length=1).attach, model, Noise(0))
    prompts = [np.array([1, 2, 3])]
    refusal("E-POSITION", generate, model, prompts, max_new_tokens=8)


def test_nothing_is_cached_below_what_stands_before() -> None:
    for method in ("prompt", "prefix"):
        model = led("decoder", method)
        assert frozen_depth(model, {name: 1.0 for name, _ in model.leads.named_parameters(prefix="leads")}) is None
    assert led("decoder", "prompt").cuts is False


def test_a_head_may_read_the_first_vector_as_peft_has_it() -> None:
    side = Side.of(torch.tensor([[5, 6, 7]]))
    states = []
    for pooled in ("token", "prompt"):
        model = model_of("encoder")
        PromptTuning(length=2, pooled=pooled, start="text", ids=((3,), (4,))).attach(model, Noise(0))
        states.append(model(Batch(source=side)).last[0].detach())
    whole = model_of("encoder")(Batch(source=Side.of(torch.tensor([[3, 4, 5, 6, 7]])))).last[0].detach()
    assert torch.allclose(states[0], whole[2:], atol=1e-13)
    assert torch.allclose(states[1], whole[[0, 3, 4]], atol=1e-13)


def test_attention_is_shown_over_the_tokens_alone() -> None:
    for shape in SHAPES:
        for method in ("prompt", "prefix"):
            model, side = led(shape, method), side_of([[4, 3]], 9)
            kept = model(batch_of(shape, side, side), keep=Keep(attention=True))
            bare = [shape == "both" and method == "prompt" and n % 2 == 0 for n in range(len(kept.attention))]
            for weights, sums in zip((*kept.attention, *kept.encoder_attention), (*bare, False, False), strict=False):
                assert weights.shape[2:] == (9, 9)
                shares, first = weights[0].sum(-1), (side.segments[0] > 0) & (side.positions[0] == 0)
                # tokens behind a window may see no vector, and a decoder's over itself has none before its source's
                assert (shares[:, first] < 1 - 1e-9).all() or sums
                assert (shares[:, side.segments[0] > 0] <= 1 + 1e-9).all()

"""A decoder that reads an encoder: examples lie in the same row and segment on both sides, and nothing else is seen.

Each law of one tower (packing, padding, gradients, caches, dropout, recomputation) is asked again across two.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_small import packed

from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    Batch,
    Buckets,
    Cache,
    Dropout,
    FeedForward,
    Keep,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Side,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.model import Tokens as TokenTable
from modeledge.model.draw import Draw, Mask, dropping
from modeledge.seed import Noise

VOCAB = 31
NO_BIAS = Attention(heads=2, head_width=6, bias=False, scale=1.0)
T5 = Stack(
    layers=2,
    attention=NO_BIAS,
    feedforward=FeedForward(width=20, kind="geglu_tanh", bias=False),
    norm=Norm(kind="rms", eps=1e-6),
    position=Buckets(count=8, distance=9),
)
BART = Stack(
    layers=2,
    attention=Attention(heads=4),
    feedforward=FeedForward(width=24),
    norm=Norm(place="post"),
    position=Learned(length=26, offset=2),
)
MODERN = Stack(
    layers=2,
    attention=Attention(heads=4, kv_heads=2, qk_norm="head", windows=(None, 3), softcap=4.0),
    feedforward=FeedForward(width=24, kind="swiglu"),
    norm=Norm(kind="rms", place="around"),
    position=Rotary(),
)
CONFIGS = {
    "t5": TransformerConfig(width=16, embed=TokenTable(vocab=VOCAB), encoder=T5, decoder=replace(T5, layers=3)),
    "bart": TransformerConfig(
        width=16, embed=TokenTable(vocab=VOCAB, norm=True, scale=4.0), encoder=BART, decoder=replace(BART, layers=1)
    ),
    "mixed": TransformerConfig(
        width=16,
        embed=TokenTable(vocab=VOCAB, types=2, width=10),
        target_embed=TokenTable(vocab=VOCAB, norm=True, width=10, scale=2.0),
        encoder=BART,
        decoder=MODERN,
    ),
    "shared": TransformerConfig(
        width=16, embed=TokenTable(vocab=VOCAB, norm=True, types=2), encoder=BART, decoder=BART, share_sides=True
    ),
    "shared t5": TransformerConfig(width=16, embed=TokenTable(vocab=VOCAB), encoder=T5, decoder=T5, share_sides=True),
}
each_kind = pytest.mark.parametrize("kind", CONFIGS)
SOURCES, TARGETS = [[5, 2, 4], [1, 7]], [[3, 6, 1], [8, 2]]  # the examples of two rows, as long as this on each side


def build(kind: str, rates: Dropout | None = None, below: Dropout | None = None) -> Transformer:
    """Weights of order 1 and no vector at its neutral start; dropout rates of both sides, or of each."""
    config = CONFIGS[kind]
    if rates is not None:
        assert config.encoder is not None
        assert config.decoder is not None
        encoder = replace(config.encoder, dropout=rates if below is None else below)
        config = replace(config, encoder=encoder, decoder=replace(config.decoder, dropout=rates))
    model, draw = Transformer(config, seed=3), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model


def batch(sources: list[list[int]] = SOURCES, targets: list[list[int]] = TARGETS, seq: int = 13) -> Batch:
    return Batch(source=packed(sources, seq, 1, vocab=VOCAB), target=packed(targets, seq, 2, vocab=VOCAB))


def part(side: Side, row: int, number: int) -> torch.Tensor:
    """The ids of one example."""
    return side.ids[row][side.segments[row] == number]


@each_kind
@pytest.mark.parametrize("grad", [False, True])
def test_a_packed_row_is_its_examples_one_by_one(kind: str, grad: bool) -> None:
    """With gradients the dense products, without the fused kernel."""
    model, both = build(kind), batch()
    assert both.source is not None
    assert both.target is not None
    with torch.set_grad_enabled(grad):
        states = model(both, keep=Keep(layers=True))
        for row, lengths in enumerate(TARGETS):
            for number in range(1, len(lengths) + 1):
                source, target = part(both.source, row, number), part(both.target, row, number)
                alone = model(Batch(source=Side.of(source[None]), target=Side.of(target[None])), keep=Keep(layers=True))
                for one, whole, side in (
                    (alone.layers, states.layers, both.target),
                    (alone.encoder_layers, states.encoder_layers, both.source),
                ):
                    for mine, theirs in zip(one, whole, strict=True):
                        torch.testing.assert_close(
                            mine[0], theirs[row][side.segments[row] == number], rtol=1e-5, atol=1e-5
                        )


@each_kind
def test_what_stands_under_padding_changes_no_bit(kind: str) -> None:
    model, both = build(kind), batch()
    told = model(both)

    def other(side: Side | None) -> Side:
        assert side is not None
        return replace(side, ids=torch.where(side.segments > 0, side.ids, (side.ids + 7) % VOCAB))

    found = model(replace(both, source=other(both.source), target=other(both.target)))
    for side, mine, theirs in ((both.target, found.last, told.last), (both.source, found.encoder, told.encoder)):
        assert side is not None
        assert torch.equal(mine[side.segments > 0], theirs[side.segments > 0])


@each_kind
def test_wider_rows_change_nothing(kind: str) -> None:
    """Source and target may be padded to different widths."""
    model, draw = build(kind), torch.Generator().manual_seed(0)
    below, above = (torch.randint(0, VOCAB, (2, n), generator=draw) for n in (6, 4))
    lengths = torch.tensor([6, 3]), torch.tensor([2, 4])
    told = model(Batch(source=Side.of(below, lengths[0]), target=Side.of(above, lengths[1]))).last
    wide = [torch.cat((ids, torch.full((2, n), 5)), 1) for ids, n in ((below, 1), (above, 9))]
    found = model(Batch(source=Side.of(wide[0], lengths[0]), target=Side.of(wide[1], lengths[1]))).last
    for row, length in enumerate(lengths[1]):
        torch.testing.assert_close(found[row, :length], told[row, :length], rtol=1e-5, atol=1e-5)


@each_kind
def test_no_gradient_crosses_an_example(kind: str) -> None:
    """Every example has ids of its own on each side: the rows of the tables that a gradient reaches say what it saw."""
    model, both = build(kind), batch()
    assert both.source is not None
    assert both.target is not None

    def own(side: Side, first: int) -> Side:
        return replace(
            side, ids=torch.where(side.segments > 0, first + side.segments + 3 * torch.arange(2)[:, None], 0)
        )

    both = replace(both, source=own(both.source, 0), target=own(both.target, 10))
    assert both.source is not None
    assert both.target is not None
    for row, lengths in enumerate(TARGETS):
        for number in range(1, len(lengths) + 1):
            model.zero_grad()
            model(both).last[row][both.target.segments[row] == number].pow(3).sum().backward()
            read = {10 + number + 3 * row, number + 3 * row}
            reached: set[int] = set()
            for table in (model.tokens, model.target_tokens):
                if table is not None and table.grad is not None:
                    reached |= set(table.grad.any(1).nonzero().flatten().tolist())
            assert reached == read


@each_kind
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_reading_in_pieces_is_reading_at_once(kind: str, ragged: bool, weights: bool) -> None:
    model, draw = build(kind).eval(), torch.Generator().manual_seed(0)
    below, above = (torch.randint(0, VOCAB, (3, n), generator=draw) for n in (7, 9))
    source = Side.of(below, torch.tensor([7, 2, 5]) if ragged else None)
    target = Side.of(above)
    told = model(Batch(source=source, target=target), keep=Keep(attention=weights))
    cache, parts, seen = Cache.empty(model.config, 3, 9, torch.float32), [], []
    with torch.no_grad():
        for start, stop in ((0, 1), (1, 4), (4, 5), (5, 9)):
            piece = Side(
                above[:, start:stop], target.positions[:, start:stop], target.segments[:, start:stop], whole=True
            )
            states = model(Batch(source=source if start == 0 else None, target=piece), cache, Keep(attention=weights))
            cache = states.cache
            parts.append(states.last)
            seen.append(states.attention)
    torch.testing.assert_close(torch.cat(parts, 1), told.last, rtol=1e-5, atol=1e-5)
    if weights:  # each layer's own weights, then those over the source
        assert len(told.attention) == 2 * CONFIGS[kind].stack.layers
        for layer in range(1, len(told.attention), 2):
            over = torch.cat([piece[layer] for piece in seen], 2)
            torch.testing.assert_close(over, told.attention[layer], rtol=1e-5, atol=1e-5)
            assert over.shape[-1] == 7
            assert not ragged or float(over[1, :, :, 2:].max()) == 0


@each_kind
def test_rows_leave_a_cache(kind: str) -> None:
    model, draw = build(kind).eval(), torch.Generator().manual_seed(0)
    below, above = (torch.randint(0, VOCAB, (4, n), generator=draw) for n in (5, 3))
    lengths, keep = torch.tensor([5, 2, 4, 3]), torch.tensor([3, 1])
    source, target = Side.of(below, lengths), Side.of(above)
    whole = model(Batch(source=source, target=target)).last[keep, 2:]
    first, last = (
        Side(above[:, where], target.positions[:, where], target.segments[:, where], whole=True)
        for where in (slice(0, 2), slice(2, 3))
    )
    with torch.no_grad():
        cache = model(Batch(source=source, target=first), Cache.empty(model.config, 4, 3, torch.float32)).cache
        left = Side(last.ids[keep], last.positions[keep], last.segments[keep], whole=True)
        found = model(Batch(target=left), cache.rows(keep)).last
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


def test_an_empty_cache_serves_two_sources() -> None:
    """A cache is a value: what one text left behind is not read by the next."""
    model, empty = build("t5").eval(), Cache.empty(CONFIGS["t5"], 1, 2, torch.float32)
    target = Side.of(torch.tensor([[4, 5]]))
    with torch.no_grad():
        for ids in ([[1, 2, 3]], [[9, 8, 7]]):
            both = Batch(source=Side.of(torch.tensor(ids)), target=target)
            torch.testing.assert_close(model(both, empty).last, model(both).last, rtol=1e-5, atol=1e-5)


def test_a_source_must_be_there() -> None:
    model, target = build("t5").eval(), Side.of(torch.tensor([[4, 5]]))
    with pytest.raises(ModeledgeError, match="E-NO-TARGET"):
        model(Batch(target=target))
    with pytest.raises(ModeledgeError, match="E-NO-TARGET"):
        model(Batch(target=target), Cache.empty(CONFIGS["t5"], 1, 2, torch.float32))


RATES = Dropout(embed=0.1, hidden=0.2, attention=0.3, inner=0.2, last=0.1)


@each_kind
def test_recomputed_blocks_change_no_gradient(kind: str) -> None:
    """Bitwise, with dropout on."""
    model, both = build(kind, RATES), batch()
    assert both.target is not None
    real = both.target.segments > 0

    def run() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        with dropping(Noise(1)):
            last = model(both).last[real]
            (last * torch.linspace(-1, 1, 16)).sum().backward()
        return last.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    told, plain = run()
    model.checkpoint_blocks()
    assert (model.source_tower or model.tower).checkpointing
    found, recomputed = run()
    assert torch.equal(found, told)
    assert plain.keys() == recomputed.keys() == {n for n, _ in model.named_parameters()}
    assert all(torch.equal(gradient, recomputed[name]) for name, gradient in plain.items())


@each_kind
def test_the_sides_draw_different_masks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sites that shared a key would drop the same units."""
    seen: list[tuple[Noise | None, str]] = []

    def noted(self: Draw, like: torch.Tensor, rate: float, site: str) -> Mask:
        seen.append((self.noise, site))
        return Mask(like * 0 + 1, 1.0)

    model = build(kind, RATES)
    monkeypatch.setattr(Draw, "mask", noted)
    with dropping(Noise(1)):
        model(batch())
    config = model.config
    assert config.encoder is not None
    assert config.decoder is not None
    keys = {None if noise is None else noise.at(site).integer() for noise, site in seen}
    lasts = sum(s.norm.place != "post" for s in (config.encoder, config.decoder))
    assert len(keys) == len(seen) == 2 + 4 * config.encoder.layers + 6 * config.decoder.layers + lasts


@pytest.mark.parametrize("rate", ["embed", "hidden", "attention", "inner", "last"])
def test_each_side_drops_at_its_own_rate(rate: str) -> None:
    both, none, half = batch(), Dropout(), Dropout(**{rate: 0.5})
    told = build("t5")(both)
    with dropping(Noise(1)):
        below, above = (model(both) for model in (build("t5", none, half), build("t5", half, none)))
    assert not torch.equal(below.encoder, told.encoder)
    assert torch.equal(above.encoder, told.encoder)
    assert not torch.equal(above.last, told.last)


@each_kind
def test_what_is_kept_of_both_sides(kind: str) -> None:
    model, config = build(kind), CONFIGS[kind]
    assert config.encoder is not None
    states = model(batch(), keep=Keep(layers=True, attention=True))
    assert len(states.layers) == config.stack.layers + 1
    assert len(states.encoder_layers) == config.encoder.layers + 1
    assert len(states.encoder_attention) == config.encoder.layers
    assert torch.equal(states.encoder_layers[-1], states.encoder)
    assert torch.equal(states.layers[-1], states.last)
    assert model(batch()).layers == ()


def test_types_stand_on_the_side_of_the_source() -> None:
    model, both = build("mixed"), batch()
    assert both.source is not None
    assert both.target is not None
    typed = replace(both, source=replace(both.source, types=torch.ones_like(both.source.ids)))
    assert not torch.equal(model(typed).last, model(both).last)
    with pytest.raises(AssertionError, match="no token types"):
        model(replace(both, target=replace(both.target, types=torch.ones_like(both.target.ids))))


def test_sites_are_on_both_sides_and_between_them() -> None:
    model = build("t5")
    paths = [site.path for site in model.sites("value")]
    assert paths == [
        *(f"source_tower.blocks.{n}.attention.value" for n in range(2)),
        *(f"tower.blocks.{n}.{part}.value" for n in range(3) for part in ("attention", "cross")),
    ]
    for kind in ("query", "key", "value", "attention_output"):
        for site in model.sites(kind):
            assert model.get_submodule(site.path) is site.module
            assert site.rows == slice(0, len(site.module.weight))
    assert len(model.sites("up")) == 5


def test_a_fixed_bias_counts_and_is_not_learned() -> None:
    model = build("bart")
    model.add_heads({"lm": LMHead(bias="fixed")}, Noise(0))
    head, both = model.heads["lm"], batch()
    last = model(both).last
    told = model.logits(last)
    assert torch.equal(head.bias, torch.zeros(VOCAB))
    head.bias += torch.arange(VOCAB)
    torch.testing.assert_close(model.logits(last), told + torch.arange(VOCAB))
    assert "heads.lm.bias" in model.state_dict()
    assert "heads.lm.bias" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    "table", [TokenTable(vocab=5), TokenTable(vocab=5, width=8, types=2), TokenTable(vocab=5, width=9)]
)
def test_the_second_table_is_as_wide_as_the_first(table: TokenTable) -> None:
    with pytest.raises(ModeledgeError, match="second table"):
        TransformerConfig(
            width=16, embed=TokenTable(vocab=VOCAB, width=8), target_embed=table, encoder=BART, decoder=BART
        )


@pytest.mark.parametrize(("tower", "buckets"), [("decoder", (8, 4)), ("encoder", (8, 2)), ("encoder", (3, 99))])
def test_buckets_have_room_for_far_distances(tower: str, buckets: tuple[int, int]) -> None:
    """A decoder's buckets all look back: half of them hold one distance each, of an encoder's only a quarter."""
    stack = replace(T5, position=Buckets(count=buckets[0], distance=buckets[1]))
    with pytest.raises(ModeledgeError, match=r"position\."):
        replace(CONFIGS["t5"], **{tower: stack})

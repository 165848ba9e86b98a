"""Methods on linear maps: which sites, side by side, in and out of the weights, and what they must not cost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from adapt_small import NOW, SEED, SHAPES, attached, batch_of, build, examples, refusal, scores, step_of, stir, weights
from torch.utils._python_dispatch import TorchDispatchMode

from modeledge.adapt import IA3, AdaLora, Clock, Dora, LoKr, Lora, Strategy, apply_moving, compose
from modeledge.adapt.graft import activate, added_by, all_grafts, prune
from modeledge.model import Keep
from modeledge.model.linear import Linear
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

BOTH = pytest.mark.parametrize("shape", SHAPES)


def sites(model: Transformer, name: str = "default") -> set[str]:
    return {added.site.name for added in added_by(model, name)}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("query", {f"tower.blocks.{n}.attention.qkv:query" for n in range(3)}),
        ("tower.blocks.1.*:up,value", {f"tower.blocks.{n}.attention.qkv:value" for n in range(3)}
         | {"tower.blocks.1.feedforward.up:up"}),
        (r"re:.*\.[02]\..*:down", {f"tower.blocks.{n}.feedforward.down:down" for n in (0, 2)}),
        (["*.blocks.2.feedforward.gate"], {"tower.blocks.2.feedforward.gate:gate"}),
    ],
)  # fmt: skip
def test_words_name_sites(words: Any, wanted: set[str]) -> None:
    step, _ = attached("decoder", Lora(sites=words))
    assert sites(step.model) == wanted


def test_single_sites_have_their_own_rank() -> None:
    step, _ = attached("encoder", Lora(rank=4, alpha=8.0, rank_pattern={"*:up": 2}, alpha_pattern={"query": 2.0}))
    found = {(one.site.kind, one.rank, one.scale) for one in added_by(step.model, "default")}  # type: ignore[attr-defined]
    assert found == {
        ("query", 4, 0.5),
        ("up", 2, 4.0),
        *((k, 4, 2.0) for k in ("key", "value", "attention_output", "down")),
    }


def test_what_cannot_be_is_refused() -> None:
    model = step_of("encoder").model

    def attach(strategy: Strategy) -> None:
        strategy.attach(model, Noise(1))

    assert "tower.blocks.0.attention.query:query" in refusal("E-SITE", attach, Lora(sites="decoder.*"))
    assert "names no site" in refusal("E-SITE", attach, Lora(sites="query,gate"))
    assert "tower.blocks" in refusal("E-SITE", attach, Lora(rank_pattern={"*.h.*": 2}))
    assert "smaller side" in refusal("E-SITE", attach, Lora(rank=9))
    assert not sites(model), "a refused adapter left something behind"
    assert "query" in refusal("E-SITE", Lora, sites="querry")
    for fields in ({"rank": 0}, {"alpha": 0.0}, {"alpha": -1.0}, {"dropout": 1.0}, {"sites": ""}, {"name": "a.b"}):
        refusal("E-CONFIG-VALUE", Lora, **fields)
    refusal("E-CONFIG-VALUE", Lora, rank_pattern={"query": 0})
    refusal("E-CONFIG-VALUE", Lora, sites="re:(")
    refusal("E-CONFIG-VALUE", LoKr, factor=1)
    refusal("E-CONFIG", AdaLora, rank=2, target=3)
    attach(Lora(rank=2))
    refusal("E-CONFIG", attach, Lora(rank=2))
    refusal("E-CONFIG", attach, Dora(rank=2, sites="down"))
    refusal("E-CONFIG", AdaLora(rank=2, target=1, tinit=2).penalty, model, NOW)
    refusal("E-CONFIG", Lora(name="other").moving, model, NOW)


def test_a_map_of_several_kinds_is_changed_at_its_own_rows() -> None:
    step, _ = attached("decoder", Lora(sites="query,value", rank=2, alpha=3.0))
    model = step.model
    stir(step, Lora().added(model))
    block = model.tower.blocks[1].attention
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = block.qkv(x) - torch.nn.functional.linear(x, block.qkv.weight)
        at = {one.site.kind: one for one in added_by(model, "default") if one.site.module is block.qkv}
        parts = found.split(8, -1)
        for kind, part in zip(("query", "key", "value"), parts, strict=True):
            if kind == "key":
                assert not part.any()
            else:
                torch.testing.assert_close(part, 1.5 * x @ at[kind].lora_A.T @ at[kind].lora_B.T)  # type: ignore


@BOTH
def test_adapters_live_side_by_side(shape: str) -> None:
    one, two = Lora(rank=2, name="one"), Dora(rank=2, name="two", sites="up")
    step, rates = attached(shape, one, two)
    assert set(one.added(step.model)) | set(two.added(step.model)) <= rates.keys(), "they train together"
    alone = compose([one], step.model, NOW)
    assert not alone.keys() & set(two.added(step.model)), "what no strategy brought stays as it is"
    batch = batch_of(step, examples())
    plain = scores(step_of(shape), batch)
    stir(step, [*one.added(step.model), *two.added(step.model)])
    both = scores(step, batch)
    activate(step.model, ["one"])
    first = scores(step, batch)
    activate(step.model, [])
    assert torch.equal(scores(step, batch), plain)
    activate(step.model, ["one", "two"])
    assert torch.equal(scores(step, batch), both)
    assert len({float(x.sum()) for x in (plain, first, both)}) == 3
    refusal("E-SITE", activate, step.model, ["three"])
    prune(step.model, "two")
    assert torch.equal(scores(step, batch), first)
    prune(step.model, "one")
    assert torch.equal(scores(step, batch), plain)
    assert not list(all_grafts(step.model))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in step.model.modules())


@BOTH
@pytest.mark.parametrize("kind", ["lora", "dora", "adalora", "loha", "lokr", "ia3", "vera"])
def test_unmerging_gives_the_same_bits(shape: str, kind: str) -> None:
    strategy = build(kind, {} if kind == "ia3" else {"rank": 2, **({"target": 2} if kind == "adalora" else {})})
    step, _ = attached(shape, strategy)
    batch = batch_of(step, examples())
    refusal("E-MERGE", strategy.unmerge, step.model)  # type: ignore[attr-defined]
    stir(step, strategy.added(step.model))  # type: ignore[attr-defined]
    before, kept = scores(step, batch), weights(step.model)
    strategy.merge(step.model)
    refusal("E-MERGE", strategy.merge, step.model)
    strategy.unmerge(step.model)  # type: ignore[attr-defined]
    after = weights(step.model)
    assert kept.keys() == after.keys()
    assert all(torch.equal(kept[name], after[name]) for name in kept)
    assert torch.equal(scores(step, batch), before)


def test_merging_is_refused_where_it_would_change_what_another_adapter_makes() -> None:
    lora, ia3, more = Lora(rank=2), IA3(name="loud"), Lora(rank=2, name="more")
    step, _ = attached("encoder", lora, ia3, more)
    assert "only add" in refusal("E-MERGE", lora.merge, step.model)
    activate(step.model, ["loud", "more"])
    assert "does not act" in refusal("E-MERGE", lora.merge, step.model)
    activate(step.model, ["default", "more"])
    batch = batch_of(step, examples())
    stir(step, [*lora.added(step.model), *more.added(step.model)])
    before = scores(step, batch)
    lora.merge(step.model)
    torch.testing.assert_close(scores(step, batch), before, atol=1e-5, rtol=0)


@BOTH
def test_nothing_flows_below_the_lowest_moving_layer(shape: str) -> None:
    strategy = Lora(sites="tower.blocks.2.*", rank=2)
    step, _ = attached(shape, strategy)
    layers = step.model(batch_of(step, examples()), keep=Keep(layers=True)).layers
    assert [x.requires_grad for x in layers] == [False, False, False, True]


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_of_a_frozen_weight_is_computed(shape: str, dtype: torch.dtype) -> None:
    """Every result of the backward pass, of whatever operation: none has a frozen matrix's shape, cast or not."""
    step, rates = attached(shape, Lora(rank=2))
    step.model.compute = dtype
    batch = batch_of(step, examples()[:4])
    loss = step(batch, Noise(1)).value(step.objective.weights(batch))
    frozen = {p.shape for n, p in step.model.tower.blocks.named_parameters() if "grafts" not in n and p.ndim == 2}
    frozen |= {torch.Size((24, 8))}  # queries, keys and values as one
    heads = {p.shape for p in step.model.heads.parameters()}
    assert not frozen & {p.shape for n, p in step.model.named_parameters() if n in rates} - heads
    with Results() as results:
        loss.backward()
    assert len(results.shapes) > 50
    wanted = [s for s in results.products if s in frozen and s not in heads]
    assert not wanted


class Results(TorchDispatchMode):
    """The shapes of all matrix products, and of all results, within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []
        self.products: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.shapes.append(out.shape)
            if "mm" in func.__name__:
                self.products.append(out.shape)
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_drawn_from_the_noise_and_again_when_recomputed(dtype: torch.dtype) -> None:
    def gradients(noise: int, recompute: bool) -> list[torch.Tensor]:
        step, _ = attached("encoder", Lora(rank=2, dropout=0.4))
        step.model.compute = dtype
        step.model.checkpoint_blocks(recompute)
        stir(step, Lora().added(step.model))
        batch = batch_of(step, examples())
        step(batch, Noise(noise)).value(step.objective.weights(batch)).backward()
        return [p.grad for p in step.model.parameters() if p.grad is not None]

    one, again, other = gradients(1, False), gradients(1, True), gradients(2, False)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@BOTH
def test_kept_working_copies_change_nothing(shape: str) -> None:
    """bf16 with frozen weights, twice: what is cast once equals what is cast each time."""
    step, _ = attached(shape, Lora(rank=2))
    step.model.compute = torch.bfloat16
    stir(step, Lora().added(step.model))
    batch = batch_of(step, examples())

    def gradients() -> list[torch.Tensor]:
        step(batch, Noise(1)).value(step.objective.weights(batch)).backward()
        out = [p.grad.clone() for p in step.model.parameters() if p.requires_grad and p.grad is not None]
        step.zero_grad()
        return out

    def keeps() -> list[Any]:
        every = [m.working for m in step.model.modules() if isinstance(m, Linear)]
        return [w for w in every if w.copy is not None]

    first, names = gradients(), set(step.state_dict())
    assert keeps()
    assert names == set(step.state_dict())
    copies = [w.copy for w in keeps()]
    second = gradients()
    assert all(a is w.copy for a, w in zip(copies, keeps(), strict=True)), "cast again"
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        for parameter in step.model.parameters():
            parameter.mul_(1.5)
    changed = gradients()
    step.model.load_state_dict(copy.deepcopy(step.model).state_dict())
    fresh = copy.deepcopy(step)
    apply_moving(fresh.model, {n: 1.0 for n, p in step.model.named_parameters() if p.requires_grad})
    step = fresh
    assert all(torch.equal(a, b) for a, b in zip(changed, gradients(), strict=True)), "a stale copy was used"
    assert not all(torch.equal(a, b) for a, b in zip(changed, first, strict=True))


def test_a_moving_weight_is_cast_at_every_use() -> None:
    layer = Linear(3, 2)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    x = torch.ones(1, 3, dtype=torch.bfloat16)
    layer(x)
    assert layer.working.copy is None
    layer.requires_grad_(False)
    assert float(layer(x).sum()) == 6.0
    assert layer.working.copy is not None
    layer.weight.data = 2 * layer.weight.data  # another storage under the same version
    assert float(layer(x).sum()) == 12.0
    assert layer(x.float()).dtype is torch.float32


def adalora_run(steps: range, step: Any, strategy: AdaLora, batch: Any) -> None:
    for number in steps:
        clock = Clock(number, 8, 0.0)
        loss = step(batch, Noise(SEED).at("step", number)).value(step.objective.weights(batch))
        (loss + strategy.penalty(step.model, clock)).backward()
        with torch.no_grad():
            for parameter in step.model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.3 * parameter.grad
        strategy.after_step(step.model, clock)
        step.zero_grad()


def test_the_budget_goes_on_from_a_checkpoint_bit_for_bit() -> None:
    strategy = AdaLora(rank=3, target=1, tinit=1, tfinal=2, delta_t=2)
    whole, _ = attached("encoder", strategy)
    batch = batch_of(whole, examples())
    adalora_run(range(4), whole, strategy, batch)
    saved = {name: value.clone() for name, value in whole.state_dict().items()}
    adalora_run(range(4, 8), whole, strategy, batch)
    resumed, _ = attached("encoder", strategy, seed=99)
    resumed.load_state_dict(saved)
    adalora_run(range(4, 8), resumed, strategy, batch)
    end, other = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(end[name], other[name]) for name in end)
    kept = [one.kept for one in strategy.triplets(whole.model)]
    assert sum(int(k.sum()) for k in kept) == len(kept), "the budget is reached"
    assert len({int(k.sum()) for k in kept}) > 1, "and is not the same everywhere"
    for one in strategy.triplets(whole.model):
        assert not one.lora_E[~one.kept].any()

"""Many adapters on one model: swapped, added up, mixed in one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapt_small import SHAPES, batch_of, examples, refusal, step_of
from peft_small import adapted, our_scores, shaken, written

from modeledge.adapt.blend import blend
from modeledge.adapt.graft import activate, prune
from modeledge.adapt.route import routed
from modeledge.model import Batch, Side
from modeledge.recipes.adapters.shelf import Adapters
from modeledge.recipes.adapters.write import save_adapter
from modeledge.recipes.store.open import open_model

METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"rank": 2}),
    ("dora", {"rank": 2, "sites": "query,value,down"}),
    ("ia3", {}),
    ("lokr", {"rank": 2}),
)


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("shape", SHAPES)
def test_each_example_of_a_batch_has_its_own_adapter(shape: str) -> None:
    """The same states as with each adapter alone on the whole batch, for packed rows."""
    model = step_of(shape).model.eval()
    batch = batch_of(step_of(shape), examples())
    for number, (kind, fields) in enumerate(METHODS):
        adapted(model, kind, name=f"a{number}", **fields)
    names: list[str | None] = [*(f"a{n}" for n in range(len(METHODS))), None]
    owners = {int(i): names[n % len(names)] for n, i in enumerate(batch.indices)}
    assert len(batch.side.ids) < len(owners), "rows hold several examples"
    with torch.no_grad():
        with routed(model, batch, owners):
            mixed = model(batch).last
        alone = {}
        for name in names:
            activate(model, [name] if name else [])
            alone[name] = model(batch).last
    for (row, start, end), index in zip(batch.spans.tolist(), batch.indices.tolist(), strict=True):
        told, wanted = mixed[row, start:end], alone[owners[index]][row, start:end]
        assert (told - wanted).abs().max() <= 1e-6
    assert (alone["a0"] - alone[None]).abs().max() > 1e-3


def test_a_source_is_routed_with_its_answer(tmp_path: Path) -> None:
    model = open_model(written("t5", tmp_path)).eval()
    for name in ("a", "b"):
        adapted(model, "lora", rank=2, name=name)
        shaken((n, p + 0) for n, p in model.named_parameters() if f".{name}:" in n)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if ".b:" in n:
                p.neg_()
    ids = torch.arange(2, 18).reshape(2, 8)
    batch = Batch(
        source=Side.of(ids),
        target=Side.of(ids[:, :4]),
        spans=torch.tensor([[0, 0, 4], [1, 0, 4]]),
        indices=torch.tensor([0, 1]),
    )
    with torch.no_grad():
        with routed(model, batch, {0: "a", 1: "b"}):
            mixed = model(batch).last
        for row, name in enumerate("ab"):
            activate(model, [name])
            assert (model(batch).last[row] - mixed[row]).abs().max() <= 1e-6
    assert (mixed[0] - mixed[1]).abs().max() > 1e-3


def test_what_cannot_be_routed() -> None:
    model, batch = step_of("encoder").model, batch_of(step_of("encoder"), examples())
    adapted(model, "lora", rank=2, name="a")
    everyone = {int(i): "a" for i in batch.indices}
    refusal("E-SITE", routed(model, batch, dict.fromkeys(everyone, "b")).__enter__)
    refusal("E-USAGE", routed(model, batch, {}).__enter__)


def test_sums_are_exact_and_the_nearest_of_a_rank() -> None:
    model, batch = step_of("decoder").model.eval(), batch_of(step_of("decoder"), examples())
    adapted(model, "lora", rank=2, name="a")
    adapted(model, "lora", rank=3, name="b", alpha=5.0, sites="query,up")
    blend(model, "same", {"a": 1.0, "b": 1.0})
    with torch.no_grad():
        told = model(batch).last
        activate(model, ["a", "b"])
        assert (model(batch).last - told).abs().max() <= 1e-5
        blend(model, "cut", {"a": 0.5, "b": -2.0}, rank=5)
        cut = model(batch).last
        blend(model, "whole", {"a": 0.5, "b": -2.0})
        assert (model(batch).last - cut).abs().max() <= 1e-4, "rank 5 is that of the sum"
        blend(model, "small", {"a": 0.5, "b": -2.0}, rank=1)
        assert (model(batch).last - cut).abs().max() > 1e-3
    adapted(model, "ia3", name="c")
    refusal("E-ADAPTER", blend, model, "no", {"a": 1.0, "c": 1.0})
    refusal("E-SITE", blend, model, "no", {"z": 1.0})


def test_a_shelf_swaps_adapters_with_their_heads(tmp_path: Path) -> None:
    base = written("bert", tmp_path / "base")
    told = {}
    for number, kind in enumerate(("lora", "dora")):
        model = adapted(open_model(base), kind, rank=2)
        with torch.no_grad():
            model.heads["class"].output.weight.mul_(2.0 + number)
        told[kind] = our_scores("bert", model)
        save_adapter(model, tmp_path / kind, base=base)
    model = open_model(base)
    plain, before = our_scores("bert", model), {n: p.clone() for n, p in model.named_parameters()}
    shelf = Adapters(model)
    for kind in told:
        shelf.load(tmp_path / kind, kind, say=quiet)
    for kind in ("lora", "dora", "lora"):
        shelf.use(kind)
        assert (our_scores("bert", model) - told[kind]).abs().max() <= 1e-5
    shelf.use()
    assert torch.equal(our_scores("bert", model), plain)
    refusal("E-CONFIG", shelf.load, tmp_path / "lora", "lora", say=quiet)
    refusal("E-SITE", shelf.use, "lara")
    shelf.drop("lora")
    shelf.drop("dora")
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


NAN = float("nan")


@pytest.mark.parametrize(
    ("code", "name", "weights", "rank"),
    [
        ("E-CONFIG", "p", {"a": 0.5, "b": 0.5}, None),
        ("E-CONFIG", "a", {"b": 1.0}, None),
        ("E-CONFIG", "b", {"a": 0.5, "b": 0.5}, None),
        ("E-CONFIG-VALUE", "z.q", {"a": 1.0}, None),
        ("E-CONFIG-VALUE", "", {"a": 1.0}, None),
        ("E-CONFIG-VALUE", "z", {}, None),
        ("E-CONFIG-VALUE", "z", {"a": 1.0}, 0),
        ("E-CONFIG-VALUE", "z", {"a": 1.0}, -1),
        ("E-CONFIG-VALUE", "z", {"a": 1.0}, 1.5),
        ("E-CONFIG-VALUE", "z", {"a": NAN}, None),
        ("E-CONFIG-VALUE", "z", {"a": "1"}, None),
        ("E-SITE", "z", {"a": 1.0, "none": 1.0}, None),
    ],
)
def test_a_sum_is_made_whole_or_nothing_changes(
    tmp_path: Path, code: str, name: str, weights: dict[str, Any], rank: Any
) -> None:
    """Names that are taken (by a prompt, by a LoRA at other sites, by a part), that are none, numbers without sense."""
    base = written("bert", tmp_path / "base")
    shelf = Adapters(open_model(base))
    for one, kind, fields in (
        ("a", "lora", {"rank": 2, "sites": "query"}),
        ("b", "lora", {"rank": 2, "sites": "query,up"}),
        ("p", "prompt", {"length": 2}),
    ):
        save_adapter(adapted(open_model(base), kind, **fields), tmp_path / one, base=base)
        shelf.load(tmp_path / one, one, say=quiet)
    shelf.use("a")
    told, before = our_scores("bert", shelf.model), dict(shelf.model.named_parameters())
    refusal(code, shelf.blend, name, weights, rank=rank)
    refusal("E-CONFIG-VALUE", shelf.load, tmp_path / "a", "x.y", say=quiet)
    after = dict(shelf.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[n] is before[n] for n in before)
    assert torch.equal(our_scores("bert", shelf.model), told)


def test_a_name_of_an_adapter_that_is_not_on_the_shelf_is_taken_too(tmp_path: Path) -> None:
    base = written("bert", tmp_path / "base")
    model = adapted(open_model(base), "lora", rank=2)
    save_adapter(model, tmp_path / "a", base=base)
    before = dict(model.named_parameters())
    shelf = Adapters(model)
    refusal("E-CONFIG", shelf.load, tmp_path / "a", "default", say=quiet)
    assert dict(model.named_parameters()).keys() == before.keys()


def test_a_hundred_adapters_cost_their_own_bytes_and_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from modeledge.adapt.lora import LowRank

    model, batch = step_of("encoder").model.eval(), batch_of(step_of("encoder"), examples())
    plain = sum(p.numel() for p in model.parameters())
    adapted(model, "lora", rank=1, name="a0")
    one = sum(p.numel() for p in model.parameters()) - plain
    for number in range(1, 100):
        adapted(model, "lora", rank=1, name=f"a{number}")
    assert sum(p.numel() for p in model.parameters()) == plain + 100 * one
    activate(model, ["a7"])
    asked: set[str] = set()
    for way in ("forward", "thin"):  # one map alone, or several that are computed as one
        real = getattr(LowRank, way)
        monkeypatch.setattr(LowRank, way, lambda self, *args, real=real: (asked.add(names[self]), real(self, *args))[1])
    names = {module: name for name, module in model.named_modules() if isinstance(module, LowRank)}
    model(batch)
    assert asked == {name for name in names.values() if ".a7:" in name}
    assert asked
    for number in range(100):
        prune(model, f"a{number}")
    assert sum(p.numel() for p in model.parameters()) == plain

"""A frozen body in int8: its error, its bytes, its gradients, and adapters that are trained over it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from adapt_small import batch_of, examples, refusal, step_of
from test_adapter_runs import ROWS, quiet, recipe, run, saved

from modeledge.adapt import Lora
from modeledge.adapt.quantize import Int8Linear, held_bytes, quantize, quantized_names
from modeledge.model.linear import Linear
from modeledge.recipes.adapters.fold import merge
from modeledge.recipes.use import Model
from modeledge.seed import Noise


def test_no_weight_is_further_than_half_a_step() -> None:
    """|w − ŵ| ≤ max |w| / 254 of its row; normal weights lose about 1 % by their root mean square."""
    plain = Linear(300, 50)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(50, 300, generator=torch.Generator().manual_seed(0)))
        plain.weight[3] = 0.0
        plain.weight[4] *= 1e-3
    made = Int8Linear(plain)
    bound = plain.weight.abs().amax(1, keepdim=True) / 254
    wrong = (made.weight - plain.weight).abs()
    assert (wrong <= bound * (1 + 1e-5)).all()
    assert (wrong.amax(1)[4] > bound[4] / 2).all(), "each row has a step of its own"
    assert 0.004 < float(wrong.square().mean().sqrt().detach() / plain.weight.detach().square().mean().sqrt()) < 0.012


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_it_computes_what_its_weights_say_and_gradients_pass_through(shape: str) -> None:
    step = step_of(shape)
    model, batch = step.model.eval(), batch_of(step, examples())
    before, whole = held_bytes(model), copy.deepcopy(model)
    told = quantize(model)
    lighter = before - held_bytes(model)
    for each in (model, whole):
        each.double().compute = torch.float64
    for path, module in model.named_modules():
        if isinstance(module, Int8Linear):
            with torch.no_grad():
                whole.get_submodule(path).weight.copy_(module.weight)
    for each in (model, whole):
        Lora(rank=2).attach(each, Noise(1))
        with torch.no_grad():
            for name, parameter in each.named_parameters():
                if name.endswith("lora_B"):
                    parameter.add_(0.3)
    goal = torch.randn(*batch.side.ids.shape, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    losses = [(each(batch).last * goal).sum() for each in (model, whole)]
    assert torch.allclose(losses[0], losses[1], rtol=1e-9)
    for loss in losses:
        loss.backward()
    theirs = dict(whole.named_parameters())
    for name, parameter in model.named_parameters():
        if ".grafts." in name:
            assert torch.allclose(parameter.grad, theirs[name].grad, rtol=1e-9, atol=1e-9), name
    assert told.before - told.after == lighter
    assert told.after < 0.75 * told.before  # tiny rows: at 8 inputs a scale costs half a weight
    assert quantized_names(model)
    refusal("E-SITE", quantize, model)


def test_a_run_over_int8(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", "encoder")
    results = run(recipe(base, quantize="int8"), tmp_path / "run")
    lines: list[str] = []
    model = Model.load(tmp_path / "run", say=lines.append)
    assert any("int8" in line for line in lines)
    assert any(isinstance(m, Int8Linear) for m in model.transformer.modules())
    told = model.evaluate(ROWS, say=quiet)["scores"]
    assert set(told) == set(results["scores"])
    whole = Model.load(merge(tmp_path / "run", tmp_path / "whole", say=quiet), say=quiet)
    assert not any(isinstance(m, Int8Linear) for m in whole.transformer.modules())
    same = [
        a["prediction"] == b["prediction"]
        for a, b in zip(model.predict(ROWS, say=quiet), whole.predict(ROWS, say=quiet), strict=True)
    ]
    assert sum(same) >= 0.9 * len(same)
    again = run(recipe(base, quantize="int8"), tmp_path / "again")
    assert again["scores"] == results["scores"]


def test_what_cannot_be_light(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", "encoder")
    refusal("E-CONFIG", run, recipe(base, "full", quantize="int8"), tmp_path / "full")
    refusal("E-CONFIG", run, recipe(base, merge=True, quantize="int8"), tmp_path / "merged")
    assert "int8" in refusal("E-EXTRA", run, recipe(base, quantize="nf4"), tmp_path / "nf4")

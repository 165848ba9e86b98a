"""A frozen body in int8 and nf4: its error, its bytes, its gradients, and adapters that are trained over it."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from adapt_small import batch_of, examples, refusal, step_of, stir
from test_adapter_runs import ROWS, quiet, recipe, run, saved

from modeledge.adapt import Lora, Reinit, nf4
from modeledge.adapt.nf4 import LEVELS, Nf4DoubleLinear, Nf4Linear, decoded, encoded
from modeledge.adapt.quantize import FORMS, Int8Linear, form_of, held_bytes, quantize, quantized_names
from modeledge.model.linear import Linear
from modeledge.recipes.adapters.fold import merge
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import StrategyRecipe
from modeledge.seed import Noise

GOES_ON = (StrategyRecipe(kind="lora"),)


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_it_computes_what_its_weights_say_and_gradients_pass_through(shape: str, form: str) -> None:
    step = step_of(shape)
    model, batch = step.model.eval(), batch_of(step, examples())
    before, whole = held_bytes(model), copy.deepcopy(model)
    told = quantize(model, form)
    lighter = before - held_bytes(model)
    for each in (model, whole):
        each.double().compute = torch.float64
    for path, module in model.named_modules():
        if isinstance(module, Int8Linear | Nf4Linear):
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


@pytest.mark.parametrize("form", FORMS)
def test_a_run_over_fewer_bits(tmp_path: Path, form: str) -> None:
    base = saved(tmp_path / "base", "encoder")
    results = run(recipe(base, quantize=form), tmp_path / "run")
    lines: list[str] = []
    model = Model.load(tmp_path / "run", say=lines.append)
    assert any(f"in {form}" in line for line in lines)
    assert form_of(model.transformer) == form
    told = model.evaluate(ROWS, say=quiet)["scores"]
    assert set(told) == set(results["scores"])
    whole = Model.load(merge(tmp_path / "run", tmp_path / "whole", say=quiet), say=quiet)
    assert form_of(whole.transformer) is None
    same = [
        a["prediction"] == b["prediction"]
        for a, b in zip(model.predict(ROWS, say=quiet), whole.predict(ROWS, say=quiet), strict=True)
    ]
    assert sum(same) >= (0.9 if form == "int8" else 0.6) * len(same)
    again = run(recipe(base, quantize=form), tmp_path / "again")
    assert again["scores"] == results["scores"]


def test_what_cannot_be_light(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", "encoder")
    refusal("E-CONFIG", run, recipe(base, "full", quantize="int8"), tmp_path / "full")
    refusal("E-CONFIG", run, recipe(base, merge=True, quantize="int8"), tmp_path / "merged")
    other = tmp_path / "nf4"
    run(recipe(base, quantize="nf4"), other)
    refusal("E-CONFIG", run, recipe(other, quantize="int8").model_copy(update={"strategies": GOES_ON}), tmp_path / "on")


@pytest.mark.parametrize("form", FORMS)
def test_codes_are_not_drawn_anew(form: str) -> None:
    model = step_of("encoder").model
    quantize(model, form)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert form in refusal("E-CONFIG", Reinit().attach, model, Noise(0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_codes_take_no_adapter_in(form: str) -> None:
    """A change of a weight that is made anew at each call is lost: the adapter would be gone in silence."""
    step = step_of("encoder")
    model, batch, lora = step.model.eval(), batch_of(step, examples()), Lora(rank=2)
    quantize(model, form)
    lora.attach(model, Noise(0))
    stir(step, lora.added(model))
    told = model(batch).last
    assert form in refusal("E-MERGE", lora.merge, model)
    assert lora.added(model)
    assert torch.equal(model(batch).last, told)


# ---- 4 bits


def normal(*shape: int) -> Linear:
    plain = Linear(shape[1], shape[0])
    with torch.no_grad():
        plain.weight.copy_(0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return plain


def test_the_levels_are_quantiles_of_the_normal_distribution() -> None:
    """Appendix E, and the authors' code: 8 below, 0, and 7 above, from a tail of 1 − 0.9677083 on."""
    from scipy.stats import norm

    below = norm.ppf(np.linspace(0.9677083, 0.5, 8)[:-1])
    above = norm.ppf(np.linspace(0.9677083, 0.5, 9)[:-1])
    levels = np.sort(np.concatenate((-below, [0.0], above)))
    assert np.allclose(levels / np.abs(levels).max(), LEVELS, atol=2e-7)


def nearest(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales by the definition, one weight after the other."""
    flat = weight.reshape(-1).astype(np.float32)
    codes, scales = [], []
    for start in range(0, len(flat), 64):
        run = flat[start : start + 64]
        scales.append(np.abs(run).max())
        codes += [int(np.argmin(np.abs(np.float32(w / scales[-1]) - np.float32(LEVELS)))) for w in run]
    return np.array(codes), np.array(scales)


@pytest.mark.parametrize("shape", [(6, 64), (7, 50)])
def test_each_weight_is_at_its_nearest_level(shape: tuple[int, int]) -> None:
    plain = normal(*shape)
    codes, scale = encoded(plain.weight)
    wanted, scales = nearest(plain.weight.detach().numpy())
    both = torch.stack((codes >> 4, codes & 15), 1).view(-1)[: len(wanted)]
    assert both.tolist() == wanted.tolist()
    assert np.array_equal(scale.numpy(), scales)
    made = np.float32(LEVELS)[wanted] * np.repeat(scales, 64)[: len(wanted)]
    assert np.array_equal(decoded(codes, scale, shape).numpy().reshape(-1), made)


def test_bitsandbytes_makes_the_same_codes() -> None:
    theirs = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is the reference")
    plain = normal(96, 128)
    codes, scale = encoded(plain.weight)
    whole = plain.weight.detach()
    packed, state = theirs.quantize_4bit(whole, blocksize=64, compress_statistics=False, quant_type="nf4")
    assert torch.equal(packed.view(-1), codes)
    assert torch.equal(state.absmax, scale)
    assert torch.equal(theirs.dequantize_4bit(packed, state), decoded(codes, scale, (96, 128)))
    assert state.code.tolist() == pytest.approx(LEVELS, abs=0)
    _, twice = theirs.quantize_4bit(whole, blocksize=64, compress_statistics=True, quant_type="nf4")
    lost = (theirs.dequantize_4bit(packed, twice) - plain.weight).norm()
    assert (Nf4DoubleLinear(plain).weight - plain.weight).norm() <= 1.001 * lost, "our integers lose no more"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(6, 64), (7, 50), (7, 51), (96, 128)])
def test_codes_stand_for_the_same_with_and_without_bitsandbytes(
    shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is the reference")
    codes, scale = encoded(normal(*shape).weight)
    assert nf4.kernel() is not None
    theirs = decoded(codes, scale, shape, dtype)
    monkeypatch.setattr(nf4, "kernel", lambda: None)
    ours = decoded(codes, scale, shape, dtype)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


def test_a_bitsandbytes_that_does_not_load_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name}: no such library")

    monkeypatch.setattr(importlib, "import_module", broken)
    assert nf4.kernel.__wrapped__() is None


def test_scales_in_one_byte_take_an_eighth_of_a_bit_and_lose_little() -> None:
    plain = normal(512, 256)
    plain.weight.data[0] = 0.0
    sizes, errors = {}, {}
    for held in (Nf4Linear, Nf4DoubleLinear):
        made = held(plain)
        sizes[held.form] = 8 * sum(b.numel() * b.element_size() for b in made.buffers()) / plain.weight.numel()
        errors[held.form] = float((made.weight - plain.weight).norm() / plain.weight.norm())
        assert held is Nf4DoubleLinear or not made.weight[0].any()
    assert sizes["nf4"] == 4.5
    assert 4.126 < sizes["nf4-double"] < 4.128
    assert 0.08 < errors["nf4"] < errors["nf4-double"] < 0.10
    assert errors["nf4-double"] < 1.01 * errors["nf4"]

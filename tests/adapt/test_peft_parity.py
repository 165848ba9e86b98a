"""The same adapter on the same model learns the same: `peft` as the oracle, over 20 steps in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modeledge.adapt import STRATEGIES, Clock, apply_moving, compose
from modeledge.adapt.graft import added_by
from modeledge.families import load_model
from modeledge.model import Batch, Side
from modeledge.seed import Noise

peft = pytest.importorskip("peft", reason="parity is checked against peft, which is not installed")

STEPS, VOCAB, WIDTH = 20, 23, 12
LINEAR = ["query", "key", "value", "output.dense", "intermediate.dense"]  # every map of a BERT layer
CONV = ["attn.c_proj", "c_fc", "mlp.c_proj"]  # GPT-2's maps, stored [inputs, outputs]; queries lie apart from keys here
IN_CONV = "attention_output,up,down"
SCALED = r".*(self\.(key|value)|\d\.output\.dense)"


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    config: str
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    shape: str = "bert"
    rate: float = 1e-2


CASES = [
    Case("lora", "lora", "LoraConfig", {"rank": 3, "alpha": 5.0}, {"r": 3, "lora_alpha": 5}),
    Case(
        "rslora",
        "lora",
        "LoraConfig",
        {"rank": 4, "alpha": 5.0, "rslora": True},
        {"r": 4, "lora_alpha": 5, "use_rslora": True},
    ),
    Case(
        "patterns",
        "lora",
        "LoraConfig",
        {"rank": 3, "alpha": 6.0, "rank_pattern": {"value": 2}, "alpha_pattern": {"re:.*blocks\\.1.*:up": 9.0}},
        {"r": 3, "lora_alpha": 6, "rank_pattern": {"value": 2}, "alpha_pattern": {"layer.1.intermediate.dense": 9}},
    ),
    Case("gpt2", "lora", "LoraConfig", {"rank": 3, "sites": IN_CONV}, {"r": 3, "lora_alpha": 16}, "gpt2"),
    Case("dora", "dora", "LoraConfig", {"rank": 3}, {"r": 3, "lora_alpha": 16, "use_dora": True}),
    Case(
        "dora-gpt2",
        "dora",
        "LoraConfig",
        {"rank": 3, "sites": IN_CONV},
        {"r": 3, "lora_alpha": 16, "use_dora": True},
        "gpt2",
    ),
    Case(
        "adalora",
        "adalora",
        "AdaLoraConfig",
        {"rank": 5, "target": 2, "tinit": 3, "tfinal": 5, "delta_t": 2, "orthogonal": 0.3, "beta2": 0.7},
        {
            "init_r": 5,
            "target_r": 2,
            "lora_alpha": 16,
            "tinit": 3,
            "tfinal": 5,
            "deltaT": 2,
            "orth_reg_weight": 0.3,
            "beta2": 0.7,
            "total_step": STEPS,
        },
    ),
    Case("loha", "loha", "LoHaConfig", {"rank": 3, "alpha": 6.0}, {"r": 3, "alpha": 6}),  # its alpha / r is a float32
    Case("lokr", "lokr", "LoKrConfig", {"rank": 2}, {"r": 2, "alpha": 8}),
    Case(
        "lokr-both",
        "lokr",
        "LoKrConfig",
        {"rank": 1, "decompose_both": True, "factor": 4},
        {"r": 1, "alpha": 8, "decompose_both": True, "decompose_factor": 4},
    ),
    Case("ia3", "ia3", "IA3Config", {}, {"target_modules": SCALED, "feedforward_modules": SCALED.replace("self", "x")}),
    Case("vera", "vera", "VeraConfig", {"rank": 4}, {"r": 4, "projection_prng_key": 1}),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """A tiny random BERT and a tiny random GPT-2 in float64, and the folders they are saved in."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    torch.manual_seed(3)
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    dry = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
    bert = BertModel(BertConfig(vocab_size=VOCAB, max_position_embeddings=16, **shape, **dry), add_pooling_layer=False)
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.3}
    gpt2 = GPT2Model(GPT2Config(vocab_size=VOCAB, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=2, **still))
    out = {}
    for name, model in (("bert", bert), ("gpt2", gpt2)):
        out[name] = model.double(), tmp_path_factory.mktemp(name)
        model.save_pretrained(out[name][1])
    return out


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    ids = torch.randint(0, VOCAB, (STEPS, 3, 7), generator=generator)
    return ids, torch.randn(STEPS, 3, 7, WIDTH, generator=generator, dtype=torch.float64)


def loss_of(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (states - target).square().mean()


def ours(case: Case, folder: Path) -> tuple[Any, Any]:
    model = load_model(folder).double().eval()
    model.compute = torch.float64
    strategy = STRATEGIES[case.kind](**case.ours)
    strategy.attach(model, Noise(2))
    model.double()
    return model, strategy


def curve(case: Case, model: Any, strategy: Any) -> Iterator[float]:
    """20 steps of Adam on what the strategy lets move, with its penalty and what follows a step."""
    moving = compose([strategy], model, Clock(0, STEPS, 0.0))
    apply_moving(model, moving)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=case.rate)
    for step, (ids, target) in enumerate(zip(*data(), strict=True)):
        side, clock = Side.of(ids), Clock(step, STEPS, 0.0)
        types = torch.zeros_like(ids)
        if case.shape == "bert":
            side = Side(side.ids, side.positions, side.segments, types=types, whole=True)
        batch = Batch(source=side) if case.shape == "bert" else Batch(target=side)
        loss = loss_of(model(batch).last, target)
        penalty = strategy.penalty(model, clock)
        loss = loss if penalty is None else loss + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        strategy.after_step(model, clock)
        optimizer.zero_grad()
        yield float(loss.detach())


def theirs(case: Case, model: Any, ours: Any, strategy: Any) -> Any:
    """The same adapter by `peft`, with our initial weights."""
    import copy

    model = copy.deepcopy(model).eval()
    targets = {"target_modules": LINEAR if case.shape == "bert" else CONV}
    adapted = peft.get_peft_model(model, getattr(peft, case.config)(**{**targets, **case.theirs})).double()
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and "ranknum" not in name)  # AdaLoRA's count of values is none
    count = 0
    for added in added_by(ours, strategy.name):
        module = model.get_submodule(added.site.hf_name)
        named = dict(added.named_parameters()) | {n: b for n, b in added.named_buffers() if n.startswith("vera_")}
        for name, value in named.items():
            held = getattr(module, name)["default"]
            tensor = getattr(held, "weight", held)
            with torch.no_grad():
                if name.startswith("vera_"):
                    tensor = tensor[tuple(slice(0, size) for size in value.shape)]
                assert name == "ia3_l" or tensor.shape == value.shape, name
                tensor.copy_(value.reshape(tensor.shape))
            count += value.numel() if name in dict(added.named_parameters()) else 0
    assert count == sum(p.numel() for p in adapted.parameters() if p.requires_grad), "other sites have an adapter"
    return adapted


def their_curve(case: Case, adapted: Any) -> Iterator[float]:
    inner = adapted.base_model.model
    run = inner.forward
    now: list[torch.Tensor] = []

    def measured(*args: Any, **named: Any) -> Any:
        return SimpleNamespace(loss=loss_of(run(*args, **named).last_hidden_state, now[0]))

    inner.forward = measured  # AdaLoRA adds its penalty to the loss that the model returns
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=case.rate)
    for step, (ids, target) in enumerate(zip(*data(), strict=True)):
        now[:] = [target]
        loss = adapted.base_model(input_ids=ids).loss
        loss.backward()
        optimizer.step()
        if case.kind == "adalora":
            adapted.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        yield float(loss.detach())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_loss_curves_are_one(case: Case, folders: dict[str, tuple[Any, Path]]) -> None:
    model, folder = folders[case.shape]
    mine, strategy = ours(case, folder)
    adapted = theirs(case, model, mine, strategy)
    expected, found = list(their_curve(case, adapted)), list(curve(case, mine, strategy))
    assert found == pytest.approx(expected, abs=1e-9, rel=0)
    assert max(found) - min(found) > 1e-3, "nothing was learned"
    if case.kind == "adalora":
        kept = {one.site.hf_name: one.kept.tolist() for one in strategy.triplets(mine)}
        pattern = adapted.peft_config["default"].rank_pattern
        assert sum(sum(row) for row in kept.values()) == 2 * len(kept)
        assert kept == {
            name.removeprefix("base_model.model.").removeprefix("model.").removesuffix(".lora_E.default"): row
            for name, row in pattern.items()
        }


def test_sizes_are_factored_as_theirs() -> None:
    from peft.tuners.lokr.layer import factorization

    from modeledge.adapt.kronecker import factors

    for size in range(1, 200):
        assert factors(size) == factorization(size)
        for factor in (2, 3, 4, 8, 16):
            assert factors(size, factor) == factorization(size, factor), (size, factor)

"""AdaLoRA beside strategies that let its weights wait: what was never measured is not cut, and the budget is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adapt_small import SEED, build, examples, step_of

from modeledge.adapt import AdaLora
from modeledge.corpus.stream import ListStream
from modeledge.train import TrainConfig, Trainer

STEPS, SITES, RANK = 12, 6, 3
OPTIONS: dict[str, Any] = {"sites": "query,down", "rank": RANK, "target": 1}


def trainer(waiting: str, fields: dict[str, Any], **asked: Any) -> tuple[Trainer, AdaLora]:
    """A run of AdaLoRA and one strategy that says when it may move."""
    strategy = AdaLora(**{**OPTIONS, **asked})
    config = TrainConfig(
        steps=STEPS, batch=4, length=24, precision="fp32", learning_rate=0.05, warmup=0.0, threads=1, packed=False
    )
    strategies = (strategy, build(waiting, fields))
    return Trainer(step_of("encoder"), ListStream(examples(), 0), strategies, config=config, seed=SEED), strategy


def kept(run: Trainer, strategy: AdaLora) -> list[int]:
    """How many values each site keeps, in the model's order: block by block, query and down."""
    return [int(one.kept.sum()) for one in strategy.triplets(run.model)]


def test_nothing_is_cut_while_the_head_moves_alone() -> None:
    run, strategy = trainer("lp-ft", {"steps": 5}, tfinal=2)
    before = {n: p.detach().clone() for n, p in run.model.named_parameters() if "lora_" in n}
    run.fit(5)
    assert kept(run, strategy) == [RANK] * SITES
    state = dict(run.model.named_parameters())
    assert all(torch.equal(state[name], value) for name, value in before.items())
    run.fit()
    assert sum(kept(run, strategy)) == SITES, "the budget is reached, of all sites"
    for one in strategy.triplets(run.model):
        assert one.seen
        assert all(bool(value.isfinite().all()) for value in one.state_dict().values())
        assert not one.lora_E[~one.kept].any()
    assert any(bool(one.lora_E.any()) for one in strategy.triplets(run.model))


def test_layers_join_the_budget_as_they_move() -> None:
    run, strategy = trainer("unfreeze", {"per": "steps", "every": 3, "start": 1}, tfinal=2)
    waiting = [4, 4, 2, 2, 0, 0]  # sites that wait, of the lower blocks
    for step in range(STEPS):
        run.fit(step + 1)
        still = kept(run, strategy)[: waiting[min(step // 3 * 2, 5)]]
        assert still == [RANK] * len(still), step
    assert sum(kept(run, strategy)) == SITES


@pytest.mark.parametrize("share", [8, 10])
def test_what_moves_too_late_for_the_schedule_is_cut_by_its_first_step(share: int) -> None:
    """The choice stands from step 6 on; these weights move from step 8, or 10, on."""
    run, strategy = trainer("lp-ft", {"steps": share}, tfinal=6)
    run.fit(share)
    assert kept(run, strategy) == [RANK] * SITES
    run.fit(share + 1)
    told = kept(run, strategy)
    assert sum(told) == SITES
    assert any(bool(one.lora_E.any()) for one in strategy.triplets(run.model))
    run.fit()
    assert kept(run, strategy) == told, "and that stands"


@pytest.mark.parametrize("cut", [3, 7])
def test_a_waiting_schedule_goes_on_from_a_checkpoint_bit_for_bit(cut: int) -> None:
    whole, strategy = trainer("lp-ft", {"steps": 5}, tfinal=2)
    whole.fit()
    stopped, _ = trainer("lp-ft", {"steps": 5}, tfinal=2)
    stopped.fit(cut)
    tensors = {name: value.clone() for name, value in stopped.tensors().items()}
    resumed, other = trainer("lp-ft", {"steps": 5}, tfinal=2)
    resumed.load(tensors, stopped.state_dict())
    resumed.fit()
    assert kept(whole, strategy) == kept(resumed, other)
    ours, theirs = whole.tensors(), resumed.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())

"""Several adapters in one batch that is continued: each prompt goes on with its own, and nothing else is read so."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapt_small import batch_of, examples, refusal, step_of
from peft_small import adapted, written

from modeledge.adapt.graft import activate
from modeledge.adapt.route import routed
from modeledge.generate import Beams, Sampling, beam_search, generate
from modeledge.model import Attention, Batch, FeedForward, LMHead, Rotary, Side, Stack, Transformer, TransformerConfig
from modeledge.model import Tokens as TokenTable
from modeledge.recipes.store.open import open_model
from modeledge.seed import Noise

METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"rank": 2}),
    ("dora", {"rank": 2, "sites": "query,value,down"}),
    ("ia3", {}),
    ("adapter", {"size": 3}),
    ("adapter", {"size": 3, "placement": "parallel"}),
)
PROMPTS = [np.array(ids) for ids in ([5, 6, 7, 8, 9], [4], [9, 3, 2], [5, 6, 7, 8, 9], [11, 12], [7, 7, 7, 2])]
OWNERS: dict[int, str | None] = {0: "a0", 1: "a1", 2: "a2", 3: None, 4: "a3", 5: "a4"}
BASES = ("gpt2", "neox", "llama", "t5", "shared")


def shared_sides() -> Transformer:
    """An encoder–decoder whose sides are one tower."""
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=20), position=Rotary())
    config = TransformerConfig(
        width=16, embed=TokenTable(vocab=23), encoder=stack, decoder=stack, share_sides=True, init=0.3
    )
    model = Transformer(config, seed=2)
    model.add_heads({"lm": LMHead()}, Noise(2))
    return model


def model_of(base: str, folder: Path) -> Any:
    """A tiny model that writes, with an adapter of each method whose numbers are all drawn."""
    model = shared_sides() if base == "shared" else open_model(written(base, folder / base))
    for number, (kind, fields) in enumerate(METHODS):
        adapted(model, kind, seed=number, name=f"a{number}", **fields)
    return model.eval()


def started(base: str) -> dict[str, Any]:
    return {"start": [0, 3]} if base in ("t5", "shared") else {}


@pytest.mark.parametrize("base", BASES)
def test_each_prompt_is_continued_with_its_own_adapter(base: str, tmp_path: Path) -> None:
    """The same tokens as alone, also where some prompts leave the batch before others."""
    model, asked = model_of(base, tmp_path), {"max_new_tokens": 6, "sampling": Sampling(), **started(base)}

    def both(**more: Any) -> tuple[list[list[int]], list[list[int]]]:
        with routed(model, PROMPTS, OWNERS):
            mixed = generate(model, PROMPTS, **asked, **more)
        alone = []
        for number, prompt in enumerate(PROMPTS):
            activate(model, [name] if (name := OWNERS[number]) else [])
            alone += generate(model, [prompt], **asked, **more)
        return [answer.tolist() for answer in mixed], [answer.tolist() for answer in alone]

    mixed, alone = both()
    assert mixed == alone
    assert len(set(map(tuple, mixed))) >= 4
    stop = [token for answer in (alone[0], alone[2]) for token in answer[1:2]]
    mixed, alone = both(stop=stop)
    assert mixed == alone
    assert min(map(len, mixed)) < 6


@pytest.mark.parametrize("base", ["llama", "t5"])
def test_beams_keep_their_adapters_when_they_change_places(base: str, tmp_path: Path) -> None:
    model, asked = model_of(base, tmp_path), {"max_new_tokens": 5, "beams": Beams(3), "stop": (1,), **started(base)}
    with routed(model, PROMPTS, OWNERS):
        mixed = beam_search(model, PROMPTS, **asked)
    for number, prompt in enumerate(PROMPTS):
        activate(model, [name] if (name := OWNERS[number]) else [])
        for ours, found in zip(mixed[number], beam_search(model, [prompt], **asked)[0], strict=True):
            assert ours.tokens.tolist() == found.tokens.tolist()
            assert ours.score == pytest.approx(found.score, abs=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_what_a_cached_step_reads_is_what_one_reading_reads(base: str, tmp_path: Path) -> None:
    """Logits of the whole text alone, and of its last tokens one by one in a routed batch."""
    model, both = model_of(base, tmp_path), base in ("t5", "shared")
    ids = torch.randint(2, 23, (5, 7), generator=torch.Generator().manual_seed(1))
    spans = torch.tensor([[row, 0, 4] for row in range(5)])
    owners = {10 + n: f"a{n}" for n in range(5)}

    def batch(first: int, last: int, **more: Any) -> Batch:
        whole = Side.of(ids)
        side = Side(*(t[:, first:last] for t in (whole.ids, whole.positions, whole.segments)), whole=True)
        return Batch(source=Side.of(ids.flip(1)) if both and first == 0 else None, target=side, **more)

    told: list[torch.Tensor] = []
    with torch.no_grad():
        begin = batch(0, 4, spans=spans, indices=torch.arange(10, 15))
        with routed(model, begin, owners):
            states = model(begin, model.new_cache(5, 7))
            told.append(states.last)
            for column in range(4, 7):
                states = model(batch(column, column + 1), states.cache)
                told.append(states.last)
        found = model.logits(torch.cat(told, 1))
        for number in range(5):
            activate(model, [f"a{number}"])
            alone = model.logits(model(batch(0, 7)).last)
            assert float((found[number] - alone[number]).abs().max()) <= 1e-5


def test_packed_rows_go_on_with_the_adapters_of_their_segments(tmp_path: Path) -> None:
    model = model_of("llama", tmp_path)
    ids = torch.tensor([[5, 6, 7, 8, 9, 4]])
    segments, positions = torch.tensor([[1, 1, 1, 2, 2, 2]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    batch = Batch(
        target=Side(ids, positions, segments), spans=torch.tensor([[0, 3, 6], [0, 0, 3]]), indices=torch.arange(2)
    )
    more = Side(torch.tensor([[3, 2]]), torch.tensor([[3, 3]]), torch.tensor([[1, 2]]))
    third = Side(more.ids, more.positions, torch.tensor([[1, 3]]))
    with torch.no_grad(), routed(model, batch, {0: "a0", 1: "a1"}):
        states = model(batch, model.new_cache(1, 12))
        last = model(Batch(target=more), states.cache).last
        assert "more texts in a row" in refusal("E-USAGE", model, Batch(target=third), states.cache)
    for column, name, text in ((0, "a1", [5, 6, 7, 3]), (1, "a0", [8, 9, 4, 2])):
        activate(model, [name])
        with torch.no_grad():
            alone = model(Batch(target=Side.of(torch.tensor([text])))).last[0, -1]
        assert float((last[0, column] - alone).abs().max()) <= 1e-5


@pytest.mark.parametrize("base", ["llama", "t5"])
def test_nothing_else_is_read_with_these_routes(base: str, tmp_path: Path) -> None:
    model, asked = model_of(base, tmp_path), {"max_new_tokens": 2, **started(base)}
    others = [PROMPTS[:-1], [*PROMPTS[:-1], np.array([7, 7, 7, 3])], PROMPTS[::-1], [*PROMPTS, PROMPTS[0]]]
    with routed(model, PROMPTS, OWNERS):
        for prompts in others:
            assert "routed" in refusal("E-USAGE", generate, model, prompts, **asked)
        assert "another model" in refusal("E-USAGE", generate, copy.deepcopy(model), PROMPTS, **asked)
        generate(model, PROMPTS, **asked)
    generate(model, others[0], **asked)
    assert not any(
        tower._forward_pre_hooks or tower._forward_hooks for tower in (model.tower, model.source_tower or model.tower)
    )


def test_a_cache_that_was_begun_before_is_not_gone_on_with(tmp_path: Path) -> None:
    model, side = model_of("llama", tmp_path), Side.of(torch.tensor([[5, 6], [7, 8]]))
    batch = Batch(target=side, spans=torch.tensor([[0, 0, 2], [1, 0, 2]]), indices=torch.arange(2))
    step = Batch(target=Side(torch.tensor([[1], [1]]), torch.tensor([[2], [2]]), torch.tensor([[1], [1]]), whole=True))
    with torch.no_grad():
        before = model(batch, model.new_cache(2, 4)).cache
        with routed(model, batch, {0: "a0", 1: "a1"}):
            inside = model(batch, model.new_cache(2, 4)).cache
            model(step, inside)
            assert "begun with other texts" in refusal("E-USAGE", model, step, before)


def test_a_batch_of_the_same_shape_and_a_part_of_the_model_are_refused() -> None:
    model, batch = step_of("encoder").model.eval(), batch_of(step_of("encoder"), examples())
    adapted(model, "lora", rank=2, name="a")
    assert batch.source is not None
    owners = {int(i): "a" for i in batch.indices}
    same = copy.deepcopy(batch)
    other = Batch(source=Side(**{**vars(batch.source), "ids": batch.source.ids.flip(1)}), spans=batch.spans)
    with torch.no_grad(), routed(model, batch, owners):
        told = model(batch).last
        assert torch.equal(model(same).last, told), "the same texts are the same batch"
        refusal("E-USAGE", model, other)
        refusal("E-USAGE", model.states_at, batch, 2)
        assert torch.equal(model(batch).last, told)
    bare = Batch(source=batch.source)
    assert "which example" in refusal("E-USAGE", routed(model, bare, owners).__enter__)
    model.checkpoint_blocks()
    with routed(model, batch, owners):
        assert "again" in refusal("E-USAGE", model, batch)
        with torch.no_grad():
            assert torch.equal(model(batch).last, told)

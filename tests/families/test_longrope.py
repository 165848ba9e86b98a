"""Longrope (Ding et al. 2024): an example longer than those of the first training turns by other angles.

The reference library looks at the longest row of its batch; one by one it says what ours says of each example alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_phi3 import LONG, PHI3
from oracle import LENGTHS, Case, batch_of, build, examples, given, hidden

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.model import Batch, Cache, Side, Transformer
from modeledge.model.plain import as_plain, from_plain

CASE = Case(PHI3, "Phi3Model", None, {"rope_parameters": LONG, "original_max_position_embeddings": 4})


@pytest.fixture(scope="module")
def both(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    folder: Path = tmp_path_factory.mktemp("longrope")
    reference = build(hf, CASE).eval()
    reference.save_pretrained(folder)
    return reference, load_model(folder).eval()


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_each_example_turns_by_its_own_length(both: tuple[Any, Transformer], packed: bool) -> None:
    reference, model = both
    assert min(LENGTHS) < 4 < max(LENGTHS)
    prepared = examples(CASE)
    batch = batch_of(prepared, packed=packed)
    last = model(batch).last
    for number, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        told, _ = hidden(reference(**given(CASE, [prepared[number]]), output_hidden_states=True), CASE)
        assert (last[row, start:end] - told[-1][0]).abs().max() <= 1e-5


def parts(model: Transformer, ids: torch.Tensor, *cuts: int) -> torch.Tensor:
    """Last states, read piece by piece with a cache."""
    whole, told = Side.of(ids), []
    cache: Cache | None = Cache.empty(model.config, len(ids), ids.shape[1], torch.float32)
    for start, stop in zip((0, *cuts), (*cuts, ids.shape[1]), strict=True):
        at = slice(start, stop)
        side = Side(ids[:, at], whole.positions[:, at], whole.segments[:, at], whole=True)
        states = model(Batch(source=None, target=side), cache)
        cache = states.cache
        told.append(states.last)
    return torch.cat(told, 1)


def test_with_a_cache(both: tuple[Any, Transformer]) -> None:
    """Texts that begin long or stay short are exact; one that grows beyond the length is refused."""
    reference, model = both
    ids = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    wanted = reference(input_ids=ids).last_hidden_state
    assert (parts(model, ids, 5, 6) - wanted).abs().max() <= 1e-5
    short = reference(input_ids=ids[:, :4]).last_hidden_state
    assert (parts(model, ids[:, :4], 1, 2) - short).abs().max() <= 1e-5
    with pytest.raises(ModeledgeError, match=r"E-POSITION.*beyond 4 tokens"):
        parts(model, ids, 4)


def test_the_angles_of_a_long_text_are_those_of_the_reference_to_the_bit(both: tuple[Any, Transformer]) -> None:
    reference, model = both
    positions = torch.arange(3000)[None]
    cosine, sine = reference.rotary_emb(torch.zeros(1), positions)
    ours = model.tower.position.angles(positions, torch.float32, far=torch.ones_like(positions, dtype=torch.bool))
    assert torch.equal(ours[0][0, :, 0], cosine[0])
    assert torch.equal(ours[1][0, :, 0, 4:], sine[0, :, 4:])


def test_as_plain_values_and_refused_lengths(both: tuple[Any, Transformer]) -> None:
    config = both[1].config
    assert from_plain(as_plain(config)) == config
    assert config.decoder is not None
    position = config.decoder.position
    short = replace(position, stretch=replace(position.stretch, near=(1.0,)))  # type: ignore[union-attr, arg-type, type-var]
    with pytest.raises(ModeledgeError, match=r"E-CONFIG.*4 angles.*near has 1"):
        replace(config, decoder=replace(config.decoder, position=short))

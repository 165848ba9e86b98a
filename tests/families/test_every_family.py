"""Each class of each family against the reference library: logits, all hidden states and every gradient, with padding
and packed, with a cache and without, in evaluation and in training mode; then written back, bit for bit.

Tolerances: 1e-5 absolute for fp32 states of order 1, unless a case states another and why; 1e-4 of each gradient's
norm, and 1e-6 of the whole gradient's norm for those that are zero by symmetry and rounding noise on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import assert_same
from oracle import START, VOCAB, Case, answers, batch_of, build, cases, examples, given, hidden, their_answers
from safetensors.torch import load_file

from modeledge.families import load_model, save_model
from modeledge.families.family import origin_of
from modeledge.families.rules import Tie, same_bits, write_tensors
from modeledge.families.table import FAMILIES
from modeledge.model import Batch, Cache, Keep, Side, Transformer
from modeledge.model.sites import KINDS

CASES = cases()
each_case = pytest.mark.parametrize("case", CASES, ids=str)
texts_only = pytest.mark.parametrize("case", [c for c in CASES if c.of.side in ("decoder", "both")], ids=str)


@pytest.fixture(scope="module")
def made(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The reference model of a case and the folder that it wrote, made once."""
    held: dict[str, tuple[Any, Path]] = {}

    def get(case: Case) -> tuple[Any, Path]:
        if str(case) not in held:
            model, folder = build(hf, case), tmp_path_factory.mktemp("hf") / str(case)
            model.save_pretrained(folder)
            held[str(case)] = (model, folder)
        return held[str(case)]

    return get


@each_case
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_logits_and_all_hidden_states_agree(made: Any, case: Case, mode: str) -> None:
    reference, folder = made(case)
    model, prepared = load_model(folder).train(mode == "train"), examples(case)
    reference.train(mode == "train")
    batch = batch_of(prepared, packed=False)
    order = batch.indices.tolist()
    states = model(batch, keep=Keep(layers=True))
    out = reference(**given(case, prepared), output_hidden_states=True)
    told, beneath = hidden(out, case)
    assert len(states.layers) == len(told)
    assert len(states.encoder_layers) == len(beneath)
    for side, ours, theirs in ((batch.side, states.layers, told), (batch.source, states.encoder_layers, beneath)):
        for mine, other in zip(ours, theirs, strict=True):
            real = side.segments > 0
            width = min(mine.shape[1], other.shape[1])
            assert (mine[:, :width] - other[order, :width])[real[:, :width]].abs().max() <= case.states
    difference = answers(model, batch, case.head) - their_answers(case, out, order)
    assert difference.abs().max() <= case.states


@each_case
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_all_gradients_agree(made: Any, case: Case, packed: bool) -> None:
    reference, folder = made(case)
    model, prepared = load_model(folder).train(), examples(case)
    reference.train().zero_grad()
    batch = batch_of(prepared, packed=packed)
    assert case.of.side == "image" or (len(batch.side.ids) < len(prepared)) == packed
    order = batch.indices.tolist()
    told = answers(model, batch, case.head)
    theirs = their_answers(case, reference(**given(case, prepared)), order)
    probe = torch.randn(told.shape, generator=torch.Generator().manual_seed(1))
    ours, other = (told * probe).sum(), (theirs * probe).sum()
    assert abs(ours.item() - other.item()) <= 10 * case.states * max(1.0, abs(other.item()))
    ours.backward()
    other.backward()
    compare_gradients(model, reference)


def compare_gradients(model: Transformer, reference: Any) -> None:
    """The rules that move weights move gradients, too."""
    origin = origin_of(model)
    assert origin is not None
    family = FAMILIES[origin.family]
    gradients = {n: torch.zeros_like(t) for n, t in model.state_dict().items()}
    gradients |= {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    rules = family.rules(model.config, origin.heads)
    moved = write_tensors(rules, gradients, kept={}, copies=())
    prefix = "" if origin.heads else family.prefix
    wanted = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None and p.grad.any()}
    spelled = family.spelling(origin.said, wanted.keys())
    one = {rule.copy: rule.theirs for rule in rules if isinstance(rule, Tie)}  # their name of a weight that has two
    wanted = {one.get(n, n): g for n, g in ((spelled.get(n, prefix + n), g) for n, g in wanted.items())}
    assert wanted.keys() <= moved.keys()
    assert not [name for name in moved.keys() - wanted.keys() if moved[name].any()]
    whole = torch.stack([g.norm() for g in wanted.values()]).norm()
    for name, gradient in wanted.items():
        assert (moved[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * whole, name


@each_case
def test_packed_rows_equal_the_reference_one_by_one(made: Any, case: Case) -> None:
    reference, folder = made(case)
    model, prepared = load_model(folder).eval(), examples(case)
    reference.eval()
    batch = batch_of(prepared, packed=True)
    last = model(batch).last
    for number, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        told, _ = hidden(reference(**given(case, [prepared[number]]), output_hidden_states=True), case)
        assert (last[row, start:end] - told[-1][0]).abs().max() <= case.states


@texts_only
def test_decoding_with_a_cache_equals_one_pass(made: Any, case: Case) -> None:
    reference, folder = made(case)
    model = load_model(folder).eval()
    reference.eval()
    draw = torch.Generator().manual_seed(2)
    ids, below = (torch.randint(START + 1, VOCAB - 1, (2, n), generator=draw) for n in (11, 7))
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if case.of.side == "both":
        if case.head in ("class", "value"):  # read where the source ends, at the same place
            below = torch.cat((ids[:, 1:], torch.full((2, 1), case.of.eos)), 1)
        asked = {"input_ids": below, "attention_mask": torch.ones_like(below), "decoder_input_ids": ids}
    wanted, _ = hidden(reference(**asked, output_hidden_states=True), case)
    cache, parts = Cache.empty(model.config, 2, 11, torch.float32), []
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 9), (9, 11)):
        whole = Side.of(ids)
        side = Side(ids[:, start:stop], whole.positions[:, start:stop], whole.segments[:, start:stop], whole=True)
        source = Side.of(below) if case.of.side == "both" and start == 0 else None
        states = model(Batch(source=source, target=side), cache)
        assert states.cache is not None
        cache = states.cache
        parts.append(states.last)
    assert (torch.cat(parts, 1) - wanted[-1]).abs().max() <= case.states


@each_case
def test_an_untouched_model_is_written_as_it_was_read(made: Any, hf: Any, tmp_path: Path, case: Case) -> None:
    reference, folder = made(case)
    save_model(load_model(folder), tmp_path / "again")
    assert_same(folder, tmp_path / "again")
    again, told = getattr(hf, case.name).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    state = again.state_dict()
    assert all(same_bits(tensor, state[name]) for name, tensor in reference.state_dict().items())


@each_case
def test_trained_weights_are_what_is_written(made: Any, tmp_path: Path, case: Case) -> None:
    _, folder = made(case)
    model = load_model(folder)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.mul_(1.5)
    save_model(model, tmp_path)
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    origin = origin_of(model)
    assert origin is not None
    kept = {origin.names.get(name, name) for name in origin.kept}
    assert all(torch.equal(after[name], before[name] if name in kept else 1.5 * before[name]) for name in before)


@each_case
def test_a_model_of_our_own_of_this_shape_is_written_in_this_format(
    made: Any, hf: Any, tmp_path: Path, case: Case
) -> None:
    """Without the memory of a file: the configuration says enough for the reference library to compute the same."""
    _, folder = made(case)
    model = load_model(folder).eval()
    family = origin_of(model).family  # type: ignore[union-attr]
    del vars(model)["origin"]
    save_model(model, tmp_path, family=family)
    again, told = getattr(hf, case.name).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    missing = {name for name in told["missing_keys"] if "pooler" not in name}  # a bare body of ours has none
    assert missing <= set(case.of.unused)
    assert not told["unexpected_keys"]
    again.config.pad_token_id = case.of.pad  # a model of our own does not know which id its tokenizer pads with
    again.config.eos_token_id = case.of.eos  # and ends with
    prepared = examples(case)
    batch = batch_of(prepared, packed=False)
    out = again.eval()(**given(case, prepared), output_hidden_states=True)
    difference = answers(model, batch, case.head) - their_answers(case, out, batch.indices.tolist())
    assert difference.abs().max() <= case.states


@each_case
def test_every_site_is_found_in_their_file(made: Any, case: Case) -> None:
    """A site's name, its rows and its direction lead to the same numbers in the checkpoint: adapters that are written
    for other libraries rest on this."""
    _, folder = made(case)
    model, tensors = load_model(folder), load_file(folder / "model.safetensors")
    for kind in KINDS:
        for site in model.sites(kind):
            theirs = tensors[f"{site.hf_name}.weight"]
            theirs = theirs.T if site.transposed else theirs
            assert theirs.shape[0] == site.hf_height, site.path
            assert torch.equal(theirs[site.hf_rows], site.weight), site.path

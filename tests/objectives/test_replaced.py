"""ELECTRA: what is sampled, what counts as original, what learns from what, and the reference library beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from objectives_small import CASES, CLS, MASK, PAD, SEP, VOCAB, config, examples, masked, ready, run

from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import Dropout, Learned, Norm, Rotary, Transformer
from modeledge.objectives import Replaced, ReplacedPrepare, Shape, Step, collate, generator_of, prepared
from modeledge.objectives.replaced import drawn
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import TrainConfig, Trainer
from modeledge.train.checkpoint import Checkpoints

MASKING = replace(masked(), rate=0.15, as_mask=1.0, as_random=0.0)


def electra(*, width=16, table=None, size=0.5, seed=3, dropout=0.0, share=50.0):
    """A step of BERT's shape with a table of its own width."""
    shape = config("encoder", width)
    stack = replace(shape.encoder, dropout=Dropout(hidden=dropout, embed=dropout), norm=Norm(place="post", eps=1e-12))
    shape = replace(shape, embed=replace(shape.embed, width=table), encoder=stack)
    objective = Replaced(ReplacedPrepare(MASKING), generator_of(shape, size), share=share)
    return Step(Transformer(shape, seed=seed), objective, noise=Noise(seed))


def batch_of(step, count=9, seed=0):
    return collate(ready(step, examples(CASES["replaced"], count, seed)), Shape(32))


# ---- sampling


def test_samples_follow_the_softmax():
    """Against the probabilities, each within 4 standard deviations; by numpy, number for number."""
    random = np.random.default_rng(0)
    states, table = (torch.from_numpy(random.normal(size=size)) for size in ((3, 5), (11, 5)))
    bias, draws = torch.from_numpy(random.normal(size=11)), random.random(6000)
    found = drawn(states.repeat(2000, 1), table, bias, torch.from_numpy(draws)).numpy()
    scores = states.numpy() @ table.numpy().T + bias.numpy()
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = [int(np.searchsorted(np.cumsum(chances[n % 3]), u, side="right")) for n, u in enumerate(draws)]
    assert found.tolist() == expected
    for row in range(3):
        shares = np.bincount(found[row::3], minlength=11) / 2000
        assert (np.abs(shares - chances[row]) <= 4 * np.sqrt(chances[row] * (1 - chances[row]) / 2000)).all()


def test_a_token_without_probability_is_never_drawn():
    bias = torch.full((5,), -math.inf)
    bias[2] = 0.0
    zeros = torch.zeros(5, 1)
    draws = torch.tensor([0.0, 0.3, 0.999999, 1 - 2**-24, 0.5])
    assert drawn(torch.zeros(5, 1), zeros, bias, draws).tolist() == [2] * 5
    assert drawn(zeros[:0], zeros, bias, draws[:0]).tolist() == []


def test_all_chosen_tokens_become_the_mask():
    prepare = ReplacedPrepare(MASKING)
    masks = total = 0
    for index in range(300):
        ids = np.random.default_rng(index).integers(4, VOCAB, 60)
        item = prepared(Replaced(prepare, generator_of(config("encoder"))), Example(index, ids), Noise(1))
        at = item.reads["lm"]
        assert (item.source.ids[at] == MASK).all()
        others = np.setdiff1d(np.arange(62), at)
        assert (item.source.ids[others] == np.array([CLS, *ids, SEP])[others]).all()
        assert item.reads["replaced"].tolist() == list(range(62))
        draws = item.labels["draw"]
        assert draws.shape == at.shape
        assert ((draws >= 0) & (draws < 1)).all()
        masks, total = masks + len(at), total + 60
    assert masks / total == 0.15


def test_other_shares_of_the_mask_are_refused():
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: 80% of the chosen tokens"):
        Replaced(ReplacedPrepare(masked()), generator_of(config("encoder")))
    with pytest.raises(ModeledgeError, match="weight is 0"):
        Replaced(ReplacedPrepare(MASKING), generator_of(config("encoder")), share=0)


# ---- what is judged


def seen(step, batch):
    """The ids that the discriminator was given, and its loss."""
    kept = []
    handle = step.model.register_forward_pre_hook(lambda _, args: kept.append(args[0].source.ids.clone()))
    loss = step(batch, Noise(0))
    handle.remove()
    (ids,) = kept
    return ids, loss


def test_a_sample_that_is_the_original_counts_as_original():
    """A generator that always says the right token leaves nothing replaced; one that never does, everything masked."""
    step = electra()
    batch = batch_of(step)
    bias = step.objective.generator.heads["lm"].bias
    at, count = batch.reads["lm"], len(batch.reads["replaced"])
    for token, replaced_count in ((17, int((batch.labels["lm"] != 17).sum())), (PAD, len(at))):
        with torch.no_grad():
            bias.zero_()[token] = 1e4
        ids, loss = seen(step, batch)
        assert (ids.flatten()[at] == token).all()
        told, weight = loss.logs["share_replaced"]
        assert (float(told), float(weight)) == (replaced_count, count)
    assert 0 < int((batch.labels["lm"] == 17).sum()) < len(at)
    assert int((batch.source.ids == MASK).sum()) == len(at)  # the batch itself is as it was


def test_every_real_token_is_judged_and_padding_is_not():
    step = electra()
    items = ready(step, examples(CASES["replaced"], 5))
    batch = collate(items, Shape(40, tight=False))
    known = step.objective.weights(batch)
    assert float(known["replaced"]) == sum(len(item.source.ids) for item in items) == batch.tokens
    assert float(known["lm"]) == sum(len(item.reads["lm"]) for item in items)
    loss = step(batch, Noise(0))
    assert loss.terms["replaced"].share == 50.0
    assert loss.terms["lm"].share == 1.0
    whole = float(loss.value(known).detach())
    parts = {n: float(t.total.detach()) / float(known[n]) for n, t in loss.terms.items()}
    assert whole == pytest.approx(parts["lm"] + 50 * parts["replaced"])


def test_no_gradient_runs_through_the_sampling():
    """The discriminator's loss moves nothing of the generator's own, and the generator's nothing above the tables."""
    step = electra(table=8)
    batch = batch_of(step)
    loss = step(batch, Noise(0))
    tables = {"tokens", "types", "tower.position.weight", "embed_norm.weight", "embed_norm.bias"}
    own = {f"objective.generator.{n}" for n, _ in step.objective.generator.named_parameters()}
    for term, moved in (("lm", own), ("replaced", {f"model.{n}" for n, _ in step.model.named_parameters()})):
        step.zero_grad()
        loss.terms[term].total.backward(retain_graph=True)
        found = {n for n, p in step.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
        still = {n for n in moved if n.endswith("key.bias")}  # it moves all scores of a query alike
        assert found - still == (moved | {f"model.{n}" for n in tables}) - still


def test_the_tables_are_one():
    step = electra(table=8)
    names = {name for name, _ in step.objective.named_parameters()}
    assert not [name for name in names if "tokens" in name or "types" in name or "position" in name]
    assert "generator.project.weight" not in names  # a table of 8 for a generator of 8
    assert electra().objective.generator.project.weight.shape == (8, 16)
    assert step.objective.generator.tower.blocks[0].attention.query.weight.shape == (8, 8)


def test_the_generators_weights_are_not_the_models():
    step = electra(size=1.0)
    ours, theirs = dict(step.model.named_parameters()), dict(step.objective.generator.named_parameters())
    alike = [n for n in theirs.keys() & ours.keys() if theirs[n].ndim > 1 and torch.equal(theirs[n], ours[n])]
    assert len(theirs.keys() & ours.keys()) > 10
    assert not alike


def test_dropout_of_the_two_halves_differs_and_is_a_function_of_the_step():
    step = electra(dropout=0.3, size=1.0)
    batch = batch_of(step)

    def told(noise):
        terms = step(batch, noise).terms
        return float(terms["lm"].total.detach()), float(terms["replaced"].total.detach())

    assert told(Noise(1)) == told(Noise(1))
    assert told(Noise(1))[0] != told(Noise(2))[0]
    zeros = []
    handle = step.model.embed_dropout.register_forward_hook(lambda _, given, out: zeros.append(out == 0))
    told(Noise(1))
    handle.remove()
    generated, judged = zeros
    assert 0.2 < float(generated.float().mean()) < 0.4
    assert not torch.equal(generated, judged)
    step.model.eval()  # as a judge does: the generator follows
    assert told(Noise(1)) == told(Noise(2))


@pytest.mark.parametrize("size", [0.25, 1 / 3, 0.5, 1.0])
@pytest.mark.parametrize("position", [Learned(length=64), Rotary()])
def test_generators_of_any_size(size, position):
    base = config("encoder", 48)
    stack = replace(base.encoder, position=position, attention=replace(base.encoder.attention, heads=4, kv_heads=2))
    shape = replace(base, encoder=stack)
    thin = generator_of(shape, size)
    assert abs(thin.width - size * 48) <= 4
    assert thin.encoder.layers == 2
    step = Step(Transformer(shape), Replaced(ReplacedPrepare(MASKING), thin))
    value, gradients = run(step, [batch_of(step)])
    assert math.isfinite(value)
    assert gradients["objective.generator.tower.blocks.1.attention.value.weight"].abs().sum() > 0


def test_published_sizes():
    """Clark et al. 2020, table 6: 256 × 1/4 = 64 with one head, 768 × 1/3 = 256 with four."""
    for width, heads, size, told in ((256, 4, 1 / 4, (64, 1, 256)), (768, 12, 1 / 3, (256, 4, 1024))):
        base = config("encoder", width)
        attention, wide = (
            replace(base.encoder.attention, heads=heads),
            replace(base.encoder.feedforward, width=4 * width),
        )
        thin = generator_of(replace(base, encoder=replace(base.encoder, attention=attention, feedforward=wide)), size)
        assert (thin.width, thin.encoder.attention.heads, thin.encoder.feedforward.width) == told


def test_bodies_without_a_generator_are_refused():
    for shape in ("decoder", "both"):
        with pytest.raises(ModeledgeError, match="E-CONFIG"):
            generator_of(config(shape))
    for size in (0.0, 1.5, math.nan):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            generator_of(config("encoder"), size)


# ---- the reference library


@pytest.mark.parametrize("table", [None, 8])
def test_loss_and_gradients_are_those_of_the_reference(table, tmp_path):
    """Both halves are written, opened there, and read one masked and one written text; gradients of tables add up."""
    transformers = pytest.importorskip("transformers")
    step = electra(width=16, table=table)
    step.double()
    step.model.compute = torch.float64
    save_model(step.model, tmp_path / "d", family="electra", dtype=torch.float64)
    save_model(step.objective.whole_generator(step.model), tmp_path / "g", family="electra", dtype=torch.float64)
    theirs = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "d", dtype=torch.float64)
    generator = transformers.ElectraForMaskedLM.from_pretrained(tmp_path / "g", dtype=torch.float64)
    items = ready(step, examples(CASES["replaced"], 6))
    batch = collate(items, Shape(32, packed=False))
    ids, loss = seen(step, batch)
    step.zero_grad()
    value = loss.value(step.objective.weights(batch))
    value.backward()
    mask = (batch.source.segments > 0).long()
    labels = torch.full_like(batch.source.ids, -100).flatten()
    labels[batch.reads["lm"]] = batch.labels["lm"]
    labels = labels.view_as(batch.source.ids)
    original = torch.where(labels >= 0, labels, batch.source.ids)
    guessed = generator(batch.source.ids, mask, labels=labels)
    judged = theirs(ids, mask, labels=(ids != original).double())
    in_fp32 = float((guessed.loss + 50 * judged.loss).detach())
    assert float(value.detach()) == pytest.approx(in_fp32, rel=1e-6)  # theirs narrows the scores before the loss
    lm = torch.nn.functional.cross_entropy(guessed.logits.flatten(0, 1), labels.flatten())
    scores, other = judged.logits[mask > 0], (ids != original)[mask > 0].double()
    reference = lm + 50 * torch.nn.functional.binary_cross_entropy_with_logits(scores, other)
    assert float(value.detach()) == pytest.approx(float(reference.detach()), rel=1e-12)
    reference.backward()
    tokens = [half.electra.embeddings.word_embeddings.weight.grad for half in (theirs, generator)]
    assert torch.allclose(step.model.tokens.grad, sum(tokens), rtol=1e-9, atol=1e-12)
    norms = [half.electra.embeddings.LayerNorm.weight.grad for half in (theirs, generator)]
    assert torch.allclose(step.model.embed_norm.weight.grad, sum(norms), rtol=1e-9, atol=1e-12)
    own = step.objective.generator.tower.blocks[0].attention.query.weight.grad
    assert torch.allclose(own, generator.electra.encoder.layer[0].attention.self.query.weight.grad, rtol=1e-9)
    head = step.model.heads["replaced"].dense.weight.grad
    assert torch.allclose(head, theirs.discriminator_predictions.dense.weight.grad, rtol=1e-9)
    again = load_model(tmp_path / "d")
    assert set(again.heads) == {"replaced"}


# ---- a run


def trainer():
    stream = ListStream(examples(CASES["replaced"], 20), 1)
    train = TrainConfig(length=32, batch=4, steps=6, precision="fp32")
    return Trainer(electra(dropout=0.1), stream, config=train, seed=2)


def test_a_resumed_run_is_the_same_run(tmp_path):
    """Through a checkpoint on disk: the generator and its optimizer go with it, the tables stand there once."""
    whole = [(r.loss, r.terms) for r in trainer().records()]
    first, store = trainer(), Checkpoints(tmp_path)
    begun = [(r.loss, r.terms) for r in first.records(3)]
    store.save(3, first.tensors(), first.state_dict())
    tensors, state = store.load(3)
    assert any(name.startswith("step|objective.generator.tower") for name in tensors)
    assert any(name.startswith("optimizer|objective.generator.heads.lm") for name in tensors)
    assert not any("generator.tokens" in name for name in tensors)
    second = trainer()
    second.load(tensors, state)
    assert begun + [(r.loss, r.terms) for r in second.records()] == whole

"""The three forms: laid out as the papers draw them, seen by gradients, and as transformers computes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from objectives_small import CASES, FORMS, MASK, SENTINELS, VOCAB, build, config, examples, ready

from modeledge.families import load_model
from modeledge.model import Transformer
from modeledge.objectives import (
    Bart,
    Denoise,
    DenoisePrepare,
    Form,
    Fragment,
    PrefixLM,
    RandomSpans,
    Shape,
    Split,
    Step,
    collate,
    prepared,
)
from modeledge.records import Example
from modeledge.seed import Noise

PAD, END = 0, 2
INPUTS, TARGETS = np.array([5, 6, 7]), np.array([8, 9])


def laid(form):
    """(source, target, what is read, what is learned, prefix)"""
    made = form.prepared(1, INPUTS, TARGETS)
    prefix = None if made.target.prefix is None else made.target.prefix.astype(int).tolist()
    return (
        made.source.ids.tolist() if made.source else None,
        made.target.ids.tolist(),
        made.target.ids[made.reads["lm"]].tolist(),
        made.labels["lm"].tolist(),
        prefix,
    )


def test_the_three_forms():
    both = Form("encoder-decoder", start=(PAD,), between=(END,), end=(END,))
    assert laid(both) == ([5, 6, 7, 2], [0, 8, 9], [0, 8, 9], [8, 9, 2], None)
    bart = Form("encoder-decoder", start=(2, 1), first=(1,), between=(2,), end=(2,))
    assert laid(bart) == ([1, 5, 6, 7, 2], [2, 1, 8, 9], [1, 8, 9], [8, 9, 2], None)
    bare_both = Form("encoder-decoder", start=(PAD,))
    assert laid(bare_both) == ([5, 6, 7], [0, 8], [0, 8], [8, 9], None)
    prefix = Form("prefix", between=(END,), end=(END,))
    assert laid(prefix) == (None, [5, 6, 7, 2, 8, 9], [2, 8, 9], [8, 9, 2], [1, 1, 1, 1, 0, 0])
    causal = Form("causal", between=(END,), end=(END,))
    assert laid(causal) == (None, [5, 6, 7, 2, 8, 9], [2, 8, 9], [8, 9, 2], None)
    whole = Form("causal", first=(1,), between=(3,), end=(END,), whole=True)
    assert laid(whole) == (None, [1, 5, 6, 7, 3, 8, 9], [1, 5, 6, 7, 3, 8, 9], [5, 6, 7, 3, 8, 9, 2], None)
    bare = Form("prefix")
    assert laid(bare) == (None, [5, 6, 7, 8], [7, 8], [8, 9], [1, 1, 1, 0])
    for form in (both, bart, bare_both, prefix, causal, whole, bare):
        assert form.length(3, 2) == max(form.prepared(1, INPUTS, TARGETS).lengths())


# ---- who sees whom, by gradients


def seen(step, item):
    """Which tokens of the row each position's last state depends on, `[positions, positions]`."""
    model, held = step.model, {}
    table = model.tokens

    def keep(module, args, kwargs, output):
        held["x"] = output
        output.retain_grad()

    hook = model.embed_dropout.register_forward_hook(keep, with_kwargs=True)
    batch = collate([item], Shape(64, packed=False))
    last = model(batch).last[0]
    hook.remove()
    rows = []
    for position in range(len(last)):
        (gradient,) = torch.autograd.grad(last[position].sum(), held["x"], retain_graph=True)
        rows.append((gradient[0].abs().sum(-1) > 0).numpy())
    assert table is not None
    return np.stack(rows)


@pytest.mark.parametrize("name", ["prefix", "spans-prefix", "bart-prefix", "spans-causal"])
def test_a_prefix_is_seen_whole_and_a_later_target_never(name):
    step = build(CASES[name])
    for item in ready(step, examples(CASES[name], 5)):
        count = len(item.target.ids)
        prefix = np.zeros(count, bool) if item.target.prefix is None else item.target.prefix
        wanted = np.tril(np.ones((count, count), bool)) | (prefix[:, None] & prefix[None, :])
        assert np.array_equal(seen(step, item)[:count, :count], wanted)
        assert ("prefix" in name) == bool(prefix.any())
        assert item.reads["lm"][0] >= prefix.sum() - 1  # nothing is asked where it is seen


def test_an_encoder_sees_its_inputs_whole_and_a_decoder_no_later_target():
    step = build(CASES["spans"])
    item = ready(step, examples(CASES["spans"], 3))[2]
    base = collate([item], Shape(64, packed=False))
    before = step.model(base).last[0]
    for place in range(len(item.target.ids)):
        changed = item.target.ids.copy()
        changed[place] = (changed[place] + 1) % VOCAB
        moved = step.model(collate([with_target(item, changed)], Shape(64, packed=False))).last[0]
        differs = (moved - before).abs().sum(-1) > 0
        assert not differs[:place].any()
        assert differs[place]


def with_target(item, ids):
    return replace(item, target=replace(item.target, ids=ids))


# ---- positions of a fragment


def test_a_fragment_keeps_its_positions():
    """MASS: the decoder's learned positions are those of the text; what the paper masks before it is left out."""
    objective = Denoise(DenoisePrepare(FORMS["both"], Fragment(MASK, as_random=0.0, as_same=0.0)))
    items = [prepared(objective, Example(i, np.arange(5, 15)), Noise(2)) for i in range(6)]
    batch = collate(items, Shape(48))
    assert len({item.target.begins for item in items}) > 1
    for (row, start, stop), item in zip(batch.spans.tolist(), [items[i] for i in batch.indices.tolist()], strict=True):
        first = item.target.begins
        assert batch.target.positions[row, start:stop].tolist() == list(range(first, first + stop - start))
        assert (item.source.ids[first : first + 5] == MASK).all()
        assert item.labels["lm"][:5].tolist() == list(range(5 + first, 10 + first))
    step = Step(Transformer(config("both"), seed=1), objective).double()
    step.model.compute = torch.float64
    total = float(step(batch, Noise(0)).terms["lm"].total.detach())
    flat = [replace(item, target=replace(item.target, begins=0)) for item in items]
    assert abs(float(step(collate(flat, Shape(48)), Noise(0)).terms["lm"].total.detach()) - total) > 1e-3


# ---- transformers beside us


def padded(items):
    """What the reference library takes, one example a row: ids, attention mask, what the decoder reads, labels."""
    longest, most = (max(p.lengths()[side] for p in items) for side in (0, 1))
    ids, mask = (torch.zeros(len(items), longest, dtype=torch.long) for _ in range(2))
    labels, read = torch.full((len(items), most), -100), torch.zeros(len(items), most, dtype=torch.long)
    for row, item in enumerate(items):
        count = len(item.source.ids)
        ids[row, :count], mask[row, :count] = torch.from_numpy(item.source.ids), 1
        reads = torch.from_numpy(item.reads["lm"])
        labels[row, reads] = torch.from_numpy(item.labels["lm"])
        read[row, : len(item.target.ids)] = torch.from_numpy(item.target.ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "decoder_input_ids": read}


T5 = {"d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64, "dropout": 0.0}
BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 28}
BART |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
T5_FORM = Form("encoder-decoder", start=(0,), between=(1,), end=(1,))
BART_FORM = Form("encoder-decoder", start=(2, 0), first=(0,), between=(2,), end=(2,))
HF = {
    "T5": (
        {**T5, "decoder_start_token_id": 0, "pad_token_id": 0},
        DenoisePrepare(T5_FORM, RandomSpans(SENTINELS)),
    ),
    "T5-prefix": (
        {**T5, "decoder_start_token_id": 0, "pad_token_id": 0},
        DenoisePrepare(T5_FORM, Split()),
    ),
    "Bart": (BART, DenoisePrepare(BART_FORM, Bart(MASK))),
}


@pytest.mark.parametrize("name", HF)
def test_the_loss_is_that_of_transformers(name, tmp_path: Path):
    """`ForConditionalGeneration` on the same examples, padded; loss and gradients, in training mode."""
    hf = pytest.importorskip("transformers")
    shape, prepare = HF[name]
    kind = name.split("-")[0]
    torch.manual_seed(0)
    theirs = getattr(hf, f"{kind}ForConditionalGeneration")(getattr(hf, f"{kind}Config")(vocab_size=VOCAB, **shape))
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    objective = Denoise(prepare)
    step = Step(model, objective).train()
    items = ready(step, examples(CASES["spans"], 7))
    batch = collate(items, Shape(48))
    loss = step(batch, Noise(0)).value(objective.weights(batch))
    loss.backward()
    told = theirs.train()(**padded(items)).loss
    told.backward()
    assert float(loss.detach()) == pytest.approx(float(told.detach()), rel=2e-6)
    mine, other = model.tokens.grad, theirs.get_input_embeddings().weight.grad
    assert float((mine - other).norm()) < 2e-5 * float(other.norm())


def test_prefix_lm_is_denoising_with_a_cut():
    objective = PrefixLM(FORMS["prefix"], share=0.5)
    assert objective.prepare == DenoisePrepare(FORMS["prefix"], Split(0.5))
    assert objective.prepare.tokens(24) == 23


def test_what_the_decoder_reads_is_the_references_shift():
    """T5's `shift_right` of the labels; BART's `shift_tokens_right` of the labels with their `<s>`."""
    bart = pytest.importorskip("transformers.models.bart.modeling_bart")
    for form in (T5_FORM, BART_FORM):
        made = form.prepared(0, INPUTS, TARGETS)
        labels = torch.tensor([[*form.start[1:], *made.labels["lm"].tolist()]])
        shifted = bart.shift_tokens_right(labels, 1, form.start[0])
        assert shifted[0].tolist() == made.target.ids.tolist()

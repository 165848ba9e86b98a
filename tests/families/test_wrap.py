"""A model of the reference library, wrapped whole: what its class computes, under our objectives, tasks, strategies and
trainer. DeBERTa-v2 is the family that has no page here; Falcon and Mamba are decoders, BART reads a source."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import modeledge
from modeledge.adapt import AddedLayers, Clock, Freeze, NewHead, Probe, Rates, ReplacedHead, apply_moving, compose
from modeledge.adapt.features import frozen_depth
from modeledge.adapt.parts import parts_of
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.families.wrapped.rows import Layout
from modeledge.families.wrapped.wrap import HuggingFaceModel
from modeledge.generate import generate
from modeledge.model import Batch, Cache, ClassHead, Keep, LMHead, Side, Start, Transformer, ValueHead, dropping
from modeledge.objectives import (
    CausalLM,
    Classify,
    LabelPrepare,
    MaskedLM,
    MaskedPrepare,
    Regress,
    Shape,
    Step,
    collate,
    prepared,
)
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise
from modeledge.tasks import Labels, LabelTask, answers
from modeledge.tokens import train_tokenizer
from modeledge.train import Trainer
from modeledge.train.checkpoint import Checkpoints
from modeledge.train.config import TrainConfig

VOCAB, SEED, WIDTH = 41, 3, 16
NOW = Clock(0, 4, 0.0)
DEBERTA = {
    "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 32, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "conv_kernel_size": 3, "legacy": True,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "deberta": ("DebertaV2", DEBERTA),
    "falcon": ("Falcon", {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}),
    "mamba": ("Mamba", {"hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4}),
    "bloom": ("Bloom", {"hidden_size": WIDTH, "n_layer": 2, "n_head": 2, "hidden_dropout": 0.0}),
    "rwkv": ("Rwkv", {"hidden_size": WIDTH, "num_hidden_layers": 2, "attention_hidden_size": WIDTH}),
    "gpt2": ("GPT2", {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    "fnet": (
        "FNet",
        {"hidden_size": WIDTH, "num_hidden_layers": 2, "intermediate_size": 20, "max_position_embeddings": 32},
    ),
    "roberta": (
        "Roberta",
        {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 34},
    ),
    "xlm": ("XLM", {"emb_dim": WIDTH, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 32}),
    "bart": (
        "Bart",
        {
            "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 32,
        },
    ),
    "t5": ("T5", {"d_model": WIDTH, "num_layers": 2, "num_heads": 2, "d_ff": 20, "d_kv": 8}),
}  # fmt: skip
ONE_SIDED = ["deberta", "falcon", "mamba", "bloom", "gpt2", "fnet", "roberta", "xlm"]
QUIET = {"attention_dropout": 0.0, "hidden_dropout": 0.0, "dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
QUIET |= {"attn_pdrop": 0.0, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout_rate": 0.0}


def model_of(hf: Any, name: str, kind: str = "Model", **change: Any) -> Any:
    """A tiny model of the reference library, no weight at its neutral start."""
    family, shape = SHAPES[name]
    config = getattr(hf, f"{family}Config")(
        **{"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **shape, **change}
    )
    for key, value in QUIET.items():
        if hasattr(config, key) and key not in change:
            setattr(config, key, value)
    torch.manual_seed(0)
    model = getattr(hf, f"{family}{kind}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def wrapped(hf: Any, name: str, **change: Any) -> HuggingFaceModel:
    return HuggingFaceModel(model_of(hf, name, **change)).train()


def examples(count: int = 9, longest: int = 11) -> list[Example]:
    random = np.random.default_rng(1)
    sizes = [longest, *random.integers(2, longest, count - 1)]
    out = [Example(50 + n, random.integers(3, VOCAB, size), label=n % 3) for n, size in enumerate(sizes)]
    out[2] = Example(52, out[2].ids, pair=out[3].ids[:2], label=1)
    return out


def side_of(model: HuggingFaceModel) -> Any:
    return "source" if model.config.encoder is not None else "target"


def classify(model: HuggingFaceModel, pool: Any = "last") -> Classify:
    prepare = LabelPrepare(side_of(model), 14, "class", first=1, last=2)
    return Classify(prepare, ClassHead(outputs=3, pool=pool, hidden=True))


def packed(objective: Any, chosen: list[Example], *, seq: int = 30, rows: bool = True, **more: Any) -> Batch:
    ready = [prepared(objective, example, Noise(SEED)) for example in chosen]
    return collate(ready, Shape(seq, packed=rows, **more))


def two_sided(count: int = 6) -> list[Prepared]:
    random = np.random.default_rng(2)
    out = []
    for n in range(count):
        source, target = (Piece(random.integers(3, VOCAB, random.integers(2, 9))) for _ in range(2))
        size = len(target.ids)
        out.append(
            Prepared(
                n,
                source=source,
                target=target,
                reads={"lm": np.arange(size)},
                labels={"lm": random.integers(3, VOCAB, size)},
                weights={"lm": np.ones(size, dtype=np.float32)},
            )
        )
    return out


class Settings:
    """What a stranger's configuration says."""

    def __init__(self) -> None:
        self.num_hidden_layers, self.type_vocab_size, self.pad_token_id = 1, 2, 0


class Stranger(nn.Module):
    """A class as others write them: layers without a list, or one layer of attention over a map that makes queries,
    keys and values in some order; with `mixes` every token takes something from all, padding too."""

    def __init__(self, order: str = "", *, mixes: bool = False) -> None:
        super().__init__()
        self.config, self.embed, self.order, self.mixes = Settings(), nn.Embedding(VOCAB, WIDTH), order, mixes
        self.inner = nn.Linear(WIDTH, WIDTH)
        if order:
            self.layers = nn.ModuleList([nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH)})])
            self.layers[0].forward = self.attend

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def attend(self, x: Tensor) -> Tensor:
        made = self.layers[0]["qkv"](x).chunk(len(self.order), -1)  # type: ignore[index]
        pieces = {
            letter: torch.cat([part for part, name in zip(made, self.order, strict=True) if name == letter], -1)
            for letter in "qkv"
        }
        scores = pieces["q"] @ pieces["k"].transpose(1, 2)
        return x + scores.tril().softmax(-1) @ pieces["v"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **asked: bool) -> Any:
        x = self.inner(self.embed(input_ids))
        x = x + x.mean(1, keepdim=True) if self.mixes else x
        return {"last_hidden_state": self.layers[0](x) if self.order else x}


def code(action: Callable[..., Any], *arguments: Any, **named: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments, **named)
    return caught.value


# ---- what it computes


@pytest.mark.parametrize("name", ONE_SIDED)
def test_packed_rows_are_read_as_each_example_alone(hf: Any, name: str) -> None:
    """Against the reference class itself, one example at a time, without padding (1e-5: sums in another order)."""
    model = wrapped(hf, name)
    objective = classify(model)
    batch = packed(objective, examples(), reserve=2)
    assert batch.side.segments.max() > 1
    states = model(batch, keep=Keep(layers=True))
    padding = batch.side.segments == 0
    assert padding.any()
    assert not states.last[padding].any()
    model.eval()
    for row, start, end in batch.spans.tolist():
        with torch.no_grad():
            out = model.body(batch.side.ids[row : row + 1, start:end], output_hidden_states=True)
        assert torch.allclose(states.last[row, start:end], out.last_hidden_state[0], atol=1e-5)
        assert len(states.layers) == len(out.hidden_states)
        for ours, theirs in zip(states.layers, out.hidden_states, strict=True):
            assert torch.allclose(ours[row, start:end], theirs[0], atol=1e-5)
    assert (states.encoder is states.last) == (model.config.encoder is not None)


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_two_sides_are_paired_by_row_and_segment(hf: Any, name: str) -> None:
    model = wrapped(hf, name)
    assert model.config.both
    ready = two_sided()
    batch = collate(ready, Shape(20, tight=False))
    assert batch.source is not None
    assert batch.side.segments.max() > 1
    states = model(batch, keep=Keep(layers=True))
    assert states.encoder is not None
    starts = {int(i): (int(r), int(s), int(e)) for i, (r, s, e) in zip(batch.indices, batch.spans, strict=True)}
    model.eval()
    for example in ready:
        assert example.source is not None
        assert example.target is not None
        ids, answer = (torch.from_numpy(np.asarray(p.ids))[None] for p in (example.source, example.target))
        with torch.no_grad():
            out = model.body(input_ids=ids, decoder_input_ids=answer, output_hidden_states=True)
        row, start, end = starts[example.index]
        assert torch.allclose(states.last[row, start:end], out.last_hidden_state[0], atol=1e-5)
        number = batch.side.segments[row, start]
        source = batch.source.segments[row] == number
        assert torch.allclose(states.encoder[row, source], out.encoder_last_hidden_state[0], atol=1e-5)
        assert torch.allclose(states.encoder_layers[1][row, source], out.encoder_hidden_states[1][0], atol=1e-5)
    odd = Batch(source=batch.source, target=Side.of(batch.side.ids))
    assert code(model, odd).code == "E-USAGE"
    assert code(model, Batch(target=batch.target)).code == "E-USAGE"


@pytest.mark.parametrize("name", ["deberta", "falcon", "mamba"])
def test_gradients_are_those_of_each_example_alone(hf: Any, name: str) -> None:
    """All parameters of body and head, relative to the largest of each tensor, below 1e-4."""
    model = wrapped(hf, name)
    step = Step(model, classify(model), noise=Noise(SEED))
    chosen = examples()
    model.requires_grad_(True)

    def gradients(batches: list[Batch]) -> dict[str, Tensor]:
        step.zero_grad()
        for batch in batches:
            step(batch, Noise(0)).terms["class"].total.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    one = gradients([packed(step.objective, chosen)])
    other = gradients([packed(step.objective, [example], rows=False) for example in chosen])
    assert one.keys() == other.keys()
    assert len(one) > 10
    for grad_name in one:
        scale = other[grad_name].abs().max().clamp(min=1e-3)
        assert (one[grad_name] - other[grad_name]).abs().max() / scale < 1e-4, grad_name


def test_token_types_reach_the_body(hf: Any) -> None:
    model = wrapped(hf, "deberta", type_vocab_size=2)
    assert model.config.table.types == 2
    ids = torch.tensor([[5, 6, 7, 8]])
    types = torch.tensor([[0, 0, 1, 1]])
    side = Side(ids, torch.arange(4)[None], torch.ones_like(ids), types=types)
    got = model(Batch(source=side)).last
    with torch.no_grad():
        theirs = model.body.eval()(ids, token_type_ids=types).last_hidden_state
    assert torch.allclose(got, theirs, atol=1e-5)
    assert not torch.allclose(got, model(Batch(source=Side.of(ids))).last, atol=1e-3)
    blind = wrapped(hf, "falcon")
    assert code(blind, Batch(target=side)).code == "E-USAGE"


def test_types_of_examples_that_are_read_one_length_at_a_time(hf: Any) -> None:
    model = wrapped(hf, "fnet")
    ids, types = torch.randint(3, VOCAB, (1, 9)), torch.tensor([[0, 1, 2, 3, 3, 0, 1, 1, 0]])
    places, numbers = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1]]), torch.tensor([[1, 1, 1, 1, 2, 2, 2, 3, 3]])
    got = model(Batch(source=Side(ids, places, numbers, types=types))).last[0]
    for number in (1, 2, 3):
        here = numbers[0] == number
        with torch.no_grad():
            alone = model.body.eval()(ids[:, here], token_type_ids=types[:, here]).last_hidden_state[0]
        assert torch.allclose(got[here], alone, atol=1e-5)


def test_segments_may_stand_in_any_order(hf: Any) -> None:
    model = wrapped(hf, "falcon")
    ids, places = torch.tensor([[7, 8, 9, 5, 6]]), torch.tensor([[0, 1, 2, 0, 1]])
    one, other = (
        model(Batch(target=Side(ids, places, torch.tensor([[*[a] * 3, *[b] * 2]])))).last for a, b in ((1, 2), (2, 1))
    )
    assert torch.allclose(one, other, atol=1e-6)
    mixed = Side(ids[:, [3, 0, 1, 4, 2]], places[:, [3, 0, 1, 4, 2]], torch.tensor([[2, 1, 1, 2, 1]]))
    assert torch.allclose(one[:, [3, 0, 1, 4, 2]], model(Batch(target=mixed)).last, atol=1e-6)


def test_what_it_is_was_seen_and_not_guessed(hf: Any) -> None:
    found = {name: wrapped(hf, name) for name in SHAPES}
    encoders = {n for n, m in found.items() if m.config.encoder is not None}
    assert encoders == {"deberta", "fnet", "roberta", "xlm", "bart", "t5"}
    assert {n for n, m in found.items() if m.config.both} == {"bart", "t5"}
    assert [n for n, m in found.items() if not m.found.masks] == ["fnet"]
    assert wrapped(hf, "roberta", pad_token_id=1).config.positions == 32  # two rows of its table are kept for padding
    assert found["mamba"].config.positions is None
    assert code(found["gpt2"].check_length, 33).code == "E-POSITION"
    assert all(m.config.width == WIDTH and m.config.table.vocab == VOCAB for m in found.values())
    said = HuggingFaceModel(model_of(hf, "deberta"), reads="decoder")
    assert said.config.encoder is None
    assert code(HuggingFaceModel, model_of(hf, "bart"), reads="encoder").code == "E-USAGE"


# ---- the reference class's own loss


@pytest.mark.parametrize("name", ["falcon", "mamba", "bloom", "gpt2"])
def test_the_causal_loss_is_that_of_the_reference_class(hf: Any, name: str) -> None:
    """The vocabulary head of a whole class is carried over, tied where it was tied."""
    whole = model_of(hf, name, "LMHeadModel" if name == "gpt2" else "ForCausalLM").train()
    model = HuggingFaceModel(whole)
    step = Step(model, CausalLM())
    head = model.heads["lm"]
    assert head.spec.tie == (whole.get_output_embeddings().weight is model.table)
    chosen = examples()
    batch = packed(step.objective, chosen)
    loss = step(batch, Noise(0)).terms["lm"]
    total = torch.zeros(())
    for example in chosen:
        ids = torch.from_numpy(np.asarray(example.ids))[None]
        total = total + whole(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1)
    assert float(loss.total.detach()) == pytest.approx(float(total.detach()), rel=1e-5)


def test_an_untied_head_is_carried(hf: Any) -> None:
    whole = model_of(hf, "falcon", "ForCausalLM", tie_word_embeddings=False)
    model = HuggingFaceModel(whole)
    assert not model.heads["lm"].spec.tie
    ids = torch.tensor([[4, 5, 6]])
    assert torch.allclose(model.logits(model(Batch(target=Side.of(ids))).last), whole.eval()(ids).logits, atol=1e-5)


def test_the_masked_loss_is_that_of_the_reference_class(hf: Any) -> None:
    """DeBERTa's head is BERT's: dense, activation, norm, tied product, bias. It is put into ours weight by weight."""
    whole = model_of(hf, "deberta", "ForMaskedLM").train()
    model = HuggingFaceModel(whole.base_model).train()
    objective = MaskedLM(MaskedPrepare(VOCAB, 4, rate=0.4))
    step = Step(model, objective)
    theirs, head = whole.cls.predictions, model.heads["lm"]
    with torch.no_grad():
        head.dense.weight.copy_(theirs.transform.dense.weight)
        head.dense.bias.copy_(theirs.transform.dense.bias)
        head.norm.weight.copy_(theirs.transform.LayerNorm.weight)
        head.norm.bias.copy_(theirs.transform.LayerNorm.bias)
        head.bias.copy_(theirs.bias)
    chosen = examples()
    batch = packed(objective, chosen)
    ours = step(batch, Noise(0)).terms["lm"]
    rows = packed(objective, chosen, rows=False)
    labels = torch.full_like(rows.side.ids, -100).reshape(-1)
    labels[rows.reads["lm"]] = rows.labels["lm"]
    mask = (rows.side.segments > 0).long()
    loss = whole(input_ids=rows.side.ids, attention_mask=mask, labels=labels.view(mask.shape)).loss
    assert float(ours.total.detach() / ours.weight) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_the_loss_of_classes_is_that_of_the_reference_class(hf: Any) -> None:
    """Its pooler is a dense layer with GELU on the first token."""
    whole = model_of(hf, "deberta", "ForSequenceClassification", num_labels=3, pooler_hidden_act="gelu").train()
    model = HuggingFaceModel(whole.base_model).train()
    head = ClassHead(outputs=3, hidden=True, activation="gelu")
    step = Step(model, Classify(LabelPrepare("source", 14, "class", first=1, last=2), head))
    with torch.no_grad():
        ours, pooler, scores = model.heads["class"], whole.pooler.dense, whole.classifier
        for one, two in ((ours.dense, pooler), (ours.output, scores)):
            one.weight.copy_(two.weight)
            one.bias.copy_(two.bias)
    batch, rows = (packed(step.objective, examples(), rows=way) for way in (True, False))
    term = step(batch, Noise(0)).terms["class"]
    mask = (rows.side.segments > 0).long()
    loss = whole(input_ids=rows.side.ids, attention_mask=mask, labels=rows.labels["class"]).loss
    assert float(term.total.detach() / term.weight) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_a_head_that_is_more_than_a_product_is_not_dropped(hf: Any) -> None:
    for name, kind in (("deberta", "ForMaskedLM"), ("deberta", "ForSequenceClassification")):
        error = code(HuggingFaceModel, model_of(hf, name, kind))
        assert error.code == "E-USAGE"
        assert "base_model" in error.remedy
    with_bias = model_of(hf, "bart", "ForConditionalGeneration")
    with_bias.final_logits_bias.fill_(0.0)[0, 3] = 1.0
    assert code(HuggingFaceModel, with_bias).code == "E-USAGE"
    vision = hf.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8)
    assert code(HuggingFaceModel, hf.ViTModel(vision)).code == "E-USAGE"


# ---- adapting it


def trainer_of(hf: Any, name: str, *strategies: Any, steps: int = 12, **more: Any) -> Trainer:
    model = wrapped(hf, name, **more.pop("shape", {}))
    step = Step(model, classify(model), noise=Noise(SEED))
    config = TrainConfig(
        steps=steps, batch=9, length=30, learning_rate=1e-2, precision="fp32", threads=1, warmup=0.0, **more
    )
    return Trainer(step, ListStream(examples(), SEED), strategies, config=config, seed=SEED)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("name", ["deberta", "falcon", "mamba", "fnet"])
def test_fine_tuning_lowers_the_loss(hf: Any, name: str) -> None:
    trainer = trainer_of(hf, name, steps=25)
    before = weights(trainer.model)
    losses = [record.loss for record in trainer.records()]
    assert losses[-1] < 0.5 * losses[0]
    assert len(changed(before, trainer.model)) > 0.8 * len(before)


@pytest.mark.parametrize("name", ["deberta", "falcon", "mamba"])
def test_a_probe_moves_the_head_alone(hf: Any, name: str) -> None:
    trainer = trainer_of(hf, name, Probe())
    before = weights(trainer.model)
    losses = [record.loss for record in trainer.records()]
    assert losses[-1] < losses[0]
    moved = changed(before, trainer.model)
    assert moved == {n for n in before if n.startswith("heads.class.")}
    assert frozen_depth(trainer.model, dict.fromkeys(moved, 1.0)) is None  # it cannot be cut: nothing is cached


def test_freezing_keeps_the_first_layers(hf: Any) -> None:
    trainer = trainer_of(hf, "deberta", Freeze(first=2), steps=2)
    before = weights(trainer.model)
    trainer.fit()
    moved = changed(before, trainer.model)
    assert not [
        n for n in moved if n.startswith(("body.embeddings.", "body.encoder.layer.0.", "body.encoder.layer.1."))
    ]
    assert not [n for n in moved if "rel_embeddings" in n or n.startswith("body.encoder.LayerNorm")]
    assert [n for n in moved if n.startswith("body.encoder.layer.2.")]
    assert [n for n in moved if n.startswith("heads.")]
    error = code(trainer_of, hf, "deberta", Freeze(first=4))
    assert error.code == "E-SITE"


def test_frozen_layers_drop_nothing(hf: Any) -> None:
    """A frozen block is in evaluation mode, and a body of which nothing moves drops nothing at all."""
    model = wrapped(hf, "deberta", hidden_dropout_prob=0.5)
    step = Step(model, classify(model), noise=Noise(SEED))
    apply_moving(model, compose([Freeze(first=2)], model, NOW))
    layers = model.body.encoder.layer
    assert [layer.output.dropout.training for layer in layers] == [False, False, True]
    assert not model.body.embeddings.dropout.training
    apply_moving(model, compose([Probe()], model, NOW))
    batch = packed(step.objective, examples())
    with dropping(Noise(1)):
        one = model(batch).last
    with dropping(Noise(2)):
        assert torch.equal(one, model(batch).last)


def test_a_frozen_body_that_drops_by_itself_drops_nothing(hf: Any) -> None:
    """BART's stacks drop embeddings in their own forward pass, by a mode that belongs to no part."""
    model = wrapped(hf, "bart", dropout=0.5)
    model.add_heads({"class": ClassHead(outputs=3)}, Noise(1))
    batch = collate(two_sided(), Shape(20))

    def differs() -> bool:
        found = []
        for seed in (1, 2):
            with dropping(Noise(seed)):
                found.append(model(batch).last)
        return not torch.equal(*found)

    apply_moving(model, compose([Probe()], model, NOW))
    assert model.body.encoder.training
    assert not differs()
    apply_moving(model, compose([], model, NOW))
    assert differs()


def test_rates_follow_the_depth(hf: Any) -> None:
    model = wrapped(hf, "falcon")
    model.add_heads({"class": ClassHead(outputs=3)}, Noise(1))
    rates = compose([Rates(head=5.0, decay=0.5)], model, NOW)
    assert rates["body.word_embeddings.weight"] == 0.25
    assert rates["body.h.0.mlp.dense_h_to_4h.weight"] == 0.5
    assert rates["body.h.1.mlp.dense_h_to_4h.weight"] == rates["body.ln_f.weight"] == 1.0
    assert rates["heads.class.output.weight"] == 5.0


@pytest.mark.parametrize("name", SHAPES)
def test_every_parameter_is_in_one_part(hf: Any, name: str) -> None:
    model = wrapped(hf, name)
    parts = parts_of(model)
    blocks = {"deberta": 3, "bart": 4, "t5": 4}.get(name, 2)
    assert len(parts.blocks) == blocks
    sizes = [sum(model.get_parameter(n).numel() for n in block.names) for block in parts.blocks]
    assert min(sizes) > 0
    lasts = {
        "falcon": {"body.ln_f.weight", "body.ln_f.bias"},
        "mamba": {"body.norm_f.weight"},
        "t5": {"body.encoder.final_layer_norm.weight", "body.decoder.final_layer_norm.weight"},
        "deberta": set(),
        "bart": set(),
        "xlm": set(),
    }
    if name in lasts:
        assert set(parts.last.names) == lasts[name]


def test_a_body_without_a_list_of_layers_is_one_block() -> None:
    model = HuggingFaceModel(Stranger())
    parts = parts_of(model)
    assert len(parts.blocks) == 1
    assert set(parts.body) == {"body.embed.weight", "body.inner.weight", "body.inner.bias"}
    assert model.config.table.types == 0  # its configuration knows types, it reads none
    assert code(model, Batch(target=Side.of(torch.tensor([[3, 4]]))), keep=Keep(layers=True)).code == "E-USAGE"


def test_a_mask_that_hides_nothing_is_found_out() -> None:
    """A body that takes a mask and mixes padding in all the same: it is read one length at a time."""
    model = HuggingFaceModel(Stranger(mixes=True))
    assert not model.found.masks
    batch = packed(classify(model), examples())
    states = model(batch).last
    for row, start, end in batch.spans.tolist():
        alone = model.body(batch.side.ids[row : row + 1, start:end])["last_hidden_state"]
        assert torch.allclose(states[row, start:end], alone[0], atol=1e-5)


def test_heads_are_renewed_and_replaced(hf: Any) -> None:
    model = wrapped(hf, "deberta")
    model.add_heads({"class": ClassHead(outputs=3)}, Noise(1))
    NewHead().attach(model, Noise(2))
    ReplacedHead(outputs=5).attach(model, Noise(2))
    assert model.heads["class"].output.weight.shape == (5, WIDTH)
    again = wrapped(hf, "deberta")
    again.add_heads({"class": ClassHead(outputs=5)}, Noise(2))
    assert torch.equal(model.heads["class"].output.weight, again.heads["class"].output.weight)


def test_regression_and_a_task_of_rows(hf: Any) -> None:
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)
    model = wrapped(hf, "deberta", vocab_size=tokenizer.vocab_size)
    task = LabelTask(Labels("class", ("a", "b", "c")), tokenizer, model.config, length=24)
    model.add_heads(task.objective.heads, Noise(1))
    rows = [{"text": "the fox " * (1 + n % 4), "label": "abc"[n % 3]} for n in range(12)]
    found = task.encode(rows)
    told = answers(task, model, found, 5)
    for answer, example in zip(told, found, strict=True):
        alone = answers(task, model, [example])[0]
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    value = Regress(LabelPrepare("source", 14, "value", first=1, last=2), ValueHead(), center=1.0, scale=2.0)
    step = Step(model, value, noise=Noise(SEED))
    term = step(packed(value, examples()), Noise(0)).terms["value"]
    assert torch.isfinite(term.total)


def test_bf16_products_over_fp32_masters(hf: Any) -> None:
    model = wrapped(hf, "deberta")
    batch = packed(classify(model), examples())
    exact = model(batch).last
    model.compute = torch.bfloat16
    seen = []
    model.body.encoder.layer[1].intermediate.dense.register_forward_hook(lambda m, a, out: seen.append(out.dtype))
    states = model(batch).last
    assert states.dtype is torch.bfloat16
    assert seen == [torch.bfloat16]
    assert all(p.dtype is torch.float32 for p in model.parameters())
    assert torch.allclose(states.float(), exact, atol=0.1)  # bf16 has eight bits
    assert not torch.equal(states.float(), exact)
    half = HuggingFaceModel(model_of(hf, "falcon").to(torch.bfloat16))
    assert half.table.dtype is torch.float32


def test_dropout_is_a_function_of_seed_and_step(hf: Any) -> None:
    model = wrapped(hf, "deberta", hidden_dropout_prob=0.3)
    batch = packed(classify(model), examples())
    before = torch.random.get_rng_state()
    with dropping(Noise(1)):
        one, again = model(batch).last, model(batch).last
    with dropping(Noise(2)):
        other = model(batch).last
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
    still = model(batch).last  # outside a step nothing is dropped, in whatever mode
    assert model.body.training
    assert torch.equal(still, model.eval()(batch).last)


def test_recomputed_blocks_give_the_same_gradients(hf: Any) -> None:
    model = wrapped(hf, "deberta", hidden_dropout_prob=0.3)
    step = Step(model, classify(model), noise=Noise(SEED))
    batch = packed(step.objective, examples())
    entered = 0

    def count(*_: Any) -> None:
        nonlocal entered
        entered += 1

    model.body.encoder.layer[1].attention.register_forward_hook(count)
    held = []
    for on in (False, True):
        model.checkpoint_blocks(on)
        step.zero_grad()
        step(batch, Noise(4)).terms["class"].total.backward()
        held.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert entered == 3
    assert all(torch.equal(held[0][n], held[1][n]) for n in held[0])
    model.checkpoint_blocks(False)
    step(batch, Noise(4))
    assert entered == 4


@pytest.mark.parametrize("name", ["deberta", "falcon"])
def test_a_resumed_run_is_the_same_run(hf: Any, name: str, tmp_path: Path) -> None:
    """Bit for bit, dropout on; and what the checkpoint holds is written as safetensors."""
    shape = {"hidden_dropout_prob": 0.2} if name == "deberta" else {"hidden_dropout": 0.2}
    whole, part, rest = (trainer_of(hf, name, steps=4, shape=shape) for _ in range(3))
    whole.fit()
    part.fit(2)
    kept = Checkpoints(tmp_path)
    kept.save(2, part.tensors(), part.state_dict())
    rest.load(*kept.load(2))
    rest.fit()
    ours, theirs = weights(whole.model), weights(rest.model)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_tied_weights_are_kept_once_and_loaded_everywhere(hf: Any, tmp_path: Path) -> None:
    model, other = wrapped(hf, "t5"), wrapped(hf, "t5")
    state = model.state_dict()
    assert "body.shared.weight" in state
    assert "body.encoder.embed_tokens.weight" not in state
    save_file(state, tmp_path / "weights.safetensors")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other.table, model.table)
    assert other.body.decoder.embed_tokens.weight is other.body.shared.weight


# ---- what it cannot do


def test_what_it_cannot_do_it_says(hf: Any) -> None:
    model = wrapped(hf, "falcon").eval()
    model.add_heads({"lm": LMHead()}, Noise(1))
    batch = Batch(target=Side.of(torch.tensor([[3, 4, 5]])))
    states = model(batch)
    for refused in (
        code(model, batch, keep=Keep(attention=True)),
        code(model, batch, start=Start(states.last, 1)),
        code(model, batch, Cache((), (), torch.zeros(1, 1), torch.zeros(1, 1))),
        code(generate, model, [np.array([3, 4])], max_new_tokens=2),
        code(model, Batch(target=Side.of(torch.tensor([[3, 4, 5]])), source=batch.target)),
    ):
        assert refused.code == "E-USAGE", refused
    later = Side(batch.side.ids, batch.side.positions + 1, batch.side.segments)
    assert code(Layout.of, later).code == "E-USAGE"
    prefix = Side(batch.side.ids, batch.side.positions, batch.side.segments, prefix=torch.ones(1, 3, dtype=torch.bool))
    assert code(model, Batch(target=prefix)).code == "E-USAGE"
    assert code(AddedLayers().attach, model, Noise(0)).code == "E-SITE"
    assert not isinstance(model, Transformer)
    recomputing = wrapped(hf, "fnet")
    recomputing.body.supports_gradient_checkpointing = False
    assert code(recomputing.checkpoint_blocks).code == "E-USAGE"
    recomputing.checkpoint_blocks(False)


# ---- sites


def test_sites_of_split_maps(hf: Any) -> None:
    model = wrapped(hf, "deberta")
    for kind, end in {
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
        "attention_output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }.items():
        sites = model.sites(kind)
        assert [site.hf_name for site in sites] == [f"encoder.layer.{n}.{end}" for n in range(3)]
        for site in sites:
            assert site.module is model.get_submodule(site.path)
            assert not site.transposed
            assert site.weight.shape == site.module.weight.shape
    error = code(model.sites, "gate")
    assert error.code == "E-SITE"
    assert "intermediate.dense" in error.what
    assert "query" in code(model.sites, "querry").remedy
    crossed = wrapped(hf, "bart").sites("query")
    assert [s.hf_name for s in crossed][-2:] == [
        "decoder.layers.1.self_attn.q_proj",
        "decoder.layers.1.encoder_attn.q_proj",
    ]


@pytest.mark.parametrize(("name", "sizes"), [("gpt2", (16, 16, 16)), ("falcon", (16, 4, 4))])
def test_sites_in_a_fused_map_are_rows(hf: Any, name: str, sizes: tuple[int, int, int]) -> None:
    """The oracle: queries of zero make attention uniform, keys of zero the same, values of zero leave nothing."""
    model = wrapped(hf, name)
    found = [model.sites(kind)[0] for kind in ("query", "key", "value")]
    assert tuple(site.weight.shape[0] for site in found) == sizes
    assert [site.rows.start for site in found] == [0, sizes[0], sizes[0] + sizes[1]]
    assert all(site.transposed == site.turned == (name == "gpt2") for site in found)
    assert all(site.weight.shape[1] == WIDTH for site in found)
    seen = {}
    block = model.body.h[0].attn if name == "gpt2" else model.body.h[0].self_attention
    block.register_forward_hook(lambda module, arguments, out: seen.update(out=out[0].detach()))

    def without(*sites: Any) -> Tensor:
        kept = {n: t.clone() for n, t in model.body.state_dict().items()}
        with torch.no_grad():
            for site in sites:
                site.weight.zero_()
                if site.module.bias is not None:
                    site.module.bias[site.rows].zero_()
            model.body.eval()(torch.tensor([[3, 4, 5, 6]]))
            model.body.load_state_dict(kept)
        return seen["out"]

    query, key, value = found
    uniform = without(query)
    assert torch.allclose(uniform, without(key), atol=1e-6)
    assert not torch.allclose(uniform, without(), atol=1e-4)
    nothing = without(value)
    assert torch.allclose(nothing, nothing[:, :1].expand_as(nothing), atol=1e-6)  # only the output's bias is left


@pytest.mark.parametrize("order", ["qkv", "kqv", "qvk", "vqk", "qqkvkv"])
def test_only_queries_then_keys_then_values_are_cut(order: str) -> None:
    model = HuggingFaceModel(Stranger(order))
    if order == "qkv":
        (site,) = model.sites("key")
        assert (site.rows.start, site.rows.stop) == (WIDTH, 2 * WIDTH)
    else:
        assert code(model.sites, "key").code == "E-SITE"


def test_interleaved_rows_are_refused(hf: Any) -> None:
    model = wrapped(hf, "bloom")
    error = code(model.sites, "query")
    assert error.code == "E-SITE"
    assert "query_key_value" in error.what
    assert len(model.sites("attention_output")) == 2
    rwkv = wrapped(hf, "rwkv")  # its feed-forward has a key and a value too, which are none of attention
    assert [site.hf_name for site in rwkv.sites("value")] == [f"blocks.{n}.attention.value" for n in range(2)]
    mamba = wrapped(hf, "mamba")
    assert "in_proj" in code(mamba.sites, "query").what


def test_a_site_of_a_whole_class_has_its_full_name(hf: Any) -> None:
    model = HuggingFaceModel(model_of(hf, "falcon", "ForCausalLM"))
    assert model.sites("down")[0].hf_name == "transformer.h.0.mlp.dense_4h_to_h"


# ---- folders


@pytest.mark.parametrize("name", ["deberta", "falcon", "mamba", "t5"])
def test_what_is_saved_is_loaded(hf: Any, name: str, tmp_path: Path) -> None:
    model = wrapped(hf, name)
    model.add_heads({"class": ClassHead(outputs=3, hidden=True), "lm": LMHead(bias=True)}, Noise(5))
    model.save(tmp_path / "model")
    again = HuggingFaceModel.load(tmp_path / "model")
    assert again.training
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    batch = collate(two_sided(), Shape(20)) if model.config.both else packed(classify(model), examples())
    assert torch.equal(model(batch).last, again(batch).last)
    assert again.config == model.config
    body = type(model.body).from_pretrained(tmp_path / "model")  # the reference library reads the body by itself
    assert all(torch.equal(p, dict(model.body.named_parameters())[n]) for n, p in body.named_parameters())
    again.save(tmp_path / "model")
    del model.heads["lm"], model.heads["class"]
    model.save(tmp_path / "model")
    assert not len(HuggingFaceModel.load(tmp_path / "model").heads)


def test_a_whole_class_is_loaded_by_name(hf: Any, tmp_path: Path) -> None:
    whole = model_of(hf, "falcon", "ForCausalLM", tie_word_embeddings=False)
    whole.save_pretrained(tmp_path)
    error = code(HuggingFaceModel.load, tmp_path)
    assert error.code == "E-KEYS"
    assert "lm_head.weight" in error.what
    model = HuggingFaceModel.load(tmp_path, architecture=hf.AutoModelForCausalLM)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.allclose(model.logits(model(Batch(target=Side.of(ids))).last), whole.eval()(ids).logits, atol=1e-5)
    assert not len(HuggingFaceModel.load(tmp_path, without=["lm_head"]).heads)
    assert code(HuggingFaceModel.load, tmp_path, without=["lm_hea"]).code == "E-KEYS"


def test_missing_weights_and_heads_are_refused(hf: Any, tmp_path: Path) -> None:
    model = wrapped(hf, "deberta")
    model.add_heads({"class": ClassHead(outputs=3)}, Noise(5))
    model.save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if "layer.1.output.dense.bias" not in n}, path, {"format": "pt"})
    assert code(HuggingFaceModel.load, tmp_path).code == "E-KEYS"
    save_file({**tensors, "encoder.LayerNorm.bias": torch.zeros(3)}, path, {"format": "pt"})
    assert code(HuggingFaceModel.load, tmp_path).code in ("E-KEYS", "E-CONFIG")
    save_file(tensors, path, {"format": "pt"})
    save_file({"class.output.weight": torch.zeros(3, WIDTH)}, tmp_path / "heads.safetensors")
    assert code(HuggingFaceModel.load, tmp_path).code == "E-KEYS"
    (tmp_path / "heads.safetensors").unlink()
    assert code(HuggingFaceModel.load, tmp_path).code == "E-KEYS"


def test_nothing_in_a_folder_can_run(hf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped(hf, "deberta").save(tmp_path)
    path = tmp_path / "config.json"
    said = json.loads(path.read_text())
    asked: list[Any] = []
    monkeypatch.setattr(hf.AutoModel, "from_pretrained", lambda *a, **k: asked.append(a))
    for key, value in {
        "auto_map": {"AutoModel": "evil.py"},
        "trust_remote_code": True,
        "_attn_implementation": "someone/kernel",
    }.items():
        path.write_text(json.dumps({**said, key: value}))
        assert code(HuggingFaceModel.load, tmp_path).code == "E-CONFIG-UNSAFE"
    path.write_text(json.dumps({**said, "quantization_config": {"quant_method": "gptq"}}))
    assert code(HuggingFaceModel.load, tmp_path).code == "E-CONFIG-VALUE"
    path.write_text(json.dumps(said))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/model"}))
    assert code(HuggingFaceModel.load, tmp_path).code == "E-USAGE"
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04" + pickle.dumps({"a": 1}))
    assert code(HuggingFaceModel.load, tmp_path).code == "E-UNSAFE-FORMAT"
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert code(HuggingFaceModel.load, tmp_path).code == "E-UNSAFE-FORMAT"
    assert code(HuggingFaceModel.load, tmp_path / "absent").code == "E-NO-FILE"
    assert code(HuggingFaceModel.load, "someone/model").code == "E-NO-FILE"
    assert not asked


def test_an_architecture_that_the_library_does_not_know(hf: Any, tmp_path: Path) -> None:
    wrapped(hf, "falcon").save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "nobody"}))
    assert code(HuggingFaceModel.load, tmp_path).code == "E-FAMILY"


def test_it_stands_at_the_front_door(monkeypatch: pytest.MonkeyPatch) -> None:
    assert modeledge.HuggingFaceModel is HuggingFaceModel
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    error = code(HuggingFaceModel, nn.Linear(1, 1))
    assert error.code == "E-EXTRA"
    assert "modeledge[transformers]" in error.remedy

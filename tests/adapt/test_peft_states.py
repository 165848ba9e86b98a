"""Prompts and prefixes against the PEFT library: one start, one set of examples, the same losses for 20 steps.

Theirs reads one example a row, padded; ours the same examples packed into rows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import rms_norm

from modeledge.adapt import MultitaskPromptTuning, PrefixTuning, PromptTuning, PTuning, Strategy
from modeledge.adapt.leading import own_names
from modeledge.families import load_model
from modeledge.model import Batch, Side
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

peft = pytest.importorskip("peft", reason="the PEFT library is the oracle, and is not installed")
transformers = pytest.importorskip("transformers")

WIDTH, VOCAB, LAYERS, LENGTHS, TASKS = 16, 37, 2, (5, 9, 3, 7), (0, 2, 1, 2)
STEPS, BOUND = 20, 1e-9
BODY = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "intermediate_size": 20}
KINDS = ("bert", "gpt2", "llama")


def theirs_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(5)
    if kind == "bert":
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = transformers.BertConfig(**BODY, **rates, num_attention_heads=2, max_position_embeddings=40)
        return transformers.BertModel(config, add_pooling_layer=False)
    if kind == "gpt2":
        rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        size = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": 40}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, **rates))
    exact = {"rope_type": "default", "rope_theta": 16.0}  # speeds 1 and 1/4: both libraries turn by fp32 angles
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 40}
    config = transformers.LlamaConfig(**BODY, **sizes, rope_parameters=exact, tie_word_embeddings=False)
    return transformers.LlamaForCausalLM(config)


def ids_of() -> tuple[torch.Tensor, torch.Tensor]:
    """Four examples, one a row, padded on the right, and their mask."""
    ids = torch.randint(1, VOCAB, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()


def packed_of(kind: str) -> Batch:
    """The same examples, two a row, with places kept free before some of them and behind."""
    ids, _ = ids_of()
    sides = [torch.zeros(2, 18, dtype=torch.long) for _ in range(3)]
    spans = []
    for example, (row, start) in enumerate(((0, 0), (0, 7), (1, 2), (1, 5))):
        where = (row, slice(start, start + LENGTHS[example]))
        sides[0][where] = ids[example, : LENGTHS[example]]
        sides[1][where] = torch.arange(LENGTHS[example])
        sides[2][where] = start + 1
        spans.append((row, start, start + LENGTHS[example]))
    side = Side(*sides)
    labels = {"task": torch.tensor(TASKS)}
    sides_of = {"source": side} if kind == "bert" else {"target": side}
    return Batch(**sides_of, spans=torch.tensor(spans), labels=labels)


def goal() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(sum(LENGTHS), WIDTH, generator=generator, dtype=torch.float64)


def loss_of(kind: str, out: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Of the states (an encoder) or scores (a decoder) of all tokens, example by example."""
    if kind == "bert":
        return (out - goal()).square().mean()
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    keep = torch.ones(len(ids), dtype=torch.bool).index_fill(0, ends, False)
    return torch.nn.functional.cross_entropy(out[keep], ids[1:][keep[:-1]])


def their_losses(kind: str, model: torch.nn.Module, length: int, *, tasks: bool) -> list[float]:
    ids, mask = ids_of()
    real = mask.bool()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(moving, lr=0.05), []
    more = {"task_ids": torch.tensor(TASKS)} if tasks else {}
    for _ in range(STEPS):
        said = model(input_ids=ids, attention_mask=mask, **more)
        out = said.last_hidden_state if kind == "bert" else said.logits
        loss = loss_of(kind, out[:, length:][real] if length else out[real], ids[real])
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def our_losses(kind: str, model: Transformer) -> list[float]:
    batch, names = packed_of(kind), own_names(model, "default")
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in names)
    optimizer, losses = torch.optim.AdamW([parameters[name] for name in names], lr=0.05), []
    for _ in range(STEPS):
        states = model(batch).last
        out = torch.cat([states[row, start:end] for row, start, end in batch.spans.tolist()])
        ids = torch.cat([batch.side.ids[row, start:end] for row, start, end in batch.spans.tolist()])
        loss = loss_of(kind, out if kind == "bert" else model.logits(out), ids)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def case(method: str, kind: str) -> tuple[object, Strategy]:
    """PEFT's configuration and our strategy."""
    task = "FEATURE_EXTRACTION" if kind == "bert" else "CAUSAL_LM"
    said = {"task_type": task, "num_virtual_tokens": 3}
    if method == "prompt":
        return peft.PromptTuningConfig(**said), PromptTuning(length=3)
    if method == "mpt":
        config = peft.MultitaskPromptTuningConfig(**said, num_tasks=3, num_ranks=2)
        return config, MultitaskPromptTuning(length=3, tasks=3, ranks=2)
    if method in ("lstm", "mlp"):
        config = peft.PromptEncoderConfig(
            **said, encoder_reparameterization_type=method.upper(), encoder_hidden_size=7, encoder_num_layers=2
        )
        return config, PTuning(length=3, encoder=method, hidden=7)
    hidden = 9 if method == "projection" else None
    config = peft.PrefixTuningConfig(**said, prefix_projection=hidden is not None, encoder_hidden_size=hidden)
    return config, PrefixTuning(length=3, projection=hidden is not None, hidden=hidden)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["prompt", "lstm", "mlp", "prefix", "projection", "mpt"])
def test_the_losses_are_those_of_peft(tmp_path: Path, method: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = theirs_of(kind)
    norm = transformers.models.llama.modeling_llama.LlamaRMSNorm  # theirs rounds to fp32 inside
    monkeypatch.setattr(norm, "forward", lambda n, x: rms_norm(x, n.weight.shape, n.weight, n.variance_epsilon))
    body.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    config, strategy = case(method, kind)
    if method == "mpt" and kind == "bert":
        pytest.skip("PEFT gives the task of an example to models of other kinds alone")
    theirs = peft.get_peft_model(body, config)
    strategy.attach(ours, Noise(0))
    ours.double()
    ours.compute = torch.float64
    ours.train()
    theirs.double()
    assert isinstance(ours, Transformer)
    take(ours, theirs.prompt_encoder["default"].state_dict())
    told = their_losses(kind, theirs, 0 if method in ("prefix", "projection") else 3, tasks=method == "mpt")
    found = our_losses(kind, ours)
    assert max(abs(a - b) for a, b in zip(told, found, strict=True)) <= BOUND
    assert told[-1] < told[0]


def take(model: Transformer, weights: dict[str, torch.Tensor]) -> None:
    """Their weights in our module: the names are the same, but for a prefix, which is one of up to three sets."""
    lead = model.leads["default"]
    names = dict(lead.named_parameters())
    assert len(names) == len(weights)
    with torch.no_grad():
        for name, parameter in names.items():
            parameter.copy_(weights[name.split(".", 2)[2] if name.startswith("sets.") else name])

"""A model with more rows: means of old ones, tied heads tied, and a folder that both libraries read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modeledge.families import load_model, save_model
from modeledge.model import LMHead, Transformer, TransformerConfig
from modeledge.model.batch import Batch, Side
from modeledge.model.boundary import Boundary, BoundaryHead
from modeledge.model.config import Attention, FeedForward, Stack, Tokens
from modeledge.model.vocabulary import extend_vocabulary
from modeledge.seed import Noise

PIECES = [[5, 6], [7, 8, 9], [5, 5, 1]]


@pytest.mark.parametrize("kind", ["gpt2", "bert", "t5"])
def test_the_extended_model_is_one_of_its_family(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 30, "tie_word_embeddings": True}
    torch.manual_seed(0)
    made = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**small, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        ),
        "bert": lambda: transformers.BertForMaskedLM(
            transformers.BertConfig(
                **small, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
            )
        ),
        "t5": lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                **{**small, "tie_word_embeddings": False}, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
            )
        ),
    }[kind]().eval()
    made.save_pretrained(tmp_path / "old")
    model = load_model(tmp_path / "old")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    side = Side.of(ids)
    batch = Batch(
        source=side if model.config.encoder is not None else None,
        target=side if model.config.decoder is not None else None,
    )
    model.eval()
    told = model.logits(model(batch).last).detach()
    extend_vocabulary(model, PIECES, 30)
    for name, value in model.state_dict().items():
        old = before[name]
        torch.testing.assert_close(value[: len(old)] if value.ndim else value, old, rtol=0, atol=0)
        if len(value) == 33:
            for number, pieces in enumerate(PIECES, 30):
                torch.testing.assert_close(value[number], old[pieces].mean(0))
    assert model.config.table.vocab == 33
    again = model.logits(model(batch).last).detach()
    torch.testing.assert_close(again[..., :30], told, rtol=0, atol=1e-6)
    save_model(model, tmp_path / "new")
    loaded = load_model(tmp_path / "new")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    theirs = type(made).from_pretrained(tmp_path / "new").eval()
    assert theirs.config.vocab_size == 33
    new = torch.tensor([[30, 31, 32, 5]])
    words = {"decoder_input_ids": new} if kind == "t5" else {}
    with torch.no_grad():
        scores = theirs(input_ids=new, **words).logits
        side = Side.of(new)
        batch = Batch(batch.source and side, batch.target and side)
        torch.testing.assert_close(loaded.eval().logits(loaded(batch).last), scores, rtol=0, atol=1e-5)


def test_spare_rows_are_used_before_the_table_grows() -> None:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16))
    model = Transformer(TransformerConfig(width=8, embed=Tokens(vocab=32), decoder=stack))
    model.add_heads({"lm": LMHead(tie=False, bias=True)}, Noise(0))
    old = model.tokens.detach().clone()
    extend_vocabulary(model, [[1, 2]], 30)
    assert model.tokens.shape == (32, 8)
    assert torch.equal(model.tokens[31], old[31])
    torch.testing.assert_close(model.tokens[30], old[1:3].mean(0))
    extend_vocabulary(model, PIECES, 31)
    assert model.tokens.shape == model.heads["lm"].weight.shape == (34, 8)
    assert model.heads["lm"].bias.shape == (34,)
    assert model.config.table.vocab == 34


def test_a_span_boundary_head_gains_the_same_rows(tmp_path: Path) -> None:
    """Its bias is one number an id, like that of the head beside it: a domain may be read on with both."""
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16))
    model = Transformer(TransformerConfig(width=8, embed=Tokens(vocab=30), encoder=stack))
    model.add_heads({"lm": LMHead(transform=True, bias=True), "sbo": BoundaryHead(places=4, place_width=8)}, Noise(0))
    head = model.heads["sbo"]
    assert isinstance(head, Boundary)
    assert head.bias is not None
    with torch.no_grad():
        head.bias.copy_(torch.arange(30.0))
    old = head.bias.detach().clone()
    extend_vocabulary(model, PIECES, 30)
    assert torch.equal(head.bias[:30], old)
    assert head.bias[30:].tolist() == pytest.approx([old[ids].mean().item() for ids in PIECES])
    save_model(model, tmp_path / "new")
    again = load_model(tmp_path / "new").heads["sbo"]
    assert torch.equal(again.state_dict()["bias"], head.bias)

"""A decoder read both ways, and an encoder with a decoder: which weights are whose, against the reference library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model_small import STACKS, batch_of, build, packed

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.model import Batch, LMHead, Patches, Side, Transformer, TransformerConfig
from modeledge.model.reshape import reading_both_ways, with_decoder
from modeledge.seed import Noise

# ---- a decoder read both ways


@pytest.mark.parametrize("kind", STACKS)
def test_it_is_the_encoder_of_these_weights(kind: str) -> None:
    decoder = build(kind, "decoder")
    decoder.add_heads({"lm": LMHead()}, Noise(1))
    state = {name: value.clone() for name, value in decoder.state_dict().items()}
    encoder = Transformer(replace(decoder.config, encoder=decoder.config.decoder, decoder=None))
    encoder.load_state_dict({n: v for n, v in state.items() if not n.startswith("heads.")})
    turned = reading_both_ways(decoder)
    assert turned.config == encoder.config
    assert all(torch.equal(value, state[name]) for name, value in turned.state_dict().items())
    side = packed([[5, 2, 4], [1, 7]], 13, 1)
    assert torch.equal(turned(batch_of(side, "encoder")).last, encoder(batch_of(side, "encoder")).last)
    assert turned.logits(turned(batch_of(side, "encoder")).last).shape == (2, 13, len(turned.tokens))


@pytest.mark.parametrize("kind", [name for name, stack in STACKS.items() if None in stack.attention.windows])
def test_a_later_token_influences_an_earlier_state(kind: str) -> None:
    ids = torch.arange(6)[None]

    def reached(model: Transformer, shape: str) -> list[int]:
        model.zero_grad()
        model(batch_of(Side.of(ids), shape)).last[0, 1].pow(3).sum().backward()
        return list(model.tokens.grad.any(1).nonzero().flatten().tolist())

    model = build(kind, "decoder")
    assert reached(model, "decoder") == [0, 1]
    assert reached(reading_both_ways(model), "encoder") == list(range(6))


def test_what_is_no_decoder_alone_cannot_be_turned() -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        reading_both_ways(build("bert", "encoder"))
    both = TransformerConfig(
        width=16, embed=build("bare", "decoder").config.embed, encoder=STACKS["bare"], decoder=STACKS["bare"]
    )
    with pytest.raises(ModeledgeError, match="reads an encoder"):
        reading_both_ways(Transformer(both))


# ---- an encoder with a decoder


def encoder(tmp_path: Path, width: int = 16) -> tuple[object, Transformer]:
    """A tiny BERT with a masked-LM head, its weights away from their start: theirs and ours."""
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=41, hidden_size=width, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20,
        max_position_embeddings=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = hf.BertForMaskedLM(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path / "bert")
    return theirs, load_model(tmp_path / "bert")


def test_bert_to_bert_is_that_of_the_reference_library(tmp_path: Path) -> None:
    """EncoderDecoderModel out of the same checkpoint, with our attention over the source put into it."""
    hf = pytest.importorskip("transformers")
    _, bert = encoder(tmp_path)
    ours = with_decoder(bert, "copied", seed=3).eval()
    theirs = hf.EncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path / "bert", tmp_path / "bert").eval()
    names = {"attention.output.LayerNorm": "cross_norm", "attention.output.dense": "cross.output"}
    names |= {f"attention.self.{part}": f"cross.{part}" for part in ("query", "key", "value")}
    state = ours.state_dict()
    with torch.no_grad():
        for number, layer in enumerate(theirs.decoder.bert.encoder.layer):
            for name, mine in names.items():
                module = layer.get_submodule("cross" + name)
                for end in ("weight", "bias"):
                    getattr(module, end).copy_(state[f"tower.blocks.{number}.{mine}.{end}"])
    draw = torch.Generator().manual_seed(1)
    below, above = (torch.randint(0, 41, (2, n), generator=draw) for n in (9, 6))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    told = theirs(input_ids=below, attention_mask=mask, decoder_input_ids=above).logits
    found = ours.logits(ours(Batch(source=Side.of(below, mask.sum(1)), target=Side.of(above))).last)
    torch.testing.assert_close(found, told, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", ["copied", "fresh", "shared"])
def test_which_weights_are_those_of_the_encoder(tmp_path: Path, decoder: str) -> None:
    _, bert = encoder(tmp_path)
    old = {name: value.clone() for name, value in bert.state_dict().items()}
    new = with_decoder(bert, decoder, seed=3)  # type: ignore[arg-type]
    fresh = Transformer(new.config, seed=3)
    assert new.config.share_sides is (decoder == "shared")
    counted = {"old": 0, "drawn": 0}
    for name, value in new.state_dict().items():
        above = name.startswith(("tower.", "target_norm."))
        if ".cross" in name or (above and decoder == "fresh"):
            counted["drawn"] += 1
            assert torch.equal(value, fresh.state_dict()[name]), name
            continue
        counted["old"] += 1
        origin = name.removeprefix("source_").replace("target_norm", "embed_norm")
        told = old[origin] + old["types"][0] if "position" in name else old[origin]
        assert torch.equal(value, told), name
    assert counted["drawn"] >= 20 <= counted["old"]
    ids = torch.randint(0, 41, (2, 9), generator=torch.Generator().manual_seed(1))
    both = Batch(source=Side.of(ids), target=Side.of(ids[:, :4]))
    torch.testing.assert_close(new.encode(both), bert(Batch(source=Side.of(ids))).last, rtol=1e-5, atol=1e-5)
    assert torch.equal(bert.state_dict()["tower.position.weight"], old["tower.position.weight"])


def test_the_sizes_of_rothe_et_al() -> None:
    """Their table 1: 221 M with a decoder of its own, 136 M shared; ours within 1 %."""
    from modeledge.recipes.presets import PRESETS

    for shared, told in ((False, 221e6), (True, 136e6)):
        bert = PRESETS["bert-base"](30522)
        shape = replace(bert, embed=replace(bert.embed, types=0), decoder=bert.encoder, share_sides=shared)
        with torch.device("meta"):
            found = sum(p.numel() for p in Transformer(shape).parameters())
        assert found == pytest.approx(told, rel=0.01)


def test_only_an_encoder_of_texts_is_given_a_decoder() -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        with_decoder(build("gpt2", "decoder"), "copied", seed=0)
    pictures = TransformerConfig(
        width=16,
        embed=Patches(image=8, patch=4),
        encoder=STACKS["bert"],
    )
    with pytest.raises(ModeledgeError, match="encoder of texts"):
        with_decoder(Transformer(pictures), "copied", seed=0)
    typed = build("bert", "encoder").config
    assert typed.encoder is not None
    with pytest.raises(ModeledgeError, match="learned positions"):
        with_decoder(Transformer(replace(typed, encoder=replace(typed.encoder, position=None))), "copied", seed=0)

"""The sizes of the papers, counted on the meta device, and the same models built by the reference library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from modeledge.families import FAMILIES
from modeledge.model import ClassHead, Head, LMHead, TokenHead, Transformer, TransformerConfig
from modeledge.objectives import MaskedLM, MaskedPrepare
from modeledge.recipes.presets import HEADS, PRESETS
from modeledge.seed import Noise

MLM = dict(MaskedLM(MaskedPrepare(vocab=9, mask=1)).heads)
BERT = {"attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1}
POOLER = {"next": ClassHead(outputs=2, hidden=True, dropout=0.1)}


def bert(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


def gpt2(width: int, layers: int, heads: int) -> dict[str, int]:
    return {"n_embd": width, "n_layer": layers, "n_head": heads}


def t5(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"d_model": width, "d_ff": inner, "d_kv": 64, "num_layers": layers, "num_heads": heads, **more}


V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def bart(width: int, layers: int, heads: int) -> dict[str, Any]:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width))
    }
    return {"d_model": width, "attention_dropout": 0.1, "activation_dropout": 0.1, **sides}


# preset: family, vocabulary, the class and the configuration of the reference library, our heads, millions in all
ROWS: dict[str, tuple[str, int, str, Mapping[str, Any], Mapping[str, Head], float]] = {
    "gpt1": ("openai-gpt", 40478, "OpenAIGPTLMHeadModel", {}, {"lm": LMHead()}, 116.5),
    "gpt2": ("gpt2", 50257, "GPT2LMHeadModel", gpt2(768, 12, 12), {"lm": LMHead()}, 124.4),
    "gpt2-medium": ("gpt2", 50257, "GPT2LMHeadModel", gpt2(1024, 24, 16), {"lm": LMHead()}, 354.8),
    "gpt2-large": ("gpt2", 50257, "GPT2LMHeadModel", gpt2(1280, 36, 20), {"lm": LMHead()}, 774.0),
    "gpt2-xl": ("gpt2", 50257, "GPT2LMHeadModel", gpt2(1600, 48, 25), {"lm": LMHead()}, 1557.6),
    "bert-tiny": ("bert", 30522, "BertForPreTraining", bert(128, 2, 2), {**MLM, **POOLER}, 4.4),
    "bert-mini": ("bert", 30522, "BertForPreTraining", bert(256, 4, 4), {**MLM, **POOLER}, 11.3),
    "bert-small": ("bert", 30522, "BertForPreTraining", bert(512, 4, 8), {**MLM, **POOLER}, 29.1),
    "bert-base": ("bert", 30522, "BertForPreTraining", bert(768, 12, 12), {**MLM, **POOLER}, 110.1),
    "bert-large": ("bert", 30522, "BertForPreTraining", bert(1024, 24, 16), {**MLM, **POOLER}, 336.2),
    "roberta-base": (
        "roberta", 50265, "RobertaForMaskedLM", {"max_position_embeddings": 514, "type_vocab_size": 1,
        "layer_norm_eps": 1e-5, "vocab_size": 50265}, MLM, 124.7,
    ),
    "electra-small": (
        "electra", 30522, "ElectraForPreTraining", {"embedding_size": 128, **bert(256, 12, 4)},
        {"replaced": TokenHead(outputs=1, hidden=True)}, 13.6,
    ),
    "electra-base": (
        "electra", 30522, "ElectraForPreTraining", {"embedding_size": 768, **bert(768, 12, 12)},
        {"replaced": TokenHead(outputs=1, hidden=True)}, 109.5,
    ),
    "albert-base": ("albert", 30000, "AlbertForMaskedLM", {**bert(768, 12, 12)}, MLM, 11.2),
    "t5-small": ("t5", 32128, "T5ForConditionalGeneration", t5(512, 2048, 6, 8), {"lm": LMHead()}, 60.5),
    "t5-base": ("t5", 32128, "T5ForConditionalGeneration", t5(768, 3072, 12, 12), {"lm": LMHead()}, 222.9),
    "t5-large": ("t5", 32128, "T5ForConditionalGeneration", t5(1024, 4096, 24, 16), {"lm": LMHead()}, 737.7),
    "t5-v1.1-small": ("t5", 32128, "T5ForConditionalGeneration", t5(512, 1024, 8, 6, **V11), {}, 77.0),
    "t5-v1.1-base": ("t5", 32128, "T5ForConditionalGeneration", t5(768, 2048, 12, 12, **V11), {}, 247.6),
    "t5-v1.1-large": ("t5", 32128, "T5ForConditionalGeneration", t5(1024, 2816, 24, 16, **V11), {}, 783.2),
    "bart-base": ("bart", 50265, "BartForConditionalGeneration", bart(768, 6, 12), {}, 139.4),
    "bart-large": ("bart", 50265, "BartForConditionalGeneration", bart(1024, 12, 16), {}, 406.3),
}  # fmt: skip


def built(name: str, vocab: int, heads: Mapping[str, Head]) -> Transformer:
    with torch.device("meta"):
        model = Transformer(PRESETS[name](vocab))
        model.add_heads({**heads, **HEADS.get(name, {})}, Noise(0))
    return model


def counted(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ROWS)
def test_a_preset_is_that_of_the_reference_library(name: str) -> None:
    """The configuration read from theirs is ours, field by field, dropout too; parameters, heads counted, are as many
    as theirs, and as the papers (or the authors' checkpoints) say."""
    hf = pytest.importorskip("transformers")
    family, vocab, kind, said, heads, millions = ROWS[name]
    ours, kinds = built(name, vocab, heads), getattr(hf, kind)
    config = kinds.config_class(**{"vocab_size": vocab, **said})
    assert FAMILIES[family].read_config({**config.to_diff_dict(), "model_type": family})[0] == ours.config
    config.tie_word_embeddings = said.get("tie_word_embeddings", True)  # T5Config of release 5 says True of all
    with torch.device("meta"):
        theirs = kinds(config)
    theirs.set_input_embeddings(theirs.get_input_embeddings())  # T5's one table, whatever of it is tied to the scores
    assert counted(ours) == counted(theirs)
    assert counted(ours) / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_printed_sizes() -> None:
    """Issue and papers: without heads where they count so. One slide prints 16 layers for BERT-large: 234 M."""
    assert counted(built("bert-large", 30522, {})) / 1e6 == pytest.approx(334, abs=0.6)
    assert counted(built("bert-large", 30522, POOLER)) / 1e6 == pytest.approx(335.1, abs=0.1)
    with torch.device("meta"):
        from modeledge.recipes.presets import bert as shape

        slide = Transformer(shape(30522, 1024, 16, 16))
        slide.add_heads(POOLER, Noise(0))
    assert counted(slide) / 1e6 == pytest.approx(234, abs=0.5)
    assert counted(built("albert-base", 30000, POOLER)) / 1e6 == pytest.approx(11.7, abs=0.1)
    assert counted(built("transformer-2017", 37000, {"lm": LMHead()})) / 1e6 == pytest.approx(65, rel=0.035)


def test_the_rows_of_the_t5_table() -> None:
    """Table 2 of Raffel et al.: 2P, P and P parameters beside a decoder's P, but for the attention over the source (a
    third of a layer's products) and the embeddings, which all have once."""

    def body(name: str) -> int:
        model = built(name, 64, {})
        return counted(model) - model.tokens.numel()

    one = body("decoder-small")
    assert body("encoder-decoder-small") / one == pytest.approx(2 + 1 / 3, rel=0.01)
    assert body("encoder-decoder-shared-small") / one == pytest.approx(1 + 1 / 3, rel=0.01)
    assert body("encoder-decoder-half-small") / one == pytest.approx(1 + 1 / 6, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_one_of_a_row_or_our_own(name: str) -> None:
    config = PRESETS[name](1000)
    assert isinstance(config, TransformerConfig)
    assert config.table.vocab == 1000
    assert name in ROWS or name.startswith(("decoder-", "encoder-", "transformer-2017"))

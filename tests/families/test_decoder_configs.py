"""Configurations of the decoders that grew out of Llama: published ones, older spellings, defaults, and refusals."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders_published import PUBLISHED

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model
from modeledge.families.family import Extra, blank, shortest
from modeledge.families.rules import needed
from modeledge.families.table import NOT_BUILT, find_family
from modeledge.model import Batch, LMHead, Rotary, Side, TokenHead, TransformerConfig

KINDS = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "phi3", "gemma", "gemma2", "gemma3_text")
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LONG = {"short_factor": [1.0] * 24 + [1.5] * 24, "long_factor": [2.0] * 24 + [40] * 24}
SU = {"original_max_position_embeddings": 4096, "max_position_embeddings": 131072}


def read(said: dict[str, Any]) -> TransformerConfig:
    return find_family(said["model_type"]).read_config(said)[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_is_read_with_all_its_weights(hf: Any, name: str) -> None:
    """As many numbers as its card says, under the names of the reference library, and the file is given back."""
    count, said = PUBLISHED[name]
    family = find_family(said["model_type"])
    config, extra = family.read_config(said)
    heads = family.heads(said, ())
    model = blank(config, heads)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert family.write_config(config, extra) == said
    told = hf.AutoConfig.for_model(**{key: copy.deepcopy(value) for key, value in said.items() if key != "auto_map"})
    with torch.device("meta"):
        reference = hf.AutoModelForCausalLM.from_config(told)
    assert set(needed(family.rules(config, heads))) == {name for name, _ in reference.named_parameters()}


SPELLINGS = [
    *({"model_type": kind} for kind in KINDS),
    *({**said, "model_type": said["model_type"]} for _, said in PUBLISHED.values()),
    *({"model_type": kind, "rope_theta": 300.0} for kind in KINDS),
    *({"model_type": kind, "rope_theta": 300.0, "rope_scaling": LINEAR} for kind in KINDS if kind != "phi3"),
    {"model_type": "llama", "rope_parameters": {"factor": 2.0, "rope_type": "yarn"}, "rope_theta": 7.0},
    {"model_type": "llama", "num_key_value_heads": None, "num_attention_heads": 8},
    {"model_type": "mistral", "sliding_window": None},
    {"model_type": "qwen2", "use_sliding_window": True, "rope_scaling": YARN, "rope_theta": 1e6},
    {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 5},
    {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": None},
    {"model_type": "qwen3", "use_sliding_window": False, "sliding_window": 9, "max_window_layers": 0},
    {"model_type": "smollm3", "no_rope_layer_interval": 5, "use_sliding_window": True, "sliding_window": 9},
    {"model_type": "smollm3", "sliding_window": 9},
    {"model_type": "smollm3", "num_hidden_layers": 3, "no_rope_layers": [1, 0, 0, 1]},
    {"model_type": "phi3", "partial_rotary_factor": 0.75},
    {"model_type": "phi3", "rope_theta": 9.0, **SU, "rope_scaling": {**LONG, "type": "longrope"}},
    {"model_type": "phi3", **SU, "rope_scaling": {**LONG, "type": "longrope", "attention_factor": 1.2}},
    {"model_type": "phi3", **SU, "rope_scaling": {**LONG, "rope_type": "longrope", "factor": 3.0}},
    {"model_type": "gemma", "hidden_act": "gelu"},
    {"model_type": "gemma2", "query_pre_attn_scalar": 144, "head_dim": 128},
    {"model_type": "gemma3_text", "sliding_window_pattern": 3, "rope_local_base_freq": 70.0, "rope_theta": 10.0},
    {"model_type": "gemma3_text", "rope_local_base_freq": 70.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    {"model_type": "gemma3_text", "rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_theta": 3.0}}},
]


@pytest.mark.parametrize("said", SPELLINGS, ids=lambda said: "-".join(str(value) for value in said.values())[:60])
def test_what_is_left_out_or_said_in_an_older_way_is_filled_in_as_the_reference_does(
    hf: Any, said: dict[str, Any]
) -> None:
    """The reference library's own configuration, in full, is read as the same model."""
    mine = {key: copy.deepcopy(value) for key, value in said.items() if key != "auto_map"}
    full = hf.AutoConfig.for_model(**mine).to_dict()
    full = {key: value for key, value in full.items() if not key.startswith(("_attn", "_experts", "_output"))}
    family = find_family(said["model_type"])
    assert read(said) == read(full)
    assert family.heads(said, {"lm_head.weight"}) == family.heads({**full, "architectures": None}, {"lm_head.weight"})


def test_first_names_that_this_release_of_the_reference_no_longer_takes() -> None:
    """Phi-3's `su` was renamed longrope; in Gemma 3 `type` beside an unsaid `rope_type` is overlooked there."""
    phi = {"model_type": "phi3", **SU}
    longrope = read({**phi, "rope_scaling": {**LONG, "type": "longrope"}})
    assert read({**phi, "rope_scaling": {**LONG, "type": "su"}}) == longrope
    linear = read({"model_type": "gemma3_text", "rope_scaling": LINEAR})
    assert read({"model_type": "gemma3_text", "rope_scaling": {"type": "linear", "factor": 4.0}}) == linear
    assert linear != read({"model_type": "gemma3_text"})


REFUSED = [
    *(({"model_type": kind, "num_hidden_layers": 10**9}, "num_hidden_layers", "from 1 to 1000") for kind in KINDS),
    ({"model_type": "llama", "rope_theta": 10**400}, "rope_theta", "above 0"),
    ({"model_type": "gemma", "hidden_size": 10**400}, "hidden_size", "at least 1"),
    ({"model_type": "gemma2", "query_pre_attn_scalar": 10**400}, "query_pre_attn_scalar", "finite"),
    (
        {"model_type": "phi3", "original_max_position_embeddings": 1, "rope_scaling": LONG | {"type": "su"}},
        "longrope",
        "at least 2",
    ),
    ({"model_type": "llama", "rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor", "whole"),
    ({"model_type": "llama", "rope_scaling": LINEAR, "rope_parameters": YARN}, "rope_scaling", "differ"),
    ({"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic", "longrope"),
    ({"model_type": "mistral", "sliding_window": 0}, "sliding_window is 0", "at least 1"),
    ({"model_type": "mistral", "layer_types": []}, "layer_types", "unknown key"),
    ({"model_type": "qwen2", "layer_types": 32 * ["sliding_attention"]}, "no window", "sliding_window"),
    ({"model_type": "qwen2", "layer_types": ["full_attention"]}, "1 layers", "32"),
    ({"model_type": "qwen3", "layer_types": 32 * ["chunked_attention"]}, "layer_types", "full_attention"),
    ({"model_type": "qwen2", "use_mrope": True}, "use_mrope", "False"),
    ({"model_type": "smollm3", "no_rope_layers": [1]}, "no_rope_layers", "36 layers"),
    ({"model_type": "smollm3", "no_rope_layers": 36 * [2]}, "no_rope_layers", "a list of 0 and 1"),
    ({"model_type": "olmo2", "clip_qkv": 8.0}, "clip_qkv", "None"),
    ({"model_type": "phi3", "rope_scaling": LINEAR}, "linear", "longrope"),
    ({"model_type": "phi3", **SU, "rope_scaling": {"type": "su", "short_factor": [1.0]}}, "long_factor", "needs"),
    ({"model_type": "phi3", **SU, "rope_scaling": {**LONG, "type": "su", "long_factor": []}}, "long_factor", "[]"),
    ({"model_type": "phi3", **SU, "rope_scaling": {**LONG, "type": "su", "long_factor": [1.0]}}, "48 angles", "far"),
    ({"model_type": "phi3", "auto_map": {"AutoConfig": "evil.Config"}}, "auto_map", "no code is run"),
    ({"model_type": "gemma", "hidden_activation": "gelu"}, "hidden_activation", "tanh"),
    ({"model_type": "gemma2", "use_bidirectional_attention": True}, "use_bidirectional_attention", "False"),
    ({"model_type": "gemma2", "sliding_window": None}, "no window", "sliding_window"),
    ({"model_type": "gemma3_text", "attn_logit_softcapping": 50.0}, "attn_logit_softcapping", "None"),
    ({"model_type": "gemma3_text", "rope_parameters": {"rope_theta": 1e6}}, "full_attention", "sliding_attention"),
    (
        {
            "model_type": "gemma3_text",
            "rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_type": "linear", "factor": 2.0}},
        },
        "stretched",
        "window",
    ),
]


@pytest.mark.parametrize(("said", "one", "two"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_would_be_computed_otherwise_is_refused(said: dict[str, Any], one: str, two: str) -> None:
    with pytest.raises(ModeledgeError) as caught:
        read(said)
    assert one in str(caught.value)
    assert two in str(caught.value)


@pytest.mark.parametrize("kind", [*NOT_BUILT, "no-such-family"])
def test_a_family_that_is_not_built_is_refused_by_name(hf: Any, kind: str) -> None:
    with pytest.raises(ModeledgeError, match="E-FAMILY") as caught:
        find_family(kind)
    assert kind in str(caught.value)
    assert ("HuggingFaceModel" in caught.value.remedy) == (kind in NOT_BUILT)
    assert (kind in NOT_BUILT) == (kind in hf.models.auto.configuration_auto.CONFIG_MAPPING_NAMES)
    assert kind not in FAMILIES


@pytest.mark.parametrize("name", ["Llama-3.2-1B", "gemma-3-1b-it"])
def test_a_changed_rotation_replaces_the_older_spelling_of_it(name: str) -> None:
    said = PUBLISHED[name][1]
    family = find_family(said["model_type"])
    config, extra = family.read_config(said)
    position = config.stack.position
    assert isinstance(position, Rotary)
    assert config.decoder is not None
    moved = replace(config, decoder=replace(config.decoder, position=replace(position, base=77.0)))
    written = family.write_config(moved, extra)
    assert not written.keys() & {"rope_theta", "rope_scaling", "rope_local_base_freq"}
    assert family.read_config(written)[0] == moved


LACKS = [
    ("llama", "mistral", "attention.windows"),
    ("mistral", "qwen2", "attention.bias"),
    ("qwen2", "qwen3", "attention.qk_norm"),
    ("llama", "smollm3", "position.layers"),
    ("llama", "olmo2", "norm.place"),
    ("mistral", "gemma", "embed.scale"),
    ("gemma", "gemma2", "norm.place"),
    ("gemma2", "gemma3_text", "attention.qk_norm"),
]


@pytest.mark.parametrize(("page", "other", "what"), LACKS)
def test_a_page_does_not_write_what_it_cannot_say(page: str, other: str, what: str) -> None:
    small = {"num_hidden_layers": 4, "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = read({"model_type": other, **small})
    assert FAMILIES[other].lacks(config, {}) == []
    assert any(what in reason for reason in FAMILIES[page].lacks(config, {}))


def test_heads_and_numbers_that_a_page_cannot_say() -> None:
    config = read({"model_type": "gemma2"})
    assert FAMILIES["gemma2"].lacks(config, {"lm": LMHead(softcap=3.0)}) == []
    assert FAMILIES["gemma2"].lacks(config, {"span": TokenHead(outputs=2)})
    assert FAMILIES["mistral"].lacks(read({"model_type": "mistral"}), {"lm": LMHead(softcap=3.0)})
    assert config.decoder is not None
    third = replace(config.decoder, attention=replace(config.decoder.attention, scale=0.3))
    assert any("attention.scale" in why for why in FAMILIES["gemma2"].lacks(replace(config, decoder=third), {}))
    phi = read({"model_type": "phi3"})
    assert phi.decoder is not None
    apart = replace(phi, decoder=replace(phi.decoder, attention=replace(phi.decoder.attention, qkv="split")))
    assert FAMILIES["phi3"].lacks(apart, {}) == []
    linear = read({"model_type": "mistral", "rope_scaling": LINEAR})
    assert linear.decoder is not None
    assert any("linear" in why for why in FAMILIES["phi3"].lacks(linear, {}))


def test_the_same_model_said_otherwise_is_written_all_the_same() -> None:
    """Lists at full length, and numbers that say what would be so anyway."""
    config = read({"model_type": "gemma3_text", "num_hidden_layers": 6, "sliding_window_pattern": 2})
    assert config.decoder is not None
    attention = config.decoder.attention
    assert attention.windows == (4096, None)
    long = replace(attention, windows=attention.windows * 3, scale=256**-0.5)
    again = replace(config, decoder=replace(config.decoder, attention=long))
    assert FAMILIES["gemma3_text"].lacks(again, {}) == []
    position = config.decoder.position
    assert isinstance(position, Rotary)
    assert position.local_base == 10_000.0
    same = replace(config, decoder=replace(config.decoder, position=replace(position, local_base=position.base)))
    assert FAMILIES["gemma3_text"].lacks(same, {}) == []
    unused = replace(config.decoder, attention=replace(attention, windows=(None,)), position=position)
    assert FAMILIES["gemma3_text"].lacks(replace(config, decoder=unused), {}) == []
    wrong = replace(config, decoder=replace(config.decoder, attention=replace(attention, windows=(4096, 9))))
    assert FAMILIES["gemma3_text"].lacks(wrong, {})


def test_the_text_body_of_a_multimodal_gemma_is_read_as_the_refusal_says(hf: Any, tmp_path: Path) -> None:
    text = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "head_dim": 8}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 3}
    sight = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    sight |= {"image_size": 28, "patch_size": 14}
    config = hf.Gemma3Config(text_config=text, vision_config=sight, image_token_index=60, mm_tokens_per_image=4)
    whole = hf.Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    with pytest.raises(ModeledgeError, match=r"E-FAMILY.*images.*language_model"):
        load_model(tmp_path / "whole")
    whole.model.language_model.save_pretrained(tmp_path / "text")
    ids = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    last = load_model(tmp_path / "text").eval()(Batch(target=Side.of(ids))).last
    assert (last - whole.model(ids).last_hidden_state).abs().max() <= 1e-5


def test_shortest() -> None:
    assert shortest([1, 1, 1]) == (1,)
    assert shortest([1, 2, 1, 2, 1]) == (1, 2)
    assert shortest([1, 1, 2]) == (1, 1, 2)
    assert shortest([1, 2, 2, 1]) == (1, 2, 2)


def test_extra_is_what_was_said() -> None:
    said = {"model_type": "qwen3", "bos_token_id": 7}
    assert find_family("qwen3").read_config(said)[1] == Extra(said)

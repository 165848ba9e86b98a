"""GGUF files: kinds of numbers against their formulas, a model against the reference library, and files that lie."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import load_gguf, load_model, save_model
from modeledge.families.blocks import KINDS
from modeledge.model import Batch, Side

SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 41}
SIZE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
LETTERS = {"B": 0, "I": 4, "f": 6, "?": 7, "Q": 10}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, value: Any) -> bytes:
    """One key with its value; a pair of a letter and a number says the kind of number."""
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        return text(name) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    letter, number = value
    return text(name) + struct.pack("<I" + letter, LETTERS[letter], number)


def written(keys: dict[str, Any], tensors: dict[str, tuple[int, tuple[int, ...], bytes]]) -> bytes:
    """A GGUF file of version 3; each tensor is (kind, shape, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(key(k, v) for k, v in keys.items())
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", kind, len(data))
        data += raw + b"\0" * (-len(raw) % 32)
    return head + b"\0" * (-len(head) % 32) + data


KEYS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "llama.block_count": ("I", 2),
    "llama.embedding_length": ("I", 32),
    "llama.feed_forward_length": ("I", 64),
    "llama.attention.head_count": ("I", 4),
    "llama.attention.head_count_kv": ("I", 2),
    "llama.attention.layer_norm_rms_epsilon": ("f", 1e-5),
    "llama.context_length": ("I", 64),
    "llama.rope.freq_base": ("f", 500.0),
    "llama.rope.dimension_count": ("I", 8),
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.ggml.bos_token_id": ("I", 1),
}
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip


def neighbours(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """As llama.cpp's converter deals the rows out, from its published script: halves become neighbours."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def stored(model: Any, *, tied: bool, norms: int = 0) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    """A reference model's weights in fp32 under the names of the format."""
    out = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        parts = name.removesuffix(".weight").split(".", 3)
        stem = f"blk.{parts[2]}.{PARTS[parts[3]]}" if len(parts) == 4 else PARTS[".".join(parts)]
        turned = {"attn_q": 4, "attn_k": 2}.get(stem.rpartition(".")[2])
        rows = tensor if turned is None else neighbours(tensor, turned)
        out[f"{stem}.weight"] = (0, tuple(rows.shape), rows.contiguous().numpy().tobytes())
    return out


@pytest.fixture(scope="module")
def tiny(hf: Any) -> Any:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 500.0}
    config = hf.LlamaConfig(**SIZE, rms_norm_eps=1e-5, tie_word_embeddings=False, rope_parameters=rope)
    model = hf.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_a_file_gives_the_reference_librarys_logits(tiny: Any, hf: Any, tmp_path: Path, tied: bool) -> None:
    if tied:
        tiny = hf.LlamaForCausalLM(hf.LlamaConfig(**{**tiny.config.to_dict(), "tie_word_embeddings": True})).eval()
    (tmp_path / "a.gguf").write_bytes(written(KEYS, stored(tiny, tied=tied)))
    model, ids = load_gguf(tmp_path / "a.gguf").eval(), torch.arange(3, 20)[None]
    with torch.no_grad():
        told, wanted = model.logits(model(Batch(target=Side.of(ids))).last), tiny(ids).logits
    assert (told - wanted).abs().max() <= 1e-5
    save_model(model, tmp_path / "folder")
    again = load_model(tmp_path / "folder").eval()
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again.logits(again(Batch(target=Side.of(ids))).last), told)
    assert hf.AutoConfig.from_pretrained(tmp_path / "folder").tie_word_embeddings is tied


def slow(name: str, raw: bytes) -> list[float]:
    """A block's numbers in float64, from the format's words."""
    f16 = [float(x) for x in np.frombuffer(raw[:4], "<f2")]
    match name:
        case "Q8_0":
            return [f16[0] * q for q in struct.unpack("32b", raw[2:])]
        case "Q4_0":
            low, high = ([(b >> s & 15) - 8 for b in raw[2:]] for s in (0, 4))
            return [f16[0] * q for q in low + high]
        case "Q4_1":
            low, high = ([b >> s & 15 for b in raw[4:]] for s in (0, 4))
            return [f16[0] * q + f16[1] for q in low + high]
        case "F16":
            return [float(np.frombuffer(raw, "<f2")[0])]
        case "BF16":
            return [struct.unpack("<f", b"\0\0" + raw)[0]]
    return [struct.unpack("<f", raw)[0]]


@pytest.mark.parametrize("kind", KINDS, ids=[name for name, *_ in KINDS.values()])
def test_each_kind_is_its_formula(kind: int) -> None:
    name, size, count, read = KINDS[kind]
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (200, size), dtype=np.uint8)
    scales = draw.normal(size=(200, 2)).astype("<f2").view(np.uint8)
    if count > 1:  # scales of every bit pattern would be infinite or no numbers at all
        blocks[:, : 4 if name == "Q4_1" else 2] = scales[:, : 4 if name == "Q4_1" else 2]
    told = read(blocks.reshape(-1)).reshape(200, count)
    assert told.dtype == np.float32
    wanted = np.array([slow(name, block.tobytes()) for block in blocks])
    with np.errstate(invalid="ignore"):
        same = np.abs(told - wanted) <= 1e-6 * np.abs(wanted) + 1e-6
    assert (same | (told == wanted) | (np.isnan(told) & np.isnan(wanted))).all()
    if importlib.util.find_spec("gguf") is not None:
        package = importlib.import_module("gguf")
        theirs = package.quants.dequantize(blocks.reshape(-1), package.GGMLQuantizationType(kind))
        assert np.array_equal(told.reshape(-1), theirs.reshape(-1), equal_nan=True)


def refused(path: Path, raw: bytes, code: str, words: str = ".") -> None:
    path.write_bytes(raw)
    with pytest.raises(ModeledgeError, match=words) as caught:
        load_gguf(path)
    assert caught.value.code == code, caught.value
    assert str(path) in str(caught.value)


def test_what_is_not_known_is_refused(tiny: Any, tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.gguf", stored(tiny, tied=False)
    for name, value, code, words in (
        ("general.architecture", "falcon", "E-FAMILY", "'falcon' is not read from GGUF"),
        ("llama.expert_count", ("I", 4), "E-CONFIG-KEY", "llama.expert_count"),
        ("llama.rope.scaling.type", "linear", "E-CONFIG-KEY", "llama.rope.scaling.type"),
        ("split.count", ("I", 2), "E-CONFIG-KEY", "split.count"),
        ("llama.rope.dimension_count", ("I", 4), "E-CONFIG-VALUE", "only a head's width, 8"),
        ("llama.block_count", ("I", 3), "E-KEYS", "model.layers.2"),
        ("llama.block_count", ("I", 1), "E-KEYS", "unexpected: model.layers.1"),
        ("llama.block_count", "two", "E-CONFIG-VALUE", "num_hidden_layers"),
        ("llama.vocab_size", ("I", 40), "E-VOCAB-SIZE", "40 ids"),
        ("llama.attention.head_count", ("I", 3), "E-CONFIG", "3 heads"),
        ("llama.attention.head_count_kv", ("I", 1), "E-KEYS", "attention.key.weight"),
        ("general.alignment", ("I", 0), "E-GGUF", "alignment is 0"),
    ):
        refused(path, written({**KEYS, name: value}, tensors), code, words)
    rope = {**tensors, "rope_freqs.weight": (0, (4,), b"\0" * 16)}
    refused(path, written(KEYS, rope), "E-KEYS", "rope_freqs")
    odd = {**tensors, "token_embd.weight": (14, (41, 32), b"\0" * 4000)}
    refused(path, written(KEYS, odd), "E-GGUF", "unknown kind 14; read here: F32, F16, Q4_0")
    part = {**tensors, "output_norm.weight": (8, (31,), b"\0" * 34)}
    refused(path, written(KEYS, part), "E-GGUF", "whole blocks of 32")
    with pytest.raises(ModeledgeError, match="E-NO-FILE"):
        load_gguf(tmp_path / "b.gguf")


def test_lengths_that_lie_are_refused_at_once(tiny: Any, tmp_path: Path) -> None:
    """Counts of 2⁶⁰ in every place that has one, offsets that share bytes, names that come twice."""
    path, whole = tmp_path / "a.gguf", written(KEYS, stored(tiny, tied=False))
    huge = struct.pack("<Q", 1 << 60)
    places = {"tensors": 8, "keys": 16, "first name": 24, "array": whole.index(b"ggml.tokens") + len("ggml.tokens") + 8}
    for place in places.values():
        refused(path, whole[:place] + huge + whole[place + 8 :], "E-GGUF")
    numbers = text("tokenizer.x") + struct.pack("<IIQ", 9, 10, 1 << 60)
    refused(path, b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + numbers, "E-GGUF", "more than there are")
    at = whole.index(b"output_norm.weight") + len("output_norm.weight")
    refused(path, whole[: at + 4] + huge + whole[at + 12 :], "E-GGUF", "ends at byte")
    refused(path, whole[: at + 16] + struct.pack("<Q", 4) + whole[at + 24 :], "E-GGUF", "within the tensor before it")
    again = whole.replace(b"blk.0.attn_q.weight", b"blk.1.attn_q.weight", 1)
    refused(path, again, "E-GGUF", "is there twice")
    refused(path, whole.replace(b"general.name", b"general.nam\xff"), "E-GGUF", "UTF-8")
    refused(path, b"GGUF", "E-GGUF", "too short")
    refused(path, b"GGML" + whole[4:], "E-GGUF", "does not begin with GGUF")
    refused(path, whole[:4] + struct.pack("<I", 1) + whole[8:], "E-GGUF", "version is 1")
    refused(path, whole[:4] + struct.pack(">I", 3) + whole[8:], "E-GGUF", "version is 50331648")
    refused(path, whole[:-40], "E-GGUF", "ends at byte")


def test_no_spoilt_file_does_anything_but_give_a_model_or_an_error(tiny: Any, tmp_path: Path) -> None:
    path, whole = tmp_path / "a.gguf", written(KEYS, stored(tiny, tied=False))
    draw, head, errors = np.random.default_rng(0), whole.index(b"blk.1.ffn_down.weight") + 60, 0
    for number in range(300):
        raw = bytearray(whole)
        if number % 3 == 0:
            raw = raw[: draw.integers(0, len(raw))]
        else:
            for place in draw.integers(0, head, number % 3):
                raw[place] = draw.integers(0, 256)
        path.write_bytes(raw)
        try:
            load_gguf(path)
        except ModeledgeError:
            errors += 1
    assert errors > 100

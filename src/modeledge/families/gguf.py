"""GGUF files of the Llama family, made plain: `load_gguf` gives a model, `save_model` then writes it as a folder.

GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) is one file: a header of typed keys and of tensor
names, then the tensors. Quantised ones are made fp32 once: see `modeledge.families.blocks`.

The rows of queries and keys lie as rotary positions of neighbours want them (x₀ turned with x₁), while a Llama folder
turns halves: they are dealt back, evens before odds within each head.

The header is parsed here and not by the `gguf` package, whose reader trusts the lengths it is told: a made-up one of
2⁶⁰ numbers keeps it busy until the memory is gone. Every length is held against the file before it is used. Nothing in
the format can run; the chat template is text that is not looked at.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from modeledge.errors import ModeledgeError, printable
from modeledge.families.blocks import KINDS, Floats
from modeledge.families.checkpoint import assemble
from modeledge.families.decoders.llama import LLAMA
from modeledge.families.folder import located
from modeledge.model.transformer import Transformer

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, ALIGNMENT, MAX_DIMENSIONS = 8, 9, 32, 4

# keys that say the shape, and what a Llama folder calls them
NAMES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
}
WIDTHS = ("rope.dimension_count", "attention.value_length")  # known where they are a head's width
SPECIAL = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}
INERT = ("general.", "tokenizer.", "quantize.")  # where it came from and how it is spelled: nothing is computed with it

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def load_gguf(path: str | Path) -> Transformer:
    """A model out of a GGUF file of the Llama family, in fp32. Its tokenizer is not read.

    Raises `E-NO-FILE`, `E-GGUF` (damaged, or a kind of number that is not known here), `E-FAMILY`, `E-CONFIG-KEY`,
    `E-CONFIG-VALUE`, `E-KEYS`.
    """
    with located(Path(path)):
        said, tensors = read_gguf(Path(path))
        return assemble(LLAMA, LLAMA.read_config(said)[0], said, tensors, {"format": "pt"})


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The file as a Llama folder would say it: `config.json`, and tensors under their names there."""
    if not path.is_file():
        raise ModeledgeError("E-NO-FILE", "there is no such file")
    with path.open("rb") as file:
        if path.stat().st_size < 24:
            damaged("it is too short")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            header = Header(raw)
            keys, entries, start = header.read()
            said = configured(keys, entries)
            tensors = {}
            for entry in entries.values():
                name, turned = renamed(entry.name, said)
                rows = torch.from_numpy(entry.numbers(raw, start))
                tensors[name] = rows if turned is None else halved(rows, turned, entry.name)
    return said, tensors


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: `start` bytes into the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int

    @property
    def size(self) -> int:
        """Its bytes."""
        _, block, count, _ = KINDS[self.kind]
        return math.prod(self.shape) // count * block

    def numbers(self, raw: mmap.mmap, data: int) -> Floats:
        """The tensor in fp32, copied."""
        first = data + self.start
        whole = np.frombuffer(raw[first : first + self.size], np.uint8)
        return KINDS[self.kind][3](whole).reshape(self.shape)


class Header:
    """The first part of the file, read from its beginning; nothing is believed that does not fit the file."""

    def __init__(self, raw: mmap.mmap) -> None:
        self.raw, self.place = raw, 0

    def read(self) -> tuple[dict[str, Any], dict[str, Entry], int]:
        """Keys, tensors by name, and where the data begin. Arrays, which no shape is said by, are passed over."""
        if self.raw[:4] != b"GGUF":
            damaged("it does not begin with GGUF")
        self.place = 4
        version, tensors, count = self.take("I"), self.take("Q"), self.take("Q")
        if version not in (2, 3):
            damaged(f"its version is {version}; 2 and 3 are read here")
        keys: dict[str, Any] = {}
        for _ in range(count):
            name = self.text()
            if name in keys:
                damaged(f"the key {name!r} is there twice")
            keys[name] = self.value(self.take("I"))
        entries: dict[str, Entry] = {}
        for _ in range(tensors):
            entry = self.entry()
            if entry.name in entries:
                damaged(f"the tensor {entry.name!r} is there twice")
            entries[entry.name] = entry
        step = keys.get("general.alignment", ALIGNMENT)
        if type(step) is not int or step < 1:
            damaged(f"its alignment is {step!r}")
        start = -(-self.place // step) * step
        check_places(entries, len(self.raw) - start)
        return keys, entries, start

    def take(self, letter: str) -> Any:
        """One number."""
        try:
            (value,) = struct.unpack_from("<" + letter, self.raw, self.place)
        except struct.error:
            damaged("it ends within its header")
        self.place += struct.calcsize("<" + letter)
        return value

    def skip(self, size: int) -> None:
        if size > len(self.raw) - self.place:
            damaged(f"its header announces {size:,} bytes more than there are")
        self.place += size

    def text(self) -> str:
        size = self.take("Q")
        first = self.place
        self.skip(size)
        try:
            return self.raw[first : first + size].decode()
        except UnicodeDecodeError:
            damaged("a text of its header is not UTF-8")

    def value(self, kind: int) -> Any:
        """A key's value; `None` for an array."""
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self.take(SCALARS[kind])
        if kind != ARRAY:
            damaged(f"a key has a value of the unknown kind {kind}")
        inner, count = self.take("I"), self.take("Q")
        if inner in SCALARS:
            self.skip(count * struct.calcsize("<" + SCALARS[inner]))
        elif inner == STRING:
            for _ in range(count):
                self.skip(self.take("Q"))
        else:
            damaged(f"a key has an array of the unknown kind {inner}")
        return None

    def entry(self) -> Entry:
        """One tensor's name, shape (stored from the innermost outwards), kind and place."""
        name, dimensions = self.text(), self.take("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            damaged(f"{name!r} has {dimensions} dimensions")
        shape = tuple(self.take("Q") for _ in range(dimensions))[::-1]
        kind, start = self.take("I"), self.take("Q")
        if kind not in KINDS:
            known = ", ".join(name for name, *_ in KINDS.values())
            remedy = f"read here: {known}; others are made plain by transformers (gguf_file=)"
            raise ModeledgeError("E-GGUF", f"{printable(name)} is stored in the unknown kind {kind}", remedy=remedy)
        if 0 in shape or shape[-1] % KINDS[kind][2]:
            damaged(f"{name!r} {list(shape)} is not made of whole blocks of {KINDS[kind][2]}")
        return Entry(name, shape, kind, start)


def check_places(entries: Mapping[str, Entry], room: int) -> None:
    """Every tensor lies within the data, and no two share a byte."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.start):
        if entry.start < end:
            damaged(f"{entry.name!r} begins at byte {entry.start:,}, within the tensor before it")
        end = entry.start + entry.size
        if end > room:
            damaged(f"{entry.name!r} ends at byte {end:,}; there are {room:,}")


def configured(keys: Mapping[str, Any], entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The keys as a Llama folder's `config.json`."""
    kind = keys.get("general.architecture")
    if kind != "llama":
        raise ModeledgeError(
            "E-FAMILY", f"the architecture {printable(repr(kind))} is not read from GGUF", remedy="llama"
        )
    said: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    widths = {}
    for key, value in keys.items():
        name = key.removeprefix("llama.")
        if key.startswith("tokenizer.ggml.") and key.removeprefix("tokenizer.ggml.") in SPECIAL:
            said[SPECIAL[key.removeprefix("tokenizer.ggml.")]] = value
        elif name in NAMES:
            said[NAMES[name]] = value
        elif name == "rope.freq_base":
            rope["rope_theta"] = value
        elif name in WIDTHS:
            widths[name] = value
        elif not key.startswith(INERT):
            why = "it could change what the model computes"
            raise ModeledgeError("E-CONFIG-KEY", f"unknown key {printable(key)!r}", where=printable(key), why=why)
    if "vocab_size" not in said and "token_embd.weight" in entries:
        said["vocab_size"] = entries["token_embd.weight"].shape[0]
    said |= {"rope_parameters": rope, "tie_word_embeddings": "output.weight" not in entries}
    config = LLAMA.read_config(said)[0]
    width = config.stack.attention.head_width or config.width // config.stack.attention.heads
    for name, value in widths.items():
        if value != width:
            what = f"{name} is {value!r}; only a head's width, {width}, is computed here"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=f"llama.{name}")
    return said


def renamed(name: str, said: Mapping[str, Any]) -> tuple[str, int | None]:
    """A tensor's name in a Llama folder, and of how many heads its rows are dealt out; unknown names stay, to be
    refused with all others."""
    match = re.fullmatch(r"blk\.(\d+)\.([a-z_]+)\.weight", name)
    if match is None:
        stem = name.removesuffix(".weight")
        return (f"{OUTSIDE[stem]}.weight" if stem in OUTSIDE and stem != name else name), None
    number, part = match.groups()
    heads = said["num_attention_heads"]
    turned = {"attn_q": heads, "attn_k": said.get("num_key_value_heads", heads)}.get(part)
    return (f"model.layers.{number}.{LAYER[part]}.weight" if part in LAYER else name), turned


def halved(rows: Tensor, heads: int, name: str) -> Tensor:
    """Rows in which neighbours are turned → rows in which halves are, `[heads · head width, width]`."""
    if rows.ndim != 2 or len(rows) % (2 * heads):
        damaged(f"{name!r} {list(rows.shape)} is not {heads} heads of pairs")
    return rows.view(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def damaged(what: str) -> NoReturn:
    raise ModeledgeError("E-GGUF", printable(what))

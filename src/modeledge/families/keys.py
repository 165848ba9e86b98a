"""The keys of a `config.json`, each with what it may be.

Every key is one of four: it shapes the arithmetic and is read; it could shape the arithmetic, and we know one value of
it alone; it cannot change a number and is carried verbatim; or it is refused. Keys that make a loader run code are
refused by a code of their own. An explicit list is longer than a guess, and never wrong in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable

RUNS_CODE = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "_target_",
        "attn_implementation",
        "auto_map",
        "custom_pipelines",
        "trust_remote_code",
    }
)

# what every Hugging Face configuration may hold and no forward pass reads
INERT = frozenset(
    {
        # where it came from
        "_attn_implementation_autoset", "_commit_hash", "_model_name_or_path", "_name_or_path", "architectures",
        "dtype", "finetuning_task", "model_type", "name_or_path", "tokenizer_class", "torch_dtype",
        "transformers_version",
        # labels and losses
        "_num_labels", "id2label", "label2id", "num_labels", "problem_type", "task_specific_params",
        # what is returned and how memory is used
        "chunk_size_feed_forward", "gradient_checkpointing", "output_attentions", "output_hidden_states", "output_past",
        "output_scores", "return_dict", "return_dict_in_generate", "tf_legacy_loss", "torchscript", "use_bfloat16",
        "use_cache", "xla_device",
        # special tokens and decoding
        "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty",
        "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
        "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty",
        "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
        "pad_token_id", "prefix", "remove_invalid_values", "repetition_penalty", "sep_token_id", "suppress_tokens",
        "temperature", "top_k", "top_p", "typical_p", "unk_token_id",
    }
)  # fmt: skip

# keys that would change the arithmetic, with the only values that are known here
FIXED: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "per_layer_config": (None, {}),
    "pruned_heads": (None, {}),
    "tie_encoder_decoder": (False,),
    "tie_last_hidden_states": (None,),
}

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
SPELLED = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Key:
    """One key that shapes the arithmetic; `default` is what the reference library takes where it is left out."""

    name: str
    default: Any
    fits: Callable[[Any], bool]
    wants: str


def count(name: str, default: int | None, *, null: bool = False) -> Key:
    """A whole number of at least 1 that fits 64 bits; `null`, or `None` as default, allows null."""
    null = null or default is None
    return Key(name, default, lambda v: _whole(v) or (v is None and null), "a whole number of at least 1")


def whole(name: str, default: int) -> Key:
    """A whole number of at least 0."""
    return Key(name, default, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")


def rate(name: str, default: float | None) -> Key:
    """A dropout rate; `None` as default allows null."""
    return Key(
        name, default, lambda v: (_number(v) and 0 <= v < 1) or (v is None and default is None), "a number in [0, 1)"
    )


def positive(name: str, default: float | None, *, null: bool = False) -> Key:
    """A number above 0; `null`, or `None` as default, allows null."""
    null = null or default is None
    return Key(
        name, default, lambda v: (_number(v) and 0 < v <= LARGEST) or (v is None and null), "a finite number above 0"
    )


def choice(name: str, default: str, words: Collection[str]) -> Key:
    """One of a few words."""
    return Key(name, default, lambda v: isinstance(v, str) and v in words, "one of " + ", ".join(sorted(words)))


def flag(name: str, default: bool) -> Key:
    """True or false."""
    return Key(name, default, lambda v: isinstance(v, bool), "true or false")


@dataclass(frozen=True)
class Keys:
    """All keys that one family knows."""

    shape: tuple[Key, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    inert: frozenset[str]

    def read(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The values that shape the arithmetic, defaults filled in.

        Raises `E-CONFIG-UNSAFE` (a key that runs code), `E-CONFIG-KEY` (unknown), `E-CONFIG-VALUE`.
        """
        refuse_code({name: value for name, value in said.items() if value not in self.fixed.get(name, ())})
        known = {key.name: key for key in self.shape}
        for name, value in said.items():
            if name in self.fixed:
                if not any(value == v and type(value) is type(v) for v in self.fixed[name]):
                    only = " or ".join(repr(v) for v in self.fixed[name])
                    what = f"{name} is {shown(value)}; only {only} is computed here"
                    raise ModeledgeError("E-CONFIG-VALUE", what, where=name, remedy="use another checkpoint")
            elif name in known:
                if not known[name].fits(value):
                    what = f"{name} is {shown(value)}, and must be {known[name].wants}"
                    raise ModeledgeError("E-CONFIG-VALUE", what, where=name)
            elif name not in self.inert:
                raise ModeledgeError(
                    "E-CONFIG-KEY",
                    f"unknown key {printable(name)!r}",
                    where=printable(name),
                    why="it could change what the model computes",
                    remedy=nearest(name, [*known, *self.fixed]),
                )
        return {name: said.get(name, key.default) for name, key in known.items()}


def refuse_code(said: Any) -> None:
    """Refuse a configuration with a key, at any depth, that makes loaders run code (`E-CONFIG-UNSAFE`)."""
    for key in _keys(said):
        if key in RUNS_CODE:
            raise ModeledgeError(
                "E-CONFIG-UNSAFE",
                f"the key {key!r} names code to run",
                where=key,
                why="a checkpoint is data, and no code is run that data name",
                remedy="remove the key if the model needs no code of its own",
            )


def changed(said: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it was said, with what differs between `before` and `now` written over it.

    What did not change keeps its spelling, and what was left out stays out.
    """
    new = {key: value for key, value in now.items() if key not in before or before[key] != value}
    return {**said, **new}


def shown(value: Any) -> str:
    """A value from a file, short and safe for a terminal."""
    return printable(repr(value), 60)


def _keys(value: Any) -> Iterator[str]:
    """All keys at any depth, but for names of labels, which are free text."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            yield from item
            stack += [part for key, part in item.items() if key != "label2id"]
        elif isinstance(item, list):
            stack += item


def _whole(value: Any) -> bool:
    return type(value) is int and 1 <= value < 1 << 63


def _number(value: Any) -> bool:
    return type(value) in (int, float)

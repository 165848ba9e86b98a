"""Llama 2 and 3 (Touvron et al. 2023, arXiv 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783): a decoder with
RMSNorm before each sub-layer, rotary positions (stretched in 3.1), grouped-query attention, SwiGLU and no biases.

SmolLM2 and many others are of this shape and name it. `DECODER` and the functions below are what the families that grew
out of it share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modeledge.families.bert import named
from modeledge.families.family import Extra, Family, label_count, label_keys, respelled, unsayable
from modeledge.families.keys import FIXED, INERT, Keys, changed, choice, count, flag, positive, rate
from modeledge.families.rope import ROPE_KEYS, plain_rope, read_rope
from modeledge.families.rules import Keep, Rename, Rule, Tie
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead
from modeledge.model.kinds import Rotary

KEYS = Keys(
    shape=(
        count("vocab_size", 32000),
        count("hidden_size", 4096),
        count("intermediate_size", 11008),
        count("num_hidden_layers", 32),
        count("num_attention_heads", 32),
        count("num_key_value_heads", None),
        count("head_dim", None),
        count("max_position_embeddings", 2048),
        choice("hidden_act", "silu", ("silu",)),
        positive("initializer_range", 0.02),
        positive("rms_norm_eps", 1e-6),
        rate("attention_dropout", 0.0),
        rate("classifier_dropout", None),
        flag("attention_bias", False),
        flag("mlp_bias", False),
        flag("tie_word_embeddings", False),
        *ROPE_KEYS,
    ),
    fixed={**FIXED, "pretraining_tp": (1, None), "rope_interleaved": (False,)},
    inert=INERT | {"is_llama_config", "rope_interleaved"},
)

# what each class of the reference library puts on the body
HEADS: dict[str, str | None] = {
    "Model": None,
    "ForCausalLM": "lm",
    "ForSequenceClassification": "class",
    "ForTokenClassification": "tags",
    "ForQuestionAnswering": "span",
}


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(
            heads=v["num_attention_heads"],
            kv_heads=v["num_key_value_heads"],
            head_width=v["head_dim"],
            bias=v["attention_bias"],
        ),
        feedforward=FeedForward(width=v["intermediate_size"], kind="swiglu", bias=v["mlp_bias"]),
        norm=Norm(kind="rms", eps=v["rms_norm_eps"]),
        position=read_rope(v, longest=v["max_position_embeddings"]),
        dropout=Dropout(attention=v["attention_dropout"]),
    )
    return decoder(v, stack), Extra(said)


def decoder(v: Mapping[str, Any], stack: Stack) -> TransformerConfig:
    """A decoder over one table of tokens."""
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["hidden_size"], embed=embed, decoder=stack, init=v["initializer_range"])


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    return {"model_type": "llama", **NO_IDS, **_plain(config)}


NO_IDS: Mapping[str, None] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    return {
        **plain_decoder(config),
        "attention_bias": stack.attention.bias,
        "mlp_bias": stack.feedforward.bias,
        "attention_dropout": stack.dropout.attention,
    }


def plain_decoder(config: TransformerConfig) -> dict[str, Any]:
    """What the families of this kind all say."""
    stack, attention = config.stack, config.stack.attention
    assert isinstance(stack.position, Rotary)
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "intermediate_size": stack.feedforward.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_width,
        "rms_norm_eps": stack.norm.eps,
        "initializer_range": config.init,
        "rope_parameters": plain_rope(stack.position),
    }


def architectures(start: str) -> dict[str, str | None]:
    """The classes of a family that begins with `start`, and our names for their heads."""
    return {start + end: head for end, head in HEADS.items()}


def read_heads(start: str, keys: Keys, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds. A tied lm head leaves no tensor, so it is `architectures` that names it."""
    known = architectures(start)
    wanted = {known[name] for name in named(said, known)}
    found: dict[str, Head] = {}
    if "lm" in wanted or "lm_head.weight" in names:
        found["lm"] = LMHead(tie=keys.read(said)["tie_word_embeddings"])
    if "class" in wanted or ("score.weight" in names and "score.bias" not in names):
        found["class"] = ClassHead(outputs=label_count(said), pool="last", bias=False)
    if "tags" in wanted or "score.bias" in names:
        found["tags"] = TokenHead(outputs=label_count(said), dropout=_tag_dropout(said))
    if "span" in wanted or "qa_outputs.weight" in names:
        found["span"] = TokenHead(outputs=2)
    return found


def _tag_dropout(said: Mapping[str, Any]) -> float:
    """What the reference library drops before the scores of tags: a tenth where nothing is said."""
    rates = [said.get(key) for key in ("classifier_dropout", "hidden_dropout")]
    return next((float(value) for value in rates if value is not None), 0.1)


def written_heads(start: str, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    classes = [name for name, head in architectures(start).items() if head in heads]
    out: dict[str, Any] = {"architectures": classes or [f"{start}Model"]}
    for name, head in heads.items():
        if isinstance(head, LMHead):
            out["tie_word_embeddings"] = head.tie
        elif name != "span" and isinstance(head, ClassHead | TokenHead):
            out |= label_keys(head.outputs, None)
            out |= {"classifier_dropout": head.dropout} if name == "tags" else {}
    return out


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds."""
    return read_heads("Llama", KEYS, said, names)


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    return written_heads("Llama", heads)


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    made: list[Rule] = []
    for n in range(config.stack.layers):
        made += layer_rules(n, config)
    return tuple(made) + outer_rules(heads)


def layer_rules(n: int, config: TransformerConfig) -> list[Rule]:
    """One layer: two norms, queries, keys, values and output, gate, up and down."""
    theirs, ours, stack = f"model.layers.{n}", f"tower.blocks.{n}", config.stack
    made: list[Rule] = [Rename(f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight")]
    for part, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        made += product(f"{theirs}.self_attn.{name}", f"{ours}.attention.{part}", bias=stack.attention.bias)
    bias = stack.attention.bias if stack.attention.output_bias is None else stack.attention.output_bias
    made += product(f"{theirs}.self_attn.o_proj", f"{ours}.attention.output", bias=bias)
    made.append(Rename(f"{theirs}.post_attention_layernorm.weight", f"{ours}.feedforward_norm.weight"))
    for part in ("gate", "up", "down"):
        made += product(f"{theirs}.mlp.{part}_proj", f"{ours}.feedforward.{part}", bias=stack.feedforward.bias)
    return [*made, Keep(f"{theirs}.self_attn.rotary_emb.inv_freq")]


def outer_rules(heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """What stands around the layers: the table of tokens, the last norm, the heads."""
    table, out = "model.embed_tokens.weight", "lm_head.weight"
    made: list[Rule] = [Rename(table, "tokens"), Rename("model.norm.weight", "tower.final_norm.weight")]
    lm = heads.get("lm")
    if isinstance(lm, LMHead):
        made.append(Tie(out, table) if lm.tie else Rename(out, "heads.lm.weight"))
    if "class" in heads:
        made.append(Rename("score.weight", "heads.class.output.weight"))
    if "tags" in heads:
        made += product("score", "heads.tags.output", bias=True)
    if "span" in heads:
        made += product("qa_outputs", "heads.span.output", bias=True)
    return tuple(made)


def product(theirs: str, ours: str, *, bias: bool) -> list[Rule]:
    """A linear map under both names."""
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in (("weight", "bias") if bias else ("weight",))]


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `model.`; one class calls its body `transformer`."""
    plain = {n: "model." + n.removeprefix("transformer.") if n.startswith("transformer.") else n for n in names}
    found = respelled(plain.values(), "model.", ("lm_head.", "score.", "qa_outputs."))
    return {name: found[new] for name, new in plain.items()}


LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    decoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Rotary()),
)


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a Llama checkpoint cannot say."""
    return unsayable(LLAMA, config, heads, LIKE)


def called(heads: Mapping[str, Head], name: str) -> str:
    """The class that marks answers calls its body `transformer`."""
    return "transformer." + name.removeprefix("model.") if "span" in heads and name.startswith("model.") else name


LLAMA = Family(
    "llama", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="model.", called=called
)

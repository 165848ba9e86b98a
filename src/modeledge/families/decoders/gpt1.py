"""GPT (Radford et al. 2018, "Improving language understanding by generative pre-training"): a decoder with learned
positions and norms after each sum, as in Vaswani et al. (2017); there is no norm at the end.

Its matrices lie as GPT-2's do, and so do its names but for the two tables. What its configuration calls `gelu` is the
approximation by tanh. The feed-forward is always four times as wide as the states.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.families.decoders.gpt2 import EITHER, LIKE, layer_rules
from modeledge.families.decoders.heads import LM, SUMMARY, TOPS, head_rules, read_heads, written_heads
from modeledge.families.family import Extra, Family, beyond_learned, respelled, unsayable
from modeledge.families.keys import FIXED, INERT, Keys, changed, choice, count, flag, positive, rate
from modeledge.families.rules import Keep, Rename, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.kinds import Learned

ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
SPELLED = {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}
WIDENING = 4

KEYS = Keys(
    shape=(
        count("vocab_size", 40478),
        count("n_positions", 512),
        count("n_embd", 768),
        count("n_layer", 12),
        count("n_head", 12),
        choice("afn", "gelu", ACTIVATIONS),
        rate("resid_pdrop", 0.1),
        rate("embd_pdrop", 0.1),
        rate("attn_pdrop", 0.1),
        positive("layer_norm_epsilon", 1e-5),
        positive("initializer_range", 0.02),
        flag("tie_word_embeddings", True),
        *SUMMARY,
    ),
    fixed=FIXED,
    inert=INERT | {"n_ctx", "n_special", "predict_special_tokens"},
)
ARCHITECTURES: dict[str, str | None] = {
    "OpenAIGPTModel": None,
    "OpenAIGPTLMHeadModel": "lm",
    "OpenAIGPTForSequenceClassification": "class",
    "OpenAIGPTDoubleHeadsModel": "choice",
}
TABLE = "transformer.tokens_embed.weight"


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    stack = Stack(
        layers=v["n_layer"],
        attention=Attention(heads=v["n_head"], qkv="fused"),
        feedforward=FeedForward(width=WIDENING * v["n_embd"], kind=cast(Any, ACTIVATIONS[v["afn"]])),
        norm=Norm(place="post", eps=v["layer_norm_epsilon"]),
        position=Learned(length=v["n_positions"]),
        dropout=Dropout(embed=v["embd_pdrop"], hidden=v["resid_pdrop"], attention=v["attn_pdrop"]),
    )
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["n_embd"], embed=embed, decoder=stack, init=v["initializer_range"]), Extra(said)


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    return {"model_type": "openai-gpt", **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    assert isinstance(stack.position, Learned)
    return {
        "vocab_size": config.table.vocab,
        "n_positions": stack.position.length,
        "n_embd": config.width,
        "n_layer": stack.layers,
        "n_head": stack.attention.heads,
        "afn": SPELLED.get(stack.feedforward.kind, "gelu"),
        "resid_pdrop": stack.dropout.hidden,
        "embd_pdrop": stack.dropout.embed,
        "attn_pdrop": stack.dropout.attention,
        "layer_norm_epsilon": stack.norm.eps,
        "initializer_range": config.init,
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds."""
    return read_heads(KEYS.read(said), ARCHITECTURES, said, names)


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    return written_heads(ARCHITECTURES, heads)


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    made: list[Rule] = [
        Rename(TABLE, "tokens"),
        Rename("transformer.positions_embed.weight", "tower.position.weight"),
        Keep("transformer.position_ids"),
    ]
    for n in range(config.stack.layers):
        made += layer_rules(n, config)
    return (*made, *head_rules(heads, TABLE))


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a GPT checkpoint cannot say."""
    if config.decoder is None:
        return ["it is an encoder"]
    return beyond_learned(config) or unsayable(GPT1, config, heads, LIKE, EITHER)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `transformer.`, the class with two heads the table of tokens
    where it is tied, and stores the head."""
    found = respelled(names, "transformer.", TOPS)
    tied = KEYS.read(said)["tie_word_embeddings"] and LM in found and TABLE not in found.values()
    return found | {LM: TABLE} if tied else found


GPT1 = Family(
    "openai-gpt", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="transformer."
)

"""What the decoders that grew out of Llama share: a page of this kind says only what is its own.

All of them are RMSNorm, rotary positions, grouped-query attention and a gated feed-forward over one table of tokens;
the reference library spells them alike, name for name. A page gives its keys with their defaults, how the values make
a shape (`read`) and how a shape makes them again (`plain`); a `Page` makes the family of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modeledge.families.encoders.bert import named
from modeledge.families.family import Extra, Family, respelled, settled, unsayable
from modeledge.families.keys import FIXED, INERT, Key, Keys, changed, choice, count, flag, positive, rate
from modeledge.families.labels import WHOLE, answering, classed, label_count, score_keys
from modeledge.families.rope import OLD_ROPE, ROPE_KEYS, plain_rope, read_rope
from modeledge.families.rules import Keep, Rename, Rule, Tie
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead
from modeledge.model.kinds import Rotary

CLASSES = {
    "lm": "ForCausalLM",
    "class": "ForSequenceClassification",
    "tags": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}
DEEPEST = 1000  # layers; DeepNet (Wang et al. 2022, arXiv 2203.00555) trained as many
DEPTHS = f"a whole number from 1 to {DEEPEST}"
NO_IDS: Mapping[str, None] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

# for each place of the norms: their name in the file, and ours
NORMS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "pre": (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "feedforward_norm")),
    "inner": (("post_attention_layernorm", "attention_norm"), ("post_feedforward_layernorm", "feedforward_norm")),
    "around": (
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "attention_after"),
        ("pre_feedforward_layernorm", "feedforward_norm"),
        ("post_feedforward_layernorm", "feedforward_after"),
    ),
}

LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    decoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Rotary()),
)


def classes(start: str, *heads: str) -> dict[str, str | None]:
    """The classes of a family in the reference library, and our names for their heads."""
    return {f"{start}Model": None} | {start + CLASSES[head]: head for head in heads}


def decoder_keys(
    *more: Key,
    fixed: Mapping[str, tuple[Any, ...]] | None = None,
    inert: Collection[str] = (),
    activation: tuple[str, ...] = ("silu",),
    act: str = "hidden_act",
    **defaults: Any,
) -> Keys:
    """The keys that all these families have, with a family's own `defaults`, and `more` keys of its own. The key `act`
    names the activation, of which one is known under each of the words."""
    left = {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    } | defaults  # fmt: skip
    shape = (
        *(count(name, left[name]) for name in ("vocab_size", "hidden_size", "intermediate_size")),
        Key("num_hidden_layers", left["num_hidden_layers"], lambda v: type(v) is int and 1 <= v <= DEEPEST, DEPTHS),
        count("num_attention_heads", left["num_attention_heads"]),
        count("num_key_value_heads", left["num_key_value_heads"], null=True),
        count("head_dim", left["head_dim"], null=True),
        count("max_position_embeddings", left["max_position_embeddings"]),
        choice(act, activation[0], activation),
        positive("initializer_range", 0.02),
        positive("rms_norm_eps", left["rms_norm_eps"]),
        rate("attention_dropout", 0.0),
        rate("classifier_dropout", None),
        flag("tie_word_embeddings", left["tie_word_embeddings"]),
    )
    return Keys((*shape, *ROPE_KEYS, *more), {**FIXED, **(fixed or {})}, INERT | frozenset(inert))


def attention(v: Mapping[str, Any], **more: Any) -> Attention:
    """Heads as the keys say, and `more` that is a family's own; products have no bias where that says none."""
    said = {"heads": v["num_attention_heads"], "kv_heads": v["num_key_value_heads"], "head_width": v["head_dim"]}
    return Attention(**{**said, "bias": False, **more})


def decoder(
    v: Mapping[str, Any],
    attention: Attention,
    *,
    norm: Norm | None = None,
    position: Rotary | None = None,
    kind: Literal["swiglu", "geglu_tanh"] = "swiglu",
    hidden: float = 0.0,
) -> TransformerConfig:
    """A decoder over one table of tokens; `norm` gives place and form, the keys the rest."""
    norm = norm or Norm(kind="rms")
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=attention,
        feedforward=FeedForward(width=v["intermediate_size"], kind=kind, bias=v.get("mlp_bias", False)),
        norm=Norm(kind="rms", place=norm.place, eps=v["rms_norm_eps"], around_one=norm.around_one),
        position=position or read_rope(v, longest=v["max_position_embeddings"], partial=False),
        dropout=Dropout(attention=v["attention_dropout"], hidden=hidden),
    )
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["hidden_size"], embed=embed, decoder=stack, init=v["initializer_range"])


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
        "num_key_value_heads": attention.kv_heads or attention.heads,
        "head_dim": attention.head_width or config.width // attention.heads,
        "rms_norm_eps": stack.norm.eps,
        "initializer_range": config.init,
        "attention_dropout": stack.dropout.attention,
        "rope_parameters": plain_rope(stack.position),
    }


def layer_rules(n: int, config: TransformerConfig) -> list[Rule]:
    """One layer: its norms, queries, keys, values and output, gate, up and down."""
    theirs, ours, stack = f"model.layers.{n}", f"tower.blocks.{n}", config.stack
    made = norm_rules(n, config)
    for part, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        made += product(f"{theirs}.self_attn.{name}", f"{ours}.attention.{part}", bias=stack.attention.bias)
    bias = stack.attention.bias if stack.attention.output_bias is None else stack.attention.output_bias
    made += product(f"{theirs}.self_attn.o_proj", f"{ours}.attention.output", bias=bias)
    for part in ("gate", "up", "down"):
        made += product(f"{theirs}.mlp.{part}_proj", f"{ours}.feedforward.{part}", bias=stack.feedforward.bias)
    return [*made, Keep(f"{theirs}.self_attn.rotary_emb.inv_freq")]


def norm_rules(n: int, config: TransformerConfig) -> list[Rule]:
    """The norms of one layer, those of queries and keys among them."""
    theirs, ours, stack = f"model.layers.{n}", f"tower.blocks.{n}", config.stack
    names = [(f"{theirs}.{name}", f"{ours}.{mine}") for name, mine in NORMS.get(stack.norm.place, ())]
    if stack.attention.qk_norm is not None:
        for letter, part in (("q", "query"), ("k", "key")):
            names.append((f"{theirs}.self_attn.{letter}_norm", f"{ours}.attention.{part}_norm"))
    return [Rename(f"{name}.weight", f"{mine}.weight") for name, mine in names]


def outer_rules(heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """What stands around the layers: the table of tokens, the last norm, the heads."""
    table, out = "model.embed_tokens.weight", "lm_head.weight"
    made: list[Rule] = [Rename(table, "tokens"), Rename("model.norm.weight", "tower.final_norm.weight")]
    lm = heads.get("lm")
    if isinstance(lm, LMHead):
        made.append(Tie(out, table) if lm.tie else Rename(out, "heads.lm.weight"))
    made += [Rename("score.weight", f"heads.{name}.output.weight") for name in WHOLE if name in heads]
    if "tags" in heads:
        made += product("score", "heads.tags.output", bias=True)
    if "span" in heads:
        made += product("qa_outputs", "heads.span.output", bias=True)
    return tuple(made)


def product(theirs: str, ours: str, *, bias: bool) -> list[Rule]:
    """A linear map under both names."""
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in (("weight", "bias") if bias else ("weight",))]


@dataclass(frozen=True)
class Page:
    """What a family says of itself. `body` is what the class that marks answers calls its body; `either` as in
    `unsayable`."""

    model_type: str
    keys: Keys
    classes: Mapping[str, str | None]
    read: Callable[[dict[str, Any]], TransformerConfig]
    plain: Callable[[TransformerConfig], dict[str, Any]]
    layer: Callable[[int, TransformerConfig], list[Rule]] = layer_rules
    body: str = "model."
    either: tuple[str, ...] = ()

    def family(self) -> Family:
        """The family that this page describes."""
        return Family(
            self.model_type,
            self.read_config,
            self.write_config,
            self.heads,
            self.write_heads,
            self.rules,
            self.lacks,
            spelling,
            prefix="model.",
            called=self.called,
        )

    def read_config(self, said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
        """`config.json` → the shape of the body."""
        return settled(self.read(self.keys.read(said))), Extra(said)

    def write_config(self, config: TransformerConfig, extra: Extra) -> dict[str, Any]:
        """The shape of the body → `config.json`; what has not changed stays as it was said."""
        now = self.plain(config)
        if not extra.said:
            return {"model_type": self.model_type, **NO_IDS, **now}
        before = self.plain(self.read_config(extra.said)[0])
        out = changed(extra.said, before, now)
        if before["rope_parameters"] == now["rope_parameters"]:
            return out
        return {key: value for key, value in out.items() if key not in OLD_ROPE}

    def heads(self, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
        """The heads that a file holds. A tied lm head leaves no tensor, so it is `architectures` that names it."""
        wanted = {self.classes[name] for name in named(said, self.classes)}
        found: dict[str, Head] = {}
        if "lm" in wanted or "lm_head.weight" in names:
            v = self.keys.read(said)
            found["lm"] = LMHead(tie=v["tie_word_embeddings"], softcap=v.get("final_logit_softcapping"))
        if "class" in wanted or ("score.weight" in names and "score.bias" not in names):
            found |= answering(said, ClassHead(outputs=label_count(said), pool="last", bias=False))
        if "tags" in wanted or "score.bias" in names:
            found["tags"] = TokenHead(outputs=label_count(said), dropout=_tag_dropout(said))
        if "span" in wanted or "qa_outputs.weight" in names:
            found["span"] = TokenHead(outputs=2)
        return {name: head for name, head in found.items() if classed([name]) <= set(self.classes.values())}

    def write_heads(self, config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
        """The keys that say which heads a file holds."""
        made = classed(heads)
        listed = [name for name, head in self.classes.items() if head in made]
        out: dict[str, Any] = {"architectures": listed or [name for name in self.classes if name.endswith("Model")]}
        for name, head in heads.items():
            if isinstance(head, LMHead):
                out["tie_word_embeddings"] = head.tie
                if any(key.name == "final_logit_softcapping" for key in self.keys.shape):
                    out["final_logit_softcapping"] = head.softcap
            else:
                out |= score_keys(name, head)
                out |= {"classifier_dropout": head.dropout} if isinstance(head, TokenHead) and name == "tags" else {}
        return out

    def rules(self, config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
        """How the names belong together."""
        made = [rule for n in range(config.stack.layers) for rule in self.layer(n, config)]
        return (*made, *outer_rules(heads))

    def lacks(self, config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
        """What a model has that a checkpoint of this family cannot say."""
        return unsayable(self.family(), config, heads, LIKE, self.either)

    def called(self, heads: Mapping[str, Head], name: str) -> str:
        """A canonical name as the class with these heads spells it."""
        ours = "span" in heads and name.startswith("model.")
        return self.body + name.removeprefix("model.") if ours else name


def _tag_dropout(said: Mapping[str, Any]) -> float:
    """What the reference library drops before the scores of tags: a tenth where nothing is said."""
    value = said.get("classifier_dropout")
    return 0.1 if value is None else float(value)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `model.`; one class calls its body `transformer`."""
    plain = {n: "model." + n.removeprefix("transformer.") if n.startswith("transformer.") else n for n in names}
    found = respelled(plain.values(), "model.", ("lm_head.", "score.", "qa_outputs."))
    return {name: found[new] for name, new in plain.items()}

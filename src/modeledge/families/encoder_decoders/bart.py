"""BART (Lewis et al. 2020, arXiv 1910.13461): BERT's layers on both sides, the decoder reading the encoder.

Norms stand after each sum, and one on the embeddings of each side. Positions are learned and counted from 2: the first
two rows of their tables are never read. One table of tokens serves both sides and the head; a file may store it under
up to four names. With `tie_word_embeddings: false` there are two tables and a head of its own, and `shared.weight` is
carried along unread. `final_logits_bias` is added to the scores and never learned (0 in published files; where it is
not, it counts). Classes are read from the decoder's last state: both sides are given the same text, the decoder
one token later, so that its last token stands where the source ends.

`Page` is what mBART (`modeledge.families.encoder_decoders.mbart`) shares: the same names around norms in other places.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from modeledge.errors import ModeledgeError
from modeledge.families.decoders.kin import NO_IDS
from modeledge.families.encoders.bert import named
from modeledge.families.family import Extra, Family, respelled, unsayable
from modeledge.families.keys import (
    ACTIVATIONS,
    FIXED,
    INERT,
    SPELLED,
    Keys,
    changed,
    choice,
    count,
    flag,
    positive,
    rate,
)
from modeledge.families.labels import WHOLE, answering, classed, label_count, score_keys
from modeledge.families.rules import Keep, Rename, Reshape, Rule, Tie
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead, ValueHead
from modeledge.model.kinds import Learned

OFFSET = 2  # rows of the position tables before the first position
SIDES = ("encoder", "decoder")
TABLE, HEAD, BIAS = "model.shared.weight", "lm_head.weight", "final_logits_bias"
COPIES = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
NO_START = {"decoder_start_token_id": None, "forced_eos_token_id": None}
HEADS: dict[str, str | None] = {
    "Model": None,
    "ForConditionalGeneration": "lm",
    "ForSequenceClassification": "class",
    "ForQuestionAnswering": "span",
}
KEYS = Keys(
    shape=(
        count("vocab_size", 50265),
        count("d_model", 1024),
        count("max_position_embeddings", 1024),
        *(key for side in SIDES for key in (count(f"{side}_layers", 12), count(f"{side}_attention_heads", 16))),
        *(count(f"{side}_ffn_dim", 4096) for side in SIDES),
        count("num_hidden_layers", None),
        choice("activation_function", "gelu", ACTIVATIONS),
        rate("dropout", 0.1),
        rate("attention_dropout", 0.0),
        rate("activation_dropout", 0.0),
        rate("classifier_dropout", 0.0),
        positive("init_std", 0.02),
        flag("scale_embedding", False),
        flag("tie_word_embeddings", True),
    ),
    fixed={
        **FIXED,
        "is_encoder_decoder": (True,),
        "encoder_layerdrop": (0.0, 0),
        "decoder_layerdrop": (0.0, 0),
        "add_bias_logits": (False,),
        "add_final_layer_norm": (False,),
        "extra_pos_embeddings": (OFFSET,),
        "normalize_before": (False,),
        "normalize_embedding": (True,),
        "static_position_embeddings": (False,),
    },
    inert=INERT
    | {
        "classif_dropout",  # an older name of classifier_dropout, which stands beside it
        "force_bos_token_to_be_generated",
        "replacing_rate",
        "save_step",
        "student_decoder_layers",
        "student_encoder_layers",
    },
)


@dataclass(frozen=True)
class Page:
    """One of the `model_type`s of this shape: how its classes begin, where its norms stand, what it says by default."""

    model_type: str
    begins: str
    place: Literal["pre", "post"]
    keys: Keys
    labels: int
    starts: str | None = None  # the key of the token with which the decoder begins, where no other is said

    def family(self) -> Family:
        return Family(
            self.model_type,
            self.read_config,
            self.write_config,
            self.heads,
            self.write_heads,
            rules,
            self.lacks,
            spelling,
            prefix="model.",
            start=self.start,
        )

    def read_config(self, said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
        """`config.json` → the shape of the body."""
        v = self.keys.read(said)
        if v["num_hidden_layers"] not in (None, v["encoder_layers"]):
            what = f"num_hidden_layers is {v['num_hidden_layers']}, and encoder_layers {v['encoder_layers']}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="num_hidden_layers", why="the two are one number")

        def stack(side: str) -> Stack:
            return Stack(
                layers=v[f"{side}_layers"],
                attention=Attention(heads=v[f"{side}_attention_heads"]),
                feedforward=FeedForward(
                    width=v[f"{side}_ffn_dim"], kind=cast(Any, ACTIVATIONS[v["activation_function"]])
                ),
                norm=Norm(place=self.place),
                position=Learned(length=v["max_position_embeddings"] + OFFSET, offset=OFFSET),
                dropout=Dropout(
                    embed=v["dropout"],
                    hidden=v["dropout"],
                    attention=v["attention_dropout"],
                    inner=v["activation_dropout"],
                ),
            )

        scale = math.sqrt(v["d_model"]) if v["scale_embedding"] else 1.0
        embed = Tokens(vocab=v["vocab_size"], norm=True, scale=scale)
        return TransformerConfig(
            width=v["d_model"],
            embed=embed,
            target_embed=None if v["tie_word_embeddings"] else embed,
            encoder=stack("encoder"),
            decoder=stack("decoder"),
            init=v["init_std"],
        ), Extra(said)

    def write_config(self, config: TransformerConfig, extra: Extra) -> dict[str, Any]:
        """The shape of the body → `config.json`; what has not changed stays as it was said."""
        if extra.said:
            now = changed(extra.said, plain(self.read_config(extra.said)[0]), plain(config))
            return now | ({"num_hidden_layers": now["encoder_layers"]} if "num_hidden_layers" in now else {})
        return {"model_type": self.model_type, **NO_IDS, **NO_START, **plain(config)}

    def classes(self) -> dict[str, str | None]:
        """The classes of the reference library, and our names for their heads."""
        return {self.begins + end: head for end, head in HEADS.items()}

    def heads(self, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
        """The heads that a file holds. A tied lm head leaves no tensor, so it is `architectures` that names it."""
        v, known = self.keys.read(said), self.classes()
        wanted = {known[name] for name in named(said, known)}
        drop = v["classifier_dropout"]
        found: dict[str, Head] = {}
        if "lm" in wanted or {HEAD, BIAS} & set(names):
            found["lm"] = LMHead(tie=v["tie_word_embeddings"], bias="fixed" if BIAS in names else False)
        if "class" in wanted or "classification_head.out_proj.weight" in names:
            counted = any(key in said for key in ("id2label", "num_labels", "_num_labels"))
            outputs = label_count(said) if counted else self.labels
            found |= answering(
                said, ClassHead(outputs=outputs, pool="last", hidden=True, dropout=drop, first_dropout=drop)
            )
        if "span" in wanted or "qa_outputs.weight" in names:
            found["span"] = TokenHead(outputs=2)
        return found

    def write_heads(self, config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
        """The keys that say which heads a file holds."""
        made = classed(heads)
        classes = [name for name, head in self.classes().items() if head in made]
        out: dict[str, Any] = {"architectures": classes or [f"{self.begins}Model"]}
        for name, head in heads.items():
            if isinstance(head, ClassHead | ValueHead):
                out |= {"classifier_dropout": head.dropout, **score_keys(name, head)}
        return out

    def lacks(self, config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
        """What a model has that a checkpoint of this page cannot say."""
        return unsayable(self.family(), config, heads, LIKE)

    def start(self, said: Mapping[str, Any]) -> int | None:
        """What the decoder begins with: for BART the token that ends texts, for mBART one that the user must name."""
        found = said.get("decoder_start_token_id")
        if found is None and self.starts is not None:
            found = said.get(self.starts, 2)
        return found if type(found) is int else None


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The keys that say the shape."""
    encoder, decoder = config.encoder, config.decoder
    assert encoder is not None
    assert decoder is not None
    assert isinstance(encoder.position, Learned)
    out = {
        "vocab_size": config.table.vocab,
        "d_model": config.width,
        "max_position_embeddings": encoder.position.length - OFFSET,
        "activation_function": SPELLED.get(encoder.feedforward.kind, "gelu"),
        "dropout": encoder.dropout.hidden,
        "attention_dropout": encoder.dropout.attention,
        "activation_dropout": encoder.dropout.inner,
        "init_std": config.init,
        "scale_embedding": config.table.scale != 1.0,
        "tie_word_embeddings": config.target_embed is None,
    }
    for side, stack in zip(SIDES, (encoder, decoder), strict=True):
        out |= {f"{side}_layers": stack.layers, f"{side}_attention_heads": stack.attention.heads}
        out |= {f"{side}_ffn_dim": stack.feedforward.width}
    return out


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    assert config.encoder is not None
    assert config.decoder is not None
    made: list[Rule]
    if config.target_embed is None:
        made = [Rename(TABLE, "tokens"), Tie(COPIES[0], TABLE), Tie(COPIES[1], TABLE)]
    else:
        made = [Rename(COPIES[0], "tokens"), Rename(COPIES[1], "target_tokens"), Keep(TABLE)]
    made += both("model.encoder.layernorm_embedding", "embed_norm")
    made += both("model.decoder.layernorm_embedding", "target_norm")
    made += stack_rules("model.encoder", "source_tower", config.encoder, cross=False)
    made += stack_rules("model.decoder", "tower", config.decoder, cross=True)
    lm = heads.get("lm")
    if isinstance(lm, LMHead):
        made.append(Tie(HEAD, TABLE) if lm.tie else Rename(HEAD, "heads.lm.weight"))
        vocab = config.table.vocab
        made += [Reshape(BIAS, "heads.lm.bias", (1, vocab), (vocab,))] if lm.bias else []
    for name in (name for name in WHOLE if name in heads):
        made += both("classification_head.dense", f"heads.{name}.dense")
        made += both("classification_head.out_proj", f"heads.{name}.output")
    if "span" in heads:
        made += both("qa_outputs", "heads.span.output")
    return tuple(made)


def stack_rules(theirs: str, ours: str, stack: Stack, *, cross: bool) -> list[Rule]:
    """One side: its positions, its layers, and its last norm where the others stand before the sums."""
    made: list[Rule] = [
        Rename(f"{theirs}.embed_positions.weight", f"{ours}.position.weight"),
        Keep(f"{theirs}.version"),
    ]
    if stack.norm.place == "pre":
        made += both(f"{theirs}.layer_norm", f"{ours}.final_norm")
    looks = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    for n in range(stack.layers):
        layer, block = f"{theirs}.layers.{n}", f"{ours}.blocks.{n}"
        for part, name in (("attention", "self_attn"), *([("cross", "encoder_attn")] if cross else [])):
            for mine, product in looks.items():
                made += both(f"{layer}.{name}.{product}", f"{block}.{part}.{mine}")
            made += both(f"{layer}.{name}_layer_norm", f"{block}.{part}_norm")
        made += both(f"{layer}.fc1", f"{block}.feedforward.up")
        made += both(f"{layer}.fc2", f"{block}.feedforward.down")
        made += both(f"{layer}.final_layer_norm", f"{block}.feedforward_norm")
    return made


def both(theirs: str, ours: str) -> list[Rename]:
    """Weight and bias under both names."""
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `model.`, and a tied table that is stored once may be stored
    under any of its names."""
    found = respelled(names, "model.", ("lm_head.", "classification_head.", "qa_outputs.", BIAS))
    if said.get("tie_word_embeddings", True) and TABLE not in found.values():
        stored = [name for copy in (*COPIES, HEAD) for name, canonical in found.items() if canonical == copy]
        found |= dict.fromkeys(stored[:1], TABLE)
    return found


SIDE = Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Learned(length=3))
LIKE = TransformerConfig(width=2, embed=Tokens(vocab=1), encoder=SIDE, decoder=SIDE)
BART = Page("bart", "Bart", "post", KEYS, labels=3, starts="eos_token_id").family()

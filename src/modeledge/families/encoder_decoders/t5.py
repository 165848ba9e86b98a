"""T5 (Raffel et al. 2020, arXiv 1910.10683), T5 v1.1 and Flan-T5 (Chung et al. 2022), mT5 (Xue et al. 2021): an encoder
and a decoder with RMSNorm before each sub-layer, no biases, and positions that are said on the scores alone.

Each side has one table of relative buckets, stored in its first layer and added to the scores of all. Scores are not
divided by √head_width; the initialisation of the queries takes its place. One table of tokens serves both sides, and a
file may store it under up to four names. The first T5 uses ReLU and ties its head to the table, with states multiplied
by 1/√width before it; v1.1, Flan-T5 and mT5 gate a GELU (its tanh form) and have a head of their own, without a factor.

transformers 5.23 does not reproduce these later heads: it sets `tie_word_embeddings` to true whatever a file says, and
so puts the table in the place of the trained head. Here a file that says false has its own head. What 5.23 writes of
such a model says `tie_word_embeddings: true` and, in T5, `scale_decoder_outputs: false`: a tied head without a factor,
which is what it computes, and it is read as that. UMT5, with a table of buckets in each layer, is not read here.

`Page` is what mT5 (`modeledge.families.encoder_decoders.mt5`) shares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from modeledge.errors import ModeledgeError
from modeledge.families.decoders.kin import NO_IDS
from modeledge.families.encoder_decoders.t5_names import HEAD, called, rules, spelling
from modeledge.families.encoders.bert import named
from modeledge.families.family import Extra, Family, unsayable
from modeledge.families.keys import FIXED, INERT, Key, Keys, changed, choice, count, flag, positive, rate
from modeledge.families.labels import answering, classed, label_count, score_keys
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead, ValueHead
from modeledge.model.kinds import Buckets

# how `feed_forward_proj` says what we call a kind; the first spelling of a kind is the one that is written
PROJECTIONS = {
    "relu": "relu",
    "gated-gelu": "geglu_tanh",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "silu": "silu",
    "gated-relu": "reglu",
    "gated-silu": "swiglu",
    "gated-gelu_new": "geglu_tanh",
    "gated-gelu_python": "geglu",
}
SPELLED = {kind: name for name, kind in reversed(PROJECTIONS.items())}

# what each class of the reference library puts on the body; the last two have no decoder
HEADS: dict[str, str | None] = {
    "Model": None,
    "ForConditionalGeneration": "lm",
    "WithLMHeadModel": "lm",
    "ForSequenceClassification": "class",
    "ForQuestionAnswering": "span",
    "EncoderModel": None,
    "ForTokenClassification": "tags",
}
ALONE = ("EncoderModel", "ForTokenClassification")
DRAWN = 50.0  # `initializer_factor` 1 is our default standard deviation, 0.02


@dataclass(frozen=True)
class Page:
    """One of the `model_type`s of this shape: how its classes begin, its defaults, whether a tied head is scaled."""

    model_type: str
    start: str
    keys: Keys
    scaled: bool

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
            called=called,
            start=start,
        )

    def classes(self) -> dict[str, str | None]:
        """The classes of the reference library, and our names for their heads."""
        return {self.start + end: head for end, head in HEADS.items()}

    def alone(self, said: Mapping[str, Any]) -> bool:
        """Is it an encoder without a decoder? The classes say so where they are named, else `is_encoder_decoder`."""
        classes = named(said, self.classes())
        alone = [name.removeprefix(self.start) in ALONE for name in classes]
        if alone and any(alone) != all(alone):
            raise ModeledgeError("E-CONFIG-VALUE", f"{classes} are not one model", where="architectures")
        together = said.get("is_encoder_decoder", not any(alone))
        if not isinstance(together, bool) or (alone and not alone[0] and not together):
            what = f"is_encoder_decoder is {together!r}, and the classes are {classes}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="is_encoder_decoder")
        return any(alone) or not together

    def read_config(self, said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
        """`config.json` → the shape of the body."""
        v = self.keys.read(said)
        check_projection(said, v["feed_forward_proj"])
        drop = v["dropout_rate"]

        def stack(layers: int) -> Stack:
            return Stack(
                layers=layers,
                attention=Attention(heads=v["num_heads"], head_width=v["d_kv"], bias=False, scale=1.0),
                feedforward=FeedForward(
                    width=v["d_ff"], kind=cast(Any, PROJECTIONS[v["feed_forward_proj"]]), bias=False
                ),
                norm=Norm(kind="rms", eps=v["layer_norm_epsilon"]),
                position=Buckets(
                    count=v["relative_attention_num_buckets"], distance=v["relative_attention_max_distance"]
                ),
                dropout=Dropout(embed=drop, hidden=drop, attention=drop, inner=drop, last=drop),
            )

        below = v["num_layers"]
        above = below if v["num_decoder_layers"] is None else v["num_decoder_layers"]
        return TransformerConfig(
            width=v["d_model"],
            embed=Tokens(vocab=v["vocab_size"]),
            encoder=stack(below),
            decoder=None if self.alone(said) else stack(above),
            init=v["initializer_factor"] / DRAWN,
        ), Extra(said)

    def write_config(self, config: TransformerConfig, extra: Extra) -> dict[str, Any]:
        """The shape of the body → `config.json`; what has not changed stays as it was said."""
        if extra.said:
            return changed(extra.said, plain(self.read_config(extra.said)[0]), plain(config))
        return {"model_type": self.model_type, **NO_IDS, "is_encoder_decoder": config.both, **plain(config)}

    def heads(self, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
        """The heads that a file holds. A tied lm head leaves no tensor, so it is `architectures` that names it."""
        v, known = self.keys.read(said), self.classes()
        wanted = {known[name] for name in named(said, known)}
        drop = v["classifier_dropout"]
        found: dict[str, Head] = {}
        if "lm" in wanted or HEAD in names:
            tie = v["tie_word_embeddings"]
            multiplied = self.scaled and (tie if v["scale_decoder_outputs"] is None else v["scale_decoder_outputs"])
            found["lm"] = LMHead(tie=tie, scale=v["d_model"] ** -0.5 if multiplied else 1.0)
        if "class" in wanted or "classification_head.out_proj.weight" in names:
            outputs = label_count(said)
            found |= answering(
                said, ClassHead(outputs=outputs, pool="last", hidden=True, dropout=drop, first_dropout=drop)
            )
        if "span" in wanted or "qa_outputs.weight" in names:
            found["span"] = TokenHead(outputs=2)
        if "tags" in wanted or "classifier.weight" in names:
            found["tags"] = TokenHead(outputs=label_count(said), dropout=drop)
        return found

    def write_heads(self, config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
        """The keys that say which heads a file holds."""
        known, made = {end: head for end, head in HEADS.items() if end != "WithLMHeadModel"}, classed(heads)
        classes = [self.start + end for end, head in known.items() if head in made]
        bare = "Model" if config.both else "EncoderModel"
        out: dict[str, Any] = {"architectures": classes or [self.start + bare]}
        for name, head in heads.items():
            if isinstance(head, LMHead):
                out["tie_word_embeddings"] = head.tie
                out |= {"scale_decoder_outputs": head.scale != 1.0} if self.scaled else {}
            elif name != "span" and isinstance(head, ClassHead | ValueHead | TokenHead):
                out |= {"classifier_dropout": head.dropout, **score_keys(name, head)}
        return out

    def lacks(self, config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
        """What a model has that a checkpoint of this page cannot say."""
        alone = [name for name in heads if (name == "tags") == config.both]
        if alone:
            return [f"head {name!r} stands on the other side" for name in alone]
        return unsayable(self.family(), config, heads, like(config.both))


def check_projection(said: Mapping[str, Any], projection: str) -> None:
    """Two keys say again what `feed_forward_proj` says; one that says otherwise is `E-CONFIG-VALUE`."""
    activation = "gelu_new" if projection == "gated-gelu" else projection.removeprefix("gated-")
    again = {"dense_act_fn": activation, "is_gated_act": projection.startswith("gated-")}
    for key, value in again.items():
        if said.get(key, value) != value:
            what = f"{key} is {said[key]!r}, and feed_forward_proj {projection!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=key, remedy=f"{value!r} belongs to it")


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The keys that say the shape."""
    encoder, decoder = config.encoder, config.decoder
    assert encoder is not None
    position, attention = encoder.position, encoder.attention
    assert isinstance(position, Buckets)
    return {
        "vocab_size": config.table.vocab,
        "d_model": config.width,
        "d_kv": attention.head_width or config.width // attention.heads,
        "d_ff": encoder.feedforward.width,
        "num_layers": encoder.layers,
        **({} if decoder is None else {"num_decoder_layers": decoder.layers}),
        "num_heads": attention.heads,
        "relative_attention_num_buckets": position.count,
        "relative_attention_max_distance": position.distance,
        "dropout_rate": encoder.dropout.hidden,
        "layer_norm_epsilon": encoder.norm.eps,
        "initializer_factor": config.init * DRAWN,
        "feed_forward_proj": SPELLED[encoder.feedforward.kind],
    }


def start(said: Mapping[str, Any]) -> int | None:
    """What the decoder begins with: the token that pads."""
    found = said.get("decoder_start_token_id")
    found = said.get("pad_token_id", 0) if found is None else found
    return found if type(found) is int else None


def keys(*, vocab: int, inner: int, layers: int, heads: int, projection: str) -> Keys:
    """All keys of this shape, with a page's defaults."""
    return Keys(
        shape=(
            count("vocab_size", vocab),
            count("d_model", 512),
            count("d_kv", 64),
            count("d_ff", inner),
            count("num_layers", layers),
            count("num_decoder_layers", None),
            count("num_heads", heads),
            count("relative_attention_num_buckets", 32),
            count("relative_attention_max_distance", 128),
            rate("dropout_rate", 0.1),
            rate("classifier_dropout", 0.0),
            positive("layer_norm_epsilon", 1e-6),
            positive("initializer_factor", 1.0),
            choice("feed_forward_proj", projection, PROJECTIONS),
            flag("tie_word_embeddings", True),
            Key("scale_decoder_outputs", None, lambda v: v is None or isinstance(v, bool), "true or false"),
        ),
        fixed={**FIXED, "is_encoder_decoder": (True, False)},
        inert=INERT | {"dense_act_fn", "is_gated_act", "n_positions"},
    )


def like(decoder: bool) -> TransformerConfig:
    """Any model of this shape."""
    attention, wide = Attention(heads=1), FeedForward(width=1)
    stack = Stack(layers=1, attention=attention, feedforward=wide, position=Buckets())
    return TransformerConfig(width=2, embed=Tokens(vocab=1), encoder=stack, decoder=stack if decoder else None)


T5 = Page("t5", "T5", keys(vocab=32128, inner=2048, layers=6, heads=8, projection="relu"), scaled=True).family()

"""BERT (Devlin et al. 2019, arXiv 1810.04805): an encoder with learned positions, token types and norms after each sum.

The masked-LM head is a dense layer, the model's activation, a norm and the embedding table with a bias of its own. The
class head reads [CLS] through the pooler (dense, tanh), which is part of our head "class". Old checkpoints call a
norm's weight and bias `gamma` and `beta`; a bare `BertModel` leaves out the prefix `bert.`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.errors import ModeledgeError
from modeledge.families.family import Extra, Family, beyond_learned, label_count, label_keys, respelled
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
from modeledge.families.rules import Keep, Rename, Rule, Tie
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Patches, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, ValueHead
from modeledge.model.kinds import Learned

KEYS = Keys(
    shape=(
        count("vocab_size", 30522),
        count("hidden_size", 768),
        count("num_hidden_layers", 12),
        count("num_attention_heads", 12),
        count("intermediate_size", 3072),
        choice("hidden_act", "gelu", ACTIVATIONS),
        rate("hidden_dropout_prob", 0.1),
        rate("attention_probs_dropout_prob", 0.1),
        rate("classifier_dropout", None),
        count("max_position_embeddings", 512),
        count("type_vocab_size", 2),
        positive("initializer_range", 0.02),
        positive("layer_norm_eps", 1e-12),
        flag("tie_word_embeddings", True),
    ),
    fixed={**FIXED, "position_embedding_type": ("absolute",)},
    inert=INERT
    | {
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    },
)

# what each class of the reference library puts on the body
ARCHITECTURES: dict[str, str | None] = {
    "BertModel": None,
    "BertForMaskedLM": "lm",
    "BertForPreTraining": "lm",
    "BertForSequenceClassification": "class",
}
LEGACY = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))
BIAS, DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(heads=v["num_attention_heads"]),
        feedforward=FeedForward(width=v["intermediate_size"], kind=cast(Any, ACTIVATIONS[v["hidden_act"]])),
        norm=Norm(place="post", eps=v["layer_norm_eps"]),
        position=Learned(length=v["max_position_embeddings"]),
        dropout=Dropout(
            embed=v["hidden_dropout_prob"],
            hidden=v["hidden_dropout_prob"],
            attention=v["attention_probs_dropout_prob"],
        ),
    )
    embed = Tokens(vocab=v["vocab_size"], types=v["type_vocab_size"], norm=True)
    return TransformerConfig(width=v["hidden_size"], embed=embed, encoder=stack, init=v["initializer_range"]), Extra(
        said
    )


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    return {"model_type": "bert", **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    assert isinstance(stack.position, Learned)
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.attention.heads,
        "intermediate_size": stack.feedforward.width,
        "hidden_act": SPELLED[stack.feedforward.kind],
        "hidden_dropout_prob": stack.dropout.hidden,
        "attention_probs_dropout_prob": stack.dropout.attention,
        "max_position_embeddings": stack.position.length,
        "type_vocab_size": config.table.types,
        "initializer_range": config.init,
        "layer_norm_eps": stack.norm.eps,
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds. A class of the reference library that puts another head on is `E-FAMILY`."""
    v = KEYS.read(said)
    found: dict[str, Head] = {}
    wanted = {ARCHITECTURES[name] for name in named(said, ARCHITECTURES)}
    if "lm" in wanted or any(name.startswith("cls.predictions.") for name in names):
        found["lm"] = LMHead(transform=True, bias=True, tie=v["tie_word_embeddings"])
    if "class" in wanted or any(name.startswith("classifier.") for name in names):
        dropout = v["hidden_dropout_prob"] if v["classifier_dropout"] is None else v["classifier_dropout"]
        outputs = label_count(said)
        if outputs == 1 and said.get("problem_type") in (None, "regression"):
            found["value"] = ValueHead(hidden=True, dropout=dropout)
        else:
            found["class"] = ClassHead(outputs=outputs, hidden=True, dropout=dropout)
    return found


def named(said: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """The classes that `architectures` names; one that is not known here is `E-FAMILY`."""
    listed = said.get("architectures") or []
    if not isinstance(listed, list):
        raise ModeledgeError("E-CONFIG-VALUE", "architectures must be a list of names", where="architectures")
    for name in listed:
        if name not in known:
            remedy = "known: " + ", ".join(sorted(known))
            raise ModeledgeError(
                "E-FAMILY", f"the class {name!r} is not known here", where="architectures", remedy=remedy
            )
    return listed


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    classes = [
        *(["BertForSequenceClassification"] if "class" in heads or "value" in heads else []),
        *(["BertForMaskedLM"] if "lm" in heads else []),
    ]
    out: dict[str, Any] = {"architectures": classes or ["BertModel"]}
    for head in heads.values():
        if isinstance(head, LMHead):
            out["tie_word_embeddings"] = head.tie
        elif isinstance(head, ClassHead):
            problem = "multi_label_classification" if head.outputs == 1 else None
            out |= {"classifier_dropout": head.dropout, **label_keys(head.outputs, problem)}
        else:
            out |= {"classifier_dropout": head.dropout, **label_keys(1, "regression")}
    return out


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    table = "bert.embeddings.word_embeddings.weight"
    made: list[Rule] = [
        Rename(table, "tokens"),
        Rename("bert.embeddings.token_type_embeddings.weight", "types"),
        Rename("bert.embeddings.position_embeddings.weight", "tower.position.weight"),
        *_both("bert.embeddings.LayerNorm", "embed_norm"),
        Keep("bert.embeddings.position_ids"),
    ]
    for n in range(config.stack.layers):
        theirs, ours = f"bert.encoder.layer.{n}", f"tower.blocks.{n}"
        for part in ("query", "key", "value"):
            made += _both(f"{theirs}.attention.self.{part}", f"{ours}.attention.{part}")
        made += _both(f"{theirs}.attention.output.dense", f"{ours}.attention.output")
        made += _both(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention_norm")
        made += _both(f"{theirs}.intermediate.dense", f"{ours}.feedforward.up")
        made += _both(f"{theirs}.output.dense", f"{ours}.feedforward.down")
        made += _both(f"{theirs}.output.LayerNorm", f"{ours}.feedforward_norm")
    reading = [name for name in ("class", "value") if name in heads]
    for name in reading:
        made += _both("bert.pooler.dense", f"heads.{name}.dense")
        made += _both("classifier", f"heads.{name}.output")
    if not reading:
        made += [Keep("bert.pooler.dense.weight"), Keep("bert.pooler.dense.bias")]
    made += _language_rules(heads["lm"], table) if "lm" in heads else []
    return (*made, Keep("cls.seq_relationship.weight"), Keep("cls.seq_relationship.bias"))


def _language_rules(head: Head, table: str) -> list[Rule]:
    """The reference library computes with `decoder.bias`, to which `bias` is tied where the tables are."""
    assert isinstance(head, LMHead)
    shared: list[Rule] = [
        *_both("cls.predictions.transform.dense", "heads.lm.dense"),
        *_both("cls.predictions.transform.LayerNorm", "heads.lm.norm"),
    ]
    decoder = "cls.predictions.decoder.weight"
    if head.tie:
        return [*shared, Rename(BIAS, "heads.lm.bias"), Tie(DECODER_BIAS, BIAS), Tie(decoder, table)]
    return [*shared, Rename(decoder, "heads.lm.weight"), Rename(DECODER_BIAS, "heads.lm.bias"), Keep(BIAS)]


def _both(theirs: str, ours: str) -> list[Rename]:
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a BERT checkpoint cannot say."""
    if config.encoder is None or isinstance(config.embed, Patches):
        return ["it is a decoder, or it reads images"]
    stack, dropout = config.encoder, config.encoder.dropout
    facts = [
        (stack.norm.place != "post", "its norms stand before the sums"),
        (not config.table.norm, "its embeddings are not normed"),
        (config.table.types < 1, "it has no token types"),
        (stack.attention.qkv != "split", "its queries, keys and values are one matrix"),
        (dropout.embed != dropout.hidden, "embeddings and layers have different dropout rates"),
        ("class" in heads and "value" in heads, "it has two heads that read [CLS]"),
    ]
    for name, head in heads.items():
        known = {"lm": LMHead, "class": ClassHead, "value": ValueHead}.get(name)
        if known is None or not isinstance(head, known):
            facts.append((True, f"there is no head {name!r} of this kind"))
        elif isinstance(head, LMHead):
            facts.append((not (head.transform and head.bias is True), "its lm head has no transform or no bias"))
        else:
            assert isinstance(head, ClassHead | ValueHead)
            facts.append((not (head.hidden and head.pool == "first"), f"head {name!r} does not read a pooled [CLS]"))
            facts.append((isinstance(head, ClassHead) and not head.bias, f"head {name!r} has no bias"))
    return beyond_learned(config) + [reason for true, reason in facts if true]


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name. Where one of the two biases of the lm head is stored, it is the one that counts."""
    found = respelled(names, "bert.", ("cls.", "classifier.", "qa_outputs."), LEGACY)
    counts = BIAS if KEYS.read(said)["tie_word_embeddings"] else DECODER_BIAS
    stored = [name for name, canonical in found.items() if canonical in (BIAS, DECODER_BIAS)]
    return found | {stored[0]: counts} if len(stored) == 1 else found


BERT = Family("bert", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="bert.")

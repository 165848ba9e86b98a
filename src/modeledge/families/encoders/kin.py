"""What the encoders of BERT's kind share: keys, layers, and heads whose names alone differ.

All have learned positions, a norm behind each sum, and the same heads: the masked-LM head (a dense layer, an
activation, a norm, and the table of tokens with a bias of its own), scores from a dense layer over the first token,
scores for each token (tags; the start and end of an answer). BERT and ALBERT call the dense layer over the first token
the pooler, count it to the body, and let next-sentence scores read it too; here it is part of the head. So a file of
theirs holds one head that reads the pooler. A family is a `Page`: a few names, and how the body is read and written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from modeledge.families.encoders.body import both
from modeledge.families.family import Extra, Family, named, respelled, unsayable
from modeledge.families.keys import Keys, changed
from modeledge.families.labels import answering, classed, label_count, score_keys
from modeledge.families.rules import Keep, Rename, Rule, Tie, names_of
from modeledge.model.config import Attention, FeedForward, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead, ValueHead
from modeledge.model.kinds import Learned

LEGACY = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))
TAGS, SPAN = "classifier", "qa_outputs"

# what the classes of the reference library put on a body, by the ends of their names
CLASSES: Mapping[str, tuple[str, ...]] = {
    "ForSequenceClassification": ("class",),
    "ForMaskedLM": ("lm",),
    "ForTokenClassification": ("tags",),
    "ForQuestionAnswering": ("span",),
    "ForMultipleChoice": ("choice",),
    "Model": (),
}
LIKE = TransformerConfig(
    width=1,
    embed=Tokens(vocab=1),
    encoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Learned(length=1)),
)


@dataclass(frozen=True)
class LMNames:
    """The masked-LM head: its dense layer, its norm and its scores; where scores have a second bias, that is `bias`,
    tied to the first one where the tables are tied. All begin with `start`."""

    start: str
    dense: str
    norm: str
    scores: str
    bias: str | None = None


@dataclass(frozen=True)
class Page:
    """One family: `start` begins its classes' names, `prefix` its body's. `table` is the table of tokens.

    `read` and `plain` are the body's configuration both ways, `body` its rules. `made` gives every head that a
    configuration could make, from its values and the number of its labels. `dense` and `output` are the layers of
    the class head, `next` the scores of sentence pairs behind the same dense layer, `choice` the two layers of the
    score by which alternatives are compared, `replaced` those of ELECTRA's discriminator. `kept` may be in a file
    that has no head to read it. `rates` says which key holds a head's dropout. `ids` are the special tokens that a
    model of our own has not, where the reference library would take some.
    """

    model_type: str
    start: str
    prefix: str
    keys: Keys
    read: Callable[[Mapping[str, Any]], TransformerConfig]
    plain: Callable[[TransformerConfig], dict[str, Any]]
    body: Callable[[TransformerConfig], list[Rule]]
    made: Callable[[Mapping[str, Any], int], dict[str, Head]]
    table: str
    lm: LMNames
    dense: str
    output: str
    next: str | None = None
    replaced: tuple[str, str] | None = None
    choice: tuple[str, str] | None = None
    kept: tuple[str, ...] = ()
    rates: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CLASSES)
    ids: Mapping[str, None] = field(default_factory=dict)

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
            self.spelling,
            prefix=self.prefix,
        )

    def read_config(self, said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
        """`config.json` → the shape of the body."""
        return self.read(self.keys.read(said)), Extra(said)

    def write_config(self, config: TransformerConfig, extra: Extra) -> dict[str, Any]:
        """The shape of the body → `config.json`; what has not changed stays as it was said."""
        if extra.said:
            return changed(extra.said, self.plain(self.read_config(extra.said)[0]), self.plain(config))
        return {"model_type": self.model_type, **self.ids, **self.plain(config)}

    def heads(self, said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
        """The heads that a file holds. A class of the reference library that puts another head on is `E-FAMILY`."""
        known = {self.start + end: heads for end, heads in self.known.items()}
        told = {head for name in named(said, known) for head in known[name]}
        found = self.stored(names)
        if told & {"class", "tags", "choice"}:
            found -= {"class", "tags"}  # what stands under their common name is said
        if said.get("architectures"):
            found -= {"next"}  # many files hold these scores whose class has no use for them
        wanted = told | found
        outputs = label_count(said) if wanted & {"class", "tags"} else 2
        made = {name: head for name, head in self.made(self.keys.read(said), outputs).items() if name in wanted}
        score = made.pop("class", None)
        return made | answering(said, score) if isinstance(score, ClassHead) else made

    @property
    def known(self) -> dict[str, tuple[str, ...]]:
        """The classes of this family, by the ends of their names."""
        return {end: heads for end, heads in self.classes.items() if self.choice is not None or "choice" not in heads}

    def stored(self, names: Collection[str]) -> set[str]:
        """The heads that the names of tensors give away."""
        dense, found = f"{self.dense}.weight" in names, set()
        if any(name.startswith(self.lm.start) for name in names):
            found.add("lm")
        if f"{SPAN}.weight" in names:
            found.add("span")
        if self.replaced is not None and f"{self.replaced[0]}.weight" in names:
            found.add("replaced")
        if f"{self.output}.weight" in names and dense:
            found.add("class")
        elif f"{TAGS}.weight" in names:
            found.add("tags")
        elif self.next is not None and f"{self.next}.weight" in names and dense:
            found.add("next")
        return found

    def write_heads(self, config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
        """The keys that say which heads a file holds."""
        left = classed(heads)
        listed: list[str] = []
        for end, made in self.known.items():
            if made and left.issuperset(made):
                listed.append(self.start + end)
                left -= set(made)
        out: dict[str, Any] = {"architectures": listed or [f"{self.start}Model"]}
        for name, head in heads.items():
            if isinstance(head, LMHead):
                out["tie_word_embeddings"] = head.tie
            elif name in self.rates and isinstance(head, ClassHead | ValueHead | TokenHead):
                out[self.rates[name]] = head.dropout
            out |= score_keys(name, head)
        return out

    def rules(self, config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
        """How the names belong together."""
        made = self.body(config)
        for name in ("class", "value", "next"):
            if name in heads:
                made += both(self.dense, f"heads.{name}.dense")
                made += both((self.next or "") if name == "next" else self.output, f"heads.{name}.output")
        if self.choice is not None and "choice" in heads:
            made += both(self.choice[0], "heads.choice.dense") + both(self.choice[1], "heads.choice.output")
        made += both(TAGS, "heads.tags.output") if "tags" in heads else []
        made += both(SPAN, "heads.span.output") if "span" in heads else []
        if self.replaced is not None and "replaced" in heads:
            made += both(self.replaced[0], "heads.replaced.dense") + both(self.replaced[1], "heads.replaced.output")
        lm = heads.get("lm")
        made += self.language_rules(lm) if isinstance(lm, LMHead) else []
        used = {name for rule in made for name in names_of(rule)}
        spare = [f"{name}.{end}" for name in self.kept for end in ("weight", "bias")]
        spare.append(f"{self.prefix}embeddings.position_ids")  # a counter that old files hold
        return (*made, *(Keep(name) for name in spare if name not in used))

    def language_rules(self, head: LMHead) -> list[Rule]:
        """The scores' own bias is what the reference library computes with, the other one is tied to it."""
        names = self.lm
        weight, bias = f"{names.scores}.weight", f"{names.scores}.bias"
        made = [*both(names.dense, "heads.lm.dense"), *both(names.norm, "heads.lm.norm")]
        made.append(Tie(weight, self.table) if head.tie else Rename(weight, "heads.lm.weight"))
        if names.bias is None:
            return [*made, Rename(bias, "heads.lm.bias")]
        if head.tie:
            return [*made, Rename(names.bias, "heads.lm.bias"), Tie(bias, names.bias)]
        return [*made, Rename(bias, "heads.lm.bias"), Keep(names.bias)]

    def lacks(self, config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
        """What a model has that a checkpoint of this family cannot say."""
        return ["it is a decoder"] if config.encoder is None else unsayable(self.family(), config, heads, LIKE)

    def spelling(self, said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
        """File's name → canonical name. Where one of two biases of the lm head is stored, it is the one that counts."""
        ends = (self.dense, self.output, TAGS, SPAN, self.next, *(self.replaced or ()))
        beside = {f"{end}." for end in ends if end is not None and not end.startswith(self.prefix)}
        found = respelled(names, self.prefix, (self.lm.start, *sorted(beside)), LEGACY)
        if self.lm.bias is None:
            return found
        biases = (self.lm.bias, f"{self.lm.scores}.bias")
        counts = biases[0] if self.keys.read(said)["tie_word_embeddings"] else biases[1]
        stored = [name for name, canonical in found.items() if canonical in biases]
        return found | {stored[0]: counts} if len(stored) == 1 else found

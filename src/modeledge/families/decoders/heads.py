"""The heads of decoders that share names: GPT, GPT-2, GPT-NeoX and OPT.

Each is one matrix on the last states: over the vocabulary, over classes at the last token (without bias), over tags at
each token, over the start and end of an answer. GPT and GPT-2 also know a pair (Radford et al. 2018, figure 1, right):
beside the vocabulary one number at the last token, by which several endings of a text are compared. We call it
"choice".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.encoders.bert import named
from modeledge.families.keys import Key, flag, rate, shown
from modeledge.families.labels import WHOLE, answering, classed, label_count, score_keys
from modeledge.families.rules import Rename, Rule, Tie
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead

LM = "lm_head.weight"
TOPS = ("lm_head.", "score.", "classifier.", "qa_outputs.", "multiple_choice_head.")
CHOICE = "multiple_choice_head.summary"
TAG_DROPOUT = 0.1  # what the reference library drops before the scores of tags where nothing is said

# how the number of the double-heads class is made of the states; it shapes that class alone
SUMMARY: tuple[Key, ...] = (
    Key("summary_type", "cls_index", lambda v: isinstance(v, str), "a word"),
    Key("summary_activation", None, lambda v: v is None or isinstance(v, str), "a word"),
    flag("summary_use_proj", True),
    flag("summary_proj_to_labels", True),
    rate("summary_first_dropout", 0.1),
)
PLAIN_SUMMARY = {
    "summary_type": ("cls_index", "last"),
    "summary_activation": (None, ""),
    "summary_use_proj": (True,),
    "summary_proj_to_labels": (True,),
}


def read_heads(
    values: Mapping[str, Any],
    known: Mapping[str, str | None],
    said: Mapping[str, Any],
    names: Collection[str],
    lm: str = LM,
) -> dict[str, Head]:
    """The heads that a file holds; a class that is not `known` is `E-FAMILY`.

    `values` are those that `Keys.read` gave, `lm` the name of an untied lm head: a tied one leaves no tensor, so it is
    `architectures` that names it.
    """
    wanted, can = {known[name] for name in named(said, known)}, set(known.values())
    tensors = {"lm": lm, "class": "score.weight", "tags": "classifier.weight", "span": "qa_outputs.weight"}
    tensors["choice"] = f"{CHOICE}.weight"
    wanted |= {head for head, tensor in tensors.items() if head in can and tensor in names}
    found: dict[str, Head] = {}
    if wanted & {"lm", "choice"}:
        found["lm"] = LMHead(tie=values["tie_word_embeddings"])
    if "class" in wanted:
        found |= answering(said, ClassHead(outputs=label_count(said), pool="last", bias=False))
    if "tags" in wanted:
        dropout = values["classifier_dropout"]
        found["tags"] = TokenHead(outputs=label_count(said), dropout=TAG_DROPOUT if dropout is None else dropout)
    if "span" in wanted:
        found["span"] = TokenHead(outputs=2)
    if "choice" in wanted:
        check_summary(values)
        found["choice"] = ClassHead(outputs=1, pool="last", dropout=values["summary_first_dropout"])
    return found


def check_summary(values: Mapping[str, Any]) -> None:
    """Refuse a summary that is not one matrix over the last token (`E-CONFIG-VALUE`)."""
    for name, fitting in PLAIN_SUMMARY.items():
        if values[name] not in fitting:
            what = f"{name} is {shown(values[name])}; only {' or '.join(map(repr, fitting))} is computed here"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=name, remedy="use another checkpoint")


def written_heads(known: Mapping[str, str | None], heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds: the inverse of `read_heads`."""
    made = classed(heads) - ({"lm"} if "choice" in heads else set())
    classes = [name for name, head in reversed(list(known.items())) if head in made]
    out: dict[str, Any] = {"architectures": classes or [name for name, head in known.items() if head is None]}
    for name, head in heads.items():
        if isinstance(head, LMHead):
            out["tie_word_embeddings"] = head.tie
        elif name == "choice" and isinstance(head, ClassHead):
            out["summary_first_dropout"] = head.dropout
        else:
            out |= score_keys(name, head)
            out |= {"classifier_dropout": head.dropout} if isinstance(head, TokenHead) and name == "tags" else {}
    return out


def head_rules(heads: Mapping[str, Head], table: str, lm: str = LM) -> list[Rule]:
    """The names of the heads; `table` is that of the tokens, which a tied lm head shares."""
    made: list[Rule] = []
    head = heads.get("lm")
    if isinstance(head, LMHead):
        made.append(Tie(lm, table) if head.tie else Rename(lm, "heads.lm.weight"))
    made += [Rename("score.weight", f"heads.{name}.output.weight") for name in WHOLE if name in heads]
    for name, theirs in (("tags", "classifier"), ("span", "qa_outputs"), ("choice", CHOICE)):
        if name in heads:
            made += both(theirs, f"heads.{name}.output")
    return made


def both(theirs: str, ours: str) -> list[Rule]:
    """A weight and a bias under both names."""
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]

"""The special tokens that a family puts around a text or a pair, as data.

`Tokenizer.encode` adds none: where they stand is the objective's business. But a checkpoint was trained with some, and
its files say which (BERT's `[CLS] A [SEP] B [SEP]`, RoBERTa's two separators, T5's `</s>`, Llama's `<s>`). A `Frame`
is that knowledge without the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers

from modeledge.errors import ModeledgeError


@dataclass(frozen=True)
class Slot:
    """One place: a special token (`id`), or where the first or second text stands (`text` 0 or 1); and its type id."""

    id: int | None = None
    text: int | None = None
    type: int = 0


@dataclass(frozen=True)
class Frame:
    """The places for one text, and for a pair of texts."""

    single: tuple[Slot, ...] = (Slot(text=0),)
    pair: tuple[Slot, ...] = (Slot(text=0), Slot(text=1))

    def around(self, first: Sequence[int], second: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
        """The ids of one text or a pair with their special tokens, and the type of each id."""
        texts, ids, types = (first, second), list[int](), list[int]()
        for slot in self.single if second is None else self.pair:
            found = texts[slot.text] if slot.text is not None else [slot.id]
            inside = [int(id) for id in found or () if id is not None]
            ids += inside
            types += [slot.type] * len(inside)
        return ids, types


def frame_of(core: tokenizers.Tokenizer) -> Frame:
    """The frame of a pipeline's post-processor (`E-TOKENIZER` for one of an unknown kind)."""
    said = json.loads(core.to_str()).get("post_processor")
    rows = said["processors"] if said and said["type"] == "Sequence" else [said] if said else []
    frames = [frame for frame in map(_frame, rows) if frame is not None]
    if len(frames) > 1:
        raise ModeledgeError("E-TOKENIZER", "two post-processors add special tokens")
    return frames[0] if frames else Frame()


def _frame(said: dict[str, Any]) -> Frame | None:
    """The frame of one post-processor, `None` where it adds nothing."""
    kind, first, second = said["type"], Slot(text=0), Slot(text=1)
    if kind == "ByteLevel":
        return None
    if kind == "RobertaProcessing":
        cls, sep = Slot(id=said["cls"][1]), Slot(id=said["sep"][1])
        return Frame((cls, first, sep), (cls, first, sep, sep, second, sep))
    if kind == "BertProcessing":
        cls, sep, last = Slot(id=said["cls"][1]), Slot(id=said["sep"][1]), Slot(id=said["sep"][1], type=1)
        return Frame((cls, first, sep), (cls, first, sep, Slot(text=1, type=1), last))
    if kind == "TemplateProcessing":
        return Frame(_slots(said, "single"), _slots(said, "pair"))
    raise ModeledgeError("E-TOKENIZER", f"the post-processor {kind!r} is not known")


def _slots(said: dict[str, Any], which: str) -> tuple[Slot, ...]:
    slots = list[Slot]()
    for row in said[which]:
        if "Sequence" in row:
            slots.append(Slot(text="AB".index(row["Sequence"]["id"]), type=row["Sequence"]["type_id"]))
        else:
            special = row["SpecialToken"]
            ids = said["special_tokens"][special["id"]]["ids"]
            slots += [Slot(id=id, type=special["type_id"]) for id in ids]
    return tuple(slots)

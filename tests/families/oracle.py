"""The reference library beside us: tiny random models of any of its classes, what they are given, what they answer.

A family's tests are a list of `Case`s in a file `cases_*.py`; `test_every_family.py` runs all of them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from modeledge.model import Batch, Transformer
from modeledge.objectives import Shape, collate
from modeledge.records import Piece, Prepared

VOCAB, LENGTHS, START = 41, (9, 4, 6, 1), 2


@dataclass(frozen=True)
class Architecture:
    """One configuration class of the reference library and the tiny shape that all its cases share.

    `side` is what it reads; `types`: it takes token types; `width` of its last states. `pad` is an id that texts never
    hold. `image` is the side of its pictures. `unused` names what a file may lack.
    """

    config: str
    shape: dict[str, Any]
    side: Literal["encoder", "decoder", "both", "image"]
    types: bool = False
    width: int = 16
    pad: int = 0
    unused: tuple[str, ...] = ()
    image: int = 8
    patch: int = 4


@dataclass(frozen=True)
class Case:
    """One class of the reference library, with a configuration that differs from the defaults.

    `states`: how closely hidden states and logits must agree, where 1e-5 is out of reach for a reason that the case
    states. `head` names our head that gives the class's logits; `None` for a bare body.
    """

    of: Architecture
    name: str
    head: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    states: float = 1e-5

    def __str__(self) -> str:
        return f"{self.name}-{self.label}" if self.label else self.name


def cases() -> list[Case]:
    """All cases of all families."""
    files = sorted(Path(__file__).parent.glob("cases_*.py"))
    return [case for file in files for case in importlib.import_module(file.stem).CASES]


def build(hf: Any, case: Case) -> Any:
    """A tiny model of the reference library in training mode: no dropout, and no weight at its neutral start."""
    config = getattr(hf, case.of.config)(**{**case.of.shape, **case.config})
    torch.manual_seed(0)
    model = getattr(hf, case.name)(config)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.train()


def examples(case: Case) -> list[Prepared]:
    """Ragged texts (or pictures) as our collate takes them; a decoder that reads an encoder has other lengths there."""
    draw = np.random.default_rng(3)
    made = []
    for number, length in enumerate(LENGTHS):
        if case.of.side == "image":
            made.append(Prepared(number, source=picture(case.of, draw)))
            continue
        ids, types = draw.integers(3, VOCAB - 1, length), draw.integers(0, 2, length)
        piece = Piece(ids, types if case.of.types else None)
        if case.of.side == "both":
            source = draw.integers(3, VOCAB - 1, LENGTHS[-1 - number] + 1)
            made.append(Prepared(number, source=Piece(source), target=piece))
        else:
            side = "source" if case.of.side == "encoder" else "target"
            made.append(Prepared(number, **{side: piece}))
    return made


def picture(of: Architecture, draw: np.random.Generator) -> Piece:
    raise NotImplementedError("images come with their family")


def given(case: Case, prepared: list[Prepared]) -> dict[str, Tensor]:
    """What the reference library is given: padded ids, masks, types."""
    sides = {"encoder": "source", "decoder": "target", "both": "source"}
    ids, mask, types = padded([getattr(p, sides[case.of.side]) for p in prepared], case.of.pad)
    out = {"input_ids": ids, "attention_mask": mask}
    if case.of.types:
        out["token_type_ids"] = types
    if case.of.side == "both":
        out["decoder_input_ids"], out["decoder_attention_mask"], _ = padded([p.target for p in prepared], case.of.pad)
    return out


def padded(pieces: list[Any], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types `[rows, longest]`."""
    width = max(len(p.ids) for p in pieces)
    ids = torch.full((len(pieces), width), pad)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece.ids)], mask[row, : len(piece.ids)] = torch.as_tensor(piece.ids), 1
        if piece.types is not None:
            types[row, : len(piece.ids)] = torch.as_tensor(piece.types)
    return ids, mask, types


def batch_of(prepared: list[Prepared], *, packed: bool) -> Batch:
    """Our rows: several examples in one, or one in each."""
    return collate(prepared, Shape(24, packed=packed))


def answers(model: Transformer, batch: Batch, head: str | None) -> Tensor:
    """What our head says: one row an example, or a token of the examples in the order of the batch."""
    last = model(batch).last
    tokens = torch.cat([last[r, s:e] for r, s, e in batch.spans.tolist()])
    if head is None:
        return tokens
    module = model.heads[head]
    if head == "lm":
        return model.logits(tokens)
    if type(module).__name__ == "Tagging":
        return module(tokens)
    told = module(last, batch)
    return told[:, None] if told.ndim == 1 else told


def their_answers(case: Case, out: Any, order: list[int]) -> Tensor:
    """The same of the reference library's output, examples in the order of our batch."""
    if case.head is None:
        told = out.last_hidden_state
    elif hasattr(out, "start_logits"):
        told = torch.stack((out.start_logits, out.end_logits), -1)
    elif case.head == "next" and hasattr(out, "seq_relationship_logits"):
        told = out.seq_relationship_logits
    elif case.head == "next" and hasattr(out, "sop_logits"):
        told = out.sop_logits
    else:
        told = out.prediction_logits if hasattr(out, "prediction_logits") else out.logits
    if (
        told.ndim == 2
        and len(told) == len(LENGTHS)
        and (told.shape[1] != max(LENGTHS) or case.head in ("class", "value"))
    ):
        return torch.stack([told[i] for i in order])
    told = told[..., None] if told.ndim == 2 else told
    return torch.cat([told[i, : LENGTHS[i]] for i in order])


def hidden(out: Any, case: Case) -> tuple[Any, Any]:
    """All hidden states of the side that the heads read, and of the encoder that a decoder reads."""
    if case.of.side == "both":
        return out.decoder_hidden_states, out.encoder_hidden_states
    return out.hidden_states, ()

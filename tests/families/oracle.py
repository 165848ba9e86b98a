"""The reference library beside us: tiny random models of any of its classes, what they are given, what they answer.

A family's tests are a list of `Case`s in a file `cases_*.py`; `test_every_family.py` runs all of them.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeledge.model import Batch, Transformer
from modeledge.objectives import Shape, collate
from modeledge.records import Piece, Prepared

VOCAB, LENGTHS, START = 41, (9, 4, 6, 1), 2


@dataclass(frozen=True)
class Architecture:
    """One configuration class of the reference library and the tiny shape that all its cases share.

    `side` is what it reads; `types`: it takes token types; `width` of its last states. `pad` is an id that texts never
    hold. `image` is the side of its pictures, cut into squares of `patch`, `leading` learned tokens before them. Where
    both sides are read, a class is read where the source holds `eos`; `buffers` are those that a file holds and that
    count; `unused` names what a file may lack.
    """

    config: str
    shape: dict[str, Any]
    side: Literal["encoder", "decoder", "both", "image"]
    types: bool = False
    width: int = 16
    pad: int = 0
    eos: int = 1
    buffers: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    image: int = 8
    patch: int = 4
    channels: int = 3
    leading: int = 1

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions of each example."""
        picture = self.leading + (self.image // self.patch) ** 2
        return (picture,) * len(LENGTHS) if self.side == "image" else LENGTHS


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
        for name, buffer in model.named_buffers():
            if name in case.of.buffers:
                buffer.add_(torch.randn_like(buffer))
    if case.of.side == "image":
        show_last_states_normed(model)
    return model.train()


def show_last_states_normed(model: Any) -> None:
    """Text models of the reference library list their last hidden states after the last norm, models of pictures
    before it: show them the first way, as ours are."""
    normed: list[Tensor] = []
    model.base_model.layernorm.register_forward_hook(lambda module, read, out: normed.append(out))

    def put_in(module: Any, read: Any, out: Any) -> Any:
        if out.hidden_states is not None:
            out.hidden_states = (*out.hidden_states[:-1], normed[-1])
        return out

    model.register_forward_hook(put_in)


def saved(hf: Any, folder: Path, case: Case) -> Any:
    """A tiny model of the reference library, and what it wrote into the folder."""
    reference = build(hf, case)
    reference.save_pretrained(folder)
    return reference


def spoilt(folder: Path, keys: dict[str, Any], tensors: dict[str, torch.Tensor | None]) -> None:
    """Other keys in the configuration and other tensors in the file; `None` takes one away."""
    said = json.loads((folder / "config.json").read_text())
    said = {key: value for key, value in {**said, **keys}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(said))
    held = {**load_file(folder / "model.safetensors"), **tensors}
    save_file({n: t for n, t in held.items() if t is not None}, folder / "model.safetensors", {"format": "pt"})


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
        if case.of.side == "both" and case.head in (
            "class",
            "value",
        ):  # read at the end, where both sides stand side by side
            shifted = np.concatenate(([START], ids))
            made.append(Prepared(number, source=Piece(np.append(ids, case.of.eos)), target=Piece(shifted)))
        elif case.of.side == "both":
            source = draw.integers(3, VOCAB - 1, LENGTHS[-1 - number] + 1)
            made.append(Prepared(number, source=Piece(source), target=piece))
        else:
            side = "source" if case.of.side == "encoder" else "target"
            made.append(Prepared(number, **{side: piece}))
    return made


def picture(of: Architecture, draw: np.random.Generator) -> Piece:
    """Random patches behind rows of zeros, where the learned tokens stand."""
    cut = draw.normal(size=(of.lengths[0], of.channels * of.patch**2)).astype(np.float32)
    cut[: of.leading] = 0
    return Piece(cut)


def unfolded(of: Architecture, pieces: list[Any]) -> Tensor:
    """Patches put together to pictures `[n, channels, image, image]` by torch's own inverse of cutting; what no patch
    covers is noise, which a convolution does not read."""
    cut = torch.stack([torch.as_tensor(p.ids[of.leading :]) for p in pieces])
    side = of.image // of.patch * of.patch
    whole = torch.randn(len(pieces), of.channels, of.image, of.image, generator=torch.Generator().manual_seed(4))
    whole[:, :, :side, :side] = torch.nn.functional.fold(cut.transpose(1, 2), side, of.patch, stride=of.patch)
    return whole


def given(case: Case, prepared: list[Prepared]) -> dict[str, Tensor]:
    """What the reference library is given: padded ids, masks, types; or pictures."""
    if case.of.side == "image":
        return {"pixel_values": unfolded(case.of, [p.source for p in prepared])}
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
    return torch.cat([told[i, : case.of.lengths[i]] for i in order])


def hidden(out: Any, case: Case) -> tuple[Any, Any]:
    """All hidden states of the side that the heads read, and of the encoder that a decoder reads."""
    if case.of.side == "both":
        return out.decoder_hidden_states, out.encoder_hidden_states
    return out.hidden_states, ()

"""What `gpu.py` trains: the models, the same examples for both sides, and the operations that a step asks for."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from modeledge.model import LMHead, Transformer, TransformerConfig
from modeledge.objectives import CausalLM, MaskedLM, MaskedPrepare, Objective, Write, WritePrepare, prepared
from modeledge.recipes.presets import PRESETS, bert, gpt2
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

DISTINCT = 8  # steps with data of their own, then again from the first


@dataclass(frozen=True)
class Work:
    """One training: the model in both libraries, and examples of `lengths` tokens (source and target for T5)."""

    name: str
    config: TransformerConfig
    objective: Objective
    theirs: str
    length: int
    batch: int
    lengths: Callable[[np.random.Generator], tuple[int, int]]

    def examples(self, step: int) -> list[Prepared]:
        """The same for every side: a function of the step."""
        random, out = np.random.default_rng(step % DISTINCT), []
        for number in range(self.batch):
            ids, pair = (5 + random.zipf(1.3, size=n) % (self.config.table.vocab - 200) for n in self.lengths(random))
            example = Example(number, ids, pair=pair if len(pair) else None)
            out.append(prepared(self.objective, example, Noise(0, (step % DISTINCT,))))
        return out


def works(smoke: bool) -> list[Work]:
    """The three trainings, or tiny ones of the same kind."""
    if smoke:
        narrow = replace(PRESETS["t5-base"](384), width=32)
        assert narrow.encoder is not None
        stack = replace(narrow.encoder, layers=1, attention=replace(narrow.encoder.attention, heads=2))
        shapes = (gpt2(384, 32, 2, 2), bert(384, 32, 2, 2), replace(narrow, encoder=stack, decoder=stack))
        rows, long, wide = (4, 8, 4), 48, (40, 12)
    else:
        shapes = (PRESETS["gpt2"](50304), PRESETS["bert-base"](30528), PRESETS["t5-base"](32128))
        rows, long, wide = (32, 256, 64), 1024, (511, 113)
    top = min(512, long) - 2

    def mixed(random: np.random.Generator) -> tuple[int, int]:
        return int(np.clip(random.lognormal(np.log(90), 0.8), 8, top)), 0

    masking = MaskedPrepare(vocab=shapes[1].table.vocab, mask=4, specials=(0, 1, 2, 3, 4), cls=2, sep=3)
    writing = WritePrepare(eos=1, length=wide[0] + 1, max_target=wide[1] + 1, start=(0,))
    return [
        Work("gpt2", still(shapes[0]), CausalLM(), "GPT2LMHeadModel", long, rows[0], lambda random: (long + 1, 0)),
        Work("bert", still(shapes[1]), MaskedLM(masking), "BertForMaskedLM", top + 2, rows[1], mixed),
        Work("t5", still(shapes[2]), Write(writing, head=LMHead()), "T5ForConditionalGeneration", wide[0] + 1, rows[2],
             lambda random: wide),
    ]  # fmt: skip


def still(config: TransformerConfig) -> TransformerConfig:
    """The same model without dropout."""
    sides = {name: getattr(config, name) for name in ("encoder", "decoder")}
    none = dict.fromkeys(("embed", "hidden", "attention", "inner", "last"), 0.0)
    return replace(
        config, **{n: s and replace(s, dropout=replace(s.dropout, **none, mixed=None)) for n, s in sides.items()}
    )


def padded(work: Work, examples: list[Prepared]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Examples as transformers wants them: a row each; labels stand where the scores are read, −100 elsewhere."""
    inputs: dict[str, torch.Tensor] = {}
    for side, prefix in (("source", ""), ("target", "decoder_" if work.name == "t5" else "")):
        pieces = [getattr(p, side) for p in examples]
        if pieces[0] is None:
            continue
        longest = max(len(piece.ids) for piece in pieces)
        wide = longest if work.name == "t5" else min(-(-longest // 64) * 64, work.length)
        ids = np.zeros((len(pieces), wide), dtype=np.int64)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece.ids)] = piece.ids
        inputs[f"{prefix}input_ids"] = torch.from_numpy(ids)
        if min(len(piece.ids) for piece in pieces) < wide:
            lengths = np.array([len(piece.ids) for piece in pieces])
            inputs[f"{prefix}attention_mask"] = torch.from_numpy((np.arange(wide) < lengths[:, None]).astype(np.int64))
    labels = np.full((len(examples), wide), -100, dtype=np.int64)
    for row, example in enumerate(examples):
        labels[row, example.reads["lm"]] = example.labels["lm"]
    return inputs, torch.from_numpy(labels)


def batches(work: Work) -> Iterator[list[Prepared]]:
    """Examples step by step; those of a step are made once, as a loader that keeps ahead would have them ready."""
    kept = [work.examples(step) for step in range(DISTINCT)]
    while True:
        yield from kept


def operations(work: Work, model: Transformer) -> float:
    """Floating-point operations of the products of a step, forward and backward, over the real tokens; the mean."""
    weights = {"source": 0, "target": 0}
    for name, parameter in model.named_parameters():
        if "tower.blocks." in name and parameter.ndim == 2:
            below = name.startswith("source_tower.") or work.config.decoder is None
            side = "source" if below or ".cross.key" in name or ".cross.value" in name else "target"
            weights[side] += parameter.numel()
    steps = [sum(asked(work, example, weights) for example in work.examples(step)) for step in range(DISTINCT)]
    return statistics.mean(steps)


def asked(work: Work, example: Prepared, weights: dict[str, int]) -> float:
    """The operations of one example: products with weights, scores over the vocabulary, attention."""
    width, table = work.config.width, work.config.table
    source, target = (0 if piece is None else len(piece.ids) for piece in (example.source, example.target))
    total = 6.0 * (weights["source"] * source + weights["target"] * target)
    total += 6.0 * len(example.labels["lm"]) * table.vocab * width
    for stack, queries, keys in (
        (work.config.encoder, source, source),
        (work.config.decoder, target, target + source),
    ):
        if stack is not None:
            heads, each = stack.attention.heads, stack.attention.head_width
            total += 12.0 * stack.layers * heads * (each or width // heads) * queries * keys
    return total

"""Tiny random models of each family as their pre-training left them, fine-tuned on a few rows, and what the reference
library says of what was written."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import torch
from oracle import Architecture, Case, build

from modeledge.model import Batch, Side
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tokens import train_tokenizer

WORDS = "red green blue one two three four five old new big small".split()  # noqa: SIM905
NAMES = ("bad", "fair", "good")

# family → its cases, its shape there, the class that pre-training leaves, which heads it has besides
FAMILIES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "bert": ("bert", "BERT", "BertForPreTraining", ("tags", "span")),
    "roberta": ("roberta", "ROBERTA", "RobertaForMaskedLM", ("tags", "span")),
    "distilbert": ("distilbert", "DISTIL", "DistilBertForMaskedLM", ("tags", "span")),
    "albert": ("albert", "ALBERT", "AlbertForPreTraining", ("tags", "span")),
    "electra": ("electra", "ELECTRA", "ElectraForPreTraining", ("tags", "span")),
    "modernbert": ("modernbert", "MODERN", "ModernBertForMaskedLM", ("tags", "span")),
    "gpt2": ("gpt2", "GPT2", "GPT2LMHeadModel", ("tags", "span")),
    "gpt_neox": ("gpt_neox", "NEOX", "GPTNeoXForCausalLM", ("tags", "span")),
    "opt": ("opt", "OPT", "OPTForCausalLM", ("span",)),
    "llama": ("llama", "LLAMA", "LlamaForCausalLM", ("tags", "span")),
    "qwen2": ("qwen2", "QWEN2", "Qwen2ForCausalLM", ("tags", "span")),
    "gemma": ("gemma", "GEMMA", "GemmaForCausalLM", ("tags",)),
    "t5": ("t5", "T5", "T5ForConditionalGeneration", ("span",)),
    "bart": ("bart", "BART", "BartForConditionalGeneration", ("span",)),
}


def texts(count: int) -> list[str]:
    lots = random.Random(0)
    return [f"number {n} " + " ".join(lots.choices(WORDS, k=1 + n % 6)) for n in range(count)]


TOKENIZER = train_tokenizer(texts(60), vocab_size=300)


class Pretrained:
    """The folder of a family's pre-trained model with the tokenizer beside it, written once."""

    def __init__(self, hf: Any, root: Path) -> None:
        self.hf, self.root = hf, root

    def __call__(self, family: str) -> Path:
        folder = self.root / family
        if not folder.exists():
            file, name, architecture, _ = FAMILIES[family]
            of: Architecture = getattr(importlib.import_module(f"cases_{file}"), name)
            ids = {"pad_token_id": TOKENIZER.need("pad"), "eos_token_id": TOKENIZER.need("sep")}
            case = Case(of, architecture, None, {"vocab_size": TOKENIZER.vocab_size, **ids})
            build(self.hf, case).save_pretrained(folder)
            TOKENIZER.save(folder)
        return folder


def tuned(model: Path, folder: Path, labels: list[Any], **fields: Any) -> list[str]:
    """Fine-tune on a few rows; returns what was said."""
    numbers = FinetuneTrain(batch=8, length=20, threads=1, precision="fp32", learning_rate=1e-2)
    said: list[str] = []
    rows = [{"text": text, "label": label} for text, label in zip(texts(len(labels)), labels, strict=True)]
    recipe = FinetuneRecipe(model=str(model), data="rows from memory", train=numbers, **{"epochs": 1.0, **fields})
    finetune(recipe, folder, rows=rows, say=said.append)
    return said


def opened(hf: Any, folder: Path, kind: str) -> Any:
    """The reference library's class on a folder of ours, which must be whole and nothing more."""
    model, told = getattr(hf, kind).from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    return model.eval()


def both_say(hf: Any, folder: Path) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """What we and the reference library say of the same ids, one text at a time."""
    theirs = opened(hf, folder / "model", "AutoModelForSequenceClassification")
    asked = Model.load(folder)
    assert asked.task is not None
    examples = asked.task.encode([{"text": text} for text in texts(6)], labelled=False)
    told, other = [], []
    for example in examples:
        source, target = asked.task.prepare.sides(asked.task.prepare.piece(example))
        sides = {k: Side.of(torch.from_numpy(p.ids)[None]) for k, p in (("source", source), ("target", target)) if p}
        first = source or target
        assert first is not None
        spans = torch.tensor([[0, 0, len((target or first).ids)]])
        with torch.no_grad():
            score = asked.task.objective.scores(asked.transformer, Batch(**sides, spans=spans))
            told.append(score.reshape(1, -1))
            other.append(theirs(torch.from_numpy(first.ids)[None]).logits)
    return torch.cat(told), torch.cat(other), theirs.config

"""Forward pass and training step of one model of each kind of architecture, the same weights on both sides, both in
bf16: ours against transformers' own class (eager, its default attention, autocast).

python benchmarks/families.py                     all kinds
python benchmarks/families.py --kind t5 --only "forward"
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, VOCAB, SEQ, BATCH = 256, 4, 4, 8192, 128, 16
KINDS = ("bert", "modernbert", "llama", "gemma2", "t5", "bart", "vit")


def hf_model(kind: str) -> Any:
    """The reference's class with a head, no dropout, weights from one seed."""
    import torch
    import transformers as hf

    wide = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    match kind:
        case "bert":
            config = hf.BertConfig(**wide, intermediate_size=4 * WIDTH, **none)
            return hf.BertForMaskedLM(config)
        case "modernbert":
            config = hf.ModernBertConfig(**wide, intermediate_size=2 * WIDTH, local_attention=64, **ids)
            return hf.ModernBertForMaskedLM(config)
        case "llama":
            config = hf.LlamaConfig(**wide, intermediate_size=688, num_key_value_heads=2, **ids)
            return hf.LlamaForCausalLM(config)
        case "gemma2":
            shape = {"intermediate_size": 688, "num_key_value_heads": 2, "head_dim": 64, "sliding_window": 64}
            return hf.Gemma2ForCausalLM(hf.Gemma2Config(**wide, **shape, **ids))
        case "t5":
            shape = {"d_model": WIDTH, "d_kv": 64, "d_ff": 4 * WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
            return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=VOCAB, **shape, dropout_rate=0.0))
        case "bart":
            shape = {"encoder_layers": LAYERS, "decoder_layers": LAYERS, "d_model": WIDTH}
            shape |= {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS}
            shape |= {"encoder_ffn_dim": 4 * WIDTH, "decoder_ffn_dim": 4 * WIDTH, "dropout": 0.0}
            return hf.BartForConditionalGeneration(hf.BartConfig(vocab_size=VOCAB, **shape))
        case "vit":
            shape = {k: v for k, v in wide.items() if k != "vocab_size"}
            config = hf.ViTConfig(**shape, intermediate_size=4 * WIDTH, image_size=160, **none, num_labels=100)
            return hf.ViTForImageClassification(config)
    raise SystemExit(f"kinds: {', '.join(KINDS)}")


def ids(step: int) -> np.ndarray:
    """Token ids [batch, seq + 1]."""
    return np.random.default_rng(step % 8).zipf(1.3, size=(BATCH, SEQ + 1)) % (VOCAB - 10) + 5


def pictures(step: int) -> np.ndarray:
    """Pictures [batch, 3, 160, 160]: 100 patches and [CLS]."""
    return np.random.default_rng(step % 8).standard_normal((BATCH, 3, 160, 160)).astype(np.float32)


def hf(kind: str, train: bool) -> Any:
    import torch

    model = hf_model(kind).train(train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    done = 0

    def given() -> dict[str, Any]:
        if kind == "vit":
            return {"pixel_values": torch.from_numpy(pictures(done)), "labels": torch.arange(BATCH) % 100}
        text = torch.from_numpy(ids(done))
        here, ahead = text[:, :-1].contiguous(), text[:, 1:].contiguous()
        if kind in ("t5", "bart"):
            return {"input_ids": here, "decoder_input_ids": here, "labels": ahead}
        if kind in ("llama", "gemma2"):
            return {"input_ids": here, "labels": ahead, "shift_labels": ahead}
        return {"input_ids": here, "labels": ahead}

    def block() -> float:
        nonlocal done
        with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16):
            loss = model(**given()).loss
        if train:
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        done += 1
        return round(float(loss.detach()), 3)

    return block


def ours(kind: str, train: bool) -> Any:
    import tempfile
    from pathlib import Path

    import torch

    from modeledge.families import load_model
    from modeledge.machine import tune_malloc
    from modeledge.model import Batch, Side
    from modeledge.objectives.causal import vocabulary_term
    from modeledge.train.config import TrainConfig
    from modeledge.train.optim import Optimizer

    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        hf_model(kind).save_pretrained(folder)
        model = load_model(Path(folder)).train(train)
    model.compute = torch.bfloat16
    optimizer = Optimizer(dict(model.named_parameters()), TrainConfig())
    moving = dict.fromkeys(optimizer.parameters, 1.0)
    done = 0

    def loss_now() -> Any:
        if kind == "vit":
            return torch.nn.functional.cross_entropy(images(model, pictures(done)).float(), torch.arange(BATCH) % 100)
        text = torch.from_numpy(ids(done))
        side, labels = Side.of(text[:, :-1].contiguous()), text[:, 1:].reshape(-1)
        source = side if model.config.encoder is not None else None
        target = side if model.config.decoder is not None else None
        asked = {"reads": {"lm": torch.arange(len(labels))}, "labels": {"lm": labels}}
        batch = Batch(source=source, target=target, **asked, weights={"lm": torch.ones(len(labels))})
        term = vocabulary_term(model, batch, "lm")
        return term.total / term.weight

    def block() -> float:
        nonlocal done
        with torch.set_grad_enabled(train):
            loss = loss_now()
        if train:
            loss.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            if float(norm) > 1.0:
                torch.nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, norm)
            optimizer.update(1e-4, moving)
            optimizer.zero_grad()
        done += 1
        return round(float(loss.detach()), 3)

    return block


def images(model: Any, pixels: np.ndarray) -> Any:
    """Scores of pictures [n, channels, height, width]: one row each."""
    import torch

    from modeledge.model import Batch, Side

    shape = model.config.embed
    n, channels, height, _ = pixels.shape
    across = height // shape.patch
    cut = torch.from_numpy(pixels).view(n, channels, across, shape.patch, across, shape.patch)
    patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(n, across * across, -1)
    rows = torch.cat((torch.zeros(n, shape.leading, patches.shape[2]), patches), 1)
    positions = torch.arange(rows.shape[1]).expand(n, -1)
    side = Side(rows, positions, torch.ones_like(positions), whole=True)
    spans = torch.tensor([(i, 0, rows.shape[1]) for i in range(n)])
    batch = Batch(source=side, spans=spans)
    return model.heads["class"](model(batch).last, batch)


if __name__ == "__main__":
    from pairs import main

    chosen: tuple[str, ...] = KINDS
    if "--kind" in sys.argv:
        at = sys.argv.index("--kind")
        chosen = (sys.argv.pop(at + 1),)
        sys.argv.pop(at)
    for kind in chosen:
        for train in (False, True):
            work = "training step" if train else "forward"
            asked = {"kind": kind, "train": train}
            others = {f"transformers {kind}, {work}": ("hf", asked)}
            main(f"families {kind} {work}", "families", ("ours", asked), others, "tokens", BATCH * SEQ)

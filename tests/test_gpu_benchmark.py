"""benchmarks/gpu.py in its smallest form: both sides learn the same from the same tokens; operations are counted."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import gpu
from modeledge.model import Transformer


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5"])
def test_both_sides_begin_at_the_same_loss(name: str) -> None:
    pytest.importorskip("transformers")
    work = next(work for work in gpu.works(smoke=True) if work.name == name)
    row = gpu.measure(work, "cpu", pairs=1, steps=1, compiled=False)
    assert row["ours loss"] == pytest.approx(row["theirs loss"], rel=2e-3)  # bf16 on both sides
    assert row["away from the CPU"] == 0
    assert row["ratio"] > 0


def test_it_says_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "gpt2"])
    gpu.main()
    told = capsys.readouterr().out
    assert "there is no CUDA device here" in told
    assert "our own side alone" in told
    assert told.splitlines()[-1].startswith("gpt2 | 0 |")


def test_operations_are_those_of_the_formula() -> None:
    """6 a weight and token, 12 · layers · width · length for attention: GPT-2 124M at 1,024 tokens."""
    work = next(work for work in gpu.works(smoke=False) if work.name == "gpt2")
    with torch.device("meta"):
        model = Transformer(work.config)
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "position" not in n)
    told = 32 * 1024 * (6 * matrices + 12 * 12 * 768 * 1024)
    assert gpu.operations(work, model) == pytest.approx(told, rel=1e-9)
    assert np.isclose(matrices, 123.6e6, rtol=0.01)

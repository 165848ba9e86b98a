"""Loading holds the weights once: measured in a process of its own by the benchmark that anyone can run."""

from __future__ import annotations

import pytest

import load


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_held_once(dtype: str) -> None:
    """Of 200 MB, beside which the 13 MB of our modules and a few of the interpreter's pages are little."""
    told = load.memory(200.0, dtypes=(dtype,))[f"modeledge {dtype}"]
    spare = told["largest"] if dtype != "float32" else 0
    assert told["weights"] > 160e6
    assert told["peak"] - told["before"] <= 1.15 * told["weights"] + spare, told

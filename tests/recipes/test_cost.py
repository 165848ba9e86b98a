"""What an adaptation cost."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_multitask import body

from modeledge.adapt.quantize import held_bytes
from modeledge.recipes.tuning.cost import watch


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say what is resident now")
def test_the_peak_is_that_of_the_run_and_not_of_its_process() -> None:
    """A process of a study has run other runs before, and holds libraries: 200 MB here."""
    earlier = np.ones(25_000_000)
    model = body()
    since = watch(model)
    quiet = since.peak()
    taken = np.ones(12_500_000)
    del taken
    assert held_bytes(model) <= quiet < held_bytes(model) + 20e6
    assert quiet + 99e6 <= since.peak() < quiet + 130e6, "what was given back by then counts"
    assert len(earlier)

"""Rows whose positions rise by one in each segment share one row of distances: the scores are those of all rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from modeledge.model.kinds import Buckets
from modeledge.model.pattern import Marks, Pattern
from modeledge.model.position import BucketPosition

SEGMENTS = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0], [1, 2, 2, 2, 2, 2, 2, 2]])
POSITIONS = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0], [0, 5, 6, 7, 8, 9, 10, 11]])


@pytest.mark.parametrize("causal", [False, True])
def test_one_row_of_distances_is_all_rows_of_them(causal):
    position = BucketPosition(Buckets(count=8, distance=6), 3).double()
    torch.nn.init.normal_(position.weight, generator=torch.Generator().manual_seed(0))
    marks = Marks(POSITIONS, SEGMENTS, steady=True)
    probe = torch.randn(6, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    told, gradients = [], []
    for steady in (True, False):
        marks = replace(marks, steady=steady)
        score = position.score(marks, marks, whole=False, causal=causal)
        assert score is not None
        assert len(score) == (1 if steady else 2)
        pattern = Pattern(causal, None, marks, marks)
        bias = pattern.scored(score, torch.float64, dense=True, keep=True)
        assert pattern.scored(score, torch.float64, dense=True) is bias
        seen = pattern.allowed().repeat_interleave(3, 0) & (SEGMENTS > 0).repeat_interleave(3, 0)[:, :, None]
        told.append(torch.where(seen, bias, 0).detach())
        gradients.append(torch.autograd.grad((torch.where(seen, bias, 0) * probe).sum(), position.weight)[0])
    assert torch.equal(*told)
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-12)

"""Roles and their columns: each role that is read has a column of its own."""

from __future__ import annotations

import pytest

from modeledge.errors import ModeledgeError
from modeledge.tasks import TASKS, role_columns


@pytest.mark.parametrize("name", TASKS)
def test_no_task_reads_its_label(name: str) -> None:
    kind = TASKS[name]
    for role in kind.inputs:
        with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*the label would be read"):
            role_columns(kind, {role: "same", kind.target: "same"})


def test_a_pair_is_of_two_columns() -> None:
    with pytest.raises(ModeledgeError, match=r"'text' and 'pair' are both column 'body'.*would be read twice"):
        role_columns(TASKS["auto"], {"text": "body", "pair": "body"})
    assert role_columns(TASKS["auto"], {"text": "body"}) == {"text": "body", "label": "label"}

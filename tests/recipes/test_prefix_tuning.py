"""A prefix LM is fine-tuned as it has learned to read, and says so; a word of the recipe decides otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_pretrain import STACK, quiet, recipe, sentences

from modeledge.recipes.asking.use import Model
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tasks.write import WriteTask

ROWS = [{"source": f"the dog saw {n} cats", "target": f"{n} cats"} for n in range(40)]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix LM and an ordinary decoder of the same shape."""
    place = tmp_path_factory.mktemp("bodies")
    (place / "a.txt").write_text(sentences(120))
    for kind in ("prefix", "causal"):
        shape = {"width": 16, "decoder": {**STACK, "position": {"kind": "rotary"}}}
        pretrain(
            recipe([str(place / "a.txt")], model={"shape": shape}, objective={"kind": kind}),
            place / kind,
            say=quiet,
        )
    return place


@pytest.mark.parametrize(
    ("body", "options", "wanted"),
    [
        ("prefix", {}, True),
        ("prefix", {"prefix_lm": False}, False),
        ("prefix", {"train_source": True}, False),
        ("causal", {}, False),
        ("causal", {"prefix_lm": True}, True),
    ],
)
def test_it_reads_as_its_body_learned_to(
    bodies: Path, tmp_path: Path, body: str, options: dict[str, Any], wanted: bool
) -> None:
    said: list[str] = []
    train = FinetuneTrain(batch=8, length=24, threads=1, precision="fp32")
    asked = FinetuneRecipe(
        model=str(bodies / body / "model"),
        data="rows from memory",
        task="write",
        epochs=0.5,
        train=train,
        options={"max_target": 8, "metrics": ["exact_match"], **options},
    )
    finetune(asked, tmp_path / "run", rows=ROWS, say=said.append)
    made = Model.load(tmp_path / "run")
    assert isinstance(made.task, WriteTask)
    assert made.task.prepare.both_ways == wanted
    assert made.writes == ("prefix" if wanted else None)
    assert any("read both ways" in line for line in said) == (wanted and not options)


@pytest.mark.parametrize(("body", "told"), [("prefix", True), ("causal", False)])
def test_labels_on_a_prefix_lm_say_how_it_reads(bodies: Path, tmp_path: Path, body: str, told: bool) -> None:
    """A head on the last token reads from left to right: that is another way than the body has learned."""
    said: list[str] = []
    train = FinetuneTrain(batch=8, length=24, threads=1, precision="fp32")
    rows = [{"text": row["source"], "label": ("a", "b")[n % 2]} for n, row in enumerate(ROWS)]
    for bidirectional in (False, True):
        said.clear()
        asked = FinetuneRecipe(
            model=str(bodies / body / "model"),
            data="rows from memory",
            epochs=0.5,
            train=train,
            bidirectional=bidirectional,
        )
        finetune(asked, tmp_path / f"run-{bidirectional}", rows=rows, say=said.append)
        assert any("from left to right, though" in line for line in said) == (told and not bidirectional)

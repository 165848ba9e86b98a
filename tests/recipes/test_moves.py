"""What moves under a strategy, drawn: the cells against the strategy, the page in the docs against the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeledge.adapt import STRATEGIES
from modeledge.cli import app
from modeledge.cli.strategies import built
from modeledge.errors import ModeledgeError
from modeledge.recipes.tuning.strategies import GALLERY, docs_page, draw, gallery
from modeledge.report.moves import Cell, Moves, moves_plot, moves_text
from modeledge.report.svg import check_svg

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_in_the_docs_is_what_the_strategies_say() -> None:
    """The whole page, and a section for every row of the table."""
    page = (DOCS / "strategies.md").read_text(encoding="utf-8")
    assert page.strip() == docs_page(gallery(built)).strip(), "run `modeledge strategies --docs > docs/strategies.md`"
    drawn = set(re.findall(r"^## `([\w-]+)", page, flags=re.MULTILINE))
    assert drawn == set(STRATEGIES), "every row is drawn"
    check_svg((DOCS / "strategies.svg").read_text(encoding="utf-8"))
    shown = {row.word.partition(":")[0] for row in GALLERY}
    ours = {"full", "probe", "freeze", "named", "bitfit", "lp-ft", "unfreeze", "reinit", "new-input", "rates", "l2-sp"}
    assert shown >= ours
    assert shown <= STRATEGIES.keys()


def test_a_drawing_is_written_out() -> None:
    told = moves_text(draw(["unfreeze:per=steps,every=100,layers=4", "rates:body=0.5"], built))
    assert told.splitlines() == [
        "unfreeze:per=steps,every=100,layers=4 + rates:body=0.5  embeddings  1–2  3–6   norm  head",
        "  start                                                 ·           ·    ·     ×0.5  ■",
        "  middle, end                                           ·           ·    ×0.5  ×0.5  ■",
    ]


def test_cells() -> None:
    told = [Cell(), Cell(1.0), Cell(1.0, 0.4, 0.4), Cell(0.031), Cell(0.5, 0.1, 1.0), Cell(0.9996)]
    assert [str(cell) for cell in told] == ["·", "■", "×0.4", "3.1%", "50% ×0.1–1", "■"]


def test_folding_keeps_what_differs() -> None:
    still, moves = Cell(), Cell(1.0)
    drawn = Moves("x", ("embeddings", "1", "2", "3", "head"), (("start", (still, still, still, moves, moves)),))
    assert drawn.folded().parts == ("embeddings", "1–2", "3", "head"), "neither the embeddings nor the head is a layer"
    check_svg(moves_plot([drawn]))


def test_strategies_that_cannot_be_drawn_say_why() -> None:
    with pytest.raises(ModeledgeError, match="the model has 6"):
        draw(["freeze:first=7"], built)


def test_the_verb_prints_and_writes(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["strategies", "lp-ft:share=0.3", "--out", str(tmp_path / "a.html")])
    assert done.exit_code == 0, done.output
    assert "middle, end" in done.output
    assert "<svg" in (tmp_path / "a.html").read_text(encoding="utf-8")
    helped = CliRunner().invoke(app, ["finetune", "nowhere", "nothing", "--strategy", "help"])
    assert helped.exit_code == 0
    assert "Gradual unfreezing" in helped.output
    assert "lp-ft:share=0.3" in helped.output

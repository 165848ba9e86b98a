"""The verb that shows what moves: `modeledge strategies`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modeledge.cli.terminal import say, strategy_of

if TYPE_CHECKING:
    from modeledge.adapt.strategy import Strategy


def strategies(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Rows that act together: lp-ft rates:decay=0.9; without any all are drawn."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A model folder to draw; else one of six layers.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A fresh .html or .svg file.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Print the page docs/strategies.md.")] = False,
) -> None:
    """Draw which weights move under a strategy, at the start, the middle and the end of a run."""
    from modeledge.recipes.folder import model_folder
    from modeledge.recipes.store.open import open_model
    from modeledge.recipes.tuning import strategies as drawing
    from modeledge.report.moves import moves_text

    if words:
        body = None if model is None else open_model(model_folder(model), say)
        moves = drawing.draw(words, built, body)
        print(moves_text(moves))
        if out is not None:
            drawing.write_page([(None, moves)], out)
        return
    drawn = drawing.gallery(built)
    print(drawing.docs_page(drawn) if docs else drawing.table_text(drawn))
    if out is not None:
        drawing.write_page(drawn, out)


def built(word: str) -> Strategy:
    """A strategy as it is typed."""
    from modeledge.recipes.recipe import StrategyRecipe
    from modeledge.recipes.tuning.strategy import make_strategy

    return make_strategy(StrategyRecipe(**strategy_of(word)))


def show_strategies() -> None:
    """What `--strategy help` prints."""
    from modeledge.recipes.tuning.strategies import gallery, table_text

    print(table_text(gallery(built)))


VERBS = (strategies,)

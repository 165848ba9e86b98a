"""The verb that takes models in and out: `modeledge convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeledge.cli.terminal import say


def convert(
    source: Annotated[str, typer.Argument(help="A model folder, a run folder, or org/name on a hub.")],
    target: Annotated[Path, typer.Argument(help="A fresh folder.")],
    to: Annotated[str, typer.Option(help="hf (what other libraries read) or modeledge (holds every model)")] = "hf",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as it was without.")] = None,
    from_pickle: Annotated[bool, typer.Option("--from-pickle", help="Read .bin or .pt in a sandbox.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit on the hub.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="A mirror of the hub, as HF_ENDPOINT.")] = None,
) -> None:
    """Read a model of any family and write it in another form or dtype, with its tokenizer."""
    from modeledge.recipes.convert import Wish
    from modeledge.recipes.convert import convert as run

    say(f"model: {run(source, target, Wish(to, dtype, from_pickle, revision, endpoint), say)}")

"""Models in and out: how a verb is told which one, `convert`, and what is asked of a model as it is, `embed` and
`generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modeledge.cli.terminal import say

if TYPE_CHECKING:
    from modeledge.recipes.asking.use import Model

ModelFolder = Annotated[str, typer.Argument(help="A model folder, the run folder around it, or org/name on a hub.")]
Revision = Annotated[str | None, typer.Option(help="A branch, tag or commit on the hub.")]
Endpoint = Annotated[str | None, typer.Option(help="A mirror of the hub, as HF_ENDPOINT.")]


WRITES = {
    "uncover": "a model of masked diffusion: hidden tokens behind the prompt are uncovered, in --steps passes",
    "sequence": "a model of UniLM's kind: the prompt is read both ways, and each token is guessed at a mask behind it",
    "prefix": "a prefix LM: the prompt is read both ways",
}


def opened(model: str, revision: str | None, endpoint: str | None) -> Model:
    """The model that a verb was told."""
    from modeledge.recipes.store.models import load

    return load(model, revision, endpoint, say=say)


def convert(
    source: Annotated[str, typer.Argument(help="A model folder, a run folder, or org/name on a hub.")],
    target: Annotated[Path, typer.Argument(help="A fresh folder.")],
    to: Annotated[str, typer.Option(help="hf (what other libraries read) or modeledge (holds every model)")] = "hf",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as it was without.")] = None,
    from_pickle: Annotated[bool, typer.Option("--from-pickle", help="Read .bin or .pt in a sandbox.")] = False,
    revision: Revision = None,
    endpoint: Endpoint = None,
) -> None:
    """Read a model of any family and write it in another form or dtype, with its tokenizer."""
    from modeledge.recipes.store.convert import Wish
    from modeledge.recipes.store.convert import convert as run

    say(f"model: {run(source, target, Wish(to, dtype, from_pickle, revision, endpoint), say)}")


def merge(
    source: Annotated[str, typer.Argument(help="A run that trained an adapter, or an adapter's folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder.")],
    base: Annotated[str | None, typer.Option(help="Where its base lies now; as the adapter says, without.")] = None,
) -> None:
    """Fold an adapter into its base, and write the whole model."""
    from modeledge.recipes.adapters.fold import merge as run

    say(f"model: {run(source, out, base=base, say=say)}")


def embed(
    model: ModelFolder,
    data: str,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the vectors go; a fresh file.")],
    text: str = "text",
    pool: str = "mean",
    revision: Revision = None,
    endpoint: Endpoint = None,
) -> None:
    """Write one vector a row: a .npy file of float32, rows × width."""
    from modeledge.recipes.asking.tables import VECTORS, check_fresh, write_vectors

    check_fresh(out, VECTORS)
    count, width = write_vectors(opened(model, revision, endpoint), data, out, text, pool, say)
    say(f"{count} vectors of width {width}: {out}")


def generate(
    model: ModelFolder,
    prompt: Annotated[list[str], typer.Argument(help="One or more prompts.")],
    max_new_tokens: int = 100,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text.")] = None,
    seed: int = 0,
    steps: Annotated[int | None, typer.Option(help="Passes of a masked-diffusion model.", show_default=False)] = None,
    revision: Revision = None,
    endpoint: Endpoint = None,
) -> None:
    """Continue prompts with a decoder or a model of masked diffusion, answer them with a decoder that reads an encoder,
    fill [MASK]s with an encoder."""
    asked = opened(model, revision, endpoint)
    if asked.writes is not None:
        say(WRITES[asked.writes])
    if asked.transformer.config.decoder is None and (asked.writes is None or any(map(asked.has_gap, prompt))):
        for gap in (gap for text in prompt for gap in asked.fill(text)):
            print("  ".join(f"{piece.strip()} {share:.3f}" for piece, share in gap))
        return
    told = asked.generate(
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop or (),
        seed=seed,
        steps=steps,
    )
    for text, continuation in zip(prompt, told, strict=True):
        print(continuation if asked.transformer.config.both else text + continuation)

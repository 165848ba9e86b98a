"""One verb a chapter: `modeledge corpus build`, `tokenizer train`, `pretrain`, `finetune`, `predict`, … `report`.

Nothing heavy is imported before a verb needs it, so that `--help` answers at once. Errors that a user can mend are one
line and an exit status of the catalogue; `--debug` shows the traceback.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from modeledge import __version__
from modeledge.cli import features, judge, strategies, study, tuned
from modeledge.cli.check import Allow, NoCheck, Strict, check, gate_keys, lr_range, plan
from modeledge.cli.corpus import Out, build, dedup
from modeledge.cli.judges import classifier_app, perplexity_app
from modeledge.cli.looking import inspect, search
from modeledge.cli.models import Endpoint, ModelFolder, Revision, convert, embed, generate, merge, opened
from modeledge.cli.terminal import given, progress, said, say, show_scores, strategy_of, write_report
from modeledge.cli.tokenizers import measure, train
from modeledge.errors import IO_ERROR, ModeledgeError
from modeledge.machine import calm_threads

app = typer.Typer(
    name="modeledge",
    help="The whole life of a pre-trained model: corpus, tokenizer, pre-training, adaptation, evaluation, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(help="Raw files → clean, packed token shards.", no_args_is_help=True)
tokenizer_app = typer.Typer(help="Train and measure tokenizers.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
corpus_app.add_typer(classifier_app, name="classifier")
corpus_app.add_typer(perplexity_app, name="perplexity")
app.add_typer(tokenizer_app, name="tokenizer")
for verb in (check, plan, lr_range, convert, merge, embed, generate):
    app.command()(verb)
for room in (judge, study, features, strategies, tuned):
    for verb in room.VERBS:
        app.command()(verb)

Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, over the recipe")]


def main() -> None:
    """The command. Exit statuses: 0 done, 64–78 by the catalogue, 130 and 143 stopped by a signal after saving."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    signal.signal(signal.SIGTERM, _terminated)
    calm_threads()
    try:
        app()
    except ModeledgeError as error:
        _leave(error, error.exit_status, debug)
    except (MemoryError, OSError) as error:
        _leave(error, IO_ERROR, debug)
    except KeyboardInterrupt:
        sys.exit(130)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Before and between runs there is nothing to save; a run installs its own handler."""
    sys.exit(128 + number)


def _leave(error: BaseException, status: int, debug: bool) -> None:
    if debug:
        raise error
    name = "" if isinstance(error, ModeledgeError) else f"{type(error).__name__}: "
    print(f"{name}{error}", file=sys.stderr)
    sys.exit(status)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.", is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    if version:
        print(f"modeledge {__version__}")
        raise typer.Exit


corpus_app.command("build")(build)
corpus_app.command("dedup")(dedup)
corpus_app.command("inspect")(inspect)
corpus_app.command("search")(search)
tokenizer_app.command("train")(train)
tokenizer_app.command("measure")(measure)


@app.command()
def pretrain(
    recipe: Path,
    overrides: Overrides = None,
    out: Out = Path("runs/pretrain"),
    revision: Revision = None,
    endpoint: Endpoint = None,
    no_check: NoCheck = False,
    strict: Strict = False,
    allow: Allow = None,
) -> None:
    """Pre-train a model from a recipe (TOML): raw text in, a model folder out."""
    from modeledge.config import load_config, read_toml
    from modeledge.recipes.folder import check_single
    from modeledge.recipes.pretraining.pretrain import pretrain as run
    from modeledge.recipes.recipe import PretrainRecipe

    start = said(None, revision=revision, endpoint=endpoint)
    values = {**gate_keys(no_check, strict, allow), **({"model": start} if start else {})}
    check_single(read_toml(recipe), recipe)
    loaded = load_config(PretrainRecipe, recipe, overrides or (), values=values)
    with progress("pre-training") as listen:
        folder = run(loaded, out, listeners=[listen], say=say)
    say(f"model: {folder}\nreport: {write_report(out)}")


@app.command()
def finetune(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model (a folder, or org/name on a hub), or a recipe (TOML).")],
    data: Annotated[str | None, typer.Argument(help="csv, tsv, jsonl or parquet with labels.")] = None,
    overrides: Overrides = None,
    out: Out = Path("runs/finetune"),
    text: Annotated[str | None, typer.Option(help="The column of the text; 'text' without one.")] = None,
    pair: Annotated[str | None, typer.Option(help="The column of the second text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of what is learned; 'label' without one.")] = None,
    task: Annotated[str, typer.Option(help="A row of the tasks; auto looks at the labels.")] = "auto",
    layout: judge.Layout = None,
    column: Annotated[list[str] | None, typer.Option(help="role=column, e.g. tokens=words")] = None,
    test: Annotated[str | None, typer.Option(help="A file of test rows; without one a fifth is held out.")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="A row of the strategies, e.g. probe or freeze:first=2; help draws them.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Fold an adapter in, and write the whole model.")] = False,
    epochs: float = 3.0,
    learning_rate: Annotated[float | None, typer.Option(help="By the width of the model, if none is given.")] = None,
    seed: int = 0,
    allow_leak: bool = False,
    revision: Revision = None,
    endpoint: Endpoint = None,
    no_check: NoCheck = False,
    strict: Strict = False,
    allow: Allow = None,
) -> None:
    """Fine-tune a model on labelled rows; marks a held-out part. A recipe may hold several tasks, or several stages;
    options beside it are keys over it."""
    if "help" in (strategy or ()):
        strategies.show_strategies()
        return
    keys = said(column, model=model, data=data, task=task, text=text, label=label, pair=pair, test=test, layout=layout,
                epochs=epochs, seed=seed, allow_leak=allow_leak, merge=merge, revision=revision, endpoint=endpoint,
                train=said(None, learning_rate=learning_rate), strategies=[strategy_of(w) for w in strategy or ()],
                ) | gate_keys(no_check, strict, allow)  # fmt: skip
    if model.endswith(".toml"):
        names = {"column": "columns", "strategy": "strategies", "learning_rate": "train", "no_check": "check"}
        over = {names.get(option, option) for option in given(context)} - {"model", "data", "out", "overrides"}
        words = [*([] if data is None else [data]), *(overrides or ())]
        tuned.from_recipe(Path(model), words, out, {key: keys[key] for key in over})
        return
    if data is None:
        raise ModeledgeError("E-USAGE", "there are no rows to learn from", remedy="modeledge finetune MODEL DATA")
    tuned.run_alone(keys, overrides or (), out)


@app.command()
def predict(
    model: ModelFolder,
    data: str,
    out: Out,
    layout: judge.Layout = None,
    split: judge.SplitName = None,
    revision: Revision = None,
    endpoint: Endpoint = None,
) -> None:
    """Answer each row of a file; writes csv (or jsonl): the row's own columns, then the label and the confidences."""
    from modeledge.recipes.asking.asked import Laid
    from modeledge.recipes.asking.tables import ANSWERS, check_fresh, write_answers

    check_fresh(out, ANSWERS)
    count = write_answers(opened(model, revision, endpoint), data, out, say, laid=Laid(layout, split))
    say(f"{count} answers: {out}")


@app.command()
def evaluate(
    model: ModelFolder,
    data: str,
    layout: judge.Layout = None,
    split: judge.SplitName = None,
    revision: Revision = None,
    endpoint: Endpoint = None,
) -> None:
    """Mark a fine-tuned model on labelled rows; prints each score with its 95 % interval."""
    from modeledge.recipes.asking.asked import Laid

    show_scores(opened(model, revision, endpoint).evaluate(data, laid=Laid(layout, split), say=say))


@app.command()
def resume(run: Path) -> None:
    """Go on with a run that was stopped or killed, exactly where its last good checkpoint is."""
    from modeledge.recipes.resume import resume as go_on

    with progress("resumed") as listen:
        go_on(run, listeners=[listen], say=say)
    if (run / "model").exists():
        say(f"model: {run / 'model'}")
    say(f"report: {write_report(run)}")


@app.command()
def report(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Write a self-contained report.html for one run, or one that compares several."""
    from modeledge.report import compare_report

    print(write_report(runs[0]) if len(runs) == 1 else compare_report(runs))


@app.command()
def quickstart(
    out: Out = Path("runs/quickstart"),
    minutes: Annotated[
        float | None, typer.Option(help="Pre-training time a model; 2, or 8 with --full.", show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole grid; may take an hour.")] = False,
    seed: int = 0,
) -> None:
    """Corpus → tokenizer → pre-training → fine-tuning → comparison → report, on real text, in ten minutes."""
    from modeledge.recipes.quickstart.run import quickstart as run

    results = run(out, minutes=minutes or (8.0 if full else 2.0), full=full, seed=seed, say=say, progress=progress)
    print("\n".join((results["table"], *results["findings"], f"report: {out / 'report.html'}")))


if __name__ == "__main__":
    main()

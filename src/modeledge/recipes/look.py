"""A recipe looked at and not run: `check_recipe` and `plan_recipe`.

A pre-training is looked at on the first texts of its corpus (`TEXTS` of them, or `CHARACTERS`), in a folder that is
thrown away; a corpus that is smaller is read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modeledge.config import load_config
from modeledge.config.read import load_values, read_toml
from modeledge.errors import ModeledgeError
from modeledge.preflight import Verdict, View
from modeledge.preflight.plan import Plan, make_plan
from modeledge.recipes.corpora.mixed import prepare_sources
from modeledge.recipes.corpora.source import read
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.corpora.vocabulary import before_specials
from modeledge.recipes.features.run import body_of, check_asked, space_for
from modeledge.recipes.folder import check_single
from modeledge.recipes.gate import guard, view_of_rows, view_of_training, view_of_tuning
from modeledge.recipes.pretraining.continued import check_continuing, replay_shards
from modeledge.recipes.pretraining.held import check_judging
from modeledge.recipes.pretraining.pretrain import Texts, prepare_corpus, ready
from modeledge.recipes.pretraining.start import check_body
from modeledge.recipes.recipe import MEMORY, FinetuneRecipe, PretrainRecipe, absolute
from modeledge.recipes.tuning.benchmark import stated
from modeledge.recipes.tuning.finetune import make_ready, opened
from modeledge.recipes.tuning.multitask import MultitaskRecipe, check_tasks
from modeledge.recipes.tuning.rows import Parts, split_rows
from modeledge.recipes.tuning.scratch import starting_model
from modeledge.recipes.tuning.stages import StagesRecipe, check_order
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer
from modeledge.train.rate_range import RangeTest, range_test

Say = Callable[[str], None]
TEXTS, CHARACTERS = 20_000, 20_000_000


def check_recipe(path: Path, overrides: Sequence[str], values: Mapping[str, Any], say: Say) -> str:
    """Run the pre-flight of a recipe and nothing else; one line where all is well, else what `guard` raises."""
    tree, values = read_toml(path), {**values, "check": True}
    check_single(tree, path, but=("stages", "tasks"))
    if "stages" in tree:
        return check_stages(load_config(StagesRecipe, path, overrides), values, say)
    if "tasks" in tree:
        return checked(load_config(MultitaskRecipe, path, overrides, values=values), say)
    return checked(load_any(path, overrides, values), say)


def check_stages(recipe: StagesRecipe, values: Mapping[str, Any], say: Say) -> str:
    """Each stage as a run of it alone, with `values` over it, on the model that the first one begins with: those that
    the others will begin with are not there yet. Raises what `check_order` raises."""
    check_order(recipe.stages)
    source, lines = {"revision": recipe.revision, "endpoint": recipe.endpoint}, []
    for number, stage in enumerate(recipe.each(), 1):
        say(f"stage {number} of {len(recipe.stages)}: {stage.name}")
        allow = (*stage.allow, *values.get("allow", ()))
        alone = stage.run(recipe.model).model_copy(update={**values, **source, "allow": allow})
        lines += [f"{stage.name}: {line}" for line in checked(alone, say).splitlines()]
    return "\n".join(lines)


def checked(recipe: PretrainRecipe | FinetuneRecipe | MultitaskRecipe, say: Say) -> str:
    """The verdict on a recipe, a line a task; what else is found is said."""

    def remark(line: str) -> None:
        if not line.rpartition(": ")[2].startswith("checked "):  # the verdict itself, which is the answer
            say(line)

    if isinstance(recipe, MultitaskRecipe):
        with TemporaryDirectory(prefix="modeledge-") as name:
            verdicts = check_tasks(recipe, Path(name), remark)
        return "\n".join(f"{task}: {verdict}" for task, verdict in verdicts.items())
    if isinstance(recipe, FinetuneRecipe) and recipe.features is not None:
        return str(look_at_rows(recipe, remark))
    with looked_at(recipe, say) as view:
        verdict = guard(recipe, view, remark)
    return str(verdict)


def look_at_rows(recipe: FinetuneRecipe, say: Say) -> Verdict | None:
    """The pre-flight of a run that trains nothing: what can be asked of its rows, and whether its head can be fitted
    (layers, components, memory), on a model that is opened and not run."""
    recipe, parts = rows_of(recipe, say)
    with TemporaryDirectory(prefix="modeledge-") as name:
        ready = opened(recipe, parts, starting_model(recipe, parts.train, Path(name)), say)
        check_asked(recipe, ready.task)
        space_for(recipe, ready, body_of(recipe, ready, Path(name), say))
        return guard(recipe, view_of_rows(recipe, ready, parts), say, rows_alone=True)


def rows_of(recipe: FinetuneRecipe, say: Say) -> tuple[FinetuneRecipe, Parts]:
    """The recipe with what its data settle, and its rows."""
    recipe = absolute(recipe)
    if recipe.data == MEMORY:
        raise ModeledgeError("E-USAGE", "this run read rows from memory", where="data", remedy="name a file")
    recipe = stated(recipe, say)
    return recipe, split_rows(recipe, say=say)


def plan_recipe(path: Path, overrides: Sequence[str], say: Say) -> Plan:
    """What a recipe's run would take, from a few steps of it."""
    recipe = load_any(path, overrides, {})
    with looked_at(recipe, say) as view:
        return make_plan(view)


def range_of_rates(path: Path, overrides: Sequence[str], say: Say, *, low: float, high: float, steps: int) -> RangeTest:
    """The learning-rate range test on the data and the weights of a recipe's run; nothing is kept of it."""
    recipe = load_any(path, overrides, {})
    with looked_at(recipe, say) as view:
        return range_test(view.trainer, low=low, high=high, steps=steps)


def load_any(path: Path, overrides: Sequence[str], values: Mapping[str, Any]) -> PretrainRecipe | FinetuneRecipe:
    """A recipe of either kind: what `kind` says, or a fine-tuning where it names labelled `data`."""
    written = read_toml(path)
    check_single(written, path)
    tree = {**written, **load_values(overrides)}
    kind = tree.get("kind", "finetune" if "data" in tree else "pretrain")
    if kind not in ("pretrain", "finetune"):
        what = f"a recipe of kind {kind!r} is not looked at"
        raise ModeledgeError("E-USAGE", what, where=str(path), remedy="pretrain and finetune are")
    chosen: type[PretrainRecipe] | type[FinetuneRecipe] = PretrainRecipe if kind == "pretrain" else FinetuneRecipe
    return load_config(chosen, path, overrides, values=values)


@contextmanager
def looked_at(recipe: PretrainRecipe | FinetuneRecipe, say: Say) -> Iterator[View]:
    """The run of a recipe, ready to begin, in a folder that goes away."""
    with TemporaryDirectory(prefix="modeledge-") as name:
        folder = Path(name)
        if isinstance(recipe, FinetuneRecipe):
            if recipe.features is not None:
                what = "with features nothing is trained, so there are no steps to measure"
                raise ModeledgeError("E-USAGE", what, where="features", remedy="modeledge check looks at its rows")
            recipe, parts = rows_of(recipe, say)
            found = starting_model(recipe, parts.train, folder)
            yield view_of_tuning(recipe, make_ready(recipe, parts, found, say), parts, folder)
        else:
            recipe = absolute(recipe)
            check_judging(recipe)
            check_continuing(recipe)
            check_body(recipe)
            recipe, tokenizer, shards = _looked_texts(recipe, folder, say)
            replay = replay_shards(recipe, folder, tokenizer, lambda line: None, before_specials(recipe))
            trainer, wholes = ready(recipe, tokenizer, shards, replay, say)
            yield view_of_training(recipe, trainer, tokenizer, wholes, folder)


def _looked_texts(recipe: PretrainRecipe, folder: Path, say: Say) -> tuple[PretrainRecipe, Tokenizer, Texts]:
    """The tokenizer and the shards of a recipe's first texts. Where a source of a mixture is not looked at whole, its
    epochs are not known, and no limit is held against them."""
    if recipe.mixture is None:
        texts = None if recipe.corpus.shards is not None else _first_texts(recipe.corpus, say)[0]
        return recipe, *prepare_corpus(recipe, folder, texts, lambda line: None)
    sources = {name: s for name, s in recipe.mixture.sources.items() if s.shards is None}
    found = {name: _first_texts(source, say, f" {name}") for name, source in sources.items()}
    if not all(whole for _, whole in found.values()):
        say("note: epochs are at most what is said here, and mixture.max_epochs is not held against them")
        recipe = recipe.model_copy(update={"mixture": recipe.mixture.model_copy(update={"max_epochs": None})})
    first = {name: documents for name, (documents, _) in found.items()}
    return recipe, *prepare_sources(recipe, folder, lambda line: None, first)


def _first_texts(corpus: CorpusRecipe, say: Say, name: str = "") -> tuple[list[Document], bool]:
    """The first documents of a corpus, and whether these are all of them."""
    texts: list[Document] = []
    size = 0
    for document in read(corpus, Ledger()):
        if len(texts) == TEXTS or size > CHARACTERS:
            say(f"note: looked at the first {len(texts):,} texts of the corpus{name}; epochs of it are fewer than said")
            return texts, False
        texts.append(document)
        size += len(document.text)
    return texts, True

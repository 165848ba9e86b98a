"""One way from the recipe of a corpus to its folder, whatever parts the recipe has.

    texts → filters → duplicates → evaluation sets → tidying, privacy → tokens → ledger → data card

A **corpus** becomes the folder itself: token shards, or `documents.jsonl` where no tokenizer is given. A **mixture**
becomes `sources/NAME`, a corpus each, with the ledger, the survey and the card of all of them above, the plan
(`plan.txt`, `mixture.json`) and, where it was trained, the `tokenizer`. Either appears whole or not at all. `run.toml`
is the recipe without who did the work: one process, several or a cluster write the same bytes, this file among them.

A build with tokens that is killed goes on with `resume`: the tokenizer that was trained, the sources that were
finished and the stages of the one that was under way (`corpus.restart`) wait in `.NAME.aside` and `.NAME.work` beside
the folder. They wait too where the mixture is refused for its epochs: other weights are no reason to read texts again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import to_toml
from modeledge.corpus.mixture import Plan
from modeledge.corpus.pipeline import LEDGER, build_corpus
from modeledge.corpus.restart import PASSING, work_folder
from modeledge.corpus.shard import Shards
from modeledge.corpus.survey import SURVEY
from modeledge.corpus.written import write_documents
from modeledge.errors import ModeledgeError
from modeledge.files import MANIFEST
from modeledge.recipes.corpora.build import aside_of, fresh, stamps
from modeledge.recipes.corpora.corpus_file import CorpusFile
from modeledge.recipes.corpora.data_card import MIXED, PACKED, write_data_card
from modeledge.recipes.corpora.filled import filled, together
from modeledge.recipes.corpora.mixed import SOURCES, joined_ledger, mixed_tokenizer, planned, refuse_early
from modeledge.recipes.corpora.mixture import MixtureRecipe, SourceRecipe
from modeledge.recipes.corpora.source import (
    QUARANTINE,
    Say,
    read,
    report_ledger,
    report_notes,
    versions,
    watch_specials,
)
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.corpora.vocabulary import make_tokenizer
from modeledge.recipes.folder import RECIPE, empty, held
from modeledge.recipes.pretraining.continued import building, opened
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer

TOKENIZER, WHOLE, KEY, PLAN = "tokenizer", "whole", "key.json", "plan.txt"
Built = dict[str, Shards]  # by source, "" for a corpus that is no mixture; nothing where the corpus stayed text


@dataclass(frozen=True)
class Task:
    """A build under way: what was asked for, where it goes, where things wait, and the name of it all."""

    asked: CorpusFile
    recipe: PretrainRecipe
    out: Path
    aside: Path
    key: str
    resume: bool
    say: Say

    @property
    def text(self) -> str:
        """`run.toml` of the corpus."""
        return to_toml(self.asked.without_workers())


def build(asked: CorpusFile, out: Path, say: Say, *, resume: bool = False) -> Built:
    """Build the corpus of a recipe in the folder `out`, and return its shards.

    With `resume` a build that was killed goes on, and one that was finished is opened. Raises `E-OUTPUT`, `E-RESUME`
    for a build that was begun with another recipe or other files, and what reading, cleaning and tokenizing raise.
    """
    recipe = asked.recipe()
    task = Task(asked, recipe, out, aside_of(out), key_of(recipe), resume, say)
    if resume and (out / MANIFEST).exists():
        return _finished(task)
    fresh(out)
    if out.exists():
        out.rmdir()  # it is empty
    with _under_way(task):
        if recipe.mixture is not None and asked.tokens is not None:
            refuse_early(recipe.mixture, {}, asked.tokens)
        tokenizer = None if asked.tokenizer is None else _tokenizer(task)
        if recipe.mixture is not None:
            return _mixture(task, recipe.mixture, tokenizer)
        shards = _part(task, "", recipe.corpus, tokenizer)
        return {} if shards is None else {"": shards}


def key_of(recipe: PretrainRecipe) -> str:
    """Names what is built: the recipe but for who does the work and how much is read of it, the size and time of each
    file that texts, filters and the tokenizer are made of, and the versions of packages that are read."""
    left_out = {"engine", "processes", "backend", "memory", "weight", "budget"}
    corpora = [recipe.corpus, *(recipe.mixture.sources.values() if recipe.mixture else ())]
    dumped = [corpus.model_dump(mode="json", exclude=left_out) for corpus in corpora]
    texts = [path for corpus in corpora for path in corpus.files]
    places = [
        path for corpus in corpora for path in (*corpus.judged_by, *(corpus.against.paths if corpus.against else ()))
    ]
    tokenizer = recipe.tokenizer.model_dump(mode="json", exclude={"memory"})
    named = stamps([*texts, *places, *filter(None, [recipe.tokenizer.path])])
    return hashlib.sha256(json.dumps([dumped, tokenizer, named, versions(texts)], sort_keys=True).encode()).hexdigest()


def _finished(task: Task) -> Built:
    """The corpus that is there. `E-RESUME` where it is that of another recipe."""
    if (task.out / RECIPE).exists() and (task.out / RECIPE).read_text(encoding="utf-8") != task.text:
        what, remedy = "the corpus that is there is that of another recipe", "choose another folder"
        raise ModeledgeError("E-RESUME", what, where=str(task.out), remedy=remedy)
    task.say(f"the corpus is finished: {task.out}")
    if task.asked.tokenizer is None:
        return {}
    path = task.recipe.tokenizer.path
    given = path is not None and not task.recipe.tokenizer.grows
    tokenizer = Tokenizer.load(str(path) if given else task.out / TOKENIZER)
    if task.recipe.mixture is None:
        return {"": opened(task.out, tokenizer)}
    places = {n: Path(s.shards or task.out / SOURCES / n) for n, s in task.recipe.mixture.sources.items()}
    return {name: opened(place, tokenizer) for name, place in places.items()}


@contextmanager
def _under_way(task: Task) -> Iterator[None]:
    """Hold the place where things wait; it goes when the corpus is there, or nothing is there to go on with."""
    begun = any(path.exists() for path in (work_folder(task.out), task.aside / TOKENIZER, task.aside / WHOLE))
    if begun:
        again = "going on with a build that was begun"
        task.say(again if task.resume else "note: a build that was begun here is begun anew")
    with held(task.aside) as present:
        known = KEY in present and files.read_json(task.aside / KEY)
        if task.resume and begun and known and known != task.key:
            what = "the build that was begun here read other files, or was asked for something else"
            remedy = "restore them, or begin anew without --resume"
            raise ModeledgeError("E-RESUME", what, where=str(task.out), remedy=remedy)
        if not task.resume or known != task.key:
            empty(task.aside)
        files.remove_stale(task.out.parent, task.out.name)  # texts that were being written when a build was killed
        for place in (task.aside / WHOLE, task.aside / WHOLE / SOURCES):
            files.remove_stale(place)
        files.write_json(task.aside / KEY, task.key)
        try:
            yield
        except BaseException as error:
            refused = isinstance(error, ModeledgeError) and error.code not in (*PASSING, "E-EPOCHS")
            parts = (task.aside / TOKENIZER, task.aside / WHOLE, work_folder(task.out))
            if refused or not any(path.exists() for path in parts):
                shutil.rmtree(task.aside, ignore_errors=True)
            raise
        shutil.rmtree(task.aside, ignore_errors=True)


def _tokenizer(task: Task) -> Tokenizer:
    """The tokenizer that the recipe names, or one that is trained on what the corpus keeps, and waits for the rest."""
    recipe, place = task.recipe, task.aside / TOKENIZER
    if recipe.tokenizer.path is not None and not recipe.tokenizer.grows:
        if recipe.unused:
            task.say(f"note: {recipe.unused}")
        return Tokenizer.load(recipe.tokenizer.path)
    if not place.exists():
        with files.committed_folder(place, {"schema": 1}) as temporary:
            made = mixed_tokenizer(recipe, {}) if recipe.mixture is not None else make_tokenizer(recipe, None)
            report_notes(made, task.say)
            made.save(temporary)
            task.say(f"a tokenizer of {made.vocab_size:,} ids, fingerprint {made.fingerprint[:12]}")
    return Tokenizer.load(place)


def _part(task: Task, name: str, corpus: CorpusRecipe, tokenizer: Tokenizer | None) -> Shards | None:
    """One corpus: the whole, or a source of a mixture."""
    where = task.aside / WHOLE / SOURCES / name if name else task.out
    aside = task.aside / f"of {name}" if name else task.aside
    aside.mkdir(parents=True, exist_ok=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    if name and where.exists():
        return None if tokenizer is None else opened(where, tokenizer)

    def finish(folder: Path) -> None:
        if (aside / QUARANTINE).exists() and (aside / QUARANTINE).stat().st_size:
            shutil.copyfile(aside / QUARANTINE, folder / QUARANTINE)
        if not name:
            _beside(task, folder)
        if task.asked.packing is not None:
            files.write_json(folder / PACKED, together({name: filled(folder, task.asked.packing)}, task.asked.packing))
        write_data_card(folder)

    ledger = Ledger(kind=corpus.kind if isinstance(corpus, SourceRecipe) and not corpus.sources else "")
    documents, config = read(corpus, ledger, aside), building(corpus)
    shards = None
    if tokenizer is None:
        write_documents(documents, where, config=config, ledger=ledger, finish=finish)
    else:
        told = watch_specials(documents, tokenizer, ledger, corpus)
        how: dict[str, Any] = {"key": task.key, "resume": task.resume, "say": task.say, "finish": finish}
        shards = build_corpus(told, tokenizer, where, config=config, ledger=ledger, **how)
    report_ledger(ledger, task.say, name)
    return shards


def _beside(task: Task, folder: Path) -> None:
    """What lies in the folder of every corpus: its recipe, and the tokenizer that was trained for it."""
    files.write_text(folder / RECIPE, task.text)
    if (task.aside / TOKENIZER).exists():
        shutil.copytree(task.aside / TOKENIZER, folder / TOKENIZER)


def _mixture(task: Task, mixture: MixtureRecipe, tokenizer: Tokenizer | None) -> Built:
    """Every source, and what is told of all of them together; committed when the last one is there."""
    whole, built = task.aside / WHOLE, _sources(task, mixture, tokenizer)
    places = {name: Path(s.shards or whole / SOURCES / name) for name, s in mixture.sources.items()}
    files.write_json(
        whole / LEDGER, joined_ledger({n: files.read_json(place / LEDGER) for n, place in places.items()}).as_dict()
    )
    files.write_json(whole / SURVEY, _joined_survey(places))
    if task.asked.tokens is not None:
        plan = planned(mixture, {name: float(len(s)) for name, s in built.items()}, task.asked.tokens)
        files.write_text(whole / PLAN, plan.table() + "\n")
        files.write_json(whole / MIXED, as_plain(plan))
        task.say(plan.table())
    if task.asked.packing is not None:
        packed = {name: filled(place, task.asked.packing) for name, place in places.items()}
        files.write_json(whole / PACKED, together(packed, task.asked.packing))
    shutil.rmtree(whole / TOKENIZER, ignore_errors=True)
    _beside(task, whole)
    write_data_card(whole)
    files.commit_folder(whole, task.out, {"schema": 1, SOURCES: sorted(mixture.sources)})
    return {
        n: Shards.open(Path(s.shards or task.out / SOURCES / n), verify=False)
        for n, s in mixture.sources.items()
        if n in built
    }


def _sources(task: Task, mixture: MixtureRecipe, tokenizer: Tokenizer | None) -> Built:
    """The shards of every source, in their order; those that were built before are looked at first, and what can be
    refused of the mixture is refused as soon as it is known."""
    tokens = task.asked.tokens
    built: dict[str, Shards | None] = dict.fromkeys(mixture.sources)
    for name, source in sorted(mixture.sources.items(), key=lambda item: item[1].shards is None):
        if source.shards is None:
            built[name] = _part(task, name, source, tokenizer)
        elif tokenizer is None:
            what, where = "shards need the tokenizer they were made with", f"mixture.sources.{name}.shards"
            raise ModeledgeError("E-CONFIG", what, where=where, remedy="name it: tokenizer.path")
        else:
            built[name] = opened(Path(source.shards), tokenizer)
        if tokens is not None:
            refuse_early(mixture, {name: float(len(s)) for name, s in built.items() if s is not None}, tokens)
    return {name: shards for name, shards in built.items() if shards is not None}


def as_plain(plan: Plan) -> dict[str, Any]:
    """A plan as `mixture.json` has it, in tokens; nothing of it has been read."""
    rows = [{"name": s.name, "size": s.size, "planned": s.tokens, "epochs": s.epochs} for s in plan.sources]
    return {"sources": rows, "notes": list(plan.notes)}


def _joined_survey(places: Mapping[str, Path]) -> dict[str, Any]:
    """The surveys of all sources as one."""
    found = {name: files.read_json(place / SURVEY) for name, place in places.items()}
    sources = {
        (f"{name}/{inner}" if inner else name): portrait
        for name, survey in found.items()
        for inner, portrait in survey["sources"].items()
    }
    return {"unit": next(iter(found.values()))["unit"], "sources": sources}

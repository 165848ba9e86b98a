"""A mixture as a run has it: its sources as shards, the plan of what is read of each, and the stream that reads it.

The plan is made when the sources are tokenized and cut, since only then are their sizes known: tokens that the run
reads × share ÷ tokens of the source are its epochs. An example of one source may be shorter than that of another
(documents that are cut each for itself), so shares of tokens become shares of examples by each source's mean length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.corpus.mix import PhasedStream
from modeledge.corpus.mixture import Phase, Plan, plan_mixture
from modeledge.corpus.pipeline import LEDGER, build_corpus, kept_documents, reading
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.mixture import MixtureRecipe, SourceRecipe
from modeledge.recipes.corpora.source import read, report_ledger, report_notes, watch_specials
from modeledge.recipes.corpora.vocabulary import before_specials, given_tokenizer, grown, trained
from modeledge.recipes.pretraining.continued import building, opened
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Document, Ledger, Line
from modeledge.tokens import Tokenizer
from modeledge.train import Trainer

Say = Callable[[str], None]
SOURCES, MIXTURE = "sources", "mixture.json"
BALANCED: tuple[Line, ...] = ("read", "kept")
BY_REASON: tuple[Line, ...] = ("filtered", "quarantined", "rewritten", "cut")
ENDLESS = 1e300  # tokens of a source that is not built yet
ROUNDS = 50  # of the plan, until tokens and examples agree


@dataclass(frozen=True)
class Mixed:
    """The plan of a mixture over streams, in tokens, and for each phase (examples, share of examples a source)."""

    plan: Plan
    phases: tuple[tuple[int, tuple[float, ...]], ...]
    means: Mapping[str, float]  # tokens of an example

    def stream(self, streams: Mapping[str, ShardStream]) -> PhasedStream:
        """The sources as one stream."""
        return PhasedStream(list(streams.values()), self.phases)


def mixed(recipe: MixtureRecipe, streams: Mapping[str, ShardStream], steps: int, batch: int) -> Mixed:
    """Plan what a run of `steps` of `batch` examples reads of each stream.

    Raises `E-EPOCHS` where a source is read more often than it may be, `E-CONFIG-VALUE` for a phase without a step,
    `E-CONFIG` where the sources cannot give what is asked for.
    """
    bounds = [*recipe.starts(steps), steps]
    if any(b <= a for a, b in pairwise(bounds)):
        what = f"of {steps} steps the phases begin at {bounds[:-1]}: one has no step"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="mixture.phases", remedy="move its start, or train longer")
    examples = [(b - a) * batch for a, b in pairwise(bounds)]
    sizes = {name: float((s.ranges[:, 1] - s.ranges[:, 0]).sum()) for name, s in streams.items()}
    means = {name: size / len(streams[name]) for name, size in sizes.items()}
    limit = recipe.max_epochs if recipe.beyond == "share" else None
    totals = [count * min(means.values()) for count in examples]
    for _ in range(ROUNDS):
        plan = plan_mixture(sizes, math.fsum(totals), recipe.planned(totals), limit=limit)
        shown = [{name: given / means[name] for name, given in tokens.items()} for _, tokens in plan.phases]
        found = [t * n / math.fsum(s.values()) for t, n, s in zip(totals, examples, shown, strict=True)]
        close = all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(found, totals, strict=True))
        totals = found
        if close:
            break
    shares = tuple((n, tuple(s[name] for name in streams)) for n, s in zip(examples, shown, strict=True))
    plan = replace(plan, notes=(*plan.notes, *beyond(recipe, plan)))
    return Mixed(plan, tuple((n, tuple(v / sum(each) for v in each)) for n, each in shares), means)


def beyond(recipe: MixtureRecipe, plan: Plan) -> list[str]:
    """What is said of sources that are read too often; where that refuses the run it is `E-EPOCHS`."""
    most = recipe.max_epochs
    over = [s for s in plan.sources if most is not None and s.epochs > most * (1 + 1e-6)]
    told = [f"{s.name} is read {s.epochs:.2f} times, above mixture.max_epochs = {most:g}" for s in over]
    if told and recipe.beyond == "refuse":
        remedy = 'lower its weight or the steps, raise max_epochs, or say mixture.beyond = "share" or "warn"'
        raise ModeledgeError("E-EPOCHS", "; ".join(told), where="mixture", remedy=remedy)
    return told


def planned(mixture: MixtureRecipe, sizes: Mapping[str, float], tokens: float) -> Plan:
    """What a run of so many tokens reads of each source. Raises `E-EPOCHS` and `E-CONFIG` as the mixture says."""
    limit = mixture.max_epochs if mixture.beyond == "share" else None
    plan = plan_mixture(sizes, tokens, _phases(mixture, tokens), limit=limit)
    return Plan(plan.sources, plan.phases, (*plan.notes, *beyond(mixture, plan)))


def refuse_early(mixture: MixtureRecipe, known: Mapping[str, float], tokens: float) -> None:
    """Raise what `planned` would raise whatever the sizes are that are not known yet: `E-CONFIG` for budgets beyond
    the tokens, and where weights alone say what is read, `E-EPOCHS` for a source of known size."""
    phases = _phases(mixture, tokens)
    weighed = all(phase.weights is not None for phase in phases)
    sizes = {name: known.get(name, ENDLESS) if weighed else 1.0 for name in mixture.sources}
    plan = plan_mixture(sizes, tokens, phases)
    if weighed:
        beyond(mixture, plan)


def _phases(mixture: MixtureRecipe, tokens: float) -> list[Phase]:
    starts = [0.0, *(phase.start for phase in mixture.phases), 1.0]
    return mixture.planned([(b - a) * tokens for a, b in pairwise(starts)])


def prepare_sources(
    recipe: PretrainRecipe, folder: Path, say: Say, documents: Mapping[str, Sequence[Document]] | None = None
) -> tuple[Tokenizer, dict[str, Shards]]:
    """The tokenizer and the shards of every source, built once in the run's folder; `documents` of a source take the
    place of its files. Raises `E-CONFIG` where shards have no tokenizer, and what building a corpus raises."""
    assert recipe.mixture is not None
    asked, texts = recipe.mixture.sources, documents or {}
    if not (folder / "tokenizer").exists():
        with files.committed_folder(folder / "tokenizer", {"schema": 1}) as temporary:
            made = mixed_tokenizer(recipe, texts)
            report_notes(made, say)
            made.save(temporary)
    tokenizer, given = Tokenizer.load(folder / "tokenizer"), before_specials(recipe)
    found, ledgers = dict[str, Shards](), dict[str, Any]()
    for name, source in asked.items():
        where = folder / SOURCES / name if source.shards is None else Path(source.shards)
        if source.shards is None and not where.exists():
            where.parent.mkdir(exist_ok=True)
            ledger = Ledger()
            coming = watch_specials(from_files(source, texts.get(name), ledger), tokenizer, ledger)
            config = building(source, recipe.aim.channels)
            build_corpus(coming, tokenizer, where, config=config, ledger=ledger)
            report_ledger(ledger, say, name)
        found[name] = opened(where, tokenizer, given)
        if (where / LEDGER).exists():
            ledgers[name] = files.read_json(where / LEDGER)
    files.write_json(folder / LEDGER, ledgers)
    return tokenizer, found


def mixed_tokenizer(recipe: PretrainRecipe, documents: Mapping[str, Sequence[Document]]) -> Tokenizer:
    """The tokenizer that the recipe names or its model brings, or one trained on what is kept of all sources, each
    text as often as it stands there: weights are not known before texts are tokens."""
    assert recipe.mixture is not None
    given, wanted = given_tokenizer(recipe), recipe.tokenizer
    if given is not None and wanted.extend is None:
        return grown(given, wanted)

    def kept() -> Iterator[str]:
        for name, source in recipe.mixture.sources.items() if recipe.mixture is not None else ():
            if source.shards is not None:
                what, where = "shards need the tokenizer they were made with", f"mixture.sources.{name}.shards"
                raise ModeledgeError("E-CONFIG", what, where=where, remedy="name it: tokenizer.path")
            ledger = Ledger()
            coming = from_files(source, documents.get(name), ledger)
            yield from (document.text for document in kept_documents(coming, building(source), ledger=ledger))

    return trained(wanted, kept(), recipe.reserved) if given is None else grown(given, wanted, kept())


def from_files(source: SourceRecipe, given: Sequence[Document] | None, ledger: Ledger) -> Iterator[Document]:
    """The documents of a source: those that were given, or its files."""
    return iter(reading(given, ledger=ledger)) if given is not None else read(source, ledger)


def joined_ledger(states: Mapping[str, Mapping[str, Any]]) -> Ledger:
    """The ledgers of all sources as one; a source with sources of its own is told by theirs."""
    whole = Ledger()
    for name, state in states.items():
        entire = Ledger()  # not the sum of those within: a record that was set aside may name no source
        entire.restore(state)
        for line in BALANCED:
            count = getattr(entire, line)
            whole.add(line, records=count.records, bytes=count.bytes, tokens=count.tokens)
        for line in BY_REASON:
            for reason, count in getattr(entire, line).items():
                whole.add(line, reason, records=count.records, bytes=count.bytes, tokens=count.tokens)
        for inner, own in (entire.sources or {"": entire}).items():
            whole.sources[f"{name}/{inner}" if inner else name] = own
        whole.notes += [f"{name}: {note}" for note in entire.notes]
    assert whole.balanced()
    return whole


def mixture_of(recipe: PretrainRecipe, trainer: Trainer) -> Mixed | None:
    """The plan that the stream of a trainer was made by; none where there is no mixture."""
    stream = trainer.stream
    if recipe.mixture is None or not isinstance(stream, PhasedStream):
        return None
    named = dict(zip(recipe.mixture.sources, stream.streams, strict=True))
    return mixed(recipe.mixture, named, recipe.train.steps, recipe.train.batch)  # type: ignore[arg-type]


def say_mixture(told: Mixed | None, say: Say) -> None:
    """The table of the plan."""
    if told is not None:
        for line in told.plan.table().splitlines():
            say(line)


@contextmanager
def watched(recipe: PretrainRecipe, trainer: Trainer, told: Mixed | None, folder: Path) -> Iterator[None]:
    """`mixture.json` of a run, before its first step and after its last, however it ended."""
    stream = trainer.stream
    if told is None or not isinstance(stream, PhasedStream):
        yield
        return
    write_mixture(recipe, told, stream, folder)
    try:
        yield
    finally:
        write_mixture(recipe, told, stream, folder)


def write_mixture(recipe: PretrainRecipe, told: Mixed, stream: PhasedStream, folder: Path) -> None:
    """`mixture.json` of a run: what is planned of each source, and what has been read of it up to now."""
    assert recipe.mixture is not None
    counts, planned = stream.counts(stream.state_dict()["position"]), stream.counts(len(stream))
    rows = []
    for n, share in enumerate(told.plan.sources):
        whole, mean = len(stream.streams[n]), told.means[share.name]
        row = {"name": share.name, "size": share.size, "planned": planned[n] * mean, "epochs": planned[n] / whole}
        rows.append({**row, "read": counts[n] * mean, "read_epochs": counts[n] / whole, "read_examples": counts[n]})
    starts = recipe.mixture.starts(recipe.train.steps)
    phases = [
        {"start": start, "shares": {s.name: v for s, v in zip(told.plan.sources, told.plan.shares(n), strict=True)}}
        for n, start in enumerate(starts)
    ]
    files.write_json(folder / MIXTURE, {"sources": rows, "phases": phases, "notes": list(told.plan.notes)})

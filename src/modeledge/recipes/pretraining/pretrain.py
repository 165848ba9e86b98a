"""Raw text → clean corpus → tokenizer → pre-training, in one run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeledge import files
from modeledge.adapt import Strategy, WidthRule
from modeledge.config import to_toml
from modeledge.corpus.mix import MixedStream
from modeledge.corpus.pipeline import LEDGER, build_corpus, reading
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream, Stream
from modeledge.errors import ModeledgeError
from modeledge.families import save_model, start_of
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective, Step, prepared
from modeledge.recipes.corpora.mixed import mixed, mixture_of, prepare_sources, say_mixture, watched
from modeledge.recipes.corpora.packing import cut_stream, packed_config, packing_note
from modeledge.recipes.corpora.source import read, report_ledger, report_notes, watch_specials
from modeledge.recipes.corpora.vocabulary import before_specials, given_tokenizer, grown, make_tokenizer
from modeledge.recipes.folder import finished, run_folder
from modeledge.recipes.gate import guard, view_of_training
from modeledge.recipes.pretraining.continued import building, check_continuing, opened, replay_shards
from modeledge.recipes.pretraining.held import check_judging, every, marks_on, metric_of, split_stream
from modeledge.recipes.pretraining.reshaped import tell
from modeledge.recipes.pretraining.samples import sampling
from modeledge.recipes.pretraining.start import build_model, check_body, take_up
from modeledge.recipes.pretraining.writing import note_of
from modeledge.recipes.recipe import PretrainRecipe, absolute, is_name
from modeledge.recipes.store.card import Card, base_of, write_card
from modeledge.recipes.store.hub import find_model, source_of
from modeledge.records import Document, Ledger
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.train import Judge, Session, Trainer
from modeledge.train.session import Listener, write_environment

Say = Callable[[str], None]
Texts = Shards | Mapping[str, Shards]  # of one corpus, or of each source of a mixture
TEXTS = "texts.json"  # the digest of texts that came as Python values


def pretrain(
    recipe: PretrainRecipe,
    folder: Path,
    *,
    documents: Iterable[Document] | None = None,
    listeners: Sequence[Listener] = (),
    say: Say = print,
    resume: bool = False,
) -> Path:
    """Run the recipe in `folder`; returns the folder of the finished model.

    `documents` takes the place of the recipe's files. With `resume` a run that was stopped goes on where it was.
    """
    recipe = pinned(absolute(recipe))
    check_judging(recipe)
    check_continuing(recipe)
    if not (resume and finished(folder)):
        check_body(recipe)
    if recipe.unused:
        say(f"note: {recipe.unused}")
    with run_folder(folder, to_toml(recipe), resume=resume):
        if resume and finished(folder):
            say("the run is finished")
            return folder / "model"
        tokenizer, shards = prepare_texts(recipe, folder, documents, say)
        replay = replay_shards(recipe, folder, tokenizer, say, before_specials(recipe))
        trainer, wholes = ready(recipe, tokenizer, shards, replay, None if resume else say)
        reading = mixture_of(recipe, trainer)
        if recipe.model.bidirectional or recipe.model.decoder is not None:
            tell(trainer.model, recipe.family, say)
        write_environment(folder, recipe.seed, source_of(trainer.model))
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        else:
            for whole in wholes:
                if whole.note:
                    say(f"note: {whole.note}")
            say(packing_note(recipe, trainer))
            say_mixture(reading, say)
            guard(recipe, view_of_training(recipe, trainer, tokenizer, wholes, folder), say)
        with sampling(recipe, trainer, tokenizer, wholes, folder) as sampled, watched(recipe, trainer, reading, folder):
            session.run([*sampled, *listeners])
        session.conclude()
        assert isinstance(trainer.model, Transformer)
        recipe.objective.beside(trainer.model, trainer.module.objective, tokenizer, folder)
        card = card_of(recipe, trainer, folder)
        words = beginning(trainer, wholes[0])
        notes = note_of(recipe.objective.writes(trainer.model.config))
        return finish(trainer.model, tokenizer, folder / "model", recipe.family, notes, card=card, words=words)


def beginning(trainer: Trainer, stream: ShardStream) -> dict[str, Any]:
    """The token that the decoder of an encoder–decoder has learned to begin with, for the model's file, where the file
    would name none or another one: whoever generates begins with it too."""
    model, objective = trainer.model, trainer.module.objective
    if not model.config.both:
        return {}
    target = prepared(objective, stream.example(0), Noise(0)).target
    assert target is not None
    token = int(target.ids[0])
    return {} if token == start_of(model) else {"decoder_start_token_id": token}


def prepare_texts(
    recipe: PretrainRecipe, folder: Path, documents: Iterable[Document] | None, say: Say
) -> tuple[Tokenizer, Texts]:
    """The tokenizer and the shards of the recipe: those of each source where it has a mixture."""
    if recipe.mixture is None:
        return prepare_corpus(recipe, folder, documents, say)
    if documents is not None:
        raise ModeledgeError("E-CONFIG", "texts are given, and a mixture is named too", where="mixture.sources")
    return prepare_sources(recipe, folder, say)


def prepare_corpus(
    recipe: PretrainRecipe, folder: Path, documents: Iterable[Document] | None, say: Say
) -> tuple[Tokenizer, Shards]:
    """The tokenizer and the shards of the recipe, built once: what is already in the folder is used as it is."""
    if recipe.corpus.shards is not None:
        if documents is not None:
            raise ModeledgeError("E-CONFIG", "texts are given, and shards are named too", where="corpus.shards")
        given = given_tokenizer(recipe)
        if given is None:
            raise ModeledgeError("E-CONFIG", "shards need the tokenizer they were made with", where="tokenizer.path")
        tokenizer = grown(given, recipe.tokenizer)
        for note in tokenizer.gained:
            say(f"note: {note}")
        return tokenizer, opened(Path(recipe.corpus.shards), tokenizer, given)
    where = folder / "corpus"
    kept = None if documents is None else same_texts(list(documents), folder)
    if not where.exists():
        if not (folder / "tokenizer").exists():
            with files.committed_folder(folder / "tokenizer", {"schema": 1}) as temporary:
                made = make_tokenizer(recipe, kept)
                report_notes(made, say)
                made.save(temporary)
        ledger, tokenizer = Ledger(), Tokenizer.load(folder / "tokenizer")
        source = reading(kept, ledger=ledger) if kept is not None else read(recipe.corpus, ledger, folder)
        build_corpus(
            watch_specials(source, tokenizer, ledger),
            tokenizer,
            where,
            config=building(recipe.corpus, recipe.aim.channels),
            ledger=ledger,
        )
        report_ledger(ledger, say)
    files.write_json(folder / LEDGER, files.read_json(where / LEDGER))
    tokenizer = Tokenizer.load(folder / "tokenizer")
    return tokenizer, opened(where, tokenizer)


def same_texts(documents: list[Document], folder: Path) -> list[Document]:
    """The documents, whose digest is kept in the run folder; a resumed run refuses others (`E-RESUME`)."""
    state = hashlib.sha256()
    for document in documents:
        state.update(json.dumps([document.id, document.text]).encode() + b"\n")
    mine, path = {"texts": len(documents), "sha256": state.hexdigest()}, folder / TEXTS
    if path.exists() and files.read_json(path) != mine:
        what = f"these {len(documents):,} texts are not those that the run began with"
        raise ModeledgeError("E-RESUME", what, where=str(folder), remedy="give the same texts in the same order")
    files.write_json(path, mine)
    return documents


def build_trainer(recipe: PretrainRecipe, tokenizer: Tokenizer, texts: Texts, replay: Shards | None = None) -> Trainer:
    """Model, objective and stream of a recipe under one trainer; `replay` are the shards of its general text."""
    return ready(recipe, tokenizer, texts, replay)[0]


def ready(
    recipe: PretrainRecipe, tokenizer: Tokenizer, texts: Texts, replay: Shards | None = None, say: Say | None = None
) -> tuple[Trainer, list[ShardStream]]:
    """The trainer of `build_trainer`, and the corpora as its objective cuts them, before any is held out."""
    model = build_model(recipe, tokenizer)
    recipe.objective.check(model.config)
    aim = recipe.aim.on(model, tokenizer)
    aim.check_length(recipe.train.length)
    objective = aim.build(tokenizer, model.config, recipe.train.length)
    check_rule(recipe, objective)
    recipe.curriculum.apply(objective, aim, recipe.train.batch)
    corpora = {"": texts} if isinstance(texts, Shards) else {f"{name}.": shards for name, shards in texts.items()}
    corpora |= {} if replay is None else {"replay.": replay}
    for shards in corpora.values():
        shards.need(objective.prepare.channels)
    for shards in list(corpora.values())[: 1 if replay is not None else None]:
        aim.check_corpus(shards)
    streams = {name: stream_of(recipe, model, tokenizer, shards) for name, shards in corpora.items()}
    wholes = [stream for name, stream in streams.items() if name != "replay."]
    step, judge = Step(model, objective, noise=Noise(recipe.seed)), None
    take_up(recipe, aim, objective, model, tokenizer, say or (lambda line: None))
    if recipe.held_out:
        parts = {name: split_stream(stream, recipe.held_out, recipe.seed) for name, stream in streams.items()}
        streams = {name: kept for name, (kept, _) in parts.items()}
        held = {name: examples for name, (_, examples) in parts.items()}
        if recipe.mixture is not None:
            held = {"": [example for examples in held.values() for example in examples], **held}
        evaluate = marks_on(step, held, recipe.train, tokenizer)
        judge = Judge(evaluate, metric_of(objective), every(recipe), False, recipe.train.patience)
    config = packed_config(recipe)
    return Trainer(step, joined(recipe, streams), rules(recipe), config=config, seed=recipe.seed, judge=judge), wholes


def joined(recipe: PretrainRecipe, streams: Mapping[str, ShardStream]) -> Stream:
    """The corpora of a run as one stream: a mixture, a corpus with general text beside it, or the corpus itself."""
    if recipe.mixture is not None:
        named = {name.removesuffix("."): stream for name, stream in streams.items()}
        return mixed(recipe.mixture, named, recipe.train.steps, recipe.train.batch).stream(named)
    if recipe.replay is not None and len(streams) > 1:
        return MixedStream(list(streams.values()), [1.0 - recipe.replay.share, recipe.replay.share])
    return streams[""]


def rules(recipe: PretrainRecipe) -> list[Strategy]:
    """The strategies that a recipe of pre-training asks for."""
    base = recipe.train.base_width
    return [] if base is None else [WidthRule(base, fresh=recipe.model.start is None)]


def check_rule(recipe: PretrainRecipe, objective: Objective) -> None:
    """Refuse the rule of widths beside layers that it does not reach (`E-CONFIG`): ELECTRA's generator, the further
    tokens of multi-token prediction, the dense layer of SimCSE."""
    if recipe.train.base_width is not None and any(p.ndim >= 2 for p in objective.parameters()):
        what = f"objective {recipe.objective.kind!r} has layers of its own, whose weights and rates follow no width"
        remedy = "leave it out, and give train.learning_rate for this width"
        raise ModeledgeError("E-CONFIG", what, where="train.base_width", remedy=remedy)


def stream_of(recipe: PretrainRecipe, model: Backbone, tokenizer: Tokenizer, shards: Shards) -> ShardStream:
    """The examples of a corpus, cut as the objective wants them, before any is held out."""
    return cut_stream(recipe, recipe.aim.on(model, tokenizer), shards)


def pinned(recipe: PretrainRecipe) -> PretrainRecipe:
    """The recipe with the commit that the name of its start model led to: a run goes on with what it began with."""
    model = recipe.model
    asked = {name: getattr(model, name) for name in ("revision", "endpoint", "bidirectional", "decoder")}
    if model.start is None and any(asked.values()):
        named = next(name for name, value in asked.items() if value)
        what = f"{named} is said of a model to start from, and there is none"
        raise ModeledgeError("E-CONFIG", what, where="model.start", remedy='name one: model.start = "org/name"')
    if model.start is None or not is_name(model.start):
        return recipe
    pins = find_model(model.start, model.revision, model.endpoint).pins(model.endpoint)
    return recipe.model_copy(update={"model": model.model_copy(update=pins)})


def card_of(recipe: PretrainRecipe, trainer: Trainer, folder: Path) -> Card:
    """What the card of a pre-trained model says."""
    corpus, judge, start = recipe.corpus, trainer.judge, recipe.model.start
    given = [f"{files.read_json(folder / TEXTS)['texts']:,} texts from memory"] if (folder / TEXTS).exists() else []
    every_one = [corpus] if recipe.mixture is None else list(recipe.mixture.sources.values())
    paths = [path for one in every_one for path in (*one.files, *([one.shards] if one.shards else []))]
    scores = {}
    if judge is not None and judge.best is not None:
        scores = {f"{judge.metric} on held-out examples": {"value": judge.best}}
    return Card(
        verb="pretrain",
        license=recipe.license,
        base={} if start is None else base_of(start, trainer.model),
        data=given or [Path(path).name for path in paths],
        recipe=recipe.model_dump(mode="json"),
        scores=scores,
    )


def finish(
    model: Backbone,
    tokenizer: Tokenizer,
    folder: Path,
    family: str | None = None,
    notes: Mapping[str, Any] = MappingProxyType({}),
    card: Card | None = None,
    words: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write the model with its tokenizer in its family's form, its card, and `notes` (file name → JSON, or bytes as
    they are) beside it; `words` as in `save_model`.

    The folder appears whole or not at all: that it is there says that the run is finished.
    """
    with files.committed_folder(folder, {"schema": 1}) as temporary:
        if isinstance(model, Transformer):
            save_model(model, temporary, family=family, words=words)
        else:
            model.save(temporary)
        tokenizer.save(temporary)
        write_card(temporary, card or Card(), model)
        for name, value in notes.items():
            (files.write_bytes if isinstance(value, bytes) else files.write_json)(temporary / name, value)
    return folder

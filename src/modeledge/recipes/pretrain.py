"""Raw text → clean corpus → tokenizer → pre-training, in one run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeledge import files
from modeledge.config import to_toml
from modeledge.corpus.pipeline import LEDGER, Build, build_corpus, kept_documents, reading
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError, nearest
from modeledge.families import load_model, save_model
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.plain import from_plain
from modeledge.model.transformer import Transformer
from modeledge.objectives import Step
from modeledge.recipes.card import Card, base_of, write_card
from modeledge.recipes.folder import finished, run_folder
from modeledge.recipes.gate import guard, view_of_training
from modeledge.recipes.held import check_judging, every, loss_on, split_stream
from modeledge.recipes.hub import find_model, remember_source, source_of
from modeledge.recipes.presets import HEADS, PRESETS
from modeledge.recipes.recipe import CorpusRecipe, PretrainRecipe, absolute, is_name
from modeledge.recipes.reshaped import reshaped, tell
from modeledge.recipes.source import read, report_ledger, report_notes, watch_specials
from modeledge.records import Document, Ledger
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.train import Judge, Session, Trainer
from modeledge.train.session import Listener, write_environment

Say = Callable[[str], None]
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
    if recipe.unused:
        say(f"note: {recipe.unused}")
    with run_folder(folder, to_toml(recipe), resume=resume):
        if resume and finished(folder):
            say("the run is finished")
            return folder / "model"
        tokenizer, shards = prepare_corpus(recipe, folder, documents, say)
        trainer = build_trainer(recipe, tokenizer, shards)
        if recipe.model.bidirectional or recipe.model.decoder is not None:
            tell(trainer.model, recipe.family, say)
        write_environment(folder, recipe.seed, source_of(trainer.model))
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        else:
            stream = stream_of(recipe, trainer.model, tokenizer, shards)
            if stream.note:
                say(f"note: {stream.note}")
            guard(recipe, view_of_training(recipe, trainer, tokenizer, stream, folder), say)
        session.run(listeners)
        session.conclude()
        assert isinstance(trainer.model, Transformer)
        recipe.objective.beside(trainer.model, trainer.module.objective, tokenizer, folder)
        card = card_of(recipe, trainer, folder)
        return finish(trainer.model, tokenizer, folder / "model", recipe.family, card=card)


def prepare_corpus(
    recipe: PretrainRecipe, folder: Path, documents: Iterable[Document] | None, say: Say
) -> tuple[Tokenizer, Shards]:
    """The tokenizer and the shards of the recipe, built once: what is already in the folder is used as it is."""
    if recipe.corpus.shards is not None:
        if documents is not None:
            raise ModeledgeError("E-CONFIG", "texts are given, and shards are named too", where="corpus.shards")
        tokenizer = given_tokenizer(recipe)
        if tokenizer is None:
            raise ModeledgeError("E-CONFIG", "shards need the tokenizer they were made with", where="tokenizer.path")
        return check_pair(tokenizer, Shards.open(Path(recipe.corpus.shards)))
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
            config=building(recipe.corpus, recipe.objective.channels),
            ledger=ledger,
        )
        report_ledger(ledger, say)
    files.write_json(folder / LEDGER, files.read_json(where / LEDGER))
    return check_pair(Tokenizer.load(folder / "tokenizer"), Shards.open(where))


def check_pair(tokenizer: Tokenizer, shards: Shards) -> tuple[Tokenizer, Shards]:
    """Refuse shards that another tokenizer wrote (`E-TOKENIZER-MISMATCH`)."""
    if shards.tokenizer != tokenizer.fingerprint:
        what = f"the shards were written with tokenizer {shards.tokenizer[:12]}, this is {tokenizer.fingerprint[:12]}"
        raise ModeledgeError("E-TOKENIZER-MISMATCH", what)
    return tokenizer, shards


def make_tokenizer(recipe: PretrainRecipe, documents: Sequence[Document] | None) -> Tokenizer:
    """The tokenizer that the recipe names or its model brings, or one trained on what the corpus will keep."""
    given = given_tokenizer(recipe)
    if given is not None:
        return given
    wanted, ledger = recipe.tokenizer, Ledger()
    source = documents if documents is not None else read(recipe.corpus, ledger)
    return train_tokenizer(
        (document.text for document in kept_documents(source, building(recipe.corpus), ledger=ledger)),
        kind=wanted.kind,
        vocab_size=wanted.vocab_size,
        min_frequency=wanted.min_frequency,
        lowercase=wanted.lowercase,
        extra=recipe.reserved,
    )


def given_tokenizer(recipe: PretrainRecipe) -> Tokenizer | None:
    """The tokenizer at `tokenizer.path`, else the one of the model to start from, whose rows mean its ids.

    Raises `E-TOKENIZER-MISMATCH` where the two differ, `E-CONFIG` where the model to start from has none and no path
    is given.
    """
    path, start = recipe.tokenizer.path, recipe.model.start
    named = None if path is None else Tokenizer.load(path)
    if start is None:
        return named
    source = find_model(start, recipe.model.revision, recipe.model.endpoint).folder
    try:
        own = Tokenizer.load(source)
    except ModeledgeError as error:
        if error.code != "E-NO-FILE":
            raise
        own = None
    if own is None and named is None:
        what, remedy = "the model to start from has no tokenizer", "set tokenizer.path to the one it was trained with"
        raise ModeledgeError("E-CONFIG", what, where=str(source), remedy=remedy)
    if own is not None and named is not None and own.fingerprint != named.fingerprint:
        what = f"the model was trained with tokenizer {own.fingerprint[:12]}, this is {named.fingerprint[:12]}"
        remedy = "leave tokenizer.path out: the model brings its own"
        raise ModeledgeError("E-TOKENIZER-MISMATCH", what, where=str(path), remedy=remedy)
    return own or named


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


def building(corpus: CorpusRecipe, channels: Iterable[str] = ()) -> Build:
    """What the recipe says of the way from documents to shards; `channels` are those that its objective asks for."""
    wanted = {*corpus.channels, *channels}
    return Build(filters=corpus.filters, deduplicate=corpus.deduplicate, channels=sorted(wanted))


def build_trainer(recipe: PretrainRecipe, tokenizer: Tokenizer, shards: Shards) -> Trainer:
    """Model, objective and stream of a recipe under one trainer."""
    model = build_model(recipe, tokenizer)
    recipe.objective.check(model.config)
    aim = recipe.objective.on(model, tokenizer)
    objective = aim.build(tokenizer, model.config, recipe.train.length)
    shards.need(objective.prepare.channels)
    recipe.curriculum.apply(objective, recipe.train.batch, recipe.objective.shared)
    stream: ShardStream = aim.stream(shards, recipe.train.length, recipe.seed)
    step = Step(model, objective, noise=Noise(recipe.seed))
    judge = None
    if recipe.held_out:
        stream, held = split_stream(stream, recipe.held_out, recipe.seed)
        judge = Judge(loss_on(step, held, recipe.train), "loss", every(recipe), False, recipe.train.patience)
    return Trainer(step, stream, config=recipe.train, seed=recipe.seed, judge=judge)


def build_model(recipe: PretrainRecipe, tokenizer: Tokenizer) -> Transformer:
    """The model to start from, or fresh weights that are a function of the seed."""
    if recipe.model.start is not None:
        found = find_model(recipe.model.start, recipe.model.revision, recipe.model.endpoint)
        model = load_model(found.folder)
        remember_source(model, found.source)
        if tokenizer.vocab_size > model.config.table.vocab:
            what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.table.vocab} rows"
            raise ModeledgeError("E-VOCAB-SIZE", what)
        asked = recipe.model
        turned = reshaped(model, bidirectional=asked.bidirectional, decoder=asked.decoder, seed=recipe.seed)
        assert isinstance(turned, Transformer)
        return turned
    preset, fields = recipe.model.preset, recipe.model.shape
    fresh = Transformer(shape(preset, fields, tokenizer.vocab_size), seed=recipe.seed)
    fresh.add_heads({} if fields else HEADS.get(str(preset), {}), Noise(recipe.seed))
    return fresh


def shape(preset: str | None, fields: dict[str, Any], vocab: int) -> TransformerConfig:
    """A configuration out of a preset's name or the recipe's own fields."""
    if fields:
        return from_plain({**fields, "embed": {**fields.get("embed", {}), "vocab": vocab}})
    if preset not in PRESETS:
        remedy = nearest(str(preset), PRESETS)
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no preset {preset!r}", where="model.preset", remedy=remedy)
    return PRESETS[preset](vocab)


def stream_of(recipe: PretrainRecipe, model: Backbone, tokenizer: Tokenizer, shards: Shards) -> ShardStream:
    """The examples of a corpus, cut as the objective wants them, before any is held out."""
    return recipe.objective.on(model, tokenizer).stream(shards, recipe.train.length, recipe.seed)


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
    paths = (*corpus.paths, *([corpus.shards] if corpus.shards else []))
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
    """Write the model with its tokenizer in its family's form, its card, and `notes` (file name → JSON) beside it;
    `words` as in `save_model`.

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
            files.write_json(temporary / name, value)
    return folder

"""Raw text → clean corpus → tokenizer → pre-training, in one run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeledge import files
from modeledge.config import to_toml
from modeledge.corpus.pipeline import LEDGER, Build, build_corpus, reading
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError, nearest
from modeledge.families import load_model, save_model
from modeledge.model.config import TransformerConfig, from_plain
from modeledge.model.transformer import Transformer
from modeledge.objectives import CausalLM, MaskedLM, MaskedPrepare, Objective, Step
from modeledge.recipes.folder import model_folder, run_folder
from modeledge.recipes.presets import PRESETS
from modeledge.recipes.recipe import CorpusRecipe, ObjectiveRecipe, PretrainRecipe
from modeledge.records import Document, Ledger
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.train import Session, Trainer
from modeledge.train.session import Listener, write_environment

Say = Callable[[str], None]


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
    with run_folder(folder, to_toml(recipe), resume=resume):
        tokenizer, shards = prepare_corpus(recipe, folder, documents, say)
        trainer = build_trainer(recipe, tokenizer, shards)
        write_environment(folder, recipe.seed)
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        session.run(listeners)
        return finish(trainer.model, tokenizer, folder / "model", recipe.family)


def prepare_corpus(
    recipe: PretrainRecipe, folder: Path, documents: Iterable[Document] | None, say: Say
) -> tuple[Tokenizer, Shards]:
    """The tokenizer and the shards of the recipe, built once: what is already in the folder is used as it is."""
    if recipe.corpus.shards is not None:
        if recipe.tokenizer.path is None:
            raise ModeledgeError("E-CONFIG", "shards need the tokenizer they were made with", where="tokenizer.path")
        return check_pair(Tokenizer.load(Path(recipe.tokenizer.path)), Shards.open(Path(recipe.corpus.shards)))
    where = folder / "corpus"
    if not where.exists():
        kept = list(documents) if documents is not None else None
        if not (folder / "tokenizer").exists():
            with files.committed_folder(folder / "tokenizer", {"schema": 1}) as temporary:
                make_tokenizer(recipe, kept).save(temporary)
        ledger = Ledger()
        build_corpus(
            reading(kept, ledger=ledger) if kept is not None else read(recipe.corpus, ledger, folder),
            Tokenizer.load(folder / "tokenizer"),
            where,
            config=Build(filters=recipe.corpus.filters, deduplicate=recipe.corpus.deduplicate),
            ledger=ledger,
        )
        say(balance(ledger))
    files.write_json(folder / LEDGER, files.read_json(where / LEDGER))
    return check_pair(Tokenizer.load(folder / "tokenizer"), Shards.open(where))


def check_pair(tokenizer: Tokenizer, shards: Shards) -> tuple[Tokenizer, Shards]:
    """Refuse shards that another tokenizer wrote (`E-TOKENIZER-MISMATCH`)."""
    if shards.tokenizer != tokenizer.fingerprint:
        what = f"the shards were written with tokenizer {shards.tokenizer[:12]}, this is {tokenizer.fingerprint[:12]}"
        raise ModeledgeError("E-TOKENIZER-MISMATCH", what)
    return tokenizer, shards


def make_tokenizer(recipe: PretrainRecipe, documents: Sequence[Document] | None) -> Tokenizer:
    """Load the recipe's tokenizer, or train it on the documents that its filters keep."""
    wanted = recipe.tokenizer
    if wanted.path is not None:
        return Tokenizer.load(Path(wanted.path))
    source = documents if documents is not None else read(recipe.corpus, Ledger())
    return train_tokenizer(
        (document.text for document in source),
        kind=wanted.kind,
        vocab_size=wanted.vocab_size,
        min_frequency=wanted.min_frequency,
        lowercase=wanted.lowercase,
    )


def read(corpus: CorpusRecipe, ledger: Ledger, folder: Path | None = None) -> Iterator[Document]:
    """The recipe's files as documents. Quarantined records are kept in `quarantine.jsonl` of the folder."""
    if not corpus.paths:
        raise ModeledgeError(
            "E-CONFIG", "no input is named", where="corpus.paths", remedy="name files, folders or globs"
        )
    config = ReadConfig(
        format=corpus.format,  # type: ignore[arg-type]
        text=corpus.text,
        encoding=corpus.encoding,
        on_bad_record=corpus.on_bad_record,
    )
    if folder is None:
        yield from read_documents(corpus.paths, config, ledger)
        return
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as file:

        def keep(record: Any) -> None:
            row = {"where": record.where, "reason": record.reason, "raw": record.raw.hex()}
            file.write(json.dumps(row) + "\n")

        yield from read_documents(corpus.paths, config, ledger, keep)


def balance(ledger: Ledger) -> str:
    """The ledger in one line: read = kept + filtered + quarantined."""
    filtered = {k: c.records for k, c in sorted(ledger.filtered.items())}
    quarantined = {k: c.records for k, c in sorted(ledger.quarantined.items())}
    return (
        f"read {ledger.read.records:,} = kept {ledger.kept.records:,} + filtered {filtered or 0} "
        f"+ quarantined {quarantined or 0}; {ledger.kept.tokens:,} tokens"
    )


def build_trainer(recipe: PretrainRecipe, tokenizer: Tokenizer, shards: Shards) -> Trainer:
    """Model, objective and stream of a recipe under one trainer."""
    model = build_model(recipe, tokenizer)
    objective, length = build_objective(recipe.objective, tokenizer, recipe.train.length)
    if (model.config.encoder is not None) != isinstance(objective, MaskedLM):
        what = f"objective {recipe.objective.kind!r} does not fit this model"
        raise ModeledgeError(
            "E-CONFIG", what, where="objective.kind", remedy="masked wants an encoder, causal a decoder"
        )
    stream = TokenStream(shards, length, recipe.seed, shortest=2)
    step = Step(model, objective, noise=Noise(recipe.seed))
    return Trainer(step, stream, config=recipe.train, seed=recipe.seed)


def build_model(recipe: PretrainRecipe, tokenizer: Tokenizer) -> Transformer:
    """The model to start from, or fresh weights that are a function of the seed."""
    if recipe.model.start is not None:
        model = load_model(model_folder(recipe.model.start))
        if tokenizer.vocab_size > model.config.embed.vocab:
            what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.embed.vocab} rows"
            raise ModeledgeError("E-VOCAB-SIZE", what)
        return model
    return Transformer(shape(recipe.model.preset, recipe.model.shape, tokenizer.vocab_size), seed=recipe.seed)


def shape(preset: str | None, fields: dict[str, Any], vocab: int) -> TransformerConfig:
    """A configuration out of a preset's name or the recipe's own fields."""
    if fields:
        return from_plain({**fields, "embed": {**fields.get("embed", {}), "vocab": vocab}})
    if preset not in PRESETS:
        remedy = nearest(str(preset), PRESETS)
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no preset {preset!r}", where="model.preset", remedy=remedy)
    return PRESETS[preset](vocab)


def build_objective(recipe: ObjectiveRecipe, tokenizer: Tokenizer, length: int) -> tuple[Objective, int]:
    """The objective, and how many tokens of the stream make one example of `length` positions."""
    if recipe.kind == "causal":
        return CausalLM(), length + 1
    return MaskedLM(masking(tokenizer, recipe.rate)), length - 2


def masking(tokenizer: Tokenizer, rate: float) -> MaskedPrepare:
    """BERT's masking with this tokenizer's special tokens around each example."""
    return MaskedPrepare(
        vocab=tokenizer.vocab_size,
        mask=tokenizer.need("mask"),
        specials=tokenizer.specials.ids(),
        rate=rate,
        cls=tokenizer.need("cls"),
        sep=tokenizer.need("sep"),
    )


def finish(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: Path,
    family: str | None = None,
    notes: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write the model with its tokenizer in its family's form, and `notes` (file name → JSON) beside it.

    The folder appears whole or not at all: that it is there says that the run is finished.
    """
    with files.committed_folder(folder, {"schema": 1}) as temporary:
        save_model(model, temporary, family=family)
        tokenizer.save(temporary)
        for name, value in notes.items():
            files.write_json(temporary / name, value)
    return folder

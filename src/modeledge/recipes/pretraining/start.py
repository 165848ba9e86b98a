"""The weights that pre-training begins with: a model's, or fresh ones of a shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from modeledge.families import load_model, read_shape
from modeledge.model.config import TransformerConfig
from modeledge.model.plain import changed, from_plain
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective
from modeledge.recipes.corpora.vocabulary import given_tokenizer
from modeledge.recipes.objectives import Aim
from modeledge.recipes.presets import drawn, shape_named
from modeledge.recipes.pretraining.continued import check_rows, extend_model
from modeledge.recipes.pretraining.reshaped import reshaped, shape_reshaped
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.store.hub import find_model, remember_source
from modeledge.tokens import Tokenizer

PRESET = "model.preset"


def build_model(recipe: PretrainRecipe, tokenizer: Tokenizer) -> Transformer:
    """The model to start from, or fresh weights that are a function of the seed."""
    if recipe.model.start is not None:
        found = find_model(recipe.model.start, recipe.model.revision, recipe.model.endpoint)
        model = load_model(found.folder)
        remember_source(model, found.source)
        grow(recipe, tokenizer, model)
        check_rows(model, tokenizer)
        asked = recipe.model
        turned = reshaped(model, bidirectional=asked.bidirectional, decoder=asked.decoder, seed=recipe.seed)
        assert isinstance(turned, Transformer)
        return turned
    preset, fields, vocab = recipe.model.preset, recipe.model.shape, tokenizer.vocab_size
    if fields:
        return Transformer(shape(preset, fields, vocab), seed=recipe.seed)
    return drawn(preset, vocab, recipe.seed, PRESET)


def grow(recipe: PretrainRecipe, tokenizer: Tokenizer, model: Transformer) -> None:
    """Give a model of the run to start from the rows that its vocabulary has gained since, where it has."""
    if recipe.tokenizer.grows:
        extend_model(model, given_tokenizer(recipe), tokenizer)


def take_up(
    recipe: PretrainRecipe,
    aim: Aim,
    objective: Objective,
    model: Transformer,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
) -> None:
    """Let an objective whose weights are drawn go on from what lies beside the model to start from; a note says so."""
    asked = recipe.model
    if asked.start is None:
        return
    folder = find_model(asked.start, asked.revision, asked.endpoint).folder
    if note := aim.take_up(objective, model, folder.parent, partial(grow, recipe, tokenizer)):
        say(f"note: {note}")


def check_body(recipe: PretrainRecipe) -> None:
    """Refuse a body that the objective cannot train, and a course that it cannot follow, before a corpus and a
    tokenizer are made for it; no size of a vocabulary changes the answer. Of a model to start from its configuration is
    read, not its weights."""
    asked = recipe.model
    if asked.start is None:
        body = shape(asked.preset, asked.shape, vocab=1000)
    else:
        stated = read_shape(find_model(asked.start, asked.revision, asked.endpoint).folder)
        body = shape_reshaped(stated, bidirectional=asked.bidirectional, decoder=asked.decoder)
    recipe.aim.check(body)


def shape(preset: str | None, fields: dict[str, Any], vocab: int) -> TransformerConfig:
    """A configuration out of a preset's name, the recipe's own fields, or fields over those of a preset."""
    if "width" in fields:
        return from_plain({**fields, "embed": {**fields.get("embed", {}), "vocab": vocab}})
    named = shape_named(preset, vocab, PRESET)
    return changed(named, fields) if fields else named

"""How documents become rows, and how full these are.

    split   all documents are one, cut every `length` tokens: rows are full, and most begin and end inside a document
    fit     each document is cut for itself; the pieces of a batch share rows by first-fit decreasing (Ding et al. 2024,
            arXiv 2404.10830: fewer texts are truncated, and less is made up, than after concatenation)
    alone   likewise, and each piece has a row of its own: what the others are measured against

`auto` is the way of the objective: next tokens and masks split, what rearranges a document cuts each for itself.
"""

from __future__ import annotations

from modeledge.corpus.mix import MixedStream
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import IndexedStream, ShardStream, TokenStream
from modeledge.errors import ModeledgeError
from modeledge.objectives import prepared
from modeledge.objectives.collate import plan
from modeledge.recipes.objectives.aim import Aim
from modeledge.recipes.objectives.blend import BlendAim
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.train import TrainConfig, Trainer

LOOKED = 4  # batches whose rows are counted


def cut_stream(recipe: PretrainRecipe, aim: Aim, shards: Shards) -> ShardStream:
    """The examples of a corpus as the recipe packs them. `E-CONFIG` for a way that the objective cannot be cut by."""
    length, how = recipe.train.length, "split" if recipe.packing == "split" else "document"
    if recipe.packing == "auto" or how == aim.cut:
        return aim.stream(shards, length, recipe.seed)
    if how == "split" or type(aim).stream not in (Aim.stream, BlendAim.stream):
        what = f"objective {aim.kind!r} cuts its texts itself, and not by {recipe.packing!r}"
        raise ModeledgeError("E-CONFIG", what, where="packing", remedy='leave it out, or say "auto"')
    return TokenStream(shards, aim.fitting(length), recipe.seed, "document", shortest=aim.shortest)


def packed_config(recipe: PretrainRecipe) -> TrainConfig:
    """The numbers of the run, with each example in a row of its own where that is asked for."""
    return recipe.train.model_copy(update={"packed": False}) if recipe.packing == "alone" else recipe.train


def fill_share(trainer: Trainer) -> float | None:
    """Which share of the positions of the first batches holds tokens; `None` where the objective refuses one of their
    examples, which the pre-flight says. Looking moves nothing."""
    stream, batch = trainer.stream, trainer.config.batch
    assert isinstance(stream, IndexedStream | MixedStream)
    count = min(LOOKED, max(1, len(stream) // batch), trainer.config.steps)
    used = room = 0
    for start in range(0, count * batch, batch):
        window = [stream.at(start + n) for n in range(batch)]
        try:
            ready = [prepared(trainer.module.objective, example, trainer.noise) for example in window]
            rows, width = plan(ready, trainer.shape)
        except ModeledgeError:
            return None
        used, room = used + sum(max(p.lengths()) for p in ready), room + len(rows) * width
    return used / room


def packing_note(recipe: PretrainRecipe, trainer: Trainer) -> str:
    """What is said before the first step of how full rows are."""
    way = recipe.objective.cut if recipe.packing == "auto" else recipe.packing
    way = "fit" if way == "document" else way
    rows = "" if trainer.config.packed or way == "alone" else ", a row each"
    full = fill_share(trainer)
    told = "" if full is None else f", rows are {100 * full:.1f} % full in the first batches"
    return f"packing: {way}{rows}{told}"

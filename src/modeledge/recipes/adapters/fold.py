"""`modeledge merge`: an adapter's folder in, the whole model out, the adapter folded into its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modeledge import files
from modeledge.adapt.graft import adapters_on, leads_of
from modeledge.adapt.lora import Lora
from modeledge.errors import ModeledgeError
from modeledge.recipes.adapters.open import open_adapted
from modeledge.recipes.adapters.pair import is_adapter
from modeledge.recipes.folder import model_folder
from modeledge.recipes.pretraining.pretrain import finish
from modeledge.recipes.store.card import Card
from modeledge.recipes.store.open import tokenizer_of
from modeledge.recipes.tuning.heads import words_of
from modeledge.recipes.tuning.task_file import TASK_FILE, restored


def merge(
    source: str | Path, out: str | Path, *, base: str | Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """Fold the adapter of a folder, or of the run around it, into its base, and write the model with its tokenizer and
    task. `base` says where its base lies now. Raises what opening it raises, `E-MERGE` for what no plain weight can
    hold, `E-OUTPUT` where `out` is there already, `E-USAGE` where there is no adapter."""
    folder, out = model_folder(source), Path(out)
    if not is_adapter(folder):
        raise ModeledgeError(
            "E-USAGE", "this is a whole model", where=str(folder), remedy="there is nothing to fold in"
        )
    if out.exists():
        raise ModeledgeError("E-OUTPUT", "it is there already", where=str(out))
    model = open_adapted(folder, say, base=base, whole=True)
    for name in adapters_on(model):
        if name in leads_of(model):
            what = f"{name!r} stands before the examples: no weight of the base can hold it"
            remedy = "keep the adapter, which every verb opens; bottleneck adapters and prompts cannot be merged"
            raise ModeledgeError("E-MERGE", what, where=str(folder), remedy=remedy)
        Lora(name=name).merge(model)  # every method folds itself in; the name alone counts
    tokenizer = tokenizer_of(folder, base)
    notes = {TASK_FILE: files.read_json(folder / TASK_FILE)} if (folder / TASK_FILE).exists() else {}
    words = words_of(restored(notes[TASK_FILE], tokenizer, model), model) if notes else {}
    return finish(model, tokenizer, out, None, notes, Card(verb="convert"), words)

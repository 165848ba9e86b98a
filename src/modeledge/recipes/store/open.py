"""A model folder of any architecture: by its page in `families/`, or, where there is none, wrapped whole and said.

Its tokenizer lies beside it; that of an adapter may lie beside its base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, origin_of
from modeledge.families.folder import CONFIG, MAX_CONFIG, check_folder, read_json_object
from modeledge.families.wrapped.wrap import HuggingFaceModel
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer
from modeledge.tokens import Tokenizer
from modeledge.tokens.load import FILES


def open_model(folder: Path, say: Callable[[str], None] = print) -> Backbone:
    """The model of a folder (see `open_plain`), or that of an adapter: its base with the adapter on it."""
    from modeledge.recipes.adapters.open import open_adapted
    from modeledge.recipes.adapters.pair import is_adapter

    return open_adapted(folder, say) if is_adapter(folder) else open_plain(folder, say)


def speaking(folder: Path, base: str | Path | None = None) -> Path:
    """The folder that says how a model reads and writes: its own, or, of an adapter that came without a tokenizer (PEFT
    writes none), that of its base, which may lie at `base` now. Raises `E-BASE` where that is gone."""
    from modeledge.recipes.adapters.digest import find_base
    from modeledge.recipes.adapters.pair import is_adapter, read_said

    alone = is_adapter(folder) and not any((folder / name).is_file() for name in FILES)
    return find_base(folder, read_said(folder), base)[1] if alone else folder


def tokenizer_of(folder: Path, base: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a model's folder, or of an adapter's (see `speaking`)."""
    return Tokenizer.load(speaking(folder, base))


def open_plain(folder: Path, say: Callable[[str], None] = print) -> Backbone:
    """The model of a folder of weights. One without a page here is read by transformers and wrapped
    (docs/decisions/0008).

    Raises what `load_model` and `HuggingFaceModel.load` raise; without the extra `E-EXTRA`, and `E-FAMILY` for an
    architecture that neither knows.
    """
    check_folder(folder)
    kind = read_json_object(folder / CONFIG, MAX_CONFIG).get("model_type")
    if not isinstance(kind, str) or kind in FAMILIES:
        return load_model(folder)
    try:
        model = HuggingFaceModel.load(folder, without=("pooler",), leave_heads=True)
    except ModeledgeError as error:
        if error.code == "E-FAMILY":
            load_model(folder)  # says which ones are known here
        if error.code == "E-EXTRA":
            what = f"there is no page for {kind!r} here, and to wrap it transformers is needed"
            raise ModeledgeError("E-EXTRA", what, where=str(folder), remedy=error.remedy) from error
        raise
    left = f"; left out, as no head of ours reads it: {', '.join(model.left)}" if model.left else ""
    say(f"there is no page for {kind!r} here: it is wrapped whole, with transformers computing its states{left}")
    return model


def renewed(model: Backbone, seed: int) -> Transformer:
    """A model of the same shape and family, drawn anew; one that is wrapped is `E-USAGE`."""
    if not isinstance(model, Transformer):
        what = "the weights of a wrapped model cannot be drawn anew"
        raise ModeledgeError("E-USAGE", what, where="fresh", remedy="start from a folder of one of the families here")
    fresh, origin = Transformer(model.config, seed=seed), origin_of(model)
    fresh.hf_names, fresh.hf_laid = model.hf_names, model.hf_laid
    if origin is not None:
        vars(fresh)["origin"] = replace(origin, kept={}, source={})  # how it is said, without any of its weights
    return fresh

"""modeledge: the whole life of a pre-trained model, from raw text to an adapted model and an honest report.

    import modeledge as me

    me.load("org/name").generate("Once upon a time")
    me.pretrain("recipe.toml", "runs/pretrain")
    me.finetune("runs/pretrain/model", rows, "runs/finetune", text="review", label="stars")
    me.Model.load("runs/finetune").predict(rows)

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Adapters": "modeledge.recipes.adapters.shelf",
    "Document": "modeledge.records",
    "HuggingFaceModel": "modeledge.families.wrapped.wrap",
    "Model": "modeledge.recipes.asking.use",
    "ModeledgeError": "modeledge.errors",
    "Noise": "modeledge.seed",
    "Tokenizer": "modeledge.tokens",
    "Transformer": "modeledge.model",
    "TransformerConfig": "modeledge.model",
    "finetune": "modeledge.recipes.api",
    "load": "modeledge.recipes.store.models",
    "load_model": "modeledge.families",
    "pretrain": "modeledge.recipes.api",
    "resume": "modeledge.recipes.api",
    "routed": "modeledge.adapt.route",
    "save": "modeledge.recipes.store.models",
    "save_adapter": "modeledge.recipes.adapters.write",
    "save_model": "modeledge.families",
    "train_tokenizer": "modeledge.tokens",
}
__all__ = [
    "Adapters",
    "Document",
    "HuggingFaceModel",
    "Model",
    "ModeledgeError",
    "Noise",
    "Tokenizer",
    "Transformer",
    "TransformerConfig",
    "__version__",
    "finetune",
    "load",
    "load_model",
    "pretrain",
    "resume",
    "routed",
    "save",
    "save_adapter",
    "save_model",
    "train_tokenizer",
]

if TYPE_CHECKING:
    from modeledge.adapt.route import routed
    from modeledge.errors import ModeledgeError
    from modeledge.families import load_model, save_model
    from modeledge.families.wrapped.wrap import HuggingFaceModel
    from modeledge.model import Transformer, TransformerConfig
    from modeledge.recipes.adapters.shelf import Adapters
    from modeledge.recipes.adapters.write import save_adapter
    from modeledge.recipes.api import finetune, pretrain, resume
    from modeledge.recipes.asking.use import Model
    from modeledge.recipes.store.models import load, save
    from modeledge.records import Document
    from modeledge.seed import Noise
    from modeledge.tokens import Tokenizer, train_tokenizer


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'modeledge' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__

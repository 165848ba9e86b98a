"""Model cards: `README.md` beside a model, saying what it was made of (Mitchell et al. 2019, arXiv 1810.03993).

The part between the two lines of dashes is YAML for hubs; what stands in it is written as JSON strings, which YAML
reads as the plain text that they are. Text of a user's data is escaped everywhere. What nobody stated is called
unknown. The same model gives the same card: no date, no path of a machine.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge import __version__, files
from modeledge.errors import printable
from modeledge.families import origin_of
from modeledge.model.backbone import Backbone
from modeledge.recipes.recipe import PRESET

CARD = "README.md"
MARK = "<!-- written by modeledge; remove this line to keep your own text -->"
MADE = {
    "pretrain": "pre-trained from fresh weights",
    "finetune": "fine-tuned on labelled rows",
    "convert": "converted from another checkpoint",
    "save": "saved from memory",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of how a model was made. `base` has the name, revision and endpoint of the model it started from;
    `data` the names of what it learned from; `scores` each metric with value, low, high and n; `form` how it is
    written, and why where that is not a form of other libraries."""

    verb: str = "save"
    license: str | None = None
    base: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[str] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    task: str | None = None
    form: str = ""


def write_card(folder: Path, card: Card, model: Backbone) -> None:
    """Write `README.md`, unless somebody else's is there."""
    path = folder / CARD
    if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        files.write_text(path, text_of(card, model))


def text_of(card: Card, model: Backbone) -> str:
    """The whole card."""
    body = [
        front_matter(card),
        MARK,
        "",
        f"# A {_kind(model)} of {sum(p.numel() for p in model.parameters()):,} weights",
        "",
        f"This model was {MADE[card.verb]} with [modeledge](https://pypi.org/project/modeledge/) {__version__}.",
        *([f"It is {plain(card.form)}."] if card.form else []),
        "",
        "## Licence",
        "",
        plain(card.license) if card.license else "Unknown: nobody stated one. Ask its makers before you pass it on.",
        "",
        "## Base model",
        "",
        *_base(card),
        "",
        "## Data",
        "",
        *([f"- {plain(name)}" for name in card.data] or ["Unknown."]),
        "",
        "## Metrics",
        "",
        *_metrics(card.scores),
        "",
        "## Recipe",
        "",
        *_recipe(card.recipe),
    ]
    return "\n".join(body).rstrip("\n") + "\n"


def front_matter(card: Card) -> str:
    """The YAML for hubs: every value as JSON, which is YAML too and names no tag."""
    said: dict[str, Any] = {"library_name": "modeledge", "license": card.license or "unknown"}
    if card.base.get("endpoint"):
        said |= {"base_model": card.base["name"], "base_model_revision": card.base["revision"]}
    if card.task:
        said["pipeline_tag"] = card.task
    if card.scores:
        metrics = [{"type": name, "value": score["value"]} for name, score in card.scores.items()]
        data = ", ".join(card.data) or "unknown"
        result = {"task": {"type": card.task or "unknown"}, "dataset": {"name": data, "type": "unknown"}}
        said["model-index"] = [{"name": "model", "results": [{**result, "metrics": metrics}]}]
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in said.items()), "---"])


def plain(text: str) -> str:
    """Text of others, shown as it is: no mark of Markdown or HTML in it counts, and it stays on its line."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", html.escape(printable(text, 500), quote=True))


def shortened(value: Any) -> Any:
    """A recipe without the folders of a machine: of an absolute path its last part is left."""
    if isinstance(value, Mapping):
        return {str(key): shortened(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(part) for part in value]
    return os.path.basename(value) if isinstance(value, str) and os.path.isabs(value) else value


def base_of(path: str | Path, model: Backbone) -> dict[str, str]:
    """The base model for a card: as it was fetched, or the folder's name with the digest that its manifest states."""
    origin = origin_of(model)
    if origin is not None and origin.source:
        return dict(origin.source)
    folder = Path(path)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    try:
        listing = files.read_json(folder / files.MANIFEST)["files"]
        digest = f"sha256:{listing['model.safetensors']['sha256']}"
    except (OSError, ValueError, KeyError, TypeError):
        digest = ""
    name = folder.resolve().parent.name if folder.name == "model" else folder.resolve().name
    return {"name": name, "revision": digest}


def _kind(model: Backbone) -> str:
    config = model.config
    return "encoder and decoder" if config.both else "decoder" if config.encoder is None else "encoder"


def _base(card: Card) -> list[str]:
    if not card.base:
        drawn = str(card.recipe.get("model")).startswith(PRESET)
        return ["None: the weights were drawn." if card.verb == "pretrain" or drawn else "Unknown."]
    rows = [f"- name: {plain(card.base['name'])}", f"- revision: {plain(card.base.get('revision') or 'unknown')}"]
    return [*rows, *([f"- fetched from: {plain(card.base['endpoint'])}"] if card.base.get("endpoint") else [])]


def _metrics(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not scores:
        return ["None were measured."]
    return ["| metric | value | 95 % interval | rows |", "|---|---|---|---|", *map(_metric, scores, scores.values())]


def _metric(name: str, score: Mapping[str, Any]) -> str:
    between = f"{score['low']:.4f} … {score['high']:.4f}" if "low" in score else "unknown"
    return f"| {plain(name)} | {score['value']:.4f} | {between} | {score.get('n', 'unknown')} |"


def _recipe(recipe: Mapping[str, Any]) -> list[str]:
    if not recipe:
        return ["Unknown."]
    return ["```json", json.dumps(shortened(recipe), indent=1, sort_keys=True), "```"]

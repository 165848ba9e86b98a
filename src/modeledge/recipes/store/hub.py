"""A model by its name: fetched from a hub, at a revision that is written down.

A name that is no folder here goes to `huggingface_hub`, which keeps what it fetched in its cache. Only configurations,
safetensors and tokenizer files are asked for: a repository's pickles and code never reach this machine. A branch moves,
a commit does not, so it is the commit that is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

from modeledge.errors import ModeledgeError, printable
from modeledge.families import origin_of
from modeledge.model.backbone import Backbone
from modeledge.recipes.folder import model_folder
from modeledge.recipes.recipe import is_name

TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "*.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "task.json",
)  # fmt: skip
WANTED = ("config.json", "*.safetensors", "model.safetensors.index.json", *TOKENIZERS)
LEFT = ("*/*", "consolidated*")  # the same weights once more, in other formats
PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Found:
    """A model folder here, and the name, revision and endpoint that it was fetched by (empty: it was not)."""

    folder: Path
    source: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def pins(self, endpoint: str | None) -> dict[str, str | None]:
        """What a recipe that is written down says: the commit, and the asked endpoint without what opens it."""
        return {"revision": self.source["revision"], "endpoint": self.source["endpoint"] if endpoint else None}


def find_model(
    source: str | Path, revision: str | None = None, endpoint: str | None = None, *, pickles: bool = False
) -> Found:
    """The model folder at a path, in the run folder at that path, or behind a name on a hub.

    Raises `E-NO-FILE`, `E-USAGE` (a folder has no revision), `E-OFFLINE`, `E-PERMISSION`.
    """
    if is_name(source):
        return fetch(str(source), revision, endpoint, pickles=pickles)
    if revision or endpoint:
        what = f"{source} is a path, which has no {'revision' if revision else 'endpoint'}"
        raise ModeledgeError("E-USAGE", what, remedy="name a model as org/name")
    return Found(Path(source) if pickles else model_folder(source))


def fetch(name: str, revision: str | None = None, endpoint: str | None = None, *, pickles: bool = False) -> Found:
    """A model of a hub, from the cache or the network. `endpoint`, else `HF_ENDPOINT`, names a mirror.

    A token that is kept for the usual hub is not sent to another one.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        raise ModeledgeError(
            "E-USAGE", f"{printable(without_secrets(endpoint))!r} is no address", where="endpoint", remedy="https://…"
        )
    asked = (endpoint or constants.ENDPOINT).rstrip("/")
    stranger = urlsplit(asked).netloc != urlsplit(constants.ENDPOINT).netloc
    try:
        folder = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            cache_dir=constants.HF_HUB_CACHE,
            endpoint=asked,
            allow_patterns=[*WANTED, *(PICKLES if pickles else ())],
            ignore_patterns=list(LEFT),
            token=False if stranger else None,
        )
    except Exception as error:  # the client's transport has errors of its own, and they differ between its versions
        refuse(error, name, revision, without_secrets(asked), Path(constants.HF_HUB_CACHE))
    path = Path(str(folder))
    return Found(path, {"name": name, "revision": path.name, "endpoint": without_secrets(asked)})


def refuse(
    error: Exception, name: str, revision: str | None, endpoint: str, cache: Path, kind: str = "model"
) -> NoReturn:
    """What the client's error means to a person."""
    kinds = {one.__name__ for one in type(error).__mro__}
    at = ("" if kind == "model" else f" --repo-type {kind}") + (f" --revision {revision}" if revision else "")
    if "GatedRepoError" in kinds:
        what, remedy = f"{name} is given out to those who asked for it", "accept its terms, then `hf auth login`"
        raise ModeledgeError("E-PERMISSION", what, where=endpoint, remedy=remedy) from error
    if "RevisionNotFoundError" in kinds:
        raise ModeledgeError("E-NO-FILE", f"{name} has no revision {revision!r}", where=endpoint) from error
    if "RepositoryNotFoundError" in kinds:
        what = f"there is no {kind} {name}" + (", and no such folder here" if kind == "model" else "")
        raise ModeledgeError("E-NO-FILE", what, where=endpoint, remedy="check the name and the path") from error
    if "OSError" in kinds and getattr(error, "errno", None) is not None and "ConnectionError" not in kinds:
        raise ModeledgeError("E-READ", str(error), where=str(cache)) from error
    raise ModeledgeError(
        "E-OFFLINE",
        (f"there is no folder {name} here; as a name, it" if kind == "model" else name)
        + f" is not in the cache {cache}, and {endpoint} cannot be reached",
        why=printable(str(error).partition("\n")[0], 120),
        remedy=f"where there is a network: `hf download {name}{at}`, and bring the cache here (HF_HOME names it)",
    ) from error


def without_secrets(address: str) -> str:
    """An address without a name and password in it."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def source_of(model: Backbone) -> dict[str, str]:
    """The name, revision and endpoint that a model was fetched by; empty where it was not."""
    origin = origin_of(model)
    return {} if origin is None else dict(origin.source)


def remember_source(model: Backbone, source: Mapping[str, str]) -> None:
    """Leave on a loaded model where it was fetched from."""
    origin = origin_of(model)
    if origin is not None:
        origin.source = dict(source)

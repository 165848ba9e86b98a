"""A data file by its address on a hub: `hf://datasets/org/name/path`, or `hf://datasets/org/name@revision/path`.

Nothing is fetched that was not named like this. A branch moves, a commit does not: it is the commit that is handed
back, and an address with it in place of the branch gives the same bytes tomorrow. One file is fetched, never a folder
and never a loading script.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from modeledge.errors import ModeledgeError, printable
from modeledge.recipes.store.hub import refuse, without_secrets

SCHEME = "hf://"
_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(rf"hf://datasets/(?P<name>{_NAME})(?:@(?P<revision>[\w.-]+))?/(?P<path>.+)")


@dataclass(frozen=True)
class FoundData:
    """A data file on this machine, its address with the commit in it, and the hub that it came from."""

    path: Path
    address: str
    endpoint: str


def is_address(source: object) -> bool:
    """Does this ask for a file of a hub?"""
    return isinstance(source, str) and source.startswith(SCHEME)


def same_file(asked: str, begun: str) -> bool:
    """Is this the same path, or the address of the same file, whose revision one side may leave open?"""
    if asked == begun or not (is_address(asked) and is_address(begun)):
        return asked == begun
    one, other = _ADDRESS.fullmatch(asked), _ADDRESS.fullmatch(begun)
    if one is None or other is None:
        return False
    return one["name"] == other["name"] and one["path"] == other["path"] and one["revision"] is None


def fetch_data(address: str, endpoint: str | None = None) -> FoundData:
    """The file behind an address, from the cache or the network.

    `endpoint`, else `HF_ENDPOINT`, names a mirror, to which a token for the usual hub is not sent.

    Raises `E-USAGE` for another form of address, `E-NO-FILE`, `E-OFFLINE`, `E-PERMISSION`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or ".." in match["path"].split("/"):
        what = f"{printable(address, 80)!r} names no data file"
        raise ModeledgeError("E-USAGE", what, remedy="write hf://datasets/org/name/path, or …/name@revision/path")
    import huggingface_hub
    from huggingface_hub import constants

    name, revision, path = match["name"], match["revision"], match["path"]
    asked = (endpoint or constants.ENDPOINT).rstrip("/")
    shown = without_secrets(asked)
    try:
        local = huggingface_hub.hf_hub_download(
            name,
            path,
            repo_type="dataset",
            revision=revision,
            cache_dir=constants.HF_HUB_CACHE,
            endpoint=asked,
            token=False if urlsplit(asked).netloc != urlsplit(constants.ENDPOINT).netloc else None,
        )
    except Exception as error:  # the client's transport has errors of its own, and they differ between its versions
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
            what = f"dataset {name} has no file {printable(path)}"
            raise ModeledgeError("E-NO-FILE", what, where=shown, remedy="check the path") from error
        refuse(error, name, revision, shown, Path(constants.HF_HUB_CACHE), kind="dataset")
    commit = Path(local).parts[-1 - len(Path(path).parts)]
    return FoundData(Path(local), f"{SCHEME}datasets/{name}@{commit}/{path}", shown)

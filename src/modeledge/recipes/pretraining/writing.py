"""How a model writes whose towers do not say it: `writing.json` in its folder, for whoever asks it for text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.generate import WAYS, Way

WRITING = "writing.json"


def note_of(way: Way | None) -> dict[str, Any]:
    """The file, for a folder of a model that writes in this way; nothing where it writes as its body says."""
    return {} if way is None else {WRITING: {"schema": 1, "writes": way}}


def way_of(folder: Path) -> Way | None:
    """How the model in a folder writes, where it says so; a word that is none of `WAYS` is `E-RUN-FOLDER`."""
    path = folder / WRITING
    if not path.exists():
        return None
    try:
        said = files.read_json(path)
    except (OSError, ValueError) as error:
        raise ModeledgeError("E-RUN-FOLDER", f"it is no JSON ({error})", where=str(path)) from error
    found = next((way for way in WAYS if isinstance(said, dict) and said.get("writes") == way), None)
    if found is None:
        what = f"it names none of the ways to write: {', '.join(WAYS)}"
        raise ModeledgeError("E-RUN-FOLDER", what, where=str(path), remedy="copy the model's folder again")
    return found

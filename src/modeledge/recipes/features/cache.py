"""States on disk, so that a body is run once over the same rows, whoever asks: another head, seed or cell of a study.

A folder an input: its name is a digest of all that the states depend on (weights, shape and precision of the body,
tokenizer, the very ids that are read), which stands beside them in `key.json`. In it a safetensors file for each layer
and pooling, so that who wants one layer more has only that computed. What does not match, in key, shape or digest, is
computed again and said; a changed body or file has another key, and so is never served what was computed before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from modeledge import __version__, files
from modeledge.model.backbone import Backbone
from modeledge.records import FloatArray
from modeledge.tasks.featured import body_digest
from modeledge.tasks.states import Look, Reads
from modeledge.tokens import Tokenizer

KEY, NAME = "key.json", "states"
Compute = Callable[[Look], Mapping[str, FloatArray]]
Say = Callable[[str], None]


def read_digest(reads: Reads) -> str:
    """A digest of what is read, in its order: ids, token types, places of words."""
    digest = hashlib.blake2b(digest_size=20)
    for number, piece in enumerate(reads.pieces):
        words = None if reads.words is None else reads.words[number]
        for array in (piece.ids, piece.types, words):
            digest.update(b"-" if array is None else f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def key_of(model: Backbone, tokenizer: Tokenizer, reads: Reads, length: int) -> dict[str, Any]:
    """All that the states of these rows depend on, as plain values. The device is not among them: it changes states by
    less than the precision does."""
    return {
        "schema": 1,
        "modeledge": __version__,
        "body": body_digest(model),
        "shape": hashlib.blake2b(repr(model.config).encode(), digest_size=20).hexdigest(),
        "precision": str(model.compute).removeprefix("torch."),
        "tokenizer": tokenizer.fingerprint,
        "length": length,
        "source": reads.source,
        "rows": len(reads.pieces),
        "read": read_digest(reads),
    }


@dataclass(frozen=True)
class StateCache:
    """A folder of states; `None` keeps nothing."""

    folder: Path | None
    say: Say = print

    def states(
        self, key: Mapping[str, Any], look: Look, shape: tuple[int, int], compute: Compute
    ) -> dict[str, FloatArray]:
        """Of each pooling `[items, layers, width]`: what is kept, and of the rest what one pass computes.

        `shape` is (items, width): what is kept in another one is not believed.
        """
        here = None if self.folder is None else self._place(key)
        wanted = list(product(look.layers, look.pools))
        found = {one: states for one in wanted if here and (states := self._read(here, *one, shape)) is not None}
        missing = [one for one in wanted if one not in found]
        if missing:
            layers, pools = {layer for layer, _ in missing}, {pool for _, pool in missing}
            asked = Look(tuple(sorted(layers)), tuple(pool for pool in look.pools if pool in pools))
            computed = compute(asked)
            for layer, pool in missing:
                found[layer, pool] = computed[pool][:, asked.layers.index(layer)]
                if here:
                    self._write(here, layer, pool, found[layer, pool])
        return {pool: np.stack([found[layer, pool] for layer in look.layers], 1) for pool in look.pools}

    def missing(self, key: Mapping[str, Any], look: Look) -> int:
        """How many of the layers and poolings have no file yet."""
        here = None if self.folder is None else self._place(key)
        return sum(not (here and _file(here, *one).exists()) for one in product(look.layers, look.pools))

    def _place(self, key: Mapping[str, Any]) -> Path:
        """The folder of a key, which says what it is of; one that says otherwise is written anew."""
        assert self.folder is not None
        text = json.dumps(dict(key), sort_keys=True)
        here = self.folder / hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
        try:
            same = files.read_json(here / KEY) == dict(key)
        except (OSError, ValueError):
            same = False
        if not same:
            for path in here.glob("*.safetensors"):
                path.unlink(missing_ok=True)
            files.write_json(here / KEY, dict(key))
        return here

    def _read(self, here: Path, layer: int, pool: str, shape: tuple[int, int]) -> FloatArray | None:
        path = _file(here, layer, pool)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                told, states = file.metadata() or {}, file.get_tensor(NAME)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            self.say(f"note: {path.name} of the cached states cannot be read ({error}): computed again")
            return None
        if states.shape != shape or states.dtype != np.float32 or told.get("digest") != _digest(states):
            self.say(f"note: {path.name} of the cached states is not what was written: computed again")
            return None
        return np.asarray(states)

    def _write(self, here: Path, layer: int, pool: str, states: FloatArray) -> None:
        whole = np.ascontiguousarray(states)
        files.write_bytes(_file(here, layer, pool), save({NAME: whole}, metadata={"digest": _digest(whole)}))


def _file(here: Path, layer: int, pool: str) -> Path:
    return here / f"layer-{layer:02d}-{pool}.safetensors"


def _digest(states: FloatArray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(states).tobytes(), digest_size=20).hexdigest()

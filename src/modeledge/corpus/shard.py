"""Token shards: a tokenized corpus on disk, read by memory map, so that its size is the disk's and not the memory's.

    tokens-00000.bin …   the ids, little-endian uint16 (uint32 from 65,537 ids up), documents one after another
    NAME-00000.bin …     a channel: one small number for each token ("words": 1 where a word begins)
    documents.bin        int64 [documents + 1]: where each document starts; the last number is the token count
    documents.jsonl      the documents' ids, one JSON string a line
    MANIFEST.json        schema, counts, dtype, the tokenizer's fingerprint, each file's size and SHA-256

Files are cut every `shard_tokens` tokens, through documents where need be: where a file ends means nothing. The
`fingerprint` names the content, not the cut: the same corpus in one file or in a hundred is the same corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np

from modeledge.corpus.tape import REBUILD, Tape, TapeWriter, damaged, mapped, reopened
from modeledge.errors import ModeledgeError
from modeledge.files import MANIFEST, committed_folder, read_json, sha256, verify_folder
from modeledge.records import IntArray

SCHEMA = 1
TOKENS, OFFSETS, NAMES = "tokens", "documents.bin", "documents.jsonl"
CHANNEL_NAME = re.compile(r"(?!tokens$|documents$)[a-z][a-z_]{0,30}")
CHANNEL_TYPES = ("uint8", "uint16")


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """A document in ids `[n]`, with its id and its channels, each `[n]` too."""

    ids: IntArray
    id: str
    channels: Mapping[str, IntArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Documents in ids, one after another `[n]`, with the length and the id of each; channels are `[n]` too."""

    ids: IntArray
    lengths: IntArray
    names: Sequence[str]
    channels: Mapping[str, IntArray] = field(default_factory=dict)

    def __iter__(self) -> Iterator[TokenDocument]:
        stop = 0
        for name, length in zip(self.names, self.lengths.tolist(), strict=True):
            start, stop = stop, stop + length
            yield TokenDocument(self.ids[start:stop], name, {k: v[start:stop] for k, v in self.channels.items()})

    def name_at(self, place: int) -> str:
        """The id of the document that a token belongs to."""
        return self.names[int(np.searchsorted(np.cumsum(self.lengths), place, side="right"))]


def token_type(vocab_size: int) -> str:
    """The narrowest of the two dtypes that holds every id."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def write_shards(
    folder: Path,
    documents: Iterable[TokenDocument],
    *,
    vocab_size: int,
    tokenizer_fingerprint: str,
    channels: Mapping[str, str] | None = None,
    shard_tokens: int = 2**26,
) -> Shards:
    """Write a whole shard folder, atomically, and open it. `channels` names each channel's dtype (uint8 | uint16)."""
    manifest: dict[str, Any] = {}
    with committed_folder(folder, manifest) as temporary:
        writer = ShardWriter(
            temporary, vocab_size, tokenizer_fingerprint, channels=channels or {}, shard_tokens=shard_tokens
        )
        with writer:
            for document in documents:
                writer.add(document)
            manifest.update(writer.finish())
    return Shards.open(folder, verify=False)


class ShardWriter:
    """Writes shards into a folder that someone else commits; `finish` gives what its manifest must say.

    `checkpoint` makes durable what was added and gives a state; a writer that is given one in a folder where another
    was killed goes on after it, whatever the other wrote later.
    """

    def __init__(
        self,
        folder: Path,
        vocab_size: int,
        tokenizer_fingerprint: str,
        *,
        channels: Mapping[str, str] | None = None,
        shard_tokens: int = 2**26,
        state: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        if shard_tokens < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"shard_tokens is {shard_tokens}; a file holds at least one token")
        self._folder, self._vocab_size, self._shard_tokens = folder, vocab_size, shard_tokens
        self._tokenizer = tokenizer_fingerprint
        self._channels = dict(channels or {})
        for name, kind in self._channels.items():
            if not CHANNEL_NAME.fullmatch(name) or kind not in CHANNEL_TYPES:
                what = f"channel {name!r} of type {kind!r}"
                raise ModeledgeError("E-CONFIG-VALUE", what, remedy="use a lower-case word, and uint8 or uint16")
        kinds = {TOKENS: token_type(vocab_size), **self._channels}
        self.tokens, self.documents = state.get("tokens", 0), state.get("documents", 0)
        self._tapes = {name: TapeWriter(folder, name, kind, shard_tokens, self.tokens) for name, kind in kinds.items()}
        self._offsets = reopened(folder / OFFSETS, (self.documents + 1) * 8 if state else 0)
        self._names = reopened(folder / NAMES, state.get("names", 0))
        if not state:
            self._offsets.write(bytes(8))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._names.close()
        self._offsets.close()
        for tape in self._tapes.values():
            tape.close()

    def add(self, document: TokenDocument) -> None:
        """Append one document. Raises `E-VOCAB-SIZE`, or `E-LENGTH-MISMATCH`, `E-MISSING-FIELD`, `E-FIELD-TYPE`
        for channels that do not fit."""
        ids = np.asarray(document.ids)
        self.add_batch(TokenBatch(ids, np.array([len(ids)]), [document.id], document.channels))

    def add_batch(self, batch: TokenBatch) -> None:
        """Append documents; raises what `add` does, naming the document, and then has taken none of them."""
        ids = np.asarray(batch.ids)
        if ids.size and not (ids.min() >= 0 and ids.max() < self._vocab_size):
            place = int(ids.argmax()) if ids.max() >= self._vocab_size else int(ids.argmin())
            what = f"token id {ids[place]} is outside a vocabulary of {self._vocab_size}"
            raise ModeledgeError("E-VOCAB-SIZE", what, where=batch.name_at(place))
        channels = {name: self._channel(batch, name) for name in self._channels}
        if extra := sorted(set(batch.channels) - set(self._channels)):
            raise ModeledgeError("E-FIELD-TYPE", f"channel {extra[0]!r} was not declared", where=batch.names[0])
        self._tapes[TOKENS].write(ids)
        for name, values in channels.items():
            self._tapes[name].write(values)
        self._offsets.write((self.tokens + np.cumsum(batch.lengths)).astype("<i8").tobytes())
        self._names.write("".join(json.dumps(name) + "\n" for name in batch.names).encode())
        self.tokens, self.documents = self.tokens + len(ids), self.documents + len(batch.names)

    def checkpoint(self) -> dict[str, int]:
        """Make durable what was added; the state from which another writer goes on."""
        for file in (self._names, self._offsets):
            file.flush()
            os.fsync(file.fileno())
        for tape in self._tapes.values():
            tape.sync()
        return {"tokens": self.tokens, "documents": self.documents, "names": self._names.tell()}

    def finish(self) -> dict[str, Any]:
        """Close the files and give the manifest. Raises `E-NO-RECORDS` when there is no token at all."""
        if not self.tokens:
            raise ModeledgeError("E-NO-RECORDS", "no document with a token in it was kept")
        self.__exit__(None, None, None)
        manifest = {
            "schema": SCHEMA,
            "kind": "token shards",
            "vocab_size": self._vocab_size,
            "tokenizer": self._tokenizer,
            "dtype": token_type(self._vocab_size),
            "tokens": self.tokens,
            "documents": self.documents,
            "channels": self._channels,
            "content": {name: tape.digest.hexdigest() for name, tape in self._tapes.items()}
            | {name: sha256(self._folder / name) for name in (OFFSETS, NAMES)},
        }
        return manifest | {"fingerprint": _fingerprint(manifest), "shard_tokens": self._shard_tokens}

    def _channel(self, batch: TokenBatch, name: str) -> IntArray:
        if name not in batch.channels:
            raise ModeledgeError("E-MISSING-FIELD", f"channel {name!r} is missing", where=batch.names[0])
        values, kind = np.asarray(batch.channels[name]), self._channels[name]
        if values.shape != (len(batch.ids),):
            what = f"channel {name!r} has {values.size} values for {len(batch.ids)} tokens"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=batch.names[0])
        if values.size and not (values.min() >= 0 and values.max() <= np.iinfo(kind).max):
            place = int(values.argmin() if values.min() < 0 else values.argmax())
            raise ModeledgeError("E-FIELD-TYPE", f"channel {name!r} does not fit {kind}", where=batch.name_at(place))
        return values


class Shards:
    """A corpus on disk, opened for reading; `len()` is its number of tokens. Safe to hand to worker processes."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.vocab_size, self.tokenizer = int(manifest["vocab_size"]), str(manifest["tokenizer"])
        self.fingerprint = str(manifest["fingerprint"])
        self.channels: dict[str, str] = dict(manifest["channels"])
        self._total, cut = int(manifest["tokens"]), int(manifest["shard_tokens"])
        kinds = {TOKENS: str(manifest["dtype"]), **self.channels}
        self._tapes = {name: Tape(folder, name, kind, self._total, cut) for name, kind in kinds.items()}
        self.documents: IntArray = mapped(folder / OFFSETS, "int64", int(manifest["documents"]) + 1)
        if self.documents[0] != 0 or self.documents[-1] != self._total:
            raise damaged(folder, f"{OFFSETS} does not span the {self._total} tokens")

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> Shards:
        """Open a shard folder. `verify` reads every byte against its SHA-256; sizes are checked in any case.

        Raises `E-NO-FILE`, or `E-CHECKPOINT` that names the file which is missing, damaged or unknown.
        """
        if not folder.is_dir():
            raise ModeledgeError("E-NO-FILE", "there is no such corpus folder", where=str(folder))
        try:
            manifest = verify_folder(folder) if verify else read_json(folder / MANIFEST)
            if manifest["schema"] != SCHEMA:
                raise damaged(folder, f"{MANIFEST} has schema {manifest['schema']!r}, this version reads {SCHEMA}")
            if _fingerprint(manifest) != manifest["fingerprint"]:
                raise damaged(folder, f"{MANIFEST} was altered: its fingerprint does not fit")
            if not all(CHANNEL_NAME.fullmatch(name) for name in manifest["channels"]):
                raise ModeledgeError("E-UNSAFE-PATH", f"{MANIFEST} names an unsafe channel", where=str(folder))
            return cls(folder, manifest)
        except FileNotFoundError as error:
            raise damaged(folder, f"{Path(error.filename).name} is missing") from error
        except ModeledgeError as error:
            if error.code != "E-CHECKPOINT":
                raise
            raise ModeledgeError(error.code, error.what, where=error.where, remedy=REBUILD) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(folder, f"{MANIFEST} cannot be read ({type(error).__name__})") from error

    def __len__(self) -> int:
        return self._total

    def __reduce__(self) -> tuple[Any, ...]:
        return (Shards.open, (self.folder, False))

    def tokens(self, start: int = 0, stop: int | None = None) -> IntArray:
        """The ids of tokens `start` to `stop`, int64 `[stop - start]`, wherever the files were cut."""
        return self._tapes[TOKENS].read(start, self._total if stop is None else stop).astype(np.int64)

    def channel(self, name: str, start: int = 0, stop: int | None = None) -> IntArray:
        """A channel's values beside the same tokens, in the dtype that it is stored in."""
        self.need([name])
        return self._tapes[name].read(start, self._total if stop is None else stop)

    def need(self, names: Iterable[str]) -> None:
        """Refuse a corpus without one of these channels (`E-MISSING-FIELD`): asked before the first step."""
        if lacking := sorted(set(names) - set(self.channels)):
            wanted = ", ".join(f'"{name}"' for name in sorted({*lacking, *self.channels}))
            remedy = f"build it again with corpus.channels = [{wanted}]"
            what = f"the corpus has no channel {lacking[0]!r}"
            raise ModeledgeError("E-MISSING-FIELD", what, where=str(self.folder), remedy=remedy)

    @cached_property
    def ids(self) -> list[str]:
        """The documents' ids, read when first asked for."""
        with (self.folder / NAMES).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def document_of(self, token: int) -> str:
        """The id of the document that a token belongs to: for messages."""
        return self.ids[int(np.searchsorted(self.documents, token, side="right")) - 1]


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    """Names the content: all of the manifest but the cut into files."""
    kept = {key: value for key, value in manifest.items() if key not in ("fingerprint", "shard_tokens", "files")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:32]

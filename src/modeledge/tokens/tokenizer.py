"""Text → ids and back, around a Hugging Face `tokenizers` pipeline.

`encode` adds no special token: where they stand is the objective's business. Text that happens to contain `[MASK]` or
`<|endoftext|>` is encoded as the plain text it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.records import IntArray
from modeledge.tokens.vocabulary import from_vocabulary

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")


@dataclass(frozen=True)
class Specials:
    """The ids of special tokens by role; `None` where the tokenizer has none."""

    pad: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None

    def ids(self) -> tuple[int, ...]:
        """All of them, each once, ascending."""
        return tuple(sorted({i for i in asdict(self).values() if i is not None}))


class Tokenizer:
    """A trained tokenizer. Two with the same `fingerprint` give the same ids for every text."""

    def __init__(
        self, core: tokenizers.Tokenizer, names: dict[str, str] | None = None, notes: Sequence[str] = ()
    ) -> None:
        self._core = core
        self._core.encode_special_tokens = True
        self._core.no_truncation()
        self._core.no_padding()
        self.names = names if names is not None else _guess_names(core)
        self.notes = tuple(notes)
        self.specials = Specials(**{role: core.token_to_id(name) for role, name in self.names.items()})
        vocab = core.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocab.values()) + 1
        self.fingerprint = hashlib.sha256(self._json().encode()).hexdigest()

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """Read `tokenizer.json`, BERT's `vocab.txt`, or GPT-2's `vocab.json` + `merges.txt`, from a file or its folder.

        Raises `E-NO-FILE`, `E-TOKENIZER` (unreadable), `E-UNSAFE-FORMAT` (pickle).
        """
        file = find(Path(path))
        if file.suffix in (".pkl", ".bin", ".pt"):
            raise ModeledgeError("E-UNSAFE-FORMAT", "a tokenizer is not read from a pickle", where=str(file))
        try:
            core = (
                tokenizers.Tokenizer.from_file(str(file))
                if file.suffix == ".json" and file.name != "vocab.json"
                else from_vocabulary(file)
            )
        except ModeledgeError:
            raise
        except BaseException as error:  # the library panics with a BaseException of its own
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise ModeledgeError("E-TOKENIZER", str(error).split("\n")[0][:200], where=str(file)) from error
        return Tokenizer(core, _names_beside(file, core))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and what transformers reads beside it; the same tokenizer gives the same bytes."""
        files.write_text(folder / "tokenizer.json", self._json())
        names = {f"{role}_token": name for role, name in self.names.items()}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
        files.write_json(folder / "tokenizer_config.json", config)

    def encode(self, text: str) -> IntArray:
        """The ids of a text `[n]`, without special tokens."""
        return np.array(self._core.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """The same for many texts, on all cores."""
        coded = self._core.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(c.ids, dtype=np.int64) for c in coded]

    def encode_words(self, text: str) -> tuple[IntArray, IntArray]:
        """Ids and the number of the word that each belongs to (−1 for none), both `[n]`."""
        coded = self._core.encode(text, add_special_tokens=False)
        return np.array(coded.ids, dtype=np.int64), np.array(
            [-1 if w is None else w for w in coded.word_ids], dtype=np.int64
        )

    def decode(self, ids: Iterable[int] | IntArray, *, skip_specials: bool = True) -> str:
        """The text of ids."""
        return str(self._core.decode([int(i) for i in ids], skip_special_tokens=skip_specials))

    def token(self, id: int) -> str:
        """The piece with this id, as the tokenizer writes it."""
        token = self._core.id_to_token(id)
        if token is None:
            raise ModeledgeError("E-VOCAB-SIZE", f"id {id} is outside the {self.vocab_size} ids of the tokenizer")
        return str(token)

    def id(self, token: str) -> int | None:
        """The id of a piece, or `None`."""
        found = self._core.token_to_id(token)
        return None if found is None else int(found)

    def need(self, role: str) -> int:
        """The id of a special token that must be there (`E-SPECIAL-TOKEN`)."""
        id = getattr(self.specials, role)
        if id is None:
            raise ModeledgeError(
                "E-SPECIAL-TOKEN", f"the tokenizer has no {role} token", remedy=f"train it with a {role} token"
            )
        return int(id)

    def count_specials_in(self, text: str) -> int:
        """How often special tokens are written out in a text (they are encoded as plain text)."""
        return sum(text.count(name) for name in set(self.names.values()))

    def _json(self) -> str:
        """The pipeline as canonical JSON."""
        return json.dumps(json.loads(self._core.to_str()), indent=1, ensure_ascii=False) + "\n"


def find(path: Path) -> Path:
    """The tokenizer file at a path or in a folder (`E-NO-FILE`)."""
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.txt", "vocab.json"):
            if (path / name).is_file():
                return path / name
    if path.is_file():
        return path
    raise ModeledgeError("E-NO-FILE", "there is no tokenizer", where=str(path))


def _names_beside(file: Path, core: tokenizers.Tokenizer) -> dict[str, str]:
    """The roles that `tokenizer_config.json` names, over those that the usual spellings suggest."""
    names = _guess_names(core)
    beside = file.parent / "tokenizer_config.json"
    if beside.is_file():
        try:
            said: dict[str, Any] = files.read_json(beside)
        except ValueError as error:
            raise ModeledgeError("E-TOKENIZER", "not JSON", where=str(beside)) from error
        for role in ROLES:
            value = said.get(f"{role}_token")
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str) and core.token_to_id(value) is not None:
                names[role] = value
    return names


def _guess_names(core: tokenizers.Tokenizer) -> dict[str, str]:
    spellings = {
        "pad": ("[PAD]", "<pad>"),
        "unk": ("[UNK]", "<unk>"),
        "cls": ("[CLS]",),
        "sep": ("[SEP]",),
        "mask": ("[MASK]", "<mask>"),
        "bos": ("<|endoftext|>", "<s>"),
        "eos": ("<|endoftext|>", "</s>"),
    }
    found = {}
    for role, names in spellings.items():
        present = [name for name in names if core.token_to_id(name) is not None]
        if present:
            found[role] = present[0]
    return found

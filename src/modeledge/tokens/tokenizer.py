"""Text → ids and back, around a Hugging Face `tokenizers` pipeline.

`encode` adds no special token: where they stand is the objective's business. Text that happens to contain `[MASK]` or
`<|endoftext|>` is encoded as the plain text it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from itertools import count, groupby, takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tokenizers

from modeledge import files
from modeledge.errors import ModeledgeError, printable
from modeledge.records import IntArray
from modeledge.tokens.chat import CLOCK, Chat, ChatEncoder, Message, render
from modeledge.tokens.frame import Frame, frame_of
from modeledge.tokens.load import ADDED, FILES, ROLES, Reading, guess_names, read_tokenizer, with_told
from modeledge.tokens.plain import plain_text_only, read_back
from modeledge.tokens.sentinels import SPELLED

REPLACEMENT = "\ufffd"  # Unicode's own sign for what cannot be shown


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
    """A trained tokenizer. Two with the same `fingerprint` give the same ids for every text.

    `names` are the special tokens by role, `notes` what its training or reading had to say, `gained` what it was given
    beyond the one that was read, `vocab_size` the highest id and one, `frame` the special tokens that its family puts
    around a text, `templates` its chat templates by name.
    """

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        names: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        *,
        templates: Mapping[str, str] | None = None,
        kept: Mapping[str, bytes] | None = None,
    ) -> None:
        self._core = core
        self._core.no_truncation()
        self._core.no_padding()
        self._encoder = plain_text_only(core)
        self._chat: ChatEncoder | None = None
        self.names = dict(names) if names is not None else guess_names(core)
        self.notes = tuple(notes)
        self.gained: tuple[str, ...] = ()
        self.templates = dict(templates or {})
        self._kept = dict(kept or {})
        self.frame: Frame = frame_of(core)
        self.specials = Specials(**{role: core.token_to_id(name) for role, name in self.names.items()})
        ids = core.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1
        self._dense = len(set(ids)) == self.vocab_size
        added = core.get_added_tokens_decoder().values()
        self._literals = sorted({token.content for token in added if token.special} | set(self.names.values()))
        self.fingerprint = hashlib.sha256(self._json().encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return _sent, (self._json(), self.names, self.notes, self.templates, self._kept)

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """Read `tokenizer.json`, `vocab.txt`, `vocab.json` + `merges.txt`, or a SentencePiece `.model`, from a file or
        its folder, with the configuration beside it.

        Raises `E-NO-FILE`, `E-PERMISSION`, `E-TOKENIZER` (unreadable, or of an unknown class), `E-DUP-KEY`,
        `E-UNSAFE-FORMAT` (pickle).
        """
        read: Reading = read_tokenizer(Path(path))
        return Tokenizer(read.core, read.names, read.notes, templates=read.templates, kept=read.kept)

    def save(self, folder: Path) -> None:
        """Write the files that were read, bit for bit, and those that transformers needs beside them.

        A tokenizer that was read from a vocabulary gets a `tokenizer.json`, one without a `tokenizer_config.json`
        that file. The same tokenizer gives the same bytes.
        """
        for name, data in self._kept.items():
            files.write_bytes(folder / name, data)
        if "tokenizer.json" not in self._kept:
            files.write_text(folder / "tokenizer.json", self._json())
        if "tokenizer_config.json" not in self._kept:
            names = {f"{role}_token": self.names.get(role) for role in ROLES}
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
            files.write_json(folder / "tokenizer_config.json", config)

    def pipeline(self) -> str:
        """The whole pipeline as canonical JSON."""
        return self._json()

    def with_pipeline(self, core: tokenizers.Tokenizer, roles: Mapping[str, str] = MappingProxyType({})) -> Tokenizer:
        """Another pipeline under the same names, templates and settings, `roles` beside them; files of the old
        vocabulary are let go."""
        kept = {name: data for name, data in self._kept.items() if name not in (*FILES, "merges.txt", ADDED)}
        added = {id: token for id, token in core.get_added_tokens_decoder().items() if id >= self.vocab_size}
        kept, names = with_told(kept, roles, added), {**self.names, **roles}
        return Tokenizer(core, names, self.notes, templates=self.templates, kept=kept)

    def encode(self, text: str) -> IntArray:
        """The ids of a text `[n]`, without special tokens.

        Raises `E-SURROGATE` for half a surrogate pair, `E-SPECIAL-TOKEN` where an unknown word meets no unk token.
        """
        return np.array(self._coded(text).ids, dtype=np.int64)

    def encode_spans(self, text: str) -> tuple[IntArray, IntArray]:
        """The ids `[n]`, and from which to which character of the text each stands for, `[n, 2]`."""
        coded = self._coded(text)
        return np.array(coded.ids, dtype=np.int64), np.array(coded.offsets, dtype=np.int64).reshape(-1, 2)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """The same for many texts, on all cores."""
        try:
            coded = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        except BaseException as error:
            raise self._refused(texts, error) from error
        return [np.array(c.ids, dtype=np.int64) for c in coded]

    def encode_spans_batch(self, texts: Sequence[str]) -> list[tuple[IntArray, IntArray]]:
        """`encode_spans` of many texts, on all cores."""
        try:
            coded = self._encoder.encode_batch(list(texts), add_special_tokens=False)
        except BaseException as error:
            raise self._refused(texts, error) from error
        return [(np.array(c.ids, dtype=np.int64), np.array(c.offsets, dtype=np.int64).reshape(-1, 2)) for c in coded]

    def encode_words(self, text: str) -> tuple[IntArray, IntArray]:
        """Ids and the number of the word that each belongs to (−1 for none), both `[n]`."""
        coded = self._coded(text)
        words = [-1 if word is None else word for word in coded.word_ids]
        return np.array(coded.ids, dtype=np.int64), np.array(words, dtype=np.int64)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        template: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        now: datetime = CLOCK,
    ) -> Chat:
        """A conversation as ids, and who said which, by the tokenizer's own template or the one given.

        Text of messages that looks like a special token is plain text. Raises `E-CHAT`, `E-TEMPLATE`, `E-EXTRA`.
        """
        chosen = "tool_use" if tools and "tool_use" in self.templates else "default"
        source = template if template is not None else self.templates.get(chosen)
        if source is None:
            raise ModeledgeError("E-TEMPLATE", "the tokenizer has no chat template", remedy="pass template=")
        specials = {f"{role}_token": name for role, name in self.names.items()}
        asked = {**({} if tools is None else {"tools": list(tools)}), **(variables or {})}
        prompt = add_generation_prompt
        text = render(source, messages, specials=specials, add_generation_prompt=prompt, variables=asked, now=now)
        check_text(str.__str__(text), 0)
        self._chat = self._chat or ChatEncoder(self._core)
        return self._chat.encode(text, [str(message["role"]) for message in messages])

    def decode(self, ids: Iterable[int] | IntArray, *, skip_specials: bool = True) -> str:
        """The text of ids. Runs of ids that are no token's (a model may have spare rows) become one U+FFFD each."""
        parts = []
        for known, run in groupby((int(i) for i in ids), self._knows):
            parts.append(self._core.decode(list(run), skip_special_tokens=skip_specials) if known else REPLACEMENT)
        return "".join(parts)

    def token(self, id: int) -> str:
        """The piece with this id, as the tokenizer writes it (`E-VOCAB-SIZE` where there is none)."""
        if not self._knows(id):
            raise ModeledgeError("E-VOCAB-SIZE", f"id {id} is none of the {self.vocab_size} ids of the tokenizer")
        return str(self._core.id_to_token(id))

    @cached_property
    def byte_level(self) -> bool:
        """Is each character of a piece one byte of text?"""
        decoder = json.loads(self._core.to_str())["decoder"]
        return decoder is not None and decoder["type"] == "ByteLevel"

    def piece_bytes(self, id: int) -> int:
        """The bytes of text that one id of a byte-level tokenizer stands for."""
        assert self.byte_level, "pieces of other tokenizers have no bytes of their own"
        added = self._added.get(id)
        if added is not None:
            return 0 if added.special else len(added.content.encode())
        return len(self.token(id)) if id not in self.specials.ids() else 0

    @cached_property
    def _added(self) -> dict[int, tokenizers.AddedToken]:
        return dict(self._core.get_added_tokens_decoder())

    def id(self, token: str) -> int | None:
        """The id of a piece, or `None`."""
        found = self._core.token_to_id(token)
        return None if found is None else int(found)

    @property
    def sentinels(self) -> tuple[int, ...]:
        """The ids of `<extra_id_0>`, `<extra_id_1>` and so on, as many as there are without a gap."""
        ids = (self.id(SPELLED.format(number)) for number in count())
        return tuple(id for id in takewhile(lambda id: id is not None, ids) if id is not None)

    def need(self, role: str) -> int:
        """The id of a special token that must be there (`E-SPECIAL-TOKEN`)."""
        assert role in ROLES, role
        id = getattr(self.specials, role)
        if id is None:
            remedy = f"train it with one, or pre-train with tokenizer.specials.{role}, which adds it"
            raise ModeledgeError("E-SPECIAL-TOKEN", f"the tokenizer has no {role} token", remedy=remedy)
        return int(id)

    def count_specials_in(self, text: str) -> int:
        """How often special tokens are written out in a text (they are encoded as plain text)."""
        return sum(text.count(name) for name in self._literals)

    def _coded(self, text: str) -> tokenizers.Encoding:
        try:
            return self._encoder.encode(text, add_special_tokens=False)
        except BaseException as error:
            raise self._refused([text], error) from error

    def _refused(self, texts: Sequence[object], error: BaseException) -> ModeledgeError:
        """The error for what the library did not take: a text that is none, or one that needs an unk token. It panics
        with a BaseException of its own."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        try:
            for number, text in enumerate(texts):
                check_text(text, number)
        except ModeledgeError as found:
            return found
        code = "E-TOKENIZER" if self.specials.unk is not None else "E-SPECIAL-TOKEN"
        return ModeledgeError(code, f"a text cannot be encoded ({printable(str(error))})")

    def _knows(self, id: int) -> bool:
        return 0 <= id < self.vocab_size and (self._dense or self._core.id_to_token(id) is not None)

    def _json(self) -> str:
        """The pipeline as canonical JSON."""
        return json.dumps(json.loads(self._core.to_str()), indent=1, ensure_ascii=False) + "\n"


def _sent(
    pipeline: str,
    names: Mapping[str, str],
    notes: Sequence[str],
    templates: Mapping[str, str],
    kept: Mapping[str, bytes],
) -> Tokenizer:
    """A tokenizer as it arrives in another process: the same ids for every text."""
    return Tokenizer(read_back(json.loads(pipeline)), names, notes, templates=templates, kept=kept)


def check_text(text: object, number: int) -> None:
    """Raise the error for what the library cannot encode: `E-FIELD-TYPE`, `E-SURROGATE`."""
    where = f"text {number + 1}"
    if not isinstance(text, str):
        raise ModeledgeError("E-FIELD-TYPE", f"{type(text).__name__} is not a string", where=where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"U+{ord(text[error.start]):04X} is half a surrogate pair"
        raise ModeledgeError("E-SURROGATE", what, where=f"{where}, character {error.start + 1}") from error

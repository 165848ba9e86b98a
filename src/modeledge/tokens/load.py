"""Reading tokenizers of others: the pipeline, which of its tokens plays which role, and every byte, to write it again.

`tokenizer.json` is the whole pipeline. Older checkpoints have a vocabulary instead (`vocabulary.py` knows what its
class makes of it). Beside either lie small files, the later of which win: `special_tokens_map.json`,
`added_tokens.json`, `tokenizer_config.json`. Keys that would make another library run code (`auto_map`) are kept in
the file and mean nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from modeledge.errors import ModeledgeError, printable
from modeledge.tokens.vocabulary import CLASSES, MODEL_TYPES, from_vocabulary

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
MODELS = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model", "sentencepiece.model")
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", *MODELS)
ADDED = "added_tokens.json"
CONFIGS = ("special_tokens_map.json", ADDED, "tokenizer_config.json")
BY_ID = "added_tokens_decoder"  # of tokenizer_config.json
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
PICKLES = (".pkl", ".pickle", ".bin", ".pt", ".pth")
PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # pickle protocol 2 and later; the zip archive of torch.save
LARGEST, LARGEST_BESIDE = 512 << 20, 64 << 20  # bytes; the largest published tokenizer.json has 34 MB
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


@dataclass(frozen=True)
class Reading:
    """A tokenizer as it was read: `templates` are its chat templates by name, `kept` the files' bytes."""

    core: tokenizers.Tokenizer
    names: dict[str, str]
    notes: tuple[str, ...] = ()
    templates: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict)


def read_tokenizer(path: Path) -> Reading:
    """The tokenizer in a file or folder, with what lies beside it."""
    file = find(path)
    data = _bytes(file, LARGEST)
    if file.suffix.lower() in PICKLES or data.startswith(PICKLE_STARTS):
        remedy = "export tokenizer.json where it was made"
        raise ModeledgeError("E-UNSAFE-FORMAT", "a pickle is not read", where=str(file), remedy=remedy)
    kept = {_standard(file): data} | _files_beside(file)
    said = {name: _object(file.with_name(name), kept[name]) for name in CONFIGS if name in kept}
    config = said.get("special_tokens_map.json", {}) | said.get("tokenizer_config.json", {})
    name = _class(file, config)
    try:
        if file.suffix == ".json" and file.name != "vocab.json":
            _object(file, data)
            core = tokenizers.Tokenizer.from_buffer(data)
        else:
            core = from_vocabulary(file, config, name)
        _add_tokens(core, config, said.get("added_tokens.json", {}))
        names, notes = _names(core, config, name)
        templates = _templates(file, config, kept)
    except ModeledgeError as error:
        raise (
            error
            if error.where
            else ModeledgeError(error.code, error.what, where=str(file), why=error.why, remedy=error.remedy)
        ) from error
    except BaseException as error:  # the library panics with a BaseException of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        why = printable(str(error).split("\n")[0])
        raise ModeledgeError("E-TOKENIZER", why or type(error).__name__, where=str(file)) from error
    return Reading(core, names, tuple(notes), templates, kept)


def find(path: Path) -> Path:
    """The tokenizer file at a path or in a folder (`E-NO-FILE`)."""
    for name in FILES:
        if (path / name).is_file():
            return path / name
    if path.is_file():
        return path
    what = f"none of {', '.join(FILES)} is here" if path.is_dir() else "there is no such file or folder"
    raise ModeledgeError("E-NO-FILE", what, where=str(path))


def guess_names(core: tokenizers.Tokenizer) -> dict[str, str]:
    """The roles that the usual spellings suggest."""
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


def with_told(kept: Mapping[str, bytes], roles: Mapping[str, str], added: Mapping[int, AddedToken]) -> dict[str, bytes]:
    """The files of a tokenizer that has more special tokens, where these files say which there are: their roles, and
    in `added_tokens_decoder` each by its id, where transformers believes that there are no others."""
    out = dict(kept)
    for file in (name for name in CONFIGS if name != ADDED and name in kept and (roles or added)):
        tree = json.loads(kept[file]) | {f"{role}_token": token for role, token in roles.items()}
        if isinstance(tree.get(BY_ID), dict):
            tree[BY_ID] |= {str(id): _row(token) for id, token in added.items()}
        out[file] = (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()
    return out


def _row(token: AddedToken) -> dict[str, Any]:
    return {"content": token.content, **{flag: getattr(token, flag) for flag in FLAGS}, "special": token.special}


# ---- files


def _bytes(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        code = "E-PERMISSION" if isinstance(error, PermissionError) else "E-READ"
        raise ModeledgeError(code, error.strerror or str(error), where=str(file)) from error
    if len(data) > limit:
        raise ModeledgeError("E-CONFIG-UNSAFE", f"more than {limit:,} bytes", where=str(file))
    return data


def _standard(file: Path) -> str:
    """The name under which other libraries look for a file of this kind."""
    if file.name in FILES:
        return file.name
    return {".json": "tokenizer.json", ".txt": "vocab.txt", ".model": "tokenizer.model"}.get(file.suffix, file.name)


def _files_beside(file: Path) -> dict[str, bytes]:
    """What belongs to a tokenizer file; other vocabularies only where it has a standard name itself."""
    names = [*CONFIGS, TEMPLATE, *((*FILES, "merges.txt") if file.name in FILES else ())]
    found = [file.with_name(name) for name in names if name != file.name]
    paths = {path.name: path for path in found if path.is_file()}
    more = file.with_name(MORE_TEMPLATES)
    if more.is_dir():
        paths |= {f"{MORE_TEMPLATES}/{path.name}": path for path in sorted(more.glob("*.jinja")) if path.is_file()}
    return {name: _bytes(path, LARGEST_BESIDE) for name, path in paths.items()}


def _object(file: Path, data: bytes) -> dict[str, Any]:
    """A JSON object in which no key stands twice: readers disagree about which one counts."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            seen = set[str]()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ModeledgeError("E-DUP-KEY", f"the key {printable(twice)!r} occurs twice", where=str(file))
        return value

    try:
        value = json.loads(data, object_pairs_hook=once)
    except ModeledgeError:
        raise
    except (ValueError, RecursionError) as error:
        what = f"it is not a JSON object ({printable(str(error))})"
        raise ModeledgeError("E-TOKENIZER", what, where=str(file)) from error
    if not isinstance(value, dict):
        raise ModeledgeError("E-TOKENIZER", "it is not a JSON object", where=str(file))
    return value


def _class(file: Path, config: Mapping[str, Any]) -> str | None:
    """The tokenizer class that the folder names, without the suffix of its fast twin."""
    name, beside = config.get("tokenizer_class"), file.with_name("config.json")
    if not isinstance(name, str) and beside.is_file():
        model = _object(beside, _bytes(beside, LARGEST_BESIDE))
        name = model.get("tokenizer_class") or MODEL_TYPES.get(str(model.get("model_type")))
    if not isinstance(name, str) or name.startswith(("PreTrainedTokenizer", "TokenizersBackend")):
        return None
    return name.removesuffix("Fast")


def _templates(file: Path, config: Mapping[str, Any], kept: Mapping[str, bytes]) -> dict[str, str]:
    """The chat templates by name; one without a name is the default."""
    said, found = config.get("chat_template"), dict[str, str]()
    if isinstance(said, str):
        found["default"] = said
    elif isinstance(said, list) and all(isinstance(row, dict) for row in said):
        found = {str(row.get("name")): str(row.get("template")) for row in said}
    elif said is not None:
        raise ModeledgeError("E-TEMPLATE", "chat_template is no text", where=str(file.with_name(CONFIGS[2])))
    for name, data in kept.items():
        if name.endswith(".jinja"):
            found["default" if name == TEMPLATE else Path(name).stem] = data.decode()
    return found


# ---- special tokens


def _add_tokens(core: tokenizers.Tokenizer, config: Mapping[str, Any], added: Mapping[str, Any]) -> None:
    """Add the tokens that only the side files know, under the ids that these say; make those with a role special."""
    there = core.get_added_tokens_decoder()
    known = {token.content for token in there.values()}
    rows = config.get(BY_ID, {})
    told: dict[int, dict[str, Any]] = {id: {"content": token, "special": True} for token, id in added.items()}
    told |= {int(id): dict(row) for id, row in rows.items()}
    for id, row in sorted(told.items()):
        _add(core, row, known)
        if core.token_to_id(row["content"]) != id:
            what = f"{printable(row['content'])!r} is said to have id {id} and has {core.token_to_id(row['content'])}"
            raise ModeledgeError("E-TOKENIZER", what, why="added tokens come right behind the vocabulary")
    more = [config.get("additional_special_tokens"), config.get("extra_special_tokens")]
    listed = [row for rows in more for row in (rows.values() if isinstance(rows, dict) else rows or ())]
    for row in [*(config.get(f"{role}_token") for role in ROLES), *listed]:
        row = {"content": row} if isinstance(row, str) else row
        if isinstance(row, dict) and core.token_to_id(row.get("content", "")) is not None:
            _add(core, row | {"special": True}, known)


def _add(core: tokenizers.Tokenizer, row: Mapping[str, Any], known: set[str]) -> None:
    if row["content"] not in known:
        known.add(row["content"])
        flags = {flag: row[flag] for flag in FLAGS if flag in row}
        token = AddedToken(row["content"], special=bool(row.get("special")), **flags)
        core.add_special_tokens([token]) if row.get("special") else core.add_tokens([token])


def _names(core: tokenizers.Tokenizer, config: Mapping[str, Any], name: str | None) -> tuple[dict[str, str], list[str]]:
    """The roles that the configuration names, over those of the class, or where no class is known those that the usual
    spellings suggest; null takes a role away. And a note for each token that is named and has no id."""
    layout = CLASSES.get(name) if name is not None else None
    roles = {role: n for role, n in layout.roles.items() if core.token_to_id(n) is not None} if layout else {}
    names, notes = roles or guess_names(core), []
    for role in ROLES:
        key = f"{role}_token"
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str) and core.token_to_id(value) is not None:
            names[role] = value
        elif isinstance(value, str):
            notes.append(f"{key} is {printable(value)!r}, which has no id: it plays no role")
        elif key in config and value is None:
            names.pop(role, None)
    return {role: names[role] for role in ROLES if role in names}, notes

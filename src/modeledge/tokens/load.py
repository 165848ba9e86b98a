"""Reading tokenizers of others: the pipeline, and which of its tokens plays which role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from modeledge import files
from modeledge.errors import ModeledgeError, printable
from modeledge.tokens.vocabulary import from_vocabulary

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
PICKLES = (".pkl", ".pickle", ".bin", ".pt", ".pth")
PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # pickle protocol 2 and later; the zip archive of torch.save


def read_tokenizer(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The pipeline in a file or folder, and the names of its special tokens by role."""
    file = find(path)
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        code = "E-PERMISSION" if isinstance(error, PermissionError) else "E-READ"
        raise ModeledgeError(code, error.strerror or str(error), where=str(file)) from error
    if file.suffix.lower() in PICKLES or start.startswith(PICKLE_STARTS):
        remedy = "export tokenizer.json where it was made"
        raise ModeledgeError("E-UNSAFE-FORMAT", "a pickle is not read", where=str(file), remedy=remedy)
    said = _config_beside(file)
    try:
        if file.suffix == ".json" and file.name != "vocab.json":
            core = tokenizers.Tokenizer.from_file(str(file))
        else:
            core = from_vocabulary(file, said)
    except ModeledgeError:
        raise
    except BaseException as error:  # the library panics with a BaseException of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        why = printable(str(error).split("\n")[0])
        raise ModeledgeError("E-TOKENIZER", why or type(error).__name__, where=str(file)) from error
    return core, _names(core, said)


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


def _config_beside(file: Path) -> dict[str, Any]:
    """What `tokenizer_config.json` says, over the older `special_tokens_map.json`."""
    said: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        beside = file.parent / name
        if beside.is_file() and beside != file:
            try:
                said |= files.read_json(beside)
            except (ValueError, TypeError, RecursionError) as error:
                raise ModeledgeError("E-TOKENIZER", "it is not a JSON object", where=str(beside)) from error
    return said


def _names(core: tokenizers.Tokenizer, said: dict[str, Any]) -> dict[str, str]:
    """The roles that the configuration names, over those that the usual spellings suggest; null takes a role away."""
    names = guess_names(core)
    for role in ROLES:
        key = f"{role}_token"
        value = said.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str) and core.token_to_id(value) is not None:
            names[role] = value
        elif key in said and value is None:
            names.pop(role, None)
    return names

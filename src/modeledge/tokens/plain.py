"""Text stays text: no text can reach a special token.

The library can be told not to look for special tokens in a text. That is enough where the pieces of a model cannot
spell one (`[MASK]` is split at its brackets), but Unigram and whole-word models hold their special tokens among their
pieces, with the best score of all: `</s>` in a web page would end the text for a T5 tokenizer.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import tokenizers
from tokenizers import models


def plain_text_only(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The pipeline to encode with: `core` itself, or where its model can spell a special token, a copy that cannot.

    In the copy the special tokens keep their ids under names that no text holds, so every other piece is found as
    before. It is for encoding only.
    """
    core.encode_special_tokens = True
    names = {token.content: id for id, token in core.get_added_tokens_decoder().items() if token.special}
    spelled = [
        name for name, id in names.items() for text in (name, f"a {name} a", f"a{name}a") if _reached(core, text, id)
    ]
    if not spelled:
        return core
    copy, _ = renamed(core)
    copy.encode_special_tokens = True
    return copy


def renamed(core: tokenizers.Tokenizer) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """A copy whose special tokens, with their old ids, have names that no text holds; and the new name of each."""
    mark = uuid4().hex
    names = {t.content: f"\U0010ffff{mark}{id};" for id, t in core.get_added_tokens_decoder().items() if t.special}
    return read_back(_renamed(json.loads(core.to_str()), names)), names


def read_back(tree: dict[str, Any]) -> tokenizers.Tokenizer:
    """A pipeline out of its JSON, exactly: the library reads the last digit of a score inexactly, and ties show it."""
    core, model = tokenizers.Tokenizer.from_str(json.dumps(tree)), tree["model"]
    if isinstance(model["vocab"], list):
        scores = [(piece, score) for piece, score in model["vocab"]]
        core.model = models.Unigram(scores, unk_id=model["unk_id"], byte_fallback=model.get("byte_fallback", False))
    return core


def _reached(core: tokenizers.Tokenizer, text: str, id: int) -> bool:
    """Does a text become this token? A model without an unk token cannot encode every one of our probes."""
    try:
        return id in core.encode(text, add_special_tokens=False).ids
    except BaseException as error:  # the library panics with a BaseException of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return False


def _renamed(tree: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The pipeline's JSON with other names for the special tokens, and without the merges that spell them."""
    model = tree["model"]

    def new(name: str) -> str:
        return names.get(name, name)

    if isinstance(model["vocab"], dict):
        model["vocab"] = {new(piece): id for piece, id in model["vocab"].items()}
    else:
        model["vocab"] = [[new(piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token"):
        model["unk_token"] = new(model["unk_token"])
    if model.get("merges"):
        pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
        model["merges"] = [[a, b] for a, b in pairs if a not in names and b not in names and a + b not in names]
    for token in tree["added_tokens"]:
        if token["special"]:
            token |= {"content": new(token["content"]), "normalized": False}
    tree["post_processor"] = None
    return tree

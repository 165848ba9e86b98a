"""Pipelines out of the vocabulary files of older checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from modeledge.errors import ModeledgeError


def from_vocabulary(file: Path, said: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """BERT's `vocab.txt` as WordPiece, GPT-2's `vocab.json` with `merges.txt` beside it as byte-level BPE.

    Whether BERT lowercases is what `said`, its `tokenizer_config.json`, says (`do_lower_case`); where it says nothing,
    a vocabulary with a capital letter is taken for a cased one.
    """
    if file.name == "vocab.json":
        merges = file.with_name("merges.txt")
        if not merges.is_file():
            raise ModeledgeError("E-NO-FILE", "vocab.json needs merges.txt beside it", where=str(merges))
        core = tokenizers.Tokenizer(models.BPE.from_file(str(file), str(merges)))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        if core.token_to_id("<|endoftext|>") is not None:
            core.add_special_tokens(["<|endoftext|>"])
        return core
    if file.suffix == ".txt":
        core = tokenizers.Tokenizer(
            models.WordPiece.from_file(str(file), unk_token="[UNK]", max_input_chars_per_word=100)
        )
        lines = file.read_text(encoding="utf-8").split("\n")
        cased = any(line != line.lower() for line in lines if not line.startswith("["))
        wordpiece_parts(core, lowercase=bool(said.get("do_lower_case", not cased)))
        core.add_special_tokens(
            [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if core.token_to_id(t) is not None]
        )
        return core
    raise ModeledgeError("E-TOKENIZER", f"{file.suffix or 'no suffix'} is not a tokenizer file", where=str(file))


def wordpiece_parts(core: tokenizers.Tokenizer, *, lowercase: bool) -> None:
    """BERT's normaliser, pre-tokenizer and decoder around a WordPiece model (Devlin et al. 2019)."""
    core.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##")

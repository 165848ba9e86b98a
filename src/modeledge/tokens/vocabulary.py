"""Pipelines out of the vocabulary files of older checkpoints.

A `vocab.txt`, a `vocab.json` or a `.model` holds pieces, not how text is cut before them: that is the knowledge of a
tokenizer class, named by `tokenizer_config.json` or by the model type of `config.json`. `CLASSES` is the table of those
known here, each with the roles that its special tokens have unless the files say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.tokens import spm
from modeledge.tokens.sentencepiece import parse
from modeledge.tokens.spm import Said, text

WORDPIECE, BYTE_PAIRS, SENTENCEPIECE = "vocab.txt", "vocab.json", "a SentencePiece model"
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Layout:
    """One tokenizer class: the kind of file it reads, the pipeline it makes of it, and its tokens by role."""

    reads: str
    build: Callable[[Any, Said], tokenizers.Tokenizer]
    roles: Mapping[str, str]


def from_vocabulary(file: Path, said: Said, name: str | None) -> tokenizers.Tokenizer:
    """The pipeline of a vocabulary file for the tokenizer class `name`; `None` is read by the file alone.

    Alone, `vocab.txt` is BERT's (with a capital letter in it a cased one), `vocab.json` GPT-2's, and a SentencePiece
    model does what it says itself. Raises `E-TOKENIZER` for a class that is not known, or reads another kind of file.
    """
    if file.name == "vocab.json":
        kind = BYTE_PAIRS
    elif file.suffix in (".txt", ".model"):
        kind = WORDPIECE if file.suffix == ".txt" else SENTENCEPIECE
    else:
        raise ModeledgeError("E-TOKENIZER", f"{file.suffix or 'no suffix'} is not a tokenizer file", where=str(file))
    layout = CLASSES.get(name) if name is not None else ALONE[kind]
    if layout is None or layout.reads != kind:
        known = [known for known, row in CLASSES.items() if row.reads == kind]
        what = f"how {printable(str(name))} cuts text around {kind} is not known"
        remedy = f"make its tokenizer.json with the library that wrote it; {nearest(str(name), known)}"
        raise ModeledgeError("E-TOKENIZER", what, where=str(file), remedy=remedy)
    said = {f"{role}_token": spelling for role, spelling in layout.roles.items()} | dict(said)
    if kind != SENTENCEPIECE:
        return layout.build(file, said)
    return _settled(layout.build(parse(file.read_bytes()), said))


def _settled(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The pipeline that its own `tokenizer.json` gives back. The library reads a score's last digit inexactly, and
    scores that differ in their last bit break ties differently: what is loaded now and what is loaded after it was
    saved must be the same tokenizer."""
    text = core.to_str()
    for _ in range(9):
        core = tokenizers.Tokenizer.from_str(text)
        before, text = text, core.to_str()
        if before == text:
            break
    return core


# ---- WordPiece


def wordpiece_parts(
    core: tokenizers.Tokenizer, *, lowercase: bool, chinese: bool = True, strip_accents: bool | None = None
) -> None:
    """BERT's normaliser, pre-tokenizer and decoder around a WordPiece model (Devlin et al. 2019)."""
    core.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, handle_chinese_chars=chinese, strip_accents=strip_accents
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##")


def _bert(file: Path, said: Said) -> tokenizers.Tokenizer:
    if said.get("do_basic_tokenize", True) is not True:
        raise ModeledgeError("E-TOKENIZER", "do_basic_tokenize is false, which is not supported", where=str(file))
    unk = text(said, "unk") or "[UNK]"
    core = tokenizers.Tokenizer(models.WordPiece.from_file(str(file), unk_token=unk, max_input_chars_per_word=100))
    lines = file.read_text(encoding="utf-8").split("\n")
    cased = any(line != line.lower() for line in lines if not line.startswith("["))
    wordpiece_parts(
        core,
        lowercase=bool(said.get("do_lower_case", not cased)),
        chinese=bool(said.get("tokenize_chinese_chars", True)),
        strip_accents=said.get("strip_accents"),
    )
    spm.add_roles(core, said, "pad", "unk", "cls", "sep", "mask")
    spm.frame(core, said, "cls $A sep", "cls $A sep $B:1 sep:1")
    return core


# ---- pairs of bytes


def _pairs(file: Path, **options: Any) -> tokenizers.Tokenizer:
    merges = file.with_name("merges.txt")
    if not merges.is_file():
        raise ModeledgeError("E-NO-FILE", "vocab.json needs merges.txt beside it", where=str(merges))
    return tokenizers.Tokenizer(models.BPE.from_file(str(file), str(merges), **options))


def _gpt2(file: Path, said: Said) -> tokenizers.Tokenizer:
    """Radford et al. 2019; with `add_bos_token` it is OPT's."""
    core = _pairs(file)
    if any(piece.endswith("</w>") for piece in core.get_vocab()):
        what = "its pieces mark the ends of words (</w>): it is CLIP's or GPT-1's, not GPT-2's"
        remedy = "name its tokenizer_class in tokenizer_config.json"
        raise ModeledgeError("E-TOKENIZER", what, where=str(file), remedy=remedy)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(said.get("add_prefix_space", False)))
    core.decoder = decoders.ByteLevel()
    spm.add_roles(core, said, "unk", "bos", "eos", "pad")
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    if said.get("add_bos_token"):
        spm.frame(core, said, "bos $A", "bos $A bos:1 $B:1")
    return core


def _alone(file: Path, said: Said) -> tokenizers.Tokenizer:
    """GPT-2's, where no class is named: every special token of the usual spelling that it has."""
    core = _gpt2(file, {k: v for k, v in said.items() if k != "add_bos_token"})
    usual = ("<|endoftext|>", "<s>", "</s>", "<pad>", "<unk>", "<mask>")
    core.add_special_tokens([token for token in usual if core.token_to_id(token) is not None])
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    return core


def _roberta(file: Path, said: Said) -> tokenizers.Tokenizer:
    """Liu et al. 2019; BART's is the same. Two separators stand between a pair."""
    core, prefix = _pairs(file), bool(said.get("add_prefix_space", False))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    core.decoder = decoders.ByteLevel()
    spm.add_roles(core, said, "bos", "eos", "sep", "cls", "unk", "pad", "mask")
    _between(core, said, ("sep", "cls"), bool(said.get("trim_offsets", True)), prefix)
    return core


def _qwen2(file: Path, said: Said) -> tokenizers.Tokenizer:
    core = _pairs(file)
    core.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated", invert=False)
    prefix = bool(said.get("add_prefix_space", False))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    spm.add_roles(core, said, "unk", "bos", "eos", "pad", missing=True)
    return core


def _clip(file: Path, said: Said) -> tokenizers.Tokenizer:
    """Radford et al. 2021: lower case, white space as one space, `</w>` at the end of a word."""
    core = _pairs(file, end_of_word_suffix="</w>", unk_token=text(said, "unk"))
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True)
    core.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    core.decoder = decoders.ByteLevel()
    spm.add_roles(core, said, "unk", "bos", "eos", "pad")
    _between(core, said, ("eos", "bos"), False, False)
    return core


def _gpt1(file: Path, said: Said) -> tokenizers.Tokenizer:
    """Radford et al. 2018: BERT's cutting and lower case under pairs of characters."""
    core = _pairs(file, end_of_word_suffix="</w>", unk_token=text(said, "unk"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.BPEDecoder(suffix="</w>")
    spm.add_roles(core, said, "unk")
    return core


def _between(core: tokenizers.Tokenizer, said: Said, roles: tuple[str, str], trim: bool, prefix: bool) -> None:
    """RoBERTa's post-processor, with the tokens of two roles behind and before a text, where there are such."""
    names = [text(said, role) for role in roles]
    last, first = (core.token_to_id(name) for name in names)
    if last is not None and first is not None:
        core.post_processor = processors.RobertaProcessing((names[0], last), (names[1], first), trim, prefix)


# ---- the table

BERT_ROLES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
END = "<|endoftext|>"
T5_ROLES = {"pad": "<pad>", "unk": "<unk>", "eos": "</s>"}
ROBERTA_ROLES = {**T5_ROLES, "bos": "<s>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
ALBERT_ROLES = {**BERT_ROLES, "pad": "<pad>", "unk": "<unk>", "bos": "[CLS]", "eos": "[SEP]"}
DEBERTA_ROLES = {**BERT_ROLES, "bos": "[CLS]", "eos": "[SEP]"}
CLIP_ROLES = {"unk": END, "bos": "<|startoftext|>", "eos": END, "pad": END}

_BERT = Layout(WORDPIECE, _bert, BERT_ROLES)
_ROBERTA = Layout(BYTE_PAIRS, _roberta, ROBERTA_ROLES)
CLASSES: dict[str, Layout] = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "GPT2Tokenizer": Layout(BYTE_PAIRS, _gpt2, {"unk": END, "bos": END, "eos": END}),
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "Qwen2Tokenizer": Layout(BYTE_PAIRS, _qwen2, {"unk": END, "eos": END, "pad": END}),
    "CLIPTokenizer": Layout(BYTE_PAIRS, _clip, CLIP_ROLES),
    "OpenAIGPTTokenizer": Layout(BYTE_PAIRS, _gpt1, {"unk": "<unk>"}),
    "T5Tokenizer": Layout(SENTENCEPIECE, spm.t5, T5_ROLES),
    "AlbertTokenizer": Layout(SENTENCEPIECE, spm.albert, ALBERT_ROLES),
    "XLMRobertaTokenizer": Layout(SENTENCEPIECE, spm.xlm_roberta, ROBERTA_ROLES),
    "MBartTokenizer": Layout(SENTENCEPIECE, spm.mbart, ROBERTA_ROLES),
    "MBart50Tokenizer": Layout(SENTENCEPIECE, spm.mbart50, {**ROBERTA_ROLES, "bos": "<s>"}),
    "DebertaV2Tokenizer": Layout(SENTENCEPIECE, spm.deberta, DEBERTA_ROLES),
    "LlamaTokenizer": Layout(SENTENCEPIECE, spm.llama, {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}),
}
ALONE = {
    WORDPIECE: _BERT,
    BYTE_PAIRS: Layout(BYTE_PAIRS, _alone, {}),
    SENTENCEPIECE: Layout(SENTENCEPIECE, spm.alone, {}),
}
MODEL_TYPES = {
    "albert": "AlbertTokenizer",
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "clip": "CLIPTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "gpt2": "GPT2Tokenizer",
    "llama": "LlamaTokenizer",
    "mbart": "MBartTokenizer",
    "mistral": "LlamaTokenizer",
    "mt5": "T5Tokenizer",
    "openai-gpt": "OpenAIGPTTokenizer",
    "opt": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}

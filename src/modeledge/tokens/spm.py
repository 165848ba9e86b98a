"""What each family makes of a SentencePiece model: other ids for the special tokens, other cutting, other ends.

fairseq's dictionaries begin `<s> <pad> </s> <unk>` where SentencePiece has `<unk> <s> </s>`, so XLM-R and mBART count
every piece one higher. T5 adds its sentinels behind the vocabulary, the last one first. ALBERT would rather not use a
piece that glues a comma to a digit. Llama keeps every space and spells unknown characters as bytes. The pipelines are
those that the published `tokenizer.json` of each family holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from modeledge.errors import ModeledgeError
from modeledge.tokens.sentencepiece import BPE, CONTROL, SPACE, UNKNOWN, USER_DEFINED, SentencePieceModel, merges

Said = Mapping[str, Any]  # tokenizer_config.json over special_tokens_map.json over the roles of the class
EXTRA_IDS = 100  # Raffel et al. 2020: T5 has 100 sentinels
COMMA_PENALTY = 100.0  # ALBERT's: "9," only where nothing else is left
MBART = (
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT",
    "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK",
    "tr_TR", "vi_VN", "zh_CN",
)  # fmt: skip
MBART50 = (
    *MBART,
    "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN",
    "mn_MN", "mr_IN", "pl_PL", "ps_AF", "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX",
    "uk_UA", "ur_PK", "xh_ZA", "gl_ES", "sl_SI",
)  # fmt: skip
Scores = list[tuple[str, float]]


def text(said: Said, role: str) -> str:
    """The spelling of a role's token, `""` for none."""
    value = said.get(f"{role}_token")
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def add_roles(core: tokenizers.Tokenizer, said: Said, *roles: str, missing: bool = False) -> None:
    """Make the tokens of these roles special where the vocabulary has them; `missing` adds the others behind it."""
    for role in roles:
        spelling = text(said, role)
        if spelling and (missing or core.token_to_id(spelling) is not None):
            core.add_special_tokens([AddedToken(spelling, lstrip=role == "mask" and spelling == "<mask>")])


def frame(core: tokenizers.Tokenizer, said: Said, single: str, pair: str) -> None:
    """Set the post-processor: `cls $A sep` names roles (or `=token` itself), `:1` the type; a role that is none is left
    out."""
    used: dict[str, int] = {}

    def spelled(template: str) -> list[str]:
        parts = []
        for part in template.split():
            name, _, kind = part.partition(":")
            if not name.startswith("$"):
                name = name[1:] if name.startswith("=") else text(said, name)
                id = core.token_to_id(name) if name else None
                if id is None:
                    continue
                used[name] = id
            parts.append(f"{name}:{kind or 0}")
        return parts

    templates = {"single": spelled(single), "pair": spelled(pair)}
    core.post_processor = processors.TemplateProcessing(**templates, special_tokens=list(used.items()))


# ---- the families


def t5(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Raffel et al. 2020 (arXiv 1910.10683); mT5 has `extra_ids` 0."""
    count = said.get("extra_ids", EXTRA_IDS)
    sentinels = [f"<extra_id_{number}>" for number in range(int(count) - 1, -1, -1)]
    core = _unigram(model, [*_scores(model), *((name, 0.0) for name in sentinels)], model.unk)
    core.normalizer = _charsmap(model)
    _words(core)
    add_roles(core, said, "eos", "unk", "pad")
    core.add_special_tokens([AddedToken(name, normalized=False) for name in sentinels])
    frame(core, said, "$A eos", "$A eos $B eos")
    return core


def albert(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Lan et al. 2020 (arXiv 1909.11942)."""
    core = _unigram(model, [(p, s - COMMA_PENALTY if _digit_comma(p) else s) for p, s in _scores(model)], model.unk)
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not said.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if said.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    steps += [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    _words(core)
    add_roles(core, said, "pad", "unk", "cls", "sep", "mask")
    frame(core, said, "cls $A sep", "cls $A sep $B:1 sep:1")
    return core


def deberta(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """He et al. 2021 (arXiv 2006.03654, 2111.09543); `[MASK]` comes behind the vocabulary."""
    core = _unigram(model, _scores(model), model.unk)
    steps: list[Any] = [normalizers.Lowercase()] if said.get("do_lower_case", False) else []
    steps.append(normalizers.Strip())
    steps += [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    cuts: list[Any] = [pre_tokenizers.Punctuation(behavior="isolated")] if said.get("split_by_punct", False) else []
    core.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.Metaspace(prepend_scheme="always")])
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    add_roles(core, said, "pad", "cls", "sep", "unk", "mask", missing=True)
    frame(core, said, "cls $A sep", "cls $A sep $B:1 sep:1")
    return core


def xlm_roberta(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Conneau et al. 2020 (arXiv 1911.02116)."""
    core = _fairseq(model, said, ())
    frame(core, said, "bos $A eos", "bos $A eos eos $B eos")
    return core


def mbart(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Liu et al. 2020 (arXiv 2001.08210): the language follows the text."""
    core, language = _fairseq(model, said, MBART), said.get("src_lang") or "en_XX"
    frame(core, said, f"$A eos ={language}", f"$A $B eos ={language}")
    return core


def mbart50(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Tang et al. 2020 (arXiv 2008.00401): the language leads the text, and a space at its end is kept."""
    core, language = _fairseq(model, said, MBART50), said.get("src_lang") or "en_XX"
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    frame(core, said, f"={language} $A eos", f"={language} $A $B eos")
    return core


def llama(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """Touvron et al. 2023 (arXiv 2302.13971, 2307.09288); Mistral 7B has one of the same kind.

    As in its published `tokenizer.json`, and as SentencePiece does it: a space is put before every text, also before
    one that begins with a space.
    """
    core = alone(model, said)
    add_roles(core, said, "unk", "bos", "eos", "pad")
    ends = ("bos " if said.get("add_bos_token", True) else "", " eos" if said.get("add_eos_token") else "")
    bos, eos = ends[0].replace("bos", "bos:1"), ends[1].replace("eos", "eos:1")
    frame(core, said, f"{ends[0]}$A{ends[1]}", f"{ends[0]}$A{ends[1]} {bos}$B:1{eos}")
    return core


def alone(model: SentencePieceModel, said: Said) -> tokenizers.Tokenizer:
    """What the model says by itself: its own ids and normalisation, no special tokens around the text."""
    core = _pairs(model) if model.algorithm == BPE else _unigram(model, _scores(model), model.unk)
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.trim:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    steps += [normalizers.Prepend(SPACE)] if model.dummy_prefix else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    first = [decoders.Strip(" ", 1, 0)] if model.dummy_prefix else []
    core.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *first])
    special = (CONTROL, UNKNOWN)
    core.add_special_tokens([AddedToken(p.text, normalized=False) for p in model.pieces if p.kind in special])
    core.add_tokens([AddedToken(p.text, normalized=False) for p in model.pieces if p.kind == USER_DEFINED])
    return core


# ---- parts


def _scores(model: SentencePieceModel) -> Scores:
    return [(piece.text, piece.score) for piece in model.pieces]


def _unigram(model: SentencePieceModel, scores: Scores, unk: int) -> tokenizers.Tokenizer:
    if model.algorithm == BPE:
        raise ModeledgeError("E-TOKENIZER", "it is a BPE model, and this tokenizer class needs a unigram model")
    return tokenizers.Tokenizer(models.Unigram(scores, unk_id=unk, byte_fallback=model.byte_fallback))


def _pairs(model: SentencePieceModel) -> tokenizers.Tokenizer:
    vocabulary = {piece.text: id for id, piece in enumerate(model.pieces)}
    unk = model.pieces[model.unk].text
    return tokenizers.Tokenizer(
        models.BPE(vocabulary, merges(model), unk_token=unk, fuse_unk=True, byte_fallback=model.byte_fallback)
    )


def _fairseq(model: SentencePieceModel, said: Said, languages: tuple[str, ...]) -> tokenizers.Tokenizer:
    """fairseq's order: four special tokens for SentencePiece's three, then the pieces, languages, and the mask."""
    heads = [text(said, role) for role in ("bos", "pad", "eos", "unk")]
    names = [*heads, *(piece.text for piece in model.pieces[3:]), *languages, text(said, "mask")]
    known = dict(_scores(model)[3:])
    scores = [(name, known.get(name, 0.0)) for name in names]
    if len({name for name, _ in scores}) != len(scores):
        raise ModeledgeError("E-TOKENIZER", "its pieces already hold the special tokens that this class adds")
    core = _unigram(model, scores, heads.index(text(said, "unk")))
    core.normalizer = _charsmap(model)
    _words(core)
    add_roles(core, said, "bos", "pad", "eos", "unk")
    core.add_special_tokens([AddedToken(name, normalized=False) for name in languages])
    add_roles(core, said, "cls", "sep", "mask")
    return core


def _charsmap(model: SentencePieceModel) -> Any:
    return normalizers.Precompiled(model.charsmap) if model.charsmap else None


def _words(core: tokenizers.Tokenizer) -> None:
    """White space separates words, and each word begins with one space."""
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    core.decoder = decoders.Metaspace(prepend_scheme="always")


def _digit_comma(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()

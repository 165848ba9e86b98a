"""How a text-to-text task reads and writes, as one checked value: what its `options` may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from modeledge.config import Settings
from modeledge.errors import ModeledgeError, nearest
from modeledge.generate import Decoding, as_source
from modeledge.metrics import METRICS
from modeledge.model.facts import Facts
from modeledge.objectives import WritePrepare
from modeledge.records import IntArray
from modeledge.tokens import Tokenizer

GAP = "{source}"


class Writing(Settings):
    """The options of `write`.

    Learning: `max_target` tokens of a target are learned, its end among them; `prefix` stands before every source
    ("summarize: "); `delimiter` between source and target of a decoder; `start` are the tokens that the decoder of an
    encoder–decoder begins with; `cut` says where a source loses tokens; `prefix_lm`, `train_source` and `smoothing` are
    those of the objective (`None`: a prefix LM goes on as one). Marking: `metrics` are rows of METRICS. Prompting:
    `ask` holds {source}, `stop` ends an answer. Writing: the fields of `Decoding`; `max_new_tokens` is `max_target`
    where it is not said.
    """

    max_target: int = Field(default=64, ge=2)
    prefix: str = ""
    delimiter: str | None = None
    start: tuple[int, ...] | None = None
    cut: Literal["end", "start", "none"] = "end"
    prefix_lm: bool | None = None
    train_source: bool = False
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    metrics: tuple[str, ...] = ()
    ask: str = GAP
    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int | None = Field(default=None, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    beams: int = Field(default=1, ge=1)
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    temperature: float = Field(default=0.0, ge=0)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    no_repeat_ngram: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0)
    seed: int = 0

    @property
    def decoding(self) -> Decoding:
        """How answers are written."""
        return Decoding(
            self.max_new_tokens or self.max_target,
            self.min_new_tokens,
            self.beams,
            self.length_penalty,
            self.early_stopping,
            self.temperature,
            self.top_k,
            self.top_p,
            self.no_repeat_ngram,
            self.repetition_penalty,
            self.seed,
        )


def check_writing(writing: Writing) -> None:
    """Refuse a template without a place for the source, metrics that there are not, and ways of writing that clash."""
    if GAP not in writing.ask:
        what = f"{writing.ask!r} has no place for the source"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.ask", remedy=f"write {GAP} where it stands")
    for name in writing.metrics:
        if name not in METRICS:
            what = f"there is no metric {name!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.metrics", remedy=nearest(name, METRICS))
    assert writing.decoding


def markable(named: tuple[str, ...], usual: tuple[str, ...], say: Callable[[str], None]) -> tuple[str, ...]:
    """The metrics that were named, or the usual ones that can be computed here; what is left out is said.

    A metric whose library is not installed is found before the run, not after it: one that was named is `E-EXTRA`.
    """
    found = []
    for name in named or usual:
        try:
            if name in METRICS and str(METRICS[name].needs) == "text":
                METRICS[name](["a word"], [["a word"]])
            found.append(name)
        except ModeledgeError as error:
            if named or error.code != "E-EXTRA":
                raise
            say(f"not marked by {name}: {error.what} ({error.remedy})")
    return tuple(found)


def shape_of(tokenizer: Tokenizer, facts: Facts, writing: Writing, length: int) -> WritePrepare:
    """The special tokens around source and target, and the room of each.

    A text is framed as the tokenizer's own family frames it (T5: `text </s>`, BART: `<s> text </s>`, Llama:
    `<s> text`); without a frame an encoder reads `[CLS] text [SEP]`. A decoder's `delimiter` is by default its
    separator, else a new line.
    """
    if facts.decoder is None:
        remedy = "take a decoder or an encoder–decoder"
        raise ModeledgeError("E-USAGE", "an encoder alone writes no text", remedy=remedy)
    if tokenizer.vocab_size > facts.table.vocab:
        what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {facts.table.vocab} rows"
        raise ModeledgeError("E-VOCAB-SIZE", what)
    framed, behind = around(tokenizer, facts.both, writing.delimiter)
    if facts.both:
        assert writing.start, "the tokens that the decoder begins with are settled before"
        check_ids(writing.start, facts.table.vocab)
    kept = len(tokenizer.encode(writing.prefix.rstrip())) if writing.prefix else 0
    prepare = WritePrepare(
        eos=end_of(tokenizer),
        length=length,
        max_target=writing.max_target,
        start=(writing.start or ()) if facts.both else (),
        first=framed,
        between=behind,
        cut=writing.cut,
        kept=kept,
        both_ways=bool(writing.prefix_lm),
        whole=writing.train_source,
    )
    if facts.positions is not None and prepare.seq > facts.positions:
        what = f"length {prepare.seq} is beyond the model's {facts.positions} positions"
        raise ModeledgeError("E-POSITION", what, remedy="lower the length or max_target")
    return prepare


def around(tokenizer: Tokenizer, both: bool, delimiter: str | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and behind a source: its family's frame for the encoder of two; before a decoder's delimiter
    its frame too, but for a token that belongs to encoders."""
    framed, behind = framing(tokenizer)
    if both:
        return framed, behind
    return framed if tokenizer.specials.cls not in framed else (), delimiting(tokenizer, delimiter)


def framing(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and behind one text."""
    places = tokenizer.frame.single
    if all(slot.id is None for slot in places):
        around: IntArray = as_source(tokenizer, tokenizer.encode(""))
        cls = tokenizer.specials.cls
        before = 0 if cls is None else 1
        return tuple(around[:before].tolist()), tuple(around[before:].tolist())
    at = next(i for i, slot in enumerate(places) if slot.text == 0)
    before_ids, behind_ids = ([slot.id for slot in part if slot.id is not None] for part in (places[:at], places[at:]))
    return tuple(before_ids), tuple(behind_ids)


def delimiting(tokenizer: Tokenizer, delimiter: str | None) -> tuple[int, ...]:
    """The tokens between source and target of a decoder."""
    if delimiter is None and tokenizer.specials.sep is not None:
        return (tokenizer.specials.sep,)
    found = tokenizer.encode("\n" if delimiter is None else delimiter).tolist()
    if not found and delimiter != "":
        what = f"the delimiter {delimiter or chr(10)!r} has no token in this tokenizer"
        raise ModeledgeError("E-SPECIAL-TOKEN", what, where="options.delimiter", remedy="name another one")
    return tuple(found)


def starting(tokenizer: Tokenizer, named: int | None) -> tuple[int, ...]:
    """What a decoder begins with: the token that the model's file names, else one of the tokenizer's; then what the
    tokenizer's family puts before a text (BART: `</s> <s>`)."""
    specials = tokenizer.specials
    if named is not None:
        before = () if all(slot.id is None for slot in tokenizer.frame.single) else framing(tokenizer)[0]
        return (named, *before)
    for role in ("bos", "cls", "pad"):
        found = getattr(specials, role)
        if found is not None:
            return (found,)
    remedy = "name the ids with options.start"
    raise ModeledgeError("E-SPECIAL-TOKEN", "nothing says which token the decoder begins with", remedy=remedy)


def end_of(tokenizer: Tokenizer) -> int:
    """The token that ends a target: the end of a text, or where there is none the separator."""
    specials = tokenizer.specials
    if specials.eos is None and specials.sep is not None:
        return specials.sep
    return tokenizer.need("eos")


def check_ids(ids: tuple[int, ...], vocab: int) -> None:
    """Refuse a start that the model has not (`E-CONFIG-VALUE`)."""
    wrong = [token for token in ids if not 0 <= token < vocab]
    if wrong:
        what = f"token {wrong[0]} is none of the {vocab:,} ids of the model"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.start")

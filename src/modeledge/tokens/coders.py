"""The fastest way from text to ids that is proven to be the tokenizer's.

*tokenizers* is the library as it is; with *each distinct word once* it is asked for no word twice (`tokens.words`);
*gigatoken* is another program altogether (`tokens.giga`). The ids are the same by construction in the first two and by
trial in the last: both quick ways are compared with the library on texts of the corpus and on strings made to differ
(`tokens.proof`) before they are used. Where one does not agree, or fails, the next one is taken, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from modeledge.tokens.flat import Coder, Encoder, LibraryCoder
from modeledge.tokens.giga import GigaCoder
from modeledge.tokens.proof import difference
from modeledge.tokens.tokenizer import Tokenizer
from modeledge.tokens.words import ROOM, WordCoder

Backend = Literal["auto", "gigatoken", "tokenizers"]


def choose_coder(
    tokenizer: Encoder,
    sample: Sequence[str],
    *,
    backend: Backend = "auto",
    memory: int = ROOM,
    say: Callable[[str], None] | None = None,
) -> Coder:
    """The fastest coder whose ids are those of the tokenizer on `sample` and on strings made to differ.

    "auto" tries gigatoken where it is installed; "gigatoken" says so where it is not, or does not agree. A table of
    words takes at most `memory` bytes, or `words.ROOM`, whichever is less.
    """
    tell = say or (lambda line: None)
    library = LibraryCoder(tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        return library
    words = partial(WordCoder, room=min(memory, ROOM))
    kinds: tuple[Any, ...] = (WordCoder,) if backend == "tokenizers" else (GigaCoder, WordCoder)
    for kind in kinds:
        reason = kind.unfit(tokenizer)
        make = words if kind is WordCoder else kind
        coder: Coder | None = None if reason else make(tokenizer)
        if coder is not None:
            reason = difference(coder, tokenizer, sample)
            if not reason:
                tell(f"tokenizing by {coder.name}")
                return coder
        if kind is GigaCoder and (backend == "gigatoken" or coder is not None):
            tell(f"note: gigatoken is not used: {reason}")
    tell(f"tokenizing by {library.name}")
    return library

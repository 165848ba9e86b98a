"""How a model is asked for text where its towers alone do not say it. A model folder of ours does (`writing.json`).

    uncover     masked diffusion, an encoder: hidden tokens behind the prompt are uncovered in some passes (`hidden`)
    sequence    UniLM, a decoder: the prompt is read both ways, each token is guessed at a mask behind it (`hidden`)
    prefix      a prefix LM, a decoder: the prompt is read both ways, each token is foretold by the one before it

Asked as an ordinary decoder, such a model would be read at a place, or in a direction, that it never learned.
"""

from __future__ import annotations

from typing import Literal, TypeGuard

HiddenWay = Literal["uncover", "sequence"]
Way = Literal["uncover", "sequence", "prefix"]
WAYS: tuple[Way, ...] = ("uncover", "sequence", "prefix")
READ_BOTH_WAYS: dict[Way | None, str] = {  # decoders that were not trained to read what is given from left to right
    "prefix": "this prefix LM has learned to read what it is given from both sides",
    "sequence": "this model of UniLM's kind has learned to read what it is given from both sides",
}


def guesses(way: Way | None) -> TypeGuard[HiddenWay]:
    """Does such a model write where a token is hidden, and foretell no next one?"""
    return way is not None and way != "prefix"

"""Conversations → ids, by the template that a checkpoint brings, and who said which id.

The template writes its own special tokens (`<|im_start|>`, `</s>`); people write texts that may look like them. Here
the first are recognised and the second are not: the rendered string knows the speaker of every character (`said.py`),
the template's special tokens are put in under names that no text can hold, and the pipeline sees the whole in one
piece, so that spaces, prefixes and merges across the seams come out as everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tokenizers

from modeledge.errors import ModeledgeError, printable
from modeledge.records import IntArray
from modeledge.tokens.plain import renamed
from modeledge.tokens.said import GENERATED, OWN, Said, speaker, turn_of

if TYPE_CHECKING:
    from modeledge.tokens.meter import Limits

Message = Mapping[str, Any]
SPEAKERS = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "documentation")
CLOCK = datetime(2024, 7, 26)  # what `strftime_now` shows unless a clock is given: the same ids on every day
REASONING = ("reasoning_content", "thinking", "reasoning")
OLDEST = (3, 1, 6)  # jinja2 before it has known holes in its sandbox
LARGEST_TEMPLATE = 1 << 17
HIDDEN = "\U0010ffff"


@dataclass(frozen=True)
class Chat:
    """A rendered conversation: `ids` [n]; `turns` [n], the number of the message that an id belongs to, -1 for the
    template's own; `generated` [n], what lies in `{% generation %}` blocks; `roles` of the messages.

    The special token right behind the text of a message belongs to it: it is how its speaker ends the turn.
    """

    ids: IntArray
    turns: IntArray
    generated: npt.NDArray[np.bool_]
    roles: tuple[str, ...]
    text: str

    def said_by(self, role: str) -> npt.NDArray[np.bool_]:
        """Which ids [n] a role said; for the assistant, what the template marks as generated, where it marks any."""
        if role == "assistant" and self.generated.any():
            return self.generated
        return np.isin(self.turns, [turn for turn, name in enumerate(self.roles) if name == role])


def render(
    template: str,
    messages: Sequence[Message],
    *,
    specials: Mapping[str, str],
    add_generation_prompt: bool = False,
    variables: Mapping[str, Any] | None = None,
    now: datetime = CLOCK,
    limits: Limits | None = None,
) -> Said:
    """The conversation as the template writes it, with a speaker for each character.

    `specials` are `bos_token` and its like, `variables` what else the template may ask for (`tools` and `documents` are
    `None` unless given here). Raises `E-EXTRA` without jinja2, `E-CHAT` for what is no conversation or is refused by
    the template, `E-TEMPLATE` for a template that is broken, uses an undefined variable, reaches outside, or hits a
    limit.
    """
    check_jinja()
    from modeledge.tokens.render import rendered

    if len(template) > LARGEST_TEMPLATE:
        raise ModeledgeError("E-TEMPLATE", f"it has more than {LARGEST_TEMPLATE:,} characters")
    values = {
        "tools": None,
        "documents": None,
        **{name: owned(value, -1, name) for name, value in (variables or {}).items()},
        **specials,
        "messages": [turn(message, number) for number, message in enumerate(messages)],
        "add_generation_prompt": add_generation_prompt,
    }
    return rendered(template, values, now, limits)


def check_jinja() -> None:
    """`E-EXTRA` where there is no jinja2, or one with holes."""
    try:
        import jinja2
    except ImportError as error:
        raise ModeledgeError("E-EXTRA", "chat templates need jinja2", remedy="pip install 'jinja2>=3.1.6'") from error
    if tuple(int(part) for part in re.findall(r"\d+", jinja2.__version__)[:3]) < OLDEST:
        what = f"jinja2 {jinja2.__version__} has a sandbox with known holes"
        raise ModeledgeError("E-EXTRA", what, remedy="pip install 'jinja2>=3.1.6'")


# ---- messages


def turn(message: Message, number: int) -> dict[str, Any]:
    """A message, checked, its strings owned by its turn. The role is a name of the template's own vocabulary."""
    where = f"turn {number}"
    if not isinstance(message, Mapping):
        raise ModeledgeError("E-CHAT", f"{type(message).__name__} is no message", where=where)
    role = message.get("role")
    if role not in SPEAKERS:
        remedy = f"use one of {', '.join(SPEAKERS)}"
        raise ModeledgeError("E-CHAT", f"unknown role {printable(repr(role))}", where=where, remedy=remedy)
    made = {str(k): owned(v, number, where) for k, v in message.items() if k != "role"} | {"role": str(role)}
    thought = next((made[key] for key in REASONING if made.get(key) is not None), None)
    return made if thought is None else {"thinking": thought, **made, "reasoning_content": thought}


def owned(value: Any, number: int, where: str, depth: int = 0) -> Any:
    """Plain JSON values, every string of which is a speaker's (`E-CHAT` for anything else)."""
    if depth > 32:
        raise ModeledgeError("E-CHAT", "lists within lists, more than 32 deep", where=where)
    if isinstance(value, str):
        text = str.__str__(value)
        return Said(text, speaker(number) * len(text))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {owned(k, number, where, 32): owned(v, number, where, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [owned(part, number, where, depth + 1) for part in value]
    raise ModeledgeError("E-CHAT", f"{type(value).__name__} cannot be given to a template", where=where)


# ---- ids


class ChatEncoder:
    """The pipeline in which special tokens have names that no text can hold."""

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        self.core, self.names = renamed(core)
        self.special = {id for id, token in core.get_added_tokens_decoder().items() if token.special}
        ordered = sorted(self.names, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, ordered)) if ordered else r"(?!)")

    def encode(self, text: Said, roles: Sequence[str]) -> Chat:
        """The ids of a rendered conversation, and their speakers."""
        hidden = "".join(c if who in OWN else HIDDEN for c, who in zip(str.__str__(text), text.who, strict=True))
        parts, who, at = list[str](), list[str](), 0
        for match in self.pattern.finditer(hidden):
            name = self.names[match.group()]
            parts += [str.__str__(text)[at : match.start()], name]
            who += [text.who[at : match.start()], text.who[match.start()] * len(name)]
            at = match.end()
        parts.append(str.__str__(text)[at:])
        who.append(text.who[at:])
        coded = self.core.encode("".join(parts), add_special_tokens=False)
        signs, turns, marks, last = "".join(who), list[int](), list[bool](), -1
        for id, (start, end) in zip(coded.ids, coded.offsets, strict=True):
            sign = signs[start:end]
            number = max(map(turn_of, sign), default=-1)
            turns.append(last if number < 0 and id in self.special else number)
            last = number
            marks.append(any(ord(c) & GENERATED for c in sign))
        ids, owners = np.array(coded.ids, dtype=np.int64), np.array(turns, dtype=np.int64)
        return Chat(ids, owners, np.array(marks, dtype=np.bool_), tuple(roles), str.__str__(text))

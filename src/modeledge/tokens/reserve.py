"""Special tokens for a tokenizer that was trained without them: behind its vocabulary, where they move no id.

The tokenizer of a checkpoint may lack what another objective needs: a mask, sentinels, the marks of a middle. No text
can reach a special token (see `plain.py`), so with more of them every text keeps its ids, and shards stay what they
are; a model gets one row more for each (`model/vocabulary.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tokenizers import AddedToken

from modeledge.errors import ModeledgeError, nearest
from modeledge.tokens.load import ROLES
from modeledge.tokens.plain import read_back
from modeledge.tokens.tokenizer import Tokenizer
from modeledge.tokens.train import check_name

SHOWN = 4  # names that a note lists; of more it says the first and the last


def with_specials(
    tokenizer: Tokenizer, names: Sequence[str] = (), roles: Mapping[str, str] = MappingProxyType({})
) -> Tokenizer:
    """The tokenizer with the special tokens of `roles` (role → spelling) and `names`; `gained` says what is new.

    What is there is used as it is; what is missing gets the next ids, in this order. Where nothing is missing it is the
    tokenizer itself. Raises `E-VOCAB-CONFIG` for a spelling that cannot be a special token and for a role that another
    token has, `E-TOKENIZER` where the next ids are not free.
    """
    for number, name in enumerate(names):
        check_name(name, f"extra[{number}]")
    for role, name in roles.items():
        _check_role(tokenizer, role, name)
    new_roles = {role: name for role, name in roles.items() if tokenizer.names.get(role) != name}
    missing = [n for n in dict.fromkeys((*roles.values(), *names)) if tokenizer.id(n) is None]
    if not missing and not new_roles:
        return tokenizer
    core = read_back(json.loads(tokenizer.pipeline()))
    special = dict.fromkeys((*new_roles.values(), *missing))
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    wrong = [name for id, name in enumerate(missing, tokenizer.vocab_size) if core.token_to_id(name) != id]
    if wrong:
        what = f"{wrong[0]!r} does not get the next id, {tokenizer.vocab_size + missing.index(wrong[0]):,}"
        raise ModeledgeError("E-TOKENIZER", what, remedy="name a tokenizer whose ids have no gap")
    new = tokenizer.with_pipeline(core, new_roles)
    new.notes, new.gained = tokenizer.notes, (*tokenizer.gained, *_told(tokenizer, missing, new_roles))
    return new


def _check_role(tokenizer: Tokenizer, role: str, name: str) -> None:
    """Refuse a role that is none, that another token has, or that a piece of text would get."""
    where = f"specials.{role}"
    if role not in ROLES:
        raise ModeledgeError("E-VOCAB-CONFIG", f"unknown role {role!r}", where="specials", remedy=nearest(role, ROLES))
    check_name(name, where)
    mine, id = tokenizer.names.get(role), tokenizer.id(name)
    if mine is not None and mine != name:
        what = f"the {role} token of this tokenizer is {mine!r}, and {name!r} is asked for"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where=where, remedy="leave it out: the model knows the one it has")
    if mine is None and id is not None and id in tokenizer.encode(name).tolist():
        what = f"{name!r} is a piece of text in this tokenizer: as a special token no text could reach it any more"
        raise ModeledgeError("E-VOCAB-CONFIG", what, where=where, remedy=f'choose another one, as "[{role.upper()}]"')


def _told(tokenizer: Tokenizer, missing: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """What is new, in a sentence each."""
    told = []
    if missing:
        shown = list(missing) if len(missing) <= SHOWN else [*missing[: SHOWN - 1], "…", missing[-1]]
        some = "1 special token" if len(missing) == 1 else f"{len(missing):,} special tokens"
        told.append(f"the tokenizer gains {some} behind its {tokenizer.vocab_size:,} ids: {' '.join(shown)}")
    if roles:
        told.append(f"roles in the tokenizer: {', '.join(f'{role} = {name}' for role, name in roles.items())}")
    return told

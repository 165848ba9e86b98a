"""Which linear maps a method acts on: words of a recipe to sites of the model.

A word is a kind ("query", "down"; `KINDS`), or a pattern on a site's name `<path>:<kind>`, as in
`tower.blocks.0.attention.qkv:query`: a glob (`tower.blocks.0.*`, `*:value`), or a regular expression behind `re:`
(`re:.*blocks\\.[01]\\..*`), each on the whole name. The same patterns give single sites their own rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.sites import KINDS, Site

Value = TypeVar("Value")
ALL = ",".join(KINDS)


def words_of(sites: str | Sequence[str], where: str) -> tuple[str, ...]:
    """`"query,value"` or `["query", "value"]` → the words; none, or something else, is `E-CONFIG-VALUE`."""
    parts = sites.split(",") if isinstance(sites, str) else list(sites) if isinstance(sites, Sequence) else []
    words = tuple(part.strip() for part in parts if isinstance(part, str) and part.strip())
    if not words or len(words) != len(parts):
        what = f"{sites!r} names no sites"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=f"give some of {', '.join(KINDS)}")
    return words


def sites_of(model: Backbone) -> list[Site]:
    """Every site of the model, kind by kind; kinds that the model does not have are left out."""
    found: list[Site] = []
    for kind in KINDS:
        try:
            found += model.sites(kind)
        except ModeledgeError as error:  # a wrapped model refuses a kind that none of its maps is
            if error.code != "E-SITE":
                raise
    return found


def chosen(model: Backbone, words: Sequence[str], where: str) -> list[Site]:
    """The sites that any word names, in the order of `sites_of`. A word that names none is `E-SITE` and lists what is
    there, except a kind among all kinds: not every model has a gate."""
    sites = sites_of(model)
    hits = {word: [site for site in sites if matches(word, site)] for word in words}
    lenient = set(KINDS) <= set(words)
    for word, hit in hits.items():
        if not hit and not (lenient and word in KINDS):
            raise _nothing(word, sites, where)
    wanted = {site.name for hit in hits.values() for site in hit}
    if not wanted:
        raise _nothing(",".join(words), sites, where)
    return [site for site in sites if site.name in wanted]


def matches(word: str, site: Site) -> bool:
    """Does a word name this site?"""
    if word in KINDS:
        return word == site.kind
    name = site.name
    if word.startswith("re:"):
        return re.fullmatch(word[3:], name) is not None
    return fnmatchcase(name, word) or fnmatchcase(site.path, word)


def valued(pattern: Mapping[str, Value], sites: Sequence[Site], default: Value, where: str) -> list[Value]:
    """Each site's value: that of the first pattern that names it, else the default. A pattern that names none of the
    sites is `E-SITE`."""
    for word in pattern:
        if not any(matches(word, site) for site in sites):
            raise _nothing(word, sites, where)
    return [next((v for word, v in pattern.items() if matches(word, site)), default) for site in sites]


def check_words(words: Sequence[str], where: str) -> None:
    """Refuse what can never name a site: a word that is nearly a kind, a regular expression that does not compile."""
    for word in words:
        if word.startswith("re:"):
            try:
                re.compile(word[3:])
            except re.error as error:
                raise ModeledgeError(
                    "E-CONFIG-VALUE", f"{word!r} is no regular expression: {error}", where=where
                ) from None
        elif word.replace("_", "").isalpha() and word not in KINDS:
            raise ModeledgeError("E-SITE", f"there is no site {word!r}", where=where, remedy=nearest(word, KINDS))


def _nothing(word: str, sites: Sequence[Site], where: str) -> ModeledgeError:
    names = [site.name for site in sites]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return ModeledgeError("E-SITE", f"{word!r} names no site", where=where, remedy=f"the sites are {shown or 'none'}")

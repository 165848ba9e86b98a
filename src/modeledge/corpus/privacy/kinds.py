"""The kinds of personal data that rules can find, each with its pattern and, where there is one, its checksum.

A pattern here is meant to be *safe*: in a corpus a false alarm costs a number in a table, and there are far more
numbers than people's. So a run of digits is taken only where a checksum, a form that nothing else has (`+41 …`), or a
word in front of it (`SSN`, `tel.`) speaks for it. What nobody could be reached by is left: private and documentation
addresses (RFC 1918, RFC 5737, RFC 3849), e-mail at `example.org` (RFC 2606).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from modeledge.corpus.privacy import checks
from modeledge.corpus.privacy.addresses import addresses
from modeledge.corpus.privacy.phones import phones
from modeledge.corpus.privacy.spans import Finder

EMAIL = re.compile(
    r"(?<![\w.+%'-])[\w+%-](?:[\w.+%'-]{0,62}[\w+%-])?@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24}(?![\w-])"
)
RESERVED = re.compile(r"(?:^|[@.])(?:example\.(?:com|org|net)|example|invalid|test|localhost)$", re.IGNORECASE)
CREDENTIALS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://([^\s/@:<>\"']{1,100}:[^\s/@<>\"']{1,200})@")
SECRET = re.compile(
    r"[?&](?:access_token|auth_token|token|password|passwd|pwd|secret|client_secret|api_?key)=([^&\s#<>\"']{4,400})",
    re.IGNORECASE,
)
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\w)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
VERSION = re.compile(r"(?:\bversion|\bver\.?|\bv|\brelease|\bfirmware|§|\bsection)\s?$", re.IGNORECASE)
CARD = re.compile(r"(?<![\w.,+-])\d(?:[ -]?\d){11,18}(?![\w-]|[.,]\d)")
CARD_WORD = re.compile(r"\b(?:cards?|visa|mastercard|amex|credit|debit)\b", re.IGNORECASE)
IBAN_HEAD = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])")
#: National ids: the pattern, its check, and the word that must stand before it where the check is too weak alone.
NATIONAL: tuple[tuple[str, str, Callable[[str], bool], str | None], ...] = (
    ("us_ssn", r"\d{3}-\d{2}-\d{4}", checks.us_ssn, None),
    ("us_ssn", r"\d{3}[ -]?\d{2}[ -]?\d{4}", checks.us_ssn, r"SSNs?|social security"),
    ("uk_nino", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", checks.uk_nino, None),
    ("de_tax_id", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", checks.de_tax_id, None),
    ("fr_nir", r"[12] ?\d{2} ?[0-9]\d ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", checks.fr_nir, None),
    ("es_dni", r"(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]", checks.es_dni, None),
    ("it_cf", r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]", checks.it_cf, None),
    ("br_cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", checks.br_cpf, None),
    ("pl_pesel", r"\d{11}", checks.pl_pesel, r"PESEL"),
    ("nl_bsn", r"\d{9}", checks.nl_bsn, r"BSN|burgerservicenummer|sofinummer"),
)
BEFORE = 40  # characters before a number in which its word is looked for


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses that could be delivered."""
    if "@" not in text:
        return
    for match in EMAIL.finditer(text):
        if not RESERVED.search(match[0]):
            yield match.span()


def credentials(text: str) -> Iterator[tuple[int, int]]:
    """`user:password` before the host of a URL, and the values of keys that open doors behind it."""
    if "://" not in text:
        return
    for pattern in (CREDENTIALS, SECRET):
        yield from (match.span(1) for match in pattern.finditer(text))


def ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Public addresses, IPv4 and IPv6; four numbers behind "version" are none."""
    for match in IPV4.finditer(text):
        if is_public(match[0]) and not VERSION.search(text[max(match.start() - 10, 0) : match.start()]):
            yield match.span()
    if text.count(":") > 1:
        yield from (match.span() for match in IPV6.finditer(text) if is_public(match[0]))


def is_public(address: str) -> bool:
    """Is this an address that stands for somebody's connection?"""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_private or parsed.is_multicast or parsed.is_loopback or parsed.is_unspecified)


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Payment cards; behind a word that announces one, with any first digits."""
    for match in CARD.finditer(text):
        number = bare(match[0])
        if not checks.luhn(number) or len(set(number)) == 1:
            continue
        before = text[max(match.start() - BEFORE, 0) : match.start()]
        if checks.network(number) or CARD_WORD.search(before):
            yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Bank accounts, in one piece or in groups."""
    for match in IBAN_HEAD.finditer(text):
        rest = checks.IBAN_LENGTHS.get(match[0][:2].upper(), 0) - 4
        if rest < 1:
            continue
        whole = re.compile(rf"(?:[ -]?[A-Za-z0-9]){{{rest}}}(?![^\W_])").match(text, match.end())
        if whole is not None and checks.iban(bare(text[match.start() : whole.end()])):
            yield match.start(), whole.end()


def national(name: str) -> Finder:
    """What finds the ids of one kind."""
    rows = [
        (
            re.compile(rf"(?<![\w.-]){pattern}(?![\w-]|[.,]\d)"),
            check,
            None if word is None else re.compile(rf"\b(?:{word})\b", re.IGNORECASE),
        )
        for kind, pattern, check, word in NATIONAL
        if kind == name
    ]

    def finder(text: str) -> Iterator[tuple[int, int]]:
        for pattern, check, word in rows:
            if word is not None and word.search(text) is None:
                continue
            for match in pattern.finditer(text):
                before = text[max(match.start() - BEFORE, 0) : match.start()]
                if check(bare(match[0])) and (word is None or word.search(before)):
                    yield match.span()

    return finder


def bare(number: str) -> str:
    """A number without what groups its digits."""
    return number.translate({32: None, 45: None, 46: None})


#: In the order of their proof: what comes first keeps a place that two kinds want.
KINDS: dict[str, Finder] = {
    "credentials": credentials,
    "email": emails,
    "iban": ibans,
    "credit_card": cards,
    **{name: national(name) for name in dict.fromkeys(row[0] for row in NATIONAL)},
    "ip": ip_addresses,
    "phone": phones,
    "address": addresses,
}

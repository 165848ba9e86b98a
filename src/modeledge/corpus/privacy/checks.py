"""Check digits: what tells an account, a card or an identity number from any other number of its length.

A checksum lets one random number in ten, in 97, in 11 through; without one a pattern of digits would redact half of a
table. Each function takes the number without its separators and says whether it can be one.
"""

from __future__ import annotations

from collections import Counter

#: Letters and digits of an IBAN by country (ISO 13616, SWIFT's registry).
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS", 23: "AE GI IL IQ OM TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "PT", 26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ CY DO GT HU LB PL", 29: "BR EG PS QA UA",
        30: "JO KW MU", 31: "MT", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
ODD_VALUES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
ODD = dict(zip("0123456789", ODD_VALUES[0], strict=True)) | dict(
    zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*ODD_VALUES[0], *ODD_VALUES[1]), strict=True)
)


def luhn(number: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B): from the right, every second digit is doubled.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(map(int, reversed(number))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def network(number: str) -> bool:
    """Do the first digits and the length belong to a card network (ISO/IEC 7812-1's issuer ranges)?"""
    size = len(number)
    networks = (
        number[0] == "4" and size in (13, 16, 19),
        number[:2] in ("34", "37") and size == 15,
        ("51" <= number[:2] <= "55" or "2221" <= number[:4] <= "2720") and size == 16,
        (number[:2] in ("36", "38", "39") or "300" <= number[:3] <= "305") and 14 <= size <= 19,
        (number[:2] == "65" or number[:4] == "6011" or "644" <= number[:3] <= "649") and 16 <= size <= 19,
        "3528" <= number[:4] <= "3589" and 16 <= size <= 19,
        number[:4] in ("1800", "2131") and size == 15,
        (number[:2] == "50" or "56" <= number[:2] <= "58" or number[0] == "6") and 12 <= size <= 19,
    )
    return any(networks)


def iban(number: str) -> bool:
    """ISO 7064 MOD 97-10 over letters as numbers, the first four characters last, and the country's length.

    >>> iban("DE89370400440532013000"), iban("DE89370400440532013001")
    (True, False)
    """
    number = number.upper()
    if IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def us_ssn(number: str) -> bool:
    """Areas 000, 666 and from 900, group 00 and serial 0000 are never given (SSA, since 2011)."""
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def uk_nino(number: str) -> bool:
    """The prefixes that are never given (HMRC, NIM39110); the letters are the pattern's business."""
    return number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def de_tax_id(number: str) -> bool:
    """Eleven digits: of the first ten one comes twice or three times and the rest once; ISO 7064 MOD 11,10.

    >>> de_tax_id("86095742719"), de_tax_id("86095742718")
    (True, False)
    """
    times = sorted(Counter(number[:10]).values(), reverse=True)
    if number[0] == "0" or times[0] not in (2, 3) or times[1] != 1:
        return False
    product = 10
    for digit in map(int, number[:10]):
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[10])


def fr_nir(number: str) -> bool:
    """Fifteen characters of which the last two are 97 − (the rest mod 97); Corsica's 2A and 2B count as 19 and 18."""
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(number[13:])


def es_dni(number: str) -> bool:
    """The letter is the number mod 23; a foreigner's X, Y, Z stand for 0, 1, 2.

    >>> es_dni("12345678Z"), es_dni("12345678A")
    (True, False)
    """
    body = number[:-1].translate(str.maketrans("XYZ", "012"))
    return DNI_LETTERS[int(body) % 23] == number[-1]


def it_cf(number: str) -> bool:
    """The codice fiscale's last letter: odd and even places (from one) have values of their own, mod 26.

    >>> it_cf("RSSMRA85T10A562S"), it_cf("RSSMRA85T10A562T")
    (True, False)
    """
    number = "".join(str(int(c)) if c.isdigit() else c for c in number)  # of any script
    odd = sum(ODD[c] for c in number[0:15:2])
    even = sum(int(c, 36) - (10 if c.isalpha() else 0) for c in number[1:15:2])
    return chr(65 + (odd + even) % 26) == number[15]


def pl_pesel(number: str) -> bool:
    """Eleven digits, weights 1 3 7 9, a month that carries the century."""
    total = sum(int(digit) * weight for digit, weight in zip(number, (1, 3, 7, 9) * 3, strict=False))
    last = total - int(number[10]) * 7
    return (10 - last % 10) % 10 == int(number[10]) and 1 <= int(number[2:4]) % 20 <= 12 and int(number[4:6]) <= 31


def nl_bsn(number: str) -> bool:
    """The eleven test: weights 9 … 2, −1."""
    return sum(int(d) * w for d, w in zip(number, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True)) % 11 == 0


def br_cpf(number: str) -> bool:
    """Two check digits, each a weighted sum mod 11.

    >>> br_cpf("52998224725"), br_cpf("52998224724")
    (True, False)
    """
    if len(set(number)) == 1:
        return False
    for size in (9, 10):
        total = sum(int(digit) * weight for digit, weight in zip(number, range(size + 1, 1, -1), strict=False))
        if total * 10 % 11 % 10 != int(number[size]):
            return False
    return True

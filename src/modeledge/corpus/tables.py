"""Tables as text: csv (quotes, RFC 4180) and tsv (no quotes: a tab and a line end cannot be part of a field).

A table gone wrong rarely looks wrong: a quote that is never closed swallows the rows below it, a missing comma moves
every later field one column on. So rows must have as many fields as the header, quotes must close, and a header of
one column that holds another usual delimiter is taken for a mistake.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from itertools import islice

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import RAW_KEPT, Intake, Record
from modeledge.corpus.lines import Line, Text, open_text
from modeledge.errors import ModeledgeError

DELIMITERS = ",;\t|"
_LOOKED_AT = 20  # rows that must all hold a delimiter before it is guessed


class Feed:
    """Gives lines to the csv module, remembers those that the current row took, and takes them back."""

    def __init__(self, text: Text) -> None:
        self.text, self.cap = text, text.intake.config.max_record_bytes
        self.lines: Iterator[Line] = text.lines()
        self.back: deque[Line] = deque()
        self.taken: list[Line] = []
        self.size = 0
        self.unclosed = False  # a row took all the lines that are left, and its quote did not close
        self.error: tuple[UnicodeDecodeError, int] | None = None

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> str:
        if self.taken and (self.unclosed or not self.back):
            self.unclosed = self.unclosed or not self.peek(1)
            if self.unclosed:  # within quotes here as that row was, so to the end as well: not read once more
                raise StopIteration
        line = self.back.popleft() if self.back else next(self.lines)
        raw, _, offset, ended = line
        self.taken.append(line)
        self.size += len(raw) + 1
        if self.size > self.cap + 1:
            raise csv.Error(f"the row is longer than {self.cap:,} bytes")
        try:
            decoded = self.text.decode(raw, offset)
        except UnicodeDecodeError as error:
            self.error = self.error or (error, offset)
            decoded = raw.decode(self.text.encoding, "surrogateescape")
        return decoded + "\n" if ended else decoded

    def start(self) -> None:
        """A new row begins."""
        self.taken, self.size, self.error = [], 0, None

    def return_all_but_first(self) -> None:
        """What a row that never ended took may hold good rows: they are read again."""
        self.back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def peek(self, count: int) -> list[bytes]:
        """The next lines, which stay to be read."""
        while len(self.back) < count and (line := next(self.lines, None)):
            self.back.append(line)
        return [line[0] for line in islice(self.back, count)]


def csv_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a row, with the header's names; all values are strings.

    Raises `E-CSV-DELIMITER`, and `E-DUP-KEY` for a name that the header repeats; a row is bad by `E-CSV-COLUMNS`,
    `E-CSV-QUOTE`, `E-UTF8`, `E-NUL`. Widens the csv module's limit on fields, which is one for the whole process.
    """
    config = intake.config
    csv.field_size_limit(max(csv.field_size_limit(), config.max_record_bytes))
    text = open_text(source, intake)
    quoted = source.format == "csv"
    delimiter = config.delimiter or ("," if quoted else "\t")
    feed = Feed(text)
    reader = csv.reader(feed, delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    header = list(config.columns or ())
    while True:
        feed.start()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse_row(feed, _unclosed(error, _where(source, feed)), intake)
            continue
        if _blank(row, feed):
            intake.blank += 1
        elif not header:
            header = _header(row, feed, source, intake, delimiter)
        elif wrong := _wrong(row, header, feed, source):
            intake.bad(wrong, _raw(feed), offset=feed.taken[0][2])
        else:
            raw = _raw(feed)
            yield Record(dict(zip(header, row, strict=True)), _where(source, feed), len(raw), feed.taken[0][2], raw)


def _blank(row: list[str], feed: Feed) -> bool:
    return not row or (len(row) == 1 and not any(raw.strip() for raw, *_ in feed.taken))


def _where(source: Source, feed: Feed) -> str:
    return f"{source.name}:{feed.taken[0][1]}"


def _raw(feed: Feed) -> bytes:
    return b"\n".join(line[0] for line in feed.taken)


def _unclosed(error: csv.Error, where: str) -> ModeledgeError:
    what = f"a quote that is opened in the row starting here does not close as it should ({error})"
    why = "it would swallow the rows below"
    return ModeledgeError("E-CSV-QUOTE", what, where=where, why=why, remedy='close it; inside quotes write "" for "')


def _refuse_row(feed: Feed, error: ModeledgeError, intake: Intake) -> None:
    feed.return_all_but_first()
    raw, _, offset, _ = feed.taken[0]
    intake.bad(error, raw[:RAW_KEPT], offset=offset, size=len(raw))


def _wrong(row: list[str], header: list[str], feed: Feed, source: Source) -> ModeledgeError | None:
    where = _where(source, feed)
    if feed.error is not None:
        return feed.text.undecodable(feed.error[0], where, feed.error[1])
    if len(row) != len(header):
        what = f"the row has {len(row)} columns, the header has {len(header)} ({', '.join(map(repr, header[:8]))})"
        return ModeledgeError("E-CSV-COLUMNS", what, where=where, why="its values would stand in the wrong columns")
    if any("\0" in value for value in row):
        name = next(name for name, value in zip(header, row, strict=True) if "\0" in value)
        return ModeledgeError("E-NUL", f"field {name!r} holds a NUL character", where=where)
    return None


def _header(row: list[str], feed: Feed, source: Source, intake: Intake, delimiter: str) -> list[str]:
    where = _where(source, feed)
    if feed.error is not None:
        raise feed.text.undecodable(feed.error[0], where, feed.error[1])
    if len(row) == 1 and row[0] != intake.config.text:
        head, below = _raw(feed), [line for line in feed.peek(_LOOKED_AT) if line.strip()]
        for guess in DELIMITERS.replace(delimiter, ""):
            mark = guess.encode()
            if mark in head and all(line.count(mark) >= head.count(mark) for line in below):
                what = f"{delimiter!r} finds one column; {guess!r} would find {head.count(mark) + 1}"
                remedy = f"pass delimiter={guess!r} (--delimiter)"
                raise ModeledgeError("E-CSV-DELIMITER", what, where=where, remedy=remedy)
    if nul := [name for name in row if "\0" in name]:
        raise ModeledgeError("E-NUL", f"the header's name {nul[0]!r} holds a NUL character", where=where)
    if twice := sorted({name for name in row if row.count(name) > 1}):
        raise ModeledgeError("E-DUP-KEY", f"the header names {twice[0]!r} twice", where=where, remedy="rename one")
    return row

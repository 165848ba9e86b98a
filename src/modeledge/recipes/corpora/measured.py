"""`modeledge tokenizer measure`: how well tokenizers fit texts, source by source.

A tokenizer trained on English prose writes code, another language or numbers in many short pieces: the same text costs
more of a context window and more steps. Three numbers say how well one fits, all of `tokens.measure`: bytes a token
(density), tokens a word (fertility, Rust et al. 2021, arXiv 2012.15613) and coverage, the share of tokens that are not
the unknown one. None compares models; bits a byte of text do (`modeledge compare`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.corpora.source import Say, read
from modeledge.recipes.corpora.texts import CorpusRecipe, absolute_path
from modeledge.records import Ledger
from modeledge.report import Figure, Page, Section, Table, render_page
from modeledge.report.blocks import aligned
from modeledge.report.fits import Fit, fit_plot
from modeledge.tokens import Measure, Tokenizer, measure

ROWS, SHEET, PAGE = "measures.json", "measures.csv", "measures.html"
HEADS = ("Tokenizer", "Source", "Bytes a token", "Tokens a word", "Coverage", "Round trip", "Tokens")


@dataclass(frozen=True)
class Measured:
    """One tokenizer on one source."""

    tokenizer: str
    source: str
    measure: Measure

    @property
    def cells(self) -> tuple[str, str, str, str, str, str, int]:
        """The row of the table under `HEADS`; shares are cut and not rounded, so that 100 % is all."""
        m = self.measure
        coverage, same = (f"{int(10_000 * (share + 1e-9)) / 100:.2f} %" for share in (1 - m.unknown, m.round_trip))
        return (self.tokenizer, self.source, f"{m.bytes_per_token:.3f}", f"{m.fertility:.3f}", coverage, same, m.tokens)


def sources_of(words: Sequence[str]) -> dict[str, list[str]]:
    """`NAME=PATH` words as paths by source, names in their order. Raises `E-USAGE` for a word that is none."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            remedy = "write e.g. --source code=src; a name given twice has both paths"
            raise ModeledgeError("E-USAGE", f"{word!r} is not NAME=PATH", where="--source", remedy=remedy)
        found.setdefault(name, []).append(path)
    if not found:
        raise ModeledgeError("E-USAGE", "no source is named", remedy="--source NAME=PATH")
    return found


def measure_tokenizers(
    tokenizers: Sequence[Path], sources: Mapping[str, Sequence[str]], corpus: CorpusRecipe, say: Say
) -> list[Measured]:
    """Every tokenizer on every source, sources in their order; `corpus` says how files are read.

    Records that cannot be read are set aside and said. Raises `E-NO-RECORDS` for a source without text.
    """
    loaded, rows = {name: Tokenizer.load(path) for name, path in _names(tokenizers).items()}, list[Measured]()
    for source, paths in sources.items():
        for number, (name, tokenizer) in enumerate(loaded.items()):
            ledger = Ledger()
            named = corpus.model_copy(update={"paths": tuple(str(absolute_path(path)) for path in paths)})
            try:
                found = measure(tokenizer, (document.text for document in read(named, ledger)))
            except ModeledgeError as error:
                if error.code != "E-NO-RECORDS":
                    raise
                raise ModeledgeError(error.code, error.what, where=source) from error
            rows.append(Measured(name, source, found))
            for reason, count in ledger.quarantined.items() if number == 0 else ():
                say(f"note: {source}: {count.records:,} × {reason} set aside and not measured")
    return rows


def write_measures(rows: Sequence[Measured], out: Path) -> None:
    """`measures.json`, `measures.csv` and `measures.html`, with the plot, in the fresh folder `out`."""
    fresh(out)
    plain = [{"tokenizer": row.tokenizer, "source": row.source, **asdict(row.measure)} for row in rows]
    files.write_json(out / ROWS, plain)
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    files.write_text(out / SHEET, sheet.getvalue())
    fits = [
        Fit(r.tokenizer, r.source, r.measure.bytes_per_token, r.measure.fertility, 1 - r.measure.unknown) for r in rows
    ]
    table = Table(HEADS, [row.cells for row in rows], aligned(len(HEADS), words=2))
    note = "Bytes a token: more is denser. Tokens a word: fewer is denser. Coverage: tokens that are not unknown."
    subtitle = "Each text was encoded whole; words stand between spaces."
    page = Page("How tokenizers fit texts", subtitle, [Section("Sources", [Figure(fit_plot(fits), note), table])])
    files.write_text(out / PAGE, render_page(page))


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Tokenizers by the part of their paths that says most, or by the whole path where that names two."""
    last = [_short(path) for path in paths]
    names = {short if last.count(short) == 1 else str(path): path for short, path in zip(last, paths, strict=True)}
    if len(names) < len(paths):
        raise ModeledgeError("E-USAGE", "a tokenizer is named twice", where=", ".join(map(str, paths)))
    return names


def _short(path: Path) -> str:
    """The last part of a path, or the folder around it where the part is what all of them are called.

    >>> _short(Path("corpora/web/tokenizer")), _short(Path("gpt2.json"))
    ('web', 'gpt2.json')
    """
    parts = [part for part in path.absolute().parts if part not in ("tokenizer", "tokenizer.json")]
    return parts[-1]

"""LaTeX sources: of a paper's folder one document, as its author would read it aloud.

A paper is the file that begins a document (`\\documentclass`); the files that it draws in by `\\input`, `\\include` or
`\\subfile` stand where they are named. Comments go (they hold the reviewers' names, old versions, jokes), and so does
the preamble, which is settings; formulas and commands stay, for they are what a scientific text is made of (The Pile's
ArXiv set, Gao et al. 2020, section 2.3; RedPajama strips the same parts).

A path in a source is a stranger's: nothing outside the folder of the paper is opened, through whatever name or link
(`E-UNSAFE-PATH`), a file that draws itself in is `E-LATEX`, and all parts together obey `max_record_bytes`, because
twenty files that each name the next one twice are a million.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modeledge.corpus.inputs import Source, open_file, regular
from modeledge.corpus.intake import OF_THE_FILE, Intake, Record, bad_bytes
from modeledge.errors import ModeledgeError, printable

_ROOT = re.compile(r"\\document(class|style)\b|\\begin\s*\{document\}")
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}\n]{1,300})\}|\\input\s+([^\s{}\\]{1,300})")
_PIECE = re.compile(
    r"\\begin\{(?P<env>verbatim\*?|Verbatim|lstlisting|minted|comment)\}"
    r"|(?P<keep>\\verb\*?(?P<sign>[^\w\s*])[^\n]*?(?P=sign)|\\\\|\\%)"
    r"|(?P<own>^[ \t]*)?%[^\n]*(?:\n[ \t]*)?",
    re.M,
)
DEEPEST = 32  # files within files


def latex_records(source: Source, intake: Intake) -> Iterator[Record]:
    """A record for each file that begins a document: its body, with `title` where the source tells one.

    Other files are filtered: `latex.part of a document`, `latex.not a .tex file`. A document is bad by
    `E-UNSAFE-PATH`, `E-LATEX`, `E-BOMB`, and by `E-UTF8` or `E-NUL` of any of its files.
    """
    size, where = source.stamp[0], f"{source.name}:1"
    if source.path.suffix.lower() not in (".tex", ".ltx", ".latex"):
        intake.passed_over("latex.not a .tex file", size)
        return
    paper = _Paper(Path(os.path.realpath(source.path.parent)), intake)
    try:
        text = paper.read(source.path, where)
        source.unchanged()
        if not _ROOT.search(text):
            intake.passed_over("latex.part of a document", size)
            return
        text = paper.whole(text, (os.path.realpath(source.path),), where)
    except ModeledgeError as error:
        if error.code in OF_THE_FILE:
            raise
        intake.bad(error, b"", size=size)
        return
    body, title = parted(text)
    if not body:
        intake.passed_over("latex.empty document", size)
        return
    fields = {intake.config.text or "text": body} | ({"title": title} if title else {})
    yield Record(fields, where, paper.size)


def uncommented(text: str) -> str:
    """The source without comments. As in TeX a comment takes its line end along, and the blanks of the next line.

    >>> uncommented("fifty\\\\% of% whom?\\n  it")
    'fifty\\\\% ofit'
    """

    parts, place, unended = list[str](), 0, set[str]()
    while found := _PIECE.search(text, place):
        parts.append(text[place : found.start()])
        place = found.end()
        if (env := found["env"]) is not None:
            closing = f"\\end{{{env}}}"
            end = -1 if env in unended else text.find(closing, place)
            if end < 0:
                unended.add(env)  # looked for once: a source of nothing but beginnings must not take for ever
                end, closing = place, ""
            if env != "comment" or not closing:
                parts.append(text[found.start() : end + len(closing)])
            place = end + len(closing)
        elif found["keep"] is not None:
            parts.append(found["keep"])
        elif found["own"] is None and text[place : place + 1] == "\n":
            parts.append("\n")  # an empty line behind a comment still ends the paragraph
    return "".join([*parts, text[place:]])


def parted(text: str) -> tuple[str, str]:
    """What stands between `\\begin{document}` and its end, and the title."""
    begin = re.search(r"\\begin\s*\{document\}", text)
    end = re.search(r"\\end\s*\{document\}", text)
    body = text[begin.end() if begin else 0 : end.start() if end else len(text)]
    return re.sub(r"\n{3,}", "\n\n", body).strip(), _argument(text, "title")


def _argument(text: str, command: str) -> str:
    """The argument of the first `\\command{…}`, its braces balanced; empty where there is none."""
    found = re.search(rf"\\{command}\s*(?:\[[^\]\n]{{0,300}}\])?\s*\{{", text)
    if not found:
        return ""
    depth, start = 1, found.end()
    for place in range(start, min(len(text), start + 2000)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return " ".join(text[start:place].replace("\\\\", " ").split())
    return ""


@dataclass
class _Paper:
    """One document while its files are put together; `folder` is the real path that none may leave."""

    folder: Path
    intake: Intake
    size: int = 0
    files: dict[Path, str] = field(default_factory=dict)

    def read(self, path: Path, where: str) -> str:
        """A file without comments."""
        name = printable(str(path))
        if path not in self.files:
            self._fits(regular(path).st_size, where)
            with open_file(path, name) as file:
                raw = file.read(self.intake.config.max_record_bytes + 1)
            encoding = self.intake.config.encoding
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                line = raw.count(b"\n", 0, error.start) + 1
                raise bad_bytes(error, f"{name}:{line}", 0, encoding) from error
            if "\0" in text:
                raise ModeledgeError("E-NUL", f"byte {raw.index(0):,}: a NUL character", where=where)
            self.files[path] = uncommented(text.replace("\r\n", "\n").replace("\r", "\n"))
        self.size += len(self.files[path].encode())
        self._fits(0, where)
        return self.files[path]

    def whole(self, text: str, open: tuple[str, ...], where: str) -> str:
        """The text with each file that it names in its place; `open` are the files that it stands in."""

        def inserted(found: re.Match[str]) -> str:
            path = self._path((found[1] or found[2]).strip(), where)
            if path is None:
                return ""
            if str(path) in open or len(open) >= DEEPEST:
                what = "it draws itself in" if str(path) in open else f"more than {DEEPEST} files within each other"
                raise ModeledgeError("E-LATEX", f"\\input of {printable(path.name, 80)}: {what}", where=where)
            return self.whole(self.read(path, where), (*open, str(path)), where)

        return _INPUT.sub(inserted, text)

    def _path(self, name: str, where: str) -> Path | None:
        """The file that is meant, inside the folder; None, with a note, where there is none."""
        for ending in ("", ".tex"):
            path = Path(os.path.realpath(self.folder / (name + ending)))
            if not path.is_relative_to(self.folder):
                what = f"\\input of {printable(name, 80)!r} leads out of the paper's folder"
                raise ModeledgeError("E-UNSAFE-PATH", what, where=where)
            if path.is_file():
                return path
        self.intake.note("\\input of a file that is not there, left out", where.rpartition(":")[0])
        return None

    def _fits(self, more: int, where: str) -> None:
        cap = self.intake.config.max_record_bytes
        if self.size + more > cap:
            what = f"the document's files together are longer than {cap:,} bytes"
            raise ModeledgeError("E-BOMB", what, where=where, remedy="raise max_record_bytes if you trust it")

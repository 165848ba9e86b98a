"""The errors a user can meet: one catalogue of codes, each with its cause, its remedy and its exit status.

A message always reads `E-CODE: where: what; why it matters; what to do`. Exit statuses follow BSD `sysexits.h`
(64 usage, 65 data, 66 missing input, 73 cannot create, 74 input/output, 77 permission, 78 configuration).
A programming mistake of ours is an `assert`; everything a user can cause is a `ModeledgeError` with a code from here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

USAGE, DATA, NO_INPUT, CANNOT_CREATE, IO_ERROR, PERMISSION, CONFIG = 64, 65, 66, 73, 74, 77, 78


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    exit_status: int
    cause: str
    remedy: str


CATALOGUE: dict[str, Entry] = {
    # --- bytes and text
    "E-UTF8": Entry(DATA, "a byte sequence is not valid UTF-8", "pass --encoding, or let corpus mode quarantine it"),
    "E-ENCODING": Entry(DATA, "the file is in another encoding than UTF-8", "pass --encoding with its name"),
    "E-MIXED": Entry(DATA, "one file holds text in two encodings", "turn all of it into UTF-8, or quarantine records"),
    "E-SURROGATE": Entry(DATA, "a JSON string holds half a surrogate pair", "repair the writer of the file"),
    "E-NUL": Entry(DATA, "the text holds a NUL character", "remove it, or let corpus mode quarantine the record"),
    "E-EMPTY-FILE": Entry(DATA, "the file has no bytes", "remove it from the inputs"),
    "E-NO-RECORDS": Entry(DATA, "the input holds no record", "check the path and the format"),
    "E-LINE-TOO-LONG": Entry(DATA, "one line is longer than the cap", "raise max_record_bytes, or split the record"),
    "E-DOC-TOO-LARGE": Entry(DATA, "one document is larger than the cap", "raise max_record_bytes, or cut it up"),
    # --- containers
    "E-JSON": Entry(DATA, "a line is not one JSON object", "repair the line"),
    "E-JSON-TYPE": Entry(DATA, "a line holds a list or a scalar instead of an object", "write one object a line"),
    "E-JSON-DEPTH": Entry(DATA, "JSON is nested too deeply", "flatten the record"),
    "E-DUP-KEY": Entry(DATA, "a JSON object repeats a key", "keep one of the two"),
    "E-NOT-FINITE": Entry(DATA, "a number is NaN or infinite", "repair or drop the record"),
    "E-NUMBER": Entry(DATA, "a number is too large to be read", "write it as a string"),
    "E-FIELD-TYPE": Entry(DATA, "a field has the wrong type", "convert the column"),
    "E-MISSING-FIELD": Entry(DATA, "a record lacks a field", "name the right field, or add it"),
    "E-FORMAT": Entry(DATA, "the content does not match the file's name", "pass --format, or rename the file"),
    "E-GZIP-TRUNCATED": Entry(DATA, "the compressed file ends too early", "fetch it again, or pass --allow-partial"),
    "E-GZIP-CRC": Entry(DATA, "the compressed file's checksum is wrong", "fetch it again"),
    "E-GZIP-TRAILING": Entry(DATA, "bytes follow the end of the compressed data", "cut them off"),
    "E-BOMB": Entry(DATA, "the file expands far beyond its size", "raise max_expansion if you trust it"),
    "E-ARCHIVE-LIMIT": Entry(DATA, "an archive holds too much, or another archive", "unpack it by hand, with care"),
    "E-DUP-MEMBER": Entry(DATA, "an archive holds one name twice", "write it again with each name once"),
    "E-PARQUET": Entry(DATA, "the Parquet file cannot be read", "write it again"),
    "E-WARC": Entry(DATA, "a WARC file or one of its records is damaged", "fetch it again"),
    "E-HTML": Entry(DATA, "the page cannot be read as HTML", "leave it in quarantine"),
    "E-XML": Entry(DATA, "the XML is damaged, or declares what could expand", "repair the row"),
    "E-LATEX": Entry(DATA, "the files of a LaTeX source cannot be put together", "repair the source"),
    "E-BINARY": Entry(DATA, "a file of a source tree is not text", "leave it in quarantine"),
    "E-SCHEMA": Entry(DATA, "files of one input disagree about their columns", "give them the same columns"),
    "E-CSV-COLUMNS": Entry(DATA, "a row has another number of columns than the header", "repair the row"),
    "E-CSV-QUOTE": Entry(DATA, "a quote is opened and never closed", "close it"),
    "E-CSV-DELIMITER": Entry(DATA, "the file seems to use another delimiter", "pass --delimiter"),
    "E-DUP-INPUT": Entry(USAGE, "one file is named twice", "name it once"),
    "E-NOT-A-FILE": Entry(NO_INPUT, "the path is not a regular file", "name a file"),
    "E-NO-FILE": Entry(NO_INPUT, "the path does not exist", "check the path"),
    "E-PERMISSION": Entry(PERMISSION, "the file may not be read", "change its permissions"),
    "E-OFFLINE": Entry(IO_ERROR, "the hub cannot be reached, and its cache lacks the model", "fetch it first"),
    "E-READ": Entry(IO_ERROR, "the disk or network refused a read", "check the disk and run again"),
    "E-INPUT-CHANGED": Entry(DATA, "the input changed while it was read", "run again when its writer is done"),
    "E-DUP-ID": Entry(DATA, "two records share an id", "make ids unique"),
    "E-TOO-MANY-BAD": Entry(DATA, "more records were bad than the cap allows", "repair the input or raise the cap"),
    # --- labels and splits
    "E-LABEL-MISSING": Entry(DATA, "a row has no label", "label it or drop it"),
    "E-LABEL-RANGE": Entry(DATA, "a label id is outside the classes", "check the number of classes"),
    "E-LABEL-UNKNOWN": Entry(DATA, "a label is not one of the classes", "correct it"),
    "E-LABEL-TYPE": Entry(DATA, "the labels do not fit the task", "choose the other task"),
    "E-CLASS-UNSEEN": Entry(DATA, "a class of the evaluation data never occurs in training", "split again"),
    "E-CLASS-TOO-SMALL": Entry(DATA, "a class is too small to be split", "merge it or add rows"),
    "E-ONE-CLASS": Entry(DATA, "the data hold a single class", "add another class"),
    "E-EMPTY-SPLIT": Entry(DATA, "a split is empty", "check the filters and the split"),
    "E-LENGTH-MISMATCH": Entry(DATA, "two lists that belong together differ in length", "repair the record"),
    "E-TAG-SCHEME": Entry(DATA, "the tags break their scheme", "repair the tags, or name another scheme"),
    "E-ANSWER-MISSING": Entry(DATA, "a question has no answer", "answer it, mark it is_impossible, or drop it"),
    "E-ANSWER-MISMATCH": Entry(DATA, "an answer does not stand where the record says", "correct text or offset"),
    "E-QUESTION-TOO-LONG": Entry(DATA, "a question leaves no room for the text", "shorten it, or raise the row length"),
    "E-SPAN": Entry(DATA, "a span does not fit its text", "give start and end in characters, from 0, end excluded"),
    "E-SCORES": Entry(DATA, "scores do not fit the metric", "pass what the metric says it needs"),
    "E-LEAK": Entry(DATA, "training and evaluation share rows", "remove them from one side"),
    "E-NO-TARGET-AFTER-TRUNCATION": Entry(DATA, "cutting to the row length leaves no target", "raise the row length"),
    "E-LABEL-LEAK": Entry(DATA, "what is read gives away what is to be learned", "remove it from the inputs"),
    "E-MASK": Entry(DATA, "other tokens are learned than were meant", "repair what marks them"),
    "E-NO-END": Entry(DATA, "the end of a text is never learned, so the model would not stop", "learn the end token"),
    "E-FRAME": Entry(DATA, "special tokens around a text are doubled or missing", "put each there once"),
    "E-SPECIAL-IN-TEXT": Entry(DATA, "special tokens are written out in the texts", "give the texts without them"),
    "E-TOO-LONG": Entry(DATA, "an example is longer than a row", "raise the row length or allow truncation"),
    # --- tokenizer, model, configuration
    "E-VOCAB-SIZE": Entry(CONFIG, "the tokenizer has more ids than the model has rows", "use the model's tokenizer"),
    "E-VOCAB-CONFIG": Entry(CONFIG, "the vocabulary size cannot be met", "choose a larger vocabulary"),
    "E-TOKENIZER": Entry(DATA, "the tokenizer file cannot be read", "train or copy it again"),
    "E-TOKENIZER-MISMATCH": Entry(CONFIG, "the tokenizer is not the one used before", "use the original tokenizer"),
    "E-UNKNOWN-TOKENS": Entry(CONFIG, "the tokenizer does not know the texts", "use one that was trained on such text"),
    "E-SPECIAL-TOKEN": Entry(CONFIG, "a special token that is needed is missing", "train the tokenizer with it"),
    "E-TEMPLATE": Entry(DATA, "the chat template cannot be rendered", "repair the template, or pass another one"),
    "E-CHAT": Entry(DATA, "a conversation is not made of turns", "give each turn a known role and a content"),
    "E-POSITION": Entry(CONFIG, "rows are longer than the model's positions", "shorten the rows"),
    "E-CONFIG": Entry(CONFIG, "the configuration contradicts itself", "change one of the fields"),
    "E-CONFIG-KEY": Entry(CONFIG, "the configuration has an unknown key", "use the nearest right name"),
    "E-CONFIG-VALUE": Entry(CONFIG, "a configuration value is not allowed", "correct the value"),
    "E-CONFIG-SYNTAX": Entry(CONFIG, "the configuration file is not TOML", "repair the file"),
    "E-EPOCHS": Entry(
        CONFIG, "a corpus would be read more often than it may be", "read less of it, or raise the limit"
    ),
    "E-CONFIG-UNSAFE": Entry(CONFIG, "the file could run code or exhaust memory", "write the recipe as TOML"),
    "E-UNSAFE-FORMAT": Entry(DATA, "the format can run code when it is read", "convert it to safetensors"),
    "E-UNSAFE-PATH": Entry(DATA, "a file names a path outside its folder", "do not use this artifact"),
    "E-SAFETENSORS": Entry(DATA, "the safetensors file is damaged", "fetch or write it again"),
    "E-GGUF": Entry(DATA, "the GGUF file is damaged, or of a kind not read here", "fetch it again, or convert it"),
    "E-KEYS": Entry(DATA, "weights are missing or unexpected", "load into the architecture that they were saved from"),
    "E-FAMILY": Entry(CONFIG, "the architecture is not known here", "see `modeledge families`"),
    "E-OUTSIDE-FAMILY": Entry(CONFIG, "the model cannot be written in this format", "write the native format"),
    "E-SITE": Entry(CONFIG, "a strategy names parts that the model does not have", "use one of the model's parts"),
    "E-FEATURES": Entry(CONFIG, "cached states do not fit the examples or the limit", "train without the cache"),
    "E-TIED": Entry(CONFIG, "weights that should be one are two, or the other way round", "load the model again"),
    "E-FRESH-HEAD": Entry(CONFIG, "a head would start afresh where a trained one exists", "allow it if you mean it"),
    "E-FROZEN": Entry(CONFIG, "other weights move than were to move", "correct the strategies"),
    "E-START-LOSS": Entry(CONFIG, "the loss before training is not what it must be", "check weights and tokenizer"),
    "E-INVARIANCE": Entry(CONFIG, "the loss depends on how examples are laid out", "mend the objective or model"),
    "E-SCHEDULE": Entry(CONFIG, "the learning rates would waste the run", "correct the rate or its schedule"),
    "E-MEMORY": Entry(CONFIG, "the run does not fit into memory", "lower train.micro_batch or train.length"),
    "E-MERGE": Entry(USAGE, "this strategy cannot be merged", "keep it as a separate file"),
    "E-BASE": Entry(DATA, "the base model of an adapter is gone, or is another one", "bring back the base model"),
    "E-ADAPTER": Entry(DATA, "an adapter cannot be held in this form", "write the whole model"),
    # --- runs
    "E-CHECKPOINT": Entry(DATA, "a checkpoint is damaged or incomplete", "the previous good one is used"),
    "E-NO-CHECKPOINT": Entry(NO_INPUT, "the run has no usable checkpoint", "start it again"),
    "E-RESUME": Entry(CONFIG, "the run cannot go on as it was", "restore what changed, or start a new run"),
    "E-OUTPUT": Entry(CANNOT_CREATE, "the output folder cannot be used", "choose another one"),
    "E-DISK": Entry(IO_ERROR, "the disk refused a write", "make room and resume"),
    "E-WORKER": Entry(IO_ERROR, "a process that shares the work was killed", "use fewer processes, and resume"),
    "E-NON-FINITE-LOSS": Entry(DATA, "the loss or a gradient is not finite", "look at the named records"),
    "E-SPLIT": Entry(CONFIG, "this objective cannot be split into micro-batches", "set micro_batch to the batch size"),
    "E-NO-TARGET": Entry(DATA, "an example has nothing to learn from", "raise the row length or drop it"),
    "E-DEVICE": Entry(CONFIG, "the device is not available", "choose another device"),
    "E-EXTRA": Entry(USAGE, "an optional dependency is not installed", "install the named extra"),
    "E-USAGE": Entry(USAGE, "the command's arguments do not fit", "see --help"),
    "E-WARNING": Entry(DATA, "a warning is refused, as strictness was asked for", "mend it, or allow it by name"),
    "E-BUDGET": Entry(CONFIG, "a run of a study takes longer than its budget", "raise minutes, or lower its steps"),
    "E-STUDY": Entry(DATA, "runs of a study failed", "mend what their errors name, and resume the study"),
    "E-RUN-FOLDER": Entry(DATA, "the run folder cannot be read", "name a folder written by modeledge"),
}


class ModeledgeError(ValueError):
    """An error that the user can mend. `code` is a key of `CATALOGUE`.

    >>> str(ModeledgeError("E-UTF8", "0xE9 is not UTF-8", where="a.txt:3", remedy="use --encoding latin-1"))
    'E-UTF8: a.txt:3: 0xE9 is not UTF-8; use --encoding latin-1'
    """

    def __init__(self, code: str, what: str, *, where: str = "", why: str = "", remedy: str = "") -> None:
        entry = CATALOGUE[code]
        self.code, self.what, self.where, self.why = code, what, where, why
        self.remedy = remedy or entry.remedy
        self.exit_status = entry.exit_status
        head = f"{code}: {where}: {what}" if where else f"{code}: {what}"
        super().__init__(_shown("; ".join(part for part in (head, why, self.remedy) if part)))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.code, self.what, self.where, self.why, self.remedy))


def _shown(message: str) -> str:
    """A message may quote data: what would command a terminal, or turn its text round, is shown as what it is."""
    return "".join(c if c.isprintable() or c == "\n" else printable(c) for c in message)


def _rebuild(code: str, what: str, where: str, why: str, remedy: str) -> ModeledgeError:
    return ModeledgeError(code, what, where=where, why=why, remedy=remedy)


def nearest(word: str, known: Iterable[str]) -> str:
    """A phrase that names the nearest right word, or lists what there is: `did you mean 'learning_rate'?`"""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(choices[:20]) + (", …" if len(choices) > 20 else "")


def printable(text: str, limit: int = 200) -> str:
    """Text from data, safe for a terminal: control characters and bidirectional overrides escaped, length cut."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)

"""The Pile's layout: jsonl whose records say in `meta.pile_set_name` which of its sets they come from.

Gao et al. 2020 (arXiv 2101.00027), table 1: 22 sets in one file, shuffled. A corpus that was mixed by others is one
that can be mixed anew, so the set becomes the document's source: the ledger and the data card count each on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import Intake, Record
from modeledge.corpus.jsonl import jsonl_records
from modeledge.errors import ModeledgeError

#: The kind of each set: the paper's categories (table 1, figure 1) in the words of the lectures.
PILE_KINDS = {
    "Pile-CC": "web pages", "OpenWebText2": "web pages", "HackerNews": "conversation", "StackExchange": "conversation",
    "Ubuntu IRC": "conversation", "OpenSubtitles": "conversation", "Enron Emails": "conversation",
    "YoutubeSubtitles": "conversation", "Books3": "books", "BookCorpus2": "books", "Gutenberg (PG-19)": "books",
    "EuroParl": "multilingual", "PubMed Central": "scientific", "PubMed Abstracts": "scientific", "ArXiv": "scientific",
    "PhilPapers": "scientific", "NIH ExPorter": "scientific", "DM Mathematics": "scientific", "Github": "code",
    "FreeLaw": "other", "USPTO Backgrounds": "other", "Wikipedia (en)": "other",
}  # fmt: skip


def pile_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a line, its source named by `meta.pile_set_name`; one without is bad by `E-MISSING-FIELD`."""
    for record in jsonl_records(source, intake):
        meta = record.fields.get("meta")
        name = meta.get("pile_set_name") if isinstance(meta, dict) else None
        if not isinstance(name, str) or not name:
            remedy = "pass format='jsonl' for records that name no set"
            error = ModeledgeError("E-MISSING-FIELD", "no meta.pile_set_name", where=record.where, remedy=remedy)
            intake.bad(error, record.raw, offset=record.offset, size=record.bytes)
            continue
        intake.ledger.of(name).kind = PILE_KINDS.get(name, "other")
        yield replace(record, source=name)

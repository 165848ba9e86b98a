"""A quote that is never closed: each of the rows below is bad or good by itself, and none reads the rest again."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeledge.corpus.read import Quarantined, ReadConfig, read_documents
from modeledge.corpus.tables import Feed
from modeledge.records import Ledger


def test_time_grows_with_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line begins a field that the next one closes and opens anew, so each row would run to the end."""
    lines, looked, whole = 300, [0], Feed.__next__

    def counted(feed: Feed) -> str:
        looked[0] += 1
        return whole(feed)

    monkeypatch.setattr(Feed, "__next__", counted)
    (tmp_path / "a.csv").write_text("text,b\n" + 'x","y\n' * lines + "good,row\n")
    ledger = Ledger()
    found = list(read_documents([tmp_path / "a.csv"], ReadConfig(on_bad_record="skip"), ledger))
    assert [document.text for document in found] == ["good"]
    assert ledger.quarantined["E-CSV-QUOTE"].records == lines
    assert looked[0] < 5 * lines


def test_rows_behind_an_open_quote_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,b\n"open,1\none,1\n"two",2\nthree,"3\nfour,4\n')
    aside = list[Quarantined]()
    config = ReadConfig(on_bad_record="quarantine")
    found = [document.text for document in read_documents([tmp_path / "a.csv"], config, Ledger(), aside.append)]
    assert found == ["one", "two", "four"]
    assert [one.where.rpartition(":")[2] for one in aside] == ["2", "5"]

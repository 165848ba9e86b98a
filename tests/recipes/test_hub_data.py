"""A data file by its address, from a hub of our own on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_small import COMMIT, Hub, serving

from modeledge.corpus.layouts import read_layout
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.hub_data import fetch_data, is_address, same_file

constants = pytest.importorskip("huggingface_hub.constants")
ADDRESS = "hf://datasets/org/RTE"
PINNED = f"{ADDRESS}@{COMMIT}/glue/dev.tsv"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n")
    with serving("datasets/org/RTE", tmp_path / "data") as hub:
        yield hub


def test_a_file_is_fetched_and_its_commit_handed_back(hub: Hub) -> None:
    found = fetch_data(f"{ADDRESS}/glue/dev.tsv", hub.address)
    assert (found.address, found.endpoint) == (PINNED, hub.address)
    assert read_layout("rte", found.path, "dev")[0]["label"] == "entailment"
    assert fetch_data(PINNED, hub.address).path == found.path
    assert set(hub.tokens) == {None}, "a token for the usual hub stays at home"


def test_what_is_not_there_and_what_cannot_be_reached(hub: Hub) -> None:
    with pytest.raises(ModeledgeError, match=r"E-NO-FILE.*dataset org/RTE"):
        fetch_data(f"{ADDRESS}/glue/gone.tsv", hub.address)
    with pytest.raises(ModeledgeError, match=r"E-OFFLINE.*hf download org/Other --repo-type dataset --revision v1"):
        fetch_data("hf://datasets/org/Other@v1/a.tsv", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("asked", "begun", "same"),
    [
        (f"{ADDRESS}/glue/dev.tsv", PINNED, True),
        (PINNED, PINNED, True),
        (f"{ADDRESS}@main/glue/dev.tsv", PINNED, False),
        (f"{ADDRESS}/glue/train.tsv", PINNED, False),
        ("/a/dev.tsv", "/a/dev.tsv", True),
        ("/a/dev.tsv", PINNED, False),
        ("hf://org/x", PINNED, False),
    ],
)
def test_an_address_without_its_commit_is_the_same_file(asked: str, begun: str, same: bool) -> None:
    assert same_file(asked, begun) is same


@pytest.mark.parametrize("address", ["hf://org/name/a.tsv", "hf://datasets/org/name", "hf://datasets/org/n/../../x"])
def test_other_addresses_are_refused(address: str) -> None:
    assert is_address(address)
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        fetch_data(address)
    assert not is_address("datasets/org/name/a.tsv")

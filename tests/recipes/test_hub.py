"""A model by its name, from a hub of our own on this machine: what is asked for, remembered, and said when offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_small import COMMIT, Hub, llama, serving
from test_use import TEXTS, TOKENIZER, refused
from typer.testing import CliRunner

import modeledge as me
from modeledge.cli import app
from modeledge.recipes.store.convert import Wish, convert
from modeledge.recipes.store.hub import without_secrets
from modeledge.report import run_report

NAME = "org/tiny"
constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a home of its own: nothing that this machine has is read."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small decoder with its tokenizer, and things beside it that nobody should fetch."""
    folder = me.save(llama(TOKENIZER), tmp_path / "published", dtype="bfloat16")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04}.")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(model: Path, cache: Path) -> Iterator[Hub]:
    with serving(NAME, model) as hub:
        yield hub


def test_a_name_is_fetched_and_its_commit_remembered(hub: Hub, model: Path, tmp_path: Path) -> None:
    loaded = me.load(NAME, endpoint=hub.address)
    assert loaded.transformer.origin.source == {"name": NAME, "revision": COMMIT, "endpoint": hub.address}
    for name, tensor in me.load(model).transformer.state_dict().items():
        assert torch.equal(tensor, loaded.transformer.state_dict()[name])
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    me.save(loaded, tmp_path / "again")
    card = (tmp_path / "again" / "README.md").read_text()
    assert f'base_model: "{NAME}"' in card
    assert COMMIT in card
    assert me.load(model).transformer.origin.source == {}


def test_neither_pickles_nor_code_are_asked_for(hub: Hub) -> None:
    me.load(NAME, endpoint=hub.address)
    fetched = {asked.rpartition("/")[2] for asked in hub.asked if "/resolve/" in asked}
    assert fetched == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_token_for_the_usual_hub_stays_at_home(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    me.load(NAME, endpoint=hub.address)
    assert set(hub.tokens) == {None}


def test_the_variable_names_a_mirror_and_gets_the_token(hub: Hub, tmp_path: Path) -> None:
    """In a process of its own: the client reads `HF_ENDPOINT` when it is imported."""
    code = (
        f"import modeledge as me; print(me.load({NAME!r}, revision={COMMIT!r}).transformer.origin.source['endpoint'])"
    )
    setting = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **setting}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hub.address
    assert "Bearer hf_secret" in hub.tokens


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (lambda at: me.load("org/none", endpoint=at), "E-NO-FILE", "no model org/none"),
        (lambda at: me.load(NAME, "v9", endpoint=at), "E-NO-FILE", "no revision 'v9'"),
        (lambda at: me.load("not a name"), "E-NO-FILE", "not a name"),
        (lambda at: me.load("../up"), "E-NO-FILE", "up"),
        (lambda at: me.load(NAME, endpoint="ftp://x"), "E-USAGE", "no address"),
        (lambda at: me.load(".", endpoint=at), "E-USAGE", "has no endpoint"),
    ],
)
def test_what_is_not_there_is_said(hub: Hub, call: Callable[[str], Any], code: str, words: str) -> None:
    assert words in refused(code, lambda: call(hub.address))


def test_without_a_network_the_cache_serves_or_the_way_out_is_named(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(NAME, model) as hub:
        me.load(NAME, endpoint=hub.address)
    kept = me.load(NAME, endpoint=hub.address)  # the hub is gone
    assert kept.transformer.origin.source["revision"] == COMMIT
    for said in (
        refused("E-OFFLINE", lambda: me.load("org/other", "v1", endpoint=hub.address)),
        refused("E-OFFLINE", lambda: me.load("org/other", "v1", endpoint=hub.address.replace("//", "//me:secret@"))),
    ):
        assert str(cache) in said
        assert "hf download org/other --revision v1" in said
        assert "secret" not in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert str(cache) in refused("E-OFFLINE", lambda: me.load("org/other"))
    assert "there is no folder org/other here" in refused("E-OFFLINE", lambda: me.load("org/other"))


def test_a_run_says_which_commit_it_began_with(hub: Hub, tmp_path: Path) -> None:
    rows = [{"text": text, "label": str(n % 2)} for n, text in enumerate(TEXTS * 5)]
    fields = {"endpoint": hub.address, "epochs": 1.0, "license": "mit", "allow_leak": True, "test": rows}
    tuned, _ = me.finetune(NAME, rows, tmp_path / "run", "train.length=16", say=str, **fields)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["fetched"] == {"name": NAME, "revision": COMMIT, "endpoint": hub.address}
    assert f'revision = "{COMMIT}"' in (tmp_path / "run" / "run.toml").read_text()
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert f'base_model_revision: "{COMMIT}"' in card
    assert tuned.task is not None


def test_a_run_by_name_goes_on_with_its_commit(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch may have moved, the hub be out of reach: what was settled is not asked again."""
    rows = [{"text": f"{text} {n}", "label": str(n % 2)} for n, text in enumerate(TEXTS * 5)]
    fields = {"endpoint": hub.address, "epochs": 1.0, "say": str, "check": False}
    _, marks = me.finetune(NAME, rows, tmp_path / "run", "train.length=16", **fields)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _, again = me.finetune(NAME, rows, tmp_path / "run", "train.length=16", resume=True, **fields)
    assert again == marks
    at = {**fields, "revision": COMMIT}
    assert me.finetune(NAME, rows, tmp_path / "run", "train.length=16", resume=True, **at)[1] == marks
    refused("E-RESUME", lambda: me.finetune(NAME, rows, tmp_path / "run", "train.length=9", resume=True, **fields))


def verb(*words: object) -> Any:
    """What a verb prints, and how it ends."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_every_verb_takes_a_name_a_commit_and_a_mirror(hub: Hub, model: Path, tmp_path: Path) -> None:
    at = ("--endpoint", hub.address, "--revision", COMMIT)
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "".join(f"{TEXTS[n % 4]} {n},{n % 2}\n" for n in range(20)))
    wanted = me.load(model).generate("the", temperature=0, max_new_tokens=4)[0]
    assert verb("generate", NAME, "the", "--temperature", 0, "--max-new-tokens", 4, *at) == f"the{wanted}\n"
    verb("embed", NAME, table, "-o", tmp_path / "vectors.npy", *at)
    assert (tmp_path / "vectors.npy").exists()
    run = tmp_path / "run"
    verb("finetune", NAME, table, "train.length=16", "--epochs", 1, "--out", run, *at)
    assert f'revision = "{COMMIT}"' in (run / "run.toml").read_text()
    with serving("org/tuned", run / "model") as other:
        at = ("--endpoint", other.address, "--revision", COMMIT)
        assert "accuracy" in verb("evaluate", "org/tuned", table, *at)
        verb("predict", "org/tuned", table, "-o", tmp_path / "answers.csv", *at)
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 21


def test_pre_training_starts_from_a_name(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"{text} and more of it" for text in TEXTS * 3))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[corpus]\npaths = ["{tmp_path}/text.txt"]\ndeduplicate = false\n[model]\nstart = "{NAME}"\n'
        "[train]\nsteps = 1\nbatch = 2\nlength = 8\n"
    )
    at = ("--endpoint", hub.address, "--revision", COMMIT)
    verb("pretrain", recipe, "--out", tmp_path / "run", *at)
    toml = (tmp_path / "run" / "run.toml").read_text()
    assert f'endpoint = "{hub.address}"' in toml
    recipe.write_text(recipe.read_text().replace(f'start = "{NAME}"', ""))
    done = CliRunner().invoke(app, ["pretrain", str(recipe), "--out", str(tmp_path / "other"), *at])
    assert getattr(done.exception, "code", "") == "E-CONFIG"


def test_no_secret_and_no_sentence_of_the_data_is_in_what_a_run_writes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Twelve secrets around a run, a rare sentence in its rows: no output holds them, though predict works."""
    secrets = [f"s3cr3t-{n:02d}-{n * 7919:06d}" for n in range(12)]
    names = ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "GITHUB_TOKEN", "PASSWORD")
    for name, secret in zip((*names, *(f"MY_SECRET_{n}" for n in range(5))), secrets, strict=False):
        monkeypatch.setenv(name, secret)
    canary = "the violet walrus forgot 48213 umbrellas"
    endpoint = hub.address.replace("//", f"//me:{secrets[11]}@")
    rows = [{"text": f"{text} {canary if n == 3 else n}", "label": str(n % 2)} for n, text in enumerate(TEXTS * 5)]
    tuned, results = me.finetune(
        NAME, rows, tmp_path / "run", "train.length=16", "train.judge_every=2", endpoint=endpoint, epochs=2.0
    )
    tuned.predict([row["text"] for row in rows])
    run_report(tmp_path / "run")
    told = capfd.readouterr()
    written = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert len(written) > 8
    written |= {Path("screen"): (told.out + told.err).encode(), Path("results"): repr(results).encode()}
    for path, content in written.items():
        assert not [s for s in secrets if s.encode() in content], path
        assert b"violet walrus" not in content, path


def test_convert_takes_a_name(hub: Hub, tmp_path: Path) -> None:
    convert(NAME, tmp_path / "out", Wish("modeledge", endpoint=hub.address), say=str)
    assert f'base_model_revision: "{COMMIT}"' in (tmp_path / "out" / "README.md").read_text()


def test_secrets_in_an_address_are_not_written_down() -> None:
    assert without_secrets("https://me:secret@mirror.example:8/x") == "https://mirror.example:8/x"

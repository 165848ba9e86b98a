"""Averages over runs: the arithmetic, what is taken in, and models that open again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import modeledge as me
from modeledge import files
from modeledge.cli import app
from modeledge.errors import ModeledgeError
from modeledge.recipes.asking.use import Model
from modeledge.recipes.tuning import soup
from modeledge.recipes.tuning.beginning import check_one_beginning
from modeledge.recipes.tuning.soup import greedy_soup, mixed, uniform_soup, wise_soup

WORDS = {"up": "rise gain high climb".split(), "down": "fall loss low sink".split()}  # noqa: SIM905
ROWS = [
    {"text": f"{WORDS[label][n % 4]} number {n} {WORDS[label][(n // 4) % 4]}", "label": label}
    for n in range(48)
    for label in ("up", "down")
]
SMALL = ("train.batch=8", "train.length=16", "train.precision=fp32", "epochs=1", "check=false")


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A tiny model, and three runs that began with it."""
    home = tmp_path_factory.mktemp("soup")
    shape = {"width": 16, "encoder": {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 16}}}
    shape["encoder"]["position"] = {"kind": "rotary"}
    recipe = {
        "corpus": {}, "tokenizer": {"vocab_size": 300}, "model": {"preset": "none", "shape": shape},
        "objective": {"kind": "masked"}, "train": {"steps": 2, "batch": 4, "length": 16, "precision": "fp32"},
    }  # fmt: skip
    me.pretrain(recipe, home / "start", texts=[row["text"] for row in ROWS], say=quiet)
    found = []
    for seed in range(3):
        me.finetune(home / "start", ROWS, home / f"run-{seed}", *SMALL, f"seed={seed}", say=quiet)
        found.append(home / f"run-{seed}")
    return home / "start", found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(Model.load(folder, say=quiet).transformer.state_dict())


def test_the_mean_of_all(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    uniform_soup(runs[1], tmp_path / "out", say=quiet)
    each, made = [weights(run) for run in runs[1]], weights(tmp_path / "out")
    for name, value in made.items():
        mean = torch.stack([w[name].double() for w in each]).mean(0)
        assert torch.allclose(value.double(), mean, atol=1e-7, rtol=0), name
    assert not torch.equal(each[0]["tokens"], each[1]["tokens"])
    assert len(Model.load(tmp_path / "out", say=quiet).predict(ROWS[:2], say=quiet)) == 2
    assert files.read_json(tmp_path / "out" / "soup.json")["ingredients"] == ["run-0", "run-1", "run-2"]


def test_greedy_takes_what_makes_it_no_worse(
    runs: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By made-up scores: alone 0.5, 0.7, 0.6; then the mean with run 2 gets worse, that with run 0 as good."""
    told = iter([0.5, 0.7, 0.6, 0.65, 0.7])
    monkeypatch.setattr(soup, "score", lambda model, examples: next(told))
    note = greedy_soup(runs[1], tmp_path / "out", ROWS, say=quiet)
    assert note["ingredients"] == ["run-1", "run-0"]
    assert note["left"] == ["run-2"]
    one, two, made = weights(runs[1][0]), weights(runs[1][1]), weights(tmp_path / "out")
    assert all(torch.allclose(value, (one[n] + two[n]) / 2, atol=1e-7) for n, value in made.items())


def test_between_the_start_and_the_end(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    wise_soup(runs[1][0], runs[0], tmp_path / "out", alpha=0.25, say=quiet)
    before, after, made = weights(runs[0]), weights(runs[1][0]), weights(tmp_path / "out")
    for name, value in made.items():
        mean = after[name] if name.startswith("heads.") else 0.75 * before[name] + 0.25 * after[name]
        assert torch.allclose(value, mean, atol=1e-7), name
    assert not torch.equal(made["tokens"], after["tokens"])


def test_alpha_is_chosen_on_rows(
    runs: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([0.1, 0.2, 0.3, 0.9, 0.4, 0.9, 0.4, 0.3, 0.2, 0.1, 0.0])
    monkeypatch.setattr(soup, "score", lambda model, examples: next(told))
    note = wise_soup(runs[1][0], runs[0], tmp_path / "out", data=ROWS, say=quiet)
    assert note["alpha"] == 0.3, "the lowest of equals"
    assert len(note["scores"]) == 11


def test_the_verb(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["soup", *map(str, runs[1][:2]), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "model.safetensors").exists()
    words = ["soup", str(runs[1][0]), "--wise-ft", str(runs[0]), "--alpha", "0.5", "--out", str(tmp_path / "b")]
    assert CliRunner().invoke(app, words).exit_code == 0


def test_what_cannot_be_averaged(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    start, (one, two, _) = runs
    with pytest.raises(ModeledgeError, match="named twice"):
        uniform_soup([one, two, one], tmp_path / "out", say=quiet)
    for fields in ({}, {"alpha": 0.5, "data": ROWS}):
        with pytest.raises(ModeledgeError, match="either given or chosen"):
            wise_soup(one, start, tmp_path / "out", say=quiet, **fields)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        wise_soup(one, start, tmp_path / "out", alpha=1.5, say=quiet)
    assert not (tmp_path / "out").exists()


def test_whole_numbers_are_the_first_ones() -> None:
    one, two = ({"a": torch.tensor([value]), "n": torch.tensor(int(value))} for value in (1.0, 3.0))
    told = mixed([one, two], [0.25, 0.75])
    assert float(told["a"]) == 2.5
    assert int(told["n"]) == 1


def test_what_has_more_than_weights_of_its_own_is_refused(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """A classical head would be left behind, and an adapter cannot be written as a whole model."""
    lora = 'strategies=[{kind="lora",options={rank=2}}]'
    me.finetune(runs[0], ROWS, tmp_path / "lora", *SMALL, lora, say=quiet)
    pytest.importorskip("sklearn")
    me.finetune(runs[0], ROWS, tmp_path / "knn", "features.head=knn", "train.length=16", say=quiet)
    for name, said in (("lora", "adapter beside a base"), ("knn", "fitted on a frozen body")):
        with pytest.raises(ModeledgeError, match=f"E-USAGE.*{name}.*{said}"):
            uniform_soup([tmp_path / name, runs[1][0]], tmp_path / "out", say=quiet)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*knn.*fitted"):
        wise_soup(tmp_path / "knn", runs[0], tmp_path / "out", alpha=0.5, say=quiet)
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_no_start_to_go_back_to(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Its plain weights are those of the base: what the adapter adds would be left out without a word."""
    lora = 'strategies=[{kind="lora",options={rank=2}}]'
    me.finetune(runs[0], ROWS, tmp_path / "lora", *SMALL, lora, say=quiet)
    with pytest.raises(ModeledgeError, match=r"E-USAGE: .*lora: it is an adapter beside a base.*modeledge merge"):
        wise_soup(runs[1][0], tmp_path / "lora", tmp_path / "out", alpha=0.0, say=quiet)


def test_runs_that_began_apart_are_not_averaged(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    start, (one, *_) = runs
    other = tmp_path / "other"
    shutil.copytree(start / "model", other)
    (other / "MANIFEST.json").unlink()
    held = load_file(other / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in held.items()}, other / "model.safetensors")
    me.finetune(other, ROWS, tmp_path / "apart", *SMALL, say=quiet)
    for part in ((), ("model",)):
        with pytest.raises(ModeledgeError, match=rf"E-USAGE: .*apart.*: it began with {other}; .* with {start}"):
            uniform_soup([one.joinpath(*part), (tmp_path / "apart").joinpath(*part)], tmp_path / "out", say=quiet)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*apart.*began with one model"):
        greedy_soup([one, tmp_path / "apart"], tmp_path / "out", ROWS, say=quiet)
    with pytest.raises(ModeledgeError, match=f"E-USAGE.*{other} is another model.*--wise-ft {start}"):
        wise_soup(one, other, tmp_path / "out", alpha=0.5, say=quiet)
    me.finetune(start, ROWS, tmp_path / "fresh", *SMALL, "fresh=true", say=quiet)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*fresh weights of"):
        check_one_beginning([one, tmp_path / "fresh"], quiet)
    assert not (tmp_path / "out").exists()


def test_a_copy_of_the_start_is_the_start(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    start, (one, *_) = runs
    shutil.copytree(start / "model", tmp_path / "copy")
    me.finetune(tmp_path / "copy", ROWS, tmp_path / "alike", *SMALL, say=quiet)
    told: list[str] = []
    uniform_soup([one, tmp_path / "alike"], tmp_path / "out", say=told.append)
    wise_soup(one, tmp_path / "copy", tmp_path / "wise", alpha=0.5, say=told.append)
    assert not [line for line in told if line.startswith("note")]


def test_what_does_not_say_its_start_is_told(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    start, (one, two, _) = runs
    shutil.copytree(two / "model", tmp_path / "bare")
    told: list[str] = []
    uniform_soup([one, tmp_path / "bare"], tmp_path / "out", say=told.append)
    wise_soup(tmp_path / "bare", start, tmp_path / "wise", alpha=0.5, say=told.append)
    assert [line for line in told if line.startswith(f"note: {tmp_path / 'bare'} does not say")] == told[-2:]

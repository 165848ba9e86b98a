"""The Python verbs on values in memory, and the words of the quickstart's report."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.metrics import Interval
from modeledge.recipes import api
from modeledge.recipes.quickstart.grid import Gain
from modeledge.recipes.quickstart.story import best_gain

STACK = {
    "layers": 1,
    "attention": {"heads": 2, "qk_norm": "head"},
    "feedforward": {"width": 32},
    "position": {"kind": "rotary"},
}
RECIPE = {
    "corpus": {},
    "tokenizer": {"vocab_size": 320},
    "model": {"shape": {"width": 16, "decoder": STACK}},
    "train": {"steps": 4, "batch": 4, "length": 32, "save_every": 2},
}
WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
TUNE = {"epochs": 1, "train": {"batch": 8, "length": 32, "save_every": 2}}


def quiet(line: str) -> None:
    """Says nothing."""


def texts() -> list[str]:
    lots = random.Random(0)
    return [" ".join(lots.choices(WORDS, k=60)) for _ in range(40)]


def rows() -> list[dict[str, Any]]:
    lots = random.Random(1)
    kinds = (("good", "great"), ("bad", "poor"))
    return [{"text": f"number {n} was {lots.choice(kinds[n % 2])}", "label": n % 2} for n in range(60)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    api.pretrain(RECIPE, folder / "base", texts=texts(), say=quiet)
    api.finetune(folder / "base", rows(), folder / "tuned", say=quiet, **TUNE)
    return folder


def cut_off(run: Path, copy: Path, *more: str) -> Path:
    """What a kill after the first checkpoint leaves."""
    shutil.copytree(run, copy)
    steps = sorted((copy / "checkpoints").glob("step-*"), key=lambda p: int(p.name[5:]))
    for path in (copy / "model", steps[-1], *(copy / name for name in more)):
        shutil.rmtree(path)
    return copy


def same(a: Path, b: Path) -> bool:
    return all((a / n).read_bytes() == (b / n).read_bytes() for n in ("metrics.jsonl", "model/model.safetensors"))


def test_a_run_on_rows_goes_on_with_the_same_rows(ground: Path, tmp_path: Path) -> None:
    run = cut_off(ground / "tuned", tmp_path / "run")
    with pytest.raises(ModeledgeError) as caught:
        api.resume(run, say=quiet)
    assert caught.value.code == "E-RESUME"
    assert "resume=True" in caught.value.remedy
    with pytest.raises(ModeledgeError) as caught:
        api.finetune(ground / "base", rows()[::-1], run, say=quiet, resume=True, **TUNE)
    assert caught.value.code == "E-RESUME"
    _, marks = api.finetune(ground / "base", rows(), run, say=quiet, resume=True, **TUNE)
    assert same(run, ground / "tuned")
    _, again = api.finetune(ground / "base", rows(), run, say=quiet, resume=True, **TUNE)
    assert again == marks
    with pytest.raises(ModeledgeError) as caught:
        api.finetune(ground / "base", rows(), run, "seed=9", say=quiet, resume=True, **TUNE)
    assert caught.value.code == "E-RESUME"


def test_what_a_run_settled_is_not_taken_for_another_recipe(ground: Path, tmp_path: Path) -> None:
    """The layout of its data was guessed when it began; the same recipe given again is that of the run, done or not."""
    data = tmp_path / "SST-2"
    data.mkdir()
    for name, start in (("train", 0), ("dev", 500)):
        lines = [f"{row['text']} {start + n}\t{n % 2}" for n, row in enumerate(rows())]
        (data / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    given: dict[str, Any] = {**TUNE, "allow": ["near-rows"], "say": quiet}
    _, marks = api.finetune(ground / "base", data, tmp_path / "run", **given)
    assert 'layout = "sst2"' in (tmp_path / "run" / "run.toml").read_text()
    _, again = api.finetune(ground / "base", data, tmp_path / "run", resume=True, **given)
    assert again == marks
    cut = cut_off(tmp_path / "run", tmp_path / "cut")
    assert api.finetune(ground / "base", data, cut, resume=True, **given)[1]["scores"] == marks["scores"]
    assert same(cut, tmp_path / "run")
    other = shutil.copytree(data, tmp_path / "other" / "SST-2")
    for changed in ({"data": other}, {"task": "regression"}, {"layout": "cola"}, {"label": "sentence"}, {"seed": 3}):
        asked = {"data": data, **given, **changed}
        with pytest.raises(ModeledgeError, match="E-RESUME"):
            api.finetune(ground / "base", asked.pop("data"), tmp_path / "run", resume=True, **asked)


@pytest.mark.parametrize("more", [(), ("corpus",), ("corpus", "tokenizer")])
def test_a_run_on_texts_goes_on_with_the_same_texts(ground: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    run = cut_off(ground / "base", tmp_path / "run", *more)
    with pytest.raises(ModeledgeError) as caught:
        api.pretrain(RECIPE, run, texts=[*texts(), "one more"], say=quiet, resume=True)
    assert caught.value.code == "E-RESUME"
    if more:
        with pytest.raises(ModeledgeError) as caught:
            api.resume(run, say=quiet)
        assert caught.value.code == "E-RESUME"
        assert "resume=True" in caught.value.remedy
    api.pretrain(RECIPE, run, texts=texts(), say=quiet, resume=True)
    assert same(run, ground / "base")
    api.pretrain(RECIPE, run, texts=texts(), say=quiet, resume=True)  # finished: nothing to do


def test_with_its_corpus_built_a_run_on_texts_needs_no_texts(ground: Path, tmp_path: Path) -> None:
    run = cut_off(ground / "base", tmp_path / "run")
    api.resume(run, say=quiet)
    assert same(run, ground / "base")


def test_resume_wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError) as caught:
        api.pretrain(RECIPE, tmp_path / "run", texts=texts(), say=quiet, resume=True)
    assert caught.value.code == "E-RUN-FOLDER"


def test_texts_and_shards_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError) as caught:
        api.pretrain({**RECIPE, "corpus": {"shards": "s"}}, tmp_path / "run", texts=texts(), say=quiet)
    assert caught.value.code == "E-CONFIG"


def gain(mean: float, low: float, high: float) -> Gain:
    return Gain("decoder", "pair", 300, Interval(mean, low, high, 0.05), Interval(0, -1, 1, 1), "tf-idf")


def test_a_headline_tells_only_a_gain_that_is_shown() -> None:
    unclear, shown = gain(0.09, -0.01, 0.2), gain(0.04, 0.01, 0.07)
    assert best_gain([unclear, shown]).value == "+4.0 points"
    assert best_gain([unclear, gain(-0.1, -0.2, -0.05)]).value == "none shown"

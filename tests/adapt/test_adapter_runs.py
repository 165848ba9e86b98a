"""Runs that train an adapter: what they leave opens on its base, says what is missing, and folds into a model."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapt_small import refusal
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modeledge.families import save_model
from modeledge.files import MANIFEST
from modeledge.model import Attention, FeedForward, Learned, Norm, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.adapters.fold import merge
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain, StrategyRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tokens import train_tokenizer
from modeledge.train.session import Session

WORDS = "red green blue one two three four five old new big small".split()  # noqa: SIM905


def quiet(line: str) -> None:
    """Nobody listens."""


def texts(count: int) -> list[str]:
    lots = random.Random(0)
    return [f"number {n} " + " ".join(lots.choices(WORDS, k=5)) for n in range(count)]


def saved(folder: Path, shape: str) -> Path:
    tokenizer = train_tokenizer(texts(200), kind="wordpiece" if shape == "encoder" else "bpe", vocab_size=320)
    attention, forward = Attention(heads=2, qkv="fused" if shape == "decoder" else "split"), FeedForward(width=32)
    if shape == "encoder":
        stack = Stack(
            layers=2, attention=attention, feedforward=forward, norm=Norm(place="post"), position=Learned(length=64)
        )
        embed = Tokens(vocab=tokenizer.vocab_size, types=2, norm=True)
        model = Transformer(TransformerConfig(width=16, embed=embed, encoder=stack))
    else:
        stack = Stack(layers=2, attention=attention, feedforward=forward, position=Rotary())
        model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), decoder=stack))
    save_model(model, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base") / "model", "encoder")


ROWS = [{"text": t, "label": "ab"[n % 2]} for n, t in enumerate(texts(48))]


def recipe(model: Path, kind: str = "lora", train: dict[str, Any] | None = None, **fields: Any) -> FinetuneRecipe:
    numbers = {"batch": 8, "length": 32, "threads": 1, "precision": "fp32", "learning_rate": 3e-2, **(train or {})}
    options = {"lora": {"rank": 2}, "dora": {"rank": 2}, "vera": {"rank": 2}}.get(kind, {})
    strategies = (StrategyRecipe(kind=kind, options=options),)
    numbers_ = FinetuneTrain(**numbers)
    return FinetuneRecipe(
        model=str(model), data="rows from memory", train=numbers_, strategies=strategies, epochs=2.0, **fields
    )


def run(asked: FinetuneRecipe, folder: Path, rows: Any = ROWS, **more: Any) -> dict[str, Any]:
    return finetune(asked, folder, rows=rows, say=quiet, **more)


def told_by(model: Model) -> list[dict[str, Any]]:
    return model.predict(ROWS, say=quiet)


BEFORE = {"prompt": {"length": 3}, "p-tuning": {"length": 2, "hidden": 4}, "prefix": {"length": 3}}
BEFORE |= {"mpt": {"length": 2}, "adapter": {"size": 4}}


@pytest.mark.parametrize("kind", BEFORE)
def test_a_run_of_what_cannot_be_merged_leaves_an_adapter_too(base: Path, tmp_path: Path, kind: str) -> None:
    asked = recipe(base, kind).model_copy(update={"strategies": (StrategyRecipe(kind=kind, options=BEFORE[kind]),)})
    results = run(asked, tmp_path / "run")
    there = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert "adapter_model.safetensors" in there
    assert not {"config.json", "model.safetensors"} & there
    model = Model.load(tmp_path / "run", say=quiet)
    assert set(model.evaluate(ROWS, say=quiet)["scores"]) == set(results["scores"])
    assert told_by(model) != told_by(Model.load(run_without(tmp_path / "run"), say=quiet))
    refusal("E-MERGE", merge, tmp_path / "run", tmp_path / "whole", say=quiet)


def run_without(folder: Path) -> Path:
    """The run again, what it learned beside its heads set to other numbers."""
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    file = other / "model" / "adapter_model.safetensors"
    held, notes = load_file(file), _notes(file)
    changed = {n: t if "classifier" in n else t + 1.0 for n, t in held.items()}
    save_file(changed, file, notes)
    (other / "model" / MANIFEST).unlink()
    return other


def _notes(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "vera"])
def test_a_run_leaves_the_adapter_alone_and_it_answers(base: Path, tmp_path: Path, kind: str) -> None:
    results = run(recipe(base, kind), tmp_path / "run")
    there = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "task.json"} <= there
    assert not {"config.json", "model.safetensors"} & there
    model = Model.load(tmp_path / "run", say=quiet)
    told = model.evaluate(ROWS, say=quiet)["scores"]
    assert set(told) == set(results["scores"])
    merged = Model.load(merge(tmp_path / "run", tmp_path / "whole", say=quiet), say=quiet)
    ours, folded = model.predict(ROWS, say=quiet), merged.predict(ROWS, say=quiet)
    assert [r["prediction"] for r in ours] == [r["prediction"] for r in folded]


def test_merged_at_once_is_the_same_model(base: Path, tmp_path: Path) -> None:
    run(recipe(base), tmp_path / "apart")
    run(recipe(base, merge=True), tmp_path / "whole")
    one, two = Model.load(tmp_path / "apart", say=quiet), Model.load(tmp_path / "whole", say=quiet)
    assert (tmp_path / "whole" / "model" / "model.safetensors").is_file()
    assert [r["prediction"] for r in one.predict(ROWS, say=quiet)] == [
        r["prediction"] for r in two.predict(ROWS, say=quiet)
    ]


def test_a_stopped_run_goes_on_to_the_same_bits(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(base, train={"save_every": 3})
    run(asked, tmp_path / "whole")
    real = Session.run
    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", lambda self, listeners=(): (real(self, listeners, until=5), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            run(asked, tmp_path / "cut")
    run(asked, tmp_path / "cut", resume=True)
    name = "model/adapter_model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_base_that_is_gone_or_changed_is_said(base: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(base, tmp_path / "here"))
    run(recipe(moved), tmp_path / "run")
    moved.rename(tmp_path / "there")
    assert "base=" in refusal("E-BASE", Model.load, tmp_path / "run", say=quiet)
    merge(tmp_path / "run", tmp_path / "whole", base=tmp_path / "there", say=quiet)
    other = saved(tmp_path / "here", "decoder")
    assert other == moved
    refusal("E-BASE", Model.load, tmp_path / "run", say=quiet)


def test_what_cannot_be_written_is_refused_before_the_first_step(base: Path, tmp_path: Path) -> None:
    fused = saved(tmp_path / "fused", "decoder")
    rows = [{"source": t, "target": t.split()[-1]} for t in texts(8)]
    asked = recipe(fused, task="write", options={"max_target": 8})
    asked = asked.model_copy(update={"strategies": (StrategyRecipe(kind="lokr", options={"rank": 2}),)})
    refusal("E-ADAPTER", run, asked, tmp_path / "lokr", rows)
    refusal("E-CONFIG", run, recipe(base, fresh=True), tmp_path / "fresh")
    assert not (tmp_path / "lokr" / "checkpoints").exists()
    refusal("E-MERGE", run, recipe(base, "prefix", merge=True), tmp_path / "merged")
    run(recipe(base), tmp_path / "run")
    for kind in ("lora", "ia3"):  # with options, and of another method
        assert "merge" in refusal("E-USAGE", run, recipe(tmp_path / "run", kind), tmp_path / kind) or kind == "lora"
    refusal("E-USAGE", merge, base, tmp_path / "x", say=quiet)
    refusal("E-OUTPUT", merge, tmp_path / "run", tmp_path / "run", say=quiet)


@pytest.mark.parametrize("drawn", ["reinit", "layers", "new-input"])
def test_weights_drawn_anew_below_an_adapter_are_refused_before_the_first_step(
    base: Path, tmp_path: Path, drawn: str
) -> None:
    both = tuple(StrategyRecipe(kind=kind) for kind in (drawn, "lora"))
    for code, merged in (("E-ADAPTER", False), ("E-FROZEN", True)):
        asked = recipe(base, merge=merged).model_copy(update={"strategies": both})
        assert "random" in refusal(code, run, asked, tmp_path / code) or not merged
        assert not (tmp_path / code / "metrics.jsonl").exists()


def test_a_decoder_answers_with_its_adapter(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "decoder")
    rows = [{"source": t, "target": t.split()[-1]} for t in texts(32)]
    run(recipe(model, task="write", options={"max_target": 8}), tmp_path / "run", rows)
    told = Model.load(tmp_path / "run", say=quiet).predict(rows[:4], say=quiet)
    assert len(told) == 4
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("kind", ["lora", "prompt", "prefix", "adapter"])
def test_an_adapter_goes_on_from_its_numbers(base: Path, tmp_path: Path, kind: str) -> None:
    options = {"lora": {"rank": 2}, **BEFORE}[kind]
    asked = recipe(base, kind).model_copy(update={"strategies": (StrategyRecipe(kind=kind, options=options),)})
    run(asked, tmp_path / "one")
    again = recipe(tmp_path / "one", train={"learning_rate": 1e-9})
    again = again.model_copy(update={"strategies": (StrategyRecipe(kind=kind),)})
    run(again, tmp_path / "two")
    first, second = (load_file(tmp_path / n / "model" / "adapter_model.safetensors") for n in ("one", "two"))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[n], second[n], atol=1e-6) for n in first), "it began anew"
    run(again.model_copy(update={"train": asked.train}), tmp_path / "three")
    third = load_file(tmp_path / "three" / "model" / "adapter_model.safetensors")
    assert any(not torch.allclose(first[n], third[n], atol=1e-3) for n in first)
    said = json.loads((tmp_path / "two" / "model" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(base)
    Model.load(tmp_path / "three", say=quiet).predict(ROWS[:4], say=quiet)


@pytest.mark.parametrize("names", [("a", "b"), ("default", "default")])
def test_two_adapters_in_one_run_are_refused_with_what_works(
    base: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    lora, prefix = (
        StrategyRecipe(kind=kind, options={**options, "name": name})
        for (kind, options), name in zip((("lora", {"rank": 2}), ("prefix", {"length": 2})), names, strict=True)
    )
    asked = recipe(base)
    told = refusal("E-CONFIG", run, asked.model_copy(update={"strategies": (lora, prefix)}), tmp_path / "both")
    assert "lora first, with merge = true" in told
    run(recipe(base, merge=True).model_copy(update={"strategies": (lora,)}), tmp_path / "one")
    again = recipe(tmp_path / "one", allow=("fresh-heads",))
    run(again.model_copy(update={"strategies": (prefix,)}), tmp_path / "two")


@pytest.mark.parametrize("beside", ["lp-ft", "rates", "l2-sp", "unfreeze", "new-head"])
def test_an_adapter_goes_on_under_a_schedule(base: Path, tmp_path: Path, beside: str) -> None:
    run(recipe(base), tmp_path / "one")
    before = load_file(tmp_path / "one" / "model" / "adapter_model.safetensors")
    both = (StrategyRecipe(kind="lora"), StrategyRecipe(kind=beside))
    for name, strategies in (("two", both), ("three", both[::-1])):
        run(recipe(tmp_path / "one").model_copy(update={"strategies": strategies}), tmp_path / name)
        after = load_file(tmp_path / name / "model" / "adapter_model.safetensors")
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[n], before[n]) for n in before if "lora_" in n)
    Model.load(tmp_path / "two", say=quiet).predict(ROWS[:4], say=quiet)


def test_an_adapter_that_goes_on_is_not_held_nor_joined(base: Path, tmp_path: Path) -> None:
    run(recipe(base), tmp_path / "one")
    again = recipe(tmp_path / "one")
    for code, kind in (("E-FROZEN", "probe"), ("E-ADAPTER", "reinit"), ("E-USAGE", "ia3")):
        both = (StrategyRecipe(kind="lora"), StrategyRecipe(kind=kind))
        refusal(code, run, again.model_copy(update={"strategies": both}), tmp_path / "two")
    odd = (StrategyRecipe(kind="lp-ft"), StrategyRecipe(kind="lora", options={"rank": 2}))
    refusal("E-USAGE", run, again.model_copy(update={"strategies": odd}), tmp_path / "two")


def test_a_checkpoint_holds_what_moves_and_names_the_rest(base: Path, tmp_path: Path) -> None:
    """No weight of the base is in it; resumed on other weights the run is refused, and left as it was."""
    there = shutil.copytree(base, tmp_path / "model")
    asked = recipe(there, train={"save_every": 2})

    def stop(record: Any) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(asked, tmp_path / "cut", listeners=[stop])
    folder = tmp_path / "cut" / "checkpoints" / "step-2"
    held = load_file(folder / "state.safetensors")
    weights = [name for name in held if name.startswith("step|model.")]
    assert weights
    assert all(".grafts." in name or ".heads." in name for name in weights)
    assert len(json.loads((folder / "state.json").read_text())["base"]) == 64
    file = there / "model.safetensors"
    kept, other = file.read_bytes(), load_file(file)
    name = next(name for name in other if name.endswith("query.weight"))
    other[name] = other[name].clone()
    other[name][0, 0] += 1e-3
    with safe_open(file, "pt") as opened:
        save_file(other, file, opened.metadata())
    before = (tmp_path / "cut" / "metrics.jsonl").read_bytes()
    assert refusal("E-BASE", run, asked, tmp_path / "cut", resume=True).count("SHA-256")
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == before
    file.write_bytes(kept)
    run(asked, tmp_path / "cut", resume=True)
    run(asked, tmp_path / "whole")
    for part in ("metrics.jsonl", "model/adapter_model.safetensors"):
        assert (tmp_path / "cut" / part).read_bytes() == (tmp_path / "whole" / part).read_bytes()

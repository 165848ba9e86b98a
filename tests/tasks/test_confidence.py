"""A temperature is fitted on validation rows, changes no answer, and is kept with the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from modeledge import files
from modeledge.metrics import calibration_error, fit_temperature
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, TransformerConfig
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.records import Example
from modeledge.report import error_page, render_page
from modeledge.tasks import Answer, Labels, LabelTask, OrdinalTask, RelationTask, Scaling
from modeledge.tokens import train_tokenizer

NAMES = ("down", "sideways", "up")


def made(kind: type[LabelTask] = LabelTask, labels: Labels = Labels("class", NAMES)) -> Any:  # noqa: B008
    tokenizer = train_tokenizer(["down up @ #"] * 4, vocab_size=290)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=64))
    config = TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size, types=2), encoder=stack)
    return kind(labels, tokenizer, config, length=16), tokenizer, config


def overconfident(count: int = 400) -> tuple[list[Answer], list[Example], np.ndarray]:
    """Answers whose logits are three times too large for how often they are right."""
    lots = np.random.default_rng(0)
    honest = lots.normal(size=(count, 3)) * 1.5
    shares = special.softmax(honest, axis=1)
    labels = [int(lots.choice(3, p=row)) for row in shares]
    logits = 3 * honest
    told = [Answer(n, int(row.argmax()), tuple(special.softmax(row).tolist())) for n, row in enumerate(logits)]
    return told, [Example(n, np.zeros(2, np.int64), label=y) for n, y in enumerate(labels)], logits


@pytest.mark.parametrize("kind", [LabelTask, RelationTask])
def test_the_temperature_is_that_of_the_logits_and_is_restored(kind: type[LabelTask]) -> None:
    task, tokenizer, config = made(kind)
    told, examples, logits = overconfident()
    [words] = task.tune(told, examples)
    assert task.scaling.temperature == pytest.approx(fit_temperature(logits, [e.label for e in examples]), rel=1e-3)
    assert 2.0 < task.scaling.temperature < 4.5
    assert "400 validation rows" in words
    again = kind.restored(task.described(), tokenizer, config)
    assert again.scaling == task.scaling


def test_scaled_shares_keep_the_order_and_can_be_undone() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 9.0, 3.0]])
    scaling = Scaling(2.5, 10)
    shares = np.array(scaling.shares(logits))
    assert shares == pytest.approx(special.softmax(logits.numpy() / 2.5, axis=1), abs=1e-6)
    assert (shares.argsort(1) == logits.numpy().argsort(1)).all()
    assert scaling.undone(shares) == pytest.approx(special.softmax(logits.numpy(), axis=1), abs=1e-6)
    assert Scaling().shares(logits) == torch.softmax(logits, -1).tolist()


@pytest.mark.parametrize(("value", "why"), [(0, "largest logit"), (1, "no more of the labels than chance")])
def test_where_no_temperature_is_best_nothing_is_scaled_and_that_is_said(value: int, why: str) -> None:
    """All of them right, or all of them wrong."""
    task, _, _ = made()
    told = [Answer(n, 0, (0.8, 0.1, 0.1)) for n in range(5)]
    [words] = task.tune(told, [Example(n, np.zeros(2, np.int64), label=value) for n in range(5)])
    assert task.scaling == Scaling()
    assert why in words


def test_a_median_and_a_value_have_no_temperature() -> None:
    """The median of ordered classes is another class at another temperature."""
    told, examples, _ = overconfident(40)
    order, _, _ = made(OrdinalTask, Labels("class", ("1", "2", "3")))
    value, _, _ = made(LabelTask, Labels("value"))
    assert list(order.tune(told, examples)) == list(value.tune(told, examples)) == []
    assert order.scaling == Scaling()


# ---- in a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """A classifier of texts whose labels are noise for a third of the rows, with a file of validation rows."""
    from modeledge.families import save_model
    from modeledge.model import Transformer
    from modeledge.recipes.tuning.finetune import finetune

    here = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer([f"number {n} red blue" for n in range(60)], vocab_size=300)
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Learned(length=32)
    )
    config = TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size, types=2), encoder=stack)
    save_model(Transformer(config), here / "model")
    tokenizer.save(here / "model")

    def rows(start: int, count: int) -> list[dict[str, str]]:
        lots = np.random.default_rng(start)
        told = [("red", "blue")[n % 2] for n in range(count)]
        seen = [word if lots.random() > 0.3 else "red" for word in told]
        return [
            {"text": f"number {start + n} {s}", "label": t} for n, (s, t) in enumerate(zip(seen, told, strict=True))
        ]

    chosen = here / "validation.jsonl"
    chosen.write_text("".join(f'{{"text": "{r["text"]}", "label": "{r["label"]}"}}\n' for r in rows(1000, 60)))
    train = FinetuneTrain(batch=8, length=16, threads=1, precision="fp32", learning_rate=3e-2)
    asked = FinetuneRecipe(
        model=str(here / "model"), data="rows from memory", validation=str(chosen), train=train, allow=("near-rows",)
    )
    said: list[str] = []
    results = finetune(asked, here / "run", rows=rows(0, 80), test_rows=rows(5000, 40), say=said.append)
    return here / "run", results, said


def test_a_run_fits_it_on_its_validation_rows_alone(run: tuple[Path, dict[str, Any], list[str]]) -> None:
    _, results, said = run
    assert results["rows"] == {"train": 80, "validation": 60, "test": 40, "cut": 0}
    assert results["analysis"]["calibration"]["scaling"]["rows"] == 60
    assert any("fitted on 60 validation rows" in line for line in said)


def test_predict_and_evaluate_use_the_temperature_that_was_kept(run: tuple[Path, dict[str, Any], list[str]]) -> None:
    from modeledge.recipes.asking.use import Model

    folder, _, _ = run
    model = Model.load(folder)
    temperature = files.read_json(folder / "model" / "task.json")["scaling"]["temperature"]
    assert temperature != 1.0
    texts = [f"number {n} red" for n in range(9)]
    scaled = model.predict(texts)
    assert model.task is not None
    model.task.scaling = Scaling()
    plain = model.predict(texts)
    assert [row["prediction"] for row in plain] == [row["prediction"] for row in scaled]
    odds = [np.log([(row["p(red)"] / row["p(blue)"]) for row in rows]) for rows in (plain, scaled)]
    assert odds[0] / odds[1] == pytest.approx(temperature, rel=1e-3)


def test_the_report_says_the_error_with_and_without_it(run: tuple[Path, dict[str, Any], list[str]]) -> None:
    told = run[1]["analysis"]["calibration"]
    page = render_page(error_page("Errors", "40 rows", {}, run[1]["analysis"]))
    assert f"calibration error {told['error']:.3f}, {told['scaling']['unscaled']:.3f} without the temperature" in page
    assert told["error"] != told["scaling"]["unscaled"]


def test_the_errors_are_those_of_the_probabilities() -> None:
    from modeledge.evaluate.analysis import calibrated

    told, examples, logits = overconfident()
    labels = np.array([e.label for e in examples])
    scaling = Scaling(3.0, 400)
    after = np.array(scaling.shares(torch.tensor(logits)))
    found = calibrated(after, labels, scaling)
    before = calibration_error(np.array([a.probabilities for a in told]), labels)
    assert found["scaling"]["unscaled"] == pytest.approx(before, abs=1e-6)
    assert found["error"] < 0.06 < 0.1 < before

"""What is fine-tuned here opens in the reference library, in its class for the task: the same names of labels, the same
kind of problem, the same answers. Tiny random models of each family, as their pre-training left them.

Tolerance: 1e-5 of scores of order 1 in fp32, as for the families themselves; of values times their own size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tuned import FAMILIES, NAMES, Pretrained, both_say, opened, texts, tuned

from modeledge.families import load_model, origin_of, save_model
from modeledge.families.own import own_head
from modeledge.model import Batch, Side
from modeledge.recipes.asking.use import Model
from modeledge.seed import Noise

each = pytest.mark.parametrize("family", FAMILIES)
AUTO = {"tags": "AutoModelForTokenClassification", "span": "AutoModelForQuestionAnswering"}


@pytest.fixture(scope="module")
def made(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return Pretrained(hf, tmp_path_factory.mktemp("hf"))


@each
def test_a_classifier_opens_in_the_reference_library(family: str, hf: Any, made: Pretrained, tmp_path: Path) -> None:
    said = tuned(made(family), tmp_path / "run", [NAMES[n % 3] for n in range(24)])
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5
    assert len(ours.unique(dim=0)) > 3  # not all texts alike
    assert config.id2label == dict(enumerate(NAMES))
    assert config.label2id == {name: n for n, name in enumerate(NAMES)}
    assert config.problem_type == "single_label_classification"
    assert config.architectures[0].endswith("ForSequenceClassification")
    assert not any("own form" in line for line in said)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["form"].startswith(f"written as a {family} checkpoint")
    answers = Model.load(tmp_path / "run").predict(texts(6))
    assert [row["prediction"] for row in answers] == [NAMES[n] for n in theirs.argmax(-1).tolist()]


@each
def test_a_regression_opens_in_the_reference_library(family: str, hf: Any, made: Pretrained, tmp_path: Path) -> None:
    tuned(made(family), tmp_path / "run", [2.5 + 0.25 * (n % 7) for n in range(24)])
    ours, theirs, config = both_say(hf, tmp_path / "run")
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))
    assert len(ours.unique()) > 3
    assert (config.num_labels, config.problem_type) == (1, "regression")
    value = Model.load(tmp_path / "run").predict(texts(2))[1]["prediction"]
    assert value == pytest.approx(float(theirs[1]), abs=1e-4)


@pytest.mark.parametrize(("family", "name"), [(f, name) for f, row in FAMILIES.items() for name in row[3]])
def test_heads_over_tokens_and_answers_are_built_written_and_read_back(
    family: str, name: str, hf: Any, made: Pretrained, tmp_path: Path
) -> None:
    model = load_model(made(family)).eval()
    head = own_head(model, name, 4)
    assert head is not None
    model.heads.clear()
    model.add_heads({name: head}, Noise(4))
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    origin = origin_of(model)
    assert origin is not None
    origin.kept = {}
    save_model(model, tmp_path, words={"id2label": {str(n): f"tag {n}" for n in range(4)}} if name == "tags" else {})
    again = load_model(tmp_path)
    assert list(again.heads) == [name]
    assert origin_of(again).family == family  # type: ignore[union-attr]
    theirs = opened(hf, tmp_path, AUTO[name])
    ids = torch.tensor([[5, 9, 31, 40, 2]])
    shifted = torch.cat([torch.tensor([[model_start(theirs)]]), ids[:, :-1]], 1)
    sides = {"encoder": {"source": ids}, "decoder": {"target": ids}, "both": {"source": ids, "target": shifted}}
    kind = "both" if model.config.both else "encoder" if model.config.encoder is not None else "decoder"
    batch = Batch(**{side: Side.of(value) for side, value in sides[kind].items()})
    with torch.no_grad():
        out = theirs(ids)
        told = torch.stack((out.start_logits, out.end_logits), -1) if name == "span" else out.logits
        for one in (model, again.eval()):
            assert (one.heads[name](one(batch).last) - told).abs().max() <= 1e-5
    assert told.shape[-1] == (2 if name == "span" else 4)
    if name == "tags":
        assert theirs.config.id2label[3] == "tag 3"


def model_start(theirs: Any) -> int:
    return int(getattr(theirs.config, "decoder_start_token_id", None) or 0)

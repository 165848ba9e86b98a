"""Encoders drop at the same places as the reference library's, by the same rates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases_albert import CASES as ALBERT_CASES
from cases_bert import CASES as BERT_CASES
from cases_distilbert import CASES as DISTIL_CASES
from cases_electra import CASES as ELECTRA_CASES
from cases_roberta import CASES as ROBERTA_CASES
from oracle import Case, answers, batch_of, build, examples, given, their_answers
from torch import Tensor

from modeledge.families import FAMILIES, load_model
from modeledge.model import Dropout
from modeledge.model.draw import Draw, Mask, dropping
from modeledge.seed import Noise

RATES = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.4}
NARROW = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout_prob": 0.4}
DISTIL = {"dropout": 0.1, "attention_dropout": 0.2, "qa_dropout": 0.3, "seq_classif_dropout": 0.4}
CASES = (*BERT_CASES, *ROBERTA_CASES, *DISTIL_CASES, *ALBERT_CASES, *ELECTRA_CASES)
DROPPING = [c for c in CASES if c.label in ("", "value", "next")]
SCORED = [c for c in DROPPING if c.head in ("class", "value", "tags") and c not in (*DISTIL_CASES, *ALBERT_CASES)]


def rates_of(of: Case) -> dict[str, float]:
    return DISTIL if of in DISTIL_CASES else NARROW if of in ALBERT_CASES else RATES


@pytest.mark.parametrize("of", DROPPING, ids=str)
def test_dropout_stands_where_the_reference_library_has_it(of: Case, hf: Any, tmp_path: Path, scaling: None) -> None:
    """ALBERT's reference makes a dropout for the feed-forward's output and never calls it; here it is called, as in the
    original."""
    agree(of, rates_of(of), hf, tmp_path)


@pytest.mark.parametrize("of", SCORED, ids=str)
def test_scores_drop_as_layers_do_where_no_rate_of_theirs_is_said(
    of: Case, hf: Any, tmp_path: Path, scaling: None
) -> None:
    agree(of, RATES | {"classifier_dropout": None}, hf, tmp_path)


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout without chance: every mask is a factor that its rate gives."""

    def less(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (1 - p / 2) if training else x

    def mask(self: Draw, like: Tensor, rate: float, site: str) -> Mask | None:
        return None if self.noise is None else Mask(torch.ones_like(like), 1 - rate / 2)

    monkeypatch.setattr(F, "dropout", less)
    monkeypatch.setattr(Draw, "mask", mask)


def agree(of: Case, rates: dict[str, Any], hf: Any, folder: Path) -> None:
    """Both give the same answers, and others than without dropout."""
    shape = {k: v for k, v in of.of.shape.items() if k not in rates}
    changed = replace(of, of=replace(of.of, shape=shape), config={**of.config, **rates})
    reference = build(hf, changed)
    reference.save_pretrained(folder)
    model, prepared = load_model(folder).train(), examples(of)
    batch = batch_of(prepared, packed=False)

    layers = [m for m in reference.modules() if type(m).__name__ == "AlbertLayer"]
    for layer in layers:
        layer.ffn_output = torch.nn.Sequential(layer.ffn_output, layer.dropout)
    with dropping(Noise(0)):
        ours = answers(model, batch, of.head)
    theirs = their_answers(of, reference(**given(of, prepared)), batch.indices.tolist())
    assert (ours - theirs).abs().max() <= 1e-5
    assert (answers(model, batch, of.head) - theirs).abs().max() > 1e-3


def test_the_rates_that_no_key_says() -> None:
    config, _ = FAMILIES["distilbert"].read_config({"dropout": 0.3, "attention_dropout": 0.2})
    assert config.stack.dropout == Dropout(embed=0.3, hidden=0.3, attention=0.2, mixed=0.0)

"""Both averages that are called GLUE, on published rows."""

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.metrics import Score, glue_average, glue_score
from modeledge.metrics.glue import COLUMNS, SITE, TABLE, WITHOUT_WNLI

# Devlin et al. 2019, table 1, as the lectures show it: MNLI-m, MNLI-mm, QQP, QNLI, SST-2, CoLA, STS-B, MRPC, RTE
LECTURE = {
    "Pre-OpenAI SOTA": ((80.6, 80.1, 66.1, 82.3, 93.2, 35.0, 81.0, 86.0, 61.7), 74.0),
    "BiLSTM+ELMo+Attn": ((76.4, 76.1, 64.8, 79.8, 90.4, 36.0, 73.3, 84.9, 56.8), 70.9),  # the slide prints 71.0
    "OpenAI GPT": ((82.1, 81.4, 70.3, 87.4, 91.3, 45.4, 80.0, 82.3, 56.0), 75.1),
    "BERT base": ((84.6, 83.4, 71.2, 90.5, 93.5, 52.1, 85.8, 88.9, 66.4), 79.6),
    "BERT large": ((86.7, 85.9, 72.1, 92.7, 94.9, 60.5, 86.5, 89.3, 70.1), 82.1),
}
# BERT large on the site, which gives it 80.5
SITE_ROW = {
    "cola": {"matthews": 60.5},
    "sst2": {"accuracy": 94.9},
    "mrpc": {"f1": 89.3, "accuracy": 85.4},
    "stsb": {"pearson": 87.6, "spearman": 86.5},
    "qqp": {"f1": 72.1, "accuracy": 89.3},
    "mnli_matched": {"accuracy": 86.7},
    "mnli_mismatched": {"accuracy": 85.9},
    "qnli": {"accuracy": 92.7},
    "rte": {"accuracy": 70.1},
    "wnli": {"accuracy": 65.1},
}


def table(values):
    marks = {}
    for (task, metric), value in zip(COLUMNS, values, strict=True):
        marks.setdefault(task, {})[metric] = value
    return marks


@pytest.mark.parametrize("system", LECTURE)
def test_the_lecture_table(system):
    values, average = LECTURE[system]
    assert round(glue_average(table(values), TABLE), 1) == average


def test_the_site_counts_tasks_not_columns():
    assert round(glue_average(SITE_ROW), 1) == 80.5
    assert round(glue_average(SITE_ROW, TABLE), 1) == 82.1
    assert glue_average(SITE_ROW, WITHOUT_WNLI) == pytest.approx((glue_average(SITE_ROW) * 9 - 65.1) / 8)
    for weights in (SITE, TABLE, WITHOUT_WNLI):
        assert sum(weights.values()) == pytest.approx(1)


def test_a_missing_or_broken_part_is_refused():
    less = {task: row for task, row in SITE_ROW.items() if task != "wnli"}
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD: the average needs wnli\.accuracy"):
        glue_average(less)
    assert glue_average(less, WITHOUT_WNLI) > 0
    with pytest.raises(ModeledgeError, match=r"E-NOT-FINITE: rte\.accuracy"):
        glue_average({**SITE_ROW, "rte": {"accuracy": np.nan}})


def test_the_interval_adds_within_a_task_and_in_squares_between():
    scores = {
        task: {m: Score(m, v / 100, v / 100 - 0.03, v / 100 + 0.06, 50, m) for m, v in row.items()}
        for task, row in SITE_ROW.items()
    }
    score = glue_score(scores)
    tasks = [1, 1, 1, 1, 1, 0.5, 0.5, 1, 1, 1]  # MNLI's halves are different items
    reach = np.sqrt(np.sum((0.03 * np.array(tasks) / 9) ** 2))
    assert score.value == pytest.approx(glue_average(SITE_ROW) / 100)
    assert (score.value - score.low, score.high - score.value) == pytest.approx((reach, 2 * reach))
    assert score.n == 500
    assert "mrpc.f1:0.0556" in score.signature

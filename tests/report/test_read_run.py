"""Reading run folders: whole, unfinished, torn, resumed and broken ones."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.records import Count, Ledger
from modeledge.report import read_run
from modeledge.report.read import ledgers, without_rewound


def make_run(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"run_toml": "seed = 3\n", **files}
    for name, content in contents.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


ROWS = [
    {"step": 1, "loss": 3.5, "lr": 0.1, "terms": {"lm": 3.5}, "grad_norm": 1.0, "tokens_per_second": 100},
    {"step": 2, "loss": 3.0, "lr": 0.2, "terms": {"lm": 3.0}, "grad_norm": 0.5},
    {"step": 2, "eval": {"loss": 3.1, "accuracy": 0.4}},
    {"step": 3, "loss": 2.5},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def test_a_whole_folder_is_read(tmp_path):
    ledger = Ledger(read=Count(2, 20), kept=Count(1, 15, 4), filtered={"short": Count(1, 5)})
    folder = make_run(
        tmp_path / "one",
        metrics_jsonl=LINES,
        ledger_json=json.dumps(ledger.as_dict()),
        environment_json='{"python": "3.11"}',
        results_json='{"scores": {"accuracy": 0.5}}',
    )
    run = read_run(folder)
    assert run.name == "one"
    assert run.recipe == {"seed": 3}
    assert run.steps == [ROWS[0], ROWS[1], ROWS[3]]
    assert run.series("loss") == ([1, 2, 3], [3.5, 3.0, 2.5])
    assert run.series("grad_norm") == ([1, 2], [1.0, 0.5])
    assert run.eval_series() == {"loss": ([2], [3.1]), "accuracy": ([2], [0.4])}
    assert run.ledger == ledger.as_dict()
    assert (run.torn, run.rewound) == (False, 0)


def test_what_the_clock_said_joins_its_step(tmp_path):
    speed = '{"step": 1, "tokens_per_second": 900, "seconds": 0.5}\n{"step": 3, "tokens_per_second": 700}\n{"st'
    run = read_run(make_run(tmp_path / "r", metrics_jsonl=LINES, speed_jsonl=speed))
    assert run.series("tokens_per_second") == ([1, 3], [100, 700])  # metrics.jsonl wins where both speak
    assert run.series("seconds") == ([1], [0.5])
    assert not run.torn
    with pytest.raises(ModeledgeError, match=r"E-RUN-FOLDER.*speed\.jsonl:1"):
        read_run(make_run(tmp_path / "s", speed_jsonl="x\n"))


def test_a_run_that_has_not_begun_is_read(tmp_path):
    run = read_run(make_run(tmp_path / "new"))
    assert (run.steps, run.evals, run.ledger, run.results) == ([], [], {}, {})


@settings(deadline=None, max_examples=80)
@given(cut=st.integers(0, len(LINES)))
def test_a_file_cut_anywhere_loses_the_torn_line_only(tmp_path_factory, cut):
    run = read_run(make_run(tmp_path_factory.mktemp("run"), metrics_jsonl=LINES[:cut].encode()))
    whole = [i for i in range(len(ROWS)) if cut >= len("".join(json.dumps(r) + "\n" for r in ROWS[: i + 1])) - 1]
    assert [*run.steps, *run.evals] == [
        *(ROWS[i] for i in whole if "loss" in ROWS[i]),
        *(ROWS[i] for i in whole if "eval" in ROWS[i]),
    ]
    assert run.torn == (LINES[:cut].rpartition("\n")[2] not in ("", *(json.dumps(r) for r in ROWS)))


def test_a_torn_tail_of_foreign_bytes_is_forgiven(tmp_path):
    run = read_run(make_run(tmp_path / "r", metrics_jsonl=LINES.encode() + b'{"step": 4, "lo\xff\x00'))
    assert run.torn
    assert len(run.steps) == 3


def test_what_a_resumed_run_wrote_again_stands_once(tmp_path):
    again = [{"step": s, "loss": float(s)} for s in (1, 2, 3, 4)] + [{"step": s, "loss": -float(s)} for s in (3, 4, 5)]
    run = read_run(make_run(tmp_path / "r", metrics_jsonl="".join(json.dumps(r) + "\n" for r in again)))
    assert run.series("loss") == ([1, 2, 3, 4, 5], [1, 2, -3, -4, -5])
    assert run.rewound == 2


def test_an_evaluation_written_again_stands_once(tmp_path):
    rows = [
        {"step": 0, "eval": {"a": 0.1}},
        {"step": 0, "loss": 9.0},
        {"step": 1, "loss": 1.0},
        {"step": 1, "eval": {"a": 0.5}},
        {"step": 1, "eval": {"b": 0.5}},
        {"step": 1, "eval": {"b": 0.6}},
    ]
    run = read_run(make_run(tmp_path / "r", metrics_jsonl="".join(json.dumps(r) + "\n" for r in rows)))
    assert run.eval_series() == {"a": ([0, 1], [0.1, 0.5]), "b": ([1], [0.6])}
    assert run.rewound == 1


kinds = st.sampled_from([{"loss": 1.0}, {"eval": {"a": 1.0}}, {"eval": {"b": 1.0}}])


@given(st.lists(st.builds(lambda step, rest: {"step": step, **rest}, st.integers(0, 9), kinds), max_size=30))
def test_rewinding_keeps_order_and_counts_what_went(rows):
    kept, gone = without_rewound(rows)
    steps = [row["step"] for row in kept]
    assert steps == sorted(steps)
    trained = [row["step"] for row in kept if "loss" in row]
    assert len(trained) == len(set(trained))
    assert len(kept) + gone == len(rows)
    assert kept[-1:] == rows[-1:]


BAD_LINES = {
    b'{"step": 1}\nnonsense\n{"step": 2}\n': "metrics.jsonl:2: not JSON",
    b'{"step": 1, "loss": NaN}\n': "metrics.jsonl:1: NaN is not JSON",
    b'{"step": 1, "loss": 1e999}\n': "metrics.jsonl:1: loss is inf",
    b'{"step": 1, "loss": true}\n': "loss is True",
    b'{"loss": 2.0}\n': "step is None",
    b'{"step": -1}\n': "step is -1",
    b'{"step": 1.5}\n': "step is 1.5",
    b"[1, 2]\n": "a list stands",
    b'{"step": 1, "eval": 3}\n': "eval must map",
    b'{"step": 1, "eval": {"a": "b"}}\n': "eval must map",
    b'{"step": 1}\n\xff\xfe\n{"step": 2}\n': "not UTF-8 at byte 0",
    b"[" * 100_000 + b"\n": "metrics.jsonl:1",
}


@pytest.mark.parametrize("content", sorted(BAD_LINES))
def test_a_broken_line_is_named(tmp_path, content):
    with pytest.raises(ModeledgeError) as caught:
        read_run(make_run(tmp_path / "r", metrics_jsonl=content))
    assert caught.value.code == "E-RUN-FOLDER"
    assert BAD_LINES[content] in str(caught.value)


COUNT = {"records": 1, "bytes": 1, "tokens": 0}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"run_toml": "a = = 1"}, "run.toml: not TOML"),
        ({"run_toml": b"a = '\xff'"}, "not UTF-8 at byte 5"),
        ({"environment_json": "{"}, "environment.json: not JSON"),
        ({"environment_json": "[]"}, "a list stands"),
        ({"results_json": '{"a": Infinity}'}, "Infinity is not JSON"),
        ({"ledger_json": '{"read": 1}'}, "read must count"),
        ({"ledger_json": json.dumps({"read": COUNT})}, "kept must count"),
        ({"ledger_json": json.dumps({"read": COUNT, "kept": {"records": 1}})}, "kept must count"),
        ({"ledger_json": json.dumps({"read": COUNT, "kept": COUNT, "filtered": []})}, "filtered and quarantined"),
        ({"ledger_json": json.dumps({"read": COUNT, "kept": COUNT, "filtered": {"x": 2}})}, "filtered.x must count"),
        ({"ledger_json": json.dumps({"read": COUNT, "kept": COUNT, "notes": "x"})}, "notes must be a list"),
        ({"ledger_json": json.dumps({"eval": {"read": COUNT}})}, "eval: kept must count"),
    ],
)
def test_a_broken_file_is_named(tmp_path, files, words):
    with pytest.raises(ModeledgeError) as caught:
        read_run(make_run(tmp_path / "r", **files))
    assert caught.value.code == "E-RUN-FOLDER"
    assert words in str(caught.value)


def test_what_is_no_run_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, words in [("none", "does not exist"), ("file", "a file, not a folder"), ("empty", "run.toml is missing")]:
        with pytest.raises(ModeledgeError, match=f"E-RUN-FOLDER.*{words}"):
            read_run(tmp_path / name)
    (tmp_path / "odd" / "run.toml").mkdir(parents=True)
    with pytest.raises(ModeledgeError, match="E-RUN-FOLDER"):
        read_run(tmp_path / "odd")


def test_several_ledgers_are_told_apart():
    one = {"read": COUNT, "kept": COUNT}
    assert ledgers(one) == {"": one}
    assert ledgers({"train": one, "words": 3}) == {"train": one}
    assert ledgers({}) == {}

"""Cases 56 to 78 of the catalogue of bad inputs, labels and tasks: each is named here and has its test.

Those of labels are rows of `test_bad_inputs`; those of tags, questions, sets and texts to be written are rows of this
file, asked on the command line as a person would. A case that another file tests is pointed at by a line of that test,
so that it cannot vanish unseen; a case of what is not built yet says so until it is.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

import test_bad_inputs as other
from test_bad_inputs import Does, Done, Ground, Refused, made, table

assert made  # the fixture: texts, a tokenizer, a trained decoder

CASES = {
    56: "a label that is missing or empty",
    57: "class 5 of five classes",
    58: "a label that is no class, for a space, its case or a letter",
    59: "a class that only evaluation shows",
    60: "a class of one row that is to be split",
    61: "a single class",
    62: "fractions as classes, names as values",
    63: "several labels written as one text",
    64: "a value that is NaN",
    65: "words and tags that differ in number",
    66: "an I behind an O, a scheme that nobody knows",
    67: "an answer that does not stand in its text, or elsewhere",
    68: "an offset that counts UTF-16 units, or bytes",
    69: "an answer longer than the window",
    70: "a question that fills the row",
    71: "no answer, and not said to have none",
    72: "a conversation that is none",
    73: "a conversation in which the assistant says nothing",
    74: "a prompt that leaves its target no room",
    75: "preferences between equal answers, or without the other one",
    76: "a reward that is no number",
    77: "rows on both sides of a split",
    78: "nothing to evaluate on",
}
ELSEWHERE: dict[int, tuple[tuple[str, str], ...]] = {  # case → (file, a line of its test)
    72: (
        ("tokens/test_chat.py", "def test_what_is_no_conversation(messages: Any, where: str) -> None:"),
        ("tokens/test_chat.py", '([{"role": "<|im_end|>", "content": "a"}], "turn 0"),'),
        ("tokens/test_chat.py", "def test_the_template_refuses_a_conversation("),
    ),
    73: (
        (
            "preflight/incidents.py",
            'Incident("no turn of the assistant", "inputs 73", silent, "E-MASK", "speaker-mask"),',
        ),
        ("preflight/incidents.py", '"assistant mask all zero",'),
    ),
}
NOT_YET = {  # case → the module that must bring its test, and what the error will be
    75: ("modeledge.align", "E-PAIR-EQUAL, E-MISSING-FIELD: no preference is learned from yet"),
    76: ("modeledge.align", "E-REWARD: no reward is asked for yet"),
}
ROWS: list[Any] = []


def row(case: int, name: str, does: Does, expected: Refused | Done) -> None:
    ROWS.append(pytest.param(does, expected, id=f"{case}-{name.replace(' ', '-')}"))


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def learn(g: Ground, task: str, good: list[dict[str, Any]], *bad: dict[str, Any], options: tuple[str, ...] = ()) -> Any:
    """Fine-tuning on good rows with bad ones behind them."""
    return g.tune(g.file("x.jsonl", lines(*good, *bad)), "--task", task, *options)


# ---- several labels

SETS = [{"text": f"text {n} of some words", "label": ["red"] if n % 2 else ["blue", "hot"]} for n in range(12)]
row(
    63,
    "a set as one text",
    lambda g: learn(g, "multilabel", SETS, {"text": "more", "label": "red hot"}),
    Refused("E-LABEL-TYPE", "x.jsonl:13", "'red hot'", "options.split"),
)
row(
    63,
    "a set of numbers that are none",
    lambda g: learn(g, "multilabel", SETS, {"text": "more", "label": ["red", 2.5]}),
    Refused("E-LABEL-TYPE", "x.jsonl:13", "2.5"),
)
row(
    63,
    "a set as one text that says how it is split",
    lambda g: learn(
        g,
        "multilabel",
        [{**one, "label": "|".join(one["label"])} for one in SETS],
        options=("options.split='|'", "--no-check"),
    ),
    Done("multilabel_f1_micro"),
)

# ---- words and tags

NAMES = [{"tokens": ["Eva", "runs", f"home{n}"], "tags": ["B-PER", "O", "B-LOC"]} for n in range(24)]
row(
    65,
    "two words and one tag",
    lambda g: learn(g, "tag", NAMES, {"tokens": ["a", "b"], "tags": ["O"]}),
    Refused("E-LENGTH-MISMATCH", "x.jsonl:25", "2 tokens and 1 tags"),
)
row(
    65,
    "two words and one tag in a plain table",
    lambda g: learn(g, "tag", NAMES, {"tokens": ["a", "b"], "tags": ["O"]}, options=("--layout", "plain")),
    Refused("E-LENGTH-MISMATCH", "x.jsonl:25", "2 words stand against 1 tags"),
)
row(
    65,
    "a line of conll without its tag",
    lambda g: g.tune(g.file("conll2003/train.txt", "Eva NNP B-NP B-PER\nruns VBZ O\n\n"), "--layout", "conll2003"),
    Refused("E-LENGTH-MISMATCH", "train.txt:2", "3 columns, not 4"),
)
BROKEN = {"tokens": ["a", "b", "c"], "tags": ["O", "I-PER", "B-LOC"]}
row(
    66,
    "an I behind an O is said",
    lambda g: learn(g, "tag", NAMES, *[{**BROKEN, "tokens": [f"a{n}", "b", "c"]} for n in range(6)]),
    Done("x.jsonl:", "tags may not stand where they do in the scheme bio", "first: O I-PER"),
)
row(
    66,
    "an I behind an O where the scheme is decoded",
    lambda g: learn(
        g,
        "tag",
        NAMES,
        *[{**BROKEN, "tokens": [f"a{n}", "b", "c"]} for n in range(6)],
        options=("options.decode=viterbi",),
    ),
    Refused("E-TAG-SCHEME", "x.jsonl:", "never answers so"),
)
row(
    66,
    "a tag without prefix among others",
    lambda g: learn(g, "tag", NAMES, *[{"tokens": [f"a{n}", "b"], "tags": ["B-PER", "MISC"]} for n in range(6)]),
    Refused("E-TAG-SCHEME", "x.jsonl:25", "'MISC' of token 2 is not of scheme IOB2"),
)
row(
    66,
    "a prefix of no scheme",
    lambda g: learn(g, "tag", NAMES, *[{"tokens": [f"a{n}", "b"], "tags": ["Q-PER", "O"]} for n in range(6)]),
    Refused("E-TAG-SCHEME", "x.jsonl:25", "'Q-PER' of token 1 is not of scheme IOB2"),
)
row(
    66,
    "a prefix of no scheme in a plain table",
    lambda g: learn(
        g,
        "tag",
        NAMES,
        *[{"tokens": [f"a{n}", "b"], "tags": ["Q-PER", "O"]} for n in range(6)],
        options=("--layout", "plain"),
    ),
    Refused("E-TAG-SCHEME", "the prefixes B, Q are not of any of"),
)

# ---- questions

TEXT = "the 🙂 quick fox"
ASKED = [
    {"question": f"who {n}", "context": f"{n} the quick brown fox", "answers": {"text": ["fox"], "answer_start": [18]}}
    for n in range(10)
] + [
    {"question": f"who {n}", "context": f"{n} the quick brown fox", "answers": {"text": ["fox"], "answer_start": [19]}}
    for n in range(10, 20)
]


def ask(g: Ground, *, options: tuple[str, ...] = (), **changed: Any) -> list[str]:
    """Good questions, and one more that is changed."""
    one = {"question": "who", "context": TEXT, "answers": {"text": ["fox"], "answer_start": [12]}, **changed}
    return learn(g, "extract", ASKED, one, options=("train.length=24", *options))  # type: ignore[no-any-return]


def at(start: int, text: str = "fox") -> dict[str, Any]:
    return {"text": [text], "answer_start": [start]}


row(
    67,
    "answer not in its text",
    lambda g: ask(g, answers=["hound"]),
    Refused("E-ANSWER-MISMATCH", "x.jsonl:21", "'hound' does not occur in the context 'the 🙂 quick fox'"),
)
row(
    67,
    "answer elsewhere",
    lambda g: ask(g, answers=at(4)),
    Refused("E-ANSWER-MISMATCH", "x.jsonl:21", "the answer is 'fox'", "stands '🙂 q'", "at character 12, 8 later"),
)
row(
    68,
    "offset in UTF-16 units",
    lambda g: ask(g, answers=at(13)),
    Refused("E-ANSWER-MISMATCH", "x.jsonl:21", "counts UTF-16 units", "count characters (code points): 12"),
)
row(
    68,
    "offset in bytes",
    lambda g: ask(g, answers=at(15)),
    Refused("E-ANSWER-MISMATCH", "x.jsonl:21", "counts bytes of UTF-8", "count characters (code points): 12"),
)
LONG = " ".join(["fox"] * 34)


def long_answer(g: Ground, others: int) -> list[str]:
    """One answer that no window holds, behind so many whose rows are one window."""
    short = [{"question": f"who {n}", "context": f"a quick fox {n}", "answers": at(8)} for n in range(others)]
    one = {"question": "who", "context": f"{LONG} dog", "answers": at(0, LONG)}
    sizes = ("train.length=24", "options.stride=16", "test_share=0.02")
    return learn(g, "extract", [*short, one], options=sizes)  # type: ignore[no-any-return]


row(
    69,
    "answer longer than the window is counted",
    lambda g: long_answer(g, 60),
    Done("1 answers fit no window whole", "teach nothing", "1 answers are longer than max_answer = 30 tokens"),
)
row(
    69,
    "answers longer than the window in many rows",
    lambda g: long_answer(g, 6),
    Refused("E-NO-TARGET", "x.jsonl:7", "examples teach nothing"),
)
row(
    70,
    "question as long as the row",
    lambda g: ask(g, question="who jumps over the lazy dog " * 9),
    Refused("E-QUESTION-TOO-LONG", "x.jsonl:21", "a row 24"),
)
for name, answers in (("an empty list", []), ("nothing", None), ("an empty text", ""), ("empty lists", {"text": []})):
    row(
        71,
        f"{name} for an answer",
        lambda g, a=answers: ask(g, answers=a),
        Refused("E-ANSWER-MISSING", "x.jsonl:21", "not marked is_impossible"),
    )

# ---- texts to be written, and conversations

ROOM = ("train.length=24", "options.max_target=6")
SAID = [{"source": f"who {n}", "target": "the fox"} for n in range(12)]
row(
    74,
    "a prompt that fills the row",
    lambda g: learn(
        g,
        "write",
        SAID,
        *[{"source": f"{n} the lazy dog " * 9, "target": "a fox"} for n in range(3)],
        options=("options.cut=none", *ROOM),
    ),
    Refused("E-NO-TARGET-AFTER-TRUNCATION", "x.jsonl:", " of ", "leaves no room for the target"),
)
row(
    74,
    "a target without a letter",
    lambda g: learn(g, "write", SAID, {"source": "who", "target": ""}, options=ROOM),
    Refused("E-MISSING-FIELD", "x.jsonl:13", "'target'"),
)

# ---- splits

MANY = table("up", "down", count=120)
FEW = "".join(f"the quick brown fox {n} jumps,{('up', 'down')[n % 2]}\n" for n in range(80))


def shared(g: Ground, count: int, *options: str) -> list[str]:
    """Eighty test rows, so many of which are training rows but for their case."""
    told = FEW.splitlines(keepends=True)
    copied = "".join(line.replace("the quick", "The QUICK") for line in told[:count])
    fresh = "".join(f"an old red house {n} sleeps,{('up', 'down')[n % 2]}\n" for n in range(80 - count))
    test = g.file("test.csv", "text,label\n" + copied + fresh)
    return g.tune(g.file("train.csv", MANY + FEW), *options, test=test)


row(77, "one row of eighty is said", lambda g: shared(g, 1), Done("W-LEAK [shared-rows]", "1 of 80 test rows"))
row(77, "one row of eighty, strictly", lambda g: shared(g, 1, "--strict"), Refused("E-WARNING", "1 of 80 test rows"))
row(77, "two rows of eighty", lambda g: shared(g, 2), Refused("E-LEAK", "test.csv:2 = ", "2 of 80 test rows"))
row(77, "a leak that is allowed", lambda g: shared(g, 9, "--allow-leak"), Done("ALLOWED: E-LEAK", "9 of 80"))


@pytest.mark.parametrize(("does", "expected"), ROWS)
def test_a_bad_task(
    does: Does,
    expected: Any,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other.test_a_bad_input(does, expected, made, tmp_path, monkeypatch, capsys)


def cases_of(rows: list[Any]) -> set[int]:
    return {int(re.match(r"\d+", row.id)[0]) for row in rows}  # type: ignore[index]


def test_each_case_has_its_test() -> None:
    covered = cases_of(other.ROWS) | cases_of(ROWS) | ELSEWHERE.keys() | NOT_YET.keys()
    assert CASES.keys() <= covered, sorted(CASES.keys() - covered)
    assert list(CASES) == list(range(56, 79))


@pytest.mark.parametrize("case", ELSEWHERE)
def test_the_test_that_is_pointed_at_is_there(case: int) -> None:
    for file, line in ELSEWHERE[case]:
        assert line in (Path(__file__).parent / file).read_text(encoding="utf-8"), f"case {case}: {line}"


@pytest.mark.parametrize("case", NOT_YET)
def test_what_is_not_built_yet_is_not_built(case: int) -> None:
    """When this fails the case can be tested: give it rows, and take it out of `NOT_YET`."""
    module, error = NOT_YET[case]
    assert importlib.util.find_spec(module) is None, f"case {case}, {CASES[case]}: {error}"

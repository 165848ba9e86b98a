"""Writing programs: a description and its tests → a program that passes them (MBPP: Austin et al. 2021, arXiv
2108.07732; pass@k: Chen et al. 2021, arXiv 2107.03374).

Several programs a problem can be drawn (`samples`, with a temperature). Whether they pass is found out by running them,
which must be asked for: the option `run_code`, which a saved model never carries, so that no model folder can ask for
it. Without it the marks are the loss and the text itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.records import Example
from modeledge.tasks.columns import text_of, texts_of
from modeledge.tasks.judge_code import Limits, Verdict, judge
from modeledge.tasks.task import Answer, Request, Row
from modeledge.tasks.write import WriteTask
from modeledge.tasks.writing import Writing


class CodeWriting(Writing):
    """The options of `code` beside those of `write`: programs a problem, whether they are run, within which limits."""

    samples: int = Field(default=1, ge=1)
    run_code: bool = False
    seconds: int = Field(default=5, ge=1)
    memory_mib: int = Field(default=512, ge=64)


class Code(WriteTask):
    """`text` describes a problem, `test_list` are statements that a right program makes true, `code` is a program.
    An answer's value is the tuple of its programs."""

    kind: ClassVar[str] = "code"
    card: ClassVar[str] = "text-generation"
    inputs: ClassVar[tuple[str, ...]] = ("text", "test_list")
    target: ClassVar[str] = "code"
    settings: ClassVar[type[Writing]] = CodeWriting
    options: ClassVar[tuple[str, ...]] = tuple(CodeWriting.model_fields)
    usual: ClassVar[tuple[str, ...]] = ("exact_match",)
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_target": 256,
        "ask": "You are an expert Python programmer, and here is your task: {source}\n[BEGIN]\n",
        "stop": ("[DONE]",),
    }

    writing: CodeWriting

    def described(self) -> dict[str, Any]:
        """The options without `run_code`: a file never asks for what it holds to be run."""
        said = super().described()
        return {**said, "options": {k: v for k, v in said["options"].items() if k != "run_code"}}

    def source_of(self, row: Row, number: int) -> str:
        """The description, and the tests, which name the function (Austin et al. 2021, figure 1)."""
        tests = texts_of(row, self.columns["test_list"], number)
        text = text_of(row, self.columns["text"], number)
        return "\n\n".join([f"{text} Your code should pass these tests:", "\n".join(tests)])

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        found = super().encode(rows, labelled=labelled)
        tests = [texts_of(row, self.columns["test_list"], i) for i, row in enumerate(rows)]
        return [replace(e, channels={"tests": np.array(t, dtype=np.str_)}) for e, t in zip(found, tests, strict=True)]

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """All programs of each problem: sample number n draws its own lots."""
        count = self.writing.samples
        if count > 1 and self.writing.temperature == 0:
            what = f"{count} samples at temperature 0 are one sample"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.samples", remedy="set options.temperature")
        rounds = [self.draw(model, batch, n) for n in range(count)]
        return [Answer(same[0].index, tuple(a.value for a in same)) for same in zip(*rounds, strict=True)]

    @property
    def metrics(self) -> tuple[str, ...]:
        """pass@k first, for each k of METRICS that there are samples for, where programs may be run."""
        ks = [name for name in METRICS if name.startswith("pass@") and int(name[5:]) <= self.writing.samples]
        named = [name for name in super().metrics if not name.startswith("pass@")]
        return (*ks, *named) if self.writing.run_code else tuple(named)

    def verdicts(self, answer: Answer, example: Example) -> list[Verdict]:
        """Each program of an answer, run on the tests of its example; `E-USAGE` where that was not asked for."""
        if not self.writing.run_code:
            what, remedy = "programs that a model wrote are not run unasked", "set options.run_code = true"
            raise ModeledgeError("E-USAGE", what, why="they may do anything", remedy=remedy)
        limits = Limits(self.writing.seconds, self.writing.memory_mib << 20)
        tests = [str(test) for test in example.channels["tests"]]
        return [judge(program, tests, limits) for program in answer.value]

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """For pass@k 0/1 of each program `[problems][programs]`; else as `write` does, of the first program."""
        if str(METRICS[metric].needs) == "outcomes":
            told = {answer.index: answer for answer in answers}
            pairs = [(told[example.index], example) for example in examples]
            return [[int(v.passed) for v in self.verdicts(*pair)] for pair in pairs], [0] * len(pairs)
        return super().sides(metric, [replace(a, value=a.value[0]) for a in answers], examples)

    def shown(self, answer: Answer) -> dict[str, Any]:
        return {"prediction": answer.value[0]}

    def cleaned(self, text: str) -> str:
        """A program without empty lines around it: spaces before its first word mean something."""
        return text.strip("\n").rstrip()

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """One program, or a list of them."""
        programs = [told] if isinstance(told, str) else list(told)
        return Answer(index, tuple(self.cleaned(str(program)) for program in programs))

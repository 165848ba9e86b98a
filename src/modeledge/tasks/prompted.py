"""Asking a model that was never fine-tuned: each row's request is carried out, and the answers are marked as all are.

`Score` is carried out by log-likelihoods of the choices behind the prompt, `Generate` by greedy decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modeledge.errors import ModeledgeError
from modeledge.families import start_of
from modeledge.generate import Scoring, Way, continue_text, guesses, score_choices
from modeledge.model.backbone import Backbone
from modeledge.tasks.task import Answer, Generate, Row, Score, Task
from modeledge.tokens import Tokenizer

BATCH = 16  # prompts that are continued at once


def prompted_answers(
    task: Task,
    model: Backbone,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    scoring: Scoring = Scoring(),  # noqa: B008
    writes: Way | None = None,
    say: Callable[[str], None] = print,
) -> list[Answer]:
    """One answer a row, in the order of the rows: what `task.mark` marks beside `task.encode(rows)`.

    A prefix LM (`writes`) reads the prompts both ways. The model is put in evaluation mode while it is asked.
    `E-USAGE` for a task without a prompted way, for an encoder, and for a model that has learned no next token.
    """
    if guesses(writes):
        what = "this model writes where a token is hidden: it has learned no next one, and a text has no likelihood"
        raise ModeledgeError("E-USAGE", what, remedy="fine-tune it, or ask it with generate")
    ways = writes == "prefix"
    requests = [task.request(row) for row in rows]
    start = start_of(model) if model.config.both else None
    begin = [] if start is None else [start]
    training = model.training
    model.eval()
    try:
        told: dict[int, object] = {}
        scored = [(i, r) for i, r in enumerate(requests) if isinstance(r, Score)]
        if scored:
            prompts, choices = [r.prompt for _, r in scored], [r.choices for _, r in scored]
            scores = score_choices(
                model, tokenizer, prompts, choices, scoring=scoring, start=begin, both_ways=ways, say=say
            )
            told |= {i: found for (i, _), found in zip(scored, scores, strict=True)}
        told |= _written(model, tokenizer, requests, begin, ways)
    finally:
        model.train(training)
    answers = [task.answer(i, request, told[i]) for i, request in enumerate(requests)]
    missed = sum(answer.details == "no number" for answer in answers)
    if missed:
        say(f"{missed} of {len(answers)} continuations hold no number: the mean of the training labels stands for it")
    return answers


def _written(
    model: Backbone, tokenizer: Tokenizer, requests: Sequence[object], begin: Sequence[int], ways: bool
) -> dict[int, object]:
    """The continuations that are asked for; those with one length and one stop together."""
    kinds: dict[tuple[tuple[str, ...], int], list[tuple[int, str]]] = {}
    for i, request in enumerate(requests):
        if isinstance(request, Generate):
            kinds.setdefault((request.stop, request.max_new_tokens), []).append((i, request.prompt))
    told: dict[int, object] = {}
    for (stop, most), asked in kinds.items():
        for place in range(0, len(asked), BATCH):
            group = asked[place : place + BATCH]
            prompts = [prompt for _, prompt in group]
            texts = continue_text(
                model, tokenizer, prompts, max_new_tokens=most, stop=stop, start=begin, both_ways=ways
            )
            told |= {i: text for (i, _), text in zip(group, texts, strict=True)}
    return told

"""Checks of the rates, and of the two real steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modeledge.preflight.finding import Finding
from modeledge.preflight.view import View, spread

HIGHEST = {"adamw": (0.03, 0.3), "sgd": (10.0, 100.0)}  # said, refused: Adam moves each weight by about the rate
LOWEST = {"adamw": 1e-10, "sgd": 1e-12}  # below, all but the smallest fp32 weights round back
NOTHING, EARLY = 1e-3, 0.3  # a rate below this share of the peak for so much of the run is a waste
WARM = 0.5  # a longer warm-up leaves less than half of the run to the rate that was asked for


def rate(view: View) -> Iterator[Finding]:
    """The learning rate is a number that the optimizer can use."""
    config = view.config
    rates = [config.rate(step) for step in spread(config.steps, 512)]
    bad = [r for r in rates if not (math.isfinite(r) and r >= 0)]
    if bad:
        yield Finding("E-SCHEDULE", f"a learning rate is {bad[0]}", "train.learning_rate")
        return
    peak, (said, refused) = max(rates), HIGHEST[config.optimizer]
    if peak > said:
        what = f"the learning rate {peak:g} is far above what {config.optimizer} bears"
        code = "E-SCHEDULE" if peak > refused else "W-SCHEDULE"
        yield Finding(code, what, "train.learning_rate", "1e-5 to 1e-2 is usual")
    if peak < LOWEST[config.optimizer]:
        what = f"the learning rate {peak:g} moves nothing in fp32"
        yield Finding("E-SCHEDULE", what, "train.learning_rate", "1e-5 to 1e-2 is usual")


def schedule(view: View) -> Iterator[Finding]:
    """The rate does not stay near zero for a good part of the run, and warm-up is not most of it."""
    config = view.config
    steps = spread(config.steps, 512)
    rates = [config.rate(step) for step in steps]
    peak = max(rates)
    if config.steps < 10 or not peak > 0:
        return
    idle = [step for step, r in zip(steps, rates, strict=True) if r < NOTHING * peak]
    if len(idle) > EARLY * len(steps):
        share = len(idle) / len(steps)
        what = f"the learning rate is about zero in {share:.0%} of {config.steps} steps, from step {idle[0]}"
        yield Finding("E-SCHEDULE", what, "train.schedule", "let the schedule end where the run does")
    top = steps[rates.index(peak)]
    if top > WARM * config.steps:
        what = f"the rate that was asked for is first reached at step {top} of {config.steps}"
        code = "E-SCHEDULE" if top >= 0.95 * config.steps else "W-SCHEDULE"
        yield Finding(code, what, "train.warmup", "0.05 to 0.1 is usual")


def batch_size(view: View) -> Iterator[Finding]:
    """A step does not show the same example twice."""
    count = len(view.train.examples)
    if view.train.rows and view.config.batch > count:
        what = f"a batch of {view.config.batch} holds each of {count} examples more than once"
        yield Finding("W-BATCH", what, "train.batch", "lower it")


def epochs(view: View) -> Iterator[Finding]:
    """No corpus of a mixture is read more often than it should be: later epochs teach little. Static masks come again:
    where no text is read more often than it has masks, they are those of dynamic masking, one for one."""
    masks, most = view.objective.repeats, max((read.epochs for read in view.reads), default=math.inf)
    if masks is not None and most <= masks:
        what = f"static masks never come again: a text has {masks}, and is read {most:.2f} times"
        yield Finding("W-EPOCHS", what, "objective.static", "give fewer, more steps, or less text")
    for read in view.reads:
        if read.most is not None and read.epochs > read.most * (1 + 1e-6):
            what = f"{read.name} is read {read.epochs:.2f} times, and mixture.max_epochs is {read.most:g}"
            remedy = 'lower its weight or train.steps, raise max_epochs, or say beyond = "share"'
            yield Finding("W-EPOCHS", what, f"mixture.sources.{read.name}", remedy)


def courses(view: View) -> Iterator[Finding]:
    """The run is long enough for its curriculum: each course comes to its last value, with which held-out examples are
    prepared from the first."""
    end = view.config.steps
    for name, last in view.courses.items():
        if last > end:
            what = (
                f"the run ends at step {end:,}, and this course at step {last:,}: its last value is never learned from"
            )
            yield Finding("W-SCHEDULE", what, name, "train longer, or let it end sooner")


def two_steps(view: View) -> Iterator[Finding]:
    """Two steps run, and their losses and gradients are finite."""
    error = None if view.trial is None else view.trial.error
    if error is not None:
        yield Finding(error.code, error.what, error.where, error.remedy)

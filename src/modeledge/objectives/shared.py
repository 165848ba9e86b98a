"""Several tasks on one body: each example belongs to one task, and each task has heads of its own.

Multi-task fine-tuning (Caruana 1997; MT-DNN, Liu et al. 2019, arXiv 1901.11504) is a stream over the tasks' examples
and this objective: an example goes to the objective of its task, which reads the one body through the task's own heads.
Two tasks that both call their head `class` have `a-class` and `b-class` on the model; an objective, or a task that is
asked, sees the model as `Seen` shows it, with its own heads under the names that it knows.

A `Blend` is the other thing: there every objective reads every example.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.lead import TASK
from modeledge.objectives.blend import PART
from modeledge.objectives.join import merged, renamed
from modeledge.objectives.objective import Loss, Objective, Prepare, Term
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

BETWEEN = "-"  # between the name of a task and that of its head


@dataclass(frozen=True)
class SharedPrepare:
    """An example is prepared by its own task; of the others it has the names alone.

    Task n has the examples from number `firsts[n]` on; `empties` are examples of each task with nothing in them.
    """

    names: tuple[str, ...]
    parts: tuple[Prepare, ...]
    firsts: tuple[int, ...]
    empties: tuple[Prepared, ...]
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return frozenset().union(*(part.channels for part in self.parts))

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        number = bisect_right(self.firsts, example.index) - 1
        own = renamed(self.parts[number](example, noise.at("task", self.names[number])), self.names[number])
        own = replace(own, labels={**own.labels, PART: np.array([number])})
        return merged(own, [empty for n, empty in enumerate(self.empties) if n != number])


class Shared(Objective):
    """The objective of each task by name, over one body.

    `firsts` says at which example number the examples of each task begin, `samples` is one example of each. A batch of
    one task is that task's loss alone; of several the losses are added. `E-CONFIG-VALUE` for a name that cannot be one.
    """

    def __init__(self, parts: Mapping[str, Objective], firsts: Sequence[int], samples: Sequence[Example]) -> None:
        super().__init__()
        for name in parts:
            if not name or "." in name or BETWEEN in name or name == PART:
                what = f"{name!r} cannot name a task"
                raise ModeledgeError("E-CONFIG-VALUE", what, where="tasks", remedy="use a word of letters and digits")
        self.parts = nn.ModuleDict(parts)
        self.heads = {f"{n}{BETWEEN}{head}": spec for n, part in parts.items() for head, spec in part.heads.items()}
        self.couples = any(part.couples for part in parts.values())
        longest = [part.longest for part in parts.values()]
        self.longest = None if None in longest else max(cast(list[int], longest))
        made = [part.prepare(sample, Noise(0)) for part, sample in zip(parts.values(), samples, strict=True)]
        empties = tuple(renamed(item, name, empty=True) for item, name in zip(made, parts, strict=True))
        self.prepare = SharedPrepare(tuple(parts), tuple(p.prepare for p in parts.values()), tuple(firsts), empties)

    def draw(self, noise: Noise) -> None:
        for name, part in self.parts.items():
            cast(Objective, part).draw(noise.at("task", name))

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Those of the tasks that have an example in the batch."""
        out: dict[str, Tensor] = {}
        for name, part, own in self.present(batch):
            out |= {f"{name}.{term}": weight for term, weight in part.weights(own).items()}
        return out

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        terms: dict[str, Term] = {}
        logs: dict[str, tuple[Tensor, Tensor]] = {}
        for name, part, own in self.present(batch):
            loss = part.loss(seen(model, name), own, noise.at("task", name))
            terms |= {f"{name}.{n}": term for n, term in loss.terms.items()}
            logs |= {f"{name}.{n}": log for n, log in loss.logs.items()}
        return Loss(terms, logs)

    def present(self, batch: Batch) -> Iterator[tuple[str, Objective, Batch]]:
        """Each task that has examples in the batch, and the batch as it knows it; the label `task` is its number."""
        drawn = batch.labels[PART]
        for number in sorted(set(drawn.tolist())):
            name, mine = self.prepare.names[number], drawn == number  # type: ignore[attr-defined]
            fields: dict[str, Any] = {"spans": batch.spans[mine], "indices": batch.indices[mine]}
            for kind in ("reads", "labels", "weights"):
                values = getattr(batch, kind).items()
                fields[kind] = {n.removeprefix(f"{name}."): v for n, v in values if n.startswith(f"{name}.")}
            fields["labels"][TASK] = drawn[mine]
            yield name, cast(Objective, self.parts[name]), replace(batch, **fields)


class Seen:
    """A model as one task knows it: its own heads under their own names, all else the model's."""

    def __init__(self, model: Backbone, name: str) -> None:
        self._model, self._prefix = model, f"{name}{BETWEEN}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._model)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The task's heads."""
        there = self._model.heads.items()
        return {n.removeprefix(self._prefix): head for n, head in there if n.startswith(self._prefix)}

    def logits(self, states: Tensor, head: str = "lm") -> Tensor:
        """Scores over the vocabulary of the task's own head."""
        return self.heads[head](states, self._model.table)  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._model(*arguments, **named)


def seen(model: Backbone, name: str) -> Backbone:
    """The model as the task of this name knows it."""
    return cast(Backbone, Seen(model, name))

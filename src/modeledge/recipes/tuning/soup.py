"""Averages over runs: models that began at one point and were fine-tuned apart can be one model again.

Fine-tuned models that share their start lie in one valley of the loss, so that the mean of their weights is a model
too, and often a better one, at the price of one (Wortsman et al. 2022, arXiv 2203.05482):

    uniform    θ = 1/k Σ θᵢ
    greedy     in the order of their scores on validation rows each is taken in, if the mean does not get worse by it
    WiSE-FT    θ = (1 − α) θ₀ + α θ₁, between the model that a run began with and where it ended: much of what
               fine-tuning gains, and much of what it loses under distribution shift (Wortsman et al. 2022, arXiv
               2109.01903, equation 1)

Sums are fp64. θ₀ has no head for the task, so that of θ₁ stays as it is. What validation rows chose beside the weights
(a threshold, a temperature) is that of the first model that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeledge.adapt.graft import adapters_on
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.recipes.asking.mistakes import check_same
from modeledge.recipes.asking.use import Model
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.folder import model_folder
from modeledge.recipes.pretraining.pretrain import finish
from modeledge.recipes.store.card import Card
from modeledge.recipes.store.open import open_model
from modeledge.recipes.tuning.beginning import REMEDY, check_one_beginning, check_start
from modeledge.recipes.tuning.heads import words_of
from modeledge.recipes.tuning.task_file import TASK_FILE, described
from modeledge.records import Example
from modeledge.tasks import answers

Say = Callable[[str], None]
Weights = Mapping[str, Tensor]
SOUP = "soup.json"
ALPHAS = tuple(n / 10 for n in range(11))  # as the paper's figures do


def mixed(ingredients: Sequence[Weights], shares: Sequence[float]) -> dict[str, Tensor]:
    """Σ shareᵢ · θᵢ, added in fp64; whole numbers are the first one's."""
    out: dict[str, Tensor] = {}
    for name, first in ingredients[0].items():
        if not first.is_floating_point():
            out[name] = first.clone()
            continue
        total = torch.zeros_like(first, dtype=torch.float64)
        for weights, share in zip(ingredients, shares, strict=True):
            total += share * weights[name].double()
        out[name] = total.to(first.dtype)
    return out


def uniform_soup(runs: Sequence[Path], out: Path, *, say: Say = print) -> dict[str, Any]:
    """The mean of all runs."""
    fresh(out)
    models = _opened(runs, say)
    shares = [1 / len(models)] * len(models)
    pot = _weights(models[0])
    models[0].transformer.load_state_dict(mixed([pot, *map(_weights, models[1:])], shares))
    return _write(models[0], out, {"kind": "uniform", "ingredients": [run.name for run in runs], "shares": shares})


def greedy_soup(runs: Sequence[Path], out: Path, data: Any, *, say: Say = print) -> dict[str, Any]:
    """The mean of those runs that make it no worse on the rows of `data`, which are to be nobody's test rows."""
    fresh(out)
    models = _opened(runs, say)
    examples = _examples(models[0], data, say)
    each = [_weights(model) for model in models]
    alone = [score(model, examples) for model in models]
    sign = 1 if METRICS[models[0].needed_task().metrics[0]].greater_is_better else -1
    order = sorted(range(len(models)), key=lambda n: (-sign * alone[n], n))
    for n in order:
        say(f"{runs[n]}: {alone[n]:.4f}")
    taken, pot, best = [order[0]], models[order[0]], alone[order[0]]
    for n in order[1:]:
        tried = [*taken, n]
        pot.transformer.load_state_dict(mixed([each[i] for i in tried], [1 / len(tried)] * len(tried)))
        found = score(pot, examples)
        better = sign * found >= sign * best
        say(f"with {runs[n]}: {found:.4f}, {'taken' if better else 'left out'}")
        taken, best = (tried, found) if better else (taken, best)
    pot.transformer.load_state_dict(mixed([each[i] for i in taken], [1 / len(taken)] * len(taken)))
    note = {"kind": "greedy", "ingredients": [runs[n].name for n in taken], "score": best}
    return _write(pot, out, {**note, "left": [runs[n].name for n in order if n not in taken]})


def wise_soup(
    run: Path,
    start: Path,
    out: Path,
    *,
    alpha: float | None = None,
    data: Any = None,
    say: Say = print,
) -> dict[str, Any]:
    """(1 − α) θ₀ + α θ₁; without an α the one of `ALPHAS` that is best on the rows of `data`, the lowest of equals."""
    fresh(out)
    if (alpha is None) == (data is None):
        remedy = "give --alpha, or --data to choose it by"
        raise ModeledgeError("E-USAGE", "α is either given or chosen on rows", where="--wise-ft", remedy=remedy)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"α is {alpha:g}", where="--alpha", remedy="give a share from 0 to 1")
    (model,) = _opened([run], say)
    begun_with = open_model(model_folder(start), say)
    check_plain(start, begun_with)
    check_start(run, start, say)
    after, before = _weights(model), _weights(begun_with)
    shared = {n for n, w in after.items() if n in before and before[n].shape == w.shape}
    if not any(not name.startswith("heads.") for name in shared):
        what = "no weight of its body is one of the run's"
        raise ModeledgeError("E-KEYS", what, where=str(start), remedy="name the model that the run began with")
    if loose := sorted(n for n in after.keys() - shared if not n.startswith("heads.")):
        what = f"{len(loose)} weights of the run's body are not there, e.g. {loose[0]}"
        raise ModeledgeError("E-KEYS", what, where=str(start), remedy="name the model that the run began with")
    begun = {name: before[name] if name in shared else weight for name, weight in after.items()}
    told: dict[str, float] = {}
    if alpha is None:
        examples = _examples(model, data, say)
        for share in ALPHAS:
            model.transformer.load_state_dict(mixed([after, begun], [share, 1 - share]))
            told[f"{share:g}"] = score(model, examples)
            say(f"α = {share:g}: {told[f'{share:g}']:.4f}")
        sign = 1 if METRICS[model.needed_task().metrics[0]].greater_is_better else -1
        alpha = max(ALPHAS, key=lambda share: (sign * told[f"{share:g}"], -share))
        say(f"α = {alpha:g} is kept")
    model.transformer.load_state_dict(mixed([after, begun], [alpha, 1 - alpha]))
    return _write(
        model, out, {"kind": "wise-ft", "ingredients": [run.name, start.name], "alpha": alpha, "scores": told}
    )


def score(model: Model, examples: Sequence[Example]) -> float:
    """The task's first score on these examples."""
    task = model.needed_task()
    return float(task.mark(answers(task, model.transformer, examples), examples)[task.metrics[0]])


def _opened(runs: Sequence[Path], say: Say) -> list[Model]:
    """The models of the runs: of one task and one shape (`E-KEYS`), each named once and whole (`E-USAGE`)."""
    twice = [run for n, run in enumerate(runs) if run.resolve() in {r.resolve() for r in runs[:n]}]
    if twice:
        raise ModeledgeError("E-USAGE", "this run is named twice", where=str(twice[0]), remedy="name each run once")
    models = [Model.load(run, say=say) for run in runs]
    for run, model in zip(runs, models, strict=True):
        check_weights_alone(run, model)
    first = {name: w.shape for name, w in models[0].transformer.state_dict().items()}
    for run, model in zip(runs, models, strict=True):
        check_same(models[0].needed_task(), model.needed_task(), run)
        other = {name: w.shape for name, w in model.transformer.state_dict().items()}
        if other != first:
            apart = sorted(n for n in first.keys() | other.keys() if first.get(n) != other.get(n))
            what = f"its weights are not those of the first run: {', '.join(apart[:3])}"
            raise ModeledgeError("E-KEYS", what, where=str(run), remedy=REMEDY)
    if len(runs) > 1:
        check_one_beginning(runs, say)
    return models


def check_weights_alone(run: Path, model: Model) -> None:
    """Refuse what has more than weights of its own to average: an adapter, a classical head (`E-USAGE`)."""
    check_plain(run, model.transformer)
    if model.needed_task().replier is not None:
        what, remedy = "its head was fitted on a frozen body: there is nothing to average", "modeledge ensemble"
        raise ModeledgeError("E-USAGE", what, where=str(run), remedy=remedy)


def check_plain(source: Path, model: Backbone) -> None:
    """Refuse a model with an adapter: its plain weights are not what it computes (`E-USAGE`)."""
    if adapters_on(model):
        what, remedy = "it is an adapter beside a base", "fold it in first: modeledge merge"
        raise ModeledgeError("E-USAGE", what, where=str(source), remedy=remedy)


def _weights(model: Any) -> dict[str, Tensor]:
    body = model.transformer if isinstance(model, Model) else model
    return {name: value.detach().clone() for name, value in body.state_dict().items()}


def _examples(model: Model, data: Any, say: Say) -> list[Example]:
    return model.needed_task().encode(model.rows(data, labelled=True, say=say))


def _write(model: Model, out: Path, note: dict[str, Any]) -> dict[str, Any]:
    """The model in the form of the run that it was, with a note of what is in it."""
    task, body = model.needed_task(), model.transformer
    card = Card(verb="save", task=task.card, recipe=note)
    notes = {TASK_FILE: described(task), SOUP: note}
    finish(body, model.needed_tokenizer(), out, None, notes, card, words_of(task, body))
    return note

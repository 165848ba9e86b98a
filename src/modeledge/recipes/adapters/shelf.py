"""Many adapters on one model: each is loaded once, and changing from one to the other changes no weight.

What an adapter brings beside its maps is its heads; they change with it. The model stays the base that it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from modeledge.adapt.blend import blend
from modeledge.adapt.graft import Grafts, activate, check_unused, prune
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.recipes.adapters.digest import Base, base_from, changed
from modeledge.recipes.adapters.open import check, put_on
from modeledge.recipes.adapters.pair import read_pair
from modeledge.recipes.folder import model_folder


class Adapters:
    """The adapters of one model, by the names that they are given here.

    >>> shelf = Adapters(model)                                                # doctest: +SKIP
    >>> shelf.load("runs/mood", "mood"); shelf.load("runs/topic", "topic")     # doctest: +SKIP
    >>> shelf.use("mood"); ...; shelf.use("topic"); ...; shelf.use()           # doctest: +SKIP
    """

    def __init__(self, model: Backbone) -> None:
        self.model, self.base = model, base_from(model, "the model in memory")
        self.plain: dict[str, nn.Module] = dict(model.heads.items())
        self.heads: dict[str, dict[str, nn.Module]] = {}

    def load(self, folder: str | Path, name: str, *, say: Callable[[str], None] = print) -> None:
        """Read an adapter's folder, or the run around it, and let it act. Raises what opening it raises, `E-CONFIG` for
        a name that is taken, `E-CONFIG-VALUE` for what is none, `E-ADAPTER` for one that changes weights of the base,
        which the others need."""
        check_unused(self.model, name)
        path = model_folder(folder)
        pair = read_pair(path)
        training = self.model.training
        self._show(copy.deepcopy(self.plain))
        try:
            check(self.model, pair, "the model in memory", path, say, base=self.base)
            before = Base("", None, {n: h for n, h in self.base.weights.items() if not n.startswith("heads.")})
            put_on(self.model, pair, name, still=True)
        except BaseException:
            prune(self.model, name)
            self._show(self.plain)
            raise
        assert not [n for n in changed(before, self.model) if not n.startswith("heads.")], "the base has changed"
        self.heads[name] = dict(self.model.heads.items())
        self.model.train(training)
        self.use(name)

    def use(self, *names: str) -> None:
        """Let these act and no others, none for the base alone; the heads are those of the first that has any."""
        for name in names:
            self._known(name)
        self._show(self.heads[names[0]] if names else self.plain)  # first: an adapter may stand at its head too
        if self.heads:
            activate(self.model, names)

    def drop(self, name: str) -> None:
        """Take an adapter off the model and forget it; the base acts then."""
        self._known(name)
        prune(self.model, name)
        del self.heads[name]
        self.use()

    def blend(self, name: str, weights: Mapping[str, float], *, rank: int | None = None) -> None:
        """Add LoRAs up into a new one (see `modeledge.adapt.blend`); it has the heads of the first. Raises what that
        raises: `E-CONFIG` for a name that is taken."""
        for one in weights:
            self._known(one)
            if any(isinstance(part, Grafts) for head in self.heads[one].values() for part in head.modules()):
                what = f"{one!r} stands at its head too, and heads do not add up"
                raise ModeledgeError("E-ADAPTER", what, remedy="merge each into the weights in its turn")
        blend(self.model, name, weights, rank=rank)
        self.heads[name] = self.heads[next(iter(weights))]
        self.use(name)

    def _known(self, name: str) -> None:
        if name not in self.heads:
            raise ModeledgeError("E-SITE", f"there is no adapter {name!r}", remedy=nearest(name, self.heads))

    def _show(self, heads: Mapping[str, nn.Module]) -> None:
        self.model.heads.clear()
        self.model.heads.update(dict(heads))

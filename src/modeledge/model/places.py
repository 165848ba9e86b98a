"""Classes from the states of a few places in each example, side by side: what relates two marked entities, or whether
one word means the same in two sentences."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from modeledge.model.batch import Batch
from modeledge.model.draw import Draw, dropped
from modeledge.model.facts import Facts
from modeledge.model.linear import Linear


@dataclass(frozen=True, kw_only=True)
class PlacesHead:
    """Scores over classes from the states at `places` positions an example, behind each other in one vector.

    With two places where entities begin it is the entity-start form of Baldini Soares et al. 2019 (arXiv 1906.03158,
    figure 3f). `dropout` stands before the scores. It is kept in our own format: no class of the reference library
    reads so.
    """

    outputs: int
    places: int = 2
    bias: bool = True
    dropout: float = 0.0

    def build(self, config: Facts) -> Places:
        return Places(self, config)


class Places(nn.Module):
    """States at `batch.reads["places"]` → class scores."""

    def __init__(self, spec: PlacesHead, config: Facts) -> None:
        super().__init__()
        self.spec = spec
        self.output = Linear(spec.places * config.width, spec.outputs, bias=spec.bias)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → scores `[examples, outputs]`."""
        x = states.flatten(0, 1)[batch.reads["places"]].view(-1, self.output.weight.shape[1])
        return self.output(dropped(x, Draw.current(self.training).mask(x, self.spec.dropout, "head")))  # type: ignore[no-any-return]

"""P-tuning: prompt vectors that a small network makes out of trained embeddings.

Vectors that move each by itself are moved slowly from where they begin, and know nothing of each other. Liu et al.
(2021, arXiv 2103.10385, section 2.3) let a bidirectional LSTM, or an MLP, make them: h = MLP([→LSTM(e); ←LSTM(e)]),
with e the trained embeddings. After training the network can be thrown away: only its output is needed. (The second
version of P-tuning, arXiv 2110.07602, is prefix tuning without a network: see `prefix.py`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_name
from modeledge.adapt.leading import Leading
from modeledge.adapt.prompt import POOLED
from modeledge.model.lead import Lead
from modeledge.model.transformer import Transformer


class PromptEncoder(Lead):
    """`embedding.weight [length, width]` → `lstm_head` → `mlp_head` → vectors of the same shape."""

    def __init__(self, length: int, width: int, hidden: int, asked: PTuning) -> None:
        super().__init__()
        self.tokens, self.leads = length, asked.pooled == "prompt"
        self.embedding = nn.Embedding(length, width)
        self.lstm_head = None
        if asked.encoder == "lstm":
            self.lstm_head = nn.LSTM(width, hidden, asked.layers, bidirectional=True, batch_first=True)
            maps = [nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width)]
        else:
            maps = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)]
        self.mlp_head = nn.Sequential(*maps)

    def vectors(self) -> Tensor:
        states = self.embedding.weight[None]
        if self.lstm_head is not None:
            states = self.lstm_head(states)[0]
        return self.mlp_head(states)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PTuning(Leading):
    """`length` vectors before each example, made by an `encoder` with `hidden` units (default: the model's width); an
    LSTM has `layers`. `pooled` is as in prompt tuning."""

    length: int = 20
    encoder: Literal["lstm", "mlp"] = "lstm"
    hidden: int | None = None
    layers: int = 2
    pooled: Literal["token", "prompt"] = "token"
    name: str = "default"
    kind: ClassVar[str] = "p-tuning"

    def __post_init__(self) -> None:
        check_name(self.name, "strategies.p-tuning.name")
        check_count("p-tuning.length", self.length, 1)
        check_count("p-tuning.layers", self.layers, 1)
        check_choice("p-tuning.encoder", self.encoder, ("lstm", "mlp"))
        check_choice("p-tuning.pooled", self.pooled, POOLED)
        if self.hidden is not None:
            check_count("p-tuning.hidden", self.hidden, 1)

    @property
    def reserve(self) -> int:  # type: ignore[override]
        """One position a vector."""
        return self.length

    def build(self, model: Transformer) -> Lead:
        width: int = model.tokens.shape[1]
        return PromptEncoder(self.length, width, self.hidden or width, self)

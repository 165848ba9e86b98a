"""The optimizer: torch's fused kernels, with state kept by parameter name and made at the first update.

A parameter that starts to move late (gradual unfreezing) has its own step count, so its bias correction is right, and a
resumed run finds every number under the name it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.train.config import TrainConfig


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) or SGD with momentum over named parameters."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> None:
        self.parameters = dict(parameters)
        self.config = config
        first = [{"params": list(self.parameters.values())}]
        if config.optimizer == "adamw":
            betas = (config.beta1, config.beta2)
            self.kernel: torch.optim.Optimizer = torch.optim.AdamW(
                first, lr=config.peak, betas=betas, eps=config.eps, weight_decay=0.0, fused=True
            )
        else:
            self.kernel = torch.optim.SGD(first, lr=config.peak, momentum=config.momentum, fused=True)
        self.template = {k: v for k, v in self.kernel.param_groups[0].items() if k != "params"}
        self.steps: dict[str, int] = {}

    def update(self, rate: float, moving: Mapping[str, float]) -> None:
        """One update of the parameters named in `moving` (name → factor on `rate`) that have a gradient.

        Matrices decay, vectors (biases, norms) do not.
        """
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, factor in moving.items():
            parameter = self.parameters[name]
            if parameter.grad is not None:
                groups.setdefault((factor, parameter.ndim >= 2), []).append(parameter)
                self.steps[name] = self.steps.get(name, 0) + 1
        self.kernel.param_groups = [
            {
                **self.template,
                "params": members,
                "lr": rate * factor,
                "weight_decay": self.config.weight_decay if decays else 0.0,
            }
            for (factor, decays), members in sorted(groups.items(), key=lambda item: item[0])
        ]
        if groups:
            self.kernel.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: `name|exp_avg`, `name|exp_avg_sq`, `name|momentum_buffer`, `name|step`."""
        out: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for key, value in self.kernel.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    out[f"{name}|{key}"] = value
        return out

    def state_dict(self) -> dict[str, Any]:
        """The step count of each parameter that has ever moved."""
        return {"steps": dict(self.steps), "kind": self.config.optimizer}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `state_dict` gave; anything else, too much or too little, is `E-RESUME`."""
        if state["kind"] != self.config.optimizer:
            what = f"the optimizer was {state['kind']}, is {self.config.optimizer}"
            raise ModeledgeError("E-RESUME", what, where="train.optimizer")
        steps = {str(k): int(v) for k, v in state["steps"].items()}
        parts = ("exp_avg", "exp_avg_sq", "step") if self.config.optimizer == "adamw" else ("momentum_buffer",)
        kept = self.config.optimizer == "adamw" or self.config.momentum > 0
        expected = {f"{name}|{part}" for name in steps for part in parts if kept}
        strange = expected ^ set(tensors) or set(steps) - set(self.parameters)
        if strange:
            what = f"the optimizer's state does not fit at {', '.join(sorted(strange)[:3])}"
            raise ModeledgeError("E-RESUME", what)
        self.steps = steps
        self.kernel.state.clear()
        for key, value in tensors.items():
            name, _, part = key.rpartition("|")
            parameter = self.parameters[name]
            self.kernel.state[parameter][part] = value.to(parameter.device, copy=True)

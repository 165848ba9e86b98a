"""The numbers of a training run."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.errors import ModeledgeError
from modeledge.machine import has_fast_bf16
from modeledge.train.schedule import Cooldown, Schedule, segment, share


class TrainConfig(Settings):
    """How the one trainer runs. Lengths are in tokens, batches in examples, rates per update.

    A `learning_rate` of none is for fine-tuning: `fitted` chooses it by the width of the model. `schedule` is one of
    `train/schedule.py`, and begins anew at each of the shares `restarts` of the run. `base_width` is the width that the
    rate was found at: see `adapt/width.py`. `ema` is the decay of a moving average of the weights, which is then what
    is judged and what the finished model has; `mean_of_last` is how many of the last checkpoints the finished model is
    the mean of: see `train/average.py`.
    """

    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=32, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    length: int = Field(default=128, ge=2)
    packed: bool = True

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(default=1e-3, gt=0, le=100)
    base_width: int | None = Field(default=None, ge=1)
    schedule: Schedule = "linear"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    cooldown: float = Field(default=0.2, gt=0, le=1)
    cooldown_shape: Cooldown = "linear"
    ratio: float = Field(default=32.0, ge=1)
    restarts: tuple[float, ...] = ()
    final: float = Field(default=0.0, ge=0, le=1)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    mean_of_last: int | None = Field(default=None, ge=2)

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    recompute: bool = False
    compile: bool = False

    save_every: int | None = Field(default=None, ge=1)
    keep_last: int = Field(default=2, ge=1)
    disk_cap_gib: float = Field(default=20.0, gt=0)
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    judge_every: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.micro_batch is not None and self.micro_batch > self.batch:
            raise ValueError(f"micro_batch {self.micro_batch} is larger than batch {self.batch}")
        if self.patience is not None and self.judge_every is None:
            raise ValueError("patience counts verdicts, and without judge_every there are none")
        if list(self.restarts) != sorted({*self.restarts}) or not all(0 < part < 1 for part in self.restarts):
            raise ValueError(f"restarts {list(self.restarts)} are not rising shares of the run between 0 and 1")
        if self.base_width is not None and self.optimizer != "adamw":
            raise ValueError("base_width is a rule for the rates of adamw")
        if self.mean_of_last is not None:
            if self.save_every is None:
                raise ValueError("mean_of_last averages checkpoints, and without save_every there is one")
            for other in ("ema", "judge_every"):
                if getattr(self, other) is not None:
                    raise ValueError(f"mean_of_last and {other} each choose the finished weights; set one of them")
        return self

    def over(self, epochs: float, examples: int) -> TrainConfig:
        """The same run with as many steps as show each of `examples` examples `epochs` times."""
        return self.model_copy(update={"steps": max(1, math.ceil(epochs * examples / self.batch))})

    def fitted(self, width: int) -> TrainConfig:
        """With a learning rate, where none was asked for: 5e-5 at BERT's width of 768 (the middle of what Devlin et al.
        2019, section A.3 search), more for narrower models in proportion (Yang et al. 2022), 3e-4 at most."""
        return self if self.learning_rate else self.model_copy(update={"learning_rate": min(3e-4, 5e-5 * 768 / width)})

    @property
    def peak(self) -> float:
        """The learning rate after warm-up."""
        assert self.learning_rate is not None, "fitted(width) chooses a rate"
        return self.learning_rate

    def rate(self, step: int) -> float:
        """The learning rate of update `step` (from 0), a function of the global step alone: `share` of the peak, and
        never less than `final` of it once warm-up is over. Each restart begins all of it anew."""
        step, steps = segment(step, self.steps, self.restarts)
        warming = step < self.warmup * steps and self.schedule != "t5"
        cooldown, shape = self.cooldown, self.cooldown_shape
        part = share(self.schedule, step, steps, self.warmup, cooldown=cooldown, shape=shape, ratio=self.ratio)
        return self.peak * (part if warming else self.final + (1.0 - self.final) * part)

    def chosen_device(self) -> torch.device:
        """The device, where `auto` prefers CUDA, then the CPU; an absent one is `E-DEVICE`."""
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not present[name]:
            raise ModeledgeError("E-DEVICE", f"{name} is not available here", remedy="set train.device to cpu or auto")
        return torch.device(name)

    def chosen_dtype(self) -> torch.dtype:
        """bf16 where the machine computes it fast, else fp32; the masters are fp32 either way."""
        if self.precision == "auto":
            fast = has_fast_bf16() if self.chosen_device().type == "cpu" else True
            return torch.bfloat16 if fast else torch.float32
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

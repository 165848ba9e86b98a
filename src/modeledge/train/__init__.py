"""The loop: one trainer for every objective and every strategy."""

from modeledge.train.checkpoint import Checkpoints
from modeledge.train.config import TrainConfig
from modeledge.train.judge import Judge
from modeledge.train.log import RunLog
from modeledge.train.record import StepRecord
from modeledge.train.session import Session, Stopped
from modeledge.train.trainer import Trainer

__all__ = ["Checkpoints", "Judge", "RunLog", "Session", "StepRecord", "Stopped", "TrainConfig", "Trainer"]

"""Asking a model for text."""

from modeledge.generate.engine import fill_mask, generate, stream
from modeledge.generate.ready import ready
from modeledge.generate.sample import Sampling
from modeledge.generate.score import Scoring, score_choices
from modeledge.generate.text import continue_text, fill_text

__all__ = [
    "Sampling",
    "Scoring",
    "continue_text",
    "fill_mask",
    "fill_text",
    "generate",
    "ready",
    "score_choices",
    "stream",
]

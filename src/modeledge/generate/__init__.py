"""Asking a model for text."""

from modeledge.generate.engine import fill_mask, generate, stream
from modeledge.generate.ready import ready
from modeledge.generate.sample import Sampling
from modeledge.generate.text import continue_text, fill_text

__all__ = ["Sampling", "continue_text", "fill_mask", "fill_text", "generate", "ready", "stream"]

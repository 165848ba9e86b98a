"""Asking a model for text."""

from modeledge.generate.decode import Decoding, written
from modeledge.generate.engine import fill_mask, generate, stream
from modeledge.generate.hidden import continue_hidden
from modeledge.generate.ready import ready
from modeledge.generate.rules import Rules
from modeledge.generate.sample import Sampling
from modeledge.generate.score import Scoring, score_choices
from modeledge.generate.search import Beams, Found, beam_search
from modeledge.generate.text import as_source, continue_text, fill_text
from modeledge.generate.unmask import unmask
from modeledge.generate.ways import READ_BOTH_WAYS, WAYS, HiddenWay, Way, guesses

__all__ = [
    "READ_BOTH_WAYS",
    "WAYS",
    "Beams",
    "Decoding",
    "Found",
    "HiddenWay",
    "Rules",
    "Sampling",
    "Scoring",
    "Way",
    "as_source",
    "beam_search",
    "continue_hidden",
    "continue_text",
    "fill_mask",
    "fill_text",
    "generate",
    "guesses",
    "ready",
    "score_choices",
    "stream",
    "unmask",
    "written",
]

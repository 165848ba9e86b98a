"""Hugging Face in, Hugging Face out: architectures as pages of rules, read and written by the same page."""

from modeledge.families.checkpoint import load_model, read_shape, save_model, start_of
from modeledge.families.family import Extra, Family, Origin, origin_of
from modeledge.families.gguf import load_gguf
from modeledge.families.rules import Keep, Rename, Rule, Split, Tie, Transpose
from modeledge.families.table import FAMILIES, find_family

__all__ = [
    "FAMILIES",
    "Extra",
    "Family",
    "Keep",
    "Origin",
    "Rename",
    "Rule",
    "Split",
    "Tie",
    "Transpose",
    "find_family",
    "load_gguf",
    "load_model",
    "origin_of",
    "read_shape",
    "save_model",
    "start_of",
]

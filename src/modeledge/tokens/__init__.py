"""Text → ids: training, using and measuring tokenizers."""

from modeledge.tokens.measure import Measure, measure
from modeledge.tokens.tokenizer import Specials, Tokenizer
from modeledge.tokens.train import KINDS, SPECIALS, Kind, train_tokenizer

__all__ = ["KINDS", "SPECIALS", "Kind", "Measure", "Specials", "Tokenizer", "measure", "train_tokenizer"]

"""Text → ids: training, using and measuring tokenizers."""

from modeledge.tokens.measure import Measure, measure
from modeledge.tokens.tokenizer import Specials, Tokenizer
from modeledge.tokens.train import SPECIALS, train_tokenizer

__all__ = ["SPECIALS", "Measure", "Specials", "Tokenizer", "measure", "train_tokenizer"]

"""Text → ids: training, reading, using and measuring tokenizers, for texts and for conversations."""

from modeledge.tokens.chat import Chat
from modeledge.tokens.frame import Frame, Slot
from modeledge.tokens.measure import Measure, measure
from modeledge.tokens.sentinels import sentinel_names
from modeledge.tokens.tokenizer import Specials, Tokenizer
from modeledge.tokens.train import KINDS, SPECIALS, Kind, train_tokenizer

__all__ = [
    "KINDS",
    "SPECIALS",
    "Chat",
    "Frame",
    "Kind",
    "Measure",
    "Slot",
    "Specials",
    "Tokenizer",
    "measure",
    "sentinel_names",
    "train_tokenizer",
]

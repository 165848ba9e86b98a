"""The one transformer, built out of small typed choices."""

from modeledge.model.backbone import Backbone, Keep, Start, States
from modeledge.model.batch import Batch, Side
from modeledge.model.boundary import BoundaryHead
from modeledge.model.cache import Cache
from modeledge.model.chain import ChainHead
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Patches, Stack, Tokens, TransformerConfig
from modeledge.model.draw import dropping
from modeledge.model.heads import ClassHead, Head, LMHead, OrdinalHead, TokenHead, ValueHead
from modeledge.model.kinds import Buckets, Learned, Rotary, Sinusoidal, Stretch
from modeledge.model.likelihood import token_loss
from modeledge.model.pattern import Marks, Pattern
from modeledge.model.places import PlacesHead
from modeledge.model.sites import Site
from modeledge.model.transformer import Transformer

__all__ = [
    "Attention",
    "Backbone",
    "Batch",
    "BoundaryHead",
    "Buckets",
    "Cache",
    "ChainHead",
    "ClassHead",
    "Dropout",
    "FeedForward",
    "Head",
    "Keep",
    "LMHead",
    "Learned",
    "Marks",
    "Norm",
    "OrdinalHead",
    "Patches",
    "Pattern",
    "PlacesHead",
    "Rotary",
    "Side",
    "Sinusoidal",
    "Site",
    "Stack",
    "Start",
    "States",
    "Stretch",
    "TokenHead",
    "Tokens",
    "Transformer",
    "TransformerConfig",
    "ValueHead",
    "dropping",
    "token_loss",
]

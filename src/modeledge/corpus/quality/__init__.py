"""Which pages are good text: the published rule sets, a language identifier, an n-gram model, a linear classifier.

Each is a value whose fields are the thresholds of its paper and whose call gives the reason to drop a document:
`GopherQuality()(document)`. `RULES` names them for recipes; `LINES` are the two that also take single lines out.
"""

from collections.abc import Mapping

from modeledge.config import Settings
from modeledge.corpus.quality.c4 import C4, C4Lines
from modeledge.corpus.quality.classifier import Quality, Toxicity
from modeledge.corpus.quality.fineweb import FineWeb
from modeledge.corpus.quality.gopher import GopherQuality, GopherRepetition
from modeledge.corpus.quality.language import Language
from modeledge.corpus.quality.perplexity import Perplexity
from modeledge.corpus.quality.refined import LineRules

RULES: Mapping[str, type[Settings]] = {
    "gopher_quality": GopherQuality,
    "gopher_repetition": GopherRepetition,
    "c4": C4,
    "fineweb": FineWeb,
    "line_rules": LineRules,
    "language": Language,
    "perplexity": Perplexity,
    "quality": Quality,
    "toxicity": Toxicity,
}

__all__ = [
    "C4",
    "RULES",
    "C4Lines",
    "FineWeb",
    "GopherQuality",
    "GopherRepetition",
    "Language",
    "LineRules",
    "Perplexity",
    "Quality",
    "Toxicity",
]

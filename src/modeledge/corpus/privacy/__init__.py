"""Personal data out of texts: what is found (`kinds`), how it is checked (`checks`), how it is replaced (`redact`)."""

from modeledge.corpus.privacy.kinds import KINDS
from modeledge.corpus.privacy.redact import Redact
from modeledge.corpus.privacy.spans import Span, find

__all__ = ["KINDS", "Redact", "Span", "find"]

"""mT5 (Xue et al. 2021, arXiv 2010.11934): T5 v1.1 over 101 languages, with a larger vocabulary.

Its head is never scaled: published files have one of their own, and transformers 5.23, which ties it whatever a file
says, does not scale the tied one either (releases before 5 would have).
"""

from __future__ import annotations

from modeledge.families.encoder_decoders.t5 import Page, keys

KEYS = keys(vocab=250112, inner=1024, layers=8, heads=6, projection="gated-gelu")
MT5 = Page("mt5", "MT5", KEYS, scaled=False).family()

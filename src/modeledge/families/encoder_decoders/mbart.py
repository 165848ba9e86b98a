"""mBART (Liu et al. 2020, arXiv 2001.08210): BART over many languages, with norms before each sub-layer and one more at
the end of each side. The norm on the embeddings stays.

Which token the decoder begins with says the language that it writes; where a file does not name one, the user does.
"""

from __future__ import annotations

from dataclasses import replace

from modeledge.families.encoder_decoders.bart import KEYS, Page

PRE = {"add_final_layer_norm": (True,), "normalize_before": (True,)}
MBART = Page("mbart", "MBart", "pre", replace(KEYS, fixed={**KEYS.fixed, **PRE}), labels=2).family()

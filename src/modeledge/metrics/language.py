"""How surprised is a language model? Perplexity and bits, from a sum of negative log-likelihoods.

Perplexity depends on how a tokenizer cuts the text, so it compares models of one tokenizer only; bits per byte
(Gao et al. 2020, arXiv 2101.00027, section 3.1) divides the same sum by the length of the raw text and compares all.
Sums are taken, never means: a mean of means over ragged batches is a different number.
"""

from __future__ import annotations

import math

from modeledge.errors import ModeledgeError


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens): the number of equally likely choices that would surprise as much."""
    mean = per_unit(nats, tokens, "tokens")
    if mean > math.log(1e300):
        raise ModeledgeError(
            "E-NOT-FINITE", f"{mean:.4g} nats a token are beyond any perplexity", remedy="check the sum"
        )
    return math.exp(mean)


def bits_per_token(nats: float, tokens: int) -> float:
    """The mean surprise of a token, in bits."""
    return per_unit(nats, tokens, "tokens") / math.log(2)


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """The surprise of the whole text over its length in UTF-8 bytes: comparable across tokenizers."""
    return per_unit(nats, text_bytes, "bytes") / math.log(2)


def per_unit(nats: float, units: int, name: str) -> float:
    """nats / units; a sum that is not finite or below zero, or a count below one, is refused."""
    if units < 1:
        raise ModeledgeError("E-EMPTY-SPLIT", f"the text holds {units} {name}, so there is nothing to measure")
    if not math.isfinite(nats):
        raise ModeledgeError("E-NOT-FINITE", f"the summed loss is {nats}", remedy="look at what produced it")
    if nats < 0:
        raise ModeledgeError("E-SCORES", f"the summed loss is {nats:.6g}", remedy="pass −Σ log p, which is ≥ 0")
    return nats / units

"""Text out of a model folder: continuations from a decoder, filled gaps from an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeledge.generate import Sampling, continue_text, fill_text
from modeledge.recipes.use import Model
from modeledge.seed import Noise


def write_text(
    folder: Path, prompts: Sequence[str], max_new_tokens: int, seed: int, options: dict[str, Any]
) -> list[str]:
    """One line of output a prompt: the prompt with its continuation, or the best fillings of each gap."""
    model = Model.load(folder)
    if model.transformer.config.encoder is not None:
        return [
            "  ".join(f"{piece.strip()} {share:.3f}" for piece, share in gap)
            for prompt in prompts
            for gap in fill_text(model.transformer, model.tokenizer, prompt)
        ]
    stop = options.pop("stop", ())
    told = continue_text(
        model.transformer,
        model.tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        sampling=Sampling(**options),
        stop=stop,
        noise=Noise(seed),
    )
    return [prompt + text for prompt, text in zip(prompts, told, strict=True)]

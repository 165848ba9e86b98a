"""More rows for a model's vocabulary: a new token begins as the mean of the pieces that it replaces.

Where training goes on from there, a new word is read as the average of what its pieces meant, and is as likely as they
were, instead of a random vector that every text of the domain would stumble over (Hewitt 2021; Gee et al. 2022, FVT,
arXiv 2211.09085, section 3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.boundary import Boundary
from modeledge.model.config import Tokens
from modeledge.model.heads import LanguageModelling
from modeledge.model.transformer import Transformer


def extend_vocabulary(model: Backbone, pieces: Sequence[Sequence[int]], first: int) -> None:
    """Give ids `first`, `first + 1`, … rows: the means of the rows of `pieces`, in the tables of both sides, and in the
    scores and biases of heads over the vocabulary that have their own.

    Spare rows behind `first` are filled before the tables grow; every other row stays as it is, bit for bit. In place;
    the configuration follows. Raises `E-CONFIG` for a wrapped model or one without a table of tokens.
    """
    if not isinstance(model, Transformer) or not isinstance(model.config.embed, Tokens):
        what = "this model has no table of tokens of its own"
        raise ModeledgeError("E-CONFIG", what, where="tokenizer", remedy="leave out what adds to it")
    assert all(len(ids) and max(ids) < first for ids in pieces), "new tokens are made of old ones"
    config, read, size = model.config, model.config.embed, first + len(pieces)
    rows = max(size, read.vocab)
    model.tokens = nn.Parameter(grown(model.tokens, pieces, first, rows))
    embed, target = dataclasses.replace(read, vocab=rows), config.target_embed
    if model.target_tokens is not None and target is not None:
        others = max(size, target.vocab)
        model.target_tokens = nn.Parameter(grown(model.target_tokens, pieces, first, others))
        target = dataclasses.replace(target, vocab=others)
    model.config = dataclasses.replace(config, embed=embed, target_embed=target)
    for head in model.heads.values():
        if isinstance(head, LanguageModelling | Boundary):
            _extend_head(head, pieces, first, model.config.table.vocab)


def _extend_head(head: LanguageModelling | Boundary, pieces: Sequence[Sequence[int]], first: int, rows: int) -> None:
    if isinstance(head, LanguageModelling) and head.weight is not None:
        head.weight = nn.Parameter(grown(head.weight, pieces, first, rows))
    if isinstance(head.bias, nn.Parameter):
        head.bias = nn.Parameter(grown(head.bias, pieces, first, rows))
    elif head.bias is not None:
        head.bias = grown(head.bias, pieces, first, rows)


def grown(table: Tensor, pieces: Sequence[Sequence[int]], first: int, rows: int) -> Tensor:
    """The table `[vocab, …]` with `rows` rows, those from `first` on the means of the rows that `pieces` name."""
    old = table.detach()
    new = old.new_zeros(rows, *old.shape[1:])
    new[: len(old)] = old
    for number, ids in enumerate(pieces, first):
        new[number] = old[torch.tensor(ids, device=old.device)].float().mean(0).to(old.dtype)
    return new

"""A body run once: the same states as its own forward pass gives, one example at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.model import Attention, Batch, FeedForward, Rotary, Side, Stack, Tokens, Transformer, TransformerConfig
from modeledge.model.backbone import Keep
from modeledge.records import Piece
from modeledge.tasks import states as page
from modeledge.tasks.featured import body_digest
from modeledge.tasks.states import Look, Reads, check_room, layers_in, states_of
from modeledge.tasks.words import stop_places

ROTARY: dict[str, Any] = {"attention": Attention(heads=2), "feedforward": FeedForward(width=12), "position": Rotary()}


def model(shape: str) -> Transformer:
    towers = {
        "encoder": {"encoder": Stack(layers=3, **ROTARY)},
        "decoder": {"decoder": Stack(layers=3, **ROTARY)},
        "both": {"encoder": Stack(layers=3, **ROTARY), "decoder": Stack(layers=2, **ROTARY)},
    }
    return Transformer(TransformerConfig(width=8, embed=Tokens(vocab=30), init=0.3, **towers[shape]), seed=2)


def pieces() -> list[Piece]:
    random = np.random.default_rng(0)
    return [Piece(random.integers(0, 30, random.integers(2, 9))) for _ in range(11)]


def alone(body: Transformer, piece: Piece) -> list[torch.Tensor]:
    """All layers of one example by itself, `[tokens, width]`."""
    side = Side.of(torch.from_numpy(piece.ids)[None])
    batch = Batch(
        source=side if body.config.encoder is not None else None,
        target=side if body.config.decoder is not None else None,
    )
    with torch.no_grad():
        states = body.eval()(batch, keep=Keep(layers=True))
    return [layer[0] for layer in (states.encoder_layers if body.config.both else states.layers)]


@pytest.mark.parametrize("tokens", [8192, 16])
@pytest.mark.parametrize("shape", ["encoder", "decoder", "both"])
def test_states_are_those_of_each_example_alone(shape: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TOKENS", tokens)
    body, read = model(shape), pieces()
    assert layers_in(body) == 3
    got = states_of(body, Reads(read, shape != "decoder"), Look((0, 2, 3), ("first", "mean", "max", "last")))
    for n, piece in enumerate(read):
        every = alone(body, piece)
        for at, layer in enumerate((0, 2, 3)):
            h = every[layer]
            want = {"first": h[0], "mean": h.mean(0), "max": h.amax(0), "last": h[-1]}
            for pool, vector in want.items():
                assert np.abs(got[pool][n, at] - vector.numpy()).max() < 1e-5
    only = states_of(body, Reads(read, shape != "decoder"), Look((3,), ("mean",)))
    assert np.abs(only["mean"][:, 0] - got["mean"][:, 2]).max() < 1e-6


def test_words_are_read_at_their_first_piece_or_the_mean_of_all() -> None:
    body, read = model("encoder"), pieces()
    words = [np.array([[0, 1], [1, len(p.ids)]]) if n % 2 else np.zeros((0, 2), np.int64) for n, p in enumerate(read)]
    got = states_of(body, Reads(read, True, words), Look((3,), ("first", "mean")))
    assert got["first"].shape == (10, 1, 8)
    at = 0
    for piece, places in zip(read, words, strict=True):
        h = alone(body, piece)[3]
        for start, stop in places.tolist():
            assert np.abs(got["first"][at, 0] - h[start].numpy()).max() < 1e-5
            assert np.abs(got["mean"][at, 0] - h[start:stop].mean(0).numpy()).max() < 1e-5
            at += 1


def test_a_word_ends_where_the_next_one_is_read() -> None:
    assert stop_places(np.array([0, 2, -1, 3, 3]), 6).tolist() == [2, 3, -1, 6, 6]
    assert stop_places(np.array([-1]), 0).tolist() == [-1]


def test_states_beyond_the_memory_are_refused() -> None:
    reads, look = Reads(pieces(), True), Look((0, 1), ("mean",))
    check_room(reads, look, 8, 11 * 2 * 8 * 4)
    with pytest.raises(ModeledgeError, match="E-FEATURES"):
        check_room(reads, look, 8, 11 * 2 * 8 * 4 - 1)


def test_the_digest_is_of_the_body_and_of_all_of_it() -> None:
    from modeledge.model import ClassHead
    from modeledge.seed import Noise

    body, other = model("encoder"), model("encoder")
    other.add_heads({"class": ClassHead(outputs=2)}, Noise(0))
    assert body_digest(body) == body_digest(other)
    for parameter in (p for n, p in other.named_parameters() if not n.startswith("heads.")):
        with torch.no_grad():
            before = parameter.flatten()[-1].clone()
            parameter.view(-1)[-1] += 1e-6 + 1e-6 * before.abs()
            assert body_digest(body) != body_digest(other)
            parameter.view(-1)[-1] = before
    assert body_digest(body) == body_digest(other)

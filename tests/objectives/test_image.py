"""Pictures as sequences: cutting equals a convolution's, normalisation its formula, packing changes nothing, and a
small model learns to read digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.adapt.features import cache_features, digests
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    ClassHead,
    FeedForward,
    Learned,
    Patches,
    Side,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.objectives import Classify, PicturePrepare, Shape, Step, collate, patches
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise
from modeledge.train import TrainConfig, Trainer


def small(embed: Patches, layers: int = 2, width: int = 16) -> Transformer:
    stack = Stack(
        layers=layers,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=2 * width),
        position=Learned(length=embed.length),
    )
    return Transformer(TransformerConfig(width=width, embed=embed, encoder=stack, init=0.1), seed=1)


def cut(count: int, embed: Patches, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, embed.channels, embed.image, embed.image), dtype=np.uint8)
    mean, std = [0.5] * embed.channels, [0.25] * embed.channels
    return patches(images, embed.patch, mean=mean, std=std, leading=embed.leading)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_patches_times_a_kernel_are_its_convolution(count, channels, rows, columns, patch, leading):
    """Any number of pictures, channels, rows and columns of patches, in float64's order of sums or not: 1e-5."""
    draw = np.random.default_rng(0)
    images = draw.random((count, channels, rows * patch, columns * patch))
    mean, std = draw.random(channels), draw.random(channels) + 0.5
    made = patches(images, patch, mean=mean.tolist(), std=std.tolist(), leading=leading)
    assert made.dtype == np.float32
    assert made.shape == (count, leading + rows * columns, channels * patch**2)
    assert not made[:, :leading].any()
    kernel = torch.from_numpy(draw.normal(size=(5, channels, patch, patch)))
    plain = torch.from_numpy((images - mean[:, None, None]) / std[:, None, None])
    wanted = F.conv2d(plain, kernel, stride=patch).flatten(2).transpose(1, 2)
    ours = torch.from_numpy(made[:, leading:]).double() @ kernel.flatten(1).T
    assert (ours - wanted).abs().max() <= 1e-5


def test_bytes_are_read_from_nought_to_one():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    made = patches(images, 16, mean=[0.5], std=[0.25], leading=0)
    assert np.abs(made[0, 0] - (np.arange(256) / 255 - 0.5) / 0.25).max() <= 1e-6
    again = patches(images.astype(np.float64) / 255, 16, mean=[0.5], std=[0.25], leading=0)
    assert np.abs(again - made).max() <= 1e-6


@pytest.mark.parametrize(
    ("images", "change", "words"),
    [
        (np.zeros((2, 3, 8, 9)), {}, "8 × 9 are not cut into squares of 4; .*crop or resize them to 8 × 8"),
        (np.zeros((2, 3, 9, 8)), {}, "not cut"),
        (np.zeros((3, 8, 8)), {}, r"\[n, channels, height, width\]"),
        (np.zeros((2, 3, 8, 8), dtype=np.int64), {}, "int64"),
        (np.zeros((2, 3, 8, 8), dtype=np.uint16), {}, "uint16"),
        (np.zeros((2, 3, 8, 8)), {"mean": [0.5]}, "3 means"),
        (np.zeros((2, 3, 8, 8)), {"std": [0.5, 0.5, 0.0]}, "deviations above 0"),
        (np.zeros((2, 3, 8, 8)), {"patch": 0}, "squares of 0"),
    ],
)
def test_what_is_no_picture_is_refused(images, change, words):
    with pytest.raises(ModeledgeError, match=words) as caught:
        patches(images, **{"patch": 4, "mean": [0.5] * 3, "std": [0.5] * 3, **change})
    assert caught.value.code == "E-CONFIG-VALUE"


EMBED = Patches(image=8, patch=4, channels=2, leading=2)


@pytest.mark.parametrize("reserve", [0, 1])
def test_patches_lie_in_their_rows(reserve):
    made = cut(5, EMBED)
    batch = collate([Prepared(i, source=Piece(p)) for i, p in enumerate(made)], Shape(20, reserve=reserve))
    assert batch.source is not None
    assert batch.source.ids.dtype is torch.float32
    assert batch.source.ids.shape == (*batch.source.positions.shape, EMBED.dim)
    free = batch.source.segments == 0
    assert not batch.source.ids[free].any()
    for index, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        assert torch.equal(batch.source.ids[row, start:end], torch.from_numpy(made[index]))
        assert batch.source.positions[row, start:end].tolist() == list(range(EMBED.length))
    assert batch.tokens == 5 * EMBED.length


def test_float64_patches_stay_so_and_texts_do_not_mix_with_pictures():
    picture = Prepared(0, source=Piece(np.zeros((3, 4))))
    assert collate([picture], Shape(3)).side.ids.dtype is torch.float64
    for other in (Piece(np.zeros(3, dtype=np.int64)), Piece(np.zeros((3, 5)))):
        with pytest.raises(AssertionError, match="pictures in patches of one size"):
            collate([picture, Prepared(1, source=other)], Shape(8))


def test_packed_pictures_have_the_states_of_one_by_one():
    model, made = small(EMBED).double().eval(), cut(7, EMBED).astype(np.float64)
    model.compute = torch.float64
    batch = collate([Prepared(i, source=Piece(p)) for i, p in enumerate(made)], Shape(20, tight=False))
    assert len(batch.side.positions) < 7
    last = model(batch).last
    for index, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        alone = model(collate([Prepared(0, source=Piece(made[index]))], Shape(6))).last[0]
        assert (last[row, start:end] - alone).abs().max() <= 1e-12
    whole = Side.of(torch.from_numpy(made))
    assert whole.positions.shape == whole.segments.shape == made.shape[:2]
    assert Side.of(torch.from_numpy(made), torch.tensor([3] * 7)).segments.sum() == 21


def test_the_learned_tokens_and_not_the_zeros_stand_first():
    """What lies at the leading positions is never read."""
    model, made = small(EMBED).eval(), cut(1, EMBED)
    other = made.copy()
    other[:, : EMBED.leading] = 7.0
    one, two = (model(collate([Prepared(0, source=Piece(m[0]))], Shape(20))).last for m in (made, other))
    assert torch.equal(one, two)
    with torch.no_grad():
        model.leading[1] += 1.0
    assert not torch.equal(model(collate([Prepared(0, source=Piece(made[0]))], Shape(20))).last, one)


def test_states_of_pictures_are_cached():
    model, made = small(EMBED), cut(5, EMBED)
    batch = collate([Prepared(i, source=Piece(p)) for i, p in enumerate(made)], Shape(20))
    cache = cache_features(model, [batch], 1, limit=1 << 20)
    real = batch.side.segments > 0
    with torch.no_grad():
        wanted = model.eval().states_at(batch, 1)
    assert torch.equal(cache.assemble(batch)[real], wanted[real])
    assert len(set(digests(batch).values())) == 5


def example(picture, label=1):
    return Example(7, np.zeros(0, dtype=np.int64), label=label, channels={"patches": picture})


def test_a_picture_of_another_size_is_named():
    prepare, made = PicturePrepare.of(EMBED), cut(1, EMBED)[0]
    assert prepare(example(made), Noise(0)).labels["class"].tolist() == [1]
    for wrong in (made[1:], made[:, 1:], made[None]):
        with pytest.raises(ModeledgeError, match=r"E-POSITION: example 7: .*\[6, 32\]"):
            prepare(example(wrong), Noise(0))
    with pytest.raises(ModeledgeError, match="E-POSITION: example 7: no picture"):
        prepare(Example(7, np.zeros(0, dtype=np.int64), label=1), Noise(0))
    with pytest.raises(ModeledgeError, match="E-LABEL-MISSING"):
        prepare(example(made, None), Noise(0))


def test_a_distilled_head_is_the_mean_of_two_and_is_for_pictures_with_two_tokens():
    model, made = small(EMBED).eval(), cut(3, EMBED)
    model.add_heads({"class": ClassHead(outputs=4, distilled=True)}, Noise(0))
    batch = collate([Prepared(i, source=Piece(p)) for i, p in enumerate(made)], Shape(20))
    last, head = model(batch).last, model.heads["class"]
    row, start, _ = batch.spans.unbind(1)
    wanted = (head.output(last[row, start]) + head.teacher(last[row, start + 1])) / 2
    assert torch.equal(head(last, batch), wanted)
    for spec in (ClassHead(outputs=4, distilled=True, hidden=True), ClassHead(outputs=4, distilled=True, pool="mean")):
        with pytest.raises(ModeledgeError, match="first two positions"):
            spec.build(model.config)
    with pytest.raises(ModeledgeError, match="first two positions"):
        ClassHead(outputs=4, distilled=True).build(small(Patches(image=8, patch=4, leading=1)).config)


def test_a_small_model_learns_to_read_digits():
    """Scikit-learn's 1,797 digits of 8 × 8 points: 1,500 to learn from, the rest to be marked on; chance is a tenth."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    embed = Patches(image=8, patch=2, channels=1, leading=1)
    pictures = patches(digits.images[:, None] / 16, 2, mean=[0.5], std=[0.5])
    learned = [
        Example(i, np.zeros(0, dtype=np.int64), label=int(digits.target[i]), channels={"patches": pictures[i]})
        for i in range(len(pictures))
    ]
    model = small(embed, width=32)
    step = Step(model, Classify(PicturePrepare.of(embed), ClassHead(outputs=10)), noise=Noise(0))
    config = TrainConfig(steps=150, batch=64, length=embed.length, precision="fp32", learning_rate=3e-3)
    run = Trainer(step, ListStream(learned[:1500], 0), (), config=config, seed=0)
    run.fit(config.steps)
    rest = [step.objective.prepare(e, Noise(0)) for e in learned[1500:]]
    batch = collate(rest, Shape(embed.length))
    assert batch.side.whole
    with torch.no_grad():
        told = step.objective.scores(model.eval(), batch).argmax(-1)
    assert (told == batch.labels["class"]).float().mean() > 0.8

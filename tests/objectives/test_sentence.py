"""Pairs beside masked tokens: how they are laid out, and the reference library's pre-training classes beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objectives_small import CASES, CLS, MASK, SEP, VOCAB, build, config, examples, masked, ready

from modeledge.corpus.channels import SENTENCES, WORDS
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Norm, Transformer
from modeledge.objectives import MaskedPrepare, PairPrepare, SentencePairs, Shape, Step, collate, prepared
from modeledge.records import Example
from modeledge.seed import Noise

WORDS_OF = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "my", "dog", "is", "cute", "he", "likes", "play", "##ing"]


def test_the_example_of_the_paper():
    """Devlin et al. 2019, figure 2: tokens, segments and positions of one pair."""
    id_of = {word: number for number, word in enumerate(WORDS_OF)}
    masking = MaskedPrepare(len(WORDS_OF), id_of["[MASK]"], (0, 1, 2, 3), cls=id_of["[CLS]"], sep=id_of["[SEP]"])
    first, second = ([id_of[w] for w in text.split()] for text in ("my dog is cute", "he likes play ##ing"))
    item = prepared(SentencePairs(PairPrepare(masking)), Example(7, np.array(first), np.array(second), 0), Noise(1))
    batch = collate([item], Shape(11))
    ids = batch.source.ids.flatten().index_put((batch.reads["lm"],), batch.labels["lm"])
    told = "[CLS] my dog is cute [SEP] he likes play ##ing [SEP]"
    assert " ".join(WORDS_OF[i] for i in ids.tolist()) == told
    assert batch.source.types.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]]
    assert batch.source.positions.tolist() == [list(range(11))]
    assert batch.source.segments.tolist() == [[1] * 11]
    assert batch.labels["next"].tolist() == [0]
    assert len(batch.reads["lm"]) == 1  # 15 % of 8
    assert batch.spans.tolist() == [[0, 0, 11]]


def test_special_tokens_are_never_masked():
    """Also where the list of specials forgets those of the frame; every ordinary token is, some time."""
    prepare = PairPrepare(MaskedPrepare(VOCAB, MASK, (), rate=0.5, cls=CLS, sep=SEP))
    seen = set()
    for index in range(100):
        item = prepared(SentencePairs(prepare), Example(index, np.arange(5, 9), np.arange(9, 12), index % 2), Noise(0))
        assert item.source.ids[[0, 5, 9]].tolist() == [CLS, SEP, SEP]
        assert not {CLS, SEP} & set(np.delete(item.source.ids, [0, 5, 9]).tolist())  # nor drawn as random tokens
        seen |= set(item.reads["lm"].tolist())
        assert item.labels["next"].tolist() == [index % 2]
    assert seen == {1, 2, 3, 4, 6, 7, 8}


def test_masks_change_with_the_epoch_and_the_label_does_not():
    prepare = PairPrepare(masked())
    told = [
        prepared(SentencePairs(prepare), Example(3, np.arange(5, 20), np.arange(9, 20), 1, epoch=epoch), Noise(0))
        for epoch in range(5)
    ]
    assert len({tuple(item.reads["lm"].tolist()) for item in told}) == 5
    assert {int(item.labels["next"][0]) for item in told} == {1}


def test_channels_are_laid_out_as_the_tokens_are():
    """A special token begins a word, and so does a segment, though its first word was cut in the middle."""
    channels = {WORDS: np.array([0, 0, 1, 0, 1], np.uint8), "salient": np.array([1, 2, 0, 0, 1], np.uint8)}
    example = Example(0, np.array([5, 6, 7]), np.array([8, 9]), 0, channels=channels)
    _, text = PairPrepare(masked()).framed(example)
    beside = PairPrepare.beside(example, text)
    assert beside[WORDS].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert beside["salient"].tolist() == [1, 1, 2, 0, 1, 0, 1, 1]
    assert PairPrepare(masked()).channels == {SENTENCES}


def test_the_end_of_a_text_is_taken_off_its_segment():
    example = Example(0, np.array([5, 6, 28]), np.array([8, 28, 28]), 0, channels={WORDS: np.array([1, 0, 7, 1, 0, 7])})
    kept = PairPrepare(masked(), end=28).ended(example)
    assert (kept.ids.tolist(), kept.pair.tolist(), kept.channels[WORDS].tolist()) == ([5, 6], [8, 28], [1, 0, 1, 0])
    alone = PairPrepare(masked(), end=28).ended(Example(0, np.array([28]), np.array([5]), 0))
    assert (alone.ids.tolist(), alone.pair.tolist()) == ([28], [5])  # a segment is never empty
    assert len(prepared(SentencePairs(PairPrepare(masked(), 28)), example, Noise(0)).source.ids) == 7


def test_what_is_no_pair_is_refused():
    objective = SentencePairs(PairPrepare(masked()))
    with pytest.raises(ModeledgeError, match="E-NO-TARGET: example 4"):
        prepared(objective, Example(4, np.arange(5, 9), label=0), Noise(0))
    for label in (None, 2):
        with pytest.raises(ModeledgeError, match="E-LABEL-MISSING: example 4"):
            prepared(objective, Example(4, np.arange(5, 9), np.arange(5, 9), label), Noise(0))


def test_both_terms_and_how_often_it_is_right():
    step = build(CASES["sentence"])
    batch = collate(ready(step, examples(CASES["sentence"], 8)), Shape(32))
    loss = step(batch, Noise(0))
    assert {name: term.share for name, term in loss.terms.items()} == {"lm": 1.0, "next": 1.0}
    assert float(loss.terms["next"].weight) == 8
    scores = step.model.heads["next"](step.model(batch).last, batch)
    right, count = loss.logs["accuracy"]
    assert float(right) == int((scores.argmax(-1) == batch.labels["next"]).sum())
    assert float(count) == 8


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_loss_logits_and_gradients_are_those_of_the_reference(family, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = config("encoder")
    stack = replace(shape.encoder, norm=Norm(place="post", eps=1e-12), share=family == "albert")
    table = replace(shape.embed, width=8 if family == "albert" else None)
    step = Step(Transformer(replace(shape, encoder=stack, embed=table), seed=4), SentencePairs(PairPrepare(masked())))
    step.double()
    step.model.compute = torch.float64
    save_model(step.model, tmp_path / "m", family=family, dtype=torch.float64)
    kind = {"bert": transformers.BertForPreTraining, "albert": transformers.AlbertForPreTraining}[family]
    theirs = kind.from_pretrained(tmp_path / "m", dtype=torch.float64)
    theirs.eval()
    batch = collate(ready(step, examples(CASES["sentence"], 7)), Shape(32, packed=False))
    side, mask = batch.source, (batch.source.segments > 0).long()
    labels = torch.full_like(side.ids, -100).flatten().index_put((batch.reads["lm"],), batch.labels["lm"])
    name = {"bert": "next_sentence_label", "albert": "sentence_order_label"}[family]
    given = {"labels": labels.view_as(side.ids), name: batch.labels["next"]}
    told = theirs(side.ids, mask, side.types, **given)
    states = step.model(batch).last
    real = mask.bool()
    assert torch.allclose(step.model.logits(states)[real], told.prediction_logits[real], rtol=1e-11, atol=1e-12)
    pair = told.seq_relationship_logits if family == "bert" else told.sop_logits
    assert torch.allclose(step.model.heads["next"](states, batch), pair, rtol=1e-11, atol=1e-12)
    value = step(batch, Noise(0)).value(step.objective.weights(batch))
    assert float(value.detach()) == pytest.approx(float(told.loss.detach()), rel=1e-6)  # theirs may narrow its scores
    reference = F.cross_entropy(told.prediction_logits.flatten(0, 1), labels) + F.cross_entropy(
        pair, batch.labels["next"]
    )
    assert float(value.detach()) == pytest.approx(float(reference.detach()), rel=1e-12)
    value.backward()
    reference.backward()
    body = getattr(theirs, family)
    assert torch.allclose(step.model.tokens.grad, body.embeddings.word_embeddings.weight.grad, rtol=1e-9, atol=1e-13)
    types = body.embeddings.token_type_embeddings.weight.grad
    assert torch.allclose(step.model.types.grad, types, rtol=1e-9, atol=1e-13)
    pooler = body.pooler.dense if family == "bert" else body.pooler
    assert torch.allclose(step.model.heads["next"].dense.weight.grad, pooler.weight.grad, rtol=1e-9, atol=1e-13)

"""Asking a model from Python: texts in, answers, vectors and text out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    Batch,
    FeedForward,
    Learned,
    LMHead,
    Rotary,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.recipes.asking.use import Model
from modeledge.seed import Noise
from modeledge.tasks import Labels, LabelTask
from modeledge.tokens import train_tokenizer

TEXTS = ["the quick fox", "a dog", "the lazy dog sleeps", "a fox and a dog and a fox"]
TOKENIZER = train_tokenizer([*TEXTS] * 3, kind="wordpiece", vocab_size=80)
CLASSES, VALUE = Labels("class", ("-1", "1")), Labels("value", ())


def made(side: str, *, labels: Labels | None = None, pair: str | None = None, positions: int | None = None) -> Model:
    place = Rotary() if positions is None else Learned(length=positions)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=place)
    shape = TransformerConfig(width=16, embed=Tokens(vocab=TOKENIZER.vocab_size, types=2), **{side: stack})  # type: ignore[arg-type]
    model = Transformer(shape, seed=1)
    task = None if labels is None else LabelTask(labels, TOKENIZER, shape, length=32, pair=pair)
    model.add_heads({"lm": LMHead(), **(task.objective.heads if task is not None else {})}, Noise(0))
    return Model(model, TOKENIZER, task)


def refused(code: str, call: Callable[[], Any]) -> str:
    with pytest.raises(ModeledgeError) as caught:
        call()
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def first_state(model: Model, ids: list[int]) -> np.ndarray[Any, Any]:
    side = Side.of(torch.tensor(ids)[None])
    with torch.no_grad():
        batch = Batch(source=side) if model.transformer.config.encoder is not None else Batch(target=side)
        return model.transformer(batch).last[0, 0].float().numpy()  # type: ignore[no-any-return]


def test_an_encoder_embeds_between_its_special_tokens() -> None:
    model, ids = made("encoder"), TOKENIZER.encode(TEXTS[0]).tolist()
    cls, sep = TOKENIZER.need("cls"), TOKENIZER.need("sep")
    np.testing.assert_allclose(model.embed(TEXTS, pool="first")[0], first_state(model, [cls, *ids, sep]), atol=1e-5)


def test_a_decoder_and_a_tokenizer_without_special_tokens_embed_the_text_alone() -> None:
    model = made("decoder")
    ids = TOKENIZER.encode(TEXTS[0]).tolist()
    np.testing.assert_allclose(model.embed(TEXTS, pool="first")[0], first_state(model, ids), atol=1e-5)
    bare = train_tokenizer(TEXTS, vocab_size=300, specials={"pad": "[PAD]"})
    shape = TransformerConfig(width=16, embed=Tokens(vocab=bare.vocab_size), encoder=model.transformer.config.stack)
    model = Model(Transformer(shape, seed=1), bare)
    vector = model.embed(TEXTS[1:2], pool="first")[0]
    np.testing.assert_allclose(vector, first_state(model, bare.encode(TEXTS[1]).tolist()), atol=1e-5)


def test_one_text_is_one_vector() -> None:
    model = made("encoder")
    assert model.embed(TEXTS[0]).shape == (1, 16)
    np.testing.assert_allclose(model.embed(TEXTS[0])[0], model.embed(TEXTS)[0], atol=1e-5)


def test_texts_that_are_cut_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    model = made("encoder")
    model.embed([*TEXTS, "fox " * 40], length=20, say=told.append)
    assert told == ["1 of 5 texts were cut to 20 tokens"]
    model.embed("fox " * 18, length=20, say=told.append)  # 18 words and two special tokens
    assert len(told) == 1
    made("encoder", positions=12).embed("fox " * 11)
    assert capsys.readouterr().out == "1 of 1 texts were cut to 12 tokens\n"


def test_rows_that_are_cut_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    model, told = made("encoder", labels=CLASSES), []
    model.predict(["a dog " * 40, "a dog"], say=told.append)
    model.evaluate([{"text": "a dog " * 40, "label": "1"}, {"text": "a fox", "label": "-1"}], say=told.append)
    assert told == ["1 of 2 texts were cut to 32 tokens"] * 2
    model.predict(["a dog"])
    assert capsys.readouterr().out == ""


def test_vectors_that_cannot_be() -> None:
    assert "text 2" in refused("E-MISSING-FIELD", lambda: made("encoder").embed(["fox", ""]))
    refused("E-USAGE", lambda: made("encoder").embed("fox", pool="middle"))  # type: ignore[arg-type]


@pytest.mark.parametrize("many", [list, tuple, iter, np.array])
def test_texts_are_rows_of_the_text_column(many: Callable[[list[str]], Any]) -> None:
    model = made("encoder", labels=CLASSES)
    told = model.predict(many(TEXTS))
    assert told == model.predict([{"text": text} for text in TEXTS])
    assert list(told[0]) == ["prediction", "confidence", "p(-1)", "p(1)"]


def test_texts_that_are_no_rows(tmp_path: Path) -> None:
    model = made("encoder", labels=CLASSES)
    refused("E-NO-FILE", lambda: model.predict("the quick fox"))
    refused("E-FIELD-TYPE", lambda: model.predict(["a fox", {"text": "a dog"}]))
    refused("E-NO-RECORDS", lambda: model.predict([]))
    assert "'other'" in refused("E-USAGE", lambda: made("encoder", labels=CLASSES, pair="other").predict(TEXTS))


def test_answers_stand_behind_what_came_in() -> None:
    model = made("encoder", labels=CLASSES)
    (row,) = model.predict([{"id": 7, "text": "a fox"}], keep=True)
    assert list(row) == ["id", "text", "prediction", "confidence", "p(-1)", "p(1)"]
    assert "__where__" not in row
    for name in ("prediction", "confidence", "p(1)"):
        rows = [{"text": "a fox"}, {"text": "a dog", name: 1}]
        assert name in refused("E-USAGE", lambda rows=rows: model.predict(rows, keep=True))  # type: ignore[misc]
        assert len(model.predict(rows)) == 2
    (row,) = made("encoder", labels=VALUE).predict([{"confidence": 1, "text": "a fox"}], keep=True)
    assert list(row) == ["confidence", "text", "prediction"]


def test_a_decoder_generates() -> None:
    model = made("decoder")
    told = model.generate(TEXTS, max_new_tokens=6, seed=3)
    assert len(told) == 4
    assert told == model.generate(TEXTS, max_new_tokens=6, seed=3)
    assert told != model.generate(TEXTS, max_new_tokens=6, seed=4)
    assert model.generate(TEXTS[0], max_new_tokens=6, seed=3) == told[:1]
    greedy = model.generate(TEXTS, max_new_tokens=6, temperature=0)
    assert greedy == model.generate(TEXTS, max_new_tokens=6, top_k=1, seed=9)
    assert model.generate(TEXTS, max_new_tokens=6, top_p=1e-9) == greedy
    end = greedy[0][3:5]
    for stop in (end, [end], (end, "no such text")):
        assert model.generate(TEXTS[0], max_new_tokens=6, temperature=0, stop=stop) == [greedy[0].split(end)[0]]
    refused("E-USAGE", lambda: model.generate("a", temperature=float("nan")))
    refused("E-USAGE", lambda: made("encoder").generate("a"))


def test_an_encoder_fills() -> None:
    found = made("encoder").fill("the [MASK] fox and [MASK] dog", top=3)
    assert [len(gap) for gap in found] == [3, 3]
    assert all(0 < share < 1 for gap in found for _, share in gap)
    refused("E-USAGE", lambda: made("decoder").fill("the [MASK] fox"))

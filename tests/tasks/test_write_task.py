"""Text to text: the loss of the reference library, cutting that is counted, answers alone as in a batch."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.generate import generate
from modeledge.metrics import METRICS, Metric
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, Step, Write, WritePrepare, collate
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Asked, Generate, WriteTask, answers, judge_on
from modeledge.tasks.writing import Writing
from modeledge.tokens import Tokenizer, train_tokenizer

SHAPES = ("decoder", "both")
WORDS = ["fox", "dog", "lazy", "over", "brown", "quick"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)


def config(shape: str, vocab: int, length: int = 48) -> TransformerConfig:
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=length)
    )
    sides = {"decoder": stack} | ({"encoder": stack} if shape == "both" else {})
    return TransformerConfig(width=16, embed=Tokens(vocab=vocab), init=0.5, **sides)


def made(
    shape: str, tokenizer: Tokenizer, kind: type[WriteTask] = WriteTask, length: int = 40, **options: Any
) -> tuple[WriteTask, Transformer]:
    facts = config(shape, tokenizer.vocab_size)
    asked = Asked({}, length, options={"max_target": 12, **options})
    task = kind.made(rows(6), tokenizer, facts, asked, lambda line: None)
    model = Transformer(facts, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model.eval()


def rows(count: int) -> list[dict[str, Any]]:
    lots = random.Random(0)
    return [
        {
            "source": " ".join(lots.choices(WORDS, k=lots.randint(1, 7))),
            "target": " ".join(lots.choices(WORDS, k=lots.randint(1, 3))),
        }
        for _ in range(count)
    ]


# ---- the loss


REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
        | {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    ),
    "bart": (
        "BartForConditionalGeneration",
        {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "max_position_embeddings": 40, "dropout": 0.0}
        | {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "bos_token_id": 1, "eos_token_id": 1}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", REFERENCES)
def test_loss_and_gradients_are_those_of_transformers(name: str, smoothing: float, tmp_path: Path) -> None:
    """In training mode, over ragged pairs: theirs padded, labels −100 on padding and on a decoder's prompt; ours
    packed. Smoothing as in their LabelSmoother. Within 1e-5 of each gradient's norm: fp32, sums in another order."""
    hf = pytest.importorskip("transformers")
    kind, shape = REFERENCES[name]
    torch.manual_seed(0)
    page = "GPT2Config" if name == "gpt2" else kind.replace("ForConditionalGeneration", "Config")
    theirs = getattr(hf, kind)(getattr(hf, page)(vocab_size=31, **shape))
    theirs.save_pretrained(tmp_path)
    ours, draw = load_model(tmp_path), np.random.default_rng(0)
    pairs = [(draw.integers(3, 31, a), draw.integers(3, 31, b)) for a, b in ((5, 3), (2, 7), (9, 1), (1, 4))]
    start = {"t5": (0,), "bart": (1,), "gpt2": ()}[name]
    prepare = WritePrepare(1, 40, 12, start=start, between=() if start else (2,))
    step = Step(ours, Write(prepare, smoothing=smoothing)).train()
    batch = collate([prepare(Example(i, a, b), Noise(0)) for i, (a, b) in enumerate(pairs)], Shape(40))
    loss = step(batch, Noise(0)).value(step.objective.weights(batch))
    loss.backward()

    inputs = [a.tolist() if start else [*a, 2, *b, 1] for a, b in pairs]
    labels = [[*b, 1] if start else [-100] * (len(a) + 1) + [*b, 1] for a, b in pairs]
    ids, told = padded(inputs, 0), padded(labels, -100)
    mask = padded([[1] * len(row) for row in inputs], 0)
    out = theirs.train()(input_ids=ids, attention_mask=mask, labels=told)
    wanted = out.loss
    if smoothing:
        trainer = pytest.importorskip("transformers.trainer_pt_utils")
        wanted = trainer.LabelSmoother(epsilon=smoothing)(out, told, shift_labels=not start)
    wanted.backward()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    table = theirs.get_input_embeddings().weight.grad
    assert float((ours.tokens.grad - table).norm()) < 1e-5 * float(table.norm())
    assert total_norm(ours) == pytest.approx(total_norm(theirs), rel=1e-5)


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[int(i) for i in row] + [fill] * (width - len(row)) for row in rows])


def total_norm(model: torch.nn.Module) -> float:
    return float(sum(p.grad.double().square().sum() for p in model.parameters() if p.grad is not None).sqrt())


def test_the_three_shapes_written_out() -> None:
    example = Example(0, np.array([5, 6]), np.array([7, 8]))
    both = WritePrepare(1, 20, 6, start=(9, 3), first=(2,), between=(4,))(example, Noise(0))
    assert both.source is not None
    assert both.target is not None
    assert both.source.ids.tolist() == [2, 5, 6, 4]
    assert both.target.ids.tolist() == [9, 3, 7, 8]
    assert (both.reads["lm"].tolist(), both.labels["lm"].tolist()) == ([1, 2, 3], [7, 8, 1])
    one = WritePrepare(1, 20, 6, between=(4,))(example, Noise(0))
    assert one.source is None
    assert one.target is not None
    assert one.target.ids.tolist() == [5, 6, 4, 7, 8]
    assert (one.reads["lm"].tolist(), one.labels["lm"].tolist()) == ([2, 3, 4], [7, 8, 1])
    whole = WritePrepare(1, 20, 6, between=(4,), whole=True)(example, Noise(0))
    assert (whole.reads["lm"].tolist(), whole.labels["lm"].tolist()) == ([0, 1, 2, 3, 4], [6, 4, 7, 8, 1])
    prefix = WritePrepare(1, 20, 6, between=(4,), both_ways=True)(example, Noise(0))
    assert prefix.target is not None
    assert prefix.target.prefix is not None
    assert prefix.target.prefix.tolist() == [True, True, True, False, False]


# ---- cutting


@pytest.mark.parametrize("start", [(), (9,)])
def test_the_source_is_cut_first_and_the_end_is_always_learned(start: tuple[int, ...]) -> None:
    source, target = np.arange(10, 40), np.arange(50, 70)
    for cut, kept in (("end", 0), ("start", 0), ("start", 2)):
        prepare = WritePrepare(1, 20, 8, start=start, between=(4,), cut=cut, kept=kept)  # type: ignore[arg-type]
        item = prepare(Example(0, source, target), Noise(0))
        prompt = prepare.prompt(Example(0, source, target))
        room = 19 if start else 11
        last = room - kept
        whole = [*source[:kept], *(source[kept : kept + last] if cut == "end" else source[-last:]), 4]
        assert prompt.tolist() == whole
        assert item.labels["lm"].tolist() == [*target[:7], 1]
        assert prepare.truncated(Example(0, source, target)) == (30 - room, 13)
        assert prepare.truncated(Example(0, source[:room], target[:7])) == (0, 0)
        assert max(item.lengths()) <= prepare.seq


def test_cutting_is_counted_in_examples(tokenizer: Tokenizer) -> None:
    facts = config("decoder", tokenizer.vocab_size)
    data = [{"source": "a" * n, "target": "b" * m} for n, m in ((3, 2), (60, 2), (3, 30), (60, 30))]
    task = WriteTask.made(data, tokenizer, facts, Asked({}, 40, options={"max_target": 12}), print)
    assert task.truncated(task.encode(data)) == 3
    assert task.remarks(task.encode(data)) == ["2 of 4 targets are cut to 12 tokens (options.max_target)"]


def test_a_metric_that_cannot_be_computed_is_found_before_the_run(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(predictions: Any, labels: Any) -> float:
        raise ModeledgeError("E-EXTRA", "no such library", remedy="install it")

    monkeypatch.setitem(METRICS, "bleu", Metric("bleu", missing, True, "text"))
    facts, said = config("decoder", tokenizer.vocab_size), list[str]()
    asked = Asked({}, 40, options={"max_target": 12})
    task = TASKS["translate"].made(rows(2), tokenizer, facts, asked, said.append)
    assert "bleu" not in task.metrics
    assert said[0] == "not marked by bleu: no such library (install it)"
    with pytest.raises(ModeledgeError, match="E-EXTRA"):
        TASKS["translate"].made(rows(2), tokenizer, facts, replace(asked, options={"metrics": ["bleu"]}), print)


def test_a_target_that_vanishes_is_refused_with_how_many(tokenizer: Tokenizer) -> None:
    task, _ = made("decoder", tokenizer, cut="none")
    data = [{"source": "z" * n, "target": "b b", "__where__": f"x:{n}"} for n in (3, 60, 39, 30)]
    with pytest.raises(ModeledgeError, match="2 of 4 rows") as caught:
        task.encode(data)
    assert (caught.value.code, caught.value.where) == ("E-NO-TARGET-AFTER-TRUNCATION", "x:60")
    kept = task.encode([data[3]])[0]
    assert task.prepare(kept, Noise(0)).labels["lm"][-1] == task.prepare.eos
    both, _ = made("both", tokenizer, cut="none")
    with pytest.raises(ModeledgeError, match="E-TOO-LONG"):
        both.prepare(both.encode(data)[1], Noise(0))


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"source": "a", "target": " "}, "E-MISSING-FIELD"),
        ({"source": "a", "target": []}, "E-MISSING-FIELD"),
        ({"source": "a", "target": ["b", ""]}, "E-MISSING-FIELD"),
        ({"source": "", "target": "b"}, "E-MISSING-FIELD"),
        ({"source": "a"}, "E-MISSING-FIELD"),
        ({"source": "a", "target": 3}, "E-FIELD-TYPE"),
        ({"source": "a", "target": ["b", 3]}, "E-FIELD-TYPE"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], code: str, tokenizer: Tokenizer) -> None:
    task, _ = made("both", tokenizer)
    with pytest.raises(ModeledgeError) as caught:
        task.encode([rows(1)[0], {**row, "__where__": "x.jsonl:2"}])
    assert (caught.value.code, caught.value.where) == (code, "x.jsonl:2")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"beam": 3}, "E-CONFIG-KEY"),
        ({"beams": "many"}, "E-CONFIG-VALUE"),
        ({"metrics": ["bluest"]}, "E-CONFIG-VALUE"),
        ({"ask": "no place"}, "E-CONFIG-VALUE"),
        ({"max_target": 39}, "E-CONFIG-VALUE"),
        ({"prefix_lm": True, "train_source": True}, "E-CONFIG-VALUE"),
        ({"length": 400}, "E-POSITION"),
        ({"beams": 2, "temperature": 1.0}, "E-USAGE"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], code: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModeledgeError) as caught:
        made("decoder", tokenizer, **options)
    assert caught.value.code == code


def test_an_encoder_alone_writes_nothing(tokenizer: Tokenizer) -> None:
    shape = config("both", tokenizer.vocab_size)
    with pytest.raises(ModeledgeError, match="an encoder alone"):
        WriteTask(tokenizer, replace(shape, decoder=None), Writing(), length=40, columns={})


# ---- answers


@pytest.mark.parametrize("options", [{}, {"beams": 3}, {"temperature": 1.0}, {"prefix_lm": True}], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_alone_is_the_answer_in_a_batch(shape: str, options: dict[str, Any], tokenizer: Tokenizer) -> None:
    if shape == "both" and "prefix_lm" in options:
        with pytest.raises(ModeledgeError, match="always read both ways"):
            made(shape, tokenizer, **options)
        return
    task, model = made(shape, tokenizer, **options)
    data = rows(9)
    examples = task.encode(data)
    random.Random(3).shuffle(examples)
    told = answers(task, model, examples, 4)
    assert [a.index for a in told] == [e.index for e in examples]
    assert len({a.value for a in told}) > 2
    for answer, example in zip(told, examples, strict=True):
        (alone,) = answers(task, model, [example])
        assert alone.value == answer.value
        assert alone.details == pytest.approx(answer.details, rel=1e-5)
    blind = answers(task, model, task.encode([{"source": row["source"]} for row in data], labelled=False))
    assert [a.value for a in blind] == [a.value for a in sorted(told, key=lambda a: a.index)]
    assert all(a.details is None for a in blind)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_asked_is_what_was_learned(shape: str, tokenizer: Tokenizer) -> None:
    """The prompt is the training piece before its target; the loss of the answers is the objective's."""
    task, model = made(shape, tokenizer, prefix="say: ")
    (example,) = task.encode([{"source": "the fox", "target": ["lazy dog", "dog"]}])
    assert example.label == ("lazy dog", "dog")
    assert tokenizer.decode(example.ids) == "say: the fox"
    (batch,) = task.batches([example], 4)
    asked = batch.side.ids[0, batch.spans[0, 1] : batch.spans[0, 2]].tolist()
    piece = task.prepare(example, Noise(0))
    if shape == "both":
        assert piece.source is not None
        assert asked == piece.source.ids.tolist()
    else:
        assert piece.target is not None
        assert asked == piece.target.ids[: piece.reads["lm"][0] + 1].tolist()
    data = task.encode(rows(7))
    marks = task.mark(answers(task, model, data), data)
    batch = collate([task.prepare(e, Noise(0)) for e in data], Shape(task.seq))
    with torch.no_grad():
        term = task.objective.loss(model, batch, Noise(0)).terms["lm"]
    assert marks["nats_per_token"] == pytest.approx(float(term.total / term.weight), rel=1e-5)
    first = generate(model, [np.array(asked)], max_new_tokens=12, stop=(task.prepare.eos,), start=task.prepare.start)
    assert answers(task, model, [example])[0].value == tokenizer.decode(first[0]).strip()


def test_a_task_comes_back_from_what_it_says(tokenizer: Tokenizer) -> None:
    for name, kind in TASKS.items():
        if not issubclass(kind, WriteTask):
            continue
        assert kind.kind == name
        facts = config("both", tokenizer.vocab_size)
        writing = kind.settings(**{**kind.defaults, "max_target": 12, "start": (3,)})
        task = kind(tokenizer, facts, writing, length=40, columns={r: r for r in (*kind.inputs, kind.target)})
        again = kind.restored(task.described(), tokenizer, facts)
        assert again.described() == task.described()
        assert again.prepare == task.prepare
        assert set(task.metrics) <= METRICS.keys()
        assert len(task.metrics) >= 1


def test_a_start_that_no_file_names_is_said(tokenizer: Tokenizer) -> None:
    facts, said = config("both", tokenizer.vocab_size), list[str]()
    task = WriteTask.made(rows(2), tokenizer, facts, Asked({}, 40, options={"max_target": 12}), said.append)
    assert task.prepare.start == (tokenizer.specials.bos,)
    assert "no file says" in said[0]
    said.clear()
    asked = Asked({}, 40, options={"max_target": 12}, start=7)
    assert WriteTask.made(rows(2), tokenizer, facts, asked, said.append).prepare.start == (7,)
    assert not said
    with pytest.raises(ModeledgeError, match="none of the"):
        made("both", tokenizer, start=[9999])


def test_a_prompted_model_is_asked_with_the_same_source(tokenizer: Tokenizer) -> None:
    task, _ = made("decoder", tokenizer, TASKS["summarise"], prefix="news: ")  # type: ignore[arg-type]
    asked = task.request({"source": "the fox"})
    assert asked == Generate("news: the fox\n\nTL;DR:", ("\n",), 12)
    told = task.answer(4, asked, " a fox ")
    assert (told.index, told.value) == (4, "a fox")
    marks = task.mark([replace(told, index=0)], task.encode([{"source": "the fox", "target": "a fox"}]))
    assert "nats_per_token" not in marks  # nobody asked the prompted model for a loss


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_model_learns_to_reverse(shape: str) -> None:
    """Letters backwards, unseen ones too; the judge sees it, and every answer ends."""
    lots = random.Random(1)
    words = ["".join(lots.choices("abcdef", k=3)) for _ in range(160)]
    tokenizer = train_tokenizer(["a b c d e f"] * 4, vocab_size=263)
    data = [{"source": word, "target": word[::-1]} for word in words]
    facts = replace(config(shape, tokenizer.vocab_size, 16), width=32, init=0.1)
    task = WriteTask.made(data, tokenizer, facts, Asked({}, 12, options={"max_target": 6}), lambda line: None)
    step = Step(Transformer(facts, seed=1), task.objective, noise=Noise(1))
    train, held = task.encode(data[:140]), task.encode(data[140:])
    optimizer = torch.optim.AdamW(step.parameters(), lr=5e-3)
    judge = judge_on(task, held)
    before = judge(step.model)["nats_per_token"]
    for update in range(120):
        chosen = random.Random(update).sample(train, 32)
        batch = collate([task.prepare(e, Noise(0)) for e in chosen], Shape(task.seq))
        step(batch, Noise(0)).value(step.objective.weights(batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert judge(step.model)["nats_per_token"] < 0.3 * before
    told = answers(task, step.model, held)
    right = sum(a.value == e.label[0] for a, e in zip(told, held, strict=True))
    assert right >= len(held) // 2

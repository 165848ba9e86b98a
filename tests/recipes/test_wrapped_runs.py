"""A folder whose architecture has no page here, through the verbs: wrapped whole, said aloud, saved and read again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_use import TEXTS, TOKENIZER, refused

import modeledge as me
from modeledge.families.wrapped import folder as wrapped_folder
from modeledge.families.wrapped.wrap import HuggingFaceModel
from modeledge.recipes.asking.use import Model
from modeledge.recipes.store.models import save
from modeledge.tokens import train_tokenizer

ROWS = [{"text": f"{TEXTS[n % 4]} {n}", "label": ("bad", "good")[n % 2]} for n in range(24)]
SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
}  # fmt: skip


@pytest.fixture(scope="module")
def hf() -> Any:
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=["DebertaV2Model", "DebertaV2ForMaskedLM"])
def model(request: pytest.FixtureRequest, hf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DeBERTa-v2, its body alone or with a head that no head of ours reads, and a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("deberta")
    torch.manual_seed(0)
    config = hf.DebertaV2Config(vocab_size=TOKENIZER.vocab_size, **SHAPE)
    getattr(hf, request.param)(config).save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def tuned(model: Path, folder: Path, rows: Any = ROWS, **fields: Any) -> tuple[Model, list[str]]:
    said: list[str] = []
    fields = {"epochs": 1.0, **fields}
    return me.finetune(model, rows, folder, "train.length=24", "train.threads=1", say=said.append, **fields)[0], said


def test_it_is_fine_tuned_saved_by_its_own_writer_and_asked_again(hf: Any, model: Path, tmp_path: Path) -> None:
    asked, said = tuned(model, tmp_path / "run")
    (line,) = [line for line in said if "wrapped whole" in line]
    assert "'deberta-v2'" in line
    assert ("left out" in line) == ("cls" in line) == ("MaskedLM" in str(hf.AutoConfig.from_pretrained(model)))
    assert isinstance(asked.transformer, HuggingFaceModel)
    folder = tmp_path / "run" / "model"
    assert {"config.json", "heads.json", "task.json", "tokenizer.json", "README.md"} <= {
        p.name for p in folder.iterdir()
    }
    assert json.loads((folder / "heads.json").read_text())["class"]["outputs"] == 2
    assert "with our heads beside it" in (folder / "README.md").read_text().replace("\\", "")
    answers = Model.load(tmp_path / "run", say=str).predict(TEXTS)
    assert [row["prediction"] for row in answers] == [row["prediction"] for row in asked.predict(TEXTS)]
    again = hf.AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([[TOKENIZER.need("cls"), *TOKENIZER.encode(TEXTS[0]), TOKENIZER.need("sep")]])
    with torch.no_grad():
        state = again(ids).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(asked.embed(TEXTS[:1])[0], state.numpy(), atol=1e-5)
    trained = hf.AutoModel.from_pretrained(model).get_input_embeddings().weight
    assert not torch.equal(again.get_input_embeddings().weight, trained)


def test_values_too_and_by_name_of_the_run(model: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": 3.0 + 0.5 * (n % 5)} for n, row in enumerate(ROWS)]
    asked, _ = tuned(model, tmp_path / "run", rows)
    other = save(asked, tmp_path / "again")
    again = Model(Model.load(other, say=str).transformer, TOKENIZER, asked.task)
    told = [row["prediction"] for row in asked.predict(TEXTS)]
    assert told == [row["prediction"] for row in again.predict(TEXTS)]
    assert len(set(told)) > 1


def test_what_a_wrapped_model_cannot_is_said(model: Path, tmp_path: Path) -> None:
    assert "drawn anew" in refused("E-USAGE", lambda: tuned(model, tmp_path / "run", fresh=True))
    asked, _ = tuned(model, tmp_path / "other")
    assert "its own library" in refused("E-USAGE", lambda: save(asked, tmp_path / "x", to="modeledge"))
    assert "as it is" in refused("E-USAGE", lambda: save(asked, tmp_path / "x", dtype="bfloat16"))


def test_without_the_extra_the_error_names_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    said = refused("E-EXTRA", lambda: Model.load(model))
    assert "'deberta-v2'" in said
    assert "modeledge[transformers]" in said


def test_an_architecture_that_nobody_knows_is_refused_with_the_known_ones(model: Path, tmp_path: Path) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "debertaa"}))
    said = refused("E-FAMILY", lambda: Model.load(tmp_path))
    assert "modernbert" in said
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    refused("E-CONFIG-UNSAFE", lambda: Model.load(tmp_path))


def test_names_beside_a_body() -> None:
    assert wrapped_folder.beside(["deberta.a.b", "cls.x.y", "cls.x.z", "head"], "deberta.") == ("cls", "head")
    assert wrapped_folder.beside(["a.b", "cls.x"], "deberta.") == ()  # a bare body


# ---- tasks beyond one label a text


WORDS = "the quick lazy fox dog sleeps and".split()  # noqa: SIM905
TASKS: dict[str, Any] = {
    "multilabel": lambda n: {"text": TEXTS[n % 4] + f" {n}", "label": [("a", "b", "c")[n % 3], "d"][: 1 + n % 2]},
    "ordinal": lambda n: {"text": TEXTS[n % 4] + f" {n}", "label": n * 7 % 3},
    "relation": lambda n: {"text": f"fox dog {n}", "head": [0, 3], "tail": [4, 7], "label": "ab"[n % 2]},
    "choice": lambda n: {"text": f"the {n}", "choices": [WORDS[n % 7], WORDS[(n + 3) % 7]], "label": n * 7 % 3 % 2},
    "tag": lambda n: {"tokens": ["the", WORDS[n % 7], str(n)], "tags": ["O", "B-X" if n % 2 else "B-Y", "O"]},
    "entities": lambda n: {"text": f"the fox {n}", "spans": [{"start": 4, "end": 7, "label": "X"}][: n % 3]},
    "extract": lambda n: {"question": f"who {n}", "context": f"{n} the quick fox and a dog", "answers": ["fox"]},
    "write": lambda n: {"source": f"who {n}", "target": "the fox"},
}  # fmt: skip
SIGNED = train_tokenizer([*TEXTS, "who @ # 0123456789"] * 3, kind="wordpiece", vocab_size=120)  # can mark entities
BODIES = {
    "encoder": ("DebertaV2Model", "DebertaV2Config", SHAPE),
    "decoder": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 16, "n_layer": 1, "n_head": 2}),
    "both": (
        "PegasusForConditionalGeneration",
        "PegasusConfig",
        {
            "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 40,
            "decoder_start_token_id": 0,
        },
    ),
}  # fmt: skip
REFUSED = {  # a clear word before the first step
    **dict.fromkeys([("encoder", "write"), ("decoder", "write"), ("both", "write")], "E-USAGE"),
    **dict.fromkeys([("both", "choice"), ("both", "tag"), ("both", "entities")], "E-USAGE"),
    ("both", "extract"): "E-CONFIG",
}


@pytest.fixture(scope="module")
def bodies(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, (kind, config, shape) in BODIES.items():
        torch.manual_seed(1)
        folders[name] = tmp_path_factory.mktemp(name)
        ends = {"eos_token_id": SIGNED.specials.eos, "pad_token_id": SIGNED.specials.pad}
        made = getattr(hf, config)(vocab_size=SIGNED.vocab_size, **{**ends, **shape})
        getattr(hf, kind)(made).save_pretrained(folders[name])
        SIGNED.save(folders[name])
    return folders


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("body", BODIES)
def test_every_task_is_learned_and_asked_again_or_refused_before(
    body: str, task: str, bodies: dict[str, Path], tmp_path: Path
) -> None:
    """The gate is on: what packs examples of a wrapped model wrongly would be refused."""
    rows = [TASKS[task](n) for n in range(40)]
    more = {
        "task": task,
        "options": {"max_target": 4} if task == "write" else {},
        "allow": ("near-rows", "shared-rows"),
    }
    if (body, task) in REFUSED:
        assert refused(REFUSED[body, task], lambda: tuned(bodies[body], tmp_path / "run", rows, **more))
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        return
    asked, said = tuned(bodies[body], tmp_path / "run", rows, **more)
    assert any("wrapped whole" in line for line in said)
    learned = asked.needed_task().columns[asked.needed_task().target]
    bare = [{name: value for name, value in row.items() if name != learned} for row in rows[:9]]
    again = Model.load(tmp_path / "run", say=str).predict(bare, say=str)
    told = asked.predict(bare, say=str)
    assert [next(iter(row.values())) for row in again] == [next(iter(row.values())) for row in told]

"""What is wrong with a folder is said before anything is built, by a code of the catalogue."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import CASES, VOCAB
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.families.weights import MAX_ENTRIES, read_weights
from modeledge.model import LMHead, Transformer, TransformerConfig
from modeledge.model.config import Attention, FeedForward, Learned, Stack, Tokens
from modeledge.seed import Noise


@pytest.fixture
def bert(saved: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[str(CASES[1])][1], tmp_path / "bert"))


@pytest.fixture
def gpt2(saved: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[str(CASES[7])][1], tmp_path / "gpt2"))


def refused(folder: Path, code: str, *words: str) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        load_model(folder)
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value)
    return caught.value


def said(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def unsaid(folder: Path, *keys: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file({k: v.clone() for k, v in change(load_file(path)).items()}, path)


# ---- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"hidden_sise": 16}, "E-CONFIG-KEY", ("hidden_sise", "did you mean 'hidden_size'?")),
        ({"rope_theta": 1e4}, "E-CONFIG-KEY", ("rope_theta", "could change what the model computes")),
        ({"quantization_config": {}}, "E-CONFIG-KEY", ("quantization_config",)),
        ({"position_embedding_type": "relative_key"}, "E-CONFIG-VALUE", ("'relative_key'", "'absolute'")),
        ({"is_decoder": True}, "E-CONFIG-VALUE", ("is_decoder is True",)),
        ({"is_decoder": 0}, "E-CONFIG-VALUE", ("is_decoder is 0",)),
        ({"pruned_heads": {"0": [1]}}, "E-CONFIG-VALUE", ("pruned_heads",)),
        ({"hidden_act": "mish"}, "E-CONFIG-VALUE", ("'mish'", "gelu_new")),
        ({"hidden_size": "16"}, "E-CONFIG-VALUE", ("hidden_size", "whole number")),
        ({"num_hidden_layers": True}, "E-CONFIG-VALUE", ("num_hidden_layers",)),
        ({"hidden_dropout_prob": 1.0}, "E-CONFIG-VALUE", ("[0, 1)",)),
        ({"layer_norm_eps": 0}, "E-CONFIG-VALUE", ("layer_norm_eps",)),
        ({"num_attention_heads": 3}, "E-CONFIG", ("do not divide",)),
        ({"id2label": []}, "E-CONFIG-VALUE", ("id2label",)),
        ({"auto_map": {"AutoModel": "x.Y"}}, "E-CONFIG-UNSAFE", ("auto_map", "no code is run")),
        ({"trust_remote_code": True}, "E-CONFIG-UNSAFE", ("trust_remote_code",)),
        ({"_attn_implementation_internal": "a/b"}, "E-CONFIG-UNSAFE", ("_attn_implementation_internal",)),
        ({"task_specific_params": {"a": [{"_target_": "os.system"}]}}, "E-CONFIG-UNSAFE", ("_target_",)),
        ({"model_type": "llama"}, "E-FAMILY", ("'llama'", "bert, gpt2, modeledge")),
        ({"model_type": "brt"}, "E-FAMILY", ("did you mean 'bert'?", "known: bert, gpt2, modeledge")),
        ({"model_type": 3}, "E-FAMILY", ("known: bert, gpt2, modeledge",)),
        ({"architectures": ["BertForQuestionAnswering"]}, "E-FAMILY", ("BertForQuestionAnswering", "BertForMaskedLM")),
        ({"architectures": "BertModel"}, "E-CONFIG-VALUE", ("architectures",)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_configuration_is_read_key_by_key(bert: Path, change: Any, code: str, words: tuple[str, ...]) -> None:
    said(
        bert,
        **(
            {"num_labels": 1, "id2label": change["id2label"], "architectures": ["BertForSequenceClassification"]}
            if "id2label" in change
            else change
        ),
    )
    error = refused(bert, code, *words)
    assert str(bert) in error.where


@pytest.mark.parametrize("key", ["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"])
def test_attention_is_scaled_in_the_one_way_that_is_known(gpt2: Path, key: str) -> None:
    default = key == "scale_attn_weights"
    said(gpt2, **{key: default})
    load_model(gpt2)
    said(gpt2, **{key: not default})
    refused(gpt2, "E-CONFIG-VALUE", f"{key} is {not default}")


def test_keys_that_change_no_number_are_carried(bert: Path, tmp_path: Path) -> None:
    said(bert, id2label={"0": "auto_map"}, label2id={"auto_map": 0}, task_specific_params={"x": 1}, _name_or_path="a/b")
    save_model(load_model(bert), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads((bert / "config.json").read_text())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", "E-JSON"),
        (b"[]", "E-JSON-TYPE"),
        (b"\xff{}", "E-UTF8"),
        (b'{"a": 1, "a": 2}', "E-DUP-KEY"),
        (b'{"a": NaN}', "E-NOT-FINITE"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "E-JSON-DEPTH"),
        (b" " * (4 << 20) + b"{}", "E-CONFIG-UNSAFE"),
        (None, "E-NO-FILE"),
    ],
    ids=["open", "list", "latin", "twice", "nan", "deep", "large", "absent"],
)  # fmt: skip
def test_a_configuration_that_is_not_one(bert: Path, text: bytes | None, code: str) -> None:
    (bert / "config.json").unlink()
    if text is not None:
        (bert / "config.json").write_bytes(text)
    refused(bert, code)


# ---- names and shapes ----------------------------------------------------------------------------------------------


def test_missing_and_unexpected_weights_are_listed_with_the_nearest_names(bert: Path) -> None:
    old, new = "bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.0.attention.self.qeury.weight"
    weights(bert, lambda w: {(new if k == old else k): v for k, v in w.items()})
    refused(bert, "E-KEYS", f"missing: {old} (nearest: {new})", f"unexpected: {new} (nearest: {old})")


def test_a_head_that_the_architecture_names_must_be_there(bert: Path) -> None:
    weights(bert, lambda w: {k: v for k, v in w.items() if not k.startswith("cls.")})
    refused(bert, "E-KEYS", "missing: cls.predictions.transform.dense.weight")


def test_a_token_classifier_without_its_class_is_not_taken_for_another(bert: Path) -> None:
    unsaid(bert, "architectures")
    weights(bert, lambda w: {**w, "classifier.weight": torch.zeros(2, 16), "classifier.bias": torch.zeros(2)})
    refused(bert, "E-KEYS", "missing: bert.pooler.dense.weight")


def test_wrong_shapes_name_both(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.bias": torch.zeros(7)})
    refused(bert, "E-KEYS", "embed_norm.bias is [7] and must be [16]")


def test_a_weight_of_whole_numbers_is_refused(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.bias": torch.zeros(16, dtype=torch.int8)})
    refused(bert, "E-KEYS", "bert.embeddings.LayerNorm.bias is torch.int8")


def test_one_weight_under_two_names_is_refused(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.beta": torch.zeros(16)})
    refused(bert, "E-KEYS", "two names of one weight")


def test_a_shape_beyond_the_file_asks_for_no_memory(bert: Path) -> None:
    said(bert, hidden_size=1 << 40, intermediate_size=1 << 40)
    refused(bert, "E-CONFIG", "no model of this shape")
    said(bert, hidden_size=1 << 24, intermediate_size=1 << 24)
    refused(bert, "E-KEYS", "wrong shapes")
    said(bert, hidden_size=16, num_hidden_layers=10**9)
    refused(bert, "E-KEYS", "1,000,000,000 layers")


def test_vocabularies_must_agree(bert: Path) -> None:  # case 79
    said(bert, vocab_size=VOCAB + 1)
    refused(bert, "E-VOCAB-SIZE", f"{VOCAB + 1} ids", f"{VOCAB} rows")
    said(bert, vocab_size=VOCAB)
    for vocab, added, fits in (
        ({"a": VOCAB - 1}, [], True),
        ({"a": 0}, [{"id": VOCAB - 1, "content": "x"}], True),
        ([["a", 0.0]] * VOCAB, [], True),
        ({"a": VOCAB}, [], False),
        ({"a": 0}, [{"id": VOCAB, "content": "x"}], False),
        ([["a", 0.0]] * (VOCAB + 1), [], False),
    ):
        (bert / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": added}))
        if fits:
            load_model(bert)
        else:
            refused(bert, "E-VOCAB-SIZE", f"{VOCAB + 1} ids", f"{VOCAB} rows")
    (bert / "tokenizer.json").write_text("{}")
    refused(bert, "E-TOKENIZER")


# ---- files ---------------------------------------------------------------------------------------------------------


class Trap:
    """A pickle that would leave a trace if it were read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [False, True])
def test_no_pickle_is_read_under_any_name(bert: Path, name: str, zipped: bool) -> None:  # case 89
    (bert / "model.safetensors").unlink()
    data = pickle.dumps(Trap(bert / "sprung"))
    if zipped:
        with zipfile.ZipFile(bert / name, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    else:
        (bert / name).write_bytes(data)
    refused(bert, "E-UNSAFE-FORMAT", name, "pickle files can run code", "sandbox")
    if not name.endswith("tensors"):
        refused(bert / name, "E-UNSAFE-FORMAT", name)
    assert not (bert / "sprung").exists()


def test_folders_that_hold_no_model(bert: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "E-NO-FILE")
    refused(bert / "config.json", "E-NOT-A-FILE", "name the folder")
    (bert / "model.safetensors").unlink()
    refused(bert, "E-NO-FILE", "model.safetensors")


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(start: int, stop: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"\x01\x00", "2 bytes"),
        (packed({}, length=1 << 60), "announces a header of 1,152,921,504,606,846,976 bytes"),
        (packed(b"{" + b" " * (33 << 20) + b"}"), "are allowed"),
        (packed(b"{nonsense"), "not JSON"),
        (packed(b'{"a": 1, "a": 2}'), "twice"),
        (packed(b'{"\xff": 1}'), "not UTF-8"),
        (packed({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "overlap"),
        (packed({"a": entry(0, 8), "b": entry(12, 16)}, bytes(16)), "hole"),
        (packed({"a": entry(0, 8)}, bytes(4)), "8 bytes, the file has 4"),
        (packed({"a": entry(0, 8)}, bytes(12)), "8 bytes, the file has 12"),
        (packed({"a": entry(0, 8, [3])}, bytes(8)), "does not have the 8 bytes"),
        (packed({"a": entry(0, 8, dtype="F64")}, bytes(8)), "does not have the 8 bytes"),
        (packed({"a": entry(0, 8, dtype="F31")}, bytes(8)), "unknown dtype"),
        (packed({"a": entry(8, 0, [0])}, bytes(8)), "'a'"),
        (packed({"a": entry(-8, 0, [2])}, bytes(8)), "'a'"),
        (packed({"a": entry(0, 8, [True, 2])}, bytes(8)), "'a'"),
        (packed({"a": {"dtype": "F32"}}), "fields"),
        (packed({"__metadata__": {"a": 1}}), "__metadata__"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_safetensors_are_named(bert: Path, data: bytes, words: str) -> None:  # case 90
    (bert / "model.safetensors").write_bytes(data)
    refused(bert, "E-SAFETENSORS", words)


def test_entries_are_counted(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # case 90
    assert MAX_ENTRIES == 100_000
    monkeypatch.setattr("modeledge.families.weights.MAX_ENTRIES", 2)
    (bert / "model.safetensors").write_bytes(packed({f"t{i}": entry(0, 0) for i in range(3)}))
    refused(bert, "E-SAFETENSORS", "3 tensors; 2 are allowed")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.none() | st.floats(0, 1))
def test_no_altered_byte_gives_another_error(tmp_path: Path, place: float, value: int, cut: float | None) -> None:
    """Any one byte, any end: the file is read or refused by us, never by a traceback of a library."""
    data = bytearray(save({"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.bfloat16)}))
    data[int(place * (len(data) - 1))] = value
    path = tmp_path / "x.safetensors"
    path.write_bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        tensors, _ = read_weights(path)
        assert sum(t.numel() for t in tensors.values()) == 7
    except ModeledgeError as error:
        assert error.code in ("E-SAFETENSORS", "E-UNSAFE-FORMAT")  # noqa: PT017


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/x.safetensors",
        "a/../../x.safetensors",
        "C:\\x.safetensors",
        "..\\x.safetensors",
        "",
        "\\\\host\\x.safetensors",
    ],
)
def test_an_index_leads_nowhere_else(bert: Path, name: str) -> None:
    shutil.copy(bert / "model.safetensors", bert.parent / "model.safetensors")
    names = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    (bert / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, name)}))
    refused(bert, "E-UNSAFE-PATH", "leads out of the folder")


def test_an_index_must_say_what_the_shards_hold(bert: Path) -> None:
    names = list(load_file(bert / "model.safetensors"))
    (bert / "model.safetensors").rename(bert / "one.safetensors")
    index = bert / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "one.safetensors")}))
    load_model(bert)
    for placed, code, words in (
        (dict.fromkeys(names[1:], "one.safetensors"), "E-KEYS", f"{names[0]} (one.safetensors) is not listed"),
        (dict.fromkeys([*names, "new"], "one.safetensors"), "E-KEYS", "new (one.safetensors) is not where"),
        (dict.fromkeys(names, "two.safetensors"), "E-NO-FILE", "two.safetensors"),
        (dict.fromkeys(names, "pytorch_model.bin"), "E-UNSAFE-FORMAT", "pytorch_model.bin"),
        (dict.fromkeys(names, "one.h5"), "E-SAFETENSORS", "one.h5"),
        ([], "E-SAFETENSORS", "weight_map"),
        ({"a": 1}, "E-SAFETENSORS", "weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": placed}))
        refused(bert, code, words)


# ---- our own format ------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=4))
    model = Transformer(TransformerConfig(width=4, embed=Tokens(vocab=5), decoder=stack))
    model.add_heads({"lm": LMHead()}, Noise(0))
    save_model(model, tmp_path / "own")
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"schema": 2}, "E-CONFIG-VALUE", "schema 2"),
        ({"hidden_size": 2}, "E-CONFIG-KEY", "hidden_size"),
        ({"model": 3}, "E-CONFIG-VALUE", "model"),
        ({"auto_map": {}}, "E-CONFIG-UNSAFE", "auto_map"),
        ({"heads": []}, "E-CONFIG-VALUE", "heads"),
        ({"heads": {"lm": {"kind": "llm"}}}, "E-CONFIG-VALUE", "did you mean 'lm'?"),
        ({"heads": {"lm": {"kind": "lm", "tied": True}}}, "E-CONFIG-KEY", "did you mean 'tie'?"),
        ({"heads": {"lm": {"kind": "lm", "tie": 1}}}, "E-CONFIG-VALUE", "tie"),
        ({"heads": {"class": {"kind": "class"}}}, "E-CONFIG-VALUE", "outputs is missing"),
        ({"heads": {"class": {"kind": "class", "outputs": 2, "pool": "median"}}}, "E-CONFIG-VALUE", "median"),
        ({"heads": {"lm": {"kind": "lm", "tie": False}}}, "E-KEYS", "missing: heads.lm.weight"),
    ],
    ids=str,
)  # fmt: skip
def test_our_own_format_is_as_strict(own: Path, change: Any, code: str, words: str) -> None:
    load_model(own)
    said(own, **change)
    refused(own, code, words)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("decoder.feedforward.kind", "gelu_tan", "did you mean 'gelu_tanh'?"),
        ("decoder.norm.kind", "rmsnorm", "did you mean 'rms'?"),
        ("decoder.norm.eps", "1e-5", "eps is '1e-5'"),
        ("decoder.attention.heads", 2.0, "heads is 2.0"),
        ("decoder.attention.bias", 1, "bias is 1"),
        ("decoder.attention.windows", [], "windows is ()"),
        ("decoder.attention.windows", [4, "x"], "windows is (4, 'x')"),
        ("decoder.position", {"kind": "learned", "length": None}, "length is None"),
        ("decoder.position", 3, "position is 3"),
        ("decoder", 3, "decoder is 3"),
        ("width", True, "width is True"),
    ],
)
def test_a_value_of_our_own_format_is_what_its_field_declares(own: Path, path: str, value: Any, words: str) -> None:
    model = json.loads((own / "config.json").read_text())["model"]
    part = model
    *parents, last = path.split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    said(own, model=model)
    refused(own, "E-CONFIG-VALUE", f"model.{path}", words)


def test_a_folder_without_a_configuration_is_not_whole(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that dies between weights and configuration leaves no folder that looks whole."""
    model = load_model(own)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeledge.families.checkpoint.files.write_json", full)
    with pytest.raises(OSError, match="No space"):
        save_model(model, own)
    refused(own, "E-NO-FILE", "config.json")


def test_a_file_is_not_written_over_by_a_folder(own: Path) -> None:
    with pytest.raises(ModeledgeError) as caught:
        save_model(load_model(own), own / "config.json")
    assert caught.value.code == "E-OUTPUT"

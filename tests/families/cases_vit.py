"""ViT and DeiT: pictures of several sizes, one learned token or two, one set of scores or two."""

from __future__ import annotations

from typing import Any

from oracle import Architecture, Case


def architecture(config: str, leading: int, image: int = 8, patch: int = 4, channels: int = 3) -> Architecture:
    """A tiny model that reads pictures of this size."""
    shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 20, "image_size": image, "patch_size": patch, "num_channels": channels}
    return Architecture(config, shape, "image", image=image, patch=patch, channels=channels, leading=leading)


VIT, DEIT = architecture("ViTConfig", 1), architecture("DeiTConfig", 2)
GREY = architecture("ViTConfig", 1, image=8, patch=2, channels=1)
CROPPED = architecture("ViTConfig", 1, image=11, patch=3)  # the last two rows and columns are in no patch
NEAR = {"layer_norm_eps": 1e-3}

CASES = (
    Case(VIT, "ViTModel", None, NEAR, "eps"),
    Case(GREY, "ViTModel", None, {"hidden_act": "gelu_new"}, "grey"),
    Case(CROPPED, "ViTModel", None, {"hidden_act": "relu"}, "cropped"),
    Case(VIT, "ViTForImageClassification", "class", {"num_labels": 3, "qkv_bias": False}, "unbiased"),
    Case(VIT, "ViTForImageClassification", "class", {"num_labels": 3, "head_dim": 6}, "wide"),
    Case(VIT, "ViTForImageClassification", "value", {"num_labels": 1}, "value"),
    Case(DEIT, "DeiTModel", None, {**NEAR, "qkv_bias": False}, "unbiased"),
    Case(DEIT, "DeiTForImageClassification", "class", {"num_labels": 3}),
    Case(DEIT, "DeiTForImageClassificationWithTeacher", "class", {"num_labels": 3, **NEAR}),
)

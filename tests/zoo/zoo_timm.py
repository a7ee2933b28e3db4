"""Architectures of timm."""

from __future__ import annotations

from dataclasses import fields as fields_of
from math import log
from typing import Any

from harness import Architecture
from libraries import timm
from torch import nn

TITLE = "timm"
NOTE = """\
timm's own `trunc_normal_` gives about one value in 20 million at its bound, with bounds of 2 and a
standard deviation of 0.02 a hundred of these away (5 of 100 million draws; torch's function, none):
where a model here has one, the remark says so.
"""
SHALLOW = {"depth": 3}
SMALL = {"depths": (2, 2), "embed_dim": 48, "num_heads": (2, 4)}


def model(name: str, policy: str, /, **options: Any) -> Architecture:
    """A model of timm; options of `Architecture`, and arguments of `timm.create_model`."""
    fields = {field.name for field in fields_of(Architecture)}
    about = {key: options.pop(key) for key in list(options) if key in fields}

    def build() -> nn.Module:
        return timm().create_model(name, num_classes=100, **options)

    return Architecture(about.pop("name", name), build, policy, **about)


def mixer(name: str, block: str, **options: Any) -> Architecture:
    """A model of the Mixer's family with fewer blocks."""

    def build() -> nn.Module:
        module = timm().models.mlp_mixer
        layers = timm().layers
        known = {
            "MixerBlock": {},
            "ResBlock": {
                "block_layer": module.ResBlock,
                "mlp_ratio": 4,
                "norm_layer": module.Affine,
            },
            "SpatialGatingBlock": {
                "block_layer": module.SpatialGatingBlock,
                "mlp_layer": layers.GatedMlp,
                "mlp_ratio": 6,
            },
        }
        return module.MlpMixer(
            num_classes=100, img_size=64, patch_size=8, num_blocks=3, embed_dim=96, **known[block]
        )

    return Architecture(name, build, "mixer", **options)


JAX = {"weight_init": "jax", **SHALLOW}
NLHB = {"weight_init": "jax_nlhb", **SHALLOW}
MOCO = {"weight_init": "moco", **SHALLOW}

ARCHITECTURES = [
    model("resnet18", "resnet", vars={"branch_scale": 0}, quick=True),
    model("resnet26", "resnet", vars={"branch_scale": 0}),
    model("resnetv2_18", "resnetv2"),
    model("convnext_atto", "convnext"),
    model("convnextv2_atto", "convnext"),
    model("efficientnet_b0", "timm-efficientnet"),
    model("mobilenetv3_small_050", "timm-efficientnet", quick=True),
    model("regnety_002", "timm-regnet"),
    model("mobilevit_xxs", "timm-regnet"),
    model("vit_tiny_patch16_224", "vit", **SHALLOW),
    model("vit_tiny_patch16_224", "vit-jax", name="vit_tiny, weight_init jax", **JAX),
    model(
        "vit_tiny_patch16_224",
        "vit-jax",
        name="vit_tiny, weight_init jax_nlhb",
        vars={"head_bias": -log(100)},
        **NLHB,
    ),
    model("vit_tiny_patch16_224", "vit-moco", name="vit_tiny, weight_init moco", **MOCO),
    model("deit_tiny_patch16_224", "vit", **SHALLOW),
    model("deit_tiny_distilled_patch16_224", "deit-distilled", **SHALLOW),
    model("beit_base_patch16_224", "beit", embed_dim=96, num_heads=4, **SHALLOW),
    model("eva02_tiny_patch14_224", "beit", **SHALLOW),
    model("swin_tiny_patch4_window7_224", "timm", **SMALL),
    model("swinv2_tiny_window8_256", "timm", **SMALL),
    mixer("mlp_mixer, small", "MixerBlock"),
    mixer("gmlp, small", "SpatialGatingBlock"),
    mixer("resmlp, small", "ResBlock"),
    model("cait_xxs24_224", "timm", **SHALLOW),
    model("xcit_nano_12_p16_224", "timm", vars={"layer_scale": 1}, **SHALLOW),
    model("coat_lite_tiny", "timm"),
    model("pit_ti_224", "pit"),
    model("levit_128s", "levit"),
    model("maxvit_pico_rw_256", "timm-maxvit"),
    model("coatnet_nano_rw_224", "timm-maxvit"),
    model("vit_small_patch14_reg4_dinov2", "vit", **SHALLOW),
    model("crossvit_9_240", "timm"),
    model("convit_tiny", "convit", **SHALLOW),
    model(
        "hiera_tiny_224",
        "hiera",
        remark="`head_init_scale` does nothing: it scales a classifier of zeros",
    ),
    model("edgenext_xx_small", "edgenext"),
    model("poolformer_s12", "poolformer"),
    model("nf_regnet_b0", "nfnet"),
]

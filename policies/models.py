"""Small models for the lines `#:model` of the policies beside this file."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def configured(model: str, **config: Any) -> nn.Module:
    """A model of transformers, of a configuration with these arguments."""
    import transformers

    kind = getattr(transformers, model)
    return kind(kind.config_class(**config))


def small(model: str, **config: Any) -> nn.Module:
    """A small model of transformers; arguments of its configuration say what else it is."""
    return configured(model, **{**SMALL, **config})


def detector(model: str, place: str = "detection", **arguments: Any) -> nn.Module:
    """A detector of torchvision, or what segments, without downloading its backbone."""
    from torchvision import models

    function = getattr(getattr(models, place), model)
    return function(weights=None, weights_backbone=None, **arguments)


def vgg() -> nn.Module:
    """Layers as torchvision's VGG has them, and a smaller classifier."""
    from torchvision.models.vgg import make_layers

    features = make_layers([8, "M", 16, 16, "M"], batch_norm=True)
    classifier = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 10))
    return nn.ModuleDict({"features": features, "classifier": classifier})


def layers() -> nn.Module:
    """Layers of torch.nn of every kind that has parameters or buffers."""
    return nn.ModuleList(
        [
            nn.Conv2d(3, 4, 3),
            nn.ConvTranspose1d(4, 2, 3),
            nn.Linear(8, 4),
            nn.Linear(0, 4),
            nn.Bilinear(3, 4, 5),
            nn.BatchNorm2d(4),
            nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
            nn.LayerNorm(4),
            nn.GroupNorm(2, 4),
            nn.Embedding(6, 4, padding_idx=0),
            nn.LSTM(4, 4, num_layers=2),
            nn.GRUCell(4, 4),
            nn.MultiheadAttention(8, 2),
            nn.MultiheadAttention(8, 2, kdim=4, vdim=4, add_bias_kv=True),
            nn.PReLU(4),
            nn.CrossEntropyLoss(weight=torch.ones(4)),
            nn.BCEWithLogitsLoss(pos_weight=torch.ones(4)),
            nn.FractionalMaxPool2d(2, output_size=2, _random_samples=torch.ones(1, 1, 2)),
        ]
    )


def encoder() -> nn.Module:
    """A stage that is taken to be pretrained, with a head and a layer that makes codes of it."""
    head = nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 6, 3)))
    parts = {"stages": nn.Conv2d(3, 4, 3), "heads": nn.ModuleList([head]), "fc0": nn.Linear(6, 5)}
    return nn.ModuleDict(parts)


def mixer(block: str, **arguments: Any) -> nn.Module:
    """A small model of timm of the Mixer's family, of blocks of this name."""
    from timm.layers.mlp import GatedMlp
    from timm.models import mlp_mixer

    own = {
        "ResBlock": {"norm_layer": mlp_mixer.Affine},
        "SpatialGatingBlock": {"mlp_layer": GatedMlp},
    }
    size = {"img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 32, "num_classes": 10}
    kind = getattr(mlp_mixer, block)
    return mlp_mixer.MlpMixer(block_layer=kind, **own.get(block, {}), **size, **arguments)


def swin_v2(**arguments: Any) -> nn.Module:
    """A Swin Transformer of torchvision, of the second version."""
    from torchvision.models import swin_transformer as swin

    parts = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    return swin.SwinTransformer(**parts, **arguments)


def frozen_detector(model: str, **arguments: Any) -> nn.Module:
    """A detector of torchvision on a small backbone, of which the normalization is frozen."""
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import mobilenet_backbone

    backbone = mobilenet_backbone(backbone_name="mobilenet_v3_small", weights=None, fpn=True)
    return getattr(detection, model)(backbone, **arguments)

"""Architectures of torchvision."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Any

from harness import Architecture
from libraries import torchvision_models
from torch import nn

TITLE = "torchvision"


def classifier(name: str, policy: str, /, **options: Any) -> Architecture:
    """A model of `torchvision.models`; options of `Architecture`, and arguments of the model."""
    fields = {field.name for field in fields_of(Architecture)}
    about = {key: options.pop(key) for key in list(options) if key in fields}
    folder, _, function = name.rpartition(".")
    arguments = {"num_classes": 100, **options}

    def build() -> nn.Module:
        models = torchvision_models()
        module = getattr(models, folder) if folder else models
        return getattr(module, function)(weights=None, **arguments)

    return Architecture(about.pop("name", function), build, policy, **about)


def detector(name: str, policy: str, **options: Any) -> Architecture:
    return classifier(f"detection.{name}", policy, weights_backbone=None, num_classes=8, **options)


def segmenter(name: str, policy: str, **options: Any) -> Architecture:
    arguments = {"weights_backbone": None, "num_classes": 100, **options}
    return classifier(f"segmentation.{name}", policy, **arguments)


SMALL_SWIN = {"patch_size": [4, 4], "embed_dim": 48, "depths": [2, 2], "num_heads": [3, 6]}


def swin(name: str, version: str, **options: Any) -> Architecture:
    def build() -> nn.Module:
        models = torchvision_models()
        block, merging = (
            getattr(models.swin_transformer, kind + version)
            for kind in ("SwinTransformerBlock", "PatchMerging")
        )
        size = [8, 8] if version else [7, 7]
        return models.SwinTransformer(
            window_size=size, block=block, downsample_layer=merging, num_classes=100, **SMALL_SWIN
        )

    return Architecture(name, build, "swin", **options)


def vit(name: str, **arguments: Any) -> Architecture:
    def build() -> nn.Module:
        return torchvision_models().VisionTransformer(
            64, 8, 3, 4, 96, 192, num_classes=100, **arguments
        )

    return Architecture(name, build, "torchvision-vit")


def maxvit() -> Architecture:
    def build() -> nn.Module:
        return torchvision_models().MaxVit(
            (64, 64), 32, 4, [32, 64], [1, 1], 16, 0.0, num_classes=100
        )

    return Architecture("MaxVit, small", build, "maxvit")


OVERWRITTEN = "Xavier in perceptrons is overwritten: they have std 0.02, as all linear layers"

ARCHITECTURES = [
    classifier("alexnet", "torch"),
    classifier("densenet121", "torchvision-densenet"),
    classifier("resnet18", "resnet", quick=True),
    classifier("resnet50", "resnet"),
    classifier("resnext50_32x4d", "resnet"),
    classifier("wide_resnet50_2", "resnet"),
    classifier("vgg11", "vgg"),
    classifier("vgg13_bn", "vgg"),
    classifier("squeezenet1_1", "squeezenet", quick=True),
    classifier(
        "inception_v3",
        "inception",
        init_weights=True,
        remark="`AuxLogits.conv1` asks for std 0.01 where its loop does not look: it has 0.1",
    ),
    classifier("googlenet", "inception", init_weights=True),
    classifier("mobilenet_v2", "mobilenet"),
    classifier("mobilenet_v3_small", "mobilenet"),
    classifier("efficientnet_b0", "efficientnet"),
    classifier("efficientnet_v2_s", "efficientnet"),
    classifier("regnet_x_400mf", "regnet"),
    classifier("regnet_y_400mf", "regnet"),
    classifier("convnext_tiny", "convnext"),
    classifier("shufflenet_v2_x1_0", "torch"),
    classifier("mnasnet0_5", "mnasnet"),
    vit("VisionTransformer, small"),
    vit("VisionTransformer, small, with pre_logits", representation_size=64),
    swin("SwinTransformer, small", "", remark=OVERWRITTEN),
    swin("SwinTransformer v2, small", "V2", remark=OVERWRITTEN),
    maxvit(),
    detector("fasterrcnn_resnet50_fpn", "faster-rcnn"),
    detector("fasterrcnn_resnet50_fpn_v2", "faster-rcnn"),
    detector("fasterrcnn_mobilenet_v3_large_fpn", "faster-rcnn"),
    detector("maskrcnn_resnet50_fpn", "faster-rcnn"),
    detector("maskrcnn_resnet50_fpn_v2", "faster-rcnn"),
    detector("keypointrcnn_resnet50_fpn", "faster-rcnn"),
    detector("retinanet_resnet50_fpn", "retinanet"),
    detector("retinanet_resnet50_fpn_v2", "retinanet"),
    detector("fcos_resnet50_fpn", "retinanet"),
    detector("ssd300_vgg16", "ssd"),
    detector("ssdlite320_mobilenet_v3_large", "ssdlite"),
    segmenter("fcn_resnet50", "segmentation"),
    segmenter("deeplabv3_resnet50", "segmentation"),
    segmenter("deeplabv3_mobilenet_v3_large", "segmentation"),
    segmenter("lraspp_mobilenet_v3_large", "segmentation"),
]

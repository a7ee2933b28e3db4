"""VGG19 as an encoder: its features cut into stages, a head and a linear layer on each.

The features are those of Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale
Image Recognition, 2015, configuration E; they usually come from a checkpoint. The heads and the
layers fc0 to fc4 are new, and a policy that tells the three apart by name is what this is for.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

DEPTHS = (2, 2, 4, 4, 4)
WIDTHS = (1, 2, 4, 8, 8)  # in multiples of the first stage's


def stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """`depth` convolutions and a pooling: (N, in, H, W) to (N, out, H / 2, W / 2)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        layers[f"conv{number}"] = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
        in_channels = out_channels
    layers["pool"] = nn.MaxPool2d(kernel_size=2, stride=2)
    return nn.Sequential(layers)


def head(channels: int, width: int) -> nn.Sequential:
    """From a stage's features to `width` averages: (N, channels, H, W) to (N, width)."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, width, kernel_size=3, padding=1),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )


class VGG19Encoder(nn.Module):
    """Images (N, 3, H, W), H and W at least 32, to one code a stage: (N, 5, code_size)."""

    def __init__(self, width: int = 64, code_size: int = 128) -> None:
        super().__init__()
        channels = [3, *(width * multiple for multiple in WIDTHS)]
        self.stages = nn.ModuleList(map(stage, channels[:-1], channels[1:], DEPTHS))
        self.heads = nn.ModuleList(head(count, width) for count in channels[1:])
        self.fc0 = nn.Linear(width, code_size)
        self.fc1 = nn.Linear(width, code_size)
        self.fc2 = nn.Linear(width, code_size)
        self.fc3 = nn.Linear(width, code_size)
        self.fc4 = nn.Linear(width, code_size)

    def forward(self, images: Tensor) -> Tensor:
        layers = (self.fc0, self.fc1, self.fc2, self.fc3, self.fc4)
        codes: list[Tensor] = []
        features = images
        for stage, head, layer in zip(self.stages, self.heads, layers, strict=True):
            features = stage(features)
            codes.append(layer(head(features)))
        return torch.stack(codes, dim=1)


def vgg19_encoder(width: int = 64, code_size: int = 128) -> VGG19Encoder:
    """The encoder; 64 is the width of the published VGG19."""
    return VGG19Encoder(width, code_size)

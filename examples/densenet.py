"""DenseNet: every layer of a block sees the outputs of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017.
How its weights begin is not in here; that is for a policy to say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class DenseLayer(nn.Module):
    """A bottleneck, then `growth` new features: (N, C, H, W) to (N, growth, H, W)."""

    def __init__(self, channels: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        narrow = bottleneck * growth
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, narrow, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(narrow, growth, kernel_size=3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        narrow = self.conv1(self.relu1(self.norm1(features)))
        return self.conv2(self.relu2(self.norm2(narrow)))


class DenseBlock(nn.Module):
    """Dense layers, each appending to its input: (N, C, H, W) to (N, C + depth * growth, H, W)."""

    def __init__(self, channels: int, depth: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        for index in range(depth):
            layer = DenseLayer(channels + index * growth, growth, bottleneck)
            self.add_module(f"denselayer{index + 1}", layer)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.children():
            features = torch.cat([features, layer(features)], dim=1)
        return features


def transition(channels: int) -> nn.Sequential:
    """Halve the channels and the resolution between two blocks."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            conv=nn.Conv2d(channels, channels // 2, kernel_size=1, bias=False),
            pool=nn.AvgPool2d(kernel_size=2, stride=2),
        )
    )


class DenseNet(nn.Module):
    """Images (N, 3, H, W), H and W at least 32, to logits (N, num_classes)."""

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int = 1000,
        *,
        growth: int = 32,
        bottleneck: int = 4,
        stem_channels: int = 64,
    ) -> None:
        super().__init__()
        channels = stem_channels
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        for number, depth in enumerate(depths, start=1):
            features[f"denseblock{number}"] = DenseBlock(channels, depth, growth, bottleneck)
            channels += depth * growth
            if number < len(depths):
                features[f"transition{number}"] = transition(channels)
                channels //= 2
        features[f"norm{len(depths) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.features(images))
        return self.classifier(features.mean(dim=(2, 3)))


def densenet121(
    num_classes: int = 1000, *, growth: int = 32, bottleneck: int = 4, stem_channels: int = 64
) -> DenseNet:
    """The network of 121 layers: four blocks of 6, 12, 24 and 16 dense layers."""
    return DenseNet(
        (6, 12, 24, 16),
        num_classes,
        growth=growth,
        bottleneck=bottleneck,
        stem_channels=stem_channels,
    )

"""The perceptron with one hidden layer: 784 inputs, 256 hidden units, 10 classes."""

from torch import nn


def mlp() -> nn.Sequential:
    """From images of 28 x 28 pixels, or anything of 784 numbers, to 10 logits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))

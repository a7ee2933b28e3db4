"""Greedy layer-wise pretraining: each layer learns to reconstruct what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from initpolicy import field
from initpolicy.calibration.activations import Activation, activations_of
from initpolicy.calibration.channels import convolved
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.finite import require_finite_inputs
from initpolicy.calibration.step import COUNT, POSITIVE, SHARE, Done, Layer, step
from initpolicy.calibration.weight_norm import weight_and_bias_of
from initpolicy.calibration.weights import wide

Loss = Literal["mse", "bernoulli"]

_CONVOLUTIONS: Any = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def encoder_of(module: nn.Module) -> tuple[str, ...]:
    """The weight and the bias of a linear layer, or of a convolution with padding of zeros.

    >>> encoder_of(nn.Linear(3, 2)), encoder_of(nn.Conv1d(3, 2, 1, padding_mode="reflect"))
    (('weight', 'bias'), ())
    """
    spatial = convolved(module)
    if spatial and _padding(module) is None:
        return ()
    kinds: tuple[Any, ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    own: Any = type(module)  # one that computes something else has a `forward` of its own
    if own.forward is not kinds[spatial].forward:
        return ()
    return weight_and_bias_of(module)


def _prepare(
    model: nn.Module, layers: Mapping[str, nn.Module], arguments: Mapping[str, object]
) -> dict[str, Activation]:
    return activations_of(model, layers)


@step(encoder_of, _prepare, epochs=COUNT, batch_size=COUNT, rate=POSITIVE, corruption=SHARE)
def autoencoder(
    layer: Layer,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    rate: float = 0.01,
    corruption: float = 0.0,
    loss: Loss = "mse",
) -> Done:
    """Train the layer to reconstruct its inputs. Bengio et al. 2007; corrupted: Vincent 2008.

    What the layer and its activation make of the inputs is decoded with the transposed weight and
    a bias of its own, which begins at 0 and is left behind. Plain gradient descent on the squared
    error, or on the cross-entropy of inputs from 0 to 1; a share of each example's inputs is set
    to 0.
    """
    inputs = _inputs(layer, loss)
    coder = _Coder.of(layer, inputs, loss)
    stream = layer.stream
    measured = inputs
    if corruption:
        measured = _corrupt(inputs, corruption, stream.part("corrupt"))
    before = coder.error(measured, inputs, batch_size)
    for epoch in range(epochs):
        order = _order(stream.part(f"order {epoch}"), inputs.shape[:1]).to(inputs.device)
        for number, chosen in enumerate(_split(order, batch_size)):
            examples = given = inputs[chosen]
            if corruption:
                given = _corrupt(given, corruption, stream.part(f"corrupt {epoch} {number}"))
            coder.learn(given, examples, rate)
    after, constant = coder.error(measured, inputs, batch_size), coder.error_of_constant(inputs)
    if not after < before:
        raise CalibrationError(
            f"{layer.name}: the error of reconstruction does not fall but goes from {before:.4g} "
            f"to {after:.4g}",
            hint=f"give a lower `rate` than {rate:g}, or more `epochs`",
            code="IP777",
        )
    for name, values in (("weight", coder.weight), ("bias", coder.bias)):
        own = layer.tensor(name)
        if own is not None and values is not None:
            own.write(values.detach().to(own.outline.dtype), layer.seed)
    layer.run()
    return Done(
        f"error of reconstruction {before:.4g} -> {after:.4g} in {epochs} "
        f"epoch{'s' if epochs > 1 else ''}, where a constant has {constant:.4g}",
        {"error_before": before, "error": after, "error_of_constant": constant},
    )


@dataclass(eq=False)
class _Coder:
    """A layer with its activation, and the decoder that shares its weight."""

    encode: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    decode: Callable[[Tensor, Tensor, Tensor], Tensor]
    activation: Activation
    channel: int
    """The dimension of the inputs that counts channels."""
    loss: Loss
    weight: Tensor
    bias: Tensor | None
    decoder_bias: Tensor

    @classmethod
    def of(cls, layer: Layer, inputs: Tensor, loss: Loss) -> _Coder:
        """Begin with the layer's own values."""
        module: Any = layer.module
        weight, bias = layer.tensor("weight"), layer.tensor("bias")
        assert weight is not None
        spatial = convolved(module)
        encode, decode = _linear if spatial == 0 else _convolution(module, spatial, inputs)
        channel = inputs.ndim - 1 - spatial
        return cls(
            encode,
            decode,
            layer.prepared,
            channel,
            loss,
            weight.values().to(inputs.dtype).clone().requires_grad_(),
            None if bias is None else bias.values().to(inputs.dtype).clone().requires_grad_(),
            torch.zeros(inputs.shape[channel], dtype=inputs.dtype, device=inputs.device)
            .requires_grad_(),
        )  # fmt: skip

    def learn(self, given: Tensor, examples: Tensor, rate: float) -> None:
        """Go one step down the gradient."""
        tuned = [one for one in (self.weight, self.bias, self.decoder_bias) if one is not None]
        with torch.enable_grad():
            error = self._error(given, examples).mean()
            slopes = torch.autograd.grad(error, tuned)
        for one, slope in zip(tuned, slopes, strict=True):
            one.sub_(slope, alpha=rate)

    def error(self, given: Tensor, examples: Tensor, batch_size: int) -> float:
        """The mean over examples and places of the error in all channels."""
        pairs = zip(_split(given, batch_size), _split(examples, batch_size), strict=True)
        total = sum(float(self._error(*pair).sum()) for pair in pairs)
        return total / (examples.numel() / examples.shape[self.channel])

    def error_of_constant(self, inputs: Tensor) -> float:
        """The error of the best guess that does not look at the inputs."""
        across = [dim for dim in range(inputs.ndim) if dim != self.channel]
        if self.loss == "mse":
            return float(inputs.var(across, correction=0).sum())
        mean = inputs.mean(across)
        return float(F.binary_cross_entropy(mean, mean, reduction="sum"))

    def _error(self, given: Tensor, examples: Tensor) -> Tensor:
        hidden = self.activation(self.encode(given, self.weight, self.bias))
        guess = self.decode(hidden, self.weight, self.decoder_bias)
        if self.loss == "mse":
            return F.mse_loss(guess, examples, reduction="none").sum(self.channel)
        each = F.binary_cross_entropy_with_logits(guess, examples, reduction="none")
        return each.sum(self.channel)


def _decoded(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(hidden, weight.t(), bias)


_linear = F.linear, _decoded


def _convolution(module: Any, spatial: int, inputs: Tensor) -> tuple[Any, Any]:
    """A convolution, and the transposed one that gives inputs of the same size."""
    padding = cast("list[int]", _padding(module))
    stride, dilation, groups = module.stride, module.dilation, module.groups

    def encode(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _CONVOLUTIONS[spatial - 1](given, weight, bias, stride, padding, dilation, groups)

    def decode(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        reached = [
            (size - 1) * stride[k] - 2 * padding[k] + dilation[k] * (weight.shape[2 + k] - 1) + 1
            for k, size in enumerate(hidden.shape[2:])
        ]
        lacking = [size - own for size, own in zip(inputs.shape[2:], reached, strict=True)]
        return _TRANSPOSED[spatial - 1](
            hidden, weight, bias, stride, padding, lacking, groups, dilation
        )

    return encode, decode


def _padding(module: Any) -> list[int] | None:
    """The zeros on each side; None for other padding, or where the sides differ."""
    if module.padding_mode != "zeros":
        return None
    if not isinstance(module.padding, str):
        return list(module.padding)
    if module.padding == "valid":
        return [0] * len(module.kernel_size)
    both = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    return None if any(one % 2 for one in both) else [one // 2 for one in both]


def _inputs(layer: Layer, loss: Loss) -> Tensor:
    """What the layer is given, in a type to calculate in."""
    given: Any = layer.args[0] if layer.args else next(iter(layer.kwargs.values()))
    spatial = convolved(layer.module)
    if given.ndim < 2 or (spatial and given.ndim != spatial + 2):
        raise CalibrationError(
            f"{layer.name}: its inputs of shape {tuple(given.shape)} have no dimension that counts "
            "examples",
            hint="give a batch whose dimension 0 is the example",
            code="IP776",
        )
    inputs = cast("Tensor", given).detach().to(wide(given.dtype))
    require_finite_inputs(inputs, layer)
    low, high = float(inputs.min()), float(inputs.max())
    if loss == "bernoulli" and not 0 <= low <= high <= 1:
        raise CalibrationError(
            f'{layer.name}: its inputs lie between {low:.4g} and {high:.4g}, and loss "bernoulli" '
            "is for those from 0 to 1",
            hint='scale the data, or write loss = "mse"',
            code="IP776",
        )
    return inputs


def _split(values: Tensor, size: int) -> Iterator[Tensor]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _order(stream: field.Stream, shape: Sequence[int]) -> Tensor:
    """A random permutation for each row: the order of the field's words."""
    words = field.words(stream, 0, math.prod(shape)).astype(np.int64)
    return torch.argsort(torch.as_tensor(words).view(*shape), dim=-1, stable=True)


def _corrupt(given: Tensor, share: float, stream: field.Stream) -> Tensor:
    """Set a share of each example's inputs to 0: the same number of each, chosen at random."""
    rows = given.flatten(1)
    chosen = _order(stream, rows.shape)[:, : math.floor(share * rows.shape[1] + 0.5)]
    return rows.scatter(1, chosen.to(given.device), 0).view_as(given)

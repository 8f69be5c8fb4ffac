r"""Encoders and decoders: tensors in, parameter tensors out.

Nothing here knows a probability. An encoder maps rows :math:`x` to the two parameter tensors of a
diagonal normal, a decoder maps codes :math:`z` to one number per feature; what these numbers mean
is said by the models and by `infimix.distributions`. All networks are rectified, take any leading
axes, and draw their start from torch's current random state (the caller forks it): He et al. (2015)
before a rectifier, the same without the factor two where the output is read as it is.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar, final

from torch import Tensor, nn

KERNEL, STRIDE, PADDING = 4, 2, 1  # n pixels -> n // 2, and every pixel is seen equally often

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class EncoderOutput(NamedTuple):
    """Parameters of one diagonal normal per row, each of shape (..., L)."""

    mean: Tensor
    log_var: Tensor


@final
class MLPEncoder(nn.Module):
    """Fully connected encoder.

    Parameters
    ----------
    n_features : int
        D, length of a row.
    hidden : sequence of int
        Width of each hidden layer, from the rows towards the code; may be empty.
    n_latent : int
        L, length of a code.
    """

    def __init__(self, n_features: int, hidden: Sequence[int], n_latent: int) -> None:
        super().__init__()
        self.body = _mlp([n_features, *hidden])
        self.heads = _Heads(hidden[-1] if hidden else n_features, n_latent)

    def forward(self, x: Tensor) -> EncoderOutput:
        """Map rows (..., D) to the mean and the log-variance of their codes, each (..., L)."""
        heads: EncoderOutput = self.heads(self.body(x))
        return heads


@final
class MLPDecoder(nn.Module):
    """Fully connected decoder.

    Parameters
    ----------
    n_latent : int
        L, length of a code.
    hidden : sequence of int
        Width of each hidden layer, from the code towards the rows; may be empty.
    n_features : int
        D, length of a row.
    """

    def __init__(self, n_latent: int, hidden: Sequence[int], n_features: int) -> None:
        super().__init__()
        self.body = _mlp([n_latent, *hidden])
        self.output = _start(nn.Linear(hidden[-1] if hidden else n_latent, n_features), gain=1.0)

    def forward(self, z: Tensor) -> Tensor:
        """Map codes (..., L) to one unbounded number per feature, (..., D)."""
        output: Tensor = self.output(self.body(z))
        return output


@final
class ConvEncoder(nn.Module):
    """Convolutional encoder: every layer halves the image.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
        Shape of the image that a row is, flattened in NumPy's order (channels last). A side must
        have at least 2 ** len(hidden) pixels.
    hidden : sequence of int
        Channels of each layer, from the image towards the code.
    n_latent : int
        L, length of a code.

    Raises
    ------
    ValueError
        If the image is too small for that many layers.
    """

    def __init__(self, image_shape: Sequence[int], hidden: Sequence[int], n_latent: int) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        height, width = _sides(self.image_shape, len(hidden))[-1]
        channels = [self.image_shape[-1], *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(channels):
            conv = nn.Conv2d(n_in, n_out, KERNEL, STRIDE, PADDING)
            layers += [_start(conv, gain=2.0), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = _Heads(channels[-1] * height * width, n_latent)

    def forward(self, x: Tensor) -> EncoderOutput:
        """Map rows (..., H * W * C) to the mean and the log-variance of their codes, (..., L)."""
        image = x.reshape(x.shape[:-1].numel(), *self.image_shape)  # (N, H, W, C)
        feature = self.body(image.movedim(-1, 1)).flatten(1)  # (N, C' * H' * W')
        heads: EncoderOutput = self.heads(feature.reshape(*x.shape[:-1], feature.shape[1]))
        return heads


@final
class ConvDecoder(nn.Module):
    """Convolutional decoder, the mirror of `ConvEncoder`: every layer doubles the image.

    Parameters
    ----------
    n_latent : int
        L, length of a code.
    hidden : sequence of int
        Channels at the input of each layer, from the code towards the image.
    image_shape : (H, W) or (H, W, C)
        Shape of the image that a row is, flattened in NumPy's order (channels last). A side must
        have at least 2 ** len(hidden) pixels.

    Raises
    ------
    ValueError
        If the image is too small for that many layers.
    """

    def __init__(self, n_latent: int, hidden: Sequence[int], image_shape: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        sides = _sides(self.image_shape, len(hidden))[::-1]
        channels = [*hidden, self.image_shape[-1]]
        self.seed_shape = (channels[0], *sides[0])
        # The rectifier belongs to the seed image only if a layer follows it.
        self.seed = _start(nn.Linear(n_latent, math.prod(self.seed_shape)), 2.0 if hidden else 1.0)
        layers: list[nn.Module] = []
        for i in range(len(hidden)):
            odd = (sides[i + 1][0] % 2, sides[i + 1][1] % 2)  # the pixel that halving has dropped
            conv = nn.ConvTranspose2d(
                channels[i], channels[i + 1], KERNEL, STRIDE, PADDING, output_padding=odd
            )
            layers += [nn.ReLU(), _start(conv, gain=1.0 if i == len(hidden) - 1 else 2.0)]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map codes (..., L) to one unbounded number per pixel and channel, (..., H * W * C)."""
        seed = self.seed(z.reshape(z.shape[:-1].numel(), z.shape[-1]))
        image: Tensor = self.body(seed.unflatten(-1, self.seed_shape))  # (N, C, H, W)
        return image.movedim(1, -1).reshape(*z.shape[:-1], math.prod(self.image_shape))


@final
class _Heads(nn.Module):
    """Two linear heads (..., n_in) -> mean, log-variance (..., L); at the start almost no noise."""

    LOG_VAR_START = -6.0  # standard deviation 0.05, the same for all x

    def __init__(self, n_in: int, n_latent: int) -> None:
        super().__init__()
        self.mean = _start(nn.Linear(n_in, n_latent), gain=1.0)
        self.log_var = nn.Linear(n_in, n_latent)
        nn.init.zeros_(self.log_var.weight)
        nn.init.constant_(self.log_var.bias, self.LOG_VAR_START)

    def forward(self, feature: Tensor) -> EncoderOutput:
        return EncoderOutput(mean=self.mean(feature), log_var=self.log_var(feature))


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    """Chain rectified linear layers between these widths."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [_start(nn.Linear(n_in, n_out), gain=2.0), nn.ReLU()]
    return nn.Sequential(*layers)


def _start(layer: Layer, gain: float) -> Layer:
    """Draw weights with variance gain / (inputs of one output), zero biases."""
    if isinstance(layer, nn.ConvTranspose2d):
        n_inputs = layer.in_channels * (KERNEL // STRIDE) ** 2
    else:
        n_inputs = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=math.sqrt(gain / n_inputs))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _with_channels(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (H, W, C), C = 1 where the shape has two numbers."""
    height, width, n_channels = (*image_shape, 1)[:3]
    return height, width, n_channels


def _sides(image_shape: tuple[int, int, int], n_layers: int) -> list[tuple[int, int]]:
    """Height and width before each halving and after the last, n_layers + 1 pairs."""
    height, width, _ = image_shape
    if min(height, width) < 2**n_layers:
        raise ValueError(
            f"Images must have at least {2**n_layers} pixels a side for {n_layers} convolutions. "
            f"Got {height} x {width}; use fewer convolutions or network='mlp'."
        )
    return [(height // 2**i, width // 2**i) for i in range(n_layers + 1)]

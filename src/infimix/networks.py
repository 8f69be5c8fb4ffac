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
from typing import Any, NamedTuple, TypeVar, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import convert_conv2d_weight_memory_format as with_format

KERNEL, STRIDE, PADDING = 4, 2, 1  # n pixels -> n // 2, and every pixel is seen equally often

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class EncoderOutput(NamedTuple):
    """Parameters of diagonal normals, each of shape (..., L)."""

    mean: Tensor
    log_var: Tensor


@final
class MLPBody(nn.Module):
    """Fully connected layers, each rectified.

    Parameters
    ----------
    n_features : int
        D, length of a row.
    hidden : sequence of int
        Width of each layer, from the rows on; may be empty.
    """

    def __init__(self, n_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.n_outputs = hidden[-1] if hidden else n_features
        self.layers = _mlp([n_features, *hidden])

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., D) to features (..., n_outputs)."""
        feature: Tensor = self.layers(x)
        return feature


@final
class ConvBody(nn.Module):
    """Convolutions, each rectified, every one of which halves the image.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
        Shape of the image that a row is, flattened in NumPy's order (channels last). A side must
        have at least 2 ** len(hidden) pixels.
    hidden : sequence of int
        Channels of each layer, from the image on.

    Raises
    ------
    ValueError
        If the image is too small for that many layers.
    """

    def __init__(self, image_shape: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        height, width = _sides(self.image_shape, len(hidden))[-1]
        channels = [self.image_shape[-1], *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(channels):
            conv = nn.Conv2d(n_in, n_out, KERNEL, STRIDE, PADDING)
            layers += [_start(conv, gain=2.0), nn.ReLU()]
        self.layers = with_format(nn.Sequential(*layers), torch.channels_last)
        self.n_outputs = channels[-1] * height * width

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., H * W * C) to features (..., n_outputs)."""
        image = x.reshape(x.shape[:-1].numel(), *self.image_shape)  # (N, H, W, C)
        feature: Tensor = self.layers(image.movedim(-1, 1)).flatten(1)  # (N, C' * H' * W')
        return feature.reshape(*x.shape[:-1], self.n_outputs)


Body = MLPBody | ConvBody


@final
class Encoder(nn.Module):
    """Two linear heads on a body: one diagonal normal a row.

    Parameters
    ----------
    body : MLPBody or ConvBody
    n_latent : int
        L, length of a code.
    log_var : float, default=-6.0
        Log-variances at the start, the same for all rows: almost no noise.
    """

    def __init__(self, body: Body, n_latent: int, log_var: float = -6.0) -> None:
        super().__init__()
        self.body = body
        self.mean = _start(nn.Linear(body.n_outputs, n_latent), gain=1.0)
        self.log_var = _constant(nn.Linear(body.n_outputs, n_latent), log_var)

    def forward(self, x: Tensor) -> EncoderOutput:
        """Map rows (..., D) to the mean and the log-variance of their codes, each (..., L)."""
        feature = self.body(x)
        return EncoderOutput(mean=self.mean(feature), log_var=self.log_var(feature))


@final
class MixtureEncoder(nn.Module):
    """Linear heads on a body: a mixture of diagonal normals a row, all alike at the start in width.

    Parameters
    ----------
    body : MLPBody or ConvBody
    n_components : int
        K.
    n_latent : int
        L, length of a code.
    sticks : Tensor of shape (K - 1, 2)
        Output for the sticks at the start, the same for all rows; empty where none are read.
    """

    def __init__(self, body: Body, n_components: int, n_latent: int, sticks: Tensor) -> None:
        super().__init__()
        self.body, self.shape = body, (n_components, n_latent)
        self.mean = _start(nn.Linear(body.n_outputs, n_components * n_latent), gain=1.0)
        self.log_var = _constant(nn.Linear(body.n_outputs, n_components * n_latent), 0.0)
        self.sticks = None
        if sticks.numel() > 0:
            self.sticks = _constant(nn.Linear(body.n_outputs, sticks.numel()), sticks.flatten())

    def forward(self, x: Tensor) -> tuple[EncoderOutput, Tensor]:
        """Map rows (..., D) to all normals (..., K, L) and sticks (..., K - 1, 2)."""
        feature = self.body(x)
        return self.normals(feature), self.sticks_of(feature)

    def normals(self, feature: Tensor) -> EncoderOutput:
        """Means and log-variances (..., K, L) of features of the body (..., n_outputs)."""
        shape = (*feature.shape[:-1], *self.shape)
        return EncoderOutput(
            self.mean(feature).reshape(shape), self.log_var(feature).reshape(shape)
        )

    def sticks_of(self, feature: Tensor) -> Tensor:
        """Sticks (..., K - 1, 2) of features of the body (..., n_outputs)."""
        sticks = feature[..., :0] if self.sticks is None else self.sticks(feature)
        return sticks.reshape(*feature.shape[:-1], self.shape[0] - 1, 2)

    def normals_of(self, feature: Tensor, component: Tensor) -> EncoderOutput:
        """Mean and log-variance (..., M, L) of some components (..., M) alone.

        Rows are gathered by component, padded to the largest group: the other heads cost nothing.
        """
        K, L = self.shape
        c = component.flatten()  # (R,)
        nth = nn.functional.one_hot(c, K).cumsum(0)
        place = nth.gather(1, c[:, None]).squeeze(1) - 1
        rows = feature[..., None, :].expand(*component.shape, -1).flatten(0, -2)
        padded = feature.new_zeros(K, int(nth[-1].max()), feature.shape[-1])
        groups = padded.index_put((c, place), rows)  # (K, C, n_outputs), C rows in the largest

        def read(head: nn.Linear) -> Tensor:
            weight, bias = head.weight.reshape(K, L, -1), head.bias.reshape(K, 1, L)
            output: Tensor = _GroupedLinear.apply(groups, weight)  # type: ignore[no-untyped-call]
            return (output + bias)[c, place].reshape(*component.shape, L)

        return EncoderOutput(mean=read(self.mean), log_var=read(self.log_var))


class _GroupedLinear(torch.autograd.Function):
    """Rows (K, C, H) by weights (K, L, H); the gradient of `torch.bmm` would be copied."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return rows @ weight.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        return grad @ weight, grad.mT @ rows


@final
class StickEncoder(nn.Module):
    """One linear head on a body: two unbounded numbers for each of T - 1 sticks.

    Parameters
    ----------
    body : MLPBody or ConvBody
    sticks : Tensor of shape (T - 1, 2)
        Output at the start, the same for all rows.
    """

    def __init__(self, body: Body, sticks: Tensor) -> None:
        super().__init__()
        self.body, self.n_sticks = body, len(sticks)
        self.sticks = _constant(nn.Linear(body.n_outputs, sticks.numel()), sticks.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., D) to (..., T - 1, 2)."""
        sticks: Tensor = self.sticks(self.body(x))
        return sticks.reshape(*x.shape[:-1], self.n_sticks, 2)


@final
class LabelEncoder(nn.Module):
    """One linear head on a body: a logit for each of K labels.

    Parameters
    ----------
    body : MLPBody or ConvBody
    n_labels : int
        K.
    """

    def __init__(self, body: Body, n_labels: int) -> None:
        super().__init__()
        self.body = body
        self.logits = _start(nn.Linear(body.n_outputs, n_labels), gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., D) to (..., K)."""
        logits: Tensor = self.logits(self.body(x))
        return logits


@final
class LabelledEncoder(nn.Module):
    """Rows and labels to one diagonal normal each.

    A label enters the first fully connected layer, as an offset, so that what the row brings there
    is computed once for all labels.

    Parameters
    ----------
    body : MLPBody or ConvBody
        Precedes that layer.
    hidden : sequence of int
        Widths of the layers from there on; may be empty.
    n_labels : int
        K.
    n_latent : int
        L, length of a code.
    """

    def __init__(self, body: Body, hidden: Sequence[int], n_labels: int, n_latent: int) -> None:
        super().__init__()
        self.shape = (n_labels, n_latent)
        self.body = body
        widths = [*hidden] or [body.n_outputs]
        self.first = _start(nn.Linear(body.n_outputs, widths[0]), gain=2.0)
        self.label = _start(nn.Linear(n_labels, widths[0], bias=False), gain=2.0)
        self.rest = _mlp(widths)
        self.mean = _start(nn.Linear(widths[-1], n_latent), gain=1.0)
        self.log_var = _constant(nn.Linear(widths[-1], n_latent), 0.0)

    def trunk(self, x: Tensor) -> Tensor:
        """What rows (..., D) bring to the layer that labels enter, (..., H)."""
        trunk: Tensor = self.first(self.body(x))
        return trunk

    def forward(self, trunk: Tensor, label: Tensor) -> EncoderOutput:
        """Map trunks (..., H) and labels on the simplex (..., K) to normals, each (..., L)."""
        return self._heads(trunk + self.label(label))

    def of_all(self, trunk: Tensor) -> EncoderOutput:
        """Normals of every label for trunks (..., H), each (..., K, L)."""
        return self._heads(trunk.unsqueeze(-2) + self.label.weight.mT)

    def _heads(self, first: Tensor) -> EncoderOutput:
        feature = self.rest(first.relu())
        return EncoderOutput(mean=self.mean(feature), log_var=self.log_var(feature))


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
class ConvDecoder(nn.Module):
    """Convolutional decoder, the mirror of `ConvBody`: every layer doubles the image.

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
        self.body = with_format(nn.Sequential(*layers), torch.channels_last)

    def forward(self, z: Tensor) -> Tensor:
        """Map codes (..., L) to one unbounded number per pixel and channel, (..., H * W * C)."""
        seed = self.seed(z.reshape(z.shape[:-1].numel(), z.shape[-1]))
        image: Tensor = self.body(seed.unflatten(-1, self.seed_shape))  # (N, C, H, W)
        return image.movedim(1, -1).reshape(*z.shape[:-1], math.prod(self.image_shape))


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    """Chain rectified linear layers between these widths."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [_start(nn.Linear(n_in, n_out), gain=2.0), nn.ReLU()]
    return nn.Sequential(*layers)


def _constant(layer: nn.Linear, output: float | Tensor) -> nn.Linear:
    """Weights 0 and biases `output`, one number or one for each: the same for all rows."""
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(output))
    return layer


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

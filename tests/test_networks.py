"""Networks: shapes, order of pixels against NumPy, and the state they start in."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.networks import (
    ConvBody,
    ConvDecoder,
    Encoder,
    LabelEncoder,
    LabelledEncoder,
    MixtureEncoder,
    MLPBody,
    MLPDecoder,
    StickEncoder,
)

CHANNELS = (4, 6, 8)
IMAGE_SHAPES = [(8, 8), (28, 28), (9, 14), (31, 17, 2), (32, 32, 3), (64, 64, 3)]


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


PAIRS = {
    "mlp": lambda: nn.ModuleList([Encoder(MLPBody(64, (16, 12)), 3), MLPDecoder(3, (12, 16), 64)]),
    "linear": lambda: nn.ModuleList([Encoder(MLPBody(64, ()), 3), MLPDecoder(3, (), 64)]),
    "conv": lambda: nn.ModuleList(
        [Encoder(ConvBody((8, 8), CHANNELS), 3), ConvDecoder(3, CHANNELS[::-1], (8, 8))]
    ),
    "conv_without_layers": lambda: nn.ModuleList(
        [Encoder(ConvBody((8, 8), ()), 3), ConvDecoder(3, (), (8, 8))]
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> nn.Module:
    return seeded(PAIRS[request.param])


@pytest.mark.parametrize("leading", [(5,), (1,), (), (2, 5), (2, 1, 4), (0,)])
def test_leading_axes_are_rows(pair: nn.Module, leading: tuple[int, ...]) -> None:
    encoder, decoder = pair
    x = draw(*leading, 64)
    q = encoder(x)
    assert q.mean.shape == q.log_var.shape == (*leading, 3)
    assert decoder(q.mean).shape == x.shape
    rows = x.reshape(-1, 64) if x.numel() else x
    one_by_one = [decoder(encoder(row).mean) for row in rows]
    if one_by_one:
        expected = torch.stack(one_by_one).reshape(x.shape)
        torch.testing.assert_close(decoder(q.mean), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
def test_images_of_any_size_come_back(image_shape: tuple[int, ...]) -> None:
    n_features = int(np.prod(image_shape))
    encoder = seeded(lambda: Encoder(ConvBody(image_shape, CHANNELS), 3))
    decoder = seeded(lambda: ConvDecoder(3, CHANNELS[::-1], image_shape))
    x = draw(2, n_features)
    assert decoder(encoder(x).mean).shape == x.shape


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
def test_every_pixel_reaches_the_code_and_is_reached_by_it(image_shape: tuple[int, ...]) -> None:
    n_features = int(np.prod(image_shape))
    encoder = seeded(lambda: Encoder(ConvBody(image_shape, CHANNELS), 3))
    decoder = seeded(lambda: ConvDecoder(3, CHANNELS[::-1], image_shape))
    x = draw(8, n_features).requires_grad_()
    (used,) = torch.autograd.grad(encoder(x).mean.square().sum(), x)
    assert (used.abs().sum(0) > 0).all()
    assert (decoder(draw(8, 3)).std(0) > 0).all()


def test_a_convolution_sees_the_image_as_numpy_does() -> None:
    height, width, n_channels = 9, 12, 3
    encoder = seeded(lambda: Encoder(ConvBody((height, width, n_channels), (5,)), 2))
    conv = encoder.body.layers[0]
    image = draw(height, width, n_channels).numpy()
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    weight = conv.weight.detach().numpy()  # (out, in, 4, 4)
    feature = np.zeros((5, height // 2, width // 2), dtype=np.float32)
    for i in range(height // 2):
        for j in range(width // 2):
            window = padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4]  # (4, 4, in)
            feature[:, i, j] = np.einsum("hwc,ochw->o", window, weight)
    rectified = torch.from_numpy(np.maximum(feature, 0).ravel())
    expected = encoder.mean(rectified)
    mean = encoder(torch.from_numpy(image.ravel())).mean
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


def test_a_decoder_writes_the_image_as_numpy_reads_it() -> None:
    height, width, n_channels = 8, 12, 3
    decoder = seeded(lambda: ConvDecoder(1, (1,), (height, width, n_channels)))
    deconv = decoder.body[-1]
    with torch.no_grad():
        decoder.seed.weight.zero_()
        seed = torch.zeros(height // 2, width // 2)
        seed[2, 4] = 1.0
        decoder.seed.bias.copy_(seed.ravel())
        deconv.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
    image = decoder(torch.zeros(1)).detach().numpy().reshape(height, width, n_channels)
    # One seed pixel at (2, 4) stamps the 4 x 4 kernel with its corner at (2 * 2 - 1, 2 * 4 - 1).
    expected = np.broadcast_to(np.float32([10, 20, 30]), image.shape).copy()
    expected[3:7, 7:11] += deconv.weight.detach().numpy()[0].transpose(1, 2, 0)
    np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_noise_starts_small_and_the_same_for_all_rows(pair: nn.Module) -> None:
    q = pair[0](draw(50, 64))
    assert (q.log_var == q.log_var[0, 0]).all()
    assert q.log_var[0, 0].div(2).exp() < 0.1
    assert (q.mean.std(0) > 0).all()


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_signal_neither_dies_nor_explodes_at_the_start(name: str) -> None:
    wide = {
        "mlp": lambda: nn.ModuleList(
            [Encoder(MLPBody(784, (500, 500, 2000)), 10), MLPDecoder(10, (2000, 500, 500), 784)]
        ),
        "conv": lambda: nn.ModuleList(
            [
                Encoder(ConvBody((28, 28), (32, 64, 128)), 10),
                ConvDecoder(10, (128, 64, 32), (28, 28)),
            ]
        ),
    }
    encoder, decoder = seeded(wide[name])
    z = encoder(draw(20, 784)).mean
    output = decoder(draw(20, 10))
    for tensor in (z, output):
        assert 0.3 < tensor.square().mean().sqrt() < 3


def test_every_parameter_gets_a_gradient(pair: nn.Module) -> None:
    encoder, decoder = pair
    q = encoder(draw(20, 64))
    z = q.mean + (0.5 * q.log_var).exp() * draw(20, 3)
    decoder(z).square().sum().backward()
    for name, parameter in pair.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("build", PAIRS.values(), ids=PAIRS)
def test_the_start_is_drawn_from_torchs_current_state(build: Callable[[], nn.Module]) -> None:
    states = [seeded(build, seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("image_shape", [(7, 7), (7, 64, 3), (28, 4)], ids=str)
def test_too_small_an_image_is_refused(image_shape: tuple[int, ...]) -> None:
    size = f"{image_shape[0]} x {image_shape[1]}"
    with pytest.raises(ValueError, match=f"at least 8 pixels .* Got {size}"):
        Encoder(ConvBody(image_shape, CHANNELS), 3)
    with pytest.raises(ValueError, match=f"at least 8 pixels .* Got {size}"):
        ConvDecoder(3, CHANNELS[::-1], image_shape)


# Encoders of several heads.

BODIES: dict[str, Callable[[], MLPBody | ConvBody]] = {
    "mlp": lambda: MLPBody(64, (16, 12)),
    "linear": lambda: MLPBody(64, ()),
    "conv": lambda: ConvBody((8, 8), CHANNELS),
}
STICKS = torch.tensor([[0.5, -1.0], [0.0, 2.0]])


@pytest.mark.parametrize("leading", [(5,), (), (2, 5), (2, 1, 4), (0,)])
@pytest.mark.parametrize("body", list(BODIES))
def test_leading_axes_of_mixtures_and_sticks(body: str, leading: tuple[int, ...]) -> None:
    K, L = 3, 4
    mixture = seeded(lambda: MixtureEncoder(BODIES[body](), K, L, STICKS))
    sticks = seeded(lambda: StickEncoder(BODIES[body](), STICKS))
    for encoder in (mixture, sticks):
        for parameter in encoder.parameters():  # no head is constant, no two are alike
            parameter.data += 0.1 * draw(*parameter.shape)
    x = draw(*leading, 64)
    (q, u), v = mixture(x), sticks(x)
    assert q.mean.shape == q.log_var.shape == (*leading, K, L)
    assert u.shape == v.shape == (*leading, K - 1, 2)
    if x.numel():  # component k, code l is output k L + l of its head; stick k has two outputs
        index = tuple(size - 1 for size in leading)
        feature = mixture.body(x[index])
        expected = mixture.mean.weight[1 * L + 2] @ feature + mixture.mean.bias[1 * L + 2]
        torch.testing.assert_close(q.mean[*index, 1, 2], expected, rtol=1e-4, atol=1e-5)
        expected = mixture.log_var.weight[2 * L] @ feature + mixture.log_var.bias[2 * L]
        torch.testing.assert_close(q.log_var[*index, 2, 0], expected, rtol=1e-4, atol=1e-5)
        expected = sticks.sticks(sticks.body(x[index]))[2]
        torch.testing.assert_close(v[*index, 1, 0], expected, rtol=1e-4, atol=1e-5)


def test_one_component_has_no_head_for_sticks() -> None:
    encoder = seeded(lambda: MixtureEncoder(MLPBody(64, (8,)), 1, 4, torch.zeros(0, 2)))
    assert not any("sticks" in name for name, _ in encoder.named_parameters())
    q, sticks = encoder(draw(2, 5, 64))
    assert q.mean.shape == (2, 5, 1, 4)
    assert sticks.shape == (2, 5, 0, 2)


@pytest.mark.parametrize("leading", [(5,), (), (2, 1, 4)])
@pytest.mark.parametrize("body", list(BODIES))
def test_labels_enter_as_if_they_were_columns(body: str, leading: tuple[int, ...]) -> None:
    """All labels at once are each label alone; and that is a layer of rows and labels together."""
    K, L = 3, 4
    codes = seeded(lambda: LabelledEncoder(BODIES[body](), (6, 5), K, L))
    labels = seeded(lambda: LabelEncoder(BODIES[body](), K))
    codes.log_var.weight.data += 0.1 * draw(L, 5)
    x = draw(*leading, 64)
    trunk = codes.trunk(x)
    every = codes.of_all(trunk)
    assert labels(x).shape == (*leading, K)
    assert every.mean.shape == every.log_var.shape == (*leading, K, L)
    for k in range(K):
        one = codes(trunk, torch.eye(K)[k].expand(*leading, K))
        torch.testing.assert_close(every.mean[..., k, :], one.mean)
        torch.testing.assert_close(every.log_var[..., k, :], one.log_var)
    y = draw(*leading, K).softmax(-1)
    columns = torch.cat([codes.body(x), y], -1)
    weight = torch.cat([codes.first.weight, codes.label.weight], 1)
    hidden = torch.relu(columns @ weight.mT + codes.first.bias)
    hidden = torch.relu(hidden @ codes.rest[0].weight.mT + codes.rest[0].bias)
    expected = hidden @ codes.mean.weight.mT + codes.mean.bias
    torch.testing.assert_close(codes(trunk, y).mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", list(BODIES))
def test_mixtures_and_sticks_start_the_same_for_all_rows(body: str) -> None:
    x = draw(50, 64)
    q, u = seeded(lambda: MixtureEncoder(BODIES[body](), 3, 4, STICKS))(x)
    v = seeded(lambda: StickEncoder(BODIES[body](), STICKS))(x)
    for sticks in (u, v):
        torch.testing.assert_close(sticks, STICKS.expand(50, 2, 2), rtol=0, atol=0)
    assert not q.log_var.any()
    means = q.mean.flatten(1)  # which are all different, between rows and between components
    assert (means.std(0) > 0.05).all()
    assert means[0].unique().numel() == 12


def test_heads_of_some_components_are_those_of_all() -> None:
    encoder = seeded(lambda: MixtureEncoder(MLPBody(64, (8,)), 5, 3, torch.zeros(4, 2)))
    encoder.log_var.weight.data += 0.1 * draw(15, 8)
    feature = encoder.body(draw(2, 6, 64)).detach().requires_grad_()
    component = torch.randint(5, (2, 6, 3), generator=torch.Generator().manual_seed(0))
    component[0] = 4  # one group of eighteen rows
    some, every = encoder.normals_of(feature, component), encoder.normals(feature)
    for few, all_ in zip(some, every, strict=True):
        expected = all_.gather(-2, component[..., None].expand(2, 6, 3, 3))
        torch.testing.assert_close(few, expected)
        wanted = [feature, encoder.mean.weight, encoder.log_var.weight, encoder.mean.bias]
        mine, theirs = (
            torch.autograd.grad(
                v.square().sum(),
                wanted,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for v in (few, expected)
        )
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other)

"""Labels: exact, relaxed, bent by a second code, and with the prior of Algorithm 1."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.mixture import GaussianMixture
from torch import Tensor

from infimix.models import ChainModule, Pass

MakeChain = Callable[..., ChainModule]
Noise = Callable[..., Tensor]
K, L, W = 3, 2, 2


def log_px(module: ChainModule, x: Tensor, z: np.ndarray) -> np.ndarray:
    """Log p(x | z) by SciPy: x (N, D), z (N, ..., L) -> (N, ...)."""
    share = torch.sigmoid(module.decoder(torch.as_tensor(z))).detach().numpy()
    bits = x.numpy().reshape(len(x), *[1] * (z.ndim - 2), -1)
    return stats.bernoulli.logpmf(bits, share).sum(-1)


def normal(z: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return stats.norm.logpdf(z, mean, scale).sum(-1)


@torch.no_grad()
def by_hand(module: ChainModule, x: Tensor, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Terms of the ELBO with the label summed out, one loop over labels."""
    layer = module.layers[0]
    log_q = log_softmax(layer.labels(x).numpy(), -1)  # (N, K)
    total = {"reconstruction": 0.0, "entropy": 0.0, "log_prior": 0.0}
    for k in range(K):
        y = torch.eye(K, dtype=x.dtype)[k].expand(len(x), K)
        mean, log_var = (v.numpy() for v in layer.codes(layer.codes.trunk(x), y))
        scale, share = np.exp(log_var / 2), np.exp(log_q[:, k])
        z = mean + scale * noise.reshape(len(x), K, L)[:, k]
        m, s = layer.prior_mean[k].numpy(), np.exp(layer.prior_log_scale[k].numpy())
        expected = stats.norm.logpdf(mean, m, s) - 0.5 * scale**2 / s**2
        total["reconstruction"] += share * log_px(module, x, z)
        total["entropy"] += share * stats.norm(mean, scale).entropy().sum(-1)
        total["log_prior"] += share * expected.sum(-1)
    return total | {"kl_mixture": (np.exp(log_q) * (log_q + np.log(K))).sum(-1)}


def test_labels_are_summed_out(make_chain: MakeChain, all_bits: Tensor, normal: Noise) -> None:
    module = make_chain("gmvae", n_latent=L, n_components=K, assignment="exact", hidden=(5,))
    noise = normal(8, K * L)
    with torch.no_grad():
        found = module.elbo(all_bits, noise)
    for name, value in by_hand(module, all_bits, noise.numpy()).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_relaxed_labels_become_exact_as_the_temperature_falls(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise, assignment: str
) -> None:
    """The mean over Gumbel noise is then the sum over labels."""
    relaxed = make_chain("gmvae", n_latent=L, n_components=K, assignment=assignment)
    relaxed.layers[0].temperature.fill_(1e-6)
    exact = make_chain("gmvae", n_latent=L, n_components=K, assignment="exact")
    n = 20_000
    with torch.no_grad():
        each = relaxed.elbo(all_bits, normal(n, 8, L + K)).total
        wanted = exact.elbo(all_bits, normal(n, 8, K * L)).total.mean(0)
    error = each.std(0) / math.sqrt(n)
    assert error.max() < 0.07
    assert ((each.mean(0) - wanted).abs() < 4.5 * error).all()


def test_a_warm_label_is_another_model(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    """A soft y takes codes to between the components: its mean is not the sum over labels."""
    module = make_chain("gmvae", n_latent=L, n_components=K, assignment="soft", stir=1.0)
    noise = normal(5000, 8, L + K)
    with torch.no_grad():
        warm = module.elbo(all_bits, noise).total
        module.layers[0].temperature.fill_(1e-6)
        cold = module.elbo(all_bits, noise).total
    error = (warm - cold).std(0) / math.sqrt(len(noise))
    assert ((warm - cold).mean(0).abs() > 5 * error).any()


def test_hard_labels_are_vertices_with_the_gradient_of_soft_ones(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    module = make_chain("gmvae", n_latent=L, n_components=K, assignment="hard")
    layer = module.layers[0]
    q = layer.posterior(all_bits[:, None])
    noise = normal(2000, 8, 1, L + K)
    draw = layer.draw(q, noise)
    distance = torch.cdist(draw.normals.prior_mean.reshape(-1, L), layer.prior_mean)
    assert distance.min(1).values.max() < 1e-6
    share = torch.nn.functional.one_hot(distance.argmin(1), K).double().reshape(2000, 8, K).mean(0)
    assert (share - q.log_pi[:, 0].exp()).abs().max() < 4.5 * 0.5 / math.sqrt(2000)
    assert torch.autograd.grad(draw.code.sum(), layer.labels.logits.weight)[0].abs().max() > 0


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_nothing_is_drawn_where_nothing_trains(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise, assignment: str
) -> None:
    options = {"n_latent": L, "n_components": K}
    module = make_chain("gmvae", assignment=assignment, **options).eval()
    exact = make_chain("gmvae", assignment="exact", **options).eval()
    noise = normal(8, K * L)
    with torch.no_grad():
        assert (module.elbo(all_bits, noise).total == exact.elbo(all_bits, noise).total).all()
        logits = module.layers[0].labels(all_bits).numpy()
        np.testing.assert_allclose(module.responsibilities(all_bits), softmax(logits, -1))
        mean, _ = module.layers[0].codes.of_all(module.layers[0].codes.trunk(all_bits))
        expected = (softmax(logits, -1)[..., None] * mean.numpy()).sum(1)
        np.testing.assert_allclose(module.embed(all_bits), expected)


@pytest.mark.parametrize("n_context", [0, W])
def test_free_bits_loosen_the_bound_in_training_only(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise, n_context: int
) -> None:
    options = {"n_latent": L, "n_components": K, "n_context": n_context, "assignment": "exact"}
    options["stir"] = 0.5 if n_context else 1.5
    module, free = (make_chain("gmvae", free_bits=bits, **options) for bits in (0.0, 0.7))
    noise = normal(8, module.draw_noise(1, torch.Generator()).shape[1])
    with torch.no_grad():
        paid = module.elbo(all_bits, noise).total - free.elbo(all_bits, noise).total
        if n_context == 0:
            kl = module.elbo(all_bits, noise).kl_mixture
        else:
            kl = torch.tensor(label_kl(module, all_bits, noise.numpy()))
        torch.testing.assert_close(paid, (0.7 - kl).clamp_min(0))
        assert 0.05 < (kl > 0.7).double().mean() < 0.95
        assert (
            module.eval().elbo(all_bits, noise).total == free.eval().elbo(all_bits, noise).total
        ).all()


@torch.no_grad()
def context_terms(
    module: ChainModule, x: Tensor, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and scale of q(z, w | x) by NumPy, a draw of it, and log p(z | w, y) of the draw."""
    layer = module.layers[0]
    mean, log_var = (v.numpy() for v in layer.encoder(x))
    scale = np.exp(log_var / 2)
    point = mean + scale * noise
    m, log_v = (
        v.numpy()
        for v in layer.components.normals(layer.components.body(torch.tensor(point[:, L:])))
    )
    return mean, scale, point, normal(point[:, None, :L], m, np.exp(log_v / 2))


def label_kl(module: ChainModule, x: Tensor, noise: np.ndarray) -> np.ndarray:
    log_py = log_softmax(context_terms(module, x, noise)[3], -1)
    return (np.exp(log_py) * (log_py + np.log(K))).sum(-1)


def test_bound_is_equation_2_of_the_paper(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    """Its four terms as they are printed, at one draw of z and w."""
    module = make_chain("gmvae", n_latent=L, n_components=K, n_context=W, hidden=(5,))
    noise = normal(8, L + W)
    mean, scale, point, log_pz = context_terms(module, all_bits, noise.numpy())
    py = softmax(log_pz, -1)
    log_qz = stats.norm.logpdf(point, mean, scale)[:, :L].sum(-1)
    kl_w = 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale))[:, L:].sum(-1)
    kl_y = label_kl(module, all_bits, noise.numpy())
    expected = log_px(module, all_bits, point[:, :L])
    expected = expected - (py * (log_qz[:, None] - log_pz)).sum(-1) - kl_w - kl_y
    with torch.no_grad():
        terms = module.elbo(all_bits, noise)
    exact_entropy = stats.norm(mean, scale).entropy()[:, :L].sum(-1)  # ours in place of -log q(z)
    np.testing.assert_allclose(terms.total.numpy() - exact_entropy, expected + log_qz, rtol=1e-9)
    with torch.no_grad():
        found = module.eval().responsibilities(all_bits)
    at_means = context_terms(module, all_bits, 0 * noise.numpy())[3]
    np.testing.assert_allclose(found, softmax(at_means, -1), rtol=1e-9)


@pytest.mark.parametrize("n_context", [0, W])
def test_samples_have_the_moments_of_the_prior(make_chain: MakeChain, n_context: int) -> None:
    module = make_chain("gmvae", n_latent=L, n_components=K, n_context=n_context, stir=0.3).eval()
    layer, generator = module.layers[0], torch.Generator().manual_seed(0)
    with torch.no_grad():
        z, c = layer.sample_prior(None, 40_000, generator, None)
        assert (torch.bincount(c) / 40_000 - 1 / K).abs().max() < 4.5 * 0.5 / 200
        z = layer.sample_prior(None, 40_000, generator, 1)[0].numpy()
        if n_context == 0:
            mean, var = layer.prior_mean[1].numpy(), np.exp(2 * layer.prior_log_scale[1].numpy())
        else:  # the law of total variance over other draws of w
            w = torch.randn(100_000, W, generator=generator).double()
            m, log_v = layer.components.normals(layer.components.body(w))
            mean, var = (
                m[:, 1].mean(0).numpy(),
                (log_v[:, 1].exp().mean(0) + m[:, 1].var(0)).numpy(),
            )
    np.testing.assert_allclose(z.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(z.var(0), var, rtol=0.06)


def epochs(module: ChainModule, x: Tensor, n: int) -> list[float]:
    """Temperatures of n epochs."""
    found = []
    for _ in range(n):
        module.train().start_epoch(Pass(len(x), lambda: iter([x])))
        found.append(float(module.layers[0].temperature))
    module.eval().start_epoch(Pass(len(x), lambda: iter([x])))
    return found


def test_temperature_halves_in_fifty_epochs(make_chain: MakeChain, all_bits: Tensor) -> None:
    module = make_chain("gmvae", assignment="soft", temperature=0.4)
    found = epochs(module, all_bits, 80)
    assert found[0] == 1
    assert found[50] == pytest.approx(0.5)
    assert found[-1] == pytest.approx(0.4)
    assert found[10] == pytest.approx(math.exp(-0.013862944 * 10), rel=1e-6)


def three_kinds(n: int) -> Tensor:
    """Rows (n, 6) of three kinds that an encoder tells apart."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 3
    share = np.kron(np.eye(3), np.ones(2))
    return torch.tensor(rng.normal(share[kind], 0.15))


def alternating(make_chain: MakeChain, **options: int) -> ChainModule:
    return make_chain("alternating", 6, n_latent=L, max_components=K, stir=0.8, **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_prior_of_algorithm_1_is_the_mixture_of_the_codes(make_chain: MakeChain) -> None:
    module, x = alternating(make_chain), three_kinds(6000)
    epochs(module, x, 1)
    layer = module.eval().layers[0]
    with torch.no_grad():
        z = module.embed(x).numpy()
        label = module.responsibilities(x).argmax(1)
    prior = layer.prior()
    weights = prior.log_pi.exp().numpy()
    assert weights.sum() == pytest.approx(1)
    # One step of scikit-learn's EM stays there: the prior counts little beside 6000 rows.
    var = (2 * prior.log_scale).exp().numpy()
    other = GaussianMixture(
        K,
        covariance_type="diag",
        weights_init=weights,
        means_init=prior.mean.numpy(),
        precisions_init=1 / var,
        max_iter=1,
    ).fit(z)
    np.testing.assert_allclose(other.means_, prior.mean, atol=0.05 * z.std())
    np.testing.assert_allclose(np.sqrt(other.covariances_), np.sqrt(var), rtol=0.05)
    np.testing.assert_allclose(other.weights_, weights, atol=0.02)
    assert (other.predict(z) == label.numpy()).mean() > 0.99
    terms = module.train().objective(x, torch.Generator().manual_seed(0))
    terms.total.mean().backward()
    assert layer.prior_mean.grad is None
    assert layer.codes.mean.weight.grad.abs().max() > 0


def test_components_keep_their_names_from_epoch_to_epoch(make_chain: MakeChain) -> None:
    module, x = alternating(make_chain), three_kinds(600)
    epochs(module, x, 1)
    before = module.layers[0].prior().mean.clone()
    with torch.no_grad():
        for parameter in module.layers[0].codes.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator())
    epochs(module, x, 1)
    distance = torch.cdist(module.layers[0].prior().mean, before)
    assert distance.argmin(1).tolist() == [0, 1, 2]
    assert distance.diagonal().max() > 0


def test_pretraining_comes_first_and_hands_its_labels_on(make_chain: MakeChain) -> None:
    module, x = alternating(make_chain, pretrain_epochs=2), three_kinds(600)
    layer = module.layers[0]
    with torch.no_grad():  # labels that tell the three kinds apart, in an order of their own
        layer.labels.logits.weight.zero_()
        layer.labels.logits.bias.zero_()
        layer.labels.logits.weight[[2, 2, 0, 0, 1, 1], [0, 1, 2, 3, 4, 5]] = 9.0
    epochs(module, x, 2)
    assert layer.prior().mean is layer.prior_mean
    with torch.no_grad():
        wanted = module.responsibilities(x).argmax(1)
    epochs(module, x, 1)
    assert layer.prior().mean is not layer.prior_mean
    with torch.no_grad():
        found = module.responsibilities(x).argmax(1)
    assert (found == wanted).double().mean() > 0.6  # a third by chance


def test_log_prior_sums_labels_out(make_chain: MakeChain, normal: Noise) -> None:
    layer = make_chain("gmvae", n_latent=L, n_components=K).layers[0]
    z = normal(7, L)
    m, s = (v.detach().numpy() for v in (layer.prior_mean, layer.prior_log_scale.exp()))
    each = stats.norm.logpdf(z[:, None], m, s).sum(-1) - np.log(K)
    np.testing.assert_allclose(layer.log_prior(z, None).detach(), logsumexp(each, -1))


CASES = {
    "exact": {"assignment": "exact"},
    "soft": {"assignment": "soft"},
    "context": {"n_context": W},
    "exact, five draws": {"assignment": "exact", "bound": "iwae"},
    "context, five draws": {"n_context": W, "bound": "iwae"},
}


@pytest.mark.parametrize("case", list(CASES))
def test_gradient_is_that_of_finite_differences(
    make_chain: MakeChain, all_bits: Tensor, case: str
) -> None:
    """Along one random direction of all parameters, with the noise held."""
    options = {"n_latent": L, "n_components": K, "hidden": (7,), "stir": 0.3}
    module = make_chain("gmvae", **options, **CASES[case])
    parameters, generator = list(module.parameters()), torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def value() -> Tensor:
        return module.objective(all_bits, torch.Generator().manual_seed(2)).total.mean()

    gradients = torch.autograd.grad(value(), parameters)
    assert all(gradient.any() for gradient in gradients)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    found, step = [], 1e-6
    for by in (step, -2 * step):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += by * d
            found.append(float(value()))
    assert slope == pytest.approx((found[0] - found[1]) / (2 * step), rel=2e-5)

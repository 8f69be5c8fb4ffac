"""Terms of the bounds of paper 1 against slow transcriptions of what is printed, row by row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import beta, betaln, digamma, gammaln, logsumexp
from torch import Tensor, nn

from infimix.models import ChainModule, MixtureLayer

MakeChain = Callable[..., ChainModule]
Normal = Callable[..., Tensor]
D = 3
X = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
ENTROPIES = ["printed", "components", "mixture"]
TERMS = ["reconstruction", "entropy", "log_prior", "kl_mixture"]


def linear(network: nn.Linear, code: np.ndarray) -> np.ndarray:
    return network.weight.detach().numpy() @ code + network.bias.detach().numpy()


def positive(output: np.ndarray) -> np.ndarray:
    """Heads of sticks: logs that bend towards those of 1e-3 and 1e3."""
    span = np.log(1000)
    return np.exp(span * np.tanh(output / span))


def log_px(module: ChainModule, x: np.ndarray, z: np.ndarray) -> float:
    share = 1 / (1 + np.exp(-linear(module.decoder.output, z)))
    return float(stats.bernoulli.logpmf(x, share).sum())


@dataclass
class Heads:
    """q(v, z | below) of one row, from the weights of the networks."""

    mean: np.ndarray  # (K, L)
    scale: np.ndarray
    a: np.ndarray  # (K - 1,)
    b: np.ndarray

    @classmethod
    def of(cls, layer: MixtureLayer, below: np.ndarray) -> "Heads":
        e = layer.encoder
        sticks = positive(linear(e.sticks, below)).reshape(-1, 2)
        mean = linear(e.mean, below).reshape(e.shape)
        scale = np.exp(linear(e.log_var, below) / 2).reshape(e.shape)
        return cls(mean, scale, sticks[:, 0], sticks[:, 1])

    @property
    def pi(self) -> np.ndarray:
        """Mean weights mu_pi, from E[v] = b B(1 + 1/a, b)."""
        return break_stick(self.b * beta(1 + 1 / self.a, self.b))

    def log_q(self, z: np.ndarray) -> float:
        log_each = [
            stats.norm.logpdf(z, m, s).sum() for m, s in zip(self.mean, self.scale, strict=True)
        ]
        return logsumexp(log_each, b=self.pi)

    def entropy(self, kind: str, z: np.ndarray, noise: np.ndarray) -> float:
        """`noise` are the normal numbers behind the drawn sticks of the printed one."""
        K = len(self.mean)
        if kind == "components":
            return sum(self.pi[k] * stats.norm.entropy(0, self.scale[k]).sum() for k in range(K))
        if kind == "mixture":
            return -sum(self.pi[k] * self.log_q(z[k]) for k in range(K))
        u = stats.norm.cdf(noise)
        pi = break_stick((1 - u ** (1 / self.b)) ** (1 / self.a))
        density = [stats.norm.pdf(z[k], self.mean[k], self.scale[k]).prod() for k in range(K)]
        return -np.log(np.dot(pi, density))

    def kl(self, prior: np.ndarray, n_terms: int | None) -> float:
        """KL(Kumaraswamy || Beta) of all sticks, prior (K - 1, 2)."""
        kl_of = kl_quadrature if n_terms is None else kl_series(n_terms)
        return sum(kl_of(a, b, *p) for a, b, p in zip(self.a, self.b, prior, strict=True))


def break_stick(v: np.ndarray) -> np.ndarray:
    pi, left = [], 1.0
    for each in v:
        pi.append(left * each)
        left *= 1 - each
    return np.array([*pi, left])


def kl_quadrature(a: float, b: float, p1: float, p0: float) -> float:
    """E[log q(v) - log p(v)] over the uniform u of v = (1 - u^(1/b))^(1/a)."""

    def log_ratio(u: float) -> float:
        log_v = np.log1p(-(u ** (1 / b))) / a
        log1m_v = np.log(-np.expm1(log_v))
        log_q = np.log(a * b) + (a - 1) * log_v + (b - 1) * np.log(u) / b
        return log_q - (p1 - 1) * log_v - (p0 - 1) * log1m_v + betaln(p1, p0)

    return quad(log_ratio, 0, 1, epsabs=1e-9, limit=200)[0]


def kl_series(n_terms: int) -> Callable[..., float]:
    """Eq. (12) of Nalisnick and Smyth (2017), cut."""

    def kl(a: float, b: float, p1: float, p0: float) -> float:
        tail = sum(beta(m / a, b) / (m + a * b) for m in range(1, n_terms + 1))
        return (
            (a - p1) / a * (-np.euler_gamma - digamma(b) - 1 / b)
            + np.log(a * b)
            + betaln(p1, p0)
            - (b - 1) / b
            + (p0 - 1) * b * tail
        )

    return kl


@dataclass
class Prior:
    """Sticks and components of a prior."""

    sticks: np.ndarray  # (K - 1, 2)
    mean: np.ndarray  # (K,)
    scale: np.ndarray

    def log_prob(self, z: np.ndarray) -> float:
        pi = break_stick(self.sticks[:, 0] / self.sticks.sum(1))
        log_each = [
            stats.norm.logpdf(z, m, s).sum() for m, s in zip(self.mean, self.scale, strict=True)
        ]
        return logsumexp(log_each, b=pi)

    def expected(self, k: int, q: Heads) -> float:
        """E[log N(z; m_k, s_k^2)] under component k of q."""
        m, s = self.mean[k], self.scale[k]
        square = (q.mean[k] - m) ** 2 + q.scale[k] ** 2
        return (-np.log(s) - np.log(2 * np.pi) / 2 - square / (2 * s**2)).sum()


ALPHA = 1.7
STICKS = {
    "dlgmm": np.array([[ALPHA, 2 * ALPHA], [ALPHA, ALPHA]]),  # K = 3: Beta(alpha, (K - k) alpha)
    "dldpmm": np.array([[1, ALPHA], [1, ALPHA]]),
}
PRIORS = {"one": ([0, 0, 0], [1, 1, 1]), "own": ([-1.5, 0, 1], [0.5, 1, 1.4])}


def three(make_chain: MakeChain, name: str, prior: str, **options: object) -> ChainModule:
    """K = 3, L = 2."""
    K = {"dlgmm": "n_components", "dldpmm": "max_components"}[name]
    mean, scale = PRIORS[prior]
    options |= {K: 3, "concentration": ALPHA, "prior_means": mean, "prior_scales": scale}
    return make_chain(name, D, **{"n_latent": 2, **options})


def eq_1(module: ChainModule, prior: Prior, x: np.ndarray, noise: np.ndarray) -> dict[str, float]:
    """Eq. (1) and its corrections for one row and its noise (K L + (K - 1),)."""
    layer, K, L = module.layers[0], 3, 2
    q, kind = Heads.of(layer, x), layer.entropy_kind
    z = q.mean + q.scale * noise[: K * L].reshape(K, L)
    is_tied = kind != "mixture"
    prior_of = [prior.expected(k, q) if is_tied else prior.log_prob(z[k]) for k in range(K)]
    if len(set(prior.mean)) == 1:  # all components are N(0, I), and the expectation is exact
        prior_of = [prior.expected(k, q) for k in range(K)]
    return {
        "reconstruction": sum(q.pi[k] * log_px(module, x, z[k]) for k in range(K)),
        "entropy": q.entropy(kind, z, noise[K * L :]),
        "log_prior": sum(q.pi[k] * prior_of[k] for k in range(K)),
        "kl_mixture": q.kl(prior.sticks, layer.kl_terms) if is_tied else 0.0,
    }


@pytest.fixture(autouse=True)
def _values_only() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("components", list(PRIORS))
@pytest.mark.parametrize(
    ("entropy", "kl_terms"),
    [
        ("mixture", None),
        ("components", None),
        ("components", 11),
        ("printed", None),
        ("printed", 11),
    ],
)
@pytest.mark.parametrize("name", list(STICKS))
def test_eq_1(
    make_chain: MakeChain,
    normal: Normal,
    name: str,
    entropy: str,
    components: str,
    kl_terms: int | None,
) -> None:
    module = three(make_chain, name, components, entropy=entropy, kl_terms=kl_terms)
    prior = Prior(STICKS[name], *map(np.array, PRIORS[components]))
    noise = normal(len(X), module.layers[0].n_noise)
    terms = module.elbo(torch.tensor(X), noise)
    for i, x in enumerate(X):
        expected = eq_1(module, prior, x, noise[i].numpy())
        for term in TERMS:
            found = float(getattr(terms, term)[i])
            assert found == pytest.approx(expected[term], rel=1e-5, abs=1e-6), (i, term)


@pytest.mark.parametrize(("bound", "order"), [("elbo", 1), ("iwae", 0), ("renyi", 0.3)])
@pytest.mark.parametrize("components", list(PRIORS))
def test_bounds_of_several_draws(
    make_chain: MakeChain, components: str, bound: str, order: float
) -> None:
    """Stratified over components, with the density of the mixture below and above."""
    S = 1 if bound == "elbo" else 4
    options = {"bound": bound, "renyi_order": order, "n_importance_samples": S}
    module = three(make_chain, "dlgmm", components, **options)
    prior = Prior(STICKS["dlgmm"], *map(np.array, PRIORS[components]))
    terms = module.objective(torch.tensor(X), torch.Generator().manual_seed(3))
    noise = module.draw_noise(S * len(X), torch.Generator().manual_seed(3)).double()
    noise = noise.reshape(S, len(X), -1)
    log_w = module.log_weights(torch.tensor(X), noise)
    for i, x in enumerate(X):
        q, powers = Heads.of(module.layers[0], x), []
        for s in range(S):
            z = q.mean + q.scale * noise[s, i].numpy().reshape(3, 2)
            each = [log_px(module, x, z_k) + prior.log_prob(z_k) - q.log_q(z_k) for z_k in z]
            assert float(log_w[s, i]) == pytest.approx(logsumexp(each, b=q.pi), rel=1e-6)
            powers += [logsumexp((1 - order) * np.array(each), b=q.pi)]
        if bound == "elbo":
            expected = sum(eq_1(module, prior, x, noise[0, i].numpy())[t] for t in TERMS[:3])
        else:
            expected = (logsumexp(powers) - np.log(S)) / (1 - order)
        assert float(terms.total[i]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_two_layers(make_chain: MakeChain, normal: Normal, entropy: str) -> None:
    """Every path (k, j): z1 from component k, z2 from component j of q(z2 | z1)."""
    K, L1, L2, n_sticks = 2, 2, 1, 1 if entropy == "printed" else 0
    mean, scale = np.array([-1.0, 0.7]), np.array([0.6, 1.3])
    module = make_chain(
        "dlgmm",
        D,
        n_latent=(L1, L2),
        n_components=K,
        entropy=entropy,
        prior_means=mean,
        prior_scales=scale,
    )
    first, second = module.layers
    sticks = np.array([[1.0, 1.0]])
    prior = Prior(sticks, mean, scale)
    noise = normal(len(X), K * L1 + n_sticks + K * (K * L2 + n_sticks))
    terms = module.elbo(torch.tensor(X), noise)
    log_w = module.log_weights(torch.tensor(X), noise[None])[0]
    for i, x in enumerate(X):
        e1, e2 = np.split(noise[i].numpy(), [K * L1 + n_sticks])
        e2 = e2.reshape(K, -1)
        q1 = Heads.of(first, x)
        z1 = q1.mean + q1.scale * e1[: K * L1].reshape(K, L1)
        expected = dict.fromkeys(TERMS, 0.0)
        expected["entropy"] = q1.entropy(entropy, z1, e1[K * L1 :])
        has_kl = entropy != "mixture"
        expected["kl_mixture"] = has_kl * q1.kl(sticks, None)
        paths, shares = [], []
        for k in range(K):
            q2 = Heads.of(second, z1[k])
            z2 = q2.mean + q2.scale * e2[k, : K * L2].reshape(K, L2)
            pi = q1.pi[k]
            expected["reconstruction"] += pi * log_px(module, x, z1[k])
            expected["entropy"] += pi * q2.entropy(entropy, z2, e2[k, K * L2 :])
            expected["kl_mixture"] += has_kl * pi * q2.kl(sticks, None)
            for j in range(K):
                scale_1 = np.exp(linear(first.prior.log_var, z2[j]) / 2)
                below = stats.norm.logpdf(z1[k], linear(first.prior.mean, z2[j]), scale_1).sum()
                top = prior.log_prob(z2[j])
                in_bound = top if entropy == "mixture" else prior.expected(j, q2)
                expected["log_prior"] += pi * q2.pi[j] * (below + in_bound)
                log_q = q1.log_q(z1[k]) + q2.log_q(z2[j])
                paths.append(log_px(module, x, z1[k]) + below + top - log_q)
                shares.append(pi * q2.pi[j])
        for term in TERMS:
            found = float(getattr(terms, term)[i])
            assert found == pytest.approx(expected[term], rel=1e-6), (i, term)
        assert float(log_w[i]) == pytest.approx(logsumexp(paths, b=shares), rel=1e-6)


# The stick-breaking VAE: the sticks of a row are its code.


def draw_stick(law: str, a: float, b: float, u: np.ndarray) -> float:
    """One stick from its uniform numbers."""
    if law == "kumaraswamy":
        return (1 - u[0] ** (1 / b)) ** (1 / a)
    if law == "logit_normal":
        return 1 / (1 + np.exp(-a - b * stats.norm.ppf(u[0])))
    if law == "gamma":  # Nalisnick and Smyth (2017): x = (u a Gamma(a))^(1/a)
        x, y = ((u[i] * np.exp(gammaln(c + 1))) ** (1 / c) for i, c in enumerate((a, b)))
    else:  # Gamma(a) = Gamma(a + 1) U^(1/a)
        x = stats.gamma(a + 1).ppf(u[0]) * u[1] ** (1 / a)
        y = stats.gamma(b + 1).ppf(u[2]) * u[3] ** (1 / b)
    return x / (x + y)


def log_density(law: str, a: float, b: float, w: np.ndarray) -> np.ndarray:
    """Log-density of a stick's logit w, which is that of v plus log v (1 - v)."""
    log_v, log1m_v = -np.logaddexp(0, -w), -np.logaddexp(0, w)
    if law == "kumaraswamy":
        log_t = np.log(-np.expm1(a * log_v))
        return np.log(a * b) + a * log_v + (b - 1) * log_t + log1m_v
    if law == "beta":
        return a * log_v + b * log1m_v - betaln(a, b)
    if law == "logit_normal":
        return stats.norm(a, b).logpdf(w)
    # w = s - t: integral over t of the densities a exp(a (s - c_a)), s < c_a, and the like of t
    c_a, c_b = gammaln(a + 1) / a, gammaln(b + 1) / b
    end = np.minimum(c_b, c_a - w)
    return np.log(a * b / (a + b)) + a * (w - c_a) - b * c_b + (a + b) * end


@pytest.mark.parametrize("law", ["kumaraswamy", "beta", "gamma", "logit_normal"])
def test_stick_breaking(make_chain: MakeChain, normal: Normal, law: str) -> None:
    T, alpha = 4, 2.5
    module = make_chain("stick-breaking", D, n_latent=T, posterior=law, concentration=alpha)
    layer = module.layers[0]
    noise = normal(len(X), layer.n_noise)
    terms = module.elbo(torch.tensor(X), noise)
    log_w = module.log_weights(torch.tensor(X), noise[None])[0]
    w = np.linspace(-45, 45, 60001)
    log_prior = np.log(alpha) - np.logaddexp(0, -w) - alpha * np.logaddexp(0, w)  # of the logit
    for i, x in enumerate(X):
        heads = linear(layer.encoder.sticks, x).reshape(T - 1, 2)
        first = heads[:, 0] if law == "logit_normal" else positive(heads[:, 0])
        second = positive(heads[:, 1])
        u = stats.norm.cdf(noise[i].numpy()).reshape(T - 1, -1)
        v = np.array([draw_stick(law, *row) for row in zip(first, second, u, strict=True)])
        expected = {"reconstruction": log_px(module, x, break_stick(v))}
        kl = ratio = 0.0
        for a, b, each in zip(first, second, v, strict=True):
            log_q = log_density(law, a, b, w)
            kl += np.trapezoid(np.exp(log_q) * (log_q - log_prior), w)
            at = np.log(each) - np.log1p(-each)
            ratio += np.log(alpha) + np.log(each) + alpha * np.log1p(-each)
            ratio -= log_density(law, a, b, np.array([at]))[0]
        for term, value in expected.items():
            assert float(getattr(terms, term)[i]) == pytest.approx(value, rel=1e-8)
        assert float(terms.log_prior[i] + terms.entropy[i]) == pytest.approx(-kl, rel=1e-5)
        assert float(log_w[i]) == pytest.approx(expected["reconstruction"] + ratio, rel=1e-7)
    assert not terms.kl_mixture.any()


def test_stick_breaking_by_the_series(make_chain: MakeChain, normal: Normal) -> None:
    """As published, 10 terms; the part of alpha_0 = 5 that is cut off makes it too small."""
    T, alpha = 3, 5.0
    module = make_chain("stick-breaking", D, n_latent=T, concentration=alpha, kl_terms=10)
    exact = make_chain("stick-breaking", D, n_latent=T, concentration=alpha)
    noise = normal(len(X), T - 1)
    terms, true = (m.elbo(torch.tensor(X), noise) for m in (module, exact))
    for i, x in enumerate(X):
        a, b = positive(linear(module.layers[0].encoder.sticks, x)).reshape(T - 1, 2).T
        kl = sum(kl_series(10)(a[k], b[k], 1, alpha) for k in range(T - 1))
        assert float(terms.log_prior[i] + terms.entropy[i]) == pytest.approx(-kl, rel=1e-9)
    assert (terms.total > true.total).all()

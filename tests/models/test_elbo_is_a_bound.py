"""ELBO <= IWAE_k <= IWAE_2k <= log p(x), the last by quadrature over a latent line."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import digamma, logsumexp
from torch import Tensor, nn

from infimix.models import InfiniteMixtureModule, Pass
from infimix.networks import EncoderOutput

MakeModule = Callable[..., InfiniteMixtureModule]
N, D, N_DRAWS = 40, 2, 4000
ALPHA = 1.0


class CrudeEncoder(nn.Module):
    """Posterior of a line, too wide, so that no two bounds are equal."""

    def forward(self, x: Tensor) -> EncoderOutput:
        mean = 0.7 * (x[..., :1] - x[..., 1:])
        return EncoderOutput(mean, torch.full_like(mean, math.log(0.8)))


def line(make_module: MakeModule, likelihood: str, *, heavy_tails: bool) -> InfiniteMixtureModule:
    """x = W z + b with noise; float64."""
    decoder = nn.Linear(1, D)
    with torch.no_grad():
        gain = 4 if likelihood == "bernoulli" else 1  # a bit says less of z than a real number
        decoder.weight.copy_(gain * torch.tensor([[1.0], [-0.8]]))
        decoder.bias.copy_(torch.tensor([0.3, 0.1]))
    networks = (CrudeEncoder(), decoder)
    options = {"networks": networks, "concentration": ALPHA, "heavy_tails": heavy_tails}
    return make_module(likelihood, D, 1, **options).double()


def log_predictive(module: InfiniteMixtureModule, z: np.ndarray) -> np.ndarray:
    """Log of exp E_q[log p(z, c)] summed over c, less the row's share of the KL; by the formulas.

    Bishop (2006), eq. 10.64 to 10.66 for one feature; sticks of Blei and Jordan (2006).
    """
    mixture = module.mixture
    m, kappa, nu, Psi = (value.numpy().reshape(-1, 1) for value in mixture.components)
    n = mixture.counts.numpy() * mixture.zeta
    assert (np.diff(n) < 0).all()
    later = n.sum() - n.cumsum()
    log_left = digamma(ALPHA + later) - digamma(1 + ALPHA + n + later)
    log_pi = digamma(1 + n) - digamma(1 + ALPHA + n + later) + log_left.cumsum() - log_left
    log_det = digamma(nu / 2) + math.log(2) - np.log(Psi)
    square = 1 / kappa + nu / Psi * (z - m) ** 2
    log_joint = log_pi[:, None] + 0.5 * (log_det - math.log(2 * math.pi))  # (K, grid)
    log_joint = log_joint + log_of_square(square, mixture.dof)
    return logsumexp(log_joint, axis=0) - float(mixture.kl) / float(mixture.counts.sum())


def log_of_square(square: np.ndarray, dof: float) -> np.ndarray:
    """Log E[sqrt(u) exp(-u square / 2)] under the law of a row's precision, by a sum over u."""
    if math.isinf(dof):
        return -square / 2
    u = stats.gamma(dof / 2, scale=2 / dof).ppf((np.arange(1000) + 0.5) / 1000)
    values = [np.sqrt(each) * np.exp(-each * square / 2) for each in u]
    return np.log(np.mean(values, axis=0))


def log_evidence(module: InfiniteMixtureModule, x: np.ndarray) -> np.ndarray:
    """Log p(x) of rows (N, D) on a fine grid of z; likelihoods by SciPy."""
    z = np.linspace(-12, 12, 4001)
    output = module.decoder(torch.from_numpy(z)[:, None]).detach().numpy()  # (grid, D)
    if type(module.likelihood).__name__ == "NormalLikelihood":
        scale = module.likelihood.scale.detach().numpy()
        log_px = stats.norm(output, scale).logpdf(x[:, None]).sum(-1)  # (N, grid)
    else:
        log_px = stats.bernoulli(1 / (1 + np.exp(-output))).logpmf(x[:, None]).sum(-1)
    return logsumexp(log_px + log_predictive(module, z), axis=1) + math.log(z[1] - z[0])


@pytest.mark.parametrize("heavy_tails", [False, True], ids=["normal tails", "heavy tails"])
@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
def test_bounds_tighten_and_never_pass_the_evidence(
    make_module: MakeModule,
    make_rows: Callable[[str, int, int], Tensor],
    likelihood: str,
    heavy_tails: bool,
) -> None:
    x = make_rows(likelihood, N, D).double()
    module = line(make_module, likelihood, heavy_tails=heavy_tails)
    module.start_epoch(Pass(len(x), lambda: iter([x])))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N_DRAWS, N, 1, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        elbo = torch.stack([module.elbo(x, draw).total for draw in noise[:400]]).mean(1)
        log_w = module.log_weights(x, noise)  # (S, N)
    exact = log_evidence(module, x.numpy())

    def iwae(k: int) -> np.ndarray:
        """Mean over rows of the k-sample bound, one number a replication."""
        parts = log_w.reshape(-1, k, N)
        return (parts.logsumexp(1) - math.log(k)).mean(1).numpy()

    bounds = [elbo.numpy(), iwae(1), iwae(5), iwae(10), iwae(100)]
    mean = np.array([bound.mean() for bound in bounds])
    error = np.array([bound.std() / math.sqrt(len(bound)) for bound in bounds])
    assert error.max() < 0.02
    assert (np.diff(mean) > -3 * np.hypot(error[1:], error[:-1])).all()
    assert (mean < exact.mean() + 3 * error).all()
    assert mean[0] < exact.mean() - 0.05  # the posterior is crude: the first gap is a real one
    assert mean[3] > mean[1] + 3 * error[1]
    # The weights themselves have the mean p(x), row by row.
    weights = (log_w - torch.from_numpy(exact)).exp().numpy()
    assert (np.abs(weights.mean(0) - 1) < 5 * weights.std(0) / math.sqrt(N_DRAWS)).all()
    assert weights.std(0).max() < 3


def test_a_row_decoded_from_its_view_stays_below_the_evidence(
    make_module: MakeModule, make_rows: Callable[[str, int, int], Tensor]
) -> None:
    """Row by row, whatever is encoded in place of it; a far row is a worse one to encode."""
    x = make_rows("normal", N, D).double()
    module = line(make_module, "normal", heavy_tails=True)
    module.start_epoch(Pass(len(x), lambda: iter([x])))
    exact = log_evidence(module, x.numpy())
    order = torch.linalg.vector_norm(x[:, None] - x, dim=2).argsort(1)
    generator = torch.Generator().manual_seed(0)
    mean = []
    with torch.no_grad():
        for rank in (0, 1, N // 2):  # the row itself, its nearest, a far one
            view = x[order[:, rank]]
            draws = [module.objective(x, generator, view, from_view=True).total for _ in range(300)]
            bound = torch.stack(draws).mean(0).numpy()
            error = torch.stack(draws).std(0).numpy() / math.sqrt(300)
            assert (bound < exact + 4 * error).all()
            mean.append(bound.mean())
    assert min(mean[:2]) > mean[2] + 1

"""The noise of `score_samples`: each row's own, and a function of its values."""

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from infimix.estimators import DLGMM, GMVAE, GaussianVAE, InfiniteMixtureVAE
from infimix.estimators.answers import own_noise

SHORT = {"hidden": (16,), "batch_size": 64, "learning_rate": 3e-3, "random_state": 0}
MODELS: dict[str, Any] = {
    "gaussian": GaussianVAE(10, max_epochs=3, **SHORT),
    "dlgmm": DLGMM(10, n_components=3, max_epochs=3, **SHORT),
    "gmvae": GMVAE(10, n_components=3, max_epochs=3, **SHORT),
    "infinite": InfiniteMixtureVAE(10, max_epochs=1, warm_up_epochs=3, random_state=0),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_errors_of_rows_cancel_in_the_mean(name: str) -> None:
    X = load_digits().data[:600]
    model = MODELS[name].fit(X)
    (x,) = model.model_rows(X).blocks()
    generator = torch.Generator().manual_seed(5)

    @torch.no_grad()
    def draw() -> torch.Tensor:
        return model.module_.elbo(x, model.module_.draw_noise(len(x), generator)).total

    bound = torch.stack([draw() for _ in range(100)]).double().mean(0)
    error = model.score_samples(X) - bound.numpy()
    assert error.std() > 0.1  # eight draws are few
    assert abs(error.mean()) < 4 * error.std() / len(X) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_follows_from_the_row(dtype: torch.dtype) -> None:
    module = MODELS["gaussian"].fit(load_digits().data[:100]).module_
    bits = torch.arange(2**9)[:, None] >> torch.arange(9) & 1  # all rows of nine zeros and ones
    x = torch.cat([bits, torch.zeros(len(bits), 55)], 1).to(dtype)
    noise = own_noise(module, x)
    assert noise.shape == (8, 512, 10)
    assert noise.dtype == dtype
    assert len(noise[0].unique(dim=0)) == 512
    order = torch.randperm(512, generator=torch.Generator().manual_seed(0))
    assert torch.equal(own_noise(module, x[order]), noise[:, order])
    assert torch.equal(own_noise(module, -x[:1]), noise[:, :1])  # minus zero is zero
    assert noise.mean().abs() < 4 / noise.numel() ** 0.5
    # Neighbours that differ in one bit have nothing in common.
    alike = (noise[:, 0::2] * noise[:, 1::2]).mean()
    assert alike.abs() < 4 / (noise.numel() / 2) ** 0.5

"""Estimators of paper 1: parameters, saving, resuming, validation rows and what a fit leaves."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

import infimix
from infimix.errors import DivergedError
from infimix.estimators import ESTIMATORS, chain
from infimix.estimators.answers import own_noise
from infimix.training import TrainConfig

CHAINS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "stick-breaking": {},
    "dlgmm": {"n_components": 4},
    "dldpmm": {"max_components": 5},
}
# Of one layer.
LABELLED: dict[str, dict[str, Any]] = {
    "gmvae": {"n_components": 3},
    "alternating": {"max_components": 3},
}
QUICK = {"n_latent": 2, "hidden": (8,), "max_epochs": 4, "batch_size": 32, "learning_rate": 3e-3}
on_every_chain = pytest.mark.parametrize("name", list(CHAINS))


def quick(name: str, **parameters: Any) -> Any:
    """Estimator that fits in a moment."""
    return ESTIMATORS[name](
        **{"random_state": 0, **QUICK, **(CHAINS | LABELLED)[name], **parameters}
    )


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    """Two groups of binary rows, (90, 7)."""
    rng = np.random.default_rng(0)
    share = np.where(np.arange(90)[:, None] % 2, np.linspace(0.1, 0.9, 7), np.linspace(0.9, 0.1, 7))
    return (rng.uniform(size=share.shape) < share).astype(np.float64)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gaussian", {"n_latent": ()}, r"n_latent must hold whole numbers of at least 1.*got \(\)"),
        ("gaussian", {"n_latent": 0}, r"'n_latent' parameter of GaussianVAE.* Got 0 instead"),
        ("gaussian", {"n_latent": (3, 0)}, r"n_latent must .* at least 1.*got \(3, 0\)"),
        ("gaussian", {"n_latent": (3, 1.5)}, r"n_latent must .*got \(3, 1\.5\)"),
        ("gaussian", {"n_latent": "3"}, "'n_latent' parameter"),
        ("stick-breaking", {"n_latent": 1}, "n_latent must .* at least 2, .*got 1"),
        ("stick-breaking", {"n_latent": (4, 1)}, r"n_latent must .* at least 2, .*got \(4, 1\)"),
        ("gaussian", {"hidden": (0,)}, r"hidden must .* at least 1, .*got \(0,\)"),
        ("gaussian", {"hidden": 16}, "'hidden' parameter"),
        ("gaussian", {"bound": "vae"}, "'bound' parameter"),
        ("gaussian", {"renyi_order": 1.5}, "'renyi_order' parameter"),
        ("gaussian", {"n_importance_samples": 0}, "'n_importance_samples' parameter"),
        ("gaussian", {"max_epochs": 0}, "'max_epochs' parameter"),
        ("gaussian", {"network": "conv"}, "needs image_shape"),
        ("gaussian", {"resume": True}, "resume=True needs run_dir"),
        ("dlgmm", {"n_components": 0}, "'n_components' parameter"),
        ("dlgmm", {"concentration": 0}, "'concentration' parameter"),
        ("dlgmm", {"entropy": "true"}, "'entropy' parameter"),
        ("dlgmm", {"prior_means": [0, 1]}, r"prior_means must .* each of the 4 .*got \[0, 1\]"),
        ("dlgmm", {"prior_means": [0, 1, 2, np.nan]}, "prior_means must hold a finite number"),
        ("dlgmm", {"prior_means": np.zeros((4, 3))}, r"prior_means must .* shape \(4, 2\)"),
        ("dlgmm", {"prior_means": np.zeros((4, 3)), "n_latent": (3, 2)}, r"top-layer codes; got"),
        ("dlgmm", {"prior_means": [[0, 1], [2]]}, "prior_means must hold a finite number"),
        ("dlgmm", {"prior_means": list("abcd")}, "prior_means must hold a finite number"),
        ("dlgmm", {"prior_scales": [1, 1, 0, 1]}, r"prior_scales .* positive; got \[1, 1, 0, 1\]"),
        ("dldpmm", {"prior_scales": -np.ones(5)}, "prior_scales .* positive"),
        ("dldpmm", {"prior_scales": np.ones(4)}, "prior_scales must .* each of the 5"),
        ("dlgmm", {"decoder_passes": 0}, "'decoder_passes' parameter"),
        (
            "dlgmm",
            {"decoder_passes": 2, "entropy": "printed"},
            "decoder_passes .*got decoder_passes=2, entropy='pri",
        ),
        (
            "dldpmm",
            {"decoder_passes": 1, "entropy": "components", "bound": "iwae"},
            "or with entropy='components' and bound='elbo'",
        ),
        ("dlgmm", {"kl_terms": 11}, "kl_terms is for entropy='printed' or 'components'"),
        ("stick-breaking", {"kl_terms": 10, "posterior": "beta"}, "kl_terms=10 with posterior='be"),
        ("stick-breaking", {"posterior": "normal"}, "'posterior' parameter"),
    ],
)
def test_wrong_parameters(
    bits: np.ndarray, name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        quick(name, **parameters).fit(bits)
    assert "\n" not in str(caught.value)


def test_validation_rows_of_other_columns(bits: np.ndarray) -> None:
    with pytest.raises(ValueError, match="X_valid breaks a rule of X: X has 6 features"):
        quick("gaussian").fit(bits, X_valid=bits[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        quick("gaussian").fit(bits, X_valid=np.full((3, 7), np.nan))
    with pytest.raises(
        ValueError, match=r"X_valid is not of the kind of the rows .* cannot be binary"
    ):
        quick("gaussian").fit(bits, X_valid=np.full((3, 7), 0.5))


def test_a_run_goes_on_with_its_validation_rows_only(bits: np.ndarray, tmp_path: Path) -> None:
    run = {"run_dir": tmp_path, "max_epochs": 2, "random_state": 0}
    quick("gaussian", **run).fit(bits, X_valid=bits[:9])
    again = quick("gaussian", **run, resume=True)
    again.fit(bits, X_valid=bits[:9])
    for other in (None, bits[:8], 1 - bits[:9]):
        with pytest.raises(ValueError, match="X_valid"):
            again.fit(bits, X_valid=other)
    with pytest.raises(ValueError, match="checksum of the rows"):
        again.fit(bits[::-1], X_valid=bits[:9])


SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian", {"n_latent": (3, 2)}),
    "sticks": ("stick-breaking", {"posterior": "logit_normal", "n_latent": [3, 2]}),
    "own priors": ("dlgmm", {"prior_means": np.linspace(-1, 1, 4), "prior_scales": [1, 2, 1, 2]}),
    "matrix": ("dlgmm", {"prior_means": np.eye(4)[:, :2].tolist(), "n_latent": (3, 2)}),
    "labels": ("gmvae", {"assignment": "hard"}),
    "context": ("gmvae", {"n_context": 2, "bound": "iwae"}),
    "alternating": ("alternating", {}),
    "pretrained": ("alternating", {"pretrain_epochs": 2}),
    "learned": ("dldpmm", {"learned_prior": True, "decoder_passes": 2, "n_latent": (3, 2)}),
}


@pytest.mark.parametrize("case", list(SAVED))
def test_loaded_answers_are_the_same(bits: np.ndarray, tmp_path: Path, case: str) -> None:
    name, parameters = SAVED[case]
    model = quick(name, **parameters).fit(bits)
    loaded = infimix.load(model.save(tmp_path / "run"))
    assert type(loaded) is type(model)
    for method in ("predict_proba", "transform", "score_samples", "predict"):
        np.testing.assert_array_equal(getattr(loaded, method)(bits), getattr(model, method)(bits))
    for component in (None, 0):
        for ours, theirs in zip(
            loaded.sample(5, component), model.sample(5, component), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded.weights_, model.weights_)
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    assert loaded.history_ == model.history_
    assert loaded.lower_bound_ == model.lower_bound_ == loaded.score(bits)
    assert clone(loaded).fit(bits).lower_bound_ == model.lower_bound_


@on_every_chain
def test_what_a_fit_leaves(bits: np.ndarray, name: str) -> None:
    model = quick(name, n_latent=(3, 2)).fit(bits)
    K = {"dlgmm": 4, "dldpmm": 5}.get(name, 1)
    assert model.n_components_ == K
    assert model.weights_.shape == (K,)
    assert model.weights_.sum() == pytest.approx(1)
    proba = model.predict_proba(bits)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(model.weights_, proba.mean(0))
    np.testing.assert_array_equal(model.labels_, proba.argmax(1))
    codes = model.transform(bits)
    assert codes.shape == (90, 3)  # of the first layer
    assert model.get_feature_names_out().shape == (3,)
    assert model.inverse_transform(codes).shape == bits.shape
    assert model.kind_ == "binary"
    assert set(np.unique(model.sample(50)[0])) == {0.0, 1.0}
    if name == "stick-breaking":
        np.testing.assert_allclose(codes.sum(1), 1)
        assert (codes > 0).all()


@pytest.mark.parametrize(
    ("name", "n_latent"),
    [("gaussian", (2, 2)), ("stick-breaking", 3), ("dlgmm", 2), ("dldpmm", (2, 2))],
)
def test_more_epochs_raise_the_bound(bits: np.ndarray, name: str, n_latent: Any) -> None:
    rate = {"n_latent": n_latent, "learning_rate": 2e-2}
    short, long = (quick(name, max_epochs=n, **rate).fit(bits) for n in (1, 12))
    assert long.lower_bound_ > short.lower_bound_ + 0.02
    share = np.unique(bits, axis=0, return_counts=True)[1] / len(bits)
    assert long.lower_bound_ < (share * np.log(share)).sum()  # Gibbs: no law of bits does better


@pytest.mark.parametrize(
    ("name", "bound"), [("gaussian", "renyi"), ("dlgmm", "elbo"), ("stick-breaking", "iwae")]
)
def test_validation_rows_say_when_to_stop(bits: np.ndarray, name: str, bound: str) -> None:
    """The best epoch's bound is that of the fitted module, by hand, on other rows than X."""
    other = 1 - bits[:23]
    model = quick(name, bound=bound, n_importance_samples=3, max_epochs=20, patience=1)
    model.fit(bits, X_valid=other)
    with torch.no_grad():
        terms = model.module_.objective(
            torch.tensor(other, dtype=torch.float32), torch.Generator().manual_seed(0)
        )
    found = [record["valid_bound"] for record in model.history_]
    assert max(found) == pytest.approx(float(terms.total.mean()), rel=1e-5)
    best = int(np.argmax(found))
    assert model.n_iter_ == len(found) == min(20, best + 1 + 2)  # more than `patience` without
    plain = quick(name, bound=bound, n_importance_samples=3, validation_fraction=0.0, max_epochs=2)
    plain.fit(bits)
    assert [record["valid_bound"] for record in plain.history_] == [None, None]
    # All rows of X train: the first epoch is the same with and without X_valid.
    assert plain.history_[0]["bound"] == model.history_[0]["bound"]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("gaussian", {"n_latent": (2, 2)}),
        ("stick-breaking", {"posterior": "beta"}),
        ("dlgmm", {"prior_means": np.arange(4), "decoder_passes": 2}),
        ("gmvae", {"assignment": "soft"}),
        ("alternating", {"pretrain_epochs": 1}),
    ],
)
def test_a_killed_run_goes_on(
    bits: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    own: dict[str, Any],
) -> None:
    monkeypatch.setattr(chain, "TrainConfig", partial(TrainConfig, checkpoint_seconds=0.0))
    options = {"max_epochs": 5, **own}
    if name in CHAINS:
        options |= {"bound": "iwae", "n_importance_samples": 2}
    whole = quick(name, **options).fit(bits)
    module_of = type(whole)._make_module
    steps = 0

    def dying(self: Any, seed: int) -> Any:
        module = module_of(self, seed)
        objective = module.objective

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == 9:
                raise RuntimeError("killed")
            return objective(*args, **kwargs)

        module.objective = counted
        return module

    monkeypatch.setattr(type(whole), "_make_module", dying)
    with pytest.raises(RuntimeError, match="killed"):
        quick(name, run_dir=tmp_path, **options).fit(bits)
    monkeypatch.setattr(type(whole), "_make_module", module_of)
    resumed = quick(name, run_dir=tmp_path, resume=True, **options).fit(bits)
    np.testing.assert_array_equal(resumed.transform(bits), whole.transform(bits))
    ours, theirs = (
        [{k: v for k, v in record.items() if k != "seconds"} for record in model.history_]
        for model in (resumed, whole)
    )
    assert ours == theirs
    assert resumed.lower_bound_ == whole.lower_bound_
    with pytest.raises(ValueError, match="this fit has n_latent=3"):
        quick(name, run_dir=tmp_path, resume=True, **options | {"n_latent": 3}).fit(bits)


@pytest.mark.parametrize("entropy", ["mixture", "components", "printed"])
def test_learned_priors_move_and_fixed_ones_do_not(bits: np.ndarray, entropy: str) -> None:
    mean, scale = [-1.0, 0.0, 0.5, 1.0], [1.0, 2.0, 1.0, 0.5]
    options = {"entropy": entropy, "prior_means": mean, "prior_scales": scale}
    for is_learned in (False, True):
        layer = quick("dlgmm", learned_prior=is_learned, **options).fit(bits).module_.layers[0]
        for found, start in ((layer.prior_mean, mean), (layer.prior_log_scale, np.log(scale))):
            moved = found.detach().numpy() - np.array(start)[:, None]
            assert (np.abs(moved) > 1e-5).all() == is_learned
            assert np.allclose(moved, 0, atol=1e-6) != is_learned


@pytest.mark.parametrize("name", ["dlgmm", "dldpmm"])
@pytest.mark.parametrize("entropy", ["mixture", "components"])
def test_learned_prior_components_part(bits: np.ndarray, name: str, entropy: str) -> None:
    """Components that start equal would have equal gradients and be one component for ever."""
    model = quick(name, learned_prior=True, entropy=entropy).fit(bits)
    mean = model.module_.layers[0].prior_mean.detach()
    distance = torch.cdist(mean, mean) + 10 * torch.eye(len(mean))
    assert distance.min() > 0.01


@on_every_chain
def test_precision_of_the_answers_is_that_of_the_rows(bits: np.ndarray, name: str) -> None:
    model = quick(name).fit(bits)
    for method in ("transform", "predict_proba", "score_samples"):
        single = getattr(model, method)(bits.astype(np.float32))
        double = getattr(model, method)(bits)
        assert single.dtype == np.float32
        assert double.dtype == np.float64
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(getattr(model, method)(bits[3:4])[0], double[3], rtol=1e-10)


@on_every_chain
def test_divergence_is_said(bits: np.ndarray, name: str) -> None:
    with pytest.raises(DivergedError, match=r"ChainModule .* Lower learning_rate \(now 1e\+30\)"):
        quick(name, learning_rate=1e30).fit(bits)


def test_score_is_the_mean_bound_of_each_rows_draws(bits: np.ndarray) -> None:
    """In units of the data, and never with fewer decoder passes."""
    X = 3 * bits + np.random.default_rng(1).normal(size=bits.shape)
    few = quick("dlgmm", decoder_passes=1).fit(X)
    module = few.module_.double()
    x = torch.cat(list(few.model_rows(X).blocks())).double()
    noise = own_noise(module, x)
    assert noise.shape == (8, 90, 4 * 2)
    with torch.no_grad():
        total = sum(module.elbo(x, draw).total for draw in noise) / 8
    expected = total.numpy() - np.log(X.std(0)).sum()
    np.testing.assert_allclose(few.score_samples(X), expected, rtol=1e-6)

"""The stick-breaking variational autoencoder by the scikit-learn protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, final

from sklearn.utils._param_validation import Interval, StrOptions

from infimix.estimators.chain import CHAIN_PARAMETERS, ChainEstimator
from infimix.models import LAWS, StickLayer, start_of
from infimix.networks import Body, StickEncoder


@final
class StickBreakingVAE(ChainEstimator):
    """Variational autoencoder whose code is a set of stick-breaking weights that sum to 1.

    Parameters
    ----------
    n_latent : int or sequence of int, default=50
        T, truncation: the weights of a code, at least 2; several are as many stochastic layers,
        from the data up.
    posterior : {"kumaraswamy", "beta", "gamma", "logit_normal"}, default="kumaraswamy"
        Law of a stick under q. "beta" is drawn by implicit reparameterisation; "gamma" is the
        ratio of two Gamma variables drawn approximately, as in [1]_.
    concentration : float, default=5.0
        alpha_0 of the prior Beta(1, alpha_0) of a stick.
    kl_terms : int, optional
        Terms of the Taylor series in the KL of a Kumaraswamy, only to reproduce [1]_, where they
        are 10; the exact KL without.
    hidden, bound, n_importance_samples, renyi_order, likelihood, network, image_shape, max_epochs,\
    batch_size, learning_rate, validation_fraction, patience, device, random_state, verbose,\
    run_dir, resume
        See `GaussianVAE`.

    Attributes
    ----------
    n_components_ : int
        1: weights are the code, not components.
    weights_ : ndarray of shape (K,)
        Of the one component.
    labels_ : ndarray of shape (N,)
        All 0.
    lower_bound_ : float
        Evidence lower bound in nats per row, on the rows of the fit.
    history_ : list of dict
        One record an epoch.
    n_iter_ : int
        Epochs.
    interrupted_ : bool
        Whether Ctrl-C ended the fit; the model is then as far as it got.
    kind_sentence_ : str
        What the columns were taken for.

    References
    ----------
    .. [1] Nalisnick and Smyth, "Stick-Breaking Variational Autoencoders", ICLR 2017,
       arXiv:1605.06197.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = StickBreakingVAE(n_latent=4, max_epochs=2, random_state=0).fit(load_iris().data)
    >>> model.transform(load_iris().data)[0].sum().round(6)
    np.float64(1.0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CHAIN_PARAMETERS | {
        "posterior": [StrOptions(set(LAWS))],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "kl_terms": [Interval(Integral, 1, None, closed="left"), None],
    }
    _least_latent = 2

    def __init__(
        self,
        n_latent: int | Sequence[int] = 50,
        *,
        posterior: str = "kumaraswamy",
        concentration: float = 5.0,
        kl_terms: int | None = None,
        hidden: Sequence[int] = (500,),
        bound: str = "elbo",
        n_importance_samples: int = 5,
        renyi_order: float = 0.5,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        max_epochs: int = 1000,
        batch_size: int = 100,
        learning_rate: float = 3e-4,
        validation_fraction: float = 0.1,
        patience: int = 30,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        super().__init__(
            n_latent,
            hidden=hidden,
            bound=bound,
            n_importance_samples=n_importance_samples,
            renyi_order=renyi_order,
            likelihood=likelihood,
            network=network,
            image_shape=image_shape,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            patience=patience,
            device=device,
            random_state=random_state,
            verbose=verbose,
            run_dir=run_dir,
            resume=resume,
        )
        self.posterior = posterior
        self.concentration = concentration
        self.kl_terms = kl_terms

    def _begin(self, n_rows: int) -> None:
        super()._begin(n_rows)
        if self.kl_terms is not None and self.posterior != "kumaraswamy":
            raise ValueError(
                "kl_terms is for posterior='kumaraswamy', whose KL has that series; got "
                f"kl_terms={self.kl_terms} with posterior={self.posterior!r}: leave it at None."
            )

    def _layer(self, body: Body, n_latent: int, above: Body | None) -> StickLayer:
        alpha, n_sticks = float(self.concentration), n_latent - 1
        prior = None if above is None else StickEncoder(above, start_of("beta", alpha, n_sticks))
        encoder = StickEncoder(body, start_of(self.posterior, alpha, n_sticks))
        return StickLayer(encoder, self.posterior, alpha, prior=prior, kl_terms=self.kl_terms)

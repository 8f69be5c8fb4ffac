"""The Gaussian variational autoencoder by the scikit-learn protocol."""

from __future__ import annotations

from typing import final

import torch

from infimix.estimators.chain import ChainEstimator
from infimix.models import MixtureLayer
from infimix.networks import Body, Encoder, MixtureEncoder


@final
class GaussianVAE(ChainEstimator):
    """Variational autoencoder with one standard normal prior: embedding, density and samples.

    The baseline of both papers. There are no clusters in it: `predict` gives one component.

    Parameters
    ----------
    n_latent : int or sequence of int, default=25
        L; several are as many stochastic layers, from the data up.
    hidden : sequence of int, default=(500,)
        Widths of the hidden layers of each network="mlp", from the data up.
    bound : {"elbo", "iwae", "renyi"}, default="elbo"
        What training climbs: the evidence lower bound, or the tighter bound of several draws
        together, importance-weighted or Renyi's.
    n_importance_samples : int, default=5
        These draws; the "elbo" takes one.
    renyi_order : float in [0, 1], default=0.5
        Order of bound="renyi": 0 is the importance-weighted bound, 1 the ELBO.
    likelihood : str, default="auto"
        "bernoulli", "expected_bernoulli", "continuous_bernoulli", "normal" or
        "negative_binomial"; "auto" follows the kind of the data.
    network : {"mlp", "conv"}, default="mlp"
        "conv" needs `image_shape`.
    image_shape : tuple (H, W) or (H, W, C), optional
        Shape of the image that a row is.
    max_epochs : int, default=1000
    batch_size : int, default=100
    learning_rate : float, default=3e-4
        Of Adam.
    validation_fraction : float, default=0.1
        Share of the rows that never train and decide when to stop, without labels.
    patience : int, default=30
        Epochs without a better validation bound before the end.
    device : str, default="auto"
        "auto" takes CUDA if there is one.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result on the same machine.
    verbose : int, default=0
    run_dir : path, optional
        Where history and checkpoints go during the fit.
    resume : bool, default=False
        Go on from the last checkpoint in `run_dir`.

    Attributes
    ----------
    n_components_ : int
        1.
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
    .. [1] Kingma and Welling, "Auto-Encoding Variational Bayes", 2014.
    .. [2] Rezende, Mohamed and Wierstra, "Stochastic Backpropagation and Approximate Inference in
       Deep Generative Models", 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = GaussianVAE(n_latent=2, max_epochs=2, random_state=0).fit(load_iris().data)
    >>> model.transform(load_iris().data).shape
    (150, 2)
    """

    def _layer(self, body: Body, n_latent: int, above: Body | None) -> MixtureLayer:
        none, one = torch.zeros(0, 2), torch.ones(1)
        encoder = MixtureEncoder(body, 1, n_latent, none)
        prior = None if above is None else Encoder(above, n_latent, 0.0)
        return MixtureLayer(encoder, none, 0 * one, one, prior=prior)

"""A fitted mixture as the buffers of a module: what is saved, loaded and moved to devices."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from infimix.mixture.dp import DPMixture
from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.weights import FiniteDirichlet, StickBreaking, WeightLaw


@final
class MixtureState(nn.Module):
    """A `DPMixture` and its prior's reference as buffers, so that they are saved with the networks.

    The number of components is that of the mixture last stored or loaded.
    """

    sums: Tensor
    alpha: Tensor
    truncation: Tensor
    zeta: Tensor
    inverse_dof: Tensor

    def __init__(self, family: Family, law: WeightLaw) -> None:
        super().__init__()
        self.family = family
        eye = torch.eye(family.n_features, dtype=torch.float64)
        weak = family.weak_prior(eye.new_zeros(family.n_features), eye, kappa=1.0)
        self.register_buffer("sums", eye.new_zeros(0, family.n_statistics))
        self.register_buffer("alpha", eye.new_tensor(law.alpha))
        finite = law.n_components if isinstance(law, FiniteDirichlet) else 0
        self.register_buffer("truncation", torch.tensor(finite))  # 0: a Dirichlet process
        self.register_buffer("zeta", eye.new_tensor(1.0))
        self.register_buffer("inverse_dof", eye.new_tensor(0.0))
        for name, value in weak._asdict().items():
            self.register_buffer(f"prior_{name}", value)
            self.register_buffer(f"reference_{name}", value.clone())

    def _law(self, role: str) -> NormalWishart:
        return NormalWishart(*(getattr(self, f"{role}_{name}") for name in NormalWishart._fields))

    @property
    def reference(self) -> NormalWishart:
        """Prior at the scale of all latent means, that the learned prior leans on."""
        return self._law("reference")

    @property
    def law(self) -> WeightLaw:
        """Prior of the weights."""
        alpha, n = float(self.alpha), int(self.truncation)
        return FiniteDirichlet(alpha, n) if n else StickBreaking(alpha)

    def load(self) -> DPMixture:
        """Mixture that the buffers hold."""
        prior, zeta, inverse = self._law("prior"), float(self.zeta), float(self.inverse_dof)
        dof = 1 / inverse if inverse > 0 else math.inf
        return DPMixture(self.family, prior, self.law, self.sums, zeta, dof)

    def store(self, mixture: DPMixture, reference: NormalWishart | None = None) -> None:
        """Keep this mixture, on the device of the buffers."""
        device = self.alpha.device
        laws = {"prior": mixture.prior, "reference": reference or self.reference}
        for role, law in laws.items():
            for name, value in law._asdict().items():
                setattr(self, f"{role}_{name}", value.to(device))
        self.zeta = self.zeta.new_tensor(mixture.zeta)
        self.inverse_dof = self.inverse_dof.new_tensor(1 / mixture.dof)
        # Last: Ctrl-C before it leaves the number of components.
        self.sums = mixture.sums.to(device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        sums = state_dict.get(f"{prefix}sums")
        if sums is not None:  # make room for as many components as are coming
            self.sums = self.sums.new_zeros(sums.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

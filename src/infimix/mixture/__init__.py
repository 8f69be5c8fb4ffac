"""Dirichlet-process Gaussian mixtures on additive statistics: no network, no labels, no files."""

from infimix.mixture.births import badly_explained, create_while_better
from infimix.mixture.blocks import (
    BLOCK_ROWS,
    SAMPLE_ROWS,
    Block,
    Blocks,
    moments,
    plain_moments,
    sample_rows,
)
from infimix.mixture.clefts import part_at_valleys
from infimix.mixture.deaths import delete_while_better, losses_at_once
from infimix.mixture.diagonal import DiagonalCovariance
from infimix.mixture.dp import (
    DPMixture,
    Explained,
    Statistics,
    e_step,
    features_of,
    responsibilities,
)
from infimix.mixture.families import VARIANCE_FLOOR, Family, NormalWishart
from infimix.mixture.fit import fit_mixture, join_parts, search, settle, without_background
from infimix.mixture.full import FullCovariance
from infimix.mixture.moves import (
    Merge,
    Parting,
    coarsen,
    log_partition_evidence,
    merge,
    merge_gains,
    merge_while_better,
    rows_worth,
)
from infimix.mixture.spherical import SphericalCovariance
from infimix.mixture.splits import k_means, most_probable, split
from infimix.mixture.state import MixtureState
from infimix.mixture.stream import Reservoir, Stream
from infimix.mixture.sweeps import Memo, MixtureFit, Sweep, improve
from infimix.mixture.valleys import (
    VALLEY,
    Join,
    falls_between,
    group_moments,
    groups_of,
    join_path,
    kept_numbers,
    parted,
    valley_falls,
)
from infimix.mixture.weights import FiniteDirichlet, StickBreaking, WeightLaw

__all__ = [
    "BLOCK_ROWS",
    "SAMPLE_ROWS",
    "VALLEY",
    "VARIANCE_FLOOR",
    "Block",
    "Blocks",
    "DPMixture",
    "DiagonalCovariance",
    "Explained",
    "Family",
    "FiniteDirichlet",
    "FullCovariance",
    "Join",
    "Memo",
    "Merge",
    "MixtureFit",
    "MixtureState",
    "NormalWishart",
    "Parting",
    "Reservoir",
    "SphericalCovariance",
    "Statistics",
    "StickBreaking",
    "Stream",
    "Sweep",
    "WeightLaw",
    "badly_explained",
    "coarsen",
    "create_while_better",
    "delete_while_better",
    "e_step",
    "falls_between",
    "features_of",
    "fit_mixture",
    "group_moments",
    "groups_of",
    "improve",
    "join_parts",
    "join_path",
    "k_means",
    "kept_numbers",
    "log_partition_evidence",
    "losses_at_once",
    "merge",
    "merge_gains",
    "merge_while_better",
    "moments",
    "most_probable",
    "part_at_valleys",
    "parted",
    "plain_moments",
    "responsibilities",
    "rows_worth",
    "sample_rows",
    "search",
    "settle",
    "split",
    "valley_falls",
    "without_background",
]

"""What the verbs say about a fit, as tables."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from infimix.evaluation import LikelihoodEstimate, NeighbourErrors


def print_fit(console: Console, metrics: dict[str, Any]) -> None:
    """Components with weight and size if there are several, the bound, and scores if labels."""
    n_components = metrics["n_components"]
    if n_components > 1 or metrics["finds_clusters"]:
        table = Table("component", "weight", "size")
        for column in table.columns:
            column.justify = "right"
        for k, (weight, size) in enumerate(zip(metrics["weights"], metrics["sizes"], strict=True)):
            table.add_row(str(k), f"{weight:.4f}", str(size))
        console.print(table)
    console.print(
        f"{n_components} component{'s' if n_components > 1 else ''} in {metrics['n_rows']} rows; "
        f"bound {metrics['lower_bound']:.4f} nats per row; {metrics['seconds']:.1f} s",
        soft_wrap=True,
    )
    if "scores" in metrics:
        print_scores(console, metrics["scores"])


def print_scores(console: Console, scores: dict[str, dict[str, float]]) -> None:
    """One row a score, one column a split."""
    table = Table("score", *scores)
    for name in next(iter(scores.values())):
        table.add_row(name, *(f"{of_split[name]:.4g}" for of_split in scores.values()))
    console.print(table)
    console.print("The labels were used for these scores only, not for the fit.")


def print_likelihood(console: Console, estimate: "LikelihoodEstimate") -> None:
    """One row for each number of samples."""
    table = Table("samples", "log-likelihood", "± rows", "± sampling", "mean ESS", "least ESS")
    for column in table.columns:
        column.justify = "right"
    for n_samples, each in (estimate.at | {estimate.n_samples: estimate}).items():
        sampling = each.monte_carlo_error
        table.add_row(
            str(n_samples),
            f"{each.log_likelihood:.4f}",
            f"{each.standard_error:.4f}",
            "–" if sampling is None else f"{sampling:.4f}",
            f"{each.ess_mean:.1f}",
            f"{each.ess_min:.1f}",
        )
    console.print(table)
    console.print(
        "Log-likelihood in nats per row by importance sampling, with the standard errors that rows "
        "and samples bring; ESS is the effective sample size of a row.",
        soft_wrap=True,
    )


def print_neighbours(console: Console, errors: "NeighbourErrors") -> None:
    """One row for each number of neighbours."""
    table = Table("neighbours", "error on means, %", "error on samples, %")
    for column in table.columns:
        column.justify = "right"
    for k, error in errors.means.items():
        of_samples = "–" if errors.samples is None else f"{errors.samples[k]:.2f}"
        table.add_row(str(k), f"{error:.2f}", of_samples)
    console.print(table)
    console.print(
        f"Wrong among {errors.n_test} rows by their nearest of {errors.n_train} rows of the fit, "
        "in the latent space.",
        soft_wrap=True,
    )

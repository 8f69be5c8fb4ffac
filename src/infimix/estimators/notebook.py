"""What a notebook shows of an estimator: scikit-learn's diagram, and what the fit has found."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

MAX_SHOWN = 10  # components


class NotebookSummary:
    """Adds a short summary to the HTML of a fitted estimator."""

    def _repr_html_inner(self) -> str:
        """HTML for those who do not read `_repr_mimebundle_`."""
        return super()._repr_html_inner() + _summary(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """Text and, unless scikit-learn is set to display text, HTML."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += _summary(self)
        return bundle


def _summary(estimator: Any) -> str:
    """Components, their sizes and the bound of a fitted estimator; nothing of another."""
    if not estimator.__sklearn_is_fitted__():
        return ""
    K, n_rows = estimator.n_components_, len(estimator.labels_)
    bound = f"bound {estimator.lower_bound_:.4g} nats per row".replace("-", "\N{MINUS SIGN}")
    if not estimator.finds_clusters:
        return f"<p>Fitted to {n_rows:,} rows: {bound}.</p>"
    sizes = np.bincount(estimator.labels_, minlength=K)
    largest = np.argsort(-sizes, kind="stable")[:MAX_SHOWN]
    cells = "".join(f"<tr><td>{k}</td><td>{sizes[k]:,}</td></tr>" for k in largest)
    rest = sizes.sum() - sizes[largest].sum()
    if K > MAX_SHOWN:
        cells += f"<tr><td>{K - MAX_SHOWN} more</td><td>{rest:,}</td></tr>"
    head = "<tr><th>component</th><th>rows</th></tr>"
    return (
        f"<p>{K} component{'s' * (K > 1)} in {n_rows:,} rows, {bound}; "
        f"{escape(estimator.kind_sentence_)}.</p>"
        f"<table><thead>{head}</thead><tbody>{cells}</tbody></table>"
    )

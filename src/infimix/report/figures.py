"""Interactive figures of a report, as plotly JSON; CSS sets their colours of ink and paper."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from numpy.typing import NDArray

from infimix.plots import COLOURS, SHALLOWEST, tree_of
from infimix.report.calibration import Calibration
from infimix.report.groups import Group

TRAIN_COLOUR, VALID_COLOUR = COLOURS[0], COLOURS[5]
GREY = "#8A8A8A"
TERMS = {  # of the bound, in nats per row
    "reconstruction": "Reconstruction: E log p(x | z)",
    "entropy": "Entropy of q(z | x)",
    "log_prior": "Log prior of the codes: E log p(z)",
    "kl_mixture": "KL of weights and mixture, subtracted",
    "tightening": "Gain by several draws",
}


@dataclass(frozen=True)
class Plot:
    """One interactive figure with the words around it.

    Attributes
    ----------
    name : str
        Unique in the page.
    title, caption, alt : str
        Plain text; ``alt`` says what a person sees who cannot see the figure.
    json : str
        Data and layout for plotly.js.
    """

    name: str
    title: str
    caption: str
    alt: str
    json: str


def bound_plots(history: list[dict[str, Any]]) -> list[Plot]:
    """Curves of the bound, one figure for each phase because phases differ in scale."""
    words = {
        "warm-up": (
            "Warm-up",
            "An autoencoder's start: another quantity, on another scale than the joint bound.",
        ),
        "joint": ("Joint phase", "Network and mixture together; higher is better."),
        "fine-tuning": ("Fine-tuning", "Each row decoded from its own code; higher is better."),
        "mixture": ("Mixture", "One point for each sweep over the rows; higher is better."),
    }
    phases = list(dict.fromkeys(str(entry["phase"]) for entry in history))
    plots = []
    for i, phase in enumerate(phases):
        entries = [entry for entry in history if entry["phase"] == phase]
        title, caption = words.get(phase, (phase, "Higher is better."))
        if phases == ["joint"]:  # without a warm-up before it there is no mixture to join
            title, caption = "training", "Higher is better."
        figure = go.Figure()
        for key, name, colour, dash in (
            ("bound", "train", TRAIN_COLOUR, "solid"),
            ("valid_bound", "validation", VALID_COLOUR, "dot"),
        ):
            _add_curve(figure, entries, key, name, {"color": colour, "dash": dash, "width": 2})
        if not figure.data:
            continue
        last = entries[-1].get("bound")
        _dress(figure, "sweep" if phase == "mixture" else "epoch", "nats per row")
        figure.update_layout(showlegend=len(figure.data) > 1)
        alt = f"Curve of the bound over {len(entries)} epochs of the phase {phase}" + (
            f", ending at {last:.4g} nats per row." if last is not None else "."
        )
        plots.append(Plot(f"bound-{i}", f"Bound: {title}", caption, alt, figure.to_json()))
    return plots


def components_plot(history: list[dict[str, Any]], n_components: int) -> Plot | None:
    """Draw the number of components over epochs, the warm-up shaded; None if never recorded.

    The caption says how the last recorded number became the fit's `n_components`.
    """
    drawn = [(e["epoch"], e["n_components"]) for e in history if e.get("n_components") is not None]
    if not drawn:
        return None
    epochs, numbers = zip(*drawn, strict=True)
    figure = go.Figure()
    figure.add_scatter(
        x=epochs,
        y=numbers,
        mode="lines+markers" if len(drawn) <= 60 else "lines",
        line={"color": TRAIN_COLOUR, "shape": "hv", "width": 2},
        marker={"size": 5},
        hovertemplate="%{x}<br>%{y}<extra></extra>",
    )
    has_parts = history[-1]["phase"] == "mixture"
    words = ("sweep", "parts") if has_parts else ("epoch", "components")
    _dress(figure, *words)
    figure.update_yaxes(rangemode="tozero", tickformat="d")
    caption = f"{words[1].capitalize()} are merged as far as the evidence of the partition asks."
    warm_up = [entry["epoch"] for entry in history if entry["phase"] == "warm-up"]
    if warm_up:
        caption += " Shaded: warm-up, before there is a mixture."
        figure.add_vrect(
            x0=min(warm_up) - 0.5,
            x1=max(warm_up) + 0.5,
            fillcolor="#8A8A8A",
            opacity=0.18,
            line_width=0,
        )
    alt = f"Number of components over epochs, from {numbers[0]} to {numbers[-1]}."
    if numbers[-1] != n_components:
        caption += (
            f" Parts with no deep valley between them are joined: {numbers[-1]} → "
            f"{n_components} groups."
            if has_parts
            else " After the last epoch the best weights are put back and the mixture settles, "
            f"merging as far as the evidence asks: {numbers[-1]} → {n_components} components."
        )
        alt += f" The fit ends with {n_components}."
    return Plot("n-components", "Number of components", caption, alt, figure.to_json())


def terms_plot(history: list[dict[str, Any]]) -> Plot | None:
    """Curves of the terms of the bound on the training rows; None if none were recorded."""
    entries = [entry for entry in history if entry["phase"] != "warm-up"]
    figure = go.Figure()
    for i, (key, words) in enumerate(TERMS.items()):
        line = {"color": COLOURS[i], "dash": ("solid", "dot", "dash")[i % 3], "width": 2}
        _add_curve(figure, entries, key, words.partition(":")[0].partition(",")[0], line)
    if not figure.data:
        return None
    _dress(figure, "epoch", "nats per row")
    figure.update_layout(showlegend=True)
    alt = f"Curves of {len(figure.data)} terms of the bound; their last values are in the table."
    caption = "The bound is the sum of these, but for the KL, which is subtracted."
    return Plot("terms", "Terms of the bound", caption, alt, figure.to_json())


def _add_curve(
    figure: go.Figure, entries: list[dict[str, Any]], key: str, name: str, line: dict[str, Any]
) -> None:
    """Draw one number of the records over epochs; nothing if none has it."""
    drawn = [(e["epoch"], e[key]) for e in entries if e.get(key) is not None]
    if drawn:
        epochs, values = zip(*drawn, strict=True)
        figure.add_scatter(
            x=epochs,
            y=values,
            name=name,
            mode="lines+markers" if len(drawn) <= 60 else "lines",
            line=line,
            marker={"size": 5},
            hovertemplate=f"epoch %{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
        )


def last_terms(history: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Terms of the bound in words, and their values at the last epoch."""
    last = history[-1] if history else {}
    return [(words, last[key]) for key, words in TERMS.items() if last.get(key) is not None]


def tree_plot(merge_path: NDArray, groups: list[Group], n_components: int) -> Plot | None:
    """Tree by which leaves join, to components and further to one; None where there is one leaf.

    The page's script colours the leaves (the last trace, whose `customdata` are their numbers) and
    draws the cut.
    """
    if not len(merge_path):
        return None
    n_leaves = len(merge_path) + 1
    tree = tree_of(merge_path.tolist(), n_leaves)
    figure = go.Figure()
    for x, y in zip(tree.x.tolist(), tree.y.tolist(), strict=True):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": GREY, "width": 2},
            hovertemplate=f"valley of {y[1]:.3g} nats<extra></extra>",
        )
    x = [5 + 10 * i for i in range(n_leaves)]  # where scipy puts them
    leaves = [groups[leaf] for leaf in tree.leaves]
    figure.add_scatter(
        x=x,
        y=[SHALLOWEST / 2] * n_leaves,
        mode="markers",
        marker={
            "size": 11,
            "color": [leaf.sign.colour for leaf in leaves],
            "symbol": [leaf.sign.symbol for leaf in leaves],
        },
        text=[leaf.name for leaf in leaves],
        customdata=[leaf.number for leaf in leaves],
        hovertemplate="%{text}<extra></extra>",
    )
    _dress(figure, "smallest groups", "depth of the valley in nats")
    figure.update_xaxes(tickvals=x, ticktext=[leaf.name for leaf in leaves])
    figure.update_yaxes(type="log", dtick=1)
    caption = "The deeper the valley of the density between two groups, the higher they join. "
    made = [join[3] for join in merge_path[: n_leaves - n_components]]
    waiting = [join[3] for join in merge_path[n_leaves - n_components :]]
    if made:
        caption += f"The deepest valley inside a group of the fit is {max(made):.3g} nats. "
    if waiting:
        caption += f"The shallowest between two is {min(waiting):.3g} nats. "
    caption += "The dashed line is the cut of the slider; choose a group by its sign below."
    alt = f"Tree that joins {n_leaves} groups to {n_components} components of the fit, and to one."
    return Plot("tree", "Tree of groups", caption, alt, figure.to_json())


def calibration_plot(found: Calibration) -> Plot:
    """Curves of agreement and correctness over confidence, beside the diagonal."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        name="as sure as right",
        hoverinfo="skip",
    )
    x = [each.confidence for each in found.bins]
    curves = [("neighbours agree", COLOURS[0], "circle", [each.agreement for each in found.bins])]
    if found.label_error is not None:
        right = [each.right for each in found.bins]
        curves.append(("label is the group's", COLOURS[5], "square", right))
    for name, colour, symbol, y in curves:
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 8, "symbol": symbol},
            customdata=[each.n_rows for each in found.bins],
            hovertemplate="%{customdata} rows, sure %{x:.3f}<br>"
            f"{name} %{{y:.3f}}<extra></extra>",
        )
    _dress(figure, "confidence", "share of rows")
    figure.update_layout(showlegend=True)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(range=[-0.02, 1.05])
    caption = "Below the diagonal the fit is surer than what is counted, above it less sure."
    alt = f"Calibration over {len(found.bins)} bins of confidence; the table has the numbers."
    return Plot("calibration", "Calibration", caption, alt, figure.to_json())


def _dress(figure: go.Figure, x_title: str, y_title: str) -> None:
    """Layout that all figures share; colours of ink and paper are added in the page."""
    figure.update_layout(
        template="none",
        margin={"l": 8, "r": 16, "t": 16, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(title=x_title, automargin=True, zeroline=False, showgrid=False)
    figure.update_yaxes(title=y_title, automargin=True, zeroline=False, nticks=6)

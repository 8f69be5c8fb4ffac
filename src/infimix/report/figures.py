"""Interactive figures of a report, as plotly JSON; colours of ink and paper are set by CSS."""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from infimix.plots import (
    COLOURS,
    SHALLOWEST,
    component_style,
    drawn_rows,
    project,
    tree_of,
)

TRAIN_COLOUR, VALID_COLOUR = COLOURS[0], COLOURS[5]

MAX_LABELS = 30  # with colours of their own


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
    tall : bool
    """

    name: str
    title: str
    caption: str
    alt: str
    json: str
    tall: bool = False


def bound_plots(history: list[dict[str, Any]]) -> list[Plot]:
    """Curves of the bound, one figure for each phase because phases differ in scale."""
    words = {
        "warm-up": (
            "Warm-up",
            "An autoencoder's start: another quantity, on another scale than the joint bound.",
        ),
        "joint": ("Joint phase", "Network and mixture together; higher is better."),
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
            drawn = [(e["epoch"], e[key]) for e in entries if e.get(key) is not None]
            if drawn:
                epochs, values = zip(*drawn, strict=True)
                figure.add_scatter(
                    x=epochs,
                    y=values,
                    name=name,
                    mode="lines+markers" if len(drawn) <= 60 else "lines",
                    line={"color": colour, "dash": dash, "width": 2},
                    marker={"size": 5},
                    hovertemplate=f"epoch %{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
                )
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
        hovertemplate="epoch %{x}<br>%{y} components<extra></extra>",
    )
    _dress(figure, "epoch", "components")
    figure.update_yaxes(rangemode="tozero", tickformat="d")
    caption = "Components are merged as far as the evidence of the partition asks."
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
            " After the last epoch the best weights are put back and the mixture settles, merging "
            f"as far as the evidence asks: {numbers[-1]} → {n_components} components."
        )
        alt += f" The fit ends with {n_components}."
    return Plot("n-components", "Number of components", caption, alt, figure.to_json())


def sizes_plot(sizes: NDArray, weights: NDArray) -> Plot:
    """Bars of rows in each component, largest first."""
    order = np.argsort(-sizes, kind="stable")
    share = sizes / max(sizes.sum(), 1)
    figure = go.Figure()
    figure.add_bar(
        x=[str(k) for k in order],
        y=sizes[order],
        marker={"color": [component_style(k)[0] for k in order]},
        customdata=np.stack([share[order], weights[order]], axis=1).tolist(),
        hovertemplate="component %{x}<br>%{y} rows (%{customdata[0]:.1%})"
        "<br>mixture weight %{customdata[1]:.4f}<extra></extra>",
    )
    _dress(figure, "component", "rows")
    figure.update_xaxes(type="category")
    alt = f"Bars of the rows in {len(sizes)} components, from {sizes.max()} to {sizes.min()} rows."
    return Plot("sizes", "Component sizes", "Rows in each component.", alt, figure.to_json())


def tree_plot(merge_path: list[list[float]], component_of_part: list[int]) -> Plot | None:
    """Tree by which parts join to components; None where there is one part."""
    if not merge_path:
        return None
    n_parts = len(component_of_part)
    tree = tree_of(merge_path, n_parts)
    figure = go.Figure()
    for x, y in zip(tree.x.tolist(), tree.y.tolist(), strict=True):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": "#8A8A8A", "width": 2},
            hovertemplate=f"valley of {y[1]:.3g} nats<extra></extra>",
        )
    leaves = [component_of_part[part] for part in tree.leaves]
    x = [5 + 10 * i for i in range(n_parts)]  # where scipy puts them
    styles = [component_style(k) for k in leaves]
    figure.add_scatter(
        x=x,
        y=[SHALLOWEST / 2] * n_parts,
        mode="markers",
        marker={"size": 9, "color": [s[0] for s in styles], "symbol": [s[1] for s in styles]},
        customdata=list(zip(tree.leaves, leaves, strict=True)),
        hovertemplate="part %{customdata[0]}<br>component %{customdata[1]}<extra></extra>",
    )
    n_components = 1 + max(component_of_part)
    _dress(figure, "component of each part", "depth of the valley in nats")
    figure.update_xaxes(tickvals=x, ticktext=[str(k) for k in leaves])
    figure.update_yaxes(type="log", dtick=1)
    made = [join[3] for join in merge_path[: n_parts - n_components]]
    waiting = [join[3] for join in merge_path[n_parts - n_components :]]
    caption = "Parts that no deep valley of the density lies between are one component. "
    if made:
        caption += f"The deepest valley inside a component is {max(made):.3g} nats. "
    if waiting:
        caption += f"The shallowest between two is {min(waiting):.3g} nats. "
    caption += "Cut the tree elsewhere with cut(n_components)."
    alt = f"Tree that joins {n_parts} parts to {n_components} components and further, to one."
    return Plot("tree", "Tree of components", caption, alt, figure.to_json())


def latent_map(summary: dict[str, NDArray], n_rows: int, *, finds_clusters: bool = True) -> Plot:
    """Scatter of the latent means, one trace for each component, its number at its median.

    Of a model that finds no clusters one trace for each label, if there are labels and few of them.
    """
    shown = drawn_rows(len(summary["row"]))
    projection = project(summary["embedding"][shown])
    component, row = summary["component"][shown], summary["row"][shown]
    confidence = summary["confidence"][shown]
    label = _label_texts(summary, shown)
    group = component
    if not finds_clusters:
        group = _few_labels(summary, shown)
    has_names = finds_clusters or np.ptp(group) > 0
    figure = go.Figure()
    for k in np.unique(group):
        member = np.flatnonzero(group == k)
        colour, symbol = component_style(k)
        columns = [row[member].tolist()]
        template = "row %{customdata[0]}"
        if finds_clusters:
            columns.append(np.round(confidence[member], 4).tolist())
            template += f"<br>component {k}<br>confidence %{{customdata[1]:.3f}}"
        if label is not None:
            template += f"<br>label %{{customdata[{len(columns)}]}}"
            columns.append([label[i] for i in member])
        name = str(k) if finds_clusters or label is None else label[member[0]]
        figure.add_scatter(
            x=projection.xy[member, 0].astype(np.float32),
            y=projection.xy[member, 1].astype(np.float32),
            name=f"component {name}" if finds_clusters else name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.85},
            customdata=list(zip(*columns, strict=True)),
            hovertemplate=template + "<extra></extra>",
        )
        if has_names:
            x, y = np.median(projection.xy[member], axis=0)
            figure.add_annotation(x=x, y=y, text=f"<b>{name}</b>", showarrow=False, borderpad=2)
    _dress(figure, "", "")
    figure.update_xaxes(showticklabels=False, showgrid=False, showline=False)
    figure.update_yaxes(showticklabels=False, showgrid=False, showline=False)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8}, hovermode="closest")
    caption = f"{projection.method} of the latent means of "
    if len(shown) == n_rows:
        caption += f"all {n_rows:,} rows. "
    else:
        caption += (
            f"{len(shown):,} of {n_rows:,} rows, drawn at random so that the page stays light. "
        )
    caption += projection.note
    alt = f"Scatter plot of {len(shown)} latent means"
    if finds_clusters:
        caption += "Hover for row (counted from 0), component and confidence."
        alt += f" in {len(np.unique(group))} components"
    elif has_names:
        caption += "Colours are the labels, which the fit never saw. Hover for row and label."
        alt += f" in the colours of {len(np.unique(group))} labels"
    else:
        caption += "Hover for the row (counted from 0)."
    alt += f" ({projection.method})."
    return Plot("map", "Latent map", caption, alt, figure.to_json(), tall=True)


def _few_labels(summary: dict[str, NDArray], shown: NDArray) -> NDArray:
    """Label of each point (M,); 0 for all where there are none, or too many to be told apart."""
    label = summary["label"][shown] if "label" in summary else np.zeros(len(shown), dtype=int)
    return label if len(np.unique(label)) <= MAX_LABELS else np.zeros_like(label)


def _label_texts(summary: dict[str, NDArray], shown: NDArray) -> list[str] | None:
    """Label of each point with plotly's mark-up made harmless; None without labels."""
    if "label" not in summary:
        return None
    label = summary["label"][shown]
    names = summary.get("label_names")
    texts = [str(y if names is None or y >= len(names) else names[y]) for y in label.tolist()]
    return [escape(text, quote=False) for text in texts]


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

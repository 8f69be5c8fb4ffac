"""What the card of a group shows: pictures for images, features and values for tables."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infimix.evaluation.pictures import Tiles, tiles_for
from infimix.report.features import FeatureEffects
from infimix.report.groups import Group
from infimix.report.images import strip

N_TABLE_ROWS = 3  # of a kind, where rows are lines of a table
MAX_BYTES = 1_800_000  # of the pixels of means and samples together, before compression


class Example(NamedTuple):
    """A row of the data, as an example of a group."""

    place: int  # among the rows that are kept
    row: int  # of the data, counted from 0
    confidence: float  # that it belongs to the group
    other: str  # name of the group it could belong to instead, "" if there is none


class Card(NamedTuple):
    """One group; what does not apply is None or empty."""

    group: Group
    typical: list[Example]
    borderline: list[Example]
    mean: str  # data URI
    drawn: str  # data URI
    features: list[dict[str, Any]]
    words: list[tuple[str, str]]
    names: list[str]  # of the columns of the three tables below
    typical_values: list[list[float]]
    borderline_values: list[list[float]]
    drawn_values: list[list[float]]


def image_tiles(summary: dict[str, NDArray], n_groups: int) -> Tiles:
    """One size and one scale of grey for means, samples and reconstructions of the report."""
    n_images = n_groups * (summary["samples"].shape[1] + 1) + 2 * len(summary.get("x", ()))
    low, high = summary["range"].tolist()
    return tiles_for(tuple(summary["image_shape"].tolist()), low, high, n_images, MAX_BYTES)


def image_cards(summary: dict[str, NDArray], groups: list[Group], tiles: Tiles) -> list[Card]:
    """Cards of groups of images."""
    cards = []
    for group in groups:
        typical, borderline = _examples(summary, groups, group)
        mean = _of_leaves(summary["leaf_mean"], summary["leaf_weight"], group.leaves)
        cards.append(
            Card(
                group=group,
                typical=typical,
                borderline=borderline,
                mean=strip(tiles, mean[None]),
                drawn=strip(tiles, _drawn(summary, group)),
                features=[],
                words=[],
                names=[],
                typical_values=[],
                borderline_values=[],
                drawn_values=[],
            )
        )
    return cards


def table_cards(
    summary: dict[str, NDArray], groups: list[Group], effects: FeatureEffects
) -> list[Card]:
    """Cards of groups of rows with columns."""
    line = {place: i for i, place in enumerate(summary["shown"].tolist())}
    cards = []
    for i, group in enumerate(groups):
        typical, borderline = (found[:N_TABLE_ROWS] for found in _examples(summary, groups, group))
        columns = effects.order(i)
        values = [
            [summary["shown_x"][line[example.place], columns].tolist() for example in examples]
            for examples in (typical, borderline)
        ]
        cards.append(
            Card(
                group=group,
                typical=typical,
                borderline=borderline,
                mean="",
                drawn="",
                features=effects.strongest(i),
                words=effects.words(i),
                names=[effects.names[d] for d in columns],
                typical_values=values[0],
                borderline_values=values[1],
                drawn_values=_drawn(summary, group)[:N_TABLE_ROWS, columns].tolist(),
            )
        )
    return cards


def _examples(
    summary: dict[str, NDArray], groups: list[Group], group: Group
) -> tuple[list[Example], list[Example]]:
    """Typical rows of a group, and those that nearly belong to another."""
    found = []
    for name in ("typical", "borderline"):
        places = summary[name][group.number]
        found.append([_example(summary, groups, group, i) for i in places[places >= 0].tolist()])
    return found[0], found[1]


def _example(summary: dict[str, NDArray], groups: list[Group], group: Group, place: int) -> Example:
    """Row at this place as an example of a group."""
    near, resp = summary["near"][place], summary["near_resp"][place]
    mine = np.isin(near, group.leaves)
    other = ""
    if not mine.all():
        leaf = int(near[~mine][0])
        component = summary["leaf_component"]
        inside = component[leaf] in component[list(group.leaves)]
        other = groups[leaf].name if inside else str(component[leaf])
    row = int(summary["row"][place])
    return Example(place, row, min(1.0, float(resp[mine].sum())), other)


def _drawn(summary: dict[str, NDArray], group: Group) -> NDArray:
    """Samples (S, D) of a group: of its leaves, each in turn by its weight."""
    samples = summary["samples"]  # (P, S, D)
    leaves = list(group.leaves)
    n = samples.shape[1]
    turn = (np.arange(n) + 0.5)[:, None] / np.maximum(summary["leaf_weight"][leaves], 1e-12)
    order = np.argsort(turn, axis=None, kind="stable")[:n]
    draw, leaf = np.unravel_index(order, turn.shape)
    drawn: NDArray = samples[np.array(leaves)[leaf], draw]
    return drawn


def _of_leaves(values: NDArray, weights: NDArray, leaves: tuple[int, ...]) -> NDArray:
    """Weighted mean (D,) of the rows (P, D) of some leaves."""
    own = np.maximum(weights[list(leaves)], 1e-12)
    mean: NDArray = own / own.sum() @ values[list(leaves)]
    return mean

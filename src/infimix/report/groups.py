"""The groups of every cut of a fit's tree: their names, signs and numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infimix.evaluation.tree import Node, nodes_of
from infimix.plots.signs import Sign, sign_of

MAX_NAMES = 3  # components that are named in the name of a group of several


class Group(NamedTuple):
    """A node of the tree: a component of the fit, a piece of one, or several together."""

    number: int  # of the node
    name: str
    leaves: tuple[int, ...]
    fewest: int  # groups in the coarsest cut that has this one
    most: int  # groups in the finest cut that has it
    size: int  # of all rows
    share: float
    weight: float
    confidence: float | None  # mean over its rows that are kept; None without any
    sign: Sign

    def stands(self, n_groups: int) -> bool:
        """Whether it is a group of the cut into so many."""
        return self.fewest <= n_groups <= self.most


def groups_of_run(summary: dict[str, NDArray]) -> list[Group]:
    """Groups of all cuts, leaves first, from the arrays of a run directory."""
    component = summary["leaf_component"]  # (P,)
    sizes, weights = summary["leaf_size"], summary["leaf_weight"]
    nodes = nodes_of(summary["merge_path"], len(component))
    signs = _signs(nodes, component)
    leaf_names = _leaf_names(component)
    groups = []
    for number, node in enumerate(nodes):
        leaves = list(node.leaves)
        mine = np.isin(summary["leaf"], leaves)
        own = np.where(np.isin(summary["near"], leaves), summary["near_resp"], 0.0).sum(axis=1)
        size = int(sizes[leaves].sum())
        groups.append(
            Group(
                number=number,
                name=_name(node, component, leaf_names),
                leaves=node.leaves,
                fewest=node.fewest,
                most=node.most,
                size=size,
                share=size / max(int(sizes.sum()), 1),
                weight=float(weights[leaves].sum()),
                confidence=float(own[mine].mean()) if mine.any() else None,
                sign=sign_of(signs[node.leader]),
            )
        )
    return groups


def _leaf_names(component: NDArray) -> list[str]:
    """Name of a leaf: its component's number, and its own after a dot if there are several."""
    names = []
    for leaf, k in enumerate(component.tolist()):
        siblings = np.flatnonzero(component == k).tolist()
        names.append(str(k) if len(siblings) == 1 else f"{k}.{1 + siblings.index(leaf)}")
    return names


def _name(node: Node, component: NDArray, leaf_names: list[str]) -> str:
    """Name of a node by the components it is made of, or by the leaves if it is a piece of one."""
    own = np.unique(component[list(node.leaves)]).tolist()
    if len(own) == 1 and np.count_nonzero(component == own[0]) > len(node.leaves):
        return " + ".join(leaf_names[leaf] for leaf in node.leaves)
    names = [str(k) for k in own]
    if len(names) <= MAX_NAMES:
        return " + ".join(names)
    return f"{' + '.join(names[: MAX_NAMES - 1])} + {len(names) - MAX_NAMES + 1} others"


def _signs(nodes: list[Node], component: NDArray) -> dict[int, int]:
    """Number of the sign of each leaf, which it keeps for all that joins it.

    The leaf that leads a component has that component's number; the others have numbers beyond.
    """
    n_components = int(component.max()) + 1
    heads: dict[int, int] = {}
    for node in nodes:  # the last node within a component is the whole of it
        own = set(component[list(node.leaves)].tolist())
        if len(own) == 1:
            heads[own.pop()] = node.leader
    others = [leaf for leaf in range(len(component)) if heads[int(component[leaf])] != leaf]
    signs = {leaf: k for k, leaf in heads.items()}
    return signs | {leaf: n_components + i for i, leaf in enumerate(others)}


def as_json(groups: list[Group]) -> list[dict[str, Any]]:
    """What the page's script knows of each group."""
    return [
        {
            "name": group.name,
            "leaves": group.leaves,
            "fewest": group.fewest,
            "most": group.most,
            "size": group.size,
            **group.sign._asdict(),
        }
        for group in groups
    ]

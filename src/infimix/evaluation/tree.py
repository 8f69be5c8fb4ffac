"""The tree by which the smallest groups of a fit, its leaves, join one by one: nodes and cuts."""

from typing import NamedTuple

from numpy.typing import NDArray


class Node(NamedTuple):
    """A group of some cut of the tree: one leaf, or several that have joined."""

    leaves: tuple[int, ...]  # in rising order
    leader: int  # the leaf that the others joined
    fewest: int  # groups in the coarsest cut that has this one
    most: int  # groups in the finest cut that has it


def nodes_of(merge_path: NDArray, n_leaves: int) -> list[Node]:
    """Nodes of the tree: the leaves first, then one for each join.

    Parameters
    ----------
    merge_path : ndarray of shape (J, 4)
        A join in each row: groups after it, the leaf that leads the larger group, the leaf that
        leads the smaller, depth of the valley between them in nats. Without rows there is one cut.
    n_leaves : int
        P.

    Returns
    -------
    list of P + J Node

    Examples
    --------
    >>> import numpy as np
    >>> for node in nodes_of(np.array([[2, 0, 2, 0.5], [1, 1, 0, 3.0]]), 3):
    ...     print(node.leaves, node.fewest, node.most)
    (0,) 3 3
    (1,) 2 3
    (2,) 3 3
    (0, 2) 2 2
    (0, 1, 2) 1 1
    """
    coarsest = n_leaves - len(merge_path)
    nodes = [Node((leaf,), leaf, coarsest, n_leaves) for leaf in range(n_leaves)]
    place = list(range(n_leaves))  # of the node that a leaf leads
    for n_groups, parent, child in merge_path[:, :3].astype(int).tolist():
        pair = [place[parent], place[child]]
        for i in pair:
            nodes[i] = nodes[i]._replace(fewest=n_groups + 1)
        place[parent] = len(nodes)
        leaves = sorted(leaf for i in pair for leaf in nodes[i].leaves)
        nodes.append(Node(tuple(leaves), parent, coarsest, n_groups))
    return nodes

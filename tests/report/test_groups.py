import numpy as np

from infimix.report.groups import groups_of_run


def groups_of(path, component, sizes):
    """Groups of a tree, one row of each leaf kept."""
    n = len(component)
    return groups_of_run(
        {
            "leaf_component": np.array(component),
            "leaf_size": np.array(sizes),
            "leaf_weight": np.array(sizes) / sum(sizes),
            "merge_path": np.array(path, dtype=float).reshape(-1, 4),
            "leaf": np.arange(n),
            "near": np.tile(np.arange(n), (n, 1)),
            "near_resp": 0.1 + (1 - 0.1 * n) * np.eye(n),
        }
    )


def test_names_say_what_a_group_is_made_of():
    """Component 0 of leaves 0, 2, 3, component 1 of leaf 1."""
    path = [[3, 2, 3, 0.1], [2, 0, 2, 0.2], [1, 0, 1, 5.0]]
    groups = groups_of(path, [0, 1, 0, 0], [5, 4, 2, 1])
    assert [group.name for group in groups] == ["0.1", "1", "0.2", "0.3", "0.2 + 0.3", "0", "0 + 1"]
    assert [group.size for group in groups] == [5, 4, 2, 1, 3, 8, 12]
    at = {n: [group.name for group in groups if group.stands(n)] for n in range(1, 5)}
    assert at == {
        1: ["0 + 1"],
        2: ["1", "0"],
        3: ["0.1", "1", "0.2 + 0.3"],
        4: ["0.1", "1", "0.2", "0.3"],
    }


def test_many_components_are_counted_in_the_name():
    path = [[4 - j, 0, j, float(j)] for j in range(1, 5)]
    groups = groups_of(path, [0, 1, 2, 3, 4], [9, 1, 1, 1, 1])
    assert groups[-1].name == "0 + 1 + 3 others"
    assert groups[-2].name == "0 + 1 + 2 others"
    assert groups[6].name == "0 + 1 + 2"


def test_signs_stay_with_the_leaf_that_leads():
    path = [[3, 2, 3, 0.1], [2, 2, 0, 0.2], [1, 2, 1, 5.0]]
    groups = groups_of(path, [0, 1, 0, 0], [5, 4, 7, 1])
    assert groups[2].sign == groups[4].sign == groups[5].sign == groups[6].sign
    assert len({group.sign for group in groups[:4]}) == 4


def test_confidence_is_that_for_all_leaves_of_a_group():
    groups = groups_of([[2, 0, 1, 1.0], [1, 0, 2, 2.0]], [0, 1, 2], [1, 1, 1])
    np.testing.assert_allclose([g.confidence for g in groups], [0.8, 0.8, 0.8, 0.9, 1.0])


def test_without_a_tree_there_is_one_cut():
    groups = groups_of([], [0, 1, 2], [1, 1, 1])
    assert all(group.stands(3) and not group.stands(2) for group in groups)

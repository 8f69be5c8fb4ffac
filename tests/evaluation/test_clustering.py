from itertools import combinations, permutations
from math import log

import numpy as np
import pytest

from infimix.evaluation import one_to_one_accuracy, score_clustering

CLASSES = [0, 0, 0, 1, 1, 1]
COMPONENTS = [0, 0, 1, 1, 2, 2]


def entropy(labels):
    return -sum(
        labels.count(v) / len(labels) * log(labels.count(v) / len(labels)) for v in set(labels)
    )


def best_pairing(y, components):
    """Accuracy by trying every one-to-one pairing of classes and components."""
    classes, found = sorted(set(y)), sorted(set(components))
    if len(classes) > len(found):
        pairings = (dict(zip(p, found, strict=True)) for p in permutations(classes, len(found)))
    else:
        pairings = (dict(zip(classes, p, strict=True)) for p in permutations(found, len(classes)))
    return max(
        sum(pairing.get(a) == b for a, b in zip(y, components, strict=True)) / len(y)
        for pairing in pairings
    )


def test_scores_of_a_table_worked_out_by_hand():
    scores = score_clustering(CLASSES, COMPONENTS)
    joint = entropy(list(zip(CLASSES, COMPONENTS, strict=True)))
    information = entropy(CLASSES) + entropy(COMPONENTS) - joint
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.nmi == pytest.approx(2 * information / (entropy(CLASSES) + entropy(COMPONENTS)))
    assert scores.homogeneity == pytest.approx(information / entropy(CLASSES))
    assert scores.completeness == pytest.approx(information / entropy(COMPONENTS))
    assert scores.n_components_used == scores.n_components_over_1_percent == 3


def test_ari_is_the_corrected_count_of_pairs():
    pairs = list(combinations(range(6), 2))
    together = [CLASSES[i] == CLASSES[j] for i, j in pairs]
    grouped = [COMPONENTS[i] == COMPONENTS[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(together, grouped, strict=True))
    expected = sum(together) * sum(grouped) / len(pairs)
    most = (sum(together) + sum(grouped)) / 2
    ari = score_clustering(CLASSES, COMPONENTS).ari
    assert ari == pytest.approx((both - expected) / (most - expected))


@pytest.mark.parametrize(("n_classes", "n_components"), [(3, 3), (4, 2), (2, 5), (1, 4), (4, 1)])
def test_accuracy_is_the_best_one_to_one_pairing(n_classes, n_components):
    generator = np.random.default_rng(n_classes * 10 + n_components)
    y = generator.integers(n_classes, size=30).tolist()
    components = generator.integers(n_components, size=30).tolist()
    assert one_to_one_accuracy(y, components) == pytest.approx(best_pairing(y, components))


def test_splitting_every_row_off_does_not_pay():
    assert one_to_one_accuracy([0] * 5 + [1] * 5, range(10)) == pytest.approx(2 / 10)


def test_names_of_components_do_not_matter():
    renamed = np.array([70, 4, -2])[COMPONENTS]
    assert score_clustering(CLASSES, COMPONENTS) == score_clustering(CLASSES, renamed)


def test_random_components_score_near_zero():
    y, components = np.random.default_rng(0).integers(10, size=(2, 20000))
    scores = score_clustering(y, components)
    assert abs(scores.ari) < 0.002
    assert scores.nmi < 0.002
    assert scores.accuracy < 0.12


def test_a_component_of_exactly_one_percent_is_not_over_it():
    components = [0] * 97 + [1] + [2] * 2
    scores = score_clustering([0] * 100, components)
    assert (scores.n_components_used, scores.n_components_over_1_percent) == (3, 2)


def test_scores_by_name_are_plain_numbers():
    scores = score_clustering(CLASSES, COMPONENTS).as_dict()
    assert list(scores) == [
        "accuracy",
        "nmi",
        "ari",
        "completeness",
        "homogeneity",
        "n_components_used",
        "n_components_over_1_percent",
    ]
    assert {type(value) for value in scores.values()} == {float, int}


@pytest.mark.parametrize(
    ("y", "components"), [([0, 1], [0]), ([], []), ([[0, 1]], [[0, 1]]), (0, 0)]
)
def test_arrays_that_do_not_match_are_refused_with_their_shapes(y, components):
    with pytest.raises(ValueError, match=r"same length and not empty.*shapes are \("):
        score_clustering(y, components)

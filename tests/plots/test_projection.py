import numpy as np
import pytest
from sklearn.decomposition import PCA

from infimix.plots import drawn_rows, project, tree_of


def test_up_to_two_dimensions_are_shown_as_they_are():
    embedding = np.random.default_rng(0).normal(size=(20, 2))
    assert np.array_equal(project(embedding).xy, embedding)
    one = project(embedding[:, :1])
    assert np.array_equal(one.xy[:, 0], embedding[:, 0])
    assert "height of a point is random" in one.note


def test_few_points_are_shown_by_principal_components():
    embedding = np.random.default_rng(0).normal(size=(9, 5))
    projection = project(embedding)
    expected = PCA(2).fit_transform(embedding)
    assert projection.method == "Principal components"
    np.testing.assert_allclose(np.abs(projection.xy), np.abs(expected), atol=1e-9)


def test_tsne_keeps_groups_apart_and_repeats():
    generator = np.random.default_rng(0)
    group = np.repeat([0, 1], 20)
    embedding = generator.normal(size=(40, 5)) + 30 * group[:, None]
    projection = project(embedding)
    assert projection.method == "t-SNE"
    centres = [projection.xy[group == k].mean(axis=0) for k in (0, 1)]
    nearest = np.linalg.norm(projection.xy[:, None] - centres, axis=-1).argmin(axis=1)
    assert np.array_equal(nearest, group)
    assert np.array_equal(projection.xy, project(embedding).xy)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (10, 3), (30, 4), (30, 1), (30, 2)])
@pytest.mark.parametrize("is_constant", [True, False])
def test_any_embedding_can_be_shown(shape, is_constant):
    generator = np.random.default_rng(0)
    embedding = np.full(shape, 0.3) if is_constant else generator.normal(size=shape)
    projection = project(embedding.astype(np.float32))
    assert projection.xy.shape == (shape[0], 2)
    assert np.isfinite(projection.xy).all()


def test_of_many_rows_2000_are_drawn_once_each_and_always_the_same():
    shown = drawn_rows(60000)
    assert len(np.unique(shown)) == 2000
    assert np.array_equal(shown, np.sort(shown))
    assert shown.max() > 50000
    assert np.array_equal(shown, drawn_rows(60000))
    assert np.array_equal(drawn_rows(2000), np.arange(2000))


def test_brackets_are_as_high_as_the_valleys_are_deep():
    tree = tree_of([(2, 0, 2, 0.5), (1, 0, 1, 8.0)], 3)
    assert sorted(tree.y.max(axis=1)) == [0.5, 8.0]
    assert sorted(tree.leaves) == [0, 1, 2]
    assert abs(tree.leaves.index(0) - tree.leaves.index(2)) == 1, "joined first, side by side"

"""Users' .npy, .npz and IDX files, and files of labels beside them."""

import gzip
import struct

import numpy as np
import pytest
from scipy import sparse

from infimix.data import load
from infimix.errors import DataFileError


def write_idx(path, array, code=8):
    """Write the IDX format by its definition."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_npy_is_memory_mapped(tmp_path, X):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    rows = load(path)
    assert isinstance(rows.X, np.memmap)
    assert not rows.X.flags.writeable
    np.testing.assert_array_equal(rows.X, X)
    assert (rows.name, rows.split, rows.source, rows.y) == ("rows", "train", str(path), None)


def test_npy_of_images_and_of_truth_values(tmp_path):
    images = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    np.save(tmp_path / "images.npy", images)
    rows = load(tmp_path / "images.npy")
    assert rows.image_shape == (3, 4, 3)
    np.testing.assert_array_equal(rows.X, images.reshape(2, 36))
    np.save(tmp_path / "truth.npy", np.eye(3, dtype=bool))
    assert load(str(tmp_path / "truth.npy")).X.dtype == np.uint8


@pytest.mark.parametrize("suffix", ["", "-big.gz"])
@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (13, "f4")])
def test_idx(tmp_path, code, dtype, suffix):
    images = np.arange(2 * 3 * 4).astype(dtype).reshape(2, 3, 4)
    name = "images-ubyte.gz" if suffix else "images.idx"
    write_idx(tmp_path / name, images, code)
    write_idx(tmp_path / "labels-idx1-ubyte", np.array([7, 3], dtype="u1"))
    rows = load(tmp_path / name, label="labels-idx1-ubyte")
    np.testing.assert_array_equal(rows.X, images.reshape(2, 12))
    assert rows.X.dtype == np.dtype(dtype)
    assert rows.image_shape == (3, 4)
    assert (rows.y.tolist(), rows.label_names) == ([1, 0], ("3", "7"))


def test_idx_damages(tmp_path):
    path = tmp_path / "a.idx"
    write_idx(path, np.zeros((2, 3, 4), dtype="u1"))
    content = path.read_bytes()
    for damaged, message in (
        (content[:-1], "39 bytes, and its header asks for 40"),
        (content + b"0", "41 bytes, and its header asks for 40"),
        (b"1234" + content[4:], "not an IDX file"),
        (content[:6], "not an IDX file"),
        (b"\0", "not an IDX file"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataFileError, match=message):
            load(path)
    (tmp_path / "a-ubyte.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(DataFileError, match="damaged or cut off"):
        load(tmp_path / "a-ubyte.gz")
    write_idx(path, np.zeros(5, dtype="u1"))
    with pytest.raises(ValueError, match=r"shape \(5,\), and data must be a matrix"):
        load(path)


def test_npz_finds_the_matrix(tmp_path, X):
    path = tmp_path / "a.npz"
    names = np.array(["no", "yes"])
    labels = np.array([0, 1, 1, 0, 1, 0])
    features = np.array(["a", "b", "c", "d"])
    np.savez(path, X=X, Z=X, y=labels, label_names=names, feature_names=features)
    rows = load(path, label="y")
    np.testing.assert_array_equal(rows.X, X)
    assert rows.y.tolist() == labels.tolist()
    assert rows.label_names == ("no", "yes")
    assert rows.feature_names == ("a", "b", "c", "d")
    np.savez(path, something=X, label=labels)
    np.testing.assert_array_equal(load(path).X, X)
    assert load(path).y is None
    np.savez(path, first=X, second=X)
    with pytest.raises(ValueError, match="it holds first, second"):
        load(path)
    np.savez(path, X=X, feature_names=features[:2])
    with pytest.raises(ValueError, match="feature_names"):
        load(path)


def test_npz_of_csr_parts(tmp_path):
    counts = np.array([[0, 3, 0], [1, 0, 0]], dtype=np.int16)
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(counts))
    rows = load(tmp_path / "a.npz")
    assert sparse.issparse(rows.X)
    assert rows.X.dtype == np.int32
    np.testing.assert_array_equal(rows.X.toarray(), counts)
    sparse.save_npz(tmp_path / "a.npz", sparse.csc_array(counts))
    with pytest.raises(ValueError, match="is not CSR"):
        load(tmp_path / "a.npz")
    parts = {"data": [1, 2], "indices": [0, 9], "indptr": [0, 1, 2], "shape": [2, 3]}
    np.savez(tmp_path / "b.npz", **parts)
    with pytest.raises(ValueError, match="are no CSR matrix"):
        load(tmp_path / "b.npz")


def test_labels_of_a_file(tmp_path, X):
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "names.npy", np.array(["b", "a", "b", "c", "a", "a"]))
    rows = load(tmp_path / "rows.npy", label="names.npy")
    assert rows.label_names == ("a", "b", "c")
    assert rows.y.tolist() == [1, 0, 1, 2, 0, 0]
    assert rows.y.dtype == np.int64
    assert load(tmp_path / "rows.npy", label=str(tmp_path / "names.npy")).y.tolist() == [
        1,
        0,
        1,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(5), "has 5 labels, and .* has 6 rows"),
        (np.zeros((6, 2)), r"shape \(6, 2\), and labels must be one value per row"),
        (np.array([0, 1, np.nan, 0, 1, 0]), "no label in row 2"),
        (np.array([0, 1, 0.5, 0, 1, 0]), r"fractions such as 0\.5"),
    ],
)
def test_wrong_labels(tmp_path, X, labels, message):
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "rows.npy", label="labels.npy")


def test_labels_that_are_not_there(tmp_path, X):
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(FileNotFoundError, match=r"'y' are no file; .* each of the 6 rows"):
        load(tmp_path / "rows.npy", label="y")
    np.savez(tmp_path / "rows.npz", X=X, label=np.arange(6))
    with pytest.raises(FileNotFoundError, match=r"no array of .* \(it has X, label\)"):
        load(tmp_path / "rows.npz", label="y")
    np.savez(tmp_path / "rows.npz", X=X, y=np.arange(5))
    with pytest.raises(ValueError, match="has 5 labels"):
        load(tmp_path / "rows.npz", label="y")
    (tmp_path / "y.txt").write_text("1")
    with pytest.raises(ValueError, match="is neither"):
        load(tmp_path / "rows.npy", label="y.txt")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), r"shape \(4,\), and data must be a matrix"),
        (np.zeros((0, 4)), "has no rows"),
        (np.zeros((4, 0)), "has no columns"),
        (np.zeros((2, 3, 4, 5)), "channels"),
        (np.array([["a"]]), "must be real numbers"),
        (np.zeros((2, 2), dtype=complex), "must be real numbers"),
        (np.array([[{}]], dtype=object), "never loads pickles"),
    ],
)
def test_arrays_that_are_no_data(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", X=array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path, X):
    for name, save in (("a.npy", np.save), ("a.npz", np.savez)):
        path = tmp_path / name
        save(path, X)
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(DataFileError, match="damaged or cut off"):
            load(path)
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
            load(path)
        path.write_text("not an array")
        with pytest.raises(DataFileError, match="not a NumPy file"):
            load(path)


def test_what_is_no_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(FileNotFoundError, match="neither a named data set"):
        load(tmp_path / "nothing.csv")
    (tmp_path / "a.xyz").write_text("1")
    with pytest.raises(ValueError, match=r"unknown type '\.xyz'; infimix reads \.npy"):
        load(tmp_path / "a.xyz")
    np.save(tmp_path / "a.npy", np.eye(2))
    with pytest.raises(ValueError, match="no split 'test'"):
        load(tmp_path / "a.npy", split="test")

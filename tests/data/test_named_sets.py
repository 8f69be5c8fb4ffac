"""The published data sets, read from INFIMIX_DATA, and their readers on small files."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
from scipy.io import mmwrite, savemat
from scipy.sparse import block_diag

from infimix.data import NAMED, detect_kind, fetch, load, summarise_columns
from infimix.data.published import (
    counts_sha256,
    read_binarized_mnist,
    read_chardata,
    read_pbmc3k_archive,
)
from infimix.errors import DataFileError


def test_digits():
    digits = load("digits")
    assert digits.X.shape == (1797, 64)
    assert digits.X.dtype == np.float32
    assert digits.y[:10].tolist() == list(range(10))
    assert digits.X[0].reshape(8, 8)[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    kind = detect_kind(summarise_columns(digits.X))
    assert (kind.name, kind.offset[0], kind.scale[0]) == ("levels", 0, 16)
    assert kind.sentence == ("treating 64 columns of whole numbers in [0, 16] as levels of a scale")


def test_split_that_is_not_there():
    with pytest.raises(ValueError, match="'digits' has no split 'test'; its splits are: train"):
        load("digits", split="test")


def test_named_sets_refuse_a_label():
    with pytest.raises(ValueError, match="brings its own labels"):
        load("digits", label="y")


def test_all_sets_in_order():
    assert list(NAMED) == [
        "digits",
        "mnist",
        "binarized-mnist",
        "omniglot",
        "omniglot-rebuilt",
        "pbmc3k",
    ]
    for name, entry in NAMED.items():
        assert entry.name == name
        assert entry.splits[0] == "train"
        assert entry.is_offline == (name == "digits")
        assert all((entry.description, entry.shape, entry.licence, entry.source))


@pytest.mark.parametrize(
    ("split", "n_rows", "labels"),
    [("train", 60000, [5, 0, 4, 1, 9, 2]), ("test", 10000, [7, 2, 1, 0, 4, 1])],
)
def test_mnist(shared_data, split, n_rows, labels):
    mnist = load("mnist", split=split)
    assert mnist.X.shape == (n_rows, 784)
    assert mnist.X.dtype == np.uint8
    assert mnist.image_shape == (28, 28)
    assert mnist.y[:6].tolist() == labels
    kind = detect_kind(summarise_columns(mnist.X))
    assert (kind.name, kind.offset[0], kind.scale[0]) == ("unit", 0, 255)


def test_checksums_are_those_of_the_data_folder(shared_data):
    listed = dict(
        reversed(line.split("  ./"))
        for line in (shared_data / "SHA256SUMS").read_text().split("\n")
        if line
    )
    for name in ("mnist", "omniglot-rebuilt", "pbmc3k"):
        for path in fetch(name):
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            assert listed[path.relative_to(shared_data).as_posix()] == sha256


@pytest.mark.parametrize(("split", "n_rows"), [("train", 50000), ("valid", 10000), ("test", 10000)])
def test_binarized_mnist(shared_data, split, n_rows):
    binarized = load("binarized-mnist", split=split)
    assert binarized.X.shape == (n_rows, 784)
    assert binarized.y is None
    path = shared_data / "binarized-mnist" / f"binarized_mnist_{split}.amat.gz"
    with gzip.open(path, "rt") as text:
        for row in range(3):
            np.testing.assert_array_equal(binarized.X[row], np.fromstring(next(text), sep=" "))
    assert detect_kind(summarise_columns(binarized.X)).name == "binary"


def test_binarized_reader_refuses_other_text(tmp_path):
    path = tmp_path / "a.amat"
    path.write_text(("0 1 " * 392)[:-1] + "\n")
    assert read_binarized_mnist("train", [path]).X.tolist() == [[0, 1] * 392]
    path.write_text(("0 2 " * 392)[:-1] + "\n")
    with pytest.raises(DataFileError, match="other values than 0 and 1"):
        read_binarized_mnist("train", [path])
    path.write_text("0 1\n")
    with pytest.raises(DataFileError, match="4 bytes"):
        read_binarized_mnist("train", [path])


def test_omniglot_rebuilt(shared_data):
    train, test = load("omniglot-rebuilt"), load("omniglot-rebuilt", split="test")
    assert train.X.shape == (24345, 784)
    assert test.X.shape == (8070, 784)
    assert train.label_names[0] == "Angelic"
    assert len(train.label_names) == 50
    assert np.bincount(train.y)[0] == 20 * 15  # characters x drawers
    assert train.X.max() == 255
    assert "rebuild" in train.source


def test_chardata_reader_turns_columns_of_pixels_into_rows(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((5, 28, 28))  # as they should be seen: (image, row, column)
    alphabets = np.array([2, 0, 1, 1, 2])
    by_columns = np.stack([image.ravel(order="F") for image in images], axis=1)  # (784, 5)
    content = {"data": by_columns, "target": np.eye(3)[:, alphabets]}
    content |= {"testdata": by_columns[:, :2], "testtarget": np.eye(3)[:, alphabets[:2]]}
    path = tmp_path / "chardata.mat"
    savemat(path, content)
    train = read_chardata("train", [path])
    np.testing.assert_allclose(train.X.reshape(5, 28, 28), images, rtol=1e-6)
    assert train.y.tolist() == alphabets.tolist()
    assert read_chardata("test", [path]).X.shape == (2, 784)
    savemat(path, {"other": by_columns})
    with pytest.raises(DataFileError, match=r"chardata\.mat"):
        read_chardata("train", [path])


def test_pbmc3k(shared_data):
    pbmc = load("pbmc3k")
    assert pbmc.X.shape == (2638, 2000)
    assert pbmc.X.nnz == 514442
    assert pbmc.feature_names[:2] == ("PPBP", "LYZ")
    assert np.bincount(pbmc.y)[pbmc.label_names.index("B")] == 344
    summary = summarise_columns(pbmc.X)
    np.testing.assert_allclose(summary.mean, pbmc.X.toarray().mean(axis=0))
    assert detect_kind(summary).name == "counts"
    assert fetch("pbmc3k")[0].name == "pbmc3k_2000vargenes.npz"


def test_pbmc3k_archive_gives_the_same_rows(shared_data, tmp_path):
    """The counts in the layout of 10x Genomics: more cells, other order, later namesakes."""
    pbmc = load("pbmc3k")
    rng = np.random.default_rng(0)
    barcodes = np.load(shared_data / "single-cell" / "pbmc3k_2000vargenes.npz")["cells"]
    n_cells, n_genes = pbmc.X.shape
    rows = rng.permutation(n_cells + 60)
    columns = np.concatenate([rng.permutation(n_genes), n_genes + np.arange(30)])
    wide = block_diag([pbmc.X, np.full((60, 30), 7, dtype=np.int32)], format="csr")
    names = [f"{code}-1" for code in barcodes] + [f"CELL{row}-1" for row in range(60)]
    genes = [*pbmc.feature_names, *pbmc.feature_names[:30]]
    matrix = io.BytesIO()
    mmwrite(matrix, wide[rows][:, columns].T.tocoo())
    path = tmp_path / "archive.tar.gz"
    write_archive(
        path,
        {
            "matrix.mtx": matrix.getvalue(),
            "barcodes.tsv": "".join(f"{names[row]}\n" for row in rows).encode(),
            "genes.tsv": "".join(f"ENSG{c}\t{genes[c]}\n" for c in columns).encode(),
        },
    )
    sha256 = counts_sha256(pbmc.X)
    selected = read_pbmc3k_archive(path, sha256)
    assert (selected.X != pbmc.X).nnz == 0
    assert selected.X.dtype == pbmc.X.dtype
    np.testing.assert_array_equal(selected.y, pbmc.y)
    assert selected.label_names == pbmc.label_names
    assert selected.feature_names == pbmc.feature_names
    with pytest.raises(DataFileError, match="SHA-256 differs"):
        read_pbmc3k_archive(path, "0" * 64)
    write_archive(path, {"readme": b"nothing"})
    with pytest.raises(DataFileError, match="is not the archive of pbmc3k"):
        read_pbmc3k_archive(path, sha256)


def write_archive(path, members):
    """Write a .tar.gz with the members in the folder that 10x Genomics uses."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"filtered_gene_bc_matrices/hg19/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_features_of_a_file(shared_data):
    umap = load(shared_data / "embeddings" / "umap10_mnist.npz", label="y")
    assert umap.X.shape == (70000, 10)
    assert umap.y[:6].tolist() == [5, 0, 4, 1, 9, 2]
    kind = detect_kind(summarise_columns(umap.X))
    assert kind.name == "real"
    scaled = (umap.X - kind.offset) / kind.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)

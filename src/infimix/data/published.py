"""Readers of the published data sets: from checked files to rows.

Every reader takes the split and the paths of its files, in the order of `NamedSet.files`.
"""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from scipy import sparse

from infimix.data.dataset import Rows, counts_matrix, encode_labels
from infimix.data.idx import read_gzip, read_idx
from infimix.errors import DataFileError

_DIGIT_NAMES = tuple("0123456789")
_MNIST_SHAPE = (28, 28)


def read_digits(split: str, paths: Sequence[Path]) -> Rows:
    """Handwritten digits of scikit-learn: float32 (1797, 64), values 0..16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    y = digits.target.astype(np.int64)
    return Rows(digits.data.astype(np.float32), y, _DIGIT_NAMES, image_shape=(8, 8))


def read_mnist(split: str, paths: Sequence[Path]) -> Rows:
    """Images and labels of one split: uint8 (60000 or 10000, 784)."""
    images, labels = (read_idx(path) for path in paths)
    X = images.reshape(len(images), -1).astype(np.uint8, copy=False)
    return Rows(X, labels.astype(np.int64), _DIGIT_NAMES, image_shape=_MNIST_SHAPE)


def read_binarized_mnist(split: str, paths: Sequence[Path]) -> Rows:
    """Text of 0 and 1, a space or a line end after each: uint8 (N, 784) of 0 and 1."""
    (path,) = paths
    content = read_gzip(path) if path.suffix == ".gz" else path.read_bytes()
    width = 2 * int(np.prod(_MNIST_SHAPE))
    if not content or len(content) % width:
        raise DataFileError(
            f"{path} has {len(content)} bytes, and its lines must have {width}; get it again."
        )
    X = np.frombuffer(content, dtype=np.uint8).reshape(-1, width)[:, ::2] - np.uint8(ord("0"))
    if X.max() > 1:
        raise DataFileError(f"{path} holds other values than 0 and 1; get it again.")
    return Rows(X, image_shape=_MNIST_SHAPE)


def read_chardata(split: str, paths: Sequence[Path]) -> Rows:
    """Omniglot in the MATLAB file of Burda et al.: float32 (24345 or 8070, 784) in [0, 1].

    Columns of the file are images, stored by columns of pixels; the labels are the 50 alphabets,
    one-hot, without names.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    (path,) = paths
    prefix = "test" if split == "test" else ""
    try:
        content = loadmat(path, variable_names=[f"{prefix}data", f"{prefix}target"])
        images, alphabets = content[f"{prefix}data"], content[f"{prefix}target"]
    except (KeyError, ValueError, MatReadError) as error:
        raise DataFileError(f"{path} is not the Omniglot file chardata.mat ({error}).") from error
    X = images.T.reshape(-1, *_MNIST_SHAPE).transpose(0, 2, 1).reshape(images.shape[1], -1)
    y = alphabets.argmax(axis=0).astype(np.int64)
    names = tuple(f"alphabet {code}" for code in range(len(alphabets)))
    return Rows(X.astype(np.float32), y, names, image_shape=_MNIST_SHAPE)


def read_omniglot_rebuilt(split: str, paths: Sequence[Path]) -> Rows:
    """Omniglot rebuilt from the drawings: uint8 (24345 or 8070, 784); labels are alphabets."""
    (path,) = paths
    with np.load(path, allow_pickle=False) as archive:
        X, y = archive[split], archive[f"{split}_alphabet"].astype(np.int64)
        names = tuple(str(name) for name in archive["alphabet_names"])
    return Rows(X, y, names, image_shape=_MNIST_SHAPE)


# Of the counts that read_pbmc3k gives, by counts_sha256; what the archive must give, too.
_PBMC3K_SHA256 = "183455c64b13b2efe1a44d36a58f7945005cb97c5a9c973661bb059df3afb81c"


def read_pbmc3k(split: str, paths: Sequence[Path]) -> Rows:
    """Read the counts of 2000 variable genes in 2638 blood cells: CSR int32, labels are types.

    The file is the matrix itself, or the archive of 10x Genomics, out of which the same cells and
    genes are selected; the result is the same, and is checked to be.
    """
    (path,) = paths
    if path.suffix != ".npz":
        return read_pbmc3k_archive(path, _PBMC3K_SHA256)
    with np.load(path, allow_pickle=False) as archive:
        parts = (archive["data"], archive["indices"], archive["indptr"])
        X = counts_matrix(*parts, archive["shape"], str(path))
        genes = tuple(str(gene) for gene in archive["genes"])
        names = tuple(str(name) for name in archive["label_names"])
        return Rows(X, archive["label"].astype(np.int64), names, feature_names=genes)


_ARCHIVE_FILES = ("genes.tsv", "barcodes.tsv", "matrix.mtx")


def read_pbmc3k_archive(path: Path, sha256: str) -> Rows:
    """Select the cells and genes of pbmc3k out of the archive of 10x Genomics (genes by cells).

    Raises
    ------
    DataFileError
        If the archive cannot be read, or if the SHA-256 of the selected counts is not `sha256`.
    """
    from scipy.io import mmread

    texts = resources.files("infimix.data")
    genes = tuple((texts / "pbmc3k_genes.txt").read_text("utf-8").split())
    cells, types = zip(
        *(cell.split(":") for cell in (texts / "pbmc3k_cells.txt").read_text("utf-8").split()),
        strict=True,
    )
    try:
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            text = {name: _extract(archive, members[name]) for name in _ARCHIVE_FILES}
            symbols = [line.split()[1].decode() for line in text["genes.tsv"].splitlines()]
            barcodes = [
                line.decode().partition("-")[0] for line in text["barcodes.tsv"].splitlines()
            ]
            counts = sparse.csr_array(mmread(io.BytesIO(text["matrix.mtx"])).T)
        # The first gene of a name has it alone; setdefault keeps the first.
        columns: dict[str, int] = {}
        for column, symbol in enumerate(symbols):
            columns.setdefault(symbol.replace("_", "-"), column)
        rows = {barcode: row for row, barcode in enumerate(barcodes)}
        selected = counts[[rows[cell] for cell in cells]][:, [columns[gene] for gene in genes]]
    except (KeyError, ValueError, IndexError, EOFError, tarfile.TarError) as error:
        raise DataFileError(
            f"{path} is not the archive of pbmc3k by 10x Genomics ({error})."
        ) from error
    X = selected.astype(np.int32)
    X.sort_indices()
    if counts_sha256(X) != sha256:
        raise DataFileError(
            f"The counts selected from {path} are not those of pbmc3k (their SHA-256 differs); "
            "please report this."
        )
    y, names = encode_labels(types, str(path))
    return Rows(X, y, tuple(name.replace("_", " ") for name in names), feature_names=genes)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of one regular file of an archive."""
    stream = archive.extractfile(member)
    assert stream is not None  # only regular files are asked for
    with stream:
        return stream.read()


def counts_sha256(X: sparse.csr_array) -> str:
    """Return the SHA-256 of data, indices and indptr of sorted CSR counts as ``<i4``."""
    digest = hashlib.sha256()
    for part in (X.data, X.indices, X.indptr):
        digest.update(np.ascontiguousarray(part, dtype="<i4").tobytes())
    return digest.hexdigest()

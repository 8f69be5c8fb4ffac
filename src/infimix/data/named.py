"""The named data sets: what they are, where they are published, and which reader reads them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from infimix.data.dataset import Dataset, Rows
from infimix.data.files import DataFile, content_sha256, locate
from infimix.data.published import (
    read_binarized_mnist,
    read_chardata,
    read_digits,
    read_mnist,
    read_omniglot_rebuilt,
    read_pbmc3k,
)

Reader = Callable[[str, Sequence[Path]], Rows]


@dataclass(frozen=True)
class NamedSet:
    """One named data set.

    Attributes
    ----------
    name, description, shape, licence, source : str
        For people: what it is, its shape, its licence, who published it.
    read : callable
        Takes the split and the paths of that split's files, returns `Rows`.
    files : mapping of str to tuple of DataFile
        For each split, in order, the files it needs; the first holds ``X``.
    """

    name: str
    description: str
    shape: str
    licence: str
    source: str
    read: Reader
    files: Mapping[str, tuple[DataFile, ...]] = field(repr=False)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, train first."""
        return tuple(self.files)

    @property
    def is_offline(self) -> bool:
        """Whether the set comes with infimix's dependencies and needs no file."""
        return not any(self.files.values())

    def paths(self, split: str) -> list[Path]:
        """Return checked copies of the files of one split, downloading what is missing."""
        if split not in self.files:
            raise ValueError(
                f"'{self.name}' has no split '{split}'; its splits are: {', '.join(self.splits)}."
            )
        return [locate(file, self.name) for file in self.files[split]]

    def load(self, split: str = "train") -> Dataset:
        """Read one split.

        Raises
        ------
        ValueError
            If there is no such split, or (`DataFileError`) if a local copy is damaged.
        OSError
            If a file is missing and cannot be downloaded.
        """
        paths = self.paths(split)
        rows = self.read(split, paths)
        sha256 = content_sha256(paths[0], self.files[split][0]) if paths else None
        return Dataset(**vars(rows), name=self.name, split=split, source=self.source, sha256=sha256)


def _mnist_file(name: str, sha256: str) -> DataFile:
    """One of the four files of MNIST."""
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    urls = tuple(f"{mirror}{name}" for mirror in mirrors)
    return DataFile(f"mnist/{name}", f"sha256:{sha256}", urls)


def _binarized_file(split: str, sha256: str) -> DataFile:
    """One of the three texts of binarized MNIST; the checksum is of the unpacked text."""
    name = f"binarized_mnist_{split}.amat"
    page = "www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"
    urls = (f"https://{page}/{name}", f"http://{page}/{name}")
    return DataFile(f"binarized-mnist/{name}", f"sha256:{sha256}", urls)


_CHARDATA = DataFile(
    "omniglot/chardata.mat",
    "git:016a3536ffe5e1d38e42563a18d7a78bfaf643ec",
    reason=(
        "no SHA-256 of chardata.mat is published to check it by (it is datasets/OMNIGLOT/"
        "chardata.mat of https://github.com/yburda/iwae; 'omniglot-rebuilt' is another form)"
    ),
)
_OMNIGLOT_REBUILT = DataFile(
    "omniglot/omniglot28_burda_rebuilt.npz",
    "sha256:0a75451b705c320003a103b3af52474b0eb321659bc1307ddaf3126f799d997a",
    reason="the rebuilt file is at no public address",
)
_PBMC3K_ARCHIVE = DataFile(
    "single-cell/pbmc3k_filtered_gene_bc_matrices.tar.gz",
    "sha256:847d6ebd9a1ec9a768f2be7e40ca42cbfe75ebeb6d76a4c24167041699dc28b5",
    (
        "https://cf.10xgenomics.com/samples/cell-exp/1.1.0/pbmc3k/"
        "pbmc3k_filtered_gene_bc_matrices.tar.gz",
        "https://cf.10xgenomics.com/samples/cell/pbmc3k/pbmc3k_filtered_gene_bc_matrices.tar.gz",
    ),
)
_PBMC3K = DataFile(
    "single-cell/pbmc3k_2000vargenes.npz",
    "sha256:9659edb1cff7e82b4f828a24dd2b58ed6705dceb81c7b831073b8b2552072656",
    instead=_PBMC3K_ARCHIVE,
)

_SETS = (
    NamedSet(
        "digits",
        "handwritten digits, small; comes with scikit-learn, needs no network",
        "1797 x 64, 0..16",
        "CC BY 4.0",
        "UCI, Optical Recognition of Handwritten Digits (test part), by scikit-learn",
        read_digits,
        {"train": ()},
    ),
    NamedSet(
        "mnist",
        "handwritten digits, the four original files",
        "60000 + 10000 x 784, 0..255",
        "CC BY-SA 3.0",
        "LeCun, Cortes, Burges: the MNIST database",
        read_mnist,
        {
            "train": (
                _mnist_file(
                    "train-images-idx3-ubyte.gz",
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                _mnist_file(
                    "train-labels-idx1-ubyte.gz",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
            ),
            "test": (
                _mnist_file(
                    "t10k-images-idx3-ubyte.gz",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                _mnist_file(
                    "t10k-labels-idx1-ubyte.gz",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
        },
    ),
    NamedSet(
        "binarized-mnist",
        "MNIST made binary once and for all; in another order, without labels",
        "50000 + 10000 + 10000 x 784, 0 or 1",
        "as MNIST",
        "Larochelle and Murray 2011, the three original text files",
        read_binarized_mnist,
        {
            split: (_binarized_file(split, sha256),)
            for split, sha256 in (
                ("train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
                ("valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
                ("test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
            )
        },
    ),
    NamedSet(
        "omniglot",
        "characters of 50 alphabets in 28 x 28 pixels, the file of Burda et al.",
        "24345 + 8070 x 784, 0..1",
        "MIT (drawings)",
        "Burda, Grosse, Salakhutdinov 2016, chardata.mat; drawings by Lake et al.",
        read_chardata,
        {"train": (_CHARDATA,), "test": (_CHARDATA,)},
    ),
    NamedSet(
        "omniglot-rebuilt",
        "the same form rebuilt from the drawings; some images differ from 'omniglot'",
        "24345 + 8070 x 784, 0..255",
        "MIT",
        "a rebuild from the drawings of Lake et al. in the form of Burda et al. 2016",
        read_omniglot_rebuilt,
        {"train": (_OMNIGLOT_REBUILT,), "test": (_OMNIGLOT_REBUILT,)},
    ),
    NamedSet(
        "pbmc3k",
        "gene counts of single blood cells, 2000 variable genes, sparse",
        "2638 x 2000, counts",
        "CC BY 4.0",
        "10x Genomics, 3k PBMCs from a healthy donor",
        read_pbmc3k,
        {"train": (_PBMC3K,)},
    ),
)

NAMED: Mapping[str, NamedSet] = MappingProxyType({entry.name: entry for entry in _SETS})
"""All named data sets by name, in the order in which they are listed."""


def fetch(name: str) -> list[Path]:
    """Make sure that all files of a named set are here and whole, and return their paths.

    Parameters
    ----------
    name : str
        A key of `NAMED`.

    Returns
    -------
    list of Path
        In `INFIMIX_DATA` or in the cache; empty for a set that needs no file.

    Raises
    ------
    ValueError
        If there is no such set.
    OSError
        If a file is missing and cannot be downloaded.
    """
    if name not in NAMED:
        raise ValueError(f"There is no data set '{name}'; the named sets are: {', '.join(NAMED)}.")
    entry = NAMED[name]
    return list(dict.fromkeys(path for split in entry.splits for path in entry.paths(split)))

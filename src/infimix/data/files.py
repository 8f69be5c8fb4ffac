"""Published data files: found in a local folder or downloaded once, and always checked.

`INFIMIX_DATA` names a folder of local copies, `INFIMIX_CACHE` the folder of downloads (by default
the user's cache). Both hold the same relative paths and are read by the same reader.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infimix.errors import DataFileError, DownloadError

TIMEOUT_S = 30.0
"""Seconds without an answer, or without a further byte, after which an address is given up."""

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class DataFile:
    """One published file and how to know it.

    Attributes
    ----------
    path : str
        Below `INFIMIX_DATA` and below the cache, such as ``"mnist/train-images-idx3-ubyte.gz"``.
    checksum : str
        ``"sha256:..."`` of the content, or ``"git:..."``, the name Git gives to that content. A
        local copy at ``path + ".gz"`` is taken too, and then its unpacked content is checked.
    urls : tuple of str
        Addresses, tried in turn. None: the file must lie in `INFIMIX_DATA`.
    reason : str
        Why there is no address; a clause for the error message.
    instead : DataFile or None
        A file that holds the same rows, taken where this one has no address.
    """

    path: str
    checksum: str
    urls: tuple[str, ...] = ()
    reason: str = ""
    instead: "DataFile | None" = None

    def __post_init__(self) -> None:
        """Refuse an address without a SHA-256."""
        if self.urls and not self.checksum.startswith("sha256:"):
            raise ValueError(f"{self.path} has addresses, so its checksum must be a SHA-256.")


def cache_folder() -> Path:
    """Return the folder of downloads: `INFIMIX_CACHE`, or else the user's cache."""
    import pooch

    return Path(os.environ.get("INFIMIX_CACHE") or pooch.os_cache("infimix"))


def local_folder() -> Path | None:
    """Return the folder that `INFIMIX_DATA` names, or None where it is not set.

    Raises
    ------
    FileNotFoundError
        If it is set and is not a folder.
    """
    folder = os.environ.get("INFIMIX_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"INFIMIX_DATA is '{folder}', which is not a folder; correct it or unset it."
        )
    return Path(folder)


def locate(file: DataFile, name: str) -> Path:
    """Return a checked copy of `file`: the local one, else the cached one, else a new download.

    Parameters
    ----------
    file : DataFile
        What to find.
    name : str
        Name of the data set, for error messages.

    Raises
    ------
    DataFileError
        If the copy in `INFIMIX_DATA` is not the published file.
    DownloadError
        If no address gives the file; nothing is kept then.
    FileNotFoundError
        If there is no local copy and the file has no address.
    """
    folder = local_folder()
    if folder is not None:
        for path in (folder / file.path, folder / f"{file.path}.gz"):
            if path.is_file():
                _check(path, file, name)
                return path
    if file.urls:
        return _download(file, name)
    if file.instead is not None:
        return locate(file.instead, name)
    raise FileNotFoundError(
        f"'{name}' cannot be downloaded, because {file.reason}; put the file at {file.path} in a "
        f"folder of your choice and name that folder in INFIMIX_DATA"
        f"{'' if folder is None else f' (now {folder}, where it is missing)'}."
    )


def content_sha256(path: Path, file: DataFile) -> str:
    """Return the SHA-256 of the content of `path`, unpacked if it is a gzipped copy of `file`."""
    digest = hashlib.sha256()
    with _content(path, file) as stream:
        for chunk in _chunks(stream):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _content(path: Path, file: DataFile) -> Iterator[BinaryIO]:
    """Open a copy of `file`, unpacking it where it was gzipped by the user."""
    is_packed = path.name == f"{Path(file.path).name}.gz"
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        yield stream


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Read a stream in bounded memory."""
    while chunk := stream.read(_CHUNK):
        yield chunk


def _check(path: Path, file: DataFile, name: str) -> None:
    """Raise DataFileError if `path` does not hold the published content."""
    kind, expected = file.checksum.split(":")
    try:
        found = content_sha256(path, file) if kind == "sha256" else _git_name(path, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        found = f"none, for it cannot be unpacked ({error})"
    if found != expected:
        raise DataFileError(
            f"{path} is not the published file of '{name}': its {kind} checksum is {found} and "
            f"should be {expected}; it is cut off, damaged or another file, so get it again."
        )


def _git_name(path: Path, file: DataFile) -> str:
    """Return the SHA-1 by which Git names the content: of "blob", its size, and itself."""
    with _content(path, file) as stream:
        content = stream.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _download(file: DataFile, name: str) -> Path:
    """Return the file in the cache, downloading it from the first address that gives it whole."""
    import pooch

    target = cache_folder() / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"The folder {target.parent} for downloads cannot be made ({error.strerror}); "
            "name another cache folder in INFIMIX_CACHE."
        ) from error
    # A server that packs a .gz file once more would change its checksum.
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    failures = []
    for url in file.urls:
        try:
            pooch.retrieve(
                url, file.checksum, fname=target.name, path=target.parent, downloader=downloader
            )
        except (OSError, ValueError) as error:
            failures.append(f"{url} {_reason(error)}")
        else:
            return target
    raise DownloadError(
        f"'{name}' could not be downloaded: {'; '.join(failures)}; nothing was kept, so try again, "
        f"or put the file at {file.path} in a folder and name that folder in INFIMIX_DATA."
    )


def _reason(error: Exception) -> str:
    """Say what an address did, as the end of a clause."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code} ({error.response.reason})"
    if isinstance(error, requests.Timeout):
        return f"did not answer within {TIMEOUT_S:g} s"
    if isinstance(error, requests.ConnectionError):
        return "could not be reached"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off before the end of the file"
    if isinstance(error, ValueError) and "hash" in str(error).lower():
        return "sent another file than the published one (its SHA-256 differs)"
    return f"failed ({error})"

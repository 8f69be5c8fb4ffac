"""Download, local copy and cache, against a real HTTP server on this machine."""

import gzip
import hashlib
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from infimix.data import NAMED, fetch, load
from infimix.data import files as data_files
from infimix.data.dataset import Rows
from infimix.data.files import DataFile, locate
from infimix.data.named import NamedSet
from infimix.errors import DataFileError, DownloadError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers by the name that is asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/slow":
            self.server.released.wait(10)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/good":
            self.wfile.write(CONTENT)
        elif self.path == "/other":
            self.wfile.write(CONTENT[::-1])
        elif self.path == "/cut":
            self.wfile.write(CONTENT[:1000])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.released = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def address(server):
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no local data, no proxy, a quiet pooch."""
    monkeypatch.setenv("INFIMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INFIMIX_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(logging.getLogger("pooch"), "disabled", True)
    return tmp_path / "cache"


def byte_set(*urls, sha256=SHA256):
    """A data set of one file whose bytes are its rows."""
    return NamedSet(
        "bytes",
        "bytes",
        "40 x 256",
        "none",
        "a test",
        lambda split, paths: Rows(np.frombuffer(paths[0].read_bytes(), np.uint8).reshape(40, 256)),
        {"train": (DataFile("bytes/bytes.bin", f"sha256:{sha256}", urls),)},
    )


def left_behind(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_good_file_is_downloaded_once_and_read_from_the_cache_after(server, address, cache):
    entry = byte_set(f"{address}/good")
    for _ in range(2):
        dataset = entry.load()
        np.testing.assert_array_equal(dataset.X[39], np.arange(256))
        assert (dataset.name, dataset.split, dataset.sha256) == ("bytes", "train", SHA256)
    assert server.asked == ["/good"]
    assert left_behind(cache) == [cache / "bytes" / "bytes.bin"]


def test_damaged_file_in_the_cache_is_downloaded_again(server, address, cache):
    (cache / "bytes").mkdir(parents=True)
    (cache / "bytes" / "bytes.bin").write_bytes(CONTENT[:-1])
    assert byte_set(f"{address}/good").load().X.shape == (40, 256)
    assert server.asked == ["/good"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("other", "sent another file than the published one"),
        ("cut", "broke off before the end of the file"),
        ("missing", "answered 404 (Not Found)"),
    ],
)
def test_failed_download_is_one_sentence_and_leaves_no_file(address, cache, page, reason):
    with pytest.raises(DownloadError) as caught:
        byte_set(f"{address}/{page}").load()
    message = str(caught.value)
    assert f"'bytes' could not be downloaded: {address}/{page} {reason}" in message
    assert "nothing was kept" in message
    assert "INFIMIX_DATA" in message
    assert "\n" not in message
    assert left_behind(cache) == []


def test_no_network(cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/good"
        with pytest.raises(DownloadError, match="could not be reached"):
            byte_set(url).load()
    assert left_behind(cache) == []


def test_silent_server_is_given_up(address, cache, monkeypatch):
    monkeypatch.setattr(data_files, "TIMEOUT_S", 0.2)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"did not answer within 0\.2 s"):
        byte_set(f"{address}/slow").load()
    assert time.monotonic() - start < 2
    assert left_behind(cache) == []


def test_next_address_is_tried(server, address, cache):
    entry = byte_set(*(f"{address}/{page}" for page in ("missing", "cut", "other", "good")))
    assert entry.load().X.shape == (40, 256)
    assert server.asked == ["/missing", "/cut", "/other", "/good"]
    assert len(left_behind(cache)) == 1


def test_cache_that_cannot_be_made(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INFIMIX_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="INFIMIX_CACHE"):
        byte_set("http://127.0.0.1:9/good").load()


@pytest.fixture
def local(tmp_path, monkeypatch, cache):
    """A folder of local copies, named in INFIMIX_DATA."""
    folder = tmp_path / "local"
    (folder / "bytes").mkdir(parents=True)
    monkeypatch.setenv("INFIMIX_DATA", str(folder))
    return folder


def test_local_copy_is_read_and_nothing_is_asked_for(server, address, local, cache):
    (local / "bytes" / "bytes.bin").write_bytes(CONTENT)
    assert byte_set(f"{address}/good").load().X.shape == (40, 256)
    assert server.asked == []
    assert left_behind(cache) == []


def test_gzipped_local_copy_is_checked_by_its_content(local):
    file = DataFile("bytes/bytes.bin", f"sha256:{SHA256}", ("http://127.0.0.1:9/good",))
    packed = local / "bytes" / "bytes.bin.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    assert locate(file, "bytes") == packed
    packed.write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataFileError, match="cut off"):
        locate(file, "bytes")


def test_damaged_local_copy_is_refused_and_not_replaced(server, address, local):
    path = local / "bytes" / "bytes.bin"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataFileError, match=SHA256):
        byte_set(f"{address}/good").load()
    assert server.asked == []
    assert path.read_bytes() == CONTENT[:-1]


def test_missing_local_copy_is_downloaded(server, address, local, cache):
    assert byte_set(f"{address}/good").load().X.shape == (40, 256)
    assert left_behind(cache) == [cache / "bytes" / "bytes.bin"]


def test_local_folder_that_does_not_exist(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("INFIMIX_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="which is not a folder"):
        load("mnist")


def test_file_without_an_address_says_so(local):
    for name in ("omniglot", "omniglot-rebuilt"):
        with pytest.raises(FileNotFoundError, match=f"'{name}' cannot be downloaded, because"):
            fetch(name)


def test_git_checksum(local):
    # "hello\n" is ce013625... in every Git repository.
    file = DataFile("bytes/bytes.bin", "git:ce013625030ba8dba906f756967f9e9ca394464a")
    (local / "bytes" / "bytes.bin").write_bytes(b"hello\n")
    assert locate(file, "bytes").read_bytes() == b"hello\n"
    (local / "bytes" / "bytes.bin").write_bytes(b"hello")
    with pytest.raises(DataFileError, match="git checksum"):
        locate(file, "bytes")


def test_instead_is_taken_where_there_is_no_address(server, address, local):
    other = DataFile("bytes/other.bin", f"sha256:{SHA256}", (f"{address}/good",))
    file = DataFile("bytes/bytes.bin", f"sha256:{SHA256}", instead=other)
    assert locate(file, "bytes").name == "other.bin"
    (local / "bytes" / "bytes.bin").write_bytes(CONTENT)
    assert locate(file, "bytes").name == "bytes.bin"


def test_an_address_needs_a_sha256():
    with pytest.raises(ValueError, match="SHA-256"):
        DataFile("a", "git:0", ("http://127.0.0.1/a",))
    for entry in NAMED.values():
        for file in (file for split in entry.splits for file in entry.files[split]):
            assert file.urls or file.reason or file.instead


def test_unknown_name_lists_the_sets():
    with pytest.raises(ValueError, match="digits, mnist"):
        fetch("mnits")
    assert fetch("digits") == []

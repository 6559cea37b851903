"""Fetching MNIST, against a mirror on this machine: right bytes or nothing."""

from __future__ import annotations

import functools
import gzip
import re
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from asmgen.data import mnist
from asmgen.data.idx import write_idx
from asmgen.data.mnist import fetch_mnist
from asmgen.errors import DataError, UsageError

Files = dict[str, bytes]


class Mirror(BaseHTTPRequestHandler):
    """Serves `<set>/<name>` from a dictionary; a set named "cut" breaks off in the middle of each file."""

    def __init__(self, sets: dict[str, Files], requests: list[str], *args: object) -> None:
        self._sets, self._requests = sets, requests
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        self._requests.append(self.path)
        data = self._sets.get(kind, {}).get(name)
        if data is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if kind == "cut" else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Four tiny files in MNIST's form, gzipped; the sizes and hashes that are expected become theirs."""
    files = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        images = np.arange(count * 12, dtype=np.uint8).reshape(count, 4, 3)
        write_idx(tmp_path / "x", images)
        files[f"{prefix}-images-idx3-ubyte"] = (tmp_path / "x").read_bytes()
        write_idx(tmp_path / "x", np.arange(count, dtype=np.uint8) % 10)
        files[f"{prefix}-labels-idx1-ubyte"] = (tmp_path / "x").read_bytes()
    (tmp_path / "x").unlink()
    expected = [mnist._File(name, len(data), sha256(data).hexdigest()) for name, data in files.items()]
    monkeypatch.setattr(mnist, "_FILES", tuple(expected))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return {f"{name}.gz": gzip.compress(data) for name, data in files.items()}


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def url(small_mnist: Files, requests: list[str]) -> Iterator[str]:
    first = next(iter(small_mnist))
    plain = gzip.decompress(small_mnist[first])
    sets = {
        "good": small_mnist,
        "cut": small_mnist,
        "wrong": {**small_mnist, first: gzip.compress(plain[:-1] + b"?")},
        "long": {**small_mnist, first: gzip.compress(plain + bytes(10**7))},
        "short": {**small_mnist, first: gzip.compress(plain[:-1])},
        "page": dict.fromkeys(small_mnist, b"<html>log in to this network</html>"),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mirror, sets, requests))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch(tmp_path: Path, url: str, small_mnist: Files, requests: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "data" / "mnist"
    summary = fetch_mnist(out, mirrors=[f"{url}/good"], progress=lambda done, total: seen.append((done, total)))
    assert (summary.train, summary.test, summary.shape) == ((2,) * 10, (1,) * 10, (4, 3))
    assert {file.name for file in out.iterdir()} == {name[:-3] for name in small_mnist} | {"classes.json"}
    for name, packed in small_mnist.items():
        assert (out / name[:-3]).read_bytes() == gzip.decompress(packed)
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == sum(len(gzip.decompress(packed)) for packed in small_mnist.values())
    asked = len(requests)
    fetch_mnist(out, mirrors=[f"{url}/good"])
    assert len(requests) == asked, "what is there is not fetched again"


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("page", "not gzip data: .*"),
        ("wrong", "SHA-256 differs"),
        ("long", "unpacks to more, 256 expected"),
        ("short", "unpacks to only 255 bytes, 256 expected"),
        ("cut", "(connection broke: .*|unpacks to only .*)"),
    ],
)
def test_a_bad_mirror_leaves_nothing_and_the_next_one_helps(tmp_path: Path, url: str, mirror: str, reason: str) -> None:
    out = tmp_path / "out"
    expected = (
        rf"cannot fetch train-images-idx3-ubyte.gz \({re.escape(url[7:])}: {reason}\); without a network, put MNIST's "
        rf"four .gz files into a folder and run: asmgen data import FOLDER -o {out}"
    )
    with pytest.raises(DataError) as caught:
        fetch_mnist(out, mirrors=[f"{url}/{mirror}/"])
    assert re.fullmatch(expected, str(caught.value)), caught.value
    assert not list(tmp_path.iterdir())
    fetch_mnist(out, mirrors=[f"{url}/{mirror}/", f"{url}/good"])
    assert len(list(out.iterdir())) == 5


def test_no_network(tmp_path: Path, small_mnist: Files) -> None:
    with pytest.raises(DataError, match=r"\(127.0.0.1:9: Connection refused\); without a network"):
        fetch_mnist(tmp_path / "out", mirrors=["http://127.0.0.1:9/mnist"])


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'file:///etc' is not an http or https URL"):
        fetch_mnist(tmp_path / "out", mirrors=["file:///etc"])


def test_the_pinned_hashes_are_those_of_the_real_files(real_data: Path) -> None:
    for file in mnist._FILES:
        packed = real_data / "mnist" / f"{file.name}.gz"
        if not packed.exists():
            pytest.skip(f"no {packed}")
        plain = gzip.decompress(packed.read_bytes())
        assert (len(plain), sha256(plain).hexdigest()) == (file.size, file.sha256)

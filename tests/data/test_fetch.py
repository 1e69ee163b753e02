"""What is fetched is whole and what was meant, or is refused; what broke off goes on. Against a server of our own."""

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seqloom.data import fetch as fetching
from seqloom.data.fetch import Download, fetch, unpack

CONTENT = bytes(range(256)) * 4000  # about 1 MB


class Host:
    """Serves files on the loopback address, and breaks the connection where it is told to."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/a.bin": CONTENT}
        self.moved: dict[str, str] = {}
        self.ranges = True  # whether it gives parts
        self.breaks = 0  # bytes after which the next answer breaks off; 0: never
        self.asked: list[tuple[str, str | None]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                host.asked.append((self.path, wanted))
                if self.path in host.moved:
                    self.send_response(302)
                    self.send_header("Location", host.moved[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = host.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and host.ranges else 0
                if start and start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                stop, host.breaks = (start + host.breaks if host.breaks else len(content)), 0
                self.wfile.write(content[start:stop])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(fetching, "SCHEMES", ("https", "http"))  # the loopback address has no certificate
    for name in ("SEQLOOM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    found = Host()
    yield found
    found.server.shutdown()
    found.server.server_close()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_fetched_whole(host: Host, tmp_path: Path) -> None:
    assert fetch(Download(host.url + "/a.bin", "a"), tmp_path / "a") == sha(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_goes_on(host: Host, tmp_path: Path, ranges: bool) -> None:
    host.breaks, host.ranges = 300_000, ranges
    download = Download(host.url + "/a.bin", "a", sha256=sha(CONTENT))
    with pytest.raises(ValueError, match="cannot fetch .*it goes on where it stopped"):
        fetch(download, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    have = (tmp_path / "a.part").stat().st_size
    assert 0 < have <= 300_000
    fetch(download, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT and host.asked[1] == ("/a.bin", f"bytes={have}-")


@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_whole_already_is_taken_or_fetched_again(host: Host, tmp_path: Path, known: bool) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    fetch(Download(host.url + "/a.bin", "a", sha256=sha(CONTENT) if known else None), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT and len(host.asked) == (1 if known else 2)


def test_another_file_than_was_meant_is_refused_and_deleted(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"SHA-256 {sha(CONTENT)}, not {'0' * 64}"):
        fetch(Download(host.url + "/a.bin", "a", sha256="0" * 64), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_were_said_are_refused(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has more than 1000 bytes"):
        fetch(Download(host.url + "/a.bin", "a", most_bytes=1000), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_told(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot fetch .*b.bin.*(404|Not Found)"):
        fetch(Download(host.url + "/b.bin", "a"), tmp_path / "a")
    host.server.shutdown()
    host.server.server_close()
    with pytest.raises(ValueError, match="cannot fetch .*(refused|111)"):
        fetch(Download(host.url + "/a.bin", "a"), tmp_path / "a")


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///etc/hostname", "ftp://example.org/a"])
def test_only_https_is_fetched(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("SEQLOOM_OFFLINE", raising=False)
    with pytest.raises(ValueError, match="only over https"):
        fetch(Download(url, "a"), tmp_path / "a")


def test_redirections_are_followed_and_held_to_the_same_rule(host: Host, tmp_path: Path) -> None:
    host.moved = {"/old": "/a.bin", "/away": "ftp://127.0.0.1/a.bin"}
    assert fetch(Download(host.url + "/old", "a"), tmp_path / "a") == sha(CONTENT)
    with pytest.raises(ValueError, match="ftp.* is not fetched"):
        fetch(Download(host.url + "/away", "a"), tmp_path / "b")


@pytest.mark.parametrize("name", ["SEQLOOM_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_for(host: Host, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match="SEQLOOM_OFFLINE asks to leave the network alone"):
        fetch(Download(host.url + "/a.bin", "a"), tmp_path / "a")
    assert host.asked == []


def packed(kind: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_an_archive_only_what_is_asked_for_is_written(tmp_path: Path, kind: str) -> None:
    files = {"set/a.txt": b"one", "set/wav/1.wav": b"1", "set/wav/2.wav": b"2", "../evil.txt": b"!", "/etc/evil": b"!"}
    (tmp_path / "x").write_bytes(packed(kind, files))
    (tmp_path / "out").mkdir()
    unpack(Download("https://host/x", {"set/a.txt": "b.txt", "*/wav/*.wav": "wav/"}), tmp_path / "x", tmp_path / "out")
    written = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    del written["x"]
    assert written == {"out/b.txt": b"one", "out/wav/1.wav": b"1", "out/wav/2.wav": b"2"}
    with pytest.raises(ValueError, match="has no set/c.txt"):
        unpack(Download("https://host/x", {"set/c.txt": "c.txt"}), tmp_path / "x", tmp_path / "out")


def test_gzip_is_unpacked_unless_it_is_kept_packed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(b"text"))
    for name, expected in {"a.txt": b"text", "a.txt.gz": gzip.compress(b"text")}.items():
        unpack(Download("https://host/x", name), tmp_path / "x", tmp_path)
        assert gzip.decompress((tmp_path / name).read_bytes()) == b"text" if name.endswith("gz") else True
        assert name.endswith("gz") or (tmp_path / name).read_bytes() == expected


def test_what_unpacks_to_too_much_or_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(packed("zip", {"a": b"0" * 100_000}))
    with pytest.raises(ValueError, match="unpacks to more than 10000 bytes"):
        unpack(Download("https://host/x", {"a": "a"}, most_bytes=1000), tmp_path / "x", tmp_path)
    for content in (b"no archive", packed("tar", {"a": b"0" * 100_000})[:-30]):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match="damaged archive"):
            unpack(Download("https://host/x", {"a": "a"}), tmp_path / "x", tmp_path)

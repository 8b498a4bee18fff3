"""`download` against a real server on this machine that misbehaves in the ways mirrors do."""

import contextlib
import hashlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from arraycnn.data.download import download
from arraycnn.errors import DataError

GOOD = bytes(range(256)) * 1024  # four network reads
DIGEST = hashlib.sha256(GOOD).hexdigest()
HOSTS = ("127.0.0.1",)


class Misbehaving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self):
        self.close_connection = True
        self.server.asked.append(self.path)
        # The client gives up on an endless or slow body, as it should.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, self.path.strip("/"))()

    def send(self, body, status=200, length=None, kind="application/octet-stream"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.send(GOOD)

    def good_without_length(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(GOOD)

    def forbidden(self):
        self.send(b"no", status=403)

    def unavailable(self):
        self.send(b"later", status=503)

    def page(self):
        self.send(b"<!DOCTYPE html><p>please log in", kind="text/html")

    def other(self):
        self.send(GOOD[::-1])

    def short(self):
        self.send(GOOD[:100_000], length=len(GOOD))

    def short_without_length(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(GOOD[:100_000])

    def empty(self):
        self.send(b"")

    def huge(self):
        self.send(b"", length=10**12)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(1024):  # 64 MiB: an end for a client that does not stop, too
            self.wfile.write(bytes(65536))

    def dripping(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        for position in range(100):  # five seconds
            self.wfile.write(GOOD[position : position + 1])
            if self.server.stopping.wait(0.05):
                break

    def silent(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.server.stopping.wait(30)

    def moved(self):
        self.redirect(f"http://127.0.0.1:{self.server.server_port}/good")

    def moved_to_plain_http(self):
        self.redirect(f"http://localhost:{self.server.server_port}/good")

    def moved_to_file(self):
        self.redirect("file:///etc/hostname")

    def moved_in_a_circle(self):
        self.redirect("/moved_in_a_circle")

    def garbled(self):
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def rude(self):
        self.wfile.write(b"HTTP/1.1 500 \x1b[31mred\x07\r\nContent-Length: 0\r\n\r\n")

    def redirect(self, target):
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Misbehaving)
        self.asked: list[str] = []
        self.stopping = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.stopping.set()
        running.shutdown()
        thread.join()


def fetch(server, tmp_path, *paths, max_bytes=2**20, timeout=20.0, **options):
    urls = [server.url(path) for path in paths]
    options.setdefault("http_hosts", HOSTS)
    download(urls, tmp_path / "cache" / "file.gz", DIGEST, max_bytes, timeout, **options)


def failure(server, tmp_path, *paths, **options) -> str:
    """The message the download fails with; checks that it is one line and that nothing is left."""
    with pytest.raises(DataError) as caught:
        fetch(server, tmp_path, *paths, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert left_behind(tmp_path) == []
    return message


def left_behind(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["good", "good_without_length", "moved"])
def test_a_good_mirror(server, tmp_path, path):
    fetch(server, tmp_path, path)
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD
    assert left_behind(tmp_path) == ["file.gz"]


def test_the_file_gets_the_usual_permissions(server, tmp_path):
    fetch(server, tmp_path, "good")
    usual = tmp_path / "usual"
    usual.touch()
    assert (tmp_path / "cache" / "file.gz").stat().st_mode == usual.stat().st_mode


def test_an_older_file_is_replaced_only_by_a_checked_one(server, tmp_path):
    target = tmp_path / "cache" / "file.gz"
    target.parent.mkdir()
    target.write_bytes(b"older")
    with pytest.raises(DataError):
        fetch(server, tmp_path, "other")
    assert target.read_bytes() == b"older"
    fetch(server, tmp_path, "good")
    assert target.read_bytes() == GOOD


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("forbidden", "HTTP 403"),
        ("unavailable", "HTTP 503"),
        ("page", "sent a web page"),
        ("other", "not " + DIGEST),
        ("short", f"broke off after 100000 of {len(GOOD)} bytes"),
        ("short_without_length", "sent 100000 bytes with SHA-256"),
        ("empty", "sent 0 bytes"),
        ("huge", "announces 1000000000000 bytes, more than the 1048576 allowed"),
        ("endless", "sends more than the 1048576 bytes allowed"),
        ("moved_to_plain_http", "must be https, got http://localhost"),
        ("moved_to_file", "not allowed"),
        ("moved_in_a_circle", "HTTP 302"),
        ("garbled", "not HTTP"),
        ("rude", "HTTP 500"),
    ],
)
def test_a_bad_mirror_is_named_with_its_reason(server, tmp_path, path, reason):
    message = failure(server, tmp_path, path)
    assert f"{server.url(path)}: " in message
    assert reason in message
    assert str(tmp_path / "cache" / "file.gz") in message


@pytest.mark.parametrize("path", ["silent", "dripping"])
def test_a_slow_mirror_is_given_up(server, tmp_path, path):
    started = time.monotonic()
    message = failure(server, tmp_path, path, timeout=0.5)
    assert time.monotonic() - started < 10
    assert "timed out" in message or "too slow" in message


def test_a_slow_mirror_leaves_time_for_the_next(server, tmp_path):
    fetch(server, tmp_path, "dripping", "good", timeout=4.0)
    assert server.asked == ["/dripping", "/good"]
    assert left_behind(tmp_path) == ["file.gz"]


def test_mirrors_are_tried_in_turn_until_one_is_good(server, tmp_path):
    fetch(server, tmp_path, "forbidden", "short", "good", "unavailable")
    assert server.asked == ["/forbidden", "/short", "/good"]
    # The part the second mirror sent is not in front of the whole file.
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD


def test_a_longer_part_of_a_failed_mirror_is_cut_off(server, tmp_path):
    short = hashlib.sha256(GOOD[:100_000]).hexdigest()
    urls = [server.url("other"), server.url("short_without_length")]
    download(urls, tmp_path / "file.gz", short, 2**20, 20.0, http_hosts=HOSTS)
    assert (tmp_path / "file.gz").read_bytes() == GOOD[:100_000]


def test_all_mirrors_failing_are_all_named(server, tmp_path):
    message = failure(server, tmp_path, "forbidden", "page", "short")
    assert message.index("HTTP 403") < message.index("web page") < message.index("broke off")
    assert all(server.url(path) in message for path in ("forbidden", "page", "short"))


def test_no_mirror_at_all(server, tmp_path):
    assert "no mirror is known" in failure(server, tmp_path)


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/good"
        with pytest.raises(DataError, match="refused"):
            download([url], tmp_path / "file.gz", DIGEST, 2**20, 10.0, http_hosts=HOSTS)
    assert left_behind(tmp_path) == []


def test_plain_http_is_refused_unless_its_host_is_named(server, tmp_path):
    assert "must be https" in failure(server, tmp_path, "good", http_hosts=())
    assert server.asked == []


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "nonsense", "http://["]
)
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(DataError) as caught:
        download([url], tmp_path / "file.gz", DIGEST, 2**20, 5.0, http_hosts=HOSTS)
    assert url in str(caught.value)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(("path", "total"), [("good", len(GOOD)), ("good_without_length", None)])
def test_progress_counts_up_to_the_whole_file(server, tmp_path, path, total):
    calls = []
    fetch(server, tmp_path, path, progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done[-1] == len(GOOD)
    assert done == sorted(done)
    assert len(done) >= 4
    assert {call[1] for call in calls} == {total}


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, RuntimeError])
def test_an_interruption_passes_through_and_leaves_nothing(server, tmp_path, error):
    def interrupt(done, total):
        assert [name for name in left_behind(tmp_path) if name.endswith(".part")]
        raise error

    with pytest.raises(error):
        fetch(server, tmp_path, "good", "good", progress=interrupt)
    assert server.asked == ["/good"]
    assert left_behind(tmp_path) == []


def test_the_data_is_on_the_disk_before_the_file_has_its_name(server, tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(descriptor):
        order.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def watch_replace(source, destination):
        order.append(("replace", os.path.dirname(source) == os.path.dirname(destination)))
        replace(source, destination)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    fetch(server, tmp_path, "good")
    assert order == [("fsync", len(GOOD)), ("replace", True)]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_is_not_blamed_on_a_mirror(server, tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    message = failure(server, tmp_path, "good", "good")
    assert "No space left on device" in message
    assert server.asked == ["/good"]


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(DataError, match="must be writable"):
        fetch(server, tmp_path, "good")
    assert server.asked == []
    assert left_behind(tmp_path) == ["cache"]

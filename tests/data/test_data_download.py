"""`download` against a real server on this machine that misbehaves in the ways mirrors do."""

import contextlib
import hashlib
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

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
        self.server.ranges.append(self.headers.get("Range"))
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

    def resuming(self):
        """A good server that knows ranges."""
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(GOOD):
            self.send(b"", status=416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(GOOD) - 1}/{len(GOOD)}")
        self.send_header("Content-Length", str(len(GOOD) - start))
        self.end_headers()
        self.wfile.write(GOOD[start:])

    def resuming_elsewhere(self):
        """Sends the end of the file, whatever was asked for."""
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {len(GOOD) - 9}-{len(GOOD) - 1}/{len(GOOD)}")
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(GOOD[-9:])

    def cut(self):
        """Ends the connection as a crash does, with a reset, in the middle of the body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(GOOD[:100_000])
        self.wfile.flush()
        self.server.read.wait()  # else the reset takes what was sent with it
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def stalled(self):
        """Sends a part, and no more for as long as the server is there."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(GOOD[:100_000])
        self.wfile.flush()
        self.server.stopping.wait()

    def slow_but_good(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        for start in range(0, len(GOOD), 2**15):
            self.wfile.write(GOOD[start : start + 2**15])
            time.sleep(0.1)

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

    def altered_at_its_end(self):
        self.send(GOOD[:-1] + b"!")

    def altered_after_a_read(self):
        self.send(GOOD[:65537] + b"!" + GOOD[65538:])

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
            self.server.dripped += 1
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
        self.ranges: list[str | None] = []
        self.dripped = 0
        self.stopping = threading.Event()
        self.read = threading.Event()
        """A client has read what `Misbehaving.cut` has sent."""

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


def failure(server, tmp_path, *paths, kept=0, **options) -> str:
    """The message the download fails with: one line, and no more left than ``kept`` bytes of it."""
    with pytest.raises(DataError) as caught:
        fetch(server, tmp_path, *paths, **options)
    message = str(caught.value)
    assert message.isprintable()
    part = tmp_path / "cache" / ".file.gz.part"
    assert left_behind(tmp_path) == ([part.name] if kept else [])
    assert not kept or part.read_bytes() == GOOD[:kept]
    assert not kept or f"({kept} bytes are kept, to go on from there)" in message
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
        ("altered_at_its_end", f"sent {len(GOOD)} bytes with SHA-256"),
        ("altered_after_a_read", f"sent {len(GOOD)} bytes with SHA-256"),
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
    with pytest.raises(DataError, match=r"timed out|too slow"):
        fetch(server, tmp_path, path, timeout=0.5)
    while not server.asked:  # it may have been too slow even to read what it was asked
        time.sleep(0.01)
    assert len(server.asked) == 1


def test_a_slow_mirror_leaves_time_for_the_next(server, tmp_path, monkeypatch):
    """By a clock on which a byte takes a second, and what is sent at once no time."""
    clock = SimpleNamespace(monotonic=lambda: float(server.dripped))
    monkeypatch.setattr("arraycnn.data.download.time", clock)
    fetch(server, tmp_path, "dripping", "good", timeout=20.0)
    assert 10 <= server.dripped < 20
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
    message = failure(server, tmp_path, "forbidden", "page", "short", kept=100_000)
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
def test_an_interruption_passes_through_and_the_next_call_goes_on(server, tmp_path, error):
    def interrupt(done, total):
        assert [name for name in left_behind(tmp_path) if name.endswith(".part")]
        raise error

    with pytest.raises(error):
        fetch(server, tmp_path, "good", "good", progress=interrupt)
    assert server.asked == ["/good"]
    assert left_behind(tmp_path) == [".file.gz.part"]
    begun = (tmp_path / "cache" / ".file.gz.part").stat().st_size
    fetch(server, tmp_path, "resuming")
    assert server.ranges[-1] == f"bytes={begun}-"
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD


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
    assert order[:2] == [("fsync", len(GOOD)), ("replace", True)]
    assert [call for call, _ in order] == ["fsync", "replace", "fsync"]  # at last, the folder


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


# --- going on with what is there


@pytest.mark.parametrize("path", ["short", "cut"])
def test_a_connection_that_is_cut_keeps_what_came(server, tmp_path, path):
    def told(done, total):
        if done == 100_000:
            server.read.set()

    failure(server, tmp_path, path, kept=100_000, progress=told)
    fetch(server, tmp_path, "resuming")
    assert server.ranges == [None, "bytes=100000-"]
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD
    assert left_behind(tmp_path) == ["file.gz"]


def test_the_next_mirror_goes_on_within_one_call(server, tmp_path):
    fetch(server, tmp_path, "short", "unavailable", "resuming")
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-"]
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD


@pytest.mark.parametrize("path", ["good", "good_without_length", "resuming_elsewhere"])
def test_a_server_that_knows_no_ranges_begins_again(server, tmp_path, path):
    failure(server, tmp_path, "short", kept=100_000)
    fetch(server, tmp_path, path, "good")
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD


@pytest.mark.parametrize(
    "part",
    [
        *(b"x" * 5, GOOD[:50_000] + b"x", b"x" * len(GOOD), b"x" * (2**20 + 1), GOOD + b"x"),
        GOOD[:-1] + b"x",
    ],
)
def test_a_wrong_beginning_is_thrown_away(server, tmp_path, part):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".file.gz.part").write_bytes(part)
    fetch(server, tmp_path, "resuming")
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD
    assert left_behind(tmp_path) == ["file.gz"]


def test_a_part_that_is_whole_needs_no_network(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".file.gz.part").write_bytes(GOOD)
    fetch(server, tmp_path, "resuming")
    assert server.asked == []
    assert left_behind(tmp_path) == ["file.gz"]


# --- several processes, no network, no room


PROCESS = """
import sys
from arraycnn.data.download import download
url, target, digest, timeout = sys.argv[1:]
download([url], target, digest, 2**20, float(timeout), http_hosts=("127.0.0.1",))
"""


def start(server, tmp_path, path, timeout):
    target = tmp_path / "cache" / "file.gz"
    arguments = [server.url(path), target, DIGEST, timeout]
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


def test_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    processes = [start(server, tmp_path, "slow_but_good", 60) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert errors == [""] * 4
    assert server.asked == ["/slow_but_good"]
    assert (tmp_path / "cache" / "file.gz").read_bytes() == GOOD
    assert left_behind(tmp_path) == ["file.gz"]


def test_a_process_that_dies_leaves_the_lock_open_and_its_part_useful(server, tmp_path):
    process = start(server, tmp_path, "stalled", 60)
    part = tmp_path / "cache" / ".file.gz.part"
    while not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    begun = part.stat().st_size
    fetch(server, tmp_path, "resuming")
    assert server.ranges[-1] == f"bytes={begun}-"
    assert left_behind(tmp_path) == ["file.gz"]


def test_waiting_for_another_process_has_an_end(server, tmp_path):
    process = start(server, tmp_path, "silent", 60)
    while not server.asked:
        time.sleep(0.01)
    with pytest.raises(DataError, match="another process must let go of this lock"):
        fetch(server, tmp_path, "good", timeout=0.2)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline_nothing_is_asked_for(server, tmp_path, monkeypatch, value):
    monkeypatch.setenv("ARRAYCNN_OFFLINE", value)
    assert "ARRAYCNN_OFFLINE forbids to download it" in failure(server, tmp_path, "good")
    assert server.asked == []
    monkeypatch.setenv("ARRAYCNN_OFFLINE", "0")
    fetch(server, tmp_path, "good")


def test_a_quota_that_is_reached_is_told_and_frees_the_disk(server, tmp_path):
    """For real: the system refuses to let a file of this process grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = failure(server, tmp_path, "good", "good")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "must be writable for the download, the system says: File too large" in message
    assert server.asked == ["/good"]


def test_a_full_disk_is_told_and_freed(server, tmp_path):
    """For real: a file system of 64 KiB in memory."""
    (tmp_path / "cache").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "cache")]
    if os.name == "nt" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        message = failure(server, tmp_path, "good", "good")
    finally:
        subprocess.run(["umount", str(tmp_path / "cache")], check=True)
    assert "No space left on device" in message
    assert server.asked == ["/good"]

"""Fetching one file over https, from the first mirror that sends what it should."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from arraycnn.errors import DataError, one_line
from arraycnn.storage.atomic_writes import sync_folder
from arraycnn.storage.file_lock import locked

Progress = Callable[[int, int | None], None]

OFFLINE = "ARRAYCNN_OFFLINE"
# A server that sends nothing for this long is given up, however much time the download has left.
SOCKET_SECONDS = 20.0
_READ_BYTES = 2**16


class _MirrorFailed(Exception):
    """This mirror cannot supply the file; the next one may.

    ``useful`` says whether what has been sent so far may be the beginning of the right file.
    """

    def __init__(self, reason: str, useful: bool = False) -> None:
        super().__init__(reason)
        self.useful = useful


@dataclass(frozen=True)
class _Wanted:
    """The file to fetch, and under which conditions."""

    destination: Path
    sha256: str
    max_bytes: int
    progress: Progress | None
    http_hosts: Collection[str]


def download(
    urls: Sequence[str],
    destination: str | os.PathLike[str],
    sha256: str,
    max_bytes: int,
    timeout: float,
    progress: Progress | None = None,
    http_hosts: Collection[str] = (),
) -> None:
    """Fetch the file with digest ``sha256`` to ``destination``, trying ``urls`` in turn.

    ``timeout`` is the time in seconds for the whole call, waiting for another process that fetches
    the same file included; each mirror may use an equal share of what is left, so that a slow one
    leaves time for the others (it is looked at between reads: a silent server may hold on for one
    socket timeout longer). ``max_bytes`` bounds what is read. ``progress(bytes_done, bytes_total or
    None)`` is called as data comes. Only https is used, redirects included, except to the hosts in
    ``http_hosts``.

    The file appears under its name only when it is complete, checked and on the disk. What a
    download that was cut off has sent stays beside it as a hidden .part file, from whose end the
    next mirror, or the next call, goes on.

    Raises `DataError`, in one line, with each mirror's reason where all fail, where the folder
    cannot be written, or where the environment variable ARRAYCNN_OFFLINE forbids the network.
    """
    wanted = _Wanted(Path(destination), sha256, max_bytes, progress, http_hosts)
    folder, name = wanted.destination.parent, wanted.destination.name
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        message = (
            f"{name}: is not on this machine, and {OFFLINE} forbids to download it; unset the "
            f"variable, or fetch the file by other means and save it as {wanted.destination}"
        )
        raise DataError(message)
    deadline = time.monotonic() + timeout
    with ExitStack() as held:
        with _writing(wanted.destination):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / f".{name}.lock", timeout))
        if not _is_whole(wanted.destination, sha256):  # another process may have fetched it
            _fetch_locked(urls, wanted, deadline)


def _fetch_locked(urls: Sequence[str], wanted: _Wanted, deadline: float) -> None:
    partial = wanted.destination.with_name(f".{wanted.destination.name}.part")
    try:
        with _writing(wanted.destination):
            # Unbuffered: closing a buffered file on a full disk fails a second time.
            file = partial.open("a+b", buffering=0)
        with file:
            if not _is_whole(partial, wanted.sha256):
                _fetch_any(urls, file, wanted, deadline)
            with _writing(wanted.destination):
                os.fsync(file.fileno())
        with _writing(wanted.destination):
            os.replace(partial, wanted.destination)
            sync_folder(wanted.destination.parent)
    except _DiskFailed as failure:
        with suppress(OSError):
            partial.unlink()  # it would only keep the disk full
        raise DataError(str(failure)) from None
    finally:
        # Nothing worth keeping: also where the folder itself is gone.
        with suppress(OSError):
            if partial.stat().st_size == 0:
                partial.unlink()


def _fetch_any(urls: Sequence[str], file: FileIO, wanted: _Wanted, deadline: float) -> None:
    """Fill ``file`` from the first of ``urls`` that sends the rest of the right one."""
    failures = []
    for position, url in enumerate(urls):
        now = time.monotonic()
        ends = now + max(deadline - now, 0.0) / (len(urls) - position)
        try:
            if _size(file) > wanted.max_bytes:
                _cut(file, wanted)
            begun = _size(file)
            try:
                _fetch(url, file, wanted, ends)
            except _MirrorFailed as failure:
                if failure.useful or not begun:
                    raise
                _cut(file, wanted)  # the beginning may have been the wrong one
                _fetch(url, file, wanted, ends)
            return
        except _MirrorFailed as failure:
            failures.append(f"{url}: {failure}")
            if not failure.useful:
                _cut(file, wanted)
    reasons = "; ".join(failures) or "no mirror is known"
    kept = f" ({_size(file)} bytes are kept, to go on from there)" if _size(file) else ""
    raise DataError(
        f"{wanted.destination.name}: could not be downloaded: {reasons}; check the network{kept}, "
        f"or fetch the file by other means and save it as {wanted.destination}"
    )


class _DiskFailed(DataError):
    """The disk is full, or the folder cannot be written to: no mirror can help there."""


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskFailed(
            f"{destination}: must be writable for the download, the system says: "
            f"{error.strerror or error}; free the disk, or choose another folder"
        ) from None


def _write(file: FileIO, chunk: bytes, destination: Path) -> None:
    rest = memoryview(chunk)
    with _writing(destination):
        while rest:
            rest = rest[file.write(rest) :]


def _cut(file: FileIO, wanted: _Wanted) -> None:
    with _writing(wanted.destination):
        file.truncate(0)


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _fetch(url: str, file: FileIO, wanted: _Wanted, deadline: float) -> None:
    """Append what ``url`` sends to ``file``; raise `_MirrorFailed` where it is not the file."""
    seconds = deadline - time.monotonic()
    done = _size(file)
    if seconds <= 0:
        raise _MirrorFailed("no time was left for it", useful=True)
    # The socket timeout bounds one read; a server that drips bytes is stopped by the deadline.
    with _open(url, min(SOCKET_SECONDS, seconds), wanted.http_hosts, done) as response:
        if done and not _continues(response, done):
            _cut(file, wanted)
            done = 0
        rest = _declared_length(response)
        total = None if rest is None else done + rest
        if total is not None and total > wanted.max_bytes:
            raise _MirrorFailed(
                f"announces {total} bytes, more than the {wanted.max_bytes} allowed"
            )
        file.seek(0)
        digest, start = hashlib.sha256(), file.read(64)
        digest.update(start)
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
        while chunk := _read_some(response):
            done += len(chunk)
            if done > wanted.max_bytes:
                raise _MirrorFailed(f"sends more than the {wanted.max_bytes} bytes allowed")
            start = start or chunk[:64]
            digest.update(chunk)
            _write(file, chunk, wanted.destination)
            if time.monotonic() > deadline:
                raise _MirrorFailed(f"too slow: {done} bytes in {seconds:.0f} s", useful=True)
            if wanted.progress is not None:
                wanted.progress(done, total)
    if total is not None and done < total:
        raise _MirrorFailed(f"broke off after {done} of {total} bytes", useful=True)
    if digest.hexdigest() != wanted.sha256:
        if start.lstrip().startswith(b"<"):
            raise _MirrorFailed("sent a web page instead of the file")
        reason = f"sent {done} bytes with SHA-256 {digest.hexdigest()}, not {wanted.sha256}"
        raise _MirrorFailed(reason)


def _continues(response: http.client.HTTPResponse, done: int) -> bool:
    """Whether the server goes on from byte ``done``, as it was asked to; else it begins again."""
    span = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""), re.ASCII)
    return response.status == 206 and span is not None and int(span[1]) == done


def _open(
    url: str, socket_seconds: float, http_hosts: Collection[str], done: int
) -> http.client.HTTPResponse:
    try:
        _check_scheme(url, http_hosts)
        opener = urllib.request.build_opener(_Redirects(http_hosts))
        headers = {"User-Agent": "arraycnn"} | ({"Range": f"bytes={done}-"} if done else {})
        request = urllib.request.Request(url, headers=headers)
        response: http.client.HTTPResponse = opener.open(request, timeout=socket_seconds)
    except urllib.error.HTTPError as error:
        reason = one_line(f"HTTP {error.code} {error.reason}")
        with error:  # 416: there is nothing after what is there already, which so is another file
            raise _MirrorFailed(reason, useful=error.code != 416) from None
    except urllib.error.URLError as error:
        raise _MirrorFailed(one_line(error.reason), useful=True) from None
    # HTTPException: not an HTTP server. ValueError: not an address.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _MirrorFailed(one_line(error), useful=True) from None
    return response


def _read_some(response: http.client.HTTPResponse) -> bytes:
    # read1 returns after one receive; read(n) would wait for n bytes, past any deadline.
    try:
        return response.read1(_READ_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorFailed(one_line(error), useful=True) from None


def _declared_length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _check_scheme(url: str, http_hosts: Collection[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in http_hosts):
        raise _MirrorFailed(one_line(f"must be https, got {url}"))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as urllib does, but holds their targets to the same rule as the first."""

    def __init__(self, http_hosts: Collection[str]) -> None:
        self._http_hosts = http_hosts

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            _check_scheme(newurl, self._http_hosts)
        except _MirrorFailed:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)

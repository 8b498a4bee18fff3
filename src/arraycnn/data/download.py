"""Fetching one file over https, from the first mirror that sends what it should."""

import hashlib
import http.client
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from arraycnn.errors import DataError, one_line

Progress = Callable[[int, int | None], None]

# A server that sends nothing for this long is given up, however much time the download has left.
SOCKET_SECONDS = 20.0
_READ_BYTES = 2**16


class _MirrorFailed(Exception):
    """This mirror cannot supply the file; the next one may."""


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

    ``timeout`` is the time in seconds for the whole call; each mirror may use an equal share of
    what is left, so that a slow one leaves time for the others (it is looked at between reads: a
    silent server may hold on for one socket timeout longer). ``max_bytes`` bounds what is read.
    ``progress(bytes_done, bytes_total or None)`` is called as data comes, from 0 again with each
    mirror. Only https is used, redirects included, except to the hosts in ``http_hosts``.

    The file appears under its name only when it is complete, checked and on the disk; whatever
    else happens, KeyboardInterrupt included, nothing new is left in the folder.

    Raises `DataError`, in one line, with each mirror's reason where all fail, or where the folder
    cannot be written.
    """
    destination = Path(destination)
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.part")
    deadline = time.monotonic() + timeout
    failures = []
    try:
        with _writing(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: closing a buffered file on a full disk fails a second time.
            file = partial.open("xb", buffering=0)
        with file:
            for position, url in enumerate(urls):
                now = time.monotonic()
                ends = now + max(deadline - now, 0.0) / (len(urls) - position)
                try:
                    _fetch(url, file, destination, sha256, max_bytes, ends, progress, http_hosts)
                except _MirrorFailed as failure:
                    failures.append(f"{url}: {failure}")
                    continue
                with _writing(destination):
                    os.fsync(file.fileno())
                break
            else:
                reasons = "; ".join(failures) or "no mirror is known"
                raise DataError(
                    f"{destination.name}: could not be downloaded: {reasons}; check the network, "
                    f"or fetch the file by other means and save it as {destination}"
                )
        with _writing(destination):
            os.replace(partial, destination)
    finally:
        # Also fails where the folder itself could not be made, which is being reported already.
        with suppress(OSError):
            partial.unlink()


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    """Tells a full disk or a read-only folder from a mirror's failure: no mirror can help there."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{destination}: must be writable for the download, the system says: "
            f"{error.strerror or error}; free the disk, or choose another folder"
        ) from None


def _write(file: FileIO, chunk: bytes, destination: Path) -> None:
    rest = memoryview(chunk)
    with _writing(destination):
        while rest:
            rest = rest[file.write(rest) :]


def _fetch(
    url: str,
    file: FileIO,
    destination: Path,
    sha256: str,
    max_bytes: int,
    deadline: float,
    progress: Progress | None,
    http_hosts: Collection[str],
) -> None:
    """Write what ``url`` sends to ``file``; raise `_MirrorFailed` where it is not the file."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _MirrorFailed("no time was left for it")
    with _writing(destination):
        file.seek(0)
        file.truncate()
    # The socket timeout bounds one read; a server that drips bytes is stopped by the deadline.
    with _open(url, min(SOCKET_SECONDS, seconds), http_hosts) as response:
        total = _declared_length(response)
        if total is not None and total > max_bytes:
            raise _MirrorFailed(f"announces {total} bytes, more than the {max_bytes} allowed")
        digest = hashlib.sha256()
        start = b""
        done = 0
        while chunk := _read_some(response):
            done += len(chunk)
            if done > max_bytes:
                raise _MirrorFailed(f"sends more than the {max_bytes} bytes allowed")
            if time.monotonic() > deadline:
                raise _MirrorFailed(f"too slow: {done} bytes in {seconds:.0f} s")
            start = start or chunk[:64]
            digest.update(chunk)
            _write(file, chunk, destination)
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise _MirrorFailed(f"broke off after {done} of {total} bytes")
    if digest.hexdigest() != sha256:
        if start.lstrip().startswith(b"<"):
            raise _MirrorFailed("sent a web page instead of the file")
        raise _MirrorFailed(f"sent {done} bytes with SHA-256 {digest.hexdigest()}, not {sha256}")


def _open(url: str, socket_seconds: float, http_hosts: Collection[str]) -> http.client.HTTPResponse:
    try:
        _check_scheme(url, http_hosts)
        opener = urllib.request.build_opener(_Redirects(http_hosts))
        request = urllib.request.Request(url, headers={"User-Agent": "arraycnn"})
        response: http.client.HTTPResponse = opener.open(request, timeout=socket_seconds)
    except urllib.error.HTTPError as error:
        with error:
            raise _MirrorFailed(one_line(f"HTTP {error.code} {error.reason}")) from None
    except urllib.error.URLError as error:
        raise _MirrorFailed(one_line(error.reason)) from None
    # HTTPException: not an HTTP server. ValueError: not an address.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _MirrorFailed(one_line(error)) from None
    return response


def _read_some(response: http.client.HTTPResponse) -> bytes:
    # read1 returns after one receive; read(n) would wait for n bytes, past any deadline.
    try:
        return response.read1(_READ_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorFailed(one_line(error)) from None


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

"""Downloads a file from the first of several mirrors that has it; resumes an interrupted download."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from twostream.files.digest import sha256 as file_hash
from twostream.files.errors import ExpectedError, one_line

TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5  # attempts in a row without a new byte, after which a mirror is given up
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
BLOCK = 1 << 18

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all (None: unknown)


class DownloadError(ExpectedError):
    """A file cannot be downloaded; the message says what each mirror answered."""


class _RefusedError(Exception):
    """A mirror's answer that will not change if it is asked again."""


def download(
    urls: Sequence[str],
    folder: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress = lambda name, done, total: None,
) -> Path:
    """Downloads into `folder` from the first of `urls` that delivers; checks `size` and `sha256` if they are given.

    The file is named as in its address. It is written under a hidden name first, and renamed when it is whole. If
    anything goes wrong, the part that has come is kept, and the next call continues it, if the server still has the
    same file (by ETag or date) and can send a part. Raises `DownloadError` with each mirror's answer, ValueError
    for an address that is not one of a file on the web.
    """
    parts = {url: _Part(folder / file_name(url), url) for url in urls}
    folder.mkdir(parents=True, exist_ok=True)
    answers = []
    for url, part in parts.items():
        try:
            _fetch(part, size, progress)
            _check(part, size, sha256)
        except _RefusedError as answer:
            answers.append(f"{url}: {answer}")
            continue
        part.file.replace(part.path)
        for other in parts.values():
            other.forget()
        return part.path
    names = dict.fromkeys(part.path.name for part in parts.values())
    raise DownloadError(f"{' or '.join(names)} cannot be downloaded: {'; '.join(answers)}")


def file_name(url: str) -> str:
    """Returns the last part of an address. Raises ValueError if that is not a file name, or it is no http(s) address.

    >>> file_name("https://example.org/data/My%20clips.zip?download=1")
    'My clips.zip'
    """
    address = urlsplit(url)
    name = unquote(address.path).rpartition("/")[2]
    if address.scheme not in ("http", "https") or not address.netloc or name in ("", ".", "..") or "\\" in name:
        raise ValueError(f"{url!r}: expected the address of a file, http://… or https://…")
    return name


class _Part:
    """The part of a file that has come from one address, and the server's mark (ETag or date) of that file."""

    def __init__(self, path: Path, url: str) -> None:
        self.url = url
        self.path = path
        stem = f".{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        self.file = path.with_name(f"{stem}.part")
        self._note = path.with_name(f"{stem}.version")

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def version(self) -> str | None:
        with suppress(OSError, ValueError):
            return json.loads(self._note.read_text())
        return None

    def begin(self, version: str | None) -> None:
        self.file.unlink(missing_ok=True)
        self._note.write_text(json.dumps(version))

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _fetch(part: _Part, size: int | None, progress: Progress) -> None:
    """Asks until the file is whole. Raises `_RefusedError` if a further attempt is useless.

    It is useless after some answers (such as 404), and after ATTEMPTS failures in a row without a new byte.
    """
    failures, most = 0, part.size()
    while True:
        try:
            if _ask(part, size, progress):
                return
            reason = "the connection ended too early"
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 416, 429):
                raise _RefusedError(reason) from None
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason = one_line(cause)
            if isinstance(cause, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError):
                raise _RefusedError(reason) from None
        failures = 0 if part.size() > most else failures + 1
        most = max(most, part.size())  # a server that always starts from the beginning must not be asked for ever
        if failures >= ATTEMPTS:
            raise _RefusedError(f"{reason} ({failures} attempts)")
        if failures:
            time.sleep(PAUSE * 2 ** (failures - 1))


def _ask(part: _Part, size: int | None, progress: Progress) -> bool:
    """Makes one request for all missing bytes; returns whether the file is then whole."""
    have, version = part.size(), part.version()
    headers = {"User-Agent": "twostream", "Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    else:
        have = 0  # without a mark of its version, the part may be of another file
    try:
        response = urllib.request.urlopen(urllib.request.Request(part.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code == 416 and have and total and int(total[1]) == have:
            return True  # the part is the whole file
        if error.code == 416:
            part.forget()
        raise
    with response:
        start, total = _position(response, have)
        _check_kind(response, part.url, size, total)
        if not start:
            part.begin(_version(response))
        with part.file.open("ab", buffering=0) as file:
            while block := response.read(BLOCK):
                _write(file, block)
                start += len(block)
                progress(part.path.name, start, total)
            os.fsync(file.fileno())
    return start == total if total is not None else True


def _version(response: Any) -> str | None:
    """Returns the server's ETag or, if that is absent or weak (equal for different bytes), its date, or None."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _write(file: Any, block: bytes) -> None:
    try:
        while block:
            block = block[file.write(block) :]
    except OSError as error:  # an error of the disk: another mirror would not help
        raise DownloadError(
            f"{file.name}: cannot be written ({error.strerror}); what is there is kept, the same command goes on"
        ) from error


def _position(response: Any, have: int) -> tuple[int, int | None]:
    """Returns (where the body starts, size of the whole file or None): a server may send the whole file unasked."""
    length = response.headers.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != have:
            raise _RefusedError(f"sent another part than was asked for ({response.headers.get('Content-Range')})")
        return have, None if found[2] == "*" else int(found[2])
    return 0, int(length) if length and length.isdigit() else None


def _check_kind(response: Any, url: str, size: int | None, total: int | None) -> None:
    if response.headers.get_content_type() == "text/html" and not url.endswith((".html", ".htm")):
        raise _RefusedError("sent a web page in place of the file")
    if size is not None and total is not None and total != size:
        raise _RefusedError(f"has a file of {total:,} bytes, not of {size:,}")


def _check(part: _Part, size: int | None, sha256: str | None) -> None:
    """Raises `_RefusedError`, after deleting the part, if its size or hash is not the wanted one."""
    if size is not None and part.size() != size:
        found, wanted = f"{part.size():,} bytes", f"{size:,}"
    elif sha256 is not None and (digest := file_hash(part.file)) != sha256:
        found, wanted = f"a file with SHA-256 {digest}", sha256
    else:
        return
    part.forget()
    raise _RefusedError(f"sent {found}, not {wanted}")

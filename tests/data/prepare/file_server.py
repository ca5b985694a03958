"""A web server in a thread, for the tests beside; it can do wrong whatever a mirror can."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class FileServer(ThreadingHTTPServer):
    """Serves `files` (name -> bytes) and keeps in `asked` what was asked: (name, Range, If-Range).

    ranges: whether parts are sent. cuts: for each of the next requests, the number of bytes behind which the
    connection ends (None: not). answers: for each of the next requests, another status than 200 (None: none).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.ranges = True
        self.version: str | None = '"one"'
        self.kind = "application/octet-stream"
        self.cuts: list[int | None] = []
        self.answers: list[int | None] = []

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def __enter__(self) -> FileServer:
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        server, name = self.server, self.path[1:]
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        server.asked.append((name, wanted, condition))
        status = server.answers.pop(0) if server.answers else None
        content = server.files.get(name)
        if status or content is None:
            self.send_error(status or 404)
            return
        start = 0
        if wanted and server.ranges and condition == server.version:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.version:
            self.send_header("ETag", server.version)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])

    def log_message(self, *arguments: object) -> None:
        """No lines on stderr."""

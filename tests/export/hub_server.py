"""A Hub on this machine: the few endpoints that creating a repository, one commit, and a download need.

Large files go through Git LFS, as they did before Xet; what is sent lies in `Hub.repositories`, {repo: {name: bytes}}.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """What the server holds, and what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, Any]] = []
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    def revision(self, repo: str) -> str:
        """40 hexadecimal digits that follow from the content."""
        return hashlib.sha1(repr(sorted(self.repositories[repo].items())).encode()).hexdigest()


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, content: Any, status: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/(\w+))?(?:\?.*)?", self.path):
                repo = found[1]
                if repo not in hub.repositories:
                    return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
                names = [{"rfilename": name} for name in hub.repositories[repo]]
                return self.answer(
                    {"id": repo, "sha": hub.revision(repo), "siblings": names, "private": False, "tags": []}
                )
            if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/\w+\?.*", self.path):
                held = hub.repositories[found[1]].items()
                return self.answer(
                    [{"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()} for n, c in held]
                )
            if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/(\w+)/(.+)", self.path):
                repo, name = found[1], found[3]
                content = hub.repositories[repo][name]
                tag = hashlib.sha1(content).hexdigest()
                return self.answer(content, X_Repo_Commit=hub.revision(repo), ETag=f'"{tag}"', Accept_Ranges="bytes")
            return self.answer({"error": "no such endpoint"}, 404)

        do_HEAD = do_GET  # noqa: N815

        def do_PUT(self) -> None:
            hub.asked.append(f"PUT {self.path}")
            hub.large[self.path.rsplit("/", 1)[-1]] = self.body()
            self.answer({})

        def do_POST(self) -> None:
            hub.asked.append(f"POST {self.path}")
            hub.tokens.add(self.headers.get("Authorization"))
            body = self.body()
            if self.path == "/api/repos/create":
                given = json.loads(body)
                repo = f"{given['organization']}/{given['name']}"
                hub.repositories.setdefault(repo, {})
                hub.private[repo] = given.get("private", given.get("visibility") == "private")
                return self.answer({"url": f"{hub.url}/{repo}", "name": repo})
            if self.path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                files = [{"path": f["path"], "uploadMode": mode_of(f["path"]), "shouldIgnore": False, "oid": None}
                         for f in json.loads(body)["files"]]  # fmt: skip
                return self.answer({"files": files})
            if self.path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**given, "actions": {"upload": {"href": f"{hub.url}/large/{given['oid']}"}}}
                    for given in json.loads(body)["objects"]
                ]
                return self.answer({"transfer": "basic", "objects": objects})
            if found := re.fullmatch(r"/api/models/(.+)/commit/main(?:\?.*)?", self.path):
                return self.commit(found[1], [json.loads(line) for line in body.splitlines()])
            return self.answer({"error": "no such endpoint"}, 404)

        def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    hub.commits.append(value)
                elif line["key"] == "file":
                    hub.repositories[repo][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    content = hub.large[value["oid"]]
                    assert hashlib.sha256(content).hexdigest() == value["oid"]
                    hub.repositories[repo][value["path"]] = content
            revision = hub.revision(repo)
            self.answer({"commitOid": revision, "commitUrl": f"{hub.url}/{repo}/commit/{revision}", "success": True})

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

    return Handler


def mode_of(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".onnx", ".png")) else "regular"


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

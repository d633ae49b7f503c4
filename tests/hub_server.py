"""A Hugging Face Hub for tests: a local HTTP server with the paths, headers and habits of the real one.

Endpoints as huggingface_hub asks them: /api/datasets/REPO/revision/REV, /api/datasets/REPO/tree/COMMIT/FOLDER,
and HEAD and GET of /datasets/REPO/resolve/COMMIT/FILE, which sends large files on to another path (the real Hub
sends them to its storage) that knows byte ranges. Faults are listed in `faults`, each used up once.
"""

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "HuggingFaceFW/fineweb-edu"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One data set at one commit. `faults`: what happens to the next GETs of a file, by its name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.faults: dict[str, list[str]] = {}
        self.busy = 0
        """How many of the next questions to /api are answered with 503."""
        self.token = ""
        """A token without which nothing is given, if any."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """(method, path, headers) of every request."""
        self.reached = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def storage(self) -> str:
        """Another host, so that a client which sends its token there too is seen."""
        return f"http://localhost:{self._server.server_port}"

    def bodies(self) -> Counter[str]:
        """How often the body of each file was asked for."""
        found = (path.removeprefix("/storage/") for method, path, _ in self.asked if method == "GET")
        return Counter(path for path in found if path in self.files)

    def ranges(self, name: str) -> list[str]:
        """The ranges of a file that were asked for."""
        wanted = f"/storage/{name}"
        return [
            headers.get("range", "")
            for method, path, headers in self.asked
            if (method, path) == ("GET", wanted)
        ]

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]] | None:
        """What the Hub says of a folder; None when there is none."""
        prefix = f"{folder}/" if folder else ""
        below = {name for name in self.files if name.startswith(prefix)}
        if not below:
            return None
        entries = {}
        for name in below:
            first = name.removeprefix(prefix).split("/")
            if recursive or len(first) == 1:
                size = len(self.files[name])
                lfs = {"oid": self.sums[name], "size": size, "pointerSize": 134}
                entries[name] = {"type": "file", "oid": "ab" * 20, "size": size, "path": name, "lfs": lfs}
            for depth in range(1, len(first) if recursive else min(2, len(first))):
                path = prefix + "/".join(first[:depth])
                entries[path] = {"type": "directory", "oid": "cd" * 20, "size": 0, "path": path}
        return [entries[path] for path in sorted(entries)]

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        path = unquote(url.path)
        headers = {key.lower(): value for key, value in request.headers.items()}
        self.asked.append((request.command, path, headers))
        api, resolve = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/"
        if path.startswith("/storage/"):
            return self._storage(request, path.removeprefix("/storage/"), headers)
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return _reply(request, 401, b"{}", {"X-Error-Code": "GatedRepo"})
        if self.busy and path.startswith("/api/"):
            self.busy -= 1
            return _reply(request, 503, b"busy")
        if path.startswith(f"{api}/revision/"):
            return self._revision(request, path.rpartition("/")[2])
        if path.startswith(f"{api}/tree/{COMMIT}"):
            return self._tree(request, path.removeprefix(f"{api}/tree/{COMMIT}").strip("/"), url.query)
        if path.startswith(resolve):
            return self._resolve(request, path.removeprefix(resolve))
        return _reply(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _revision(self, request: BaseHTTPRequestHandler, revision: str) -> None:
        if revision not in ("main", COMMIT):
            return _reply(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name} for name in self.files]
        facts = {"_id": "1", "id": REPO, "sha": COMMIT, "private": False, "disabled": False, "gated": False}
        return _json(request, {**facts, "downloads": 1, "likes": 1, "tags": [], "siblings": siblings})

    def _tree(self, request: BaseHTTPRequestHandler, folder: str, query: str) -> None:
        found = self.tree(folder, parse_qs(query).get("recursive", ["False"])[0].lower() in ("true", "1"))
        if found is None:
            return _reply(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
        return _json(request, found)

    def _resolve(self, request: BaseHTTPRequestHandler, rest: str) -> None:
        commit, _, name = rest.partition("/")
        if commit != COMMIT or name not in self.files:
            return _reply(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        size, sum_ = str(len(self.files[name])), self.sums[name]
        if (self.faults.get(name) or [""])[0] == "404":  # listed, and not there
            return _reply(request, 404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
        facts = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": size,
            "X-Linked-ETag": f'"{sum_}"',
            "ETag": f'"{sum_}"',
        }
        return _reply(request, 302, b"", {**facts, "Location": f"{self.storage}/storage/{name}"})

    def _storage(self, request: BaseHTTPRequestHandler, name: str, headers: dict[str, str]) -> None:
        """The bytes of a file from the range's start, unless a fault is due."""
        data = self.files[name]
        fault = (self.faults.get(name) or [""]).pop(0)
        if fault == "503":
            return _reply(request, 503, b"busy")
        if fault == "storage 404":
            return _reply(request, 404, b"<Error>NoSuchKey</Error>")
        if fault == "wrong":
            data = bytes(len(data))
        start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if fault == "no ranges":
            start = 0
        body = data[start:]
        request.send_response(206 if start or ("range" in headers and fault != "no ranges") else 200)
        half = body[: len(body) // 2]
        request.send_header("Content-Length", str(len(half if fault == "half" else body)))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if fault in ("half", "cut"):  # "half" says so beforehand, "cut" promises the whole
            request.wfile.write(half)
            request.close_connection = True
            return None
        if fault == "hang":  # half a body, and then nothing until the client is gone
            request.wfile.write(half)
            request.wfile.flush()
            self.reached.set()
            request.connection.settimeout(500)
            request.connection.recv(1)
            request.close_connection = True
            return None
        request.wfile.write(body)
        return None


def _json(request: BaseHTTPRequestHandler, value: Any) -> None:
    _reply(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _reply(
    request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    request.send_response(code)
    for key, value in (headers or {}).items():
        request.send_header(key, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)

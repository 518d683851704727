"""A server that plays the hub: its API, its redirects to another host, and whatever goes wrong on the way."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".gguf", ".bin", ".pth")  # what git-lfs keeps


def etag_of(name, data):
    """As the hub names a blob: SHA-256 of large files, git's SHA-1 of others."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the server has, and what it does wrong."""

    files: dict = field(default_factory=dict)  # of one repository: path -> bytes
    repository: str = "some/model"
    commit: str = COMMIT
    token: str = ""  # that is asked for
    gated: bool = False
    renamed: str = ""  # what the repository was called before
    listing: bytes | None = None  # in the place of the true one
    listed: dict = field(default_factory=dict)  # path -> what its entry says otherwise
    headers: dict = field(default_factory=dict)  # of the hub's answer for a file
    location: str = ""  # in the place of the CDN's
    status: list = field(default_factory=list)  # what the next requests are answered
    drop_after: list = field(default_factory=list)  # bytes after which the next connections for a file are dropped
    cut_after: list = field(default_factory=list)  # the same, without having said how many come
    pause: threading.Event | None = None  # waited for in the middle of a large file
    ignores_range: bool = False
    sent: dict = field(default_factory=dict)  # path -> bytes that are sent in their place
    requests: list = field(default_factory=list)  # (who was asked, path, Authorization, Range)
    url: str = ""
    cdn_url: str = ""

    @staticmethod
    def of_folder(folder, **how):
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
        return Hub(files, **how)

    def entry(self, path):
        data = self.files[path]
        entry = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
        if path.endswith(LARGE):
            entry["lfs"] = {"sha256": etag_of(path, data), "size": len(data), "pointerSize": 130}
        return entry | self.listed.get(path, {})

    def asked_for(self, path):
        """The Range headers of requests for a file's bytes."""
        return [span for _, asked, _, span in self.requests if asked.endswith("/" + path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    who = "hub"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):  # noqa: N802
        self.do_GET()

    def do_GET(self):  # noqa: N802
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.who, path, self.headers.get("Authorization"), self.headers.get("Range")))
        if hub.status and (status := hub.status.pop(0)):
            return self.answer(status, b"wrong", **{"Retry-After": "0"})
        if self.who == "hub" and hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            code = {"X-Error-Code": "GatedRepo"} if hub.gated else {}
            return self.answer(401, b"no", **code)
        if self.who == "hub" and hub.renamed and f"/{hub.renamed}/" in path:
            return self.answer(307, Location=self.path.replace(f"/{hub.renamed}/", f"/{hub.repository}/"))
        api = f"/api/models/{hub.repository}"
        if path.startswith(f"{api}/tree/"):  # which Python asks for
            entries = [{"type": "file", "path": p, "size": len(d), "oid": hub.entry(p)["blobId"],
                        **({"lfs": {"oid": etag_of(p, d), "size": len(d), "pointerSize": 130}} if p.endswith(LARGE) else {})}
                       for p, d in hub.files.items()]  # fmt: skip
            return self.answer(200, json.dumps(entries).encode(), **{"Content-Type": "application/json"})
        if path == api or path.startswith(f"{api}/revision/"):
            if not path.endswith((api, "/main", hub.commit, "/refs/pr/1")):
                return self.answer(404, b"no", **{"X-Error-Code": "RevisionNotFound"})
            siblings = [hub.entry(p) for p in hub.files]
            body = hub.listing or json.dumps({"id": hub.repository, "sha": hub.commit, "siblings": siblings}).encode()
            return self.answer(200, body, **{"Content-Type": "application/json"})
        resolve = f"/{hub.repository}/resolve/"
        if self.who == "hub" and path.startswith(resolve):
            name = path[len(resolve) :].split("/", 1)[1]
            if name not in hub.files:
                return self.answer(404, b"no", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
            data, etag = hub.files[name], etag_of(name, hub.files[name])
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{etag}"'} | hub.headers
            if not name.endswith(LARGE):
                return self.send_file(name, headers)
            headers = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))} | headers
            return self.answer(302, **headers, Location=hub.location or f"{hub.cdn_url}/cdn/{name}")
        if self.who == "cdn" and path.startswith("/cdn/"):
            return self.send_file(path.removeprefix("/cdn/"), {})
        return self.answer(404, b"no", **({"X-Error-Code": "RepoNotFound"} if self.who == "hub" else {}))

    def send_file(self, name, headers):
        hub = self.server.hub
        data, begin = hub.sent.get(name, hub.files[name]), 0
        if (span := self.headers.get("Range")) and not hub.ignores_range:
            begin = int(span.removeprefix("bytes=").split("-")[0])
            headers = headers | {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        body = data[begin:]
        cut = hub.cut_after.pop(0) if hub.cut_after and name.endswith(LARGE) else None
        length = {"Content-Length": str(len(body))} if cut is None else {"Connection": "close"}
        self.send_response(206 if begin else 200)
        for key, value in (length | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None:
            self.wfile.write(body[:cut])
            return
        if hub.drop_after and name.endswith(LARGE):
            self.wfile.write(body[: hub.drop_after.pop(0)])
            self.close_connection = True
            return
        if hub.pause and name.endswith(LARGE):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            hub.pause.wait(30)
            body = body[len(body) // 2 :]
        self.wfile.write(body)


class Cdn(Handler):
    who = "cdn"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that went away
        pass


@contextmanager
def serving(hub):
    """The hub at hub.url, and the host that it sends to for large files at hub.cdn_url."""
    servers = [Server(("127.0.0.1", 0), handler) for handler in (Handler, Cdn)]
    for server in servers:
        server.hub = hub
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        if hub.pause:
            hub.pause.set()
        for server in servers:
            server.shutdown()
            server.server_close()

"""Servers on loopback for what asks the network: a hub that has a checkpoint and a dataset, and a proxy before it."""

import hashlib
import json
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

COMMIT = "0" * 40


def files_of(folder: Path) -> list[str]:
    """The paths of all files of a folder, relative to it."""
    return [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]


class Hub(ThreadingHTTPServer):
    """As much of the hub as downloads ask for; `models` and `datasets` are folders by their ids."""

    def __init__(self, models: dict[str, Path], datasets: dict[str, Path]):
        super().__init__(("127.0.0.1", 0), _HubAnswers)
        self.folders = models | {f"datasets/{name}": folder for name, folder in datasets.items()}
        self.seen: list[str] = []
        # A file that is there and cannot be had, as where only the hub's storage is blocked.
        self.blocked = ""


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, content: object, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

    def log_message(self, *_: object) -> None:
        pass


class _HubAnswers(_Answers):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path.removeprefix("/")
        self.server.seen.append(path)
        about = path.startswith("api/")
        path = path.removeprefix("api/models/").removeprefix("api/")
        name = next((name for name in self.server.folders if f"{path}/".startswith(f"{name}/")), None)
        if name is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        folder, rest = self.server.folders[name], path.removeprefix(name).removeprefix("/")
        if about:
            return self._about(name, folder, rest)
        if self.command == "GET" and rest.endswith(self.server.blocked or "/"):
            return self.answer(403)
        return self._file(folder / "/".join(rest.split("/")[2:]))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer_json([])

    def _about(self, name: str, folder: Path, rest: str) -> None:
        files = files_of(folder)
        if rest.startswith("tree/"):
            rows = [
                {"type": "file", "path": file, "size": (folder / file).stat().st_size, "oid": "0"} for file in files
            ]
            inner = "/".join(rest.split("/")[2:])
            return self.answer_json([row for row in rows if row["path"].startswith(inner)])
        siblings = [{"rfilename": file} for file in files]
        return self.answer_json(
            {"id": name.removeprefix("datasets/"), "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        )

    def _file(self, file: Path) -> None:
        if not file.is_file():
            return self.answer(404, X_Error_Code="EntryNotFound")
        body = file.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        return self.answer(200, body, ETag=etag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")


class Proxy(ThreadingHTTPServer):
    """An HTTP proxy that forwards what is asked of any host to one address."""

    def __init__(self, target: str):
        super().__init__(("127.0.0.1", 0), _Forwards)
        self.target = target
        self.seen: list[str] = []


class _Forwards(_Answers):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self.server.seen.append(f"{asked.scheme}://{asked.netloc}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        url = f"{self.server.target}{asked.path}{'?' if asked.query else ''}{asked.query}"
        request = urllib.request.Request(url, body, dict(self.headers), method=self.command)
        directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with directly.open(request) as answer:
                self._forward(answer.status, answer.headers, answer.read())
        except urllib.request.HTTPError as error:
            self._forward(error.code, error.headers, error.read())

    do_HEAD = do_POST = do_GET

    def do_CONNECT(self) -> None:
        self.server.seen.append(self.path)
        self.answer(501)

    def _forward(self, status: int, headers: dict[str, str], body: bytes) -> None:
        kept = {name: value for name, value in headers.items() if name not in ("Date", "Server", "Connection")}
        self.answer(status, body, **kept)


class ModelScope(ThreadingHTTPServer):
    """As much of ModelScope as its own package asks for in downloads; `models` and `datasets` are folders by ids."""

    def __init__(self, models: dict[str, Path], datasets: dict[str, Path]):
        super().__init__(("127.0.0.1", 0), _ModelScopeAnswers)
        self.folders = {f"models/{name}": folder for name, folder in models.items()}
        self.folders |= {f"datasets/{name}": folder for name, folder in datasets.items()}
        self.seen: list[str] = []


class _ModelScopeAnswers(_Answers):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        path = asked.path.removeprefix("/api/v1/")
        self.server.seen.append(path)
        name, _, rest = path.partition("/repo")
        folder = self.server.folders.get(name)
        if folder is None:
            return self.answer_json({"Code": 404, "Success": False, "Message": "not found", "Data": None}, status=404)
        if rest:
            rows = [_row_of(folder, file) for file in files_of(folder)]
            return self.answer_json({"Code": 200, "Success": True, "Data": {"Files": rows}})
        return self.answer(200, (folder / parse_qs(asked.query)["FilePath"][0]).read_bytes())

    do_HEAD = do_GET


def _row_of(folder: Path, file: str) -> dict[str, object]:
    """A file as ModelScope lists it."""
    body = (folder / file).read_bytes()
    sha = hashlib.sha256(body).hexdigest()
    return {"Path": file, "Name": Path(file).name, "Type": "blob", "Size": len(body), "Sha256": sha}

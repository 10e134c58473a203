"""A small server that behaves like Grafana's documented HTTP API, as far as `push` uses it. No Grafana runs in tests.

What it tells is the documentation's word and ours, not a Grafana's: folders, data sources by uid and dashboards with
numbers, versions and overwrite, bearer tokens, provisioned things that refuse changes, and what a viewer may not do.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADMIN, VIEWER = "token-of-an-admin", "token-of-a-viewer"


class FakeGrafana(ThreadingHTTPServer):
    """Holds its state in plain dictionaries that tests may look at and change; `writes` lists what was changed."""

    daemon_threads = True

    def __init__(self, prefix: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prefix = prefix
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.broken: tuple[int, bytes] | None = None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_call(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if method != "GET":
            self.writes.append(f"{method} {path}")
        match (method, parts):
            case ("GET", ["folders", uid]):
                return self._get(self.folders, uid, "folder not found")
            case ("POST", ["folders"]):
                self.folders[body["uid"]] = {"id": 1, "uid": body["uid"], "title": body["title"], "version": 1}
                return 200, self.folders[body["uid"]]
            case ("PUT", ["folders", uid]):
                return self._put_folder(uid, body)
            case ("GET", ["datasources", "uid", uid]):
                return self._get(self.sources, uid, "Data source not found")
            case ("POST", ["datasources"]):
                return self._save_source(body["uid"], body)
            case ("PUT", ["datasources", "uid", uid]):
                if self.sources.get(uid, {}).get("readOnly"):
                    return 403, {"message": "Cannot update read-only data source"}
                return self._save_source(uid, body)
            case ("GET", ["dashboards", "uid", uid]):
                return self._get(self.dashboards, uid, "Dashboard not found")
            case ("POST", ["dashboards", "db"]):
                return self._save_dashboard(body)
        return 404, {"message": "Not found"}

    def _get(self, among: dict[str, dict[str, Any]], uid: str, missing: str) -> tuple[int, Any]:
        return (200, among[uid]) if uid in among else (404, {"message": missing})

    def _put_folder(self, uid: str, body: dict[str, Any]) -> tuple[int, Any]:
        folder = self.folders[uid]
        if not body.get("overwrite") and body.get("version") != folder["version"]:
            return 412, {"message": "the folder has been changed by someone else", "status": "version-mismatch"}
        folder.update(title=body["title"], version=folder["version"] + 1)
        return 200, folder

    def _save_source(self, uid: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.secrets.setdefault(uid, {}).update(body.pop("secureJsonData", {}))
        old = self.sources.get(uid, {"id": len(self.sources) + 1, "version": 0})
        added = {"orgId": 1, "basicAuth": False, "isDefault": False, "readOnly": False}
        fields = {"secureJsonFields": dict.fromkeys(self.secrets[uid], True)}
        self.sources[uid] = {**added, **body, **fields, "id": old["id"], "version": old["version"] + 1}
        return 200, {"datasource": self.sources[uid], "message": "saved"}

    def _save_dashboard(self, body: dict[str, Any]) -> tuple[int, Any]:
        given = dict(body["dashboard"])
        uid, old = given["uid"], self.dashboards.get(given["uid"])
        if body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if old is not None and old["meta"]["provisioned"]:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if old is not None and not body.get("overwrite") and given.get("version") != old["dashboard"]["version"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        given["id"] = len(self.dashboards) + 1 if old is None else old["dashboard"]["id"]
        given["version"] = 1 if old is None else old["dashboard"]["version"] + 1
        meta = {"folderUid": body["folderUid"], "provisioned": False, "version": given["version"]}
        self.dashboards[uid] = {"dashboard": given, "meta": meta}
        return 200, {"status": "success", "uid": uid, "version": given["version"]}


class _Handler(BaseHTTPRequestHandler):
    server: FakeGrafana

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.server.broken is not None:
            self._answer(*self.server.broken)
            return
        start = f"{self.server.prefix}/api"
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.path.startswith(start):
            self._answer(404, b"<html>no such page</html>")
        elif token not in {ADMIN, VIEWER}:
            self._answer(401, b'{"message": "Invalid API key"}')
        elif token == VIEWER and (self.command != "GET" or "/datasources" in self.path):
            self._answer(403, b'{"message": "You will need additional permissions to perform this action"}')
        else:
            status, content = self.server.handle_call(self.command, self.path.removeprefix(start), body)
            self._answer(status, json.dumps(content).encode())

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  the names that http.server calls

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        return

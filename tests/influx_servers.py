"""Real InfluxDB servers on loopback for tests and benchmarks; `.ci/influxdb` builds the binaries."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TOKEN = "token-of-the-test"
ORG = "celltwin"
VERSIONS = ("1", "2")


def binary(version: str) -> Path:
    """Where `.ci/influxdb` puts this version's server."""
    tools = os.environ.get("CELLTWIN_TOOLS") or Path.home() / ".cache" / "celltwin" / "tools"
    return Path(tools) / f"influxd{version}"


class InfluxServer:
    """One server of version "1" (1.8) or "2" (2.7) with data under `folder`. Start and kill as often as you like."""

    def __init__(self, version: str, folder: Path, ports: tuple[int, int]) -> None:
        self.version, self.folder = version, folder
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._set_up = False

    def start(self) -> None:
        """Returns when the server answers; RuntimeError with its log's end after 60 s."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "influxd.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(self._command(), env=self._environment(), stdout=out, stderr=out)
        end = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                self.kill()
                raise RuntimeError(f"influxd{self.version} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        if self.version == "2" and not self._set_up:
            first = {"username": "test", "password": "test-of-celltwin", "org": ORG, "bucket": "first", "token": TOKEN}
            self._post("/api/v2/setup", first)
        self._set_up = True

    def kill(self) -> None:
        """Ends the server at once, as a power cut would; data it has acknowledged are in its log."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create(self, name: str) -> str:
        """Makes a database (1.8) or bucket (2.x); returns the `bucket` of the line file."""
        if self.version == "1":
            self._get("/query", {"q": f'CREATE DATABASE "{name}"'}, post=True)
            return f"{name}/autogen"
        orgs = self._get("/api/v2/orgs", {"org": ORG})["orgs"]
        self._post("/api/v2/buckets", {"orgID": orgs[0]["id"], "name": name, "retentionRules": []})
        return name

    def query(self, name: str, text: str) -> list[dict[str, Any]]:
        """Rows of an InfluxQL query; `time` in nanoseconds, tags of GROUP BY among the columns."""
        answer = self._get("/query", {"db": name, "rp": "autogen", "epoch": "ns", "q": text})
        rows = []
        for result in answer["results"]:
            if "error" in result:
                raise RuntimeError(result["error"])
            for series in result.get("series", ()):
                extra = {"measurement": series.get("name", ""), **series.get("tags", {})}
                rows += [extra | dict(zip(series["columns"], v, strict=True)) for v in series["values"]]
        return rows

    def write(self, bucket: str, lines: str) -> None:
        """Writes lines of the test's own."""
        query = urllib.parse.urlencode({"bucket": bucket, "org": ORG, "precision": "ns"})
        self._request(f"/api/v2/write?{query}", lines.encode())

    def _command(self) -> list[str]:
        if self.version == "1":
            return [str(binary("1"))]
        paths = [f"--{k}-path={self.folder / k}" for k in ("bolt", "sqlite", "engine")]
        address = f"--http-bind-address=127.0.0.1:{self._ports[0]}"
        return [str(binary("2")), *paths, address, "--reporting-disabled", "--log-level=warn"]

    def _environment(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "TMPDIR"}}
        if self.version == "2":
            return keep | {"INFLUXD_CONFIG_PATH": str(self.folder)}
        return keep | {
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self._ports[0]}",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{self._ports[1]}",
            "INFLUXDB_DATA_DIR": str(self.folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(self.folder / "wal"),
            "INFLUXDB_META_DIR": str(self.folder / "meta"),
            "INFLUXDB_HTTP_FLUX_ENABLED": "true",
            "INFLUXDB_REPORTING_DISABLED": "true",
        }

    def _answers(self) -> bool:
        try:
            self._request("/ping")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _get(self, path: str, query: dict[str, str], post: bool = False) -> Any:
        return json.loads(self._request(f"{path}?{urllib.parse.urlencode(query)}", b"" if post else None))

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self._request(path, json.dumps(body).encode()))

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Token {TOKEN}"} if self.version == "2" and self._set_up else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
        return content

"""Grafana's HTTP API through the package grafana-api: the few calls that we need, and its errors as ours.

Data sources and dashboards are addressed by uid, never by number: numbers differ between installations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from controller.errors import BadInputError, PeerError, ProtocolError
from controller.grafana import require

TIMEOUT_S = 10.0


class Grafana(AbstractContextManager["Grafana"]):
    """One Grafana, as the owner of a service account's token. Not found is None; everything else that fails raises.

    Raises BadInputError (address, token, rights, a refused body) and PeerError (absent, broken, or no Grafana).
    """

    def __init__(self, url: str, token: str) -> None:
        require("grafana_api")
        parts = _parts(url)
        with warnings.catch_warnings():
            # requests warns of versions of its own dependencies that it does not know; nobody here can act on it.
            warnings.simplefilter("ignore")
            from grafana_api import GrafanaFace
            from grafana_api.grafana_api import GrafanaException
        path = parts.path.strip("/")
        self._url = url
        self._error: type[Exception] = GrafanaException
        self._face = GrafanaFace(
            token,
            host=f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname,
            port=parts.port,
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme,
            timeout=TIMEOUT_S,
        )

    def __exit__(self, *exc: object) -> None:
        self._face.api.s.close()

    def folder(self, uid: str) -> dict[str, Any] | None:
        """The folder, or None."""
        return self._find("folder", lambda: self._face.folder.get_folder(uid))

    def create_folder(self, uid: str, title: str) -> None:
        """Makes it."""
        self._call("create the folder", lambda: self._face.folder.create_folder(title, uid))

    def rename_folder(self, uid: str, title: str) -> None:
        """Gives it our title, whatever its version is."""
        self._call("rename the folder", lambda: self._face.folder.update_folder(uid, title, overwrite=True))

    def data_source(self, uid: str) -> dict[str, Any] | None:
        """The data source without its secrets, or None."""
        return self._find("data source", lambda: self._face.api.GET(f"/datasources/uid/{uid}"))

    def create_data_source(self, body: Mapping[str, Any]) -> None:
        """Makes it."""
        self._call("create the data source", lambda: self._face.datasource.create_datasource(dict(body)))

    def update_data_source(self, uid: str, body: Mapping[str, Any]) -> None:
        """Replaces it; secrets that are not in `body` stay."""
        self._call("update the data source", lambda: self._face.api.PUT(f"/datasources/uid/{uid}", json=dict(body)))

    def dashboard(self, uid: str) -> dict[str, Any] | None:
        """`dashboard` and `meta`, or None."""
        return self._find("dashboard", lambda: self._face.dashboard.get_dashboard(uid))

    def save_dashboard(self, dashboard: Mapping[str, Any], folder_uid: str) -> None:
        """Makes it or replaces it; Grafana keeps the old version in its history."""
        body = {
            "dashboard": {**dashboard, "id": None},
            "folderUid": folder_uid,
            "overwrite": True,
            "message": "celltwin grafana push",
        }
        self._call(f"save the dashboard '{dashboard['title']}'", lambda: self._face.dashboard.update_dashboard(body))

    def _find(self, what: str, call: Callable[[], Any]) -> dict[str, Any] | None:
        found = self._call(f"read the {what}", call, missing_is_none=True)
        if found is not None and not isinstance(found, dict):
            raise self._no_grafana()
        return found

    def _call(self, what: str, call: Callable[[], Any], missing_is_none: bool = False) -> Any:
        from requests.exceptions import ConnectionError as NoConnection
        from requests.exceptions import RequestException, Timeout

        try:
            return call()
        except self._error as bad:
            status = int(getattr(bad, "status_code", 0))
            if missing_is_none and status == 404 and self._is_grafanas_own(bad):
                return None
            raise self._refused(what, status, bad) from bad
        except (NoConnection, Timeout) as bad:
            hint = "is it running, and is the address right, with port and scheme?"
            raise PeerError(f"Grafana at {self._url} cannot be reached", hint) from bad
        except (RequestException, ValueError, TypeError) as bad:
            # TypeError: grafana-api looks for "message" in an error body that may be a number.
            raise self._no_grafana() from bad

    def _is_grafanas_own(self, bad: Exception) -> bool:
        """A 404 with Grafana's kind of body, not that of a web server that knows no such page."""
        return isinstance(getattr(bad, "response", None), dict)

    def _refused(self, what: str, status: int, bad: Exception) -> Exception:
        said = _message(bad)
        if status == 401:
            hint = "make a service account with the role Admin and a token for it"
            return BadInputError(f"Grafana at {self._url} does not accept the token: {said}", hint)
        if status == 403:
            hint = "the role Admin, or rights to write folders, data sources and dashboards"
            return BadInputError(f"the token may not {what} in Grafana at {self._url}: {said}", hint)
        if status == 404:
            return self._no_grafana()
        kind = PeerError if status >= 500 else BadInputError
        return kind(f"Grafana at {self._url} did not {what}: {status}: {said}")

    def _no_grafana(self) -> ProtocolError:
        what = f"what answers at {self._url} does not speak Grafana's API"
        return ProtocolError(what, "give Grafana's own address, with the path below which it is served, if any")


def _message(bad: Exception) -> str:
    response = getattr(bad, "response", None)
    said = response.get("message") if isinstance(response, dict) else response
    return " ".join(str(said or bad).split())[:300]


def _parts(url: str) -> Any:
    hint = "http://host:3000 or https://host/grafana"
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise BadInputError(f"'{url}' is no address of a Grafana", hint)
    if parts.username is not None:
        raise BadInputError("the address carries a user name", "put the token in an environment variable instead")
    return parts

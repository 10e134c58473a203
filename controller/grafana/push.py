"""Installs folder, data source and dashboards in a running Grafana; a second time it changes nothing.

Everything is read and compared first, and only what differs is written. Grafana may add keys of its own to what it
keeps (numbers, versions, defaults); what is ours must be there unchanged. It never gives a data source's token back, so
a fingerprint of the token lies beside it: that is how a new token is noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.grafana import DATASOURCE_NAME, DATASOURCE_UID, FOLDER_TITLE, FOLDER_UID, files
from controller.grafana.api import Grafana

CREATED, UPDATED, UNCHANGED, LEFT = "created", "updated", "unchanged", "left as provisioned"
_FINGERPRINT = "celltwinToken"


@dataclass(frozen=True, slots=True)
class InfluxSource:
    """How Grafana reaches InfluxDB: its address as Grafana sees it, and the database (2.x: bucket with a mapping)."""

    url: str
    database: str
    token: str = ""  # 2.x: API token; 1.8 with authentication: user:password; empty: none is sent


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was looked at, and what became of it."""

    kind: str
    name: str
    outcome: str


def push(grafana: Grafana, source: InfluxSource) -> Iterator[Item]:
    """Yields each item when it is done. Raises BadInputError or PeerError; what was yielded before stays done."""
    built = files.dashboards()
    yield Item("folder", FOLDER_TITLE, _folder(grafana))
    yield Item("data source", DATASOURCE_NAME, _data_source(grafana, source))
    for dashboard in built.values():
        yield Item("dashboard", str(dashboard["title"]), _dashboard(grafana, dashboard))


def _folder(grafana: Grafana) -> str:
    found = grafana.folder(FOLDER_UID)
    if found is None:
        grafana.create_folder(FOLDER_UID, FOLDER_TITLE)
        return CREATED
    if found.get("title") == FOLDER_TITLE:
        return UNCHANGED
    grafana.rename_folder(FOLDER_UID, FOLDER_TITLE)
    return UPDATED


def _data_source(grafana: Grafana, source: InfluxSource) -> str:
    found = grafana.data_source(DATASOURCE_UID)
    kept = dict((found or {}).get("jsonData") or {})
    wanted: dict[str, Any] = {
        "uid": DATASOURCE_UID,
        "name": DATASOURCE_NAME,
        "type": "influxdb",
        "access": "proxy",
        "url": source.url,
        "jsonData": {"version": "InfluxQL", "dbName": source.database, "httpMode": "GET"},
    }
    if source.token:
        wanted["jsonData"] |= {"httpHeaderName1": "Authorization"}
        salt = str(kept.get(_FINGERPRINT, "")).partition(":")[0] or os.urandom(8).hex()
        wanted["jsonData"][_FINGERPRINT] = _fingerprint(source.token, salt)
    had_token = _FINGERPRINT in kept or "httpHeaderName1" in kept
    if found is not None:
        if contains(found, wanted) and (source.token != "" or not had_token):
            return UNCHANGED
        if found.get("readOnly"):
            return LEFT
    secret = {"secureJsonData": {"httpHeaderValue1": f"Token {source.token}"}} if source.token else {}
    if found is None:
        grafana.create_data_source(wanted | secret)
        return CREATED
    grafana.update_data_source(DATASOURCE_UID, wanted | secret)
    return UPDATED


def _dashboard(grafana: Grafana, wanted: Mapping[str, Any]) -> str:
    found = grafana.dashboard(str(wanted["uid"]))
    if found is not None:
        meta = found.get("meta") or {}
        if contains(found.get("dashboard"), wanted) and meta.get("folderUid") == FOLDER_UID:
            return UNCHANGED
        if meta.get("provisioned"):
            return LEFT
    grafana.save_dashboard(wanted, FOLDER_UID)
    return CREATED if found is None else UPDATED


def contains(theirs: object, ours: object) -> bool:
    """True when everything of ours is in theirs, unchanged; keys of objects may be more, items of lists may not.

    None and an absent key are the same: Grafana drops what is null.
    """
    if isinstance(ours, Mapping):
        if not isinstance(theirs, Mapping):
            return False
        return all(contains(theirs.get(k), v) for k, v in ours.items())
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(contains, theirs, ours))
    return theirs == ours and isinstance(theirs, bool) == isinstance(ours, bool)


def _fingerprint(token: str, salt: str) -> str:
    """Slow and salted, because 1.8's token is a user's password."""
    digest = hashlib.scrypt(token.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=8)
    return f"{salt}:{digest.hex()}"

"""Dashboards for Grafana, built from the names that the historian writes. Nothing here is needed to run a line.

`files` and `push` are the doors; both say what to install when the optional packages are missing.
"""

from __future__ import annotations

from importlib.util import find_spec

from controller.errors import BadInputError

DATASOURCE_UID = "celltwin-influxdb"
DATASOURCE_NAME = "celltwin InfluxDB"
FOLDER_UID = FOLDER_TITLE = "celltwin"
"""The same in provisioning files, dashboards and push: whichever way Grafana got them, they fit together."""


def require(package: str) -> None:
    """Raises BadInputError when an optional package is not installed."""
    if find_spec(package) is None:
        what = f"the package {package.replace('_', '-')} is not installed"
        raise BadInputError(what, "pip install 'celltwin[grafana]'")

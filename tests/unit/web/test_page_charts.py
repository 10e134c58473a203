"""The page's loading map and control charts, in a real browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.browser import chromium, open_browser

from . import conftest as line

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def test_the_map_lies_in_the_profile_and_charts_say_what_is_out_of_control(
    served: line.ServerThread, tmp_path: Path
) -> None:
    loading = 0.169 * (1 + 0.01 * np.sin(np.arange(25) / 4))
    columns = {"loading_kg_m2": loading, "loading_sd_kg_m2": np.full(25, 0.0006), "web_position_m": np.full(25, 412.3)}
    web_map = line.frame("coater1", "web_map", 3e4, columns, first=0, point_name="lane")
    weight = line.frame("coater1", "spc", 3e4, {"flags": [0.0], "cpk": [1.234]}, first=0, point_name="point")
    cells = line.frame("rack1", "spc", 3e4, {"flags": [0.0, 1.0, 8.0]}, point_name="point")
    charts = [replace(weight, labels={"chart": "coating_weight"}), replace(cells, labels={"chart": "capacity"})]
    with open_browser(tmp_path) as page:
        page.open(served.url)
        page.wait_for("document.querySelectorAll('.chart > .plot-container').length === 4")
        assert page.evaluate("document.getElementById('charts').hidden")
        served.call(lambda: served.view.accept([web_map, *charts]))
        page.wait_for("document.querySelectorAll('#chart-table tbody tr').length === 2")
        rows = "[...document.querySelectorAll('#chart-table tbody tr')].map((r) => r.textContent).join('|')"
        assert page.evaluate(rows) == "coating weightcoater111.23in control|capacityrack13–out of control: 2, 3"
        page.wait_for("document.getElementById('profile-chart').data.some((t) => t.name === 'Twin at 412 m')")
        drawn = "document.getElementById('profile-chart').data.find((t) => t.name === 'Twin at 412 m').y"
        assert page.evaluate(f"{drawn}.length") == 24
        assert page.evaluate(f"{drawn}[5]") == pytest.approx(1000 * loading[6], rel=1e-4)
        assert page.errors == []

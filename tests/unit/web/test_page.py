"""The page in a real browser: it draws, says when it is not live, asks nobody but us, and leaves the console empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import chromium, open_browser

from . import conftest as line

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def test_page_draws_follows_and_greys(served: line.ServerThread, tmp_path: Path) -> None:
    with open_browser(tmp_path) as page:
        page.open(served.url)
        page.wait_for("document.querySelectorAll('.cell').length === 64")
        page.wait_for("document.querySelectorAll('.chart > .plot-container').length === 4")
        assert page.evaluate("document.getElementById('title').textContent") == "A-sample pilot line"
        assert page.evaluate("document.querySelectorAll('.cell.unknown').length") == 1
        assert page.evaluate("document.querySelectorAll('.cell.fault').length") == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 1366

        page.evaluate("document.querySelectorAll('.cell')[16].click()")
        page.wait_for("document.getElementById('detail-title').textContent === 'Channel 17'")
        served.call(lambda: served.view.accept([line.frame("rack1", "channel", 3e4, {"voltage_v": [1.234]}, first=17)]))
        page.wait_for("document.querySelectorAll('.cell')[16].textContent === '171.234'")
        for hours, end in ((9, "17:53:20"), (10, "18:53:20"), (11, "19:53:20")):  # charts follow, not only once
            served.call(lambda t_s=3600.0 * hours: served.view.accept(line.rack_frames(t_s)))
            page.wait_for(f"document.getElementById('detail-chart').layout.xaxis.range[1] >= '2025-10-09 {end}'")
        assert page.evaluate("document.querySelectorAll('.old').length") == 0

        served.call(lambda: served.view.set_connection("rack1", line.ConnectionState.BACKING_OFF, "silent for 3 s"))
        page.wait_for("document.getElementById('rack').classList.contains('old')")
        assert "NOT LIVE" in page.evaluate("document.getElementById('rack-note').textContent")
        assert not page.evaluate("document.getElementById('coater').classList.contains('old')")
        assert page.errors == []

        served.stop()
        page.wait_for("document.querySelectorAll('.banner:not([hidden]) ~ main > #coater.old').length")
        assert all(url.startswith(served.url) for url in page.requests)


def test_the_newest_resistance_and_grade_of_every_channel_are_shown(served: line.ServerThread, tmp_path: Path) -> None:
    """A channel whose samples gave none keeps what it had; one that never had any says so."""
    with open_browser(tmp_path) as page:
        page.open(served.url)
        page.wait_for("document.querySelectorAll('.cell').length === 64")
        pulse = {"r_30s_ohm": [0.0384, float("nan")], "r_30s_ohm_sd": [0.001, float("nan")]}
        grade = {"grade": [4.0, 3.0]}
        found = [line.frame("rack1", s, 3e4, c, first=17) for s, c in (("cell_pulse", pulse), ("cell_grade", grade))]
        served.call(lambda: served.view.accept(found))
        page.evaluate("document.querySelectorAll('.cell')[16].click()")
        page.evaluate("document.querySelector('[data-q=resistance]').click()")
        page.wait_for("document.querySelectorAll('.cell')[16].textContent === '1738.4'")
        assert page.evaluate("document.querySelectorAll('.cell')[17].textContent") == "18–"
        page.evaluate("document.querySelector('[data-q=grade]').click()")
        page.wait_for("document.querySelectorAll('.cell')[16].textContent === '17reject'")
        assert page.evaluate("document.querySelectorAll('.cell')[17].textContent") == "18retest"
        detail = page.evaluate("document.getElementById('detail-values').textContent")
        assert "DCIR 30 s ± 95 %38.4 ± 2.0mΩ" in detail
        assert "Gradereject" in detail
        assert page.errors == []

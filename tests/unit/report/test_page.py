"""The report opened from disk in a real browser: every figure drawn, nothing asked of any host, the console empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.report import build_report
from tests.browser import chromium, open_browser

from . import conftest as synthetic

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def test_report_opens_from_disk(whole: tuple[Path, synthetic.Rack], tmp_path: Path) -> None:
    url = build_report(whole[0]).as_uri()
    with open_browser(tmp_path) as page:
        page.open(url)
        page.evaluate("dispatchEvent(new Event('beforeprint')) && 1")
        figures = page.evaluate("document.querySelectorAll('.figure').length")
        assert figures == 14  # three maps, lanes, zones, three channels, three distributions, three charts
        page.wait_for(f"document.querySelectorAll('.figure .plot-container').length === {figures}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1366
        assert page.errors == []
        assert [u for u in page.requests if not u.startswith(("data:", "blob:"))] == [url]

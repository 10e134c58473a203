"""The scenario's title goes from the simulated equipment to run.json, the page and the report by simulation.json."""

from __future__ import annotations

from pathlib import Path

from controller.clock import TimeBase
from controller.runfolder import RunFolder


def test_the_scenarios_title_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_scenario() == ""
    folder.write_time_base(TimeBase(1, 2, 3.0), {"pids": {}})
    assert folder.read_scenario() == ""
    folder.write_time_base(TimeBase(1, 2, 3.0), {"scenario": "The mains fail"})
    assert folder.read_scenario() == "The mains fail"
    assert folder.read_time_base() == TimeBase(1, 2, 3.0)
    (tmp_path / "simulation.json").write_text("{")
    assert folder.read_scenario() == ""

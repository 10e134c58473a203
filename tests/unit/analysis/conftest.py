"""A small kind of analysis, so that the command is tested without any kernel: mean voltage, and the charge's sign."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from controller import cli
from controller.analysis import kinds
from controller.analysis.base import Options, Record, Row, Setting
from controller.errors import BadInputError


class MeanKind:
    name = "mean"
    text = "mean voltage"
    needs = ("time_s", "current_a", "voltage_v")
    takes = ("temperature_c", "soc")
    settings = (
        Setting("scale", 1.0, "factor on the mean"),
        Setting("label", "plain", "text in every row"),
        Setting("limit_v", None, "lower limit of the voltage"),
    )

    def __init__(self) -> None:
        self.records: list[Record] = []

    def analyse(self, record: Record, options: Options) -> Sequence[Row]:
        self.records.append(record)
        volts = record.columns["voltage_v"]
        if "limit_v" in options.values and volts.min() < float(options.values["limit_v"]):
            raise BadInputError("the voltage is below its limit")
        if volts.shape[0] == 1:
            return [{"mean_v": None, "mean_sd_v": None, "refused": "one row has no mean"}]
        if volts.shape[0] == 2:
            raise ValueError("two rows have no mean either")
        mean = float(volts.mean()) * float(options.values.get("scale", 1.0))
        row: Row = {
            "mean_v": mean,
            "mean_v_sd": float(volts.std()),
            "charge_as": float(record.columns["current_a"].sum()),
        }
        return [{**row, "label": options.values.get("label", "plain"), "nothing": float("nan"), "refused": None}]

    def figure(self, record: Record, rows: Sequence[Row]) -> Mapping[str, Any] | None:
        trace = {"type": "scatter", "x": record.columns["time_s"], "y": np.array([1.0, np.nan])}
        return {"data": [trace], "layout": {"title": {"text": "</script><b>"}}}


@pytest.fixture
def mean(monkeypatch: pytest.MonkeyPatch) -> MeanKind:
    """The kind, installed under its name; it remembers the records that it saw."""
    kind = MeanKind()
    module = ModuleType("celltwin_test_mean_kind")
    module.KIND = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(kinds.MODULES, "mean", module.__name__)
    return kind


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def celltwin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process, errors as `main` ends them."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["celltwin", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(end.value.code or 0), captured.out, captured.err)

    return run

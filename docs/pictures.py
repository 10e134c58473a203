"""Draws the pictures of docs/kernels.md from measured data: `python docs/pictures.py DATA [OUT]`.

A picture is the figure that `celltwin analyse KIND --out` gives for the same rows, drawn small and without a browser;
those of twins without a kind are in docs/pictures_twins.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pictures_twins as twins
from matplotlib.axes import Axes

from controller.analysis import kinds
from controller.analysis.base import Options, Record
from controller.analysis.columns import read_mapping
from controller.analysis.read import Plan, read_records

OUT = Path(__file__).parent / "images" / "kernels"
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
COLORS = ("#0072b2", "#c25a00", "#00705a", "#8b959c", "#aa4f88", "#7a6a00")
SIZE_IN = (7.2, 3.4)
DPI = 110


@dataclass(frozen=True)
class Picture:
    """One kind on one file; `pick` takes the rows to show out of the file's records."""

    kind: str
    file: str
    columns: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    pick: Callable[[list[Record]], Record] = field(default=lambda records: records[0])
    name: str = ""  # of the file; the kind's where empty


def rows(record: Record, keep: np.ndarray) -> Record:
    """Some rows of a record."""
    return Record(record.source, record.keys, {name: values[keep] for name, values in record.columns.items()})


def quirky(records: list[Record]) -> Record:
    """A pulse whose last zero-current rows already carry its voltage."""
    wanted = {"temperature_c": 10.0, "soc_level": 8, "cell": "Cell13"}
    found = next(r for r in records if r.keys == wanted)
    since = found.columns["time_s"] - found.columns["time_s"][0]
    return Record(found.source, found.keys, {**found.columns, "time_s": since})


def last_rest(records: list[Record]) -> Record:
    """The long rest of the coin cell before its formation."""
    (record,) = records
    return rows(record, record.columns["time_s"] < 21_600.0)


PICTURES = (
    Picture("pulses", "lgm50_pulses", ("time=prog_time_s",), ("temperature_c", "soc_level", "cell"), quirky),
    Picture("capacity", "coin_formation"),
    Picture("esoh", "lgm50_c10"),
    Picture("dqdv", "lgm50_c10"),
    Picture("ocv", "lgm50_c10"),
    Picture("ocv", "a123_ocv_25c", name="ocv_lfp"),
    Picture("relaxation", "coin_formation", pick=last_rest),
)

TWINS: dict[str, Callable[[Path, Path], None]] = {
    "ekf": twins.ekf,
    "ecm": twins.ecm,
    "loading": twins.loading,
    "spc": twins.spc,
}


def draw(figure: Mapping[str, Any], path: Path) -> None:
    """A Plotly figure of lines, points, bars and maps as a small PNG; each of its y axes gets a row of its own."""
    layout = figure.get("layout", {})
    names = list(dict.fromkeys(trace.get("yaxis", "y") for trace in figure["data"]))
    height = SIZE_IN[1] * (1.0 + 0.55 * (len(names) - 1))
    picture, axes = plt.subplots(
        len(names), 1, figsize=(SIZE_IN[0], height), sharex=True, squeeze=False, layout="constrained"
    )
    by_name = dict(zip(names, axes[:, 0], strict=True))
    for number, trace in enumerate(figure["data"]):
        _trace(by_name[trace.get("yaxis", "y")], trace, COLORS[number % len(COLORS)])
    for name, ax in by_name.items():
        _dress(ax, layout.get("yaxis" + name[1:], {}), "y")
        if 0 < len(ax.get_legend_handles_labels()[1]) <= 8:
            ax.legend(fontsize=8, frameon=False)
    _dress(axes[-1, 0], layout.get("xaxis", {}), "x")
    picture.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(picture)


def _trace(ax: Axes, trace: Mapping[str, Any], color: str) -> None:
    label = trace.get("name") if trace.get("showlegend", True) else None
    y = np.array(trace.get("y", []), dtype=object)
    if trace.get("type") == "heatmap":
        ax.pcolormesh(np.array(trace["z"], dtype=float), cmap="RdBu_r")
        return
    x = np.array(trace["x"] if trace.get("x") is not None else np.arange(y.size), dtype=object)
    y = np.array([np.nan if value is None else value for value in y], dtype=float)
    line, marker = trace.get("line", {}), trace.get("marker", {})
    mode = trace.get("mode", "lines+markers" if y.size < 20 else "lines")
    if trace.get("type") == "bar":
        ax.bar(x, y, label=label, color=color, alpha=0.8)
        return
    ax.plot(
        x,
        y,
        linestyle=DASHES.get(line.get("dash", "solid"), "-") if "lines" in mode else "none",
        marker="." if "markers" in mode else None,
        markersize=5,
        lw=1.3,
        color=_plain(line.get("color") or marker.get("color")) or color,
        label=label,
    )


def _plain(color: object) -> str | None:
    """A colour that matplotlib knows too."""
    return color if isinstance(color, str) and mpl.colors.is_color_like(color) else None


def _dress(ax: Axes, axis: Mapping[str, Any], which: str) -> None:
    title = axis.get("title", "")
    text = title.get("text", "") if isinstance(title, Mapping) else str(title)
    (ax.set_xlabel if which == "x" else ax.set_ylabel)(text.replace("<br>", "\n"))
    if axis.get("type") == "log":
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    ax.grid(color="#e3e8eb", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def draw_all(data: Path, out: Path) -> list[Path]:
    """Every picture whose file is there."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in PICTURES:
        kind = kinds.kind(picture.kind)
        plan = Plan(kind, read_mapping(kind, picture.columns, None), picture.by)
        record = picture.pick(read_records(data / f"{picture.file}.parquet", plan))
        figure = kind.figure(record, kind.analyse(record, Options()))
        if figure is None:
            raise SystemExit(f"{picture.kind}: no figure from {picture.file}")
        path = out / f"{picture.name or picture.kind}.png"
        draw(figure, path)
        written.append(path)
    for name, draw_twin in TWINS.items():
        draw_twin(data, out / f"{name}.png")
        written.append(out / f"{name}.png")
    return written


if __name__ == "__main__":
    for made in draw_all(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT):
        print(f"{made} {made.stat().st_size // 1024} kB")

"""Material between machines: files of the run folder, one folder that reads as one table per kind of item.

material/<kind>.parquet/<device>-NNNNN.parquet; a part is complete before it has that name. An item that was scrapped
has a row too, with the reason in `scrap`: yield and genealogy can be read from the files alone. Units are SI.

Theory of operation. Machines run in processes of their own, so that one never waits for another. What is finished is
written every FLUSH_S of plant time, and taken no sooner than HANDOVER_S after it was finished, when the cart has come.
Between the two lies the margin by which processes may be out of step and the line is the same bit for bit. What is
written later than that is taken all the same, and counted in `late`.

No physics and no machine here, and nothing that the twin or the controller reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulators.timebase import NS_PER_S

FLUSH_S = 600
HANDOVER_S = 900

Row = dict[str, Any]
"""An item: `id`, `time_ns` (plant time that it was finished at), `scrap` ("" when good) and the columns of its kind."""

_NUMBER, _NUMBERS, _TEXT, _TEXTS = "number", "numbers", "text", "texts"


def _columns(text: str = "", texts: str = "", number: str = "", numbers: str = "") -> Mapping[str, str]:
    groups = ((text, _TEXT), (texts, _TEXTS), (number, _NUMBER), (numbers, _NUMBERS))
    return {name: kind for names, kind in groups for name in names.split()}


KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "batch": _columns(number="mass_kg solids_fraction density_kg_m3 viscosity_pa_s"),
        "metre": _columns(
            text="batch",
            number="web_position_m coated_s width_m length_m loading_kg_m2 foil_kg_m2 solids_fraction wet_kg "
            "residual_solvent_fraction binder_index",
            numbers="lane_kg_m2",
        ),
        "sheet": _columns(
            text="metre",
            number="strip place area_m2 loading_kg_m2 dry_kg foil_kg thickness_m porosity residual_solvent_fraction "
            "binder_index",
        ),
        "stack": _columns(
            texts="sheets defects",
            number="area_m2 dry_kg loading_kg_m2 loading_factor anode_factor np_ratio porosity overhang_error_m "
            "contact_ohm",
        ),
        "cell": _columns(
            text="stack",
            texts="defects",
            number="loading_factor np_ratio porosity contact_ohm electrolyte_kg electrolyte_factor wetted_fraction",
        ),
        "formed": _columns(
            text="cell",
            texts="defects",
            number="channel loading_factor np_ratio capacity_ah first_cycle_efficiency leak_v_h",
        ),
        "aged": _columns(text="cell grade", texts="defects", number="position ocv_begin_v ocv_end_v ocv_loss_v_h"),
    }
)
"""Columns of every kind beside id, time, device and scrap. A metre of web, a sheet of electrode, a dry stack of sheets
with its separator and anode, a filled cell, a formed one, a graded one."""

PARENT: Mapping[str, str] = MappingProxyType(
    {"metre": "batch", "sheet": "metre", "stack": "sheets", "cell": "stack", "formed": "cell", "aged": "cell"}
)
"""The column of a kind that names what an item was made of."""

REPORTS: Mapping[str, Mapping[str, str]] = MappingProxyType({"taken": _columns(text="kind maker", number="items")})
"""What goes the other way: how many items of a maker have left the buffer in front of a device (material_room)."""

_COLUMNS = {**KINDS, **REPORTS}

_ID_NUMBER = re.compile(r":(\d+)$")


class Material:
    """One device's view of the line's material: what it makes it adds, what others have finished it takes."""

    def __init__(
        self, out: Path, device: str, makers: Mapping[str, Sequence[str]], rooms: Mapping[str, int] | None = None
    ) -> None:
        """`makers`: kinds that are made on this line, and the devices that make them; `rooms`: places for each maker's.

        Touches nothing.
        """
        self.device = device
        self.rooms = rooms or {}
        self.late = 0
        self._folder = out / "material"
        self._makers = makers
        self._new: dict[str, list[Row]] = {}
        self._read: set[Path] = set()
        self._waiting: dict[str, list[Row]] = {}
        self._cut_ns: dict[str, int] = {}
        self._part: dict[str, int] = {}

    def made_here(self, kind: str) -> bool:
        """Whether some device of the line makes that kind; else a machine lives on its default supply."""
        return bool(self._makers.get(kind))

    def add(self, kind: str, row: Row) -> None:
        """An item is finished, or scrapped. Written at the next flush. Raises KeyError for a missing column."""
        self._new.setdefault(kind, []).append({name: row[name] for name in ("id", "time_ns", "scrap", *_COLUMNS[kind])})

    def flush(self) -> None:
        """Write what is new. Raises OSError; what could not be written is kept for the next try."""
        for kind in list(self._new):
            folder = self._folder / f"{kind}.parquet"
            folder.mkdir(parents=True, exist_ok=True)
            if kind not in self._part:
                self._part[kind] = len(list(folder.glob(f"{self.device}-*.parquet")))
            path = folder / f"{self.device}-{self._part[kind] + 1:05d}.parquet"
            aside = path.with_name(f".{path.name}.part")
            try:
                pq.write_table(_table(kind, self._new[kind], self.device), aside, compression="zstd")
                aside.replace(path)
            except (OSError, pa.ArrowException) as error:
                aside.unlink(missing_ok=True)
                raise OSError(f"{path}: {error}") from error
            self._part[kind] += 1
            del self._new[kind]

    def take(self, kind: str, plant_ns: int, most: int | None = None, least: int = 0) -> list[Row]:
        """Good items, finished HANDOVER_S before `plant_ns`, oldest first, each once; none while below `least`."""
        cut_ns = plant_ns - HANDOVER_S * NS_PER_S
        waiting = self._waiting.setdefault(kind, [])
        before_ns = self._cut_ns.get(kind)
        for row in self._unread(kind):
            if before_ns is not None and row["time_ns"] <= before_ns:
                self.late += 1
            if not row["scrap"]:
                waiting.append(row)
        self._cut_ns[kind] = cut_ns
        waiting.sort(key=lambda row: (row["time_ns"], row["id"]))
        ready = sum(row["time_ns"] <= cut_ns for row in waiting)
        if ready < least:
            return []
        ready = ready if most is None else min(ready, most)
        self._waiting[kind] = waiting[ready:]
        return waiting[:ready]

    def own(self, kind: str) -> list[Row]:
        """What earlier processes of this device have added, in order. Raises OSError."""
        paths = (path for path in self._parts(kind) if path.name.rpartition("-")[0] == self.device)
        return [row for path in paths for row in read_part(path, kind)]

    def resume(self, made: str, taken: str) -> int:
        """After a restart: forget what this device has used already; the number of its last item of kind `made`."""
        last, used = 0, set[str]()
        for row in self.own(made):
            found = _ID_NUMBER.search(row["id"])
            last = max(last, int(found[1]) if found else 0)
            parent = row[PARENT[made]] if made in PARENT else ()
            used.update([parent] if isinstance(parent, str) else parent)
        if used:
            self._waiting[taken] = [r for r in self._unread(taken) if not r["scrap"] and r["id"] not in used]
        return last

    def _parts(self, kind: str) -> list[Path]:
        folder = self._folder / f"{kind}.parquet"
        return sorted(p for p in folder.glob("[!.]*.parquet")) if folder.is_dir() else []

    def _unread(self, kind: str) -> Iterable[Row]:
        for path in self._parts(kind):
            if path not in self._read:
                self._read.add(path)
                yield from read_part(path, kind)


def read_part(path: Path, kind: str) -> list[Row]:
    """The items of one part. Raises OSError."""
    try:
        table = pq.ParquetFile(path).read()
    except pa.ArrowException as error:
        raise OSError(f"{path}: {error}") from error
    # As a number: as a time it would come through pandas, half a second in mid-scan.
    time_ns = table.column("time").cast(pa.int64()).to_pylist()
    names = ("id", "scrap", "device", *_COLUMNS[kind])
    columns = [table.column(name).to_pylist() for name in names]
    return [dict(zip(("time_ns", *names), row, strict=True)) for row in zip(time_ns, *columns, strict=True)]


def read_kind(out: Path, kind: str) -> list[Row]:
    """Every item of that kind in a run folder, in the order of their plant times: for tests and reports."""
    folder = out / "material" / f"{kind}.parquet"
    rows = [row for path in folder.glob("[!.]*.parquet") for row in read_part(path, kind)]
    return sorted(rows, key=lambda row: (row["time_ns"], row["id"]))


# pa.array would import pandas to ask whether it was given a Series: half a second, in mid-scan. Hence from buffers.


def _numbers(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _offsets(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)


def _texts(values: Sequence[str]) -> pa.Array:
    encoded = [value.encode() for value in values]
    buffers = [None, pa.py_buffer(_offsets([len(e) for e in encoded])), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _table(kind: str, rows: Sequence[Row], device: str) -> pa.Table:
    columns = {
        "id": _texts([row["id"] for row in rows]),
        "time": _numbers(np.array([row["time_ns"] for row in rows], np.int64), pa.timestamp("ns", tz="UTC")),
        "device": _texts([device] * len(rows)),
        "scrap": _texts([row["scrap"] for row in rows]),
    }
    for name, form in _COLUMNS[kind].items():
        values = [row[name] for row in rows]
        if form == _NUMBER:
            columns[name] = _numbers(np.array(values, np.float64), pa.float64())
        elif form == _TEXT:
            columns[name] = _texts(values)
        else:
            flat = [item for value in values for item in value]
            inner = _texts(flat) if form == _TEXTS else _numbers(np.array(flat, np.float64), pa.float64())
            offsets = _numbers(_offsets([len(value) for value in values]), pa.int32())
            columns[name] = pa.ListArray.from_arrays(offsets, inner)
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def cells_for_tray(material: Material, channels: int, plant_ns: int, least: int = 1) -> list[Row]:
    """Filled cells for a formation tray, channel by channel from 1; none while fewer than `least` are there.

    Each row: channel, cell (id), loading_factor (of the cathode, 1 as designed), np_ratio, porosity (of the cathode),
    electrolyte_factor (1 as dosed by the recipe and wetted through), contact_ohm, defects. Every cell is handed out
    once. Empty also on a line that makes no cells: a rack then draws its own.
    """
    names = ("loading_factor", "np_ratio", "porosity", "contact_ohm", "defects")
    cells = material.take("cell", plant_ns, most=channels, least=least) if material.made_here("cell") else []
    return [
        {"channel": number, "cell": cell["id"], **{name: cell[name] for name in names}}
        | {"electrolyte_factor": cell["electrolyte_factor"] * cell["wetted_fraction"]}
        for number, cell in enumerate(cells, 1)
    ]

"""Material between machines: written whole, taken once, late told, continued after a restart."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from simulators.machines.line_supply import Supply
from simulators.material import FLUSH_S, HANDOVER_S, KINDS, PARENT, Material, Row, cells_for_tray, read_kind
from simulators.timebase import NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
MAKERS = {"metre": ["coater1"], "cell": ["filler1"]}


def metres(count: int, at_s: float = 0.0) -> list[Row]:
    rows = Supply("metre", 1).items(count, 0)
    return [r | {"id": f"coater1:{k:06d}", "time_ns": START_NS + int((at_s + k) * 1e9)} for k, r in enumerate(rows, 1)]


def cell(number: int, at_s: float, **changes: object) -> Row:
    row: Row = dict.fromkeys(KINDS["cell"], 1.0)
    row |= {"id": f"filler1:{number:06d}", "stack": f"stacker1:{number:06d}", "defects": [], "scrap": ""}
    return row | {"time_ns": START_NS + int(at_s * 1e9)} | changes


def later(seconds: float) -> int:
    return START_NS + int((HANDOVER_S + seconds) * NS_PER_S)


def test_items_come_back_as_they_went_in_order_once_and_no_sooner_than_the_cart(tmp_path: Path) -> None:
    coater, calender = Material(tmp_path, "coater1", MAKERS), Material(tmp_path, "calender1", MAKERS)
    rows = metres(5)
    for row in reversed(rows):
        coater.add("metre", row)
    assert calender.take("metre", later(100)) == []
    coater.flush()
    got = calender.take("metre", later(3))
    assert got == [row | {"device": "coater1"} for row in rows[:3]]
    assert calender.take("metre", later(3)) == []
    assert [row["id"] for row in calender.take("metre", later(100))] == ["coater1:000004", "coater1:000005"]


def test_what_is_read_late_is_taken_and_counted(tmp_path: Path) -> None:
    coater, calender = Material(tmp_path, "coater1", MAKERS), Material(tmp_path, "calender1", MAKERS)
    first, second = metres(2)
    coater.add("metre", first)
    coater.flush()
    assert len(calender.take("metre", later(10))) == 1
    coater.add("metre", second)
    coater.flush()
    assert (len(calender.take("metre", later(10))), calender.late) == (1, 1)


def test_scrap_has_a_row_and_is_not_taken(tmp_path: Path) -> None:
    coater, calender = Material(tmp_path, "coater1", MAKERS), Material(tmp_path, "calender1", MAKERS)
    for row in metres(3):
        coater.add("metre", row | {"scrap": "splice" if row["id"].endswith("2") else ""})
    coater.flush()
    assert len(calender.take("metre", later(10))) == 2
    assert [row["scrap"] for row in read_kind(tmp_path, "metre")] == ["", "splice", ""]


def test_a_reader_never_meets_half_a_file_and_foreign_tools_read_the_folder(tmp_path: Path) -> None:
    coater = Material(tmp_path, "coater1", MAKERS)
    for at in (0.0, 10.0):
        for row in metres(2, at):
            coater.add("metre", row)
        coater.flush()
    coater.flush()
    folder = tmp_path / "material" / "metre.parquet"
    assert sorted(p.name for p in folder.iterdir()) == ["coater1-00001.parquet", "coater1-00002.parquet"]
    found = pd.read_parquet(folder)
    assert set(found.columns) == {"id", "time", "device", "scrap", *KINDS["metre"]}
    assert len(found["lane_kg_m2"].iloc[0]) == 24
    assert duckdb.sql(f"select count(distinct id) from '{folder}/*.parquet'").fetchall() == [(2,)]


def test_a_full_disk_keeps_what_is_new_for_the_next_try(tmp_path: Path) -> None:
    (tmp_path / "material").write_text("in the way")
    coater = Material(tmp_path, "coater1", MAKERS)
    coater.add("metre", metres(1)[0])
    with pytest.raises(OSError, match="material"):
        coater.flush()
    (tmp_path / "material").unlink()
    coater.flush()
    assert len(read_kind(tmp_path, "metre")) == 1


def test_a_missing_column_is_a_mistake_of_the_maker(tmp_path: Path) -> None:
    row = metres(1)[0]
    del row["lane_kg_m2"]
    with pytest.raises(KeyError, match="lane_kg_m2"):
        Material(tmp_path, "coater1", MAKERS).add("metre", row)


def test_after_a_restart_nothing_is_taken_twice_and_numbers_go_on(tmp_path: Path) -> None:
    coater, calender = Material(tmp_path, "coater1", MAKERS), Material(tmp_path, "calender1", MAKERS)
    for row in metres(4):
        coater.add("metre", row)
    coater.flush()
    used = calender.take("metre", later(2))
    for k, sheet in enumerate(Supply("sheet", 1).items(len(used), START_NS), 7):
        calender.add("sheet", sheet | {"id": f"calender1:{k:06d}", "metre": used[k - 7]["id"]})
    calender.flush()
    again = Material(tmp_path, "calender1", MAKERS)
    assert again.resume("sheet", "metre") == 8
    assert [row["id"] for row in again.take("metre", later(100))] == ["coater1:000003", "coater1:000004"]
    assert Material(tmp_path, "calender2", MAKERS).resume("sheet", "metre") == 0


def test_every_kind_has_a_parent_among_its_columns_but_the_first() -> None:
    assert set(PARENT) == set(KINDS) - {"batch"}
    assert all(PARENT[kind] in KINDS[kind] for kind in PARENT)
    assert FLUSH_S < HANDOVER_S


def test_a_tray_gets_cells_channel_by_channel_each_once(tmp_path: Path) -> None:
    filler, rack = Material(tmp_path, "filler1", MAKERS), Material(tmp_path, "rack1", MAKERS)
    for number in range(1, 7):
        heavy = {"loading_factor": 1.08, "np_ratio": 1.02, "defects": ["dry"]} if number == 3 else {}
        filler.add("cell", cell(number, number, electrolyte_factor=0.9, wetted_fraction=0.5, **heavy))
    filler.flush()
    assert cells_for_tray(rack, 4, later(3), least=4) == [], "three are there"
    tray = cells_for_tray(rack, 4, later(10), least=4)
    assert [row["channel"] for row in tray] == [1, 2, 3, 4]
    assert tray[2] == {
        "channel": 3, "cell": "filler1:000003", "loading_factor": 1.08, "np_ratio": 1.02, "porosity": 1.0,
        "contact_ohm": 1.0, "defects": ["dry"], "electrolyte_factor": 0.45,
    }  # fmt: skip
    assert [row["cell"] for row in cells_for_tray(rack, 4, later(10))] == ["filler1:000005", "filler1:000006"]
    assert cells_for_tray(rack, 4, later(10)) == []


def test_a_line_that_makes_no_cells_gives_none(tmp_path: Path) -> None:
    assert cells_for_tray(Material(tmp_path, "rack1", {}), 64, later(0)) == []
    assert not (tmp_path / "material").exists()

"""Files as they come from cyclers: formats, names, dates, signs, groups; and every mistake told in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.analysis.columns import read_mapping
from controller.analysis.read import Plan, read_records
from controller.errors import BadInputError

from .conftest import MeanKind

GOOD = {"time_s": [0.0, 1.0, 2.0], "current_a": [1.0, -1.0, 0.5], "voltage_v": [3.0, 3.5, 4.0]}


def parquet(folder: Path, data: object, name: str = "test.parquet") -> Path:
    path = folder / name
    pq.write_table(pa.table(data), path)
    return path


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "test.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def plan(*columns: str, by: tuple[str, ...] = (), sign: float = 1.0, file: Path | None = None) -> Plan:
    kind = MeanKind()
    return Plan(kind, read_mapping(kind, columns, file), by, sign)


def refusal(path: Path, how: Plan) -> str:
    with pytest.raises(BadInputError) as error:
        read_records(path, how)
    return str(error.value)


def test_columns_already_named_need_no_mapping(tmp_path: Path) -> None:
    (record,) = read_records(parquet(tmp_path, GOOD), plan())
    assert record.keys == {}
    assert {name: values.tolist() for name, values in record.columns.items()} == GOOD
    assert all(values.dtype == np.float64 for values in record.columns.values())


def test_current_sign_turns_the_current_only(tmp_path: Path) -> None:
    (record,) = read_records(parquet(tmp_path, GOOD), plan(sign=-1.0))
    assert record.columns["current_a"].tolist() == [-1.0, 1.0, -0.5]
    assert record.columns["voltage_v"].tolist() == GOOD["voltage_v"]


@pytest.mark.parametrize("columns", ["time=t,current=i,voltage=u", "time_s=t, current_a = i ,voltage=u"])
def test_short_and_full_names(tmp_path: Path, columns: str) -> None:
    data = dict(zip(("t", "i", "u"), GOOD.values(), strict=True))
    (record,) = read_records(parquet(tmp_path, data), plan(columns))
    assert record.columns["voltage_v"].tolist() == GOOD["voltage_v"]


def test_map_from_toml_and_the_command_line_wins(tmp_path: Path) -> None:
    data = {"Test Time (s), all": [0, 1, 2], "I": GOOD["current_a"], "wrong": [0.0] * 3, "U": GOOD["voltage_v"]}
    (tmp_path / "map.toml").write_text('[columns]\ntime = "Test Time (s), all"\ncurrent = "I"\nvoltage = "wrong"\n')
    how = plan("voltage=U", file=tmp_path / "map.toml")
    (record,) = read_records(parquet(tmp_path, data), how)
    assert record.columns["voltage_v"].tolist() == GOOD["voltage_v"]
    assert record.columns["time_s"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_become_seconds_since_the_first_row(tmp_path: Path, zone: str | None) -> None:
    start = datetime(2026, 11, 22, 8, 0, tzinfo=UTC if zone else None)
    stamps = pa.array([start + timedelta(seconds=s) for s in (0, 0.25, 3600)], pa.timestamp("us", tz=zone))
    for name, columns in (("time", ()), ("When", ("time=When",))):
        path = parquet(tmp_path, {name: stamps, **{k: v for k, v in GOOD.items() if k != "time_s"}})
        (record,) = read_records(path, plan(*columns))
        assert record.columns["time_s"].tolist() == [0.0, 0.25, 3600.0]


def test_nanosecond_stamps_lose_nothing(tmp_path: Path) -> None:
    base = 1_790_000_000_000_000_000
    data = {"time_ns": [base, base + 1_000, base + 10**9], "current_a": [0.0] * 3, "voltage_v": [3.0] * 3}
    (record,) = read_records(parquet(tmp_path, data), plan())
    assert record.columns["time_s"].tolist() == [0.0, 1e-6, 1.0]


@pytest.mark.parametrize(
    "text",
    [
        "time_s,current_a,voltage_v\n0,1,3.0\n1,-1,3.5\n",
        "time_s;current_a;voltage_v\r\n0;1;3.0\r\n1;-1;3.5\r\n",
        "time_s;current_a;voltage_v\n0;1,0;3,0\n1;-1,0;3,5\n",
        "time_s\tcurrent_a\tvoltage_v\n0\t1\t3.0\n1\t-1\t3.5",
        "\ufefftime_s, current_a, voltage_v\n0,1,3.0\n1,-1,3.5\n",
    ],
)
def test_csv_in_its_dialects(tmp_path: Path, text: str) -> None:
    (record,) = read_records(csv(tmp_path, text), plan())
    assert {n: v.tolist() for n, v in record.columns.items()} == {
        "time_s": [0.0, 1.0],
        "current_a": [1.0, -1.0],
        "voltage_v": [3.0, 3.5],
    }


def test_csv_with_dates_and_an_old_encoding(tmp_path: Path) -> None:
    text = "Zeit,I,U,T in °C\n2026-11-22 08:00:00,1,3.0,25\n2026-11-22 08:00:10,1,,26\n".encode("cp1252")
    (record,) = read_records(csv(tmp_path, text), plan("time=Zeit,current=I,voltage=U,temperature=T in °C"))
    assert record.columns["time_s"].tolist() == [0.0, 10.0]
    assert record.columns["temperature_c"].tolist() == [25.0, 26.0]
    assert np.isnan(record.columns["voltage_v"][1])


def test_a_folder_of_parts_is_one_file(tmp_path: Path) -> None:
    for name, start in (("part-2.parquet", 3.0), ("part-1.parquet", 0.0)):
        parquet(tmp_path, {**GOOD, "time_s": [start, start + 1, start + 2]}, name)
    (record,) = read_records(tmp_path, plan())
    assert record.columns["time_s"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_groups_in_order_of_first_appearance_rows_in_file_order(tmp_path: Path) -> None:
    data = {
        "time_s": [0.0, 1.0, 2.0, 3.0, 4.0],
        "current_a": [0.0] * 5,
        "voltage_v": [3.0, 3.1, 3.2, 3.3, 3.4],
        "temperature_c": [25.0, 10.0, 25.0, None, 10.0],
        "cell": pa.array(["b", "a", "b", "a", "b"]).dictionary_encode(),
    }
    records = read_records(parquet(tmp_path, data), plan(by=("temperature_c", "cell")))
    assert [dict(r.keys) for r in records] == [
        {"temperature_c": 25.0, "cell": "b"},
        {"temperature_c": 10.0, "cell": "a"},
        {"temperature_c": None, "cell": "a"},
        {"temperature_c": 10.0, "cell": "b"},
    ]
    assert [r.columns["time_s"].tolist() for r in records] == [[0.0, 2.0], [1.0], [3.0], [4.0]]
    assert records[0].columns["temperature_c"].tolist() == [25.0, 25.0]


def test_by_takes_a_mapped_name(tmp_path: Path) -> None:
    data = {**GOOD, "chamber": [10, 25, 10]}
    records = read_records(parquet(tmp_path, data), plan("temperature=chamber", by=("temperature_c",)))
    assert [r.keys for r in records] == [{"temperature_c": 10}, {"temperature_c": 25}]


def test_an_optional_column_of_text_is_left_out(tmp_path: Path) -> None:
    (record,) = read_records(parquet(tmp_path, {**GOOD, "soc": ["full", "half", "low"]}), plan())
    assert "soc" not in record.columns


def test_missing_columns_are_told_with_what_to_type(tmp_path: Path) -> None:
    data = {"step_time_s": [0.0], "prog_time_s": [0.0], "I/mA": [0.0], "Ecell/V": [3.0], "Temp": [1.0]}
    told = refusal(parquet(tmp_path, data), plan())
    assert "test.parquet: no column for time_s, current_a, voltage_v, which mean needs" in told
    assert "it has step_time_s, prog_time_s, I/mA, Ecell/V, Temp" in told
    assert "type --columns time=prog_time_s,current=I/mA,voltage=Ecell/V" in told


@pytest.mark.parametrize(
    ("columns", "by", "told"),
    [
        (
            "voltage=voltage_V",
            (),
            "no column 'voltage_V'; did you mean 'voltage_v'? (it has time_s, current_a, voltage_v)",
        ),
        ("time=zzz", (), "no column 'zzz' (it has time_s, current_a, voltage_v)"),
        ("time=time_s", ("Cel",), "--by: no column 'Cel' (it has time_s, current_a, voltage_v)"),
        ("time=time_s", ("curent_a",), "--by: no column 'curent_a'; did you mean 'current_a'?"),
    ],
)
def test_wrong_columns(tmp_path: Path, columns: str, by: tuple[str, ...], told: str) -> None:
    assert told in refusal(parquet(tmp_path, GOOD), plan(columns, by=by))


def test_text_where_numbers_should_be(tmp_path: Path) -> None:
    path = csv(tmp_path, "time_s,current_a,voltage_v\n0,1,3.0\n1,1,OVER\n")
    assert refusal(path, plan()).endswith("test.csv: column 'voltage_v' holds text, not numbers: row 2 is 'OVER'")


@pytest.mark.parametrize("text", ["time", "time=", "=x", "volts=U", "time=a,,b"])
def test_mappings_that_cannot_be(text: str) -> None:
    with pytest.raises(BadInputError, match="--columns"):
        plan(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("time = ", "map.toml: not TOML"),
        ("time = 3", "map.toml: time: the column's name must be text"),
        ("tme = 'x'", "map.toml: no quantity is called 'tme'; did you mean 'time'?"),
        ("columns = 3", "`columns` is not a table"),
    ],
)
def test_maps_that_cannot_be(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(BadInputError) as error:
        plan(file=tmp_path / "map.toml")
    assert told in str(error.value)


def test_map_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere\.toml: cannot be read"):
        plan(file=tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty file"),
        (b"time_s,current_a,voltage_v\n", "no rows"),
        (b"time_s,current_a,voltage_v\n1,2\n", "cannot be read"),
        (b"PAR1 but not really", "cannot be read"),
        (b"PK\x03\x04\x00\x00 a spreadsheet", "neither Parquet nor CSV"),
        (b"time_s,time_s,voltage_v\n1,2,3\n", "column 'time_s' stands in it more than once"),
        (b"\n\n", "test.csv"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, told: str) -> None:
    said = refusal(csv(tmp_path, content), plan())
    assert said.startswith(str(tmp_path / "test.csv"))
    assert told in said


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nowhere.csv", plan())
    assert "a folder without .parquet files" in refusal(tmp_path, plan())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text(alphabet="time_scurnvolag,;\t\n\r\"'01.-e ", max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = csv(tmp_path, content)
    try:
        records = read_records(path, plan())
    except BadInputError as error:
        assert str(path) in str(error)
    else:
        assert records

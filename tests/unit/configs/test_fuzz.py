"""One property for whatever a file may hold: it loads, or it raises ConfigError with problems that name the file."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from configs.errors import ConfigError
from configs.loader import load_line

CONFIGS = Path(configs.__file__).parent
A_SAMPLE = (CONFIGS / "lines" / "a_sample.toml").read_text(encoding="utf-8")
LINES = A_SAMPLE.splitlines()
RACK = (CONFIGS / "equipment" / "formation_rack_64.toml").read_text(encoding="utf-8").splitlines()
quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(folder: Path, content: bytes | str, rack: str | None = None) -> None:
    line = folder / "line.toml"
    line.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    if rack is not None:
        (folder / "rack.toml").write_text(rack, encoding="utf-8")
    try:
        load_line(line)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.what
            assert "\n" not in str(problem)
            source = folder / Path(problem.file).name
            if source.is_file() and problem.line is not None:
                assert 1 <= problem.line <= source.read_bytes().count(b"\n") + 1


@quick
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, raw: bytes) -> None:
    check(tmp_path, raw)


@quick
@given(st.binary(min_size=1, max_size=3), st.integers(0, len(A_SAMPLE)), st.integers(0, 5))
def test_bytes_thrown_into_a_valid_file(tmp_path: Path, raw: bytes, at: int, instead_of: int) -> None:
    valid = A_SAMPLE.encode()
    check(tmp_path, valid[:at] + raw + valid[at + instead_of :])


@quick
@given(st.lists(st.integers(0, len(LINES) - 1), max_size=4), st.lists(st.integers(0, len(LINES) - 1), max_size=3))
def test_lines_left_out_and_lines_twice(tmp_path: Path, out: list[int], twice: list[int]) -> None:
    kept = [line for k, line in enumerate(LINES) if k not in out for _ in range(1 + (k in twice))]
    check(tmp_path, "\n".join(kept))


VALUES = st.one_of(
    st.integers(),
    st.integers(min_value=10**300, max_value=10**310),
    st.floats(),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from(
        ["rack1", "coater1", "modbus.tcp://h:502/1", "opc.tcp://h:1", "../line.toml", "x\0.toml", "a" * 300]
    ),
    st.datetimes(),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from(["device", "id", "machine", "x"]), st.integers() | st.text(max_size=3), max_size=2),
)


def toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    return value.isoformat() if isinstance(value, datetime) else str(value)


KEYS = [k for k, line in enumerate(LINES) if re.match(r"\w+ = ", line)]


@quick
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4))
def test_other_values_of_any_kind(tmp_path: Path, changes: dict[int, Any]) -> None:
    text = "\n".join(
        f"{line.split(' = ')[0]} = {toml(changes[k])}" if k in changes else line for k, line in enumerate(LINES)
    )
    tomllib.loads(text)  # the text itself is fine: every problem is one of the values
    check(tmp_path, text)


@settings(quick, max_examples=60)
@given(
    st.sampled_from(range(len(RACK))),
    st.sampled_from(["", "=", "{", '"', "2", "-", "e9", ", ", "nan"]),
    st.integers(0, 60),
)
def test_an_equipment_file_with_a_slip(tmp_path: Path, row: int, slip: str, at: int) -> None:
    rows = list(RACK)
    rows[row] = rows[row][:at] + slip + rows[row][at + 1 :]
    check(tmp_path, A_SAMPLE.replace('"formation_rack_64"', '"rack.toml"'), "\n".join(rows))


@pytest.mark.parametrize("value", ["9" * 400, "1" + "0" * 309 + ".0", "-0.0", "1e400", "nan", "-inf"])
def test_numbers_at_the_edge(tmp_path: Path, value: str) -> None:
    for key in ("retry_max_s = 5.0", "port = 8377", "seed = 1", "speed = 960.0"):
        check(tmp_path, A_SAMPLE.replace(key, f"{key.split(' = ')[0]} = {value}"))

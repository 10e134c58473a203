"""load_line beyond the case folders: what it returns, packaged files, and what the file system can do to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

import configs
from configs.checks import MACHINES
from configs.document import read_document
from configs.errors import ConfigError
from configs.explain import schema_of
from configs.loader import load_line, packaged, schema_json
from configs.reference import TARGET, markdown
from configs.schema import CellModel, CoatingRecipe, Equipment, FormationRecipe, LineFile
from configs.words import Schema, schema_at
from simulators.machines import MACHINES as PLAYED

CONFIGS = Path(configs.__file__).parent
A_SAMPLE = CONFIGS / "lines" / "a_sample.toml"


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_line(path)
    return str(caught.value)


def test_the_demo_line_is_valid_and_complete() -> None:
    loaded = load_line(A_SAMPLE)
    assert loaded.equipment["rack1"].name == "formation_rack_64"
    assert isinstance(loaded.recipes["rack1"], FormationRecipe)
    assert loaded.cells["rack1"].name == "lgm50_21700"
    assert loaded.sources[0] == A_SAMPLE
    assert set(loaded.sources[1:]) == {
        CONFIGS / "equipment" / "formation_rack_64.toml",
        CONFIGS / "equipment" / "slot_die_coater.toml",
        CONFIGS / "recipes" / "coat_nmc_cathode.toml",
        CONFIGS / "recipes" / "formation_a_sample.toml",
        CONFIGS / "cells" / "lgm50_21700.toml",
    }
    assert loaded.warnings == ()


@pytest.mark.parametrize("path", packaged("lines").values(), ids=lambda path: path.name)
def test_every_line_that_we_ship_is_valid(path: Path) -> None:
    assert load_line(path).warnings == ()


@pytest.mark.parametrize("folder", ["lines", "equipment", "recipes", "cells"])
def test_a_packaged_file_is_called_what_it_says(folder: str) -> None:
    for name, path in packaged(folder).items():
        data = read_document(path).data
        assert (data["line"] if folder == "lines" else data)["name"] == name


def test_the_machines_that_may_be_named_are_those_that_can_be_played() -> None:
    assert set(MACHINES) == set(PLAYED)


def test_a_warning_does_not_stop_a_line(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "cases" / "config_good_own_files", tmp_path / "line")
    (warning,) = load_line(tmp_path / "line" / "line.toml").warnings
    assert "2.7 V is below voltage_min_v 2.8" in str(warning)


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "far" / "rack.toml"
    own.parent.mkdir()
    shutil.copy(CONFIGS / "equipment" / "formation_rack_64.toml", own)
    line = tmp_path / "line.toml"
    line.write_text(
        f'line.name = "p"\ndevice = [{{ id = "r", equipment = "{own}", endpoint = "modbus.tcp://h:1" }}]\n',
        encoding="utf-8",
    )
    assert load_line(line).sources == (line, own)


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    line = tmp_path / "line.toml"
    line.write_bytes(b"\xef\xbb\xbf" + A_SAMPLE.read_bytes().replace(b"\n", b"\r\n").replace(b"8377", b"83777"))
    number = 1 + A_SAMPLE.read_text(encoding="utf-8").split("8377")[0].count("\n")
    assert message(line).startswith(f"{line}:{number}: web.port: ")


def test_an_unreadable_file_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = tmp_path / "line.toml"
    line.write_text("x = 1", encoding="utf-8")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert message(line) == f"{line}: cannot be read: permission denied"


def test_a_path_in_which_a_file_is_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x = 1", encoding="utf-8")
    assert message(tmp_path / "file" / "line.toml").startswith(f"{tmp_path}/file/line.toml: cannot be read: not a dir")


def test_an_impossible_file_name() -> None:
    assert message(Path("a\0b.toml")).endswith("not a possible file name")


def test_an_endless_file_is_not_read_to_its_end() -> None:
    assert message(Path("/dev/zero")).startswith("/dev/zero: more than 4 MB")


def test_nesting_beyond_all_reason(tmp_path: Path) -> None:
    line = tmp_path / "line.toml"
    line.write_text("a = " + "[" * 50_000, encoding="utf-8")
    assert "nested too deep" in message(line)


def test_a_number_beyond_all_reason(tmp_path: Path) -> None:
    line = tmp_path / "line.toml"
    line.write_text("a = " + "9" * 5_000, encoding="utf-8")
    assert "not valid TOML" in message(line)


def test_the_schema_knows_every_key_of_the_demo_line() -> None:
    schema: Schema = json.loads(schema_json())
    assert schema["$schema"].startswith("https://json-schema.org/")

    def walk(data: object, path: tuple[str | int, ...]) -> None:
        assert schema_at(schema, path) is not None, path
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for part, inner in items:
            walk(inner, (*path, part))

    walk(read_document(A_SAMPLE).data, ())
    assert schema_at(schema, ("device", 0, "endpiont")) is None


@pytest.mark.parametrize("model", [LineFile, Equipment, FormationRecipe, CoatingRecipe, CellModel])
def test_every_key_says_what_it_is(model: type[BaseModel]) -> None:
    root = schema_of(model)
    for name, node in [(model.__name__, root), *root.get("$defs", {}).items()]:
        assert node.get("description"), name
        for key, inner in node.get("properties", {}).items():
            assert "$ref" in inner or inner.get("description"), f"{name}.{key}"


def test_the_reference_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == markdown(), "run: python -m configs.reference"

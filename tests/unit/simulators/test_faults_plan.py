"""A scenario against what a device can break: everything that is wrong is told with file and line, before a start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import LoadedScenario, load_line, load_scenario, packaged
from simulators.faults import FaultKind, FaultSetting, Settings
from simulators.faults.instruments import Instruments
from simulators.faults.plan import fault_seed, plan_device
from simulators.faults.timetable import Entry, Place

LINE = load_line(packaged("lines")["a_sample"])
HEAD = 'name = "trial"\ntitle = "A trial"\n'


class Oven:
    """Something that breaks; `faults` as machines and servers have them."""

    def __init__(self, name: str) -> None:
        self.faults: Mapping[str, FaultKind] = {
            name: FaultKind("It cools", {"kelvin": FaultSetting("By how much", "K")})
        }
        self.seen: list[tuple[str, bool]] = []

    def fault(self, name: str, on: bool, settings: Settings) -> None:
        if float(settings["kelvin"]) > 100:
            raise ValueError("'kelvin' is at most 100")
        self.seen.append((name, on))


def _load(folder: Path, text: str) -> LoadedScenario:
    path = folder / "trial.toml"
    path.write_text(HEAD + text)
    return load_scenario(path, LINE)


def _plan(folder: Path, text: str, device: str = "rack1") -> tuple[Entry, ...]:
    equipment = LINE.equipment[device]
    instruments = Instruments(equipment, 1, equipment.protocol.value == "opcua")
    return plan_device(_load(folder, text), device, Oven("cooling"), Oven("cool_server"), instruments)


def _entry(**keys: object) -> str:
    given = {"at_s": 10.0, "device": '"rack1"', **keys}
    return "[[fault]]\n" + "".join(f"{key} = {value}\n" for key, value in given.items())


def _wrong(folder: Path, text: str, device: str = "rack1") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _plan(folder, text, device)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_each_kind_finds_its_place_and_its_defaults(tmp_path: Path) -> None:
    text = _entry(kind='"cooling"', kelvin=5, duration_s=20, repeat_every_s=60) + _entry(kind='"cool_server"', kelvin=1)
    text += _entry(kind='"stuck"', tags='["voltage_v", "current_a"]', points="[1, 2]") + _entry(kind='"power_fail"')
    text += _entry(kind='"stuck"', device='"coater1"', tags='"web_speed_m_s"')
    entries = _plan(tmp_path, text)
    assert [(e.number, e.place, e.kind) for e in entries] == [
        (1, Place.MACHINE, "cooling"),
        (2, Place.SERVER, "cool_server"),
        (3, Place.INSTRUMENT, "stuck"),
        (4, Place.POWER, "power_fail"),
    ]
    assert (entries[0].duration_s, entries[0].repeat_every_s) == (20.0, 60.0)
    assert entries[2].settings == {"tags": "voltage_v, current_a", "points": "1, 2"}
    assert (entries[3].settings, entries[3].duration_s) == ({"down_s": 60.0}, 60.0)
    assert [e.number for e in _plan(tmp_path, text, "coater1")] == [5]


def test_one_point_may_be_a_number(tmp_path: Path) -> None:
    assert _plan(tmp_path, _entry(kind='"dropout"', tags='"voltage_v"', points=7))[0].settings["points"] == "7"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            _entry(kind='"stuk"'),
            "trial.toml:6: fault[0].kind: nothing called 'stuk' can break in it (did you mean 'stuck'?)",
        ),
        (
            _entry(kind='"cooling"', kelvin=5, depth=1),
            "trial.toml:8: fault[0].depth: fault 'cooling' has no setting 'depth' (it has: kelvin)",
        ),
        (_entry(kind='"cooling"'), "trial.toml:6: fault[0].kind: fault 'cooling' needs 'kelvin': By how much"),
        (_entry(kind='"cooling"', kelvin=500), "trial.toml:7: fault[0].kelvin: 'kelvin' is at most 100"),
        (_entry(kind='"cool_server"', kelvin=500), "trial.toml:7: fault[0].kelvin: 'kelvin' is at most 100"),
        (_entry(kind='"offset"', tags='"voltage_v"', by='"x"'), "trial.toml:8: fault[0].by: 'by' is a number, not 'x'"),
        (
            _entry(kind='"bad_quality"', tags='"voltage_v"'),
            "trial.toml:6: fault[0].kind: 'bad_quality': Modbus shows no quality (use dropout)",
        ),
        (
            _entry(kind='"stuck"', tags='""'),
            "trial.toml:7: fault[0].tags: 'tags' is empty: "
            "say which tags of 'formation_rack_64' show the fault",
        ),
        (_entry(kind='"noise"', tags='"voltage_v"', sd=0), "trial.toml:8: fault[0].sd: 'sd' is above 0, not 0.0"),
        (
            _entry(kind='"power_fail"', duration_s=5),
            "trial.toml:7: fault[0].duration_s: 'duration_s' is not for power_fail: say down_s",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_kind_is_told_with_its_line(tmp_path: Path, entry: str, message: str) -> None:
    assert _wrong(tmp_path, entry) == [message]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            _entry(kind='"stuck"', device='"rack2"'),
            "trial.toml:5: fault[0].device: the line has no device 'rack2' (did you mean 'rack1'?)",
        ),
        (
            _entry(kind='"stuck"', tags='"voltag_v"'),
            "trial.toml:7: fault[0].tags: equipment 'formation_rack_64' has no tag 'voltag_v' (did you mean",
        ),
        (
            _entry(kind='"stuck"', tags='"voltage_v"', points='"1-65"'),
            "trial.toml:8: fault[0].points: tag 'voltage_v' has 64 points, not 65",
        ),
        (_entry(kind='"stuck"', at_s=-1), "trial.toml:4: fault[0].at_s: expected a number of at least 0, got -1"),
        (_entry(kind='"x"', repeat_every_s=5), "trial.toml:7: fault[0].repeat_every_s: repeat_every_s needs a"),
        (
            _entry(kind='"x"', duration_s=9, repeat_every_s=5),
            "trial.toml:8: fault[0].repeat_every_s: repeat_every_s 5 is not above duration_s 9",
        ),
        (_entry(kind='"x"', tags="true"), "trial.toml:7: fault[0].tags: expected a number, text or a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_told_without_the_simulators(tmp_path: Path, entry: str, message: str) -> None:
    (told,) = _wrong(tmp_path, entry)
    assert told.startswith(message)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    assert len(_wrong(tmp_path, _entry(kind='"stuk"') + _entry(kind='"nois"') + _entry(kind='"dropout"'))) == 3


def test_spares_are_tried_and_left_well(tmp_path: Path) -> None:
    machine = Oven("cooling")
    instruments = Instruments(LINE.equipment["rack1"], 1)
    plan_device(_load(tmp_path, _entry(kind='"cooling"', kelvin=5)), "rack1", machine, object(), instruments)
    assert machine.seen == [("cooling", True), ("cooling", False)]


def test_an_unknown_name_names_the_scenarios_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no scenario is called 'god_day' \(did you mean 'good_day'\?"):
        load_scenario("god_day", LINE)


def test_seeds_derive_from_the_device_and_the_scenario() -> None:
    assert len({fault_seed(device, name) for device in (1, 2) for name in ("a", "b")}) == 4
    assert 0 <= fault_seed(1, "a") < 2**64

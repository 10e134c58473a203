"""What `python -m simulators` answers: the list, a tag list as text, CSV and NodeSet2, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from asyncua import Server, ua

from configs.loader import packaged
from simulators.__main__ import main
from simulators.catalogue import COLUMNS, describe, find_equipment, overview, write_csv
from simulators.faults.instruments import INSTRUMENT_FAULTS
from simulators.machines import MACHINES
from simulators.nodeset import TYPES, UANODESET, nodeset, write_nodeset
from simulators.proxy.kinds import NETWORK_FAULTS

EQUIPMENT = tuple(packaged("equipment"))
SCENARIO = '[[fault]]\nat_s = 1\ndevice = "rack1"\nkind = "stuck"\ntags = "voltage_v"\n'
_NS = {"n": UANODESET, "t": TYPES}


def test_the_list_has_one_line_for_each_machine_fault_and_scenario() -> None:
    lines = [line.split()[0] for line in overview() if line.startswith("  ")]
    for names in (MACHINES, INSTRUMENT_FAULTS, NETWORK_FAULTS, packaged("scenarios"), ("power_fail", "die_lip_clog")):
        assert set(names) <= set(lines)
    assert all(len(line.split()) > 2 for line in overview() if line.startswith("  "))


def test_kinds_are_told_apart_by_their_names() -> None:
    """A kind must mean one thing; power is the device's, whatever its machine makes of it."""
    heads: dict[str, list[str]] = {}
    head = ""
    for line in overview():
        head = line if not line.startswith("  ") else head
        if head.startswith("Faults of") and line.startswith("  "):
            heads.setdefault(line.split()[0], []).append(head)
    for kind, places in heads.items():
        kinds_of_place = {place.split(" ")[2] if "server" not in place else "server" for place in places}
        assert len(kinds_of_place) == 1 or kind == "power_fail", (kind, places)


def test_a_machine_or_an_equipment_type_is_described_whole() -> None:
    assert find_equipment("coater").name == "slot_die_coater"
    for name in EQUIPMENT:
        equipment = find_equipment(name)
        text = "\n".join(describe(equipment))
        for group in equipment.group:
            for tag in group.tag:
                assert tag.name in text
                assert str(tag.address) in text
                assert tag.text in text


def test_an_unknown_name_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"called 'coter' \(did you mean 'coater'\? there are machines .*equipment .*"):
        find_equipment("coter")


@pytest.mark.parametrize("name", EQUIPMENT)
def test_the_csv_has_a_row_for_each_tag(name: str, tmp_path: Path) -> None:
    equipment = find_equipment(name)
    write_csv(equipment, tmp_path / "tags.csv")
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    tags = [(group, tag) for group in equipment.group for tag in group.tag]
    assert [row["tag"] for row in rows] == [tag.name for _, tag in tags]
    for row, (group, tag) in zip(rows, tags, strict=True):
        assert (row["address"], row["unit"], row["text"]) == (str(tag.address), tag.unit, tag.text)
        assert (row["points"], row["access"]) == (str(group.points), tag.access.value)
        assert row["min"] == ("" if tag.min is None else str(tag.min))


# Children of a node and of the root in the order that the schema of NodeSet2 (UANodeSet.xsd, Part 6 annex F) has them.
_ROOT_ORDER = ("NamespaceUris", "Models", "Aliases", "UAObject", "UAVariable")
_NODE_ORDER = ("DisplayName", "Description", "References", "Value")
_NODE_KEYS = {"NodeId", "BrowseName", "ParentNodeId"}
_VARIABLE_KEYS = _NODE_KEYS | {"DataType", "ValueRank", "ArrayDimensions", "AccessLevel", "UserAccessLevel"}


@pytest.mark.parametrize("name", EQUIPMENT)
def test_the_nodeset_has_the_structure_of_nodeset2(name: str) -> None:
    root = Xml.fromstring(Xml.tostring(nodeset(find_equipment(name))))
    assert root.tag == f"{{{UANODESET}}}UANodeSet"
    assert [child.tag.split("}")[1] for child in root][:3] == list(_ROOT_ORDER[:3])
    aliases = {alias.get("Alias"): alias.text for alias in root.iterfind("n:Aliases/n:Alias", _NS)}
    nodes = [child for child in root if child.get("NodeId")]
    known = {node.get("NodeId") for node in nodes} | {"i=85"}
    assert len(known) == len(nodes) + 1
    for node in nodes:
        kind = node.tag.split("}")[1]
        assert set(node.keys()) <= (_VARIABLE_KEYS if kind == "UAVariable" else _NODE_KEYS)
        names = [child.tag.split("}")[1] for child in node]
        assert names == [each for each in _NODE_ORDER if each in names]
        assert node.get("ParentNodeId") in known
        references = node.findall("n:References/n:Reference", _NS)
        assert all(reference.get("ReferenceType") in aliases for reference in references)
        assert [r.text for r in references if r.get("IsForward") == "false"] == [node.get("ParentNodeId")]
        if kind == "UAVariable":
            assert node.get("DataType") in aliases


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["slot_die_coater", "formation_rack_64"])
async def test_a_server_that_we_did_not_write_imports_the_nodeset(name: str, tmp_path: Path) -> None:
    equipment = find_equipment(name)
    path = tmp_path / "nodes.xml"
    write_nodeset(equipment, path)
    server = Server()
    await server.init()
    try:
        await server.import_xml(path)
        uri = "urn:celltwin:" + equipment.name if equipment.opcua is None else equipment.opcua.namespace
        index = await server.get_namespace_index(uri)
        for group in equipment.group:
            for tag in group.tag:
                identifier = f"{equipment.name}.{group.name}.{tag.name}"
                if isinstance(tag.address, str):
                    identifier = tag.address.removeprefix("s=")
                node = server.get_node(ua.NodeId(identifier, index))
                assert await node.read_description() == ua.LocalizedText(tag.text)
                expected = ua.ValueRank.OneDimension if group.points > 1 else ua.ValueRank.Scalar
                assert await node.read_value_rank() == expected
                if tag.unit:
                    units = await (await node.get_child(["0:EngineeringUnits"])).read_value()
                    assert units.DisplayName.Text or tag.unit == "1"  # a plain ratio is shown without a unit
                if tag.min is not None and tag.max is not None:
                    limits = await (await node.get_child(["0:EURange"])).read_value()
                    assert (limits.Low, limits.High) == (tag.min, tag.max)
    finally:
        await server.stop()


def _line(folder: Path) -> Path:
    path = folder / "line.toml"
    path.write_text(packaged("lines")["a_sample"].read_text())
    return path


def _ask(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capfd.readouterr()
    return code, out, err


def test_the_program_answers_and_ends(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = _ask(capfd, "--describe", "coater", "--csv", str(tmp_path / "t.csv"))
    assert (code, err) == (0, "")
    assert "s=Coater.Web.Speed" in out
    assert f"written: {tmp_path}/t.csv" in out
    code, out, err = _ask(capfd, "--describe", "coater", "--nodeset", str(tmp_path / "none" / "t.xml"))
    assert (code, err) == (2, f"No such file or directory: {tmp_path}/none/t.xml\n")
    assert _ask(capfd, "--describe", "nothing")[0] == 2


def test_the_program_checks_a_scenario(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(f'name = "x"\ntitle = "A trial"\n{SCENARIO}')
    bad.write_text(f'name = "x"\ntitle = "A trial"\n{SCENARIO.replace("stuck", "stack")}{SCENARIO}size = 1\n')
    line = str(_line(tmp_path))
    code, out, _ = _ask(capfd, "--check", "--line", line, "--scenario", str(good))
    assert (code, out) == (0, f"scenario {good}: valid, 1 entries: A trial\n")
    code, _, err = _ask(capfd, "--check", "--line", line, "--scenario", str(bad))
    assert code == 2
    assert err.splitlines() == [
        f"{bad}:6: fault[0].kind: nothing called 'stack' can break in it (did you mean 'stuck'?)",
        f"{bad}:13: fault[1].size: fault 'stuck' has no setting 'size' (it has: points, tags)",
    ]


def test_missing_arguments_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--check"])
    assert "missing: --line, --scenario" in capfd.readouterr().err

"""Writes an equipment type as OPC UA NodeSet2 XML (Part 6, annex F), for a PLC engineer's tool. No socket, no server.

Folders follow the dots of the node identifiers, variables are AnalogItemType where the tag has a range, AnalogUnitType
where it has only a unit; a tag with points is one array. A Modbus equipment type has no node identifiers: its tags lie
under their groups' names, so that the same list can be imported. Units: UNECE Recommendation 20 codes (Part 8, 5.6.4).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from configs.schema import Access, Equipment, Group, Protocol, Tag, ValueType
from simulators.servers.opcua_units import engineering_units

UANODESET = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
TYPES = "http://opcfoundation.org/UA/2008/02/Types.xsd"

# Node ids of the standard namespace (Part 6, annex A: NodeIds.csv).
_ALIASES = {
    "Boolean": "i=1",
    "Int16": "i=4",
    "UInt16": "i=5",
    "Int32": "i=6",
    "UInt32": "i=7",
    "Float": "i=10",
    "Double": "i=11",
    "Range": "i=884",
    "EUInformation": "i=887",
    "Organizes": "i=35",
    "HasTypeDefinition": "i=40",
    "HasProperty": "i=46",
    "HasComponent": "i=47",
}
# AnalogUnitType came with 1.04.
_STANDARD = {
    "ModelUri": "http://opcfoundation.org/UA/",
    "Version": "1.04",
    "PublicationDate": "2019-05-01T00:00:00Z",
}
_OBJECTS, _FOLDER_TYPE, _PROPERTY_TYPE = "i=85", "i=61", "i=68"
_BASE_VARIABLE, _ANALOG_ITEM, _ANALOG_UNIT = "i=63", "i=2368", "i=17497"
_RANGE_XML, _EU_XML = "i=885", "i=888"  # their XML encodings
_DATA_TYPES = {
    ValueType.BOOL: "Boolean",
    ValueType.INT16: "Int16",
    ValueType.UINT16: "UInt16",
    ValueType.INT32: "Int32",
    ValueType.UINT32: "UInt32",
    ValueType.FLOAT32: "Float",
    ValueType.FLOAT64: "Double",
}
_READ, _READ_WRITE = "1", "3"


def write_nodeset(equipment: Equipment, path: Path) -> None:
    """The equipment type as one NodeSet2 file. Raises OSError."""
    tree = Xml.ElementTree(nodeset(equipment))
    Xml.indent(tree)
    with path.open("wb") as file:
        tree.write(file, encoding="utf-8", xml_declaration=True)


def nodeset(equipment: Equipment) -> Xml.Element:
    """The UANodeSet element."""
    root = Xml.Element("UANodeSet", {"xmlns": UANODESET})
    uri = f"urn:celltwin:{equipment.name}" if equipment.opcua is None else equipment.opcua.namespace
    Xml.SubElement(Xml.SubElement(root, "NamespaceUris"), "Uri").text = uri
    models = Xml.SubElement(root, "Models")
    model = Xml.SubElement(models, "Model", {"ModelUri": uri, "Version": "1.0.0"})
    Xml.SubElement(model, "RequiredModel", _STANDARD)
    aliases = Xml.SubElement(root, "Aliases")
    for alias, target in _ALIASES.items():
        Xml.SubElement(aliases, "Alias", {"Alias": alias}).text = target
    nodes = _Nodes(root)
    for group in equipment.group:
        for tag in group.tag:
            opcua = equipment.protocol is Protocol.OPCUA
            nodes.tag(group, tag, str(tag.address) if opcua else f"s={equipment.name}.{group.name}.{tag.name}")
    return root


class _Nodes:
    """Adds nodes below one root, each folder once, parents first."""

    def __init__(self, root: Xml.Element) -> None:
        self._root = root
        self._folders: set[str] = set()

    def tag(self, group: Group, tag: Tag, address: str) -> None:
        kind, _, identifier = address.partition("=")
        path = identifier.split(".") if kind == "s" else [tag.name]
        parent = self._folder(path[:-1])
        node_id = f"ns=1;{address}"
        access = _READ if tag.access is Access.READ else _READ_WRITE
        attributes = {"NodeId": node_id, "BrowseName": f"1:{path[-1]}", "ParentNodeId": parent}
        attributes |= {"DataType": _DATA_TYPES[tag.type], "ValueRank": "1" if group.points > 1 else "-1"}
        attributes |= {"ArrayDimensions": str(group.points)} if group.points > 1 else {}
        attributes |= {"AccessLevel": access, "UserAccessLevel": access}
        variable = self._node("UAVariable", attributes, path[-1], tag.text)
        ranged = tag.min is not None and tag.max is not None
        type_id = _ANALOG_ITEM if ranged else _ANALOG_UNIT if tag.unit else _BASE_VARIABLE
        _reference(variable, "HasTypeDefinition", type_id)
        _reference(variable, "HasComponent" if parent != _OBJECTS else "Organizes", parent, forward=False)
        if ranged:
            self._property(node_id, "EURange", "Range", _RANGE_XML, _range(tag))
        if tag.unit:
            self._property(node_id, "EngineeringUnits", "EUInformation", _EU_XML, _units(tag.unit))

    def _folder(self, path: list[str]) -> str:
        if not path:
            return _OBJECTS
        node_id = "ns=1;s=" + ".".join(path)
        if node_id not in self._folders:
            parent = self._folder(path[:-1])
            self._folders.add(node_id)
            attributes = {"NodeId": node_id, "BrowseName": f"1:{path[-1]}", "ParentNodeId": parent}
            folder = self._node("UAObject", attributes, path[-1])
            _reference(folder, "HasTypeDefinition", _FOLDER_TYPE)
            _reference(folder, "Organizes", parent, forward=False)
        return node_id

    def _property(self, owner: str, name: str, data_type: str, encoding: str, body: Xml.Element) -> None:
        attributes = {"NodeId": f"{owner}.{name}", "BrowseName": name, "ParentNodeId": owner, "DataType": data_type}
        variable = self._node("UAVariable", attributes, name)
        _reference(variable, "HasTypeDefinition", _PROPERTY_TYPE)
        _reference(variable, "HasProperty", owner, forward=False)
        extension = Xml.SubElement(Xml.SubElement(variable, "Value"), "ExtensionObject", {"xmlns": TYPES})
        Xml.SubElement(Xml.SubElement(extension, "TypeId"), "Identifier").text = encoding
        Xml.SubElement(extension, "Body").append(body)

    def _node(self, kind: str, attributes: dict[str, str], name: str, text: str = "") -> Xml.Element:
        node = Xml.SubElement(self._root, kind, attributes)
        Xml.SubElement(node, "DisplayName").text = name
        if text:
            Xml.SubElement(node, "Description").text = text
        Xml.SubElement(node, "References")
        return node


def _reference(node: Xml.Element, kind: str, target: str, forward: bool = True) -> None:
    references = node.find("References")
    assert references is not None
    attributes = {"ReferenceType": kind} | ({} if forward else {"IsForward": "false"})
    Xml.SubElement(references, "Reference", attributes).text = target


def _range(tag: Tag) -> Xml.Element:
    body = Xml.Element("Range")
    Xml.SubElement(body, "Low").text = repr(float(tag.min or 0.0))
    Xml.SubElement(body, "High").text = repr(float(tag.max or 0.0))
    return body


def _units(unit: str) -> Xml.Element:
    units = engineering_units(unit)
    body = Xml.Element("EUInformation")
    Xml.SubElement(body, "NamespaceUri").text = units.NamespaceUri
    Xml.SubElement(body, "UnitId").text = str(units.UnitId)
    for name, text in (("DisplayName", units.DisplayName), ("Description", units.Description)):
        localized = Xml.SubElement(body, name)
        Xml.SubElement(localized, "Text").text = text.Text
    return body

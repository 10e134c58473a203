"""Address space of one equipment type: a folder tree by the dots of the node identifiers, one variable per tag.

Only shape and types: no session, no socket. A tag with a range is an AnalogItemType; one with only a unit an
AnalogUnitType; a tag with points is one array node and never an element per node (a Python server writes about 13,000
nodes a second, whatever their size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from asyncua import ua

from configs.schema import Access, Equipment, Group, Tag, ValueType
from simulators.machine import Values
from simulators.servers.opcua_history import Ring
from simulators.servers.opcua_units import engineering_units

_VARIANT = {
    ValueType.BOOL: ua.VariantType.Boolean,
    ValueType.INT16: ua.VariantType.Int16,
    ValueType.UINT16: ua.VariantType.UInt16,
    ValueType.INT32: ua.VariantType.Int32,
    ValueType.UINT32: ua.VariantType.UInt32,
    ValueType.INT64: ua.VariantType.Int64,
    ValueType.UINT64: ua.VariantType.UInt64,
    ValueType.FLOAT32: ua.VariantType.Float,
    ValueType.FLOAT64: ua.VariantType.Double,
}
_FLOATS = {ValueType.FLOAT32, ValueType.FLOAT64}
_READ = 1 << ua.AccessLevel.CurrentRead
_READ_WRITE = _READ | 1 << ua.AccessLevel.CurrentWrite
_HISTORY = 1 << ua.AccessLevel.HistoryRead
_NOTIFIER = 1 << ua.EventNotifier.SubscribeToEvents

Rename = Callable[[str], str]
"""What a text identifier is called in this start of the server; browse names never change."""


@dataclass(slots=True, eq=False)
class TagNode:
    """A tag and its node: how its values become a Variant and back, and what the node shows now."""

    tag: Tag
    points: int
    node_id: ua.NodeId
    variant_type: ua.VariantType
    shown: bytes | None = None
    ring: Ring | None = None  # its past, where that is kept
    watched: bool = False  # whether a condition looks at it

    @property
    def writable(self) -> bool:
        """True for set-points and command words."""
        return self.tag.access is not Access.READ

    def variant(self, values: Values) -> ua.Variant:
        """Values in the tag's unit as the node's type; an array for a tag with points."""
        tag = self.tag
        if tag.scale != 1.0 or tag.offset:
            values = (values - tag.offset) / tag.scale
        raw: list[Any] = values.tolist() if tag.type in _FLOATS else np.rint(values).astype(np.int64).tolist()
        if tag.type is ValueType.BOOL:
            raw = [bool(v) for v in raw]
        if self.points == 1:
            return ua.Variant(raw[0], self.variant_type)
        return ua.Variant(raw, self.variant_type, is_array=True)

    def values(self, variant: ua.Variant | None) -> Values | None:
        """Values in the tag's unit, or None where type or length are not the node's."""
        if variant is None or variant.VariantType is not self.variant_type:
            return None
        if variant.is_array != (self.points > 1) or variant.Value is None:
            return None
        raw = np.atleast_1d(np.asarray(variant.Value, dtype=np.float64))
        return raw * self.tag.scale + self.tag.offset if raw.shape == (self.points,) else None


def machine_name(equipment: Equipment) -> str:
    """Identifier of the object that stands for the machine: the first part of its command word's, or first tag's."""
    control = equipment.control
    found = equipment.find(control.command) if control else None
    address = str((found[1] if found else equipment.group[0].tag[0]).address)
    top, dot, _ = address.partition("=")[2].partition(".")
    return top if dot else equipment.name


def build_nodes(equipment: Equipment, index: int, rename: Rename = str) -> tuple[list[ua.AddNodesItem], list[TagNode]]:
    """Nodes to add, parents first, and the tags' nodes. `index` is the namespace's."""
    items: list[ua.AddNodesItem] = []
    nodes: list[TagNode] = []
    folders: dict[str, ua.NodeId] = {}
    server = equipment.opcua.server if equipment.opcua else None
    kept = set(server.history) if server else set()
    _folder([machine_name(equipment)], index, rename, folders, items)
    items[0].TypeDefinition = ua.NodeId(ua.ObjectIds.BaseObjectType)
    items[0].NodeAttributes.EventNotifier = _NOTIFIER
    for group in equipment.group:
        for tag in group.tag:
            address = str(tag.address)
            node_id = _node_id(address, index, rename)
            path = address.partition("=")[2].split(".")
            parent = _folder(path[:-1], index, rename, folders, items)
            historizing = server is not None and tag.name in kept
            items += _variable(group, tag, node_id, parent, path[-1], historizing)
            node = TagNode(tag, group.points, node_id, _VARIANT[tag.type])
            node.ring = Ring(server.history_values) if server is not None and historizing else None
            nodes.append(node)
    return items, nodes


def _node_id(address: str, index: int, rename: Rename) -> ua.NodeId:
    """From 's=Web.Speed' or 'i=17'. Raises ValueError for anything else."""
    kind, _, identifier = address.partition("=")
    if kind == "s" and identifier:
        return ua.NodeId(rename(identifier), index)
    if kind == "i" and identifier.isdigit():
        return ua.NodeId(int(identifier), index)
    raise ValueError(f"'{address}' is no node identifier such as 's=Web.Speed' or 'i=17'")


def _folder(
    path: list[str], index: int, rename: Rename, known: dict[str, ua.NodeId], items: list[ua.AddNodesItem]
) -> ua.NodeId:
    if not path:
        return ua.NodeId(ua.ObjectIds.ObjectsFolder)
    name = ".".join(path)
    if name not in known:
        parent = _folder(path[:-1], index, rename, known, items)
        known[name] = ua.NodeId(rename(name), index)
        attributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(path[-1]), EventNotifier=0)
        items.append(
            ua.AddNodesItem(
                ParentNodeId=parent,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.Organizes),
                RequestedNewNodeId=known[name],
                BrowseName=ua.QualifiedName(path[-1], index),
                NodeClass=ua.NodeClass.Object,
                NodeAttributes=attributes,
                TypeDefinition=ua.NodeId(ua.ObjectIds.FolderType),
            )
        )
    return known[name]


def _variable(
    group: Group, tag: Tag, node_id: ua.NodeId, parent: ua.NodeId, name: str, historizing: bool
) -> list[ua.AddNodesItem]:
    variant_type = _VARIANT[tag.type]
    access = (_READ if tag.access is Access.READ else _READ_WRITE) | (_HISTORY if historizing else 0)
    array = group.points > 1
    attributes = ua.VariableAttributes(
        DisplayName=ua.LocalizedText(name),
        Description=ua.LocalizedText(tag.text),
        Value=ua.Variant(None, ua.VariantType.Null),
        DataType=ua.NodeId(variant_type.value),
        ValueRank=ua.ValueRank.OneDimension if array else ua.ValueRank.Scalar,
        ArrayDimensions=[group.points] if array else [],
        AccessLevel=access,
        UserAccessLevel=access,
        Historizing=historizing,
    )
    properties: list[tuple[str, Any, int]] = []
    if tag.min is not None and tag.max is not None:
        properties.append(("EURange", ua.Range(tag.min, tag.max), ua.ObjectIds.Range))
    if tag.unit:
        properties.append(("EngineeringUnits", engineering_units(tag.unit), ua.ObjectIds.EUInformation))
    variable = ua.AddNodesItem(
        ParentNodeId=parent,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
        RequestedNewNodeId=node_id,
        BrowseName=ua.QualifiedName(name, node_id.NamespaceIndex),
        NodeClass=ua.NodeClass.Variable,
        NodeAttributes=attributes,
        TypeDefinition=ua.NodeId(_type_definition(tag)),
    )
    return [variable, *(_property(node_id, *each) for each in properties)]


def _type_definition(tag: Tag) -> int:
    if tag.min is not None and tag.max is not None:
        return int(ua.ObjectIds.AnalogItemType)
    return int(ua.ObjectIds.AnalogUnitType if tag.unit else ua.ObjectIds.BaseDataVariableType)


def _property(parent: ua.NodeId, name: str, value: Any, data_type: int) -> ua.AddNodesItem:
    attributes = ua.VariableAttributes(
        DisplayName=ua.LocalizedText(name),
        Value=ua.Variant(value, ua.VariantType.ExtensionObject),
        DataType=ua.NodeId(data_type),
        ValueRank=ua.ValueRank.Scalar,
        ArrayDimensions=[],
        AccessLevel=_READ,
        UserAccessLevel=_READ,
    )
    return ua.AddNodesItem(
        ParentNodeId=parent,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasProperty),
        RequestedNewNodeId=ua.NodeId(f"{parent.Identifier}.{name}", parent.NamespaceIndex),
        BrowseName=ua.QualifiedName(name, 0),
        NodeClass=ua.NodeClass.Variable,
        NodeAttributes=attributes,
        TypeDefinition=ua.NodeId(ua.ObjectIds.PropertyType),
    )

"""The address space of one PLC in an asyncua server: its tags, methods and conditions, made and made anew.

Built when the server starts, and again when a restart gives its nodes other identifiers or another namespace index.
No socket and no session.
"""

from __future__ import annotations

from typing import Any

from asyncua import ua

from configs.schema import Equipment
from simulators.servers.opcua_conditions import Conditions
from simulators.servers.opcua_limits import Limits
from simulators.servers.opcua_methods import ACKNOWLEDGE, commands, method_id, method_nodes
from simulators.servers.opcua_nodes import Rename, TagNode, build_nodes, machine_name
from simulators.servers.opcua_values import WAITING

_ADDED_LATER = "urn:celltwin:simulator:added-later"


class Space:
    """Nodes of one equipment type."""

    def __init__(self, equipment: Equipment, conditions: Conditions) -> None:
        self._equipment = equipment
        self._conditions = conditions
        self._own: set[ua.NodeId] = set()
        self.machine = ua.NodeId()
        self.nodes: dict[ua.NodeId, TagNode] = {}
        self.by_tag: dict[str, TagNode] = {}
        self.methods: dict[ua.NodeId, str] = {}  # node -> name of the method

    async def announce(self, iserver: Any, limits: Limits) -> None:
        """Say what the server takes and what it can."""
        assert self._equipment.opcua is not None
        can = ua.Variant(bool(self._equipment.opcua.server.history), ua.VariantType.Boolean)
        told = [(ua.NodeId(ua.ObjectIds.HistoryServerCapabilities_AccessHistoryDataCapability), can)]
        for node_id, variant in limits.announced() + told:
            await iserver.write_attribute_value(node_id, ua.DataValue(variant))

    async def build(self, iserver: Any, uris: list[str], rename: Rename, shifted: bool) -> None:
        """Make all nodes; what stood there before goes. `uris`: the standard's namespace and the server's own."""
        assert self._equipment.opcua is not None
        server = self._equipment.opcua.server
        self._clear(iserver.aspace)
        known = [*uris, *([_ADDED_LATER] if shifted else []), self._equipment.opcua.namespace]
        array = ua.DataValue(ua.Variant(known, ua.VariantType.String, is_array=True))
        await iserver.write_attribute_value(ua.NodeId(ua.ObjectIds.Server_NamespaceArray), array)
        index = len(known) - 1
        items, nodes = build_nodes(self._equipment, index, rename)
        for node in nodes:
            if (old := self.by_tag.get(node.tag.name)) is not None:
                node.ring = old.ring or node.ring
        self.machine = ua.NodeId(rename(machine_name(self._equipment)), index)
        items += self._conditions.build(self._equipment, nodes, self.machine)
        names = [*commands(self._equipment)]
        names += [ACKNOWLEDGE] if server.alarm else []
        items += method_nodes(self.machine, index, names)
        self.methods = {method_id(self.machine, name): name for name in names}
        self.nodes = {node.node_id: node for node in nodes}
        self.by_tag = {node.tag.name: node for node in nodes}
        await self._add(iserver, items)

    async def _add(self, iserver: Any, items: list[ua.AddNodesItem]) -> None:
        session = iserver.isession
        for result in await session.add_nodes(items):
            result.StatusCode.check()
        for result in await session.add_references(self._conditions.references(self.machine)):
            result.check()
        self._own = {item.RequestedNewNodeId for item in items}
        for node_id in self.nodes:
            await iserver.write_attribute_value(node_id, WAITING)

    def _clear(self, space: Any) -> None:
        """asyncua's own deletion looks through the whole address space for every single node."""
        own, self._own = self._own, set()
        if not own:
            return
        for node_id in own:
            del space[node_id]
        for node_id in list(space.keys()):
            references = space[node_id].references
            if any(reference.NodeId in own for reference in references):
                references[:] = [reference for reference in references if reference.NodeId not in own]

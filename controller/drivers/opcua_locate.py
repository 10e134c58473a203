"""Asks a server where nodes are: browse paths to nodes, and nodes to their browse paths. Knows no tag's meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua

from controller.drivers.opcua_addresses import Addresses
from controller.drivers.opcua_requests import Requests

_DEPTH = 16  # steps from the Objects folder; equipment is not deeper, and a loop of references ends here
_OBJECTS = ua.NodeId(ua.ObjectIds.ObjectsFolder)
_PREFERRED = (ua.ObjectIds.Organizes, ua.ObjectIds.HasComponent, ua.ObjectIds.HasProperty)


async def find(requests: Requests, addresses: Addresses, names: Sequence[str]) -> list[str]:
    """Look for the tags' paths; what has moved, in words."""
    wanted = list(addresses.wanted(names))

    async def translate(part: Sequence[Any]) -> list[Any]:
        answers: list[Any] = await requests.session.translate_browsepaths_to_nodeids([path for _, path in part])
        return answers

    answers = await requests.in_chunks("looking for browse paths", wanted, requests.limits.read, translate)
    return addresses.settle({name: _only(answer) for (name, _), answer in zip(wanted, answers, strict=True)})


def _only(answer: Any) -> ua.NodeId | None:
    """The node, where there is exactly one and it is on this server."""
    if int(answer.StatusCode.value) >> 31:
        return None
    # Two references may lead to one node: a machine is organized, and notifies.
    whole = {_local(t.TargetId) for t in answer.Targets or () if t.RemainingPathIndex == 0xFFFFFFFF}
    return whole.pop() if len(whole) == 1 else None


def _local(node: Any) -> ua.NodeId:
    """Without what makes an ExpandedNodeId: it must be equal to what an address gives."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


async def learn(requests: Requests, addresses: Addresses) -> None:
    """Climb from every tag whose path is not known to the Objects folder, one level of all tags at a time."""
    nodes = addresses.unknown()
    above: dict[ua.NodeId, tuple[ua.QualifiedName, ua.NodeId] | None] = {}
    level = list(dict.fromkeys(nodes.values()))
    for _ in range(_DEPTH):
        if not level:
            break
        names = await requests.in_chunks(
            "reading browse names",
            level,
            requests.limits.read,
            lambda part: requests.session.read_attributes(part, ua.AttributeIds.BrowseName),
        )
        parents = await requests.in_chunks(
            "browsing upwards", level, requests.limits.read, lambda part: requests.session.browse(_upwards(part))
        )
        for node, name, parent in zip(level, names, parents, strict=True):
            up = _parent(parent)
            value = name.Value.Value if name.Value is not None else None
            above[node] = (value, up) if isinstance(value, ua.QualifiedName) and up is not None else None
        ups = (step[1] for step in above.values() if step is not None)
        level = [node for node in dict.fromkeys(ups) if node not in above and node != _OBJECTS]
    for tag, node in nodes.items():
        addresses.learn(tag, _climb(node, above))


def _climb(node: ua.NodeId, above: dict[ua.NodeId, tuple[ua.QualifiedName, ua.NodeId] | None]) -> list[Any]:
    """Browse names from the Objects folder down to the node; empty where it does not hang there."""
    steps: list[Any] = []
    while node != _OBJECTS:
        step = above.get(node)
        if step is None or len(steps) >= _DEPTH:
            return []
        steps.insert(0, step[0])
        node = step[1]
    return steps


def _upwards(nodes: Sequence[ua.NodeId]) -> ua.BrowseParameters:
    wanted = [
        ua.BrowseDescription(
            NodeId=node,
            BrowseDirection=ua.BrowseDirection.Inverse,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
            IncludeSubtypes=True,
            NodeClassMask=0,
            ResultMask=ua.BrowseResultMask.ReferenceTypeId,
        )
        for node in nodes
    ]
    return ua.BrowseParameters(View=ua.ViewDescription(), RequestedMaxReferencesPerNode=0, NodesToBrowse=wanted)


def _parent(answer: Any) -> ua.NodeId | None:
    if int(answer.StatusCode.value) >> 31 or not answer.References:
        return None
    ranked = sorted(answer.References, key=_rank)
    return _local(ranked[0].NodeId)


def _rank(reference: Any) -> int:
    kind = reference.ReferenceTypeId
    known = kind.NamespaceIndex == 0 and kind.Identifier in _PREFERRED
    return _PREFERRED.index(kind.Identifier) if known else len(_PREFERRED)

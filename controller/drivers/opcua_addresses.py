"""Where an equipment type's tags are on a server today: by node id, and by browse path once that is known. No I/O.

A namespace is known by its URI; its index is looked up at each connect. A browse path, from the Objects folder on, is
given in the equipment file or learnt from the server at the first connect, and found again at each later one, also of
a later process (opcua_memory.py): where it leads to another node than the identifier does, the path is right, for it is
what people named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asyncua import ua

from configs.schema import Equipment, Tag
from controller.drivers.opcua_memory import Path, pack, unpack

_SHOWN = 3  # moved tags that an event names
_NOWHERE = 0xFFFF  # an index that no server has: the node is unknown, and the driver says so


class Addresses:
    """Nodes of one device's tags. Outlives connections; `begin` starts a new one."""

    def __init__(self, equipment: Equipment, namespace: str) -> None:
        self._uri = namespace
        self.tags: dict[str, Tag] = {tag.name: tag for group in equipment.group for tag in group.tag}
        self._given: dict[str, tuple[str, ...]] = {
            name: tuple(tag.path.split("/")) for name, tag in self.tags.items() if tag.path
        }
        self.paths: dict[str, Path] = {
            name: tuple((namespace, step) for step in steps) for name, steps in self._given.items()
        }
        self._adrift: set[str] = set()  # learnt paths that lead nowhere now: learnt anew where the node is there
        self._meant: dict[str, str] = {}  # tag with an index of its own -> that namespace's URI at the first connect
        self._known: list[str] = []
        self._found: dict[str, ua.NodeId] = {}
        self._told: dict[str, str] = {}

    def begin(self, namespaces: Sequence[str], afresh: bool = True) -> list[str]:
        """The namespaces as they are now; what has moved since the last time, in words. `afresh`: a new connection."""
        before, self._known = self._known, list(namespaces)
        if afresh or before != self._known:
            self._found.clear()
        for name, tag in self.tags.items():
            index, _ = _split(str(tag.address))
            if isinstance(index, int) and index < len(self._known):
                self._meant.setdefault(name, self._known[index])
        uris = dict.fromkeys([self._uri, *self._meant.values()])
        moved = [
            f"namespace '{uri}' has index {self._index(uri)} now (was {before.index(uri)})"
            for uri in uris
            if uri in before and uri in self._known and before.index(uri) != self._index(uri)
        ]
        return moved

    def _index(self, uri: str) -> int:
        return self._known.index(uri) if uri in self._known else _NOWHERE

    def node(self, tag: Tag) -> ua.NodeId:
        """The tag's node on this connection."""
        found = self._found.get(tag.name)
        return self.written(tag) if found is None else found

    def written(self, tag: Tag) -> ua.NodeId:
        """The node that its address names."""
        own, identifier = _split(str(tag.address))
        if own is None:
            index = self._index(self._uri)
        elif isinstance(own, str):
            index = self._index(own)
        else:
            index = self._index(self._meant[tag.name]) if tag.name in self._meant else own
        return ua.NodeId.from_string(f"ns={index};{identifier}")

    def wanted(self, names: Sequence[str]) -> Iterator[tuple[str, ua.BrowsePath]]:
        """Paths to ask the server for, of those tags whose path is known."""
        for name in names:
            path = self.paths.get(name)
            if path and all(uri in self._known for uri, _ in path):
                yield name, _browse_path([ua.QualifiedName(step, self._index(uri)) for uri, step in path])

    def settle(self, found: Mapping[str, ua.NodeId | None]) -> list[str]:
        """Take what the server said of paths (None: not there, or not one node); what has moved, in words."""
        moved: list[str] = []
        back = 0
        for name, node in found.items():
            written = self.written(self.tags[name])
            if node is None:
                self._adrift |= {name} - self._given.keys()
                continue
            self._adrift.discard(name)
            if node == written:
                self._found.pop(name, None)
                back += self._told.pop(name, None) is not None
                continue
            self._found[name] = node
            if self._told.get(name) != node.to_string():
                self._told[name] = node.to_string()
                moved.append(f"'{name}' {written.to_string()} is {node.to_string()}")
        told = []
        if moved:
            more = f", and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
            told.append(
                f"{len(moved)} of {len(self.tags)} tags have another node id now and were found by their browse path: "
                f"{'; '.join(moved[:_SHOWN])}{more} (if this is to stay, correct the equipment file)"
            )
        if back:
            told.append(f"{back} of {len(self.tags)} tags have the node ids of the equipment file again")
        return told

    def unknown(self) -> dict[str, ua.NodeId]:
        """Nodes of the tags whose path is to be learnt."""
        return {
            name: self.node(tag) for name, tag in self.tags.items() if name not in self.paths or name in self._adrift
        }

    def learn(self, name: str, path: Sequence[ua.QualifiedName]) -> None:
        """Where a tag's node is, as its own server says; what the equipment file gives stays."""
        if name not in self._given and path and all(step.NamespaceIndex < len(self._known) for step in path):
            self.paths[name] = tuple((self._known[step.NamespaceIndex], str(step.Name)) for step in path)
            self._adrift.discard(name)

    def recall(self, saved: bytes) -> str:
        """Use what an earlier process has learnt; what of it does not fit the equipment file, in words."""
        paths, left = unpack(saved, self._whole_addresses())
        self.paths |= {name: path for name, path in paths.items() if name not in self._given}
        return left

    def memory(self) -> bytes | None:
        """What was learnt, for `recall`; None: too large."""
        learnt = {name: path for name, path in self.paths.items() if name not in self._given}
        return pack(learnt, self._whole_addresses())

    def _whole_addresses(self) -> dict[str, str]:
        """With the namespace: the same identifier in another one is another node."""
        return {name: f"{self._uri} {tag.address}" for name, tag in self.tags.items()}


def _split(address: str) -> tuple[int | str | None, str]:
    """Namespace of its own (an index, a URI, or none) and identifier."""
    head, semicolon, identifier = address.partition(";")
    if semicolon and head.startswith("nsu="):
        return head.removeprefix("nsu="), identifier
    if semicolon and head.startswith("ns="):
        return int(head.removeprefix("ns=")), identifier
    return None, address


def _browse_path(steps: Sequence[ua.QualifiedName]) -> ua.BrowsePath:
    elements = [
        ua.RelativePathElement(
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
            IsInverse=False,
            IncludeSubtypes=True,
            TargetName=step,
        )
        for step in steps
    ]
    return ua.BrowsePath(
        StartingNode=ua.NodeId(ua.ObjectIds.ObjectsFolder), RelativePath=ua.RelativePath(Elements=elements)
    )

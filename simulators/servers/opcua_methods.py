"""Methods of the machine's object: the command word and its sequence number in one call. No session, no socket.

A method writes what a client of the command word would write, and answers when the machine has taken it at a scan. So
both ways of commanding share one sequence, and the machine cannot tell them apart. A machine that refuses answers with
its own result and a Good status, as over the command word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import numpy as np
from asyncua import ua

from configs.schema import Equipment, MachineControl
from simulators.machine import Values

# Where the command word's text names no codes: these are the same for all equipment; see MachineControl.
COMMANDS: Mapping[str, int] = {"Start": 1, "Stop": 2, "Hold": 3, "Resume": 4, "Reset": 5}
ACKNOWLEDGE = "Acknowledge"
# Wall seconds that a machine has for its next scan.
_PATIENCE_S = 30.0
_SEQUENCE = 65_536

Store = Callable[[str, Values], Awaitable[None]]
"""Writes a tag in the machine and shows it. Raises ValueError where the machine refuses."""


def commands(equipment: Equipment) -> dict[str, int]:
    """Methods of the machine and their codes: the meanings of its command word. None for one that takes no commands."""
    if equipment.control is None or equipment.opcua is None or not equipment.opcua.server.methods:
        return {}
    found = equipment.find(equipment.control.command)
    meanings = found[1].meanings if found else {}
    named = {words.title().replace(" ", ""): code for code, words in meanings.items() if code}
    return named or dict(COMMANDS)


class Methods:
    """The commands of one machine."""

    def __init__(self, control: MachineControl, codes: Mapping[str, int], store: Store) -> None:
        self._control = control
        self._codes = codes
        self._store = store
        self._outputs: Mapping[str, Values] = {}
        self._waiting: list[tuple[int, asyncio.Future[int]]] = []
        self._one = asyncio.Lock()

    def scanned(self, outputs: Mapping[str, Values]) -> None:
        """A scan is over: answer whom it answers."""
        self._outputs = outputs
        if not self._waiting:
            return
        taken = int(outputs[self._control.sequence_ack][0])
        result = int(outputs[self._control.result][0])
        for sequence, answer in self._waiting:
            if sequence == taken and not answer.done():
                answer.set_result(result)
        self._waiting = [(sequence, answer) for sequence, answer in self._waiting if not answer.done()]

    async def run(self, name: str) -> ua.CallMethodResult:
        """Give a command; outputs are its sequence number and the machine's result."""
        control = self._control
        async with self._one:  # a second call would take the sequence number from under the first
            sequence = (int(self._outputs[control.sequence][0]) + 1) % _SEQUENCE
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            try:
                await self._store(control.command, np.array([float(self._codes[name])]))
                await self._store(control.sequence, np.array([float(sequence)]))
                self._waiting.append((sequence, answer))
                async with asyncio.timeout(_PATIENCE_S):
                    result = await answer
            except ValueError:
                return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadInvalidState))
            except TimeoutError:
                return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadTimeout))
            finally:
                self._waiting = [each for each in self._waiting if each[1] is not answer]
        uint16 = ua.VariantType.UInt16
        return ua.CallMethodResult(OutputArguments=[ua.Variant(sequence, uint16), ua.Variant(result, uint16)])


def method_nodes(machine: ua.NodeId, index: int, names: list[str]) -> list[ua.AddNodesItem]:
    """Nodes of the methods below the machine's object, with what they give back."""
    items = []
    for name in names:
        method = method_id(machine, name)
        items.append(
            ua.AddNodesItem(
                ParentNodeId=machine,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
                RequestedNewNodeId=method,
                BrowseName=ua.QualifiedName(name, index),
                NodeClass=ua.NodeClass.Method,
                NodeAttributes=ua.MethodAttributes(
                    DisplayName=ua.LocalizedText(name),
                    Description=ua.LocalizedText(
                        "Acknowledge every alarm" if name == ACKNOWLEDGE else "As the command word"
                    ),
                    Executable=True,
                    UserExecutable=True,
                ),
            )
        )
        items.append(_outputs(method, name))
    return items


def method_id(machine: ua.NodeId, name: str) -> ua.NodeId:
    """Identifier of a method of the machine."""
    return ua.NodeId(f"{machine.Identifier}.{name}()", machine.NamespaceIndex)


def _outputs(method: ua.NodeId, name: str) -> ua.AddNodesItem:
    told = [("Count", "Conditions that were acknowledged")]
    if name != ACKNOWLEDGE:
        told = [("Sequence", "Sequence number of the command"), ("Result", "The machine's answer; 1 is accepted")]
    arguments = [
        ua.Argument(each, ua.NodeId(ua.ObjectIds.UInt16), ua.ValueRank.Scalar, [], ua.LocalizedText(text))
        for each, text in told
    ]
    read = 1 << ua.AccessLevel.CurrentRead
    return ua.AddNodesItem(
        ParentNodeId=method,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasProperty),
        RequestedNewNodeId=ua.NodeId(f"{method.Identifier}.OutputArguments", method.NamespaceIndex),
        BrowseName=ua.QualifiedName("OutputArguments", 0),
        NodeClass=ua.NodeClass.Variable,
        NodeAttributes=ua.VariableAttributes(
            DisplayName=ua.LocalizedText("OutputArguments"),
            Value=ua.Variant(arguments, ua.VariantType.ExtensionObject, is_array=True),
            DataType=ua.NodeId(ua.ObjectIds.Argument),
            ValueRank=ua.ValueRank.OneDimension,
            ArrayDimensions=[len(arguments)],
            AccessLevel=read,
            UserAccessLevel=read,
        ),
        TypeDefinition=ua.NodeId(ua.ObjectIds.PropertyType),
    )

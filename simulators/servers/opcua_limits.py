"""What an OPC UA server of a PLC takes in one request and at once: announced in the address space, refused beyond.

Limits are announced only where they are kept (Part 5, 6.3.11; Part 4, 7.38.2: BadTooManyOperations). Data and small
functions; no session, no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError

from configs.schema import OpcUaOptions

_PREFIX = "Server_ServerCapabilities_OperationLimits_"
_KEPT = (
    "MaxNodesPerRead",
    "MaxNodesPerWrite",
    "MaxNodesPerMethodCall",
    "MaxNodesPerBrowse",
    "MaxNodesPerRegisterNodes",
    "MaxNodesPerTranslateBrowsePathsToNodeIds",
    "MaxMonitoredItemsPerCall",
    "MaxNodesPerHistoryReadData",
)
# Services that this server refuses anyway: no limit is told (0).
_REFUSED = (
    "MaxNodesPerHistoryReadEvents",
    "MaxNodesPerHistoryUpdateData",
    "MaxNodesPerHistoryUpdateEvents",
    "MaxNodesPerNodeManagement",
)
CONTINUATION_POINTS = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Most of everything."""

    operations: int  # in one request
    sessions: int
    subscriptions: int
    items: int  # in one subscription
    queue: int  # of one monitored item
    history_values: int  # in one answer, of one node
    publishing_interval_ms: float  # shortest

    @classmethod
    def of(cls, options: OpcUaOptions) -> Limits:
        """From an equipment file."""
        server = options.server
        return cls(
            operations=server.max_operations or options.max_items_per_call,
            sessions=server.max_sessions,
            subscriptions=server.max_subscriptions,
            items=server.max_items,
            queue=server.max_queue,
            history_values=1000,
            publishing_interval_ms=server.min_publishing_interval_s * 1000.0,
        )

    def check(self, operations: Sequence[Any] | None) -> None:
        """Raises ServiceError for a request with nothing in it, or with too much."""
        if not operations:
            raise ServiceError(ua.StatusCodes.BadNothingToDo)
        if len(operations) > self.operations:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)

    def announced(self) -> list[tuple[ua.NodeId, ua.Variant]]:
        """Nodes of the address space and what they say."""
        uint32, uint16 = ua.VariantType.UInt32, ua.VariantType.UInt16
        told = [(_PREFIX + name, self.operations, uint32) for name in _KEPT]
        told += [(_PREFIX + name, 0, uint32) for name in _REFUSED]
        told += [
            ("Server_ServerCapabilities_MaxSessions", self.sessions, uint32),
            ("Server_ServerCapabilities_MaxSubscriptions", self.subscriptions, uint32),
            ("Server_ServerCapabilities_MaxMonitoredItemsPerSubscription", self.items, uint32),
            ("Server_ServerCapabilities_MaxMonitoredItemsQueueSize", self.queue, uint32),
            ("Server_ServerCapabilities_MaxBrowseContinuationPoints", CONTINUATION_POINTS, uint16),
            ("Server_ServerCapabilities_MaxHistoryContinuationPoints", CONTINUATION_POINTS, uint16),
            ("HistoryServerCapabilities_MaxReturnDataValues", self.history_values, uint32),
        ]
        return [(ua.NodeId(getattr(ua.ObjectIds, name)), ua.Variant(value, kind)) for name, value, kind in told]


def clamp_queue(requested: ua.MonitoringParameters, attribute: int) -> None:
    """Queue size 0 is 1 for data (Part 4, 5.13.1.5); asyncua would take it for unlimited and hide loss."""
    if attribute != ua.AttributeIds.EventNotifier:
        requested.QueueSize = max(1, requested.QueueSize)

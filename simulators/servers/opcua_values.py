"""A machine's values as OPC UA DataValues: quality and time stamps. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from asyncua import ua

from simulators.machine import Values
from simulators.servers.opcua_nodes import TagNode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_VALUE = ua.Variant(None, ua.VariantType.Null)
_GOOD = ua.StatusCode(ua.StatusCodes.Good)
# Part 4, 7.39: with a Bad status the value is null. NaN from the machine says that an instrument has nothing to see.
_NOTHING_TO_SEE = ua.StatusCode(ua.StatusCodes.BadOutOfService)
_PARTLY = ua.StatusCode(ua.StatusCodes.UncertainSubNormal)
WAITING = ua.DataValue(_NO_VALUE, ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData))


class Shown(ua.DataValue):  # type: ignore[misc]
    """A value on a node. asyncua copies it in depth for every subscriber, half the cost of a scan; it is frozen."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Shown:
        return self


def stamp(time_ns: int) -> datetime:
    """To the microsecond; OPC UA's own resolution is 100 ns."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def data_value(
    node: TagNode, values: Values, source: datetime, server: datetime, forced: ua.StatusCode | None = None
) -> Shown:
    """What a node shows. `forced`: a status that stands in for the machine's own where that is better."""
    if forced is not None and forced.is_bad():
        return Shown(_NO_VALUE, forced, source, server)
    missing = np.isnan(values)
    if missing.all():
        return Shown(_NO_VALUE, _NOTHING_TO_SEE, source, server)
    status = forced or (_PARTLY if missing.any() else _GOOD)
    return Shown(node.variant(values), status, source, server)

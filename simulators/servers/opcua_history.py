"""The past of chosen nodes: a bounded ring in memory, and HistoryRead of raw values after OPC 10000-11, 6.5.3.

The oldest value goes when the ring is full, and all of them with the process. No session, no socket. Not modelled:
modified, processed and at-time reads, events, updates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from asyncua import ua

_NO_TIME = ua.get_win_epoch()
_NO_BOUND = ua.StatusCodes.BadBoundNotFound


class Ring:
    """Values of one node in the order of their source times."""

    def __init__(self, most: int) -> None:
        self._values: deque[ua.DataValue] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: ua.DataValue) -> None:
        """Keep a value; one with the time of the last replaces it."""
        if self._values and self._values[-1].SourceTimestamp == value.SourceTimestamp:
            self._values[-1] = value
        else:
            self._values.append(value)

    def raw(self, start: datetime | None, end: datetime | None, most: int, bounds: bool) -> list[ua.DataValue]:
        """Values from `start` up to but not including `end`; backwards where start is later, or missing.

        At most `most` of them when only one of the times is given. ValueError for fewer than two of the three.
        """
        if (start is None) + (end is None) + (not most) > 1:
            raise ValueError("two of start, end and number are needed")
        backwards = start is None or (end is not None and end < start)
        first, last = (end, None) if start is None else (start, end)
        assert first is not None
        ordered = list(reversed(self._values)) if backwards else list(self._values)
        return _span(ordered, first, last, backwards, bounds)


def _span(
    ordered: list[ua.DataValue], first: datetime, last: datetime | None, backwards: bool, bounds: bool
) -> list[ua.DataValue]:
    """The part of `ordered` (in reading order) from `first` to before `last`, with bounding values where wanted."""
    sign = -1.0 if backwards else 1.0

    def after(value: ua.DataValue, time: datetime) -> float:
        return sign * float((value.SourceTimestamp - time).total_seconds())

    begin = next((k for k, value in enumerate(ordered) if after(value, first) >= 0), len(ordered))
    stop = len(ordered)
    if last is not None:
        stop = next((k for k in range(begin, len(ordered)) if after(ordered[k], last) >= 0), len(ordered))
        if last == first:  # exactly this instant
            stop = begin + (begin < len(ordered) and after(ordered[begin], first) == 0)
    found = ordered[begin:stop]
    if not bounds:
        return found
    at_first = bool(found) and found[0].SourceTimestamp == first
    if not at_first:
        found.insert(0, ordered[begin - 1] if begin > 0 else _missing(first))
    if last is not None:
        found.append(ordered[stop] if stop < len(ordered) else _missing(last))
    return found


def _missing(time: datetime) -> ua.DataValue:
    return ua.DataValue(ua.Variant(None, ua.VariantType.Null), ua.StatusCode(_NO_BOUND), time)


def _given(time: datetime | None) -> datetime | None:
    return None if time is None or time <= _NO_TIME else time


def history_read(
    session: Any,
    params: ua.HistoryReadParameters,
    ring_of: Callable[[ua.NodeId], Ring | int],
    most: int,
    timed: Callable[[ua.DataValue, Any], ua.DataValue],
) -> list[ua.HistoryReadResult]:
    """Answer a HistoryRead. `ring_of` gives a node's ring or the status that says why there is none."""
    if params.TimestampsToReturn not in {
        ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Server, ua.TimestampsToReturn.Both
    }:  # fmt: skip
        return [_status(ua.StatusCodes.BadTimestampsToReturnInvalid) for _ in params.NodesToRead]
    details = params.HistoryReadDetails
    raw = isinstance(details, ua.ReadRawModifiedDetails) and not details.IsReadModified
    results = []
    for item in params.NodesToRead:
        if item.ContinuationPoint:
            results.append(_continue(session, params, item, most, timed))
        elif not raw:
            results.append(_status(ua.StatusCodes.BadHistoryOperationUnsupported))
        elif item.IndexRange:
            results.append(_status(ua.StatusCodes.BadIndexRangeInvalid))
        else:
            results.append(_read(session, params, ring_of(item.NodeId), most, timed))
    return results


def _read(session: Any, params: Any, ring: Ring | int, most: int, timed: Any) -> ua.HistoryReadResult:
    if isinstance(ring, int):
        return _status(ring)
    details = params.HistoryReadDetails
    number = int(details.NumValuesPerNode)
    try:
        values = ring.raw(_given(details.StartTime), _given(details.EndTime), number, details.ReturnBounds)
    except ValueError:
        return _status(ua.StatusCodes.BadHistoryOperationInvalid)
    open_ended = _given(details.StartTime) is None or _given(details.EndTime) is None
    if open_ended:
        values = values[:number]
        number = 0
    return _page(session, params, values, number, most, timed)


def _continue(session: Any, params: Any, item: Any, most: int, timed: Any) -> ua.HistoryReadResult:
    kept = session.continuations.pop(bytes(item.ContinuationPoint), None)
    if kept is None:
        return _status(ua.StatusCodes.BadContinuationPointInvalid)
    if params.ReleaseContinuationPoints:
        return ua.HistoryReadResult()
    values, number = kept
    return _page(session, params, values, number, most, timed)


def _page(session: Any, params: Any, values: list[Any], number: int, most: int, timed: Any) -> ua.HistoryReadResult:
    """At most `number` (0: any) and `most` values, and a continuation point for the rest."""
    if params.ReleaseContinuationPoints:
        return ua.HistoryReadResult()
    size = min(number or most, most)
    page, rest = values[:size], values[size:]
    result = ua.HistoryReadResult()
    result.HistoryData = ua.HistoryData(DataValues=[timed(value, params.TimestampsToReturn) for value in page])
    if not page:
        result.StatusCode = ua.StatusCode(ua.StatusCodes.GoodNoData)
    if rest:
        result.ContinuationPoint = session.later((rest, number))
    return result


def _status(code: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(StatusCode=ua.StatusCode(code))

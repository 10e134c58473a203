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

Row = tuple[datetime, datetime | None, int, Any]
"""Source time, server time, status, raw value: a number, or a tuple of an array's. The collector need not look into it,
and it takes a quarter of a DataValue's memory."""


class Ring:
    """Values of one node in the order in which they came, which is that of their source times while no clock jumps."""

    def __init__(self, most: int) -> None:
        self._rows: deque[Row] = deque(maxlen=most)
        self._kind = ua.VariantType.Null

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, value: ua.DataValue) -> None:
        """Keep a value; one with the time of the last replaces it."""
        variant = value.Value
        raw = tuple(variant.Value) if variant.is_array else variant.Value
        if raw is not None:
            self._kind = variant.VariantType
        row = (value.SourceTimestamp, value.ServerTimestamp, value.StatusCode.value, raw)
        if self._rows and self._rows[-1][0] == row[0]:
            self._rows[-1] = row
        else:
            self._rows.append(row)

    def value(self, row: Row) -> ua.DataValue:
        """A row as the node showed it."""
        source, server, code, raw = row
        array = isinstance(raw, tuple)
        kind = ua.VariantType.Null if raw is None else self._kind
        variant = ua.Variant(list(raw) if array else raw, kind, is_array=array)
        return ua.DataValue(variant, ua.StatusCode(code), source, server)

    def raw(self, start: datetime | None, end: datetime | None, most: int, bounds: bool) -> list[Row]:
        """Rows from `start` up to but not including `end`; backwards where start is later, or missing.

        ValueError for fewer than two of the three; `most` is not applied here.
        """
        if (start is None) + (end is None) + (not most) > 1:
            raise ValueError("two of start, end and number are needed")
        backwards = start is None or (end is not None and end < start)
        first, last = (end, None) if start is None else (start, end)
        assert first is not None
        ordered = list(reversed(self._rows)) if backwards else list(self._rows)
        return _span(ordered, first, last, backwards, bounds)


def _span(ordered: list[Row], first: datetime, last: datetime | None, backwards: bool, bounds: bool) -> list[Row]:
    """The part of `ordered` (in reading order) from `first` to before `last`, with bounding values where wanted."""

    def reached(row: Row, time: datetime) -> bool:
        return row[0] <= time if backwards else row[0] >= time

    begin = next((k for k, row in enumerate(ordered) if reached(row, first)), len(ordered))
    stop = len(ordered)
    if last is not None:
        stop = next((k for k in range(begin, len(ordered)) if reached(ordered[k], last)), len(ordered))
        if last == first:  # exactly this instant
            stop = begin + (begin < len(ordered) and ordered[begin][0] == first)
    found = ordered[begin:stop]
    if not bounds:
        return found
    if not (found and found[0][0] == first):
        found.insert(0, ordered[begin - 1] if begin > 0 else _missing(first))
    if last is not None:
        found.append(ordered[stop] if stop < len(ordered) else _missing(last))
    return found


def _missing(time: datetime) -> Row:
    return (time, None, int(ua.StatusCodes.BadBoundNotFound), None)


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
        rows = ring.raw(_given(details.StartTime), _given(details.EndTime), number, details.ReturnBounds)
    except ValueError:
        return _status(ua.StatusCodes.BadHistoryOperationInvalid)
    open_ended = _given(details.StartTime) is None or _given(details.EndTime) is None
    if open_ended:
        rows = rows[:number]
        number = 0
    return _page(session, params, (ring, rows, number), most, timed)


def _continue(session: Any, params: Any, item: Any, most: int, timed: Any) -> ua.HistoryReadResult:
    kept = session.continuations.pop(bytes(item.ContinuationPoint), None)
    if kept is None:
        return _status(ua.StatusCodes.BadContinuationPointInvalid)
    if params.ReleaseContinuationPoints:
        return ua.HistoryReadResult()
    return _page(session, params, kept, most, timed)


def _page(session: Any, params: Any, kept: tuple[Ring, list[Row], int], most: int, timed: Any) -> ua.HistoryReadResult:
    """At most the number (0: any) and `most` values, and a continuation point for the rest."""
    ring, rows, number = kept
    if params.ReleaseContinuationPoints:
        return ua.HistoryReadResult()
    size = min(number or most, most)
    page, rest = rows[:size], rows[size:]
    result = ua.HistoryReadResult()
    values = [timed(ring.value(row), params.TimestampsToReturn) for row in page]
    result.HistoryData = ua.HistoryData(DataValues=values)
    if not page:
        result.StatusCode = ua.StatusCode(ua.StatusCodes.GoodNoData)
    if rest:
        result.ContinuationPoint = session.later((ring, rest, number))
    return result


def _status(code: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(StatusCode=ua.StatusCode(code))

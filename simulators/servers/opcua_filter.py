"""Index ranges, and the filters of event items: what asyncua's server leaves out of Part 4. No session, no socket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asyncua import ua
from asyncua.server.monitored_item_service import WhereClauseEvaluator

_HAS_SUBTYPE = ua.NodeId(ua.ObjectIds.HasSubtype)
_OPERATORS = frozenset(
    {
        ua.FilterOperator.Equals,
        ua.FilterOperator.IsNull,
        ua.FilterOperator.GreaterThan,
        ua.FilterOperator.LessThan,
        ua.FilterOperator.GreaterThanOrEqual,
        ua.FilterOperator.LessThanOrEqual,
        ua.FilterOperator.Not,
        ua.FilterOperator.Between,
        ua.FilterOperator.InList,
        ua.FilterOperator.And,
        ua.FilterOperator.Or,
        ua.FilterOperator.OfType,
    }
)


def in_range(value: ua.DataValue, text: str) -> ua.DataValue:
    """The part of an array that a one-dimensional NumericRange ('2' or '1:3') names (Part 4, 7.27)."""
    low, colon, high = text.partition(":")
    if not low.isdigit() or (colon and not high.isdigit()) or (colon and int(high) <= int(low)):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeInvalid))
    variant = value.Value
    if variant is None or not variant.is_array or not isinstance(variant.Value, list):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeNoData))
    part = variant.Value[int(low) : int(high or low) + 1]
    if not part:
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeNoData))
    return replace(value, Value=ua.Variant(part, variant.VariantType, is_array=True))


def filter_fault(item: ua.MonitoredItemCreateRequest) -> int | None:
    """Why this item cannot be made, or None."""
    wanted = item.RequestedParameters.Filter
    if type(wanted) is ua.ExtensionObject and not wanted.Body:
        wanted = item.RequestedParameters.Filter = None  # asyncua's decoder gives an empty one for none
    if item.ItemToMonitor.AttributeId == ua.AttributeIds.EventNotifier:
        return _event_fault(wanted)
    if item.ItemToMonitor.IndexRange:
        return int(ua.StatusCodes.BadIndexRangeInvalid)
    if wanted is not None and not isinstance(wanted, ua.DataChangeFilter):
        return int(ua.StatusCodes.BadFilterNotAllowed)
    if wanted is not None and wanted.DeadbandType == ua.DeadbandType.Percent:
        return int(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
    return None


def _event_fault(wanted: Any) -> int | None:
    if not isinstance(wanted, ua.EventFilter):
        return int(ua.StatusCodes.BadEventFilterInvalid)
    if any(element.FilterOperator not in _OPERATORS for element in wanted.WhereClause.Elements or []):
        return int(ua.StatusCodes.BadEventFilterInvalid)
    return None


class EventWhere(WhereClauseEvaluator):  # type: ignore[misc]
    """asyncua's evaluator with subtypes, whole browse paths, and fields that an event does not have."""

    def _eval_el(self, index: int, event: Any) -> Any:
        element = self.elements[index]
        if element.FilterOperator == ua.FilterOperator.OfType:
            wanted = self._eval_op(element.FilterOperands[0], event)
            return self._is_a(event.field("EventType"), wanted)
        operands = [self._eval_op(operand, event) for operand in element.FilterOperands]
        ordered = (
            ua.FilterOperator.GreaterThan, ua.FilterOperator.LessThan, ua.FilterOperator.Between,
            ua.FilterOperator.GreaterThanOrEqual, ua.FilterOperator.LessThanOrEqual,
        )  # fmt: skip
        if element.FilterOperator in ordered and None in operands:
            return False  # NULL (Part 4, 7.4.3)
        return super()._eval_el(index, event)

    def _eval_op(self, operand: Any, event: Any) -> Any:
        if isinstance(operand, ua.SimpleAttributeOperand):
            return event.field("/".join(name.Name for name in operand.BrowsePath))
        return super()._eval_op(operand, event)

    def _is_a(self, kind: ua.NodeId | None, wanted: ua.NodeId) -> bool:
        while kind is not None and kind != wanted:
            node = self._aspace.get(kind)
            up = [] if node is None else node.references
            kind = next((r.NodeId for r in up if r.ReferenceTypeId == _HAS_SUBTYPE and not r.IsForward), None)
        return kind is not None

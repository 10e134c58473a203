"""Numbers and times as people read them. Nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.clock import NS_PER_S


def number(value: float | None, digits: int, scale: float = 1.0, unit: str = "") -> str:
    """A number for people, or a dash."""
    return "–" if value is None else f"{value * scale:,.{digits}f}{unit}".replace("-", "−")


def moment(time_ns: int) -> str:
    """Plant time for people, UTC."""
    return datetime.fromtimestamp(time_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(start: object, end: object) -> str:
    """Length between two ISO times, or a dash."""
    try:
        length = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
    except ValueError:
        return "–"
    return str(timedelta(seconds=round(length.total_seconds())))

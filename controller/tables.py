"""Key figures of a run as tables for the terminal. Data in, tables out; nothing is read here."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from controller.report.summary import Summary


def summary_table(figures: Summary) -> Table:
    """What the run made and how well the twin followed it; a figure that the run does not hold is a dash."""
    table = Table(title="Summary", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    cells = f"{figures.cells_completed} of {figures.channels}"
    within = f"{figures.filter_channels_within} of {figures.filter_channels} channels within 2 % RMS"
    rows: list[tuple[str, str]] = [
        ("run", figures.status),
        ("rows", f"{figures.rows:,} durable, {figures.parquet_rows:,} in Parquet"),
        ("cells complete", cells),
        ("capacity, median", _shown(figures.median_capacity_ah, lambda v: f"{v:.3f} Ah")),
        ("first-cycle efficiency, median", _shown(figures.median_first_cycle_efficiency, lambda v: f"{100 * v:.1f} %")),
        ("ohmic resistance, median", _shown(figures.median_r0_ohm, lambda v: f"{1000 * v:.1f} mOhm")),
        ("SOC against truth", _shown(figures.filter_rms_soc, lambda v: f"{100 * v:.2f} % RMS, {within}")),
        ("truth inside the 95 % band", _shown(figures.filter_coverage_95, lambda v: f"{100 * v:.1f} % of samples")),
        ("web coated", _shown(figures.coated_m, lambda v: f"{v:,.0f} m")),
        ("mass loading", _shown(figures.loading_mean_kg_m2, lambda v: f"{1000 * v:.1f} g/m2{_cv(figures)}")),
        ("gaps", str(figures.gaps)),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def books_table(figures: Summary) -> Table:
    """Counters of every sink: accepted = delivered + spooled + rejected + dropped."""
    table = Table(title="Rows by sink", title_justify="left", box=None, pad_edge=False)
    for column in ("sink", "accepted", "delivered", "spooled", "rejected", "dropped", "reconciles"):
        table.add_column(column, justify="left" if column in {"sink", "reconciles"} else "right")
    for c in figures.counters:
        numbers = (c.accepted, c.delivered, c.spooled, c.rejected, c.dropped)
        table.add_row(c.sink, *(f"{n:,}" for n in numbers), "yes" if c.reconciles else "NO")
    return table


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else show(value)


def _cv(figures: Summary) -> str:
    return "" if figures.loading_cv is None else f", CV {100 * figures.loading_cv:.2f} %"

"""Half-cell curves from CSV files (stoichiometry, potential_v), made ready for the kernels. No fit in here.

A file's lines that begin with # are its title and source. A name without a folder is one of configs/halfcells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
CELLS = 1000  # of the uniform grid
BLEND_CELLS, BLEND_STEP_V = 500, 0.005  # of a blend's grid, which may be uneven
TABLES_KEPT = 16  # a table takes longer to make than a fit
EMPTY_SLOPE = 0.02  # of an empty graphite's charge over its line
HEADER = ("stoichiometry", "potential_v")
POTENTIAL_LIMIT_V = 10.0


class HalfCellError(ValueError):
    """A half-cell file that cannot be used; says which and why."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfCell:
    """One electrode material: potential against lithium, falling with stoichiometry. Arrays (m,)."""

    name: str
    title: str
    stoichiometry: Float64Array
    potential_v: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What the kernel takes: values and slopes, (m, 2) or blended (m, 6), on the grid (low, step).

    A blend's grid is uneven and its step the mean one.
    """

    values: Float64Array
    grid: Float64Array


def shipped() -> list[str]:
    """Names of the half-cell files that come with celltwin."""
    folder = files("configs") / "halfcells"
    return sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))


def load(name: str | Path) -> HalfCell:
    """A half-cell file by path, or a shipped one by its name. HalfCellError says what is wrong with it."""
    text = str(name)
    if text in shipped():
        return parse((files("configs") / "halfcells" / f"{text}.csv").read_text(encoding="utf-8"), text)
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise HalfCellError(
            f"{text}: no half-cell file that can be read; shipped ones: {', '.join(shipped())}"
        ) from error
    return parse(content, path.stem)


def parse(content: str, name: str) -> HalfCell:
    """A half-cell from the text of a file."""
    lines = [(k, line.strip()) for k, line in enumerate(content.splitlines(), 1) if line.strip()]
    comments = [line.lstrip("# ") for _, line in lines if line.startswith("#")]
    body = [(k, line) for k, line in lines if not line.startswith("#")]
    if not body or tuple(c.strip() for c in body[0][1].split(",")) != HEADER:
        raise HalfCellError(f"{name}: the first line that is no comment must be {','.join(HEADER)}")
    rows = []
    for number, line in body[1:]:
        try:
            stoichiometry, potential = (float(part) for part in line.split(","))
        except ValueError as error:
            raise HalfCellError(f"{name}, line {number}: two numbers expected, not {line!r}") from error
        rows.append((stoichiometry, potential))
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return half_cell(name, table[:, 0], table[:, 1], comments[0] if comments else name)


def half_cell(name: str, stoichiometry: Float64Array, potential_v: Float64Array, title: str = "") -> HalfCell:
    """A half-cell from arrays (m,), m at least 3; either order of rows."""
    x, u = np.asarray(stoichiometry, dtype=np.float64), np.asarray(potential_v, dtype=np.float64)
    if x.ndim != 1 or x.shape != u.shape or x.size < 3:
        raise HalfCellError(f"{name}: at least three rows of stoichiometry and potential are needed")
    if not (np.isfinite(x).all() and np.isfinite(u).all() and np.abs(u).max() < POTENTIAL_LIMIT_V):
        raise HalfCellError(f"{name}: holds what is no number or no potential in volt")
    if x[0] > x[-1]:
        x, u = x[::-1], u[::-1]
    if (np.diff(x) <= 0.0).any() or x[0] < -0.1 or x[-1] > 1.1 or x[-1] - x[0] < 0.1:
        raise HalfCellError(f"{name}: stoichiometry must rise strictly from about 0 to about 1 (fraction, not percent)")
    if (np.diff(u) > 0.0).any() or u[0] - u[-1] < 1e-3:
        raise HalfCellError(f"{name}: potential must fall with stoichiometry (of lithium in this electrode)")
    return HalfCell(name, title, x, u)


def _slopes(x: Float64Array, y: Float64Array) -> Float64Array:
    """Slopes of a cubic that stays monotone: Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5 (1984) 300."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    w1, w2 = 2.0 * h[1:] + h[:-1], h[1:] + 2.0 * h[:-1]
    slopes = np.zeros_like(x)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inner = (w1 + w2) / (w1 / d[:-1] + w2 / d[1:])
    slopes[1:-1] = np.where(d[:-1] * d[1:] > 0.0, inner, 0.0)
    for end, (h0, h1, d0, d1) in ((0, (h[0], h[1], d[0], d[1])), (-1, (h[-1], h[-2], d[-1], d[-2]))):
        slope = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        slopes[end] = 0.0 if slope * d0 <= 0.0 else np.sign(d0) * min(abs(slope), 3.0 * abs(d0))
    return slopes


def _cubic(x: Float64Array, y: Float64Array, at: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Value and slope of the monotone cubic through (x, y); straight lines beyond the ends."""
    m = _slopes(x, y)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
    h = x[k + 1] - x[k]
    t = np.clip((at - x[k]) / h, 0.0, 1.0)
    rise, m0, m1 = y[k + 1] - y[k], m[k] * h, m[k + 1] * h
    c2, c3 = 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise
    value = y[k] + t * (m0 + t * (c2 + t * c3))
    slope = (m0 + t * (2.0 * c2 + 3.0 * t * c3)) / h
    return value + slope * (at - np.clip(at, x[0], x[-1])), slope


@lru_cache(maxsize=TABLES_KEPT)
def table(cell: HalfCell) -> Table:
    """A half-cell on the kernel's uniform grid."""
    at = np.linspace(cell.stoichiometry[0], cell.stoichiometry[-1], CELLS + 1)
    value, slope = _cubic(cell.stoichiometry, cell.potential_v, at)
    return Table(np.ascontiguousarray(np.column_stack([value, slope])), np.array([at[0], at[1] - at[0]]))


@lru_cache(maxsize=TABLES_KEPT)
def blended_table(graphite: HalfCell, silicon: HalfCell) -> Table:
    """Graphite's potential on an uneven grid and, beside it, the stoichiometries of silicon and of graphite there.

    The grid goes on in a straight line of potential below graphite's first point until silicon is empty: at the end of
    a discharge silicon still gives lithium where graphite has none. Beyond its ends a material gives and takes none,
    but for a trace that keeps the equation solvable. HalfCellError: silicon's potential is flat somewhere.
    """
    x, u = silicon.stoichiometry[::-1], silicon.potential_v[::-1]
    if (np.diff(u) <= 0.0).any():
        raise HalfCellError(f"{silicon.name}: the potential of the second material of a blend must fall strictly")
    first = _cubic(graphite.stoichiometry, graphite.potential_v, graphite.stoichiometry[:1])[1][0]
    empty = max(float(u[-1] - graphite.potential_v[0]) + 0.3, 0.0)
    low = graphite.stoichiometry[0] - min(empty / max(-float(first), 1.0), 0.2)
    at = _blend_grid(graphite, low)
    value, slope = _cubic(graphite.stoichiometry, graphite.potential_v, at)
    share, by_potential = _cubic(u, x, np.clip(value, u[0], u[-1]))
    by_potential[(value < u[0]) | (value > u[-1])] = 0.0
    beyond = np.minimum(at - graphite.stoichiometry[0], 0.0)
    own, own_slope = at - (1.0 - EMPTY_SLOPE) * beyond, np.where(beyond < -1e-12, EMPTY_SLOPE, 1.0)
    columns = [value, slope, share, by_potential * slope, own, own_slope]
    return Table(np.ascontiguousarray(np.column_stack(columns)), np.array([at[0], (at[-1] - at[0]) / (at.size - 1)]))


def _blend_grid(graphite: HalfCell, low: float) -> Float64Array:
    """Stoichiometries from `low` on: even ones, graphite's own points, and no step larger than 5 mV where it falls."""
    at = np.union1d(np.linspace(low, graphite.stoichiometry[-1], BLEND_CELLS + 1), graphite.stoichiometry)
    value, _ = _cubic(graphite.stoichiometry, graphite.potential_v, at)
    levels = np.arange(value[-1], value[0], BLEND_STEP_V)
    at = np.union1d(at, np.interp(levels, value[::-1], at[::-1]))
    return np.append(at[0], at[1:][np.diff(at) > 1e-7])

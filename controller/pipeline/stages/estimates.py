"""What finished steps say: resistances, equivalent circuits, relaxations; one call of a twin for many steps of a rack.

Columns out, one row a step. What the samples do not give is NaN, with `status` (kernels/status.py) saying why.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.pipeline.steps import FinishedStep
from controller.types import Float64Array, Int64Array
from kernels import status as codes
from twin.ecm import fit_ecms
from twin.pulse import TIMES_S, PulseAssumptions, Pulses, Stamps, find_pulses_batch
from twin.relaxation import V_S_PER_MV_H, fit_relaxations

Columns = dict[str, Float64Array]

NS_PER_S = 1e9
LATE_PART = 1.1
"""Of a sampling interval: the first sample of a step that comes later than this leaves its beginning unknown."""
ASTRAY_PART = 0.5
"""Of the time that a resistance is named after: where the equipment's own count shows the edge to be further from where
polled samples put it, no sample is near that time."""
CIRCUIT_REST_S = 1200.0
"""Of the rest after a pulse, what goes into its circuit: beyond, the time constants are the rest's, not the pulse's."""
BLIND_PART = 0.05
"""Of a pulse's length: where its edges are known no better than this, no circuit is fitted."""
ECM_COLUMNS = (
    "ocv_v", "ocv_sd_v", "r0_ohm", "r0_sd_ohm", "r1_ohm", "r1_sd_ohm", "tau1_s", "tau1_sd_s", "r2_ohm", "r2_sd_ohm",
    "tau2_s", "tau2_sd_s", "total_ohm", "total_sd_ohm", "hold_s", "rmse_v", "inflation",
)  # fmt: skip


def begun_ns(step: FinishedStep) -> int:
    """When the step began: by the equipment's own count, else half way between the samples around its beginning."""
    first = int(step.time_ns[step.begin])
    before = int(step.time_ns[step.begin - 1]) if step.begin else first
    if step.begun_ns:
        return min(max(step.begun_ns, before if step.whole else step.begun_ns), first)
    return (first + before) // 2 if step.whole else first


def pulses(steps: Sequence[FinishedStep], step_time_resolution_s: float | None = None) -> tuple[Int64Array, Columns]:
    """Time of the step's edge, and the resistances that it shows, of loads that follow a rest.

    `notes` of the steps: state of charge and its standard deviation just before. `step_time_resolution_s`: what the
    equipment counts a step's time in; None: as the counts show it.
    """
    parts = [slice(step.before, None) for step in steps]
    soc, soc_sd = (np.array([step.notes[i] for step in steps]) for i in (0, 1))
    sizes = [step.time_ns.size - step.before for step in steps]
    found = find_pulses_batch(
        _seconds(steps, parts),
        _rows(steps, parts, "current_a"),
        _rows(steps, parts, "voltage_v"),
        _offsets(sizes),
        soc=np.repeat(soc, sizes),
        soc_sd=np.repeat(soc_sd, sizes),
        temperature_c=_rows(steps, parts, "temperature_c"),
        step_time_s=_rows(steps, parts, "step_time_s"),
        assumed=PulseAssumptions(stamps=Stamps.POLLED, step_time_resolution_s=step_time_resolution_s),
    )
    of_step = _pulse_of_step(found, steps, _offsets(sizes))
    known = of_step >= 0
    columns = {
        "current_a": _taken(found.current_a, of_step),
        "soc": soc,
        "soc_sd": soc_sd,
        "temperature_c": np.where(known, _taken(found.temperature_c, of_step), _at_edge(steps, "temperature_c")),
        "rest_v": _taken(found.rest_v, of_step),
        "duration_s": np.array([(step.last_ns - begun_ns(step)) / NS_PER_S for step in steps]),
        **_where(steps),
    }
    why = np.array([_unseen(step) for step in steps])
    astray_s = np.abs(_taken(found.time_s, of_step) - [_since_start_s(step) for step in steps])
    # A record with a pulse that is not the step's own: the load went on from the step before.
    none = np.where(found.record_status == codes.OK, codes.NO_REST, found.record_status)
    for m, seconds in enumerate(found.times_s):
        code = np.where(known, _taken(found.status[:, m].astype(np.float64), of_step), none)
        away = known & (astray_s > ASTRAY_PART * seconds)
        code = np.where(why != codes.OK, why, np.where(away & (code == codes.OK), codes.NOT_SAMPLED, code))
        for name, values in ((f"r_{seconds:g}s_ohm", found.r_ohm), (f"r_{seconds:g}s_ohm_sd", found.r_sd_ohm)):
            columns[name] = np.where((why == codes.OK) & ~away, _taken(values[:, m], of_step), np.nan)
        columns[f"status_{seconds:g}s"] = code
    given = [np.isfinite(columns[f"r_{seconds:g}s_ohm"]) for seconds in TIMES_S]
    columns["status"] = np.where(np.any(given, axis=0), float(codes.OK), columns[f"status_{TIMES_S[-1]:g}s"])
    return np.array([begun_ns(step) for step in steps], dtype=np.int64), columns


def circuits(rests: Sequence[FinishedStep]) -> tuple[Int64Array, Columns]:
    """Time of the pulse's edge, and the circuit that pulse and rest show, of rests that follow a whole short load."""
    records = [_circuit_record(step) for step in rests]
    sizes = [record.shape[1] for record in records]
    time, current, voltage = np.concatenate([np.zeros((3, 0)), *records], axis=1)
    fits = fit_ecms(_offsets(sizes), time, current, voltage, drift=True)
    blind = np.array([_blind(step) for step in rests])
    columns = {name: np.where(blind, np.nan, getattr(fits, name)) for name in ECM_COLUMNS}
    columns |= {
        "pairs": np.where(blind, 0.0, fits.pairs),
        "soc": np.array([step.notes[0] for step in rests]),
        "soc_sd": np.array([step.notes[1] for step in rests]),
        "temperature_c": _at_edge(rests, "temperature_c"),
        "rows": np.array(sizes, dtype=np.float64),
        "cause": np.where(blind, 0.0, fits.cause),
        "status": np.where(blind, codes.NOT_SAMPLED, fits.status),
        **_where(rests, back=1),
    }
    return np.array([_load_begun_ns(step) for step in rests], dtype=np.int64), columns


def relaxations(rests: Sequence[FinishedStep]) -> tuple[Int64Array, Columns]:
    """Time of the rest's end, and what its voltage says: relaxation, self-discharge K or why there is none (`why`)."""
    parts = [slice(step.begin, None) for step in rests]
    starts = np.array([(begun_ns(step) - int(step.time_ns[step.begin])) / NS_PER_S for step in rests])
    sizes = [step.time_ns.size - step.begin for step in rests]
    fits = fit_relaxations(_seconds(rests, parts), _rows(rests, parts, "voltage_v"), _offsets(sizes), starts)
    columns = {
        "k_mv_h": fits.k_mv_h,
        "k_mv_h_sd": fits.k_sd_mv_h,
        "v_inf_v": fits.v_inf_v,
        "v_inf_v_sd": fits.v_inf_sd_v,
        "amplitude_v": fits.amplitude_v,
        "tau_s": fits.tau_s,
        "beta": fits.beta,
        "reach": fits.reach,
        "end_slope_mv_h": fits.end_slope_v_s / V_S_PER_MV_H,
        "noise_v": fits.noise_v,
        "end_v": np.array([step.columns["voltage_v"][-1] for step in rests]),
        "temperature_c": np.array([step.columns["temperature_c"][-1] for step in rests]),
        "duration_s": np.array([(step.last_ns - begun_ns(step)) / NS_PER_S for step in rests]),
        "rows": np.array(sizes, dtype=np.float64),
        "status": fits.status.astype(np.float64),
        "why": fits.why.astype(np.float64),
        **_where(rests),
    }
    return np.array([step.last_ns for step in rests], dtype=np.int64), columns


def _where(steps: Sequence[FinishedStep], back: int = 0) -> Columns:
    """Which step it was."""
    return {
        "step": np.array([step.step - back for step in steps], dtype=np.float64),
        "cycle": np.array([step.cycle for step in steps], dtype=np.float64),
        "state": np.array([step.before_state if back else step.state for step in steps], dtype=np.float64),
    }


def _unseen(step: FinishedStep) -> int:
    """NOT_SAMPLED where the load's edge is not known to one sampling interval, or the load has a single sample."""
    times = step.time_ns[step.begin :]
    if times.size < 2:
        return codes.NOT_SAMPLED
    first, interval = int(times[0]), int(times[1] - times[0])
    since = first - (step.begun_ns or (int(step.time_ns[step.begin - 1]) if step.begin else first))
    return codes.OK if step.whole and since <= LATE_PART * interval else codes.NOT_SAMPLED


def _since_start_s(step: FinishedStep) -> float:
    """When the step began, on the clock of its pulse's record; NaN where only the samples can tell."""
    return (step.begun_ns - int(step.time_ns[step.before])) / NS_PER_S if step.begun_ns else np.nan


def _pulse_of_step(found: Pulses, steps: Sequence[FinishedStep], offsets: Int64Array) -> Int64Array:
    """Which of the pulses that were found is each step's own; -1: none."""
    of_step = np.full(len(steps), -1, dtype=np.int64)
    for n in range(len(found) - 1, -1, -1):
        k = int(found.record[n])
        if found.load_row[n] - offsets[k] >= steps[k].begin - steps[k].before:
            of_step[k] = n
    return of_step


def _taken(values: Float64Array, index: Int64Array) -> Float64Array:
    """values[index], NaN where the index is -1."""
    return np.append(values, np.nan)[index]


def _load_begun_ns(rest: FinishedStep) -> int:
    """When the load before a rest began."""
    before, first = int(rest.time_ns[rest.before - 1]), int(rest.time_ns[rest.before])
    return min(max(rest.before_begun_ns, before), first) if rest.before_begun_ns else (before + first) // 2


def _blind(rest: FinishedStep) -> bool:
    """Whether the pulse's edges lie somewhere in sampling intervals that are no small part of its length."""
    if rest.begun_ns and rest.before_begun_ns:
        return False
    around = rest.time_ns[[rest.before - 1, rest.before, rest.begin - 1, rest.begin]]
    unknown = max(int(around[1] - around[0]), int(around[3] - around[2]))
    return unknown > BLIND_PART * float(around[3] - around[1])


def _circuit_record(rest: FinishedStep) -> Float64Array:
    """Time, current, voltage (3, rows) from the rest before a load to CIRCUIT_REST_S after it.

    A row without voltage stands at each edge: the fit takes a row's current to have flowed since the row before.
    """
    on_ns, off_ns = _load_begun_ns(rest), begun_ns(rest)
    last = int(np.searchsorted(rest.time_ns, off_ns + CIRCUIT_REST_S * NS_PER_S, side="right"))
    time, current, voltage = rest.time_ns[:last], rest.columns["current_a"][:last], rest.columns["voltage_v"][:last]
    at, edges = [rest.before, rest.begin], [on_ns, off_ns]
    flowed = [current[rest.before - 1], current[rest.begin - 1]]
    whole = np.insert(time, at, edges)
    seconds = (whole - whole[0]) / NS_PER_S
    return np.stack([seconds, np.insert(current, at, flowed), np.insert(voltage, at, np.nan)])


def _seconds(steps: Sequence[FinishedStep], parts: Sequence[slice]) -> Float64Array:
    """Times of the rows, each step's since the first row of its part (a rest: since its own first)."""
    stretches = [step.time_ns[part] for step, part in zip(steps, parts, strict=True)]
    return np.concatenate([np.zeros(0), *((times - times[0]) / NS_PER_S for times in stretches)])


def _rows(steps: Sequence[FinishedStep], parts: Sequence[slice], name: str) -> Float64Array:
    return np.concatenate([np.zeros(0), *(step.columns[name][p] for step, p in zip(steps, parts, strict=True))])


def _at_edge(steps: Sequence[FinishedStep], name: str) -> Float64Array:
    return np.array([step.columns[name][max(step.begin - 1, 0)] for step in steps])


def _offsets(sizes: Sequence[int]) -> Int64Array:
    return np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64)

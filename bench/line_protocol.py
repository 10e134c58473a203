"""Fields per second and core from columns to line protocol: ours, influxdb_client's Point, and an f-string loop.

64 channels x 78 polls x 8 fields as a formation rack gives them: voltages and currents widened from float32 (16 to 17
digits), scaled integers, states, and what a filter computes. All three write the same points. Alone: python
bench/line_protocol.py
"""

from __future__ import annotations

import numpy as np
from influxdb_client import Point, WritePrecision

from controller.historian.lines import LineEncoder
from controller.types import Frame, FrameKind

if __package__:
    from bench._harness import Result, alternate, main
else:
    from _harness import Result, alternate, main

BAR = 5e6  # design: at least 5 million fields per second and core
ROWS, ROUNDS = 64 * 78, 15
FIELDS = 8
PEER_ROWS = 500  # the slow ones take a tenth of the rows; their time per field is the same


def rack_frame(rows: int) -> Frame:
    """Realistic columns; which numbers are long and which short decides the speed."""
    rng = np.random.default_rng(1)
    single = np.float32
    return Frame(
        device="rack1",
        stream="channel",
        kind=FrameKind.RAW,
        time_ns=1_760_000_000_000_000_000 + 20_000_000_000 * (np.arange(rows) // 64),
        point=(np.arange(rows) % 64 + 1).astype(np.int32),
        point_name="channel",
        columns={
            "voltage_v": rng.normal(3.7, 0.2, rows).astype(single).astype(np.float64),
            "current_a": rng.normal(1.0, 0.002, rows).astype(single).astype(np.float64),
            "temperature_c": np.round(rng.normal(25, 2, rows) * 10) * 0.1,
            "charge_ah": rng.integers(0, 500_000, rows) * 1e-5,
            "step_time_s": rng.integers(0, 288_000, rows) * 0.1,
            "state": rng.integers(0, 7, rows).astype(np.float64),
            "soc": rng.uniform(0, 1, rows),
            "r0_ohm": rng.normal(0.022, 0.001, rows),
        },
        quality=np.zeros(rows, np.uint8),
        code=np.zeros(rows, np.uint32),
        labels={"lot": "CELL-0001"},
    )


def with_f_strings(frame: Frame) -> bytes:
    """What one writes first: a loop over rows, an f-string per field."""
    columns = {name: values.tolist() for name, values in frame.columns.items()}
    lines = []
    for i, (point, time_ns) in enumerate(zip(frame.point.tolist(), frame.time_ns.tolist(), strict=True)):
        fields = ",".join(f"{name}={values[i]!r}" for name, values in columns.items())
        lines.append(f"channel,device=rack1,line=a_sample,lot=CELL-0001,channel={point} {fields} {time_ns}\n")
    return "".join(lines).encode()


def with_points(frame: Frame) -> bytes:
    """influxdb_client's own way."""
    columns = {name: values.tolist() for name, values in frame.columns.items()}
    lines = []
    for i, (number, time_ns) in enumerate(zip(frame.point.tolist(), frame.time_ns.tolist(), strict=True)):
        point = Point("channel").tag("device", "rack1").tag("line", "a_sample").tag("lot", "CELL-0001")
        point.tag("channel", str(number)).time(time_ns, WritePrecision.NS)
        for name, values in columns.items():
            point.field(name, values[i])
        lines.append(point.to_line_protocol())
    return "\n".join(lines).encode()


def run() -> list[Result]:
    """Two results: ours against Point, ours against f-strings."""
    encoder, many, few = LineEncoder("a_sample"), rack_frame(ROWS), rack_frame(PEER_ROWS)
    results = []
    for name, peer_name, peer in (
        ("line_protocol", "influxdb_client Point", with_points),
        ("line_protocol_f_string", "f-string loop", with_f_strings),
    ):
        mine, theirs = alternate(lambda: encoder.encode(many), lambda peer=peer: peer(few), ROUNDS)  # type: ignore[misc]
        ours, other = ROWS * FIELDS / mine, PEER_ROWS * FIELDS / theirs
        results.append(
            Result(
                name=name,
                ours=ours,
                peer=other,
                peer_name=peer_name,
                ratio=ours / other,
                bar=BAR,
                unit="fields/s",
                ok=ours >= BAR,
            )
        )
    return results


if __name__ == "__main__":
    main(run)

"""What `celltwin check` prints: devices, streams, tags, and what would be read how often. Opens nothing.

For the person who is about to connect a line: short enough for one screen, with the load that each device will see.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from configs.loader import LoadedLine
from configs.schema import Device, DeviceSecurity, Equipment, Group, Protocol
from controller.drivers.modbus_plan import describe, plan_polls
from controller.errors import BadInputError

DAY_S = 86_400.0


def render(loaded: LoadedLine) -> RenderableType:
    """A valid line for people. Rates are per second of plant time."""
    line = loaded.file.line
    parts: list[RenderableType] = [
        Text.assemble((line.title or line.name, "bold"), f"  {line.name}: ", ("valid", "green"), f", {_files(loaded)}")
    ]
    for device in loaded.file.device:
        parts += ["", *_device(loaded, device)]
    parts += ["", _rest(loaded)]
    parts += [Text(f"warning: {problem}", style="yellow") for problem in loaded.warnings]
    return Stack(*parts)


def _files(loaded: LoadedLine) -> str:
    n = len(loaded.sources)
    return f"{n} files read" if n > 1 else "1 file read"


def _device(loaded: LoadedLine, device: Device) -> Iterator[RenderableType]:
    kind = loaded.equipment[device.id]
    recipe = loaded.recipes.get(device.id)
    facts = [f"{_SPOKEN[device.endpoint.partition(':')[0]]} {device.endpoint}"]
    facts += [f"recipe {recipe.name}" if recipe is not None else "no recipe: only watched"]
    facts += [f"lot {device.lot}"] if device.lot else []
    yield Text.assemble((device.id, "bold cyan"), f"  {kind.title}")
    yield Text("  " + ", ".join(facts))
    if device.security is not None:
        yield Text("  " + ", ".join(_security(device.security)))
    yield Padding(_streams(kind), (0, 0, 0, 1))
    yield Padding(_tags(kind), (0, 0, 0, 2))


def check_files(loaded: LoadedLine, secrets: bool = False) -> None:
    """Whether certificates and keys are there, valid, and pairs, and with `secrets` the passwords. BadInputError."""
    problems: list[BadInputError] = []
    for device in loaded.file.device:
        if device.security is not None:
            from controller.drivers.opcua_certificates import load

            try:
                load(device.security, loaded.path.parent, device.id, secrets)
            except BadInputError as bad:
                problems.append(bad)
    if problems:
        raise BadInputError("\n".join(str(bad) for bad in problems))


def _security(security: DeviceSecurity) -> Iterator[str]:
    yield f"security {security.policy.value}"
    if security.user is not None:
        secret = security.password_env
        source = f"file {security.password_file}" if secret is None else f"environment {secret}"
        yield f"user {security.user} with password from {source} (not looked at now)"
    else:
        yield "anonymous" if security.user_certificate is None else f"user by {security.user_certificate}"
    if security.certificate is not None:
        yield f"our certificate {security.certificate}"
        yield f"server known by {security.server_certificate or security.trusted}"


_SPOKEN = {
    "modbus.tcp": "Modbus TCP",
    "modbus.tls": "Modbus TCP with TLS",
    "modbus.rtu+tcp": "Modbus RTU over TCP",
    "modbus.rtu": "Modbus RTU",
    "opc.tcp": "OPC UA",
}


def _streams(kind: Equipment) -> Table:
    modbus = kind.protocol is Protocol.MODBUS
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("stream")
    for head in ("points", "tags", "every"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("clock")  # whose time the rows carry
    for head in ("reads", "registers") if modbus else ("items",):
        table.add_column(head, justify="right")
    table.add_column("rows/s", justify="right")
    reads = {g.group: g.blocks for g in describe(kind)} if modbus else {}
    for group in kind.group:
        if group.period_s > 0:
            blocks = reads.get(group.name, ())
            asked = [len(blocks), sum(b.count for b in blocks)] if modbus else [len(group.tag)]
            table.add_row(
                group.name,
                f"{group.points} {group.point_name}s" if group.point_name else "-",
                str(len(group.tag)),
                duration(group.period_s),
                _clock(kind, group),
                *(f"{n:,}" for n in asked),
                _rate(group.points / group.period_s),
            )
    if modbus:
        table.caption = _bus_load(kind)
        table.caption_justify = "left"
    return table


def _clock(kind: Equipment, group: Group) -> str:
    if kind.protocol is Protocol.OPCUA:
        return "source"
    return "device" if group.clock is not None else "ours"


def _bus_load(kind: Equipment) -> str:
    """Requests of all polls; streams with the same period share them."""
    polls = plan_polls(kind)
    rate = sum(len(p.plan.blocks) / p.period_s for p in polls)
    requests = sum(len(p.plan.blocks) for p in polls)
    return f"{requests} {'request' if requests == 1 else 'requests'} in all, {_rate(rate)} a second"


def _tags(kind: Equipment) -> Table:
    """Names per stream; streams that are never read by themselves are what we write and what we ask for."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for group in sorted(kind.group, key=lambda g: g.period_s == 0):
        names = ", ".join(tag.name for tag in group.tag)
        table.add_row(f"{group.name}:", names if group.period_s > 0 else f"on demand: {names}")
    return table


def _rest(loaded: LoadedLine) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for what, text in _facts(loaded):
        table.add_row(what, Text(text))  # not as markup: a path or an address may hold [brackets]
    return table


def _facts(loaded: LoadedLine) -> Iterator[tuple[str, str]]:
    line = loaded.file
    groups = [g for kind in (loaded.equipment[d.id] for d in line.device) for g in kind.group if g.period_s > 0]
    rows_s = sum(g.points / g.period_s for g in groups)
    values_s = sum(g.points * len(g.tag) / g.period_s for g in groups)
    yield "load", f"{_rate(rows_s)} rows/s with {_rate(values_s)} values/s, {_rows(rows_s * DAY_S)} rows a day"
    for cells in line.twin.cells:
        yield "twin", f"every cell of {cells.device} as {cells.cell}, results {_published(cells.publish_period_s)}"
    for web in line.twin.web:
        yield "twin", f"loading of the web of {web.device}, results {_published(web.publish_period_s)}"
    when_full = "stop reading" if line.spool.when_full.value == "block" else "drop the oldest"
    yield "spool", f"on disk, at most {line.spool.max_mb:,.0f} MB; when full: {when_full}"
    parquet, influx = line.sinks.parquet, line.sinks.influxdb
    if parquet.enabled:
        yield "sink", f"Parquet, a file at {parquet.rows_per_file:,} rows or {parquet.seconds_per_file:g} s"
    if influx is not None:
        token = f"environment {influx.token_env}" if influx.token_env else f"file {influx.token_file}"
        yield "sink", f"InfluxDB {influx.url}, bucket {influx.bucket}, token from {token} (not looked at now)"
    if not parquet.enabled and influx is None:
        yield "sink", "none: data stay in the spool"
    yield "page", f"http://{line.web.host}:{line.web.port}/" if line.web.enabled else "off"
    if line.simulation is not None:
        sim = line.simulation
        wall_s = sim.duration_s / sim.speed
        yield "simulation", f"{duration(sim.duration_s)} of plant time in {duration(wall_s)}, seed {sim.seed}"
        played = ", ".join(f"{device} by {keys['machine']}" for device, keys in sim.machines.items())
        yield "", f"{played}; {_rate(rows_s * sim.speed)} rows a wall second"


def _published(period_s: float) -> str:
    return f"every {duration(period_s)}" if period_s > 0 else "with every reading"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def _rows(n: float) -> str:
    return f"{n / 1e6:.1f} million" if n >= 1e6 else f"{n:,.0f}"


def duration(seconds: float) -> str:
    """Seconds for people: 20 s, 200 ms, 1.5 min, 24 h."""
    for unit, size in (("d", DAY_S * 2), ("h", 3600.0), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'d': DAY_S, 'h': 3600.0, 'min': 60.0}[unit]:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"

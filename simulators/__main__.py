"""`python -m simulators DEVICE --line FILE --out DIR --time-base PLANT_START_NS,WALL_START_NS,SPEED`: one device.

Prints `ready DEVICE ENDPOINT` when it listens, and runs until SIGTERM or SIGINT. Exit code 0 then, 2 for bad input
(one line on stderr). With `--time-base -` it prints `warm DEVICE` once all is loaded and compiled, and awaits the time
base as a line on standard input: who starts several processes so starts plant time for all of them at once, and a cold
start costs none of it. Heavy imports come late: a signal must find its handler.

`--list`, `--describe MACHINE|EQUIPMENT` and `--check --line FILE --scenario NAME|FILE` start nothing: they print and
end.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from simulators.timebase import TimeBase

if TYPE_CHECKING:
    from simulators.process import Job


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulators", description="Runs one simulated device of a line.")
    parser.add_argument("device", nargs="?", help="id of the device in the line file")
    parser.add_argument("--line", type=Path, help="line file")
    parser.add_argument("--out", type=Path, help="run folder; the truth goes to truth/DEVICE in it")
    parser.add_argument("--time-base", help="PLANT_START_NS,WALL_START_NS,SPEED, or - for stdin")
    parser.add_argument("--seed", type=int, default=None, help="instead of the line file's")
    parser.add_argument("--scenario", default=None, help="what breaks when: a name under configs/scenarios, or a file")
    parser.add_argument("--via-proxy", action="store_true", help="reach the device through a network fault proxy")
    parser.add_argument("--parent-pid", type=int, default=None, help="end when this process is gone")
    parser.add_argument("--list", action="store_true", help="name machines, defects, faults and scenarios")
    parser.add_argument("--describe", metavar="NAME", help="print the tags of a machine or equipment type")
    parser.add_argument("--csv", type=Path, help="with --describe: write the tags as CSV")
    parser.add_argument("--nodeset", type=Path, help="with --describe: write the tags as NodeSet2 XML")
    parser.add_argument("--check", action="store_true", help="check --scenario against --line")
    args = parser.parse_args(argv)
    needed = {"DEVICE": args.device, "--line": args.line, "--out": args.out, "--time-base": args.time_base}
    if args.check:
        needed = {"--line": args.line, "--scenario": args.scenario}
    if not (args.list or args.describe) and (missing := [name for name, value in needed.items() if value is None]):
        parser.error(f"missing: {', '.join(missing)}")
    return args


REHEARSED_NS = 2_000_000_000
"""Plant time that the spare machine runs: some kernels are loaded only by a machine's first step."""


def prepare(args: argparse.Namespace) -> Job:
    """Builds the device's machine, server and truth file. Raises ConfigError, ValueError or OSError for bad input."""
    from configs.loader import load_line, load_scenario
    from simulators.faults.setup import Faults
    from simulators.machine import KeepsMetres
    from simulators.machines import build_machine
    from simulators.material_line import join
    from simulators.process import Job, device_seed
    from simulators.proxy.front import server_builder
    from simulators.servers import keep_files
    from simulators.servers.modbus_gateway import behind_gateway
    from simulators.truth import TruthWriter

    given = None if args.time_base == "-" else TimeBase.parse(args.time_base)
    line = load_line(args.line)
    simulation = line.file.simulation
    settings = simulation.machines.get(args.device) if simulation else None
    if simulation is None or settings is None:
        raise ValueError(f"{args.line}: [simulation.machines.{args.device}] is missing; nothing plays '{args.device}'")
    endpoint = next(device.endpoint for device in line.file.device if device.id == args.device)
    equipment = line.equipment[args.device]
    name = str(settings.get("machine", ""))
    parameters = {key: value for key, value in settings.items() if key != "machine"}
    seed = device_seed(simulation.seed if args.seed is None else args.seed, args.device)
    # Built twice: the first one compiles or loads kernels and libraries, which would cost plant time at a high speed.
    spare = build_machine(name, equipment, 0, seed, parameters)
    spare.advance(REHEARSED_NS)
    scenario = None if args.scenario is None else load_scenario(args.scenario, line)
    build_server = server_builder(args.device, args.via_proxy, scenario, seed)
    build_server = behind_gateway(build_server, line.file.device, args.device, args.out)
    spare_server = keep_files(build_server(equipment, endpoint, spare.write), args.out, args.device)
    faults = None if scenario is None else Faults(scenario, args.device, equipment, seed, (spare, spare_server))
    if given is None:
        _say(f"warm {args.device}")
    base = given or TimeBase.parse(sys.stdin.readline())
    truth = TruthWriter(args.out, args.device)
    start_ns = max(base.plant_start_ns, base.plant_ns(time.time_ns()))
    machine = build_machine(name, equipment, start_ns, seed, parameters)
    machine = join(machine, args.out, args.device, line.file, start_ns)
    plant, log = (None, None) if faults is None else faults.plant(machine, base, start_ns, args.out, _complain)
    server = build_server(equipment, endpoint, machine.write if plant is None else plant.write)
    keep_files(server, args.out, args.device)
    # What start-up made stays: a collector that walks the compiler's objects stops the scan for a quarter of a second.
    gc.collect()
    gc.freeze()
    metres = TruthWriter(args.out, f"{args.device}_metres") if isinstance(machine, KeepsMetres) else None
    return Job(args.device, endpoint, machine, server, truth, base, start_ns, plant, log, metres)


async def _run(job: Job, parent_pid: int | None) -> None:
    from simulators.process import ScanLoop, parent_watch
    from simulators.proxy.front import ProxiedServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await ScanLoop(job, _say, _complain).run(stop, parent_watch(parent_pid))
    if isinstance(job.server, ProxiedServer):
        _complain(f"{job.device}: network: {job.server.counters.line()}")


def main(argv: list[str] | None = None) -> int:
    """Runs one device; the exit code."""
    # Until the loop runs there is nothing to close: leave at once, and well. Not by an exception: in the import of a
    # compiled library it would come out as that library's failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    args = _arguments(argv)
    from configs.errors import ConfigError

    try:
        if args.list or args.describe or args.check:
            from simulators.enquiry import answer

            return answer(args, _say)
        job = prepare(args)
        asyncio.run(_run(job, args.parent_pid))
    except (ConfigError, ValueError) as error:
        _complain(str(error))
        return 2
    except BrokenPipeError:  # whoever read the answer has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        hint = ""
        if error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES} and not error.filename:
            hint = " (stop the other program, or change the device's endpoint in the line file)"
        where = f": {error.filename}" if error.filename else ""
        who = f"{args.device}: " if args.device else ""
        _complain(f"{who}{error.strerror or error}{where}{hint}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

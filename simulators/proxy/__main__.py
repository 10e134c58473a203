"""`python -m simulators.proxy LISTEN TARGET`: a proxy of its own, in front of InfluxDB, a real gateway or a device.

LISTEN is PORT or HOST:PORT (loopback without a host), TARGET is HOST:PORT or an address such as
modbus.tcp://192.0.2.7:502/1 or http://127.0.0.1:8086; where it begins with modbus.tcp, replies can come twice or late.
Prints `ready HOST:PORT` when it listens, a line for all that begins and ends, and the counters at the end. Runs until
SIGTERM or SIGINT, exit code 0 then; 2 for bad input (one line on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from simulators.proxy.play import entries_of, parse_fault, play
from simulators.proxy.proxy import Address, FaultProxy

_PORTS = {"http": 80, "https": 443, "opc.tcp": 4840, "modbus.tcp": 502}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.proxy", description="A TCP proxy that breaks on purpose."
    )
    parser.add_argument("listen", metavar="LISTEN", help="PORT or HOST:PORT; port 0: any free one")
    parser.add_argument("target", metavar="TARGET", help="HOST:PORT or an address with a scheme, e.g. modbus.tcp://...")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--scenario", type=Path, help="file with a timetable; only its network faults are played")
    what.add_argument("--fault", action="append", default=[], metavar="KIND:KEY=VALUE,...", help="on from the start")
    parser.add_argument("--device", help="play only this device's entries of the scenario")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds of the timetable per wall second")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def parse_address(text: str) -> tuple[str, Address]:
    """Scheme ("" without one), host and port. Raises ValueError."""
    whole = text if "://" in text else f"//127.0.0.1:{text}" if text.isdigit() else f"//{text}"
    parts = urlsplit(whole)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if port is None:
        port = _PORTS.get(parts.scheme, -1)
    if not parts.hostname or port < 0:
        raise ValueError(f"'{text}' is no address with a port, such as 127.0.0.1:8086 or modbus.tcp://192.0.2.7:502/1")
    return parts.scheme, (parts.hostname, port)


async def _run(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    (_, listen), (scheme, target) = parse_address(args.listen), parse_address(args.target)
    proxy = FaultProxy(listen, target, scheme == "modbus.tcp", args.seed)
    if not 0 < args.speed < 1e6:
        raise ValueError(f"--speed {args.speed:g} is not between 0 and 1e6")
    entries = [parse_fault(text, k + 1) for k, text in enumerate(args.fault)]
    if args.scenario is not None:
        entries = entries_of(args.scenario, args.device)
    for entry in entries:
        proxy.check(entry.kind, entry.settings)
    try:
        await proxy.start()
        print(f"ready {listen[0]}:{proxy.port}", flush=True)
        playing = asyncio.create_task(play(proxy, entries, args.speed), name="proxy: timetable")
        playing.add_done_callback(lambda task: stop.set() if not task.cancelled() and task.exception() else None)
        await stop.wait()
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
    finally:
        await proxy.stop()
        print(proxy.counters.line(), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the proxy; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    args = _arguments(argv)
    from configs.errors import ConfigError

    try:
        asyncio.run(_run(args))
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except OSError as error:
        print(f"{args.listen}: {error.strerror or error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What `python -m simulators` answers without starting anything: --list, --describe and --check."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from configs.errors import ConfigError, Problem
from configs.loader import LoadedLine, LoadedScenario, load_line, load_scenario


def answer(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """The exit code. Raises ConfigError, ValueError or OSError for bad input."""
    if args.check:
        scenario = load_scenario(args.scenario, line := load_line(args.line))
        check(line, scenario)
        say(f"scenario {args.scenario}: valid, {len(scenario.file.fault)} entries: {scenario.file.title}")
        return 0
    from simulators.catalogue import describe, find_equipment, overview, write_csv

    if args.list:
        say("\n".join(overview()))
        return 0
    equipment = find_equipment(args.describe)
    say("\n".join(describe(equipment)))
    if args.csv is not None:
        write_csv(equipment, args.csv)
        say(f"written: {args.csv}")
    if args.nodeset is not None:
        from simulators.nodeset import write_nodeset

        write_nodeset(equipment, args.nodeset)
        say(f"written: {args.nodeset}")
    return 0


def check(line: LoadedLine, scenario: LoadedScenario) -> None:
    """Whether every device of the scenario can play its entries. Raises ConfigError with all problems."""
    from simulators.faults.setup import Faults
    from simulators.machines import build_machine
    from simulators.proxy.front import server_builder

    simulation = line.file.simulation
    problems: list[Problem] = []
    for device in dict.fromkeys(fault.device for fault in scenario.file.fault):
        settings = dict(simulation.machines[device]) if simulation is not None else {}
        equipment, endpoint = line.equipment[device], next(d.endpoint for d in line.file.device if d.id == device)
        machine = build_machine(str(settings.pop("machine")), equipment, 0, 0, settings)
        server = server_builder(device, False, scenario, 0)(equipment, endpoint, machine.write)
        try:
            Faults(scenario, device, equipment, 0, (machine, server))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)

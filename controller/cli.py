"""The command line. Thin: it parses, calls, prints, and turns every expected error into one message and an exit code.

Exit codes: 0 fine, 1 failed while running, 2 bad input. Heavy imports happen inside the commands, so that --help and
check answer at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from configs.errors import ConfigError
from configs.loader import LoadedLine, load_line, load_scenario, packaged, schema_json
from controller.analysis.kinds import TEXTS as KINDS
from controller.cli_opcua import opcua
from controller.errors import BadInputError, CelltwinError, RunError
from controller.runfolder import RunFolder

app = typer.Typer(
    name="celltwin",
    help="Digital twin and line controller for battery-cell production.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
grafana = typer.Typer(help="Dashboards for Grafana.", no_args_is_help=True)
app.add_typer(grafana, name="grafana")
app.add_typer(opcua, name="opcua")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
Line = Annotated[Path, typer.Argument(metavar="FILE", help="Line file (TOML).")]
Speed = Annotated[
    float | None, typer.Option(min=0.1, max=2000, help="Plant seconds per wall second; default: the line file's.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default: under runs/.")]
ScenarioOf = Annotated[
    str | None, typer.Option("--scenario", metavar="NAME|FILE", help="What breaks when; simulate --list names them.")
]


@app.command()
def check(file: Line, scenario: ScenarioOf = None) -> None:
    """Validate a line file; print its devices, tags, and what would be read how often. Opens no socket."""
    from controller.check import check_files, render
    from controller.simulate import ask_simulators

    check_files(loaded := load_line(file))
    if scenario is not None:
        load_scenario(scenario, loaded)
        if code := ask_simulators("--check", "--line", str(file), "--scenario", scenario):
            raise typer.Exit(code)
    out.print(render(loaded))


@app.command()
def simulate(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Line file; with --describe a machine or an equipment type instead."),
    ] = None,
    speed: Speed = None,
    out_dir: Out = None,
    scenario: ScenarioOf = None,
    via_proxy: Annotated[bool, typer.Option(help="Put a network fault proxy in front of every device.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Name machines, defects, faults and scenarios.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Print all tags of a machine or equipment.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="With --describe: write the tag list as CSV.")
    ] = None,
    nodeset: Annotated[
        Path | None, typer.Option("--nodeset", metavar="FILE", help="With --describe: write it as OPC UA NodeSet2 XML.")
    ] = None,
) -> None:
    """Start a line's simulated equipment, one process each, and stay until Ctrl-C; or say what there is."""
    from controller.demo import stay_simulating
    from controller.simulate import ask_simulators, describe_equipment

    if list_all:
        raise typer.Exit(ask_simulators("--list"))
    if what is None:
        raise BadInputError("what should be simulated?", "give a line file, or --list")
    if describe or csv or nodeset:
        raise typer.Exit(describe_equipment(what, csv, nodeset))
    loaded = load_line(Path(what))
    played = None if scenario is None else load_scenario(scenario, loaded)
    folder = RunFolder(out_dir or _default_folder(loaded))
    _await(stay_simulating(loaded, folder, speed, _plain, played, via_proxy))


@app.command()
def run(
    file: Line,
    out_dir: Out = None,
    time_base: Annotated[str | None, typer.Option(hidden=True)] = None,
    duration: Annotated[float | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the gateway and line controller until Ctrl-C; what was read is durable at any moment."""
    from controller.start import Start, start_run

    loaded = load_line(file)
    folder = RunFolder(out_dir or _default_folder(loaded))
    _await(start_run(loaded, folder, Start(time_base, duration, seed, parent_pid), _plain))


@app.command()
def demo(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Line file; default: the A-sample line.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Wall seconds that the demo lasts.")] = None,
    speed: Speed = None,
    out_dir: Out = None,
    scenario: ScenarioOf = None,
) -> None:
    """Run a simulated line: equipment, controller, live page, report."""
    from controller.screen import run_demo

    loaded = load_line(file or packaged("lines")["a_sample"])
    played = None if scenario is None else load_scenario(scenario, loaded)
    raise typer.Exit(_await(run_demo(loaded, seconds, speed, out_dir, out, played)))


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]) -> None:
    """Build the report of a run again."""
    RunFolder(directory).read_run()
    from controller.report.build import build_report

    out.print(f"report: {build_report(directory)}")


def _analyse_help() -> str:
    lines = "\n".join(f"- **{name}**: {text}" for name, text in KINDS.items())
    return f"""Analyse measured files, Parquet or CSV, as the line does live: one row per finding.

{lines}

A column called time_s, current_a, voltage_v, ... is found by itself; others are named by --columns. Example:

celltwin analyse pulses test.parquet --columns time=Test_Time,current=I,voltage=V --by cell --out found
"""


@app.command(help=_analyse_help())
def analyse(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.", show_default=False)],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Parquet, CSV, or a folder of Parquet parts.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN,...", help="Which column is time, current, voltage, temperature, soc, ..."),
    ] = None,
    columns_file: Annotated[
        Path | None, typer.Option(metavar="TOML", help="The same as a file: lines such as time = 'Test Time (s)'.")
    ] = None,
    current_sign: Annotated[
        str, typer.Option(metavar="charge|discharge", help="What the files count positive; +1 and -1 will do.")
    ] = "charge",
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN,...", help="Analyse each group of equal values on its own: --by cell,cycle."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects instead of a table.")] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write rows.parquet, rows.json and figures (HTML) here.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the kind; a wrong name lists them."),
    ] = None,
) -> None:
    """See _analyse_help."""
    from controller.analysis.run import Request
    from controller.analysis.run import analyse as run_analysis

    request = Request(
        kind, files, columns or (), columns_file, current_sign, by or (), as_json, out_dir, settings or ()
    )
    raise typer.Exit(run_analysis(request, out, err))


@app.command()
def schema() -> None:
    """Print the JSON schema of the line file, so that an editor completes it."""
    sys.stdout.write(schema_json())


@grafana.command("generate")
def grafana_generate(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the dashboards' JSON files lie.")
    ] = Path("deploy/grafana/dashboards"),
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when a file is not current.")
    ] = False,
) -> None:
    """Write the dashboards as JSON files, for Grafana's provisioning."""
    from controller.grafana import files

    if check_only:
        files.check(directory)
        out.print(f"{directory}: current")
        return
    changed = files.write(directory)
    for path in changed:
        out.print(f"written: {path}")
    if not changed:
        out.print(f"{directory}: nothing to change")


@grafana.command("push")
def grafana_push(
    url: Annotated[str, typer.Argument(metavar="URL", help="Grafana's address, such as http://localhost:3000.")],
    token_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with a service account's token (role Admin).")
    ] = "GRAFANA_TOKEN",  # noqa: S107  its name, not the token
    influx_url: Annotated[
        str, typer.Option(metavar="URL", help="InfluxDB's address as Grafana reaches it.")
    ] = "http://localhost:8086",
    influx_token_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with InfluxDB's token; without it none is sent (1.8)."),
    ] = None,
    database: Annotated[str, typer.Option(metavar="NAME", help="Database (1.8) or bucket (2.x).")] = "celltwin",
) -> None:
    """Install folder, data source and dashboards in a running Grafana. A second time it changes nothing."""
    from controller.grafana.api import Grafana
    from controller.grafana.push import InfluxSource, push
    from controller.grafana.token import from_environment

    token = from_environment(token_env, "Grafana")
    influx_token = from_environment(influx_token_env, "InfluxDB") if influx_token_env else ""
    with Grafana(url, token) as server:
        for item in push(server, InfluxSource(influx_url, database, influx_token)):
            out.print(f"{item.outcome}: {item.kind} {item.name}", markup=False)


def _default_folder(loaded: LoadedLine) -> Path:
    """simulate and run agree on it, so that the controller finds the simulated line's time base."""
    return Path("runs") / loaded.file.line.name


def _plain(text: str) -> None:
    """One line for people or for the process that started us, at once."""
    try:
        print(text, flush=True)
    except OSError:
        _nobody_listens()


def _nobody_listens() -> None:
    """Whoever read our output is gone, or its disk is full: say nothing more, also not at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _await(work: Coroutine[Any, Any, int | None]) -> int:
    try:
        return asyncio.run(work) or 0
    finally:
        # All is closed and written; another Ctrl-C must not spoil the exit code in the interpreter's last moments.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def fail(error: CelltwinError | ConfigError) -> NoReturn:
    """Print one message, no traceback, and leave with the error's exit code."""
    # A problem of a file starts with FILE:LINE, which terminals make clickable only at the start of a line.
    prefix = "" if isinstance(error, ConfigError) else "error: "
    with suppress(OSError):  # the terminal is gone, or the log's disk is full
        for line in str(error).splitlines():
            err.print(f"{prefix}{line}", style="bold red", markup=False)
    raise SystemExit(error.exit_code)


def main() -> None:
    """Parse, run, and leave with the right exit code; `controller.__main__` calls it."""
    try:
        app()
    except (CelltwinError, ConfigError) as error:
        fail(error)
    except BrokenPipeError:
        _nobody_listens()
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(RunError(f"{where}{error.strerror or error}"))

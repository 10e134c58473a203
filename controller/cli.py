"""The command line. Thin: it parses, calls, prints, and turns every expected error into one message and an exit code.

Exit codes: 0 fine, 1 failed while running, 2 bad input. Heavy imports happen inside the commands, so that --help and
check answer at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from configs.errors import ConfigError
from configs.loader import LoadedLine, load_line, packaged, schema_json
from controller.errors import CelltwinError
from controller.runfolder import RunFolder

app = typer.Typer(
    name="celltwin",
    help="Digital twin and line controller for battery-cell production.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
grafana = typer.Typer(help="Dashboards for Grafana.", no_args_is_help=True)
app.add_typer(grafana, name="grafana")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Line = Annotated[Path, typer.Argument(metavar="FILE", help="Line file (TOML).")]
Speed = Annotated[
    float | None, typer.Option(min=0.1, max=2000, help="Plant seconds per wall second; default: the line file's.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default: under runs/.")]


@app.command()
def check(file: Line) -> None:
    """Validate a line file; print its devices, tags, and what would be read how often. Opens no socket."""
    from controller.check import render

    out.print(render(load_line(file)))


@app.command()
def simulate(file: Line, speed: Speed = None, out_dir: Out = None) -> None:
    """Start a line's simulated equipment, one process each, and stay until Ctrl-C."""
    from controller.demo import stay_simulating

    loaded = load_line(file)
    folder = RunFolder(out_dir or _default_folder(loaded))
    _await(stay_simulating(loaded, folder, speed, out.print))


@app.command()
def run(
    file: Line,
    out_dir: Out = None,
    time_base: Annotated[str | None, typer.Option(hidden=True)] = None,
    duration: Annotated[float | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the gateway and line controller until Ctrl-C; what was read is durable at any moment."""
    from controller.start import start_run

    loaded = load_line(file)
    folder = RunFolder(out_dir or _default_folder(loaded))
    _await(start_run(loaded, folder, time_base, duration, seed, _plain))


@app.command()
def demo(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Line file; default: the A-sample line.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Wall seconds that the demo lasts.")] = None,
    speed: Speed = None,
    out_dir: Out = None,
) -> None:
    """Run a simulated line: equipment, controller, live page, report."""
    from controller.screen import run_demo

    loaded = load_line(file or packaged("lines")["a_sample"])
    raise typer.Exit(_await(run_demo(loaded, seconds, speed, out_dir, out)))


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]) -> None:
    """Build the report of a run again."""
    from controller.report.build import build_report

    RunFolder(directory).read_run()
    out.print(f"report: {build_report(directory)}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the line file, so that an editor completes it."""
    sys.stdout.write(schema_json())


def _default_folder(loaded: LoadedLine) -> Path:
    """simulate and run agree on it, so that the controller finds the simulated line's time base."""
    return Path("runs") / loaded.file.line.name


def _plain(text: str) -> None:
    """One line for people or for the process that started us, at once."""
    print(text, flush=True)


def _await(work: Coroutine[Any, Any, int | None]) -> int:
    return asyncio.run(work) or 0


def fail(error: CelltwinError | ConfigError) -> NoReturn:
    """Print one message, no traceback, and leave with the error's exit code."""
    # A problem of a file starts with FILE:LINE, which terminals make clickable only at the start of a line.
    prefix = "" if isinstance(error, ConfigError) else "error: "
    for line in str(error).splitlines():
        err.print(f"{prefix}{line}", style="bold red", markup=False)
    raise SystemExit(error.exit_code)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except (CelltwinError, ConfigError) as error:
        fail(error)
    except BrokenPipeError:
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None

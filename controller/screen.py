"""What a person sees of a demo: progress while it runs, a table and the paths at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from configs.loader import LoadedLine, LoadedScenario
from controller.demo import Demo, not_simulated
from controller.demo import Progress as DemoProgress
from controller.runfolder import RunFolder
from controller.simulate import folder_name, wall_ns


async def run_demo(
    loaded: LoadedLine,
    seconds: float | None,
    speed: float | None,
    out_dir: Path | None,
    console: Console,
    scenario: LoadedScenario | None = None,
) -> int:
    """Run the demo with its progress on the screen; returns the exit code."""
    simulation = loaded.file.simulation
    if simulation is None:
        raise not_simulated(loaded)
    speed = speed or simulation.speed
    duration_s = seconds * speed if seconds is not None else simulation.duration_s
    folder = RunFolder(out_dir or Path(folder_name(loaded.file.line.name, wall_ns())))
    console.print(
        f"{loaded.file.line.title or loaded.file.line.name}: {len(loaded.file.device)} simulated devices, ", end=""
    )
    console.print(f"{duration_s / 3600:.1f} h of plant time in about {duration_s / speed:.0f} s")
    if scenario is not None:
        console.print(f"scenario: {scenario.file.title}", markup=False)
    demo = Demo(loaded, folder, speed, duration_s, lambda text: console.print(text, markup=False), scenario)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task("starting equipment and controller", total=1.0, rows=0)
        first = False

        def show(progress: DemoProgress) -> None:
            nonlocal first
            if progress.wall_to_first_data_s is not None and not first:
                first = True
                console.print(f"first data after {progress.wall_to_first_data_s:.1f} s")
            text = f"plant time {progress.plant_s / 3600:5.1f} h"
            bar.update(task, completed=progress.fraction, description=text, rows=progress.rows)

        complete = await demo.run(show)
    if not complete and not folder.has_run():
        console.print("interrupted before plant time began; nothing was recorded")
        return 0
    if not complete:
        console.print("interrupted; the run folder is complete up to here")
    await finish(folder, console)
    return 0


async def finish(folder: RunFolder, console: Console) -> None:
    """Build the report and print the summary and where everything is."""
    from controller.report.build import build
    from controller.tables import books_table, summary_table

    console.print("building the report")
    report, figures = await asyncio.to_thread(build, folder.path)
    console.print(summary_table(figures))
    console.print(books_table(figures))
    console.print(f"report:  {report}")
    console.print(f"Parquet: {folder.parquet}")

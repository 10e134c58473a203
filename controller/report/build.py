"""`build_report`: one self-contained HTML file per run folder. It opens from disk, asks no server, and ages well."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from controller.page import plotly_script, script_json, write_whole
from controller.report.sections import Sections
from controller.report.summary import Summary, analyse_run, summarise

NAME = "report.html"


def build_report(run_dir: Path) -> Path:
    """Write report.html into the run folder and return its path. Runs for a second or two; safe to repeat.

    Raises BadInputError where there is no folder, StorageError where it cannot be written.
    """
    return build(run_dir)[0]


def build(run_dir: Path) -> tuple[Path, Summary]:
    """The report and the key figures from one reading of the run folder."""
    analysis = analyse_run(run_dir)
    key = summarise(analysis)
    path = run_dir / NAME
    write_whole(path, render(Sections(analysis, key)))
    return path, key


def render(sections: Sections) -> str:
    """The whole page as text."""
    from jinja2 import Environment  # a tenth of a second that `celltwin run` shall not pay

    here = files("controller.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(here.joinpath("template.html").read_text(encoding="utf-8"))
    context = sections.context()
    return template.render(
        context,
        style=here.joinpath("report.css").read_text(encoding="utf-8"),
        script=here.joinpath("report.js").read_text(encoding="utf-8"),
        plotly=plotly_script() if sections.drawn else "",
        figures=script_json(sections.drawn),
    )

"""`build_report`: one self-contained HTML file per run folder. It opens from disk, asks no server, and ages well."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from importlib.resources import files
from pathlib import Path

from controller.errors import RunError, StorageError
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
    _write(path, render(Sections(analysis, key)))
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
        plotly=_inline(_plotly()) if sections.drawn else "",
        # Escaped so that no text of a recipe or of a device can end the script element.
        figures=json.dumps(sections.drawn, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def _plotly() -> str:
    spec = importlib.util.find_spec("plotly")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, "package_data", "plotly.min.js")
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise RunError("plotly.min.js was not found in the installed plotly package", "reinstall celltwin's dependencies")


def _inline(script: str) -> str:
    """JavaScript that may stand between script tags."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _write(path: Path, text: str) -> None:
    """Whole or not at all, so that an open report never shows half a page."""
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise StorageError(f"{path}: cannot be written: {error.strerror}", "is the disk full or read-only?") from error

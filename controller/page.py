"""What every HTML file that we write needs: plotly.js to put into it, data that stay data, a file whole or not at all.

No layout, no figure, no words in here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from pathlib import Path

from controller.errors import RunError, StorageError


def plotly_script() -> str:
    """The installed package's plotly.js (4.8 MB), ready to stand between script tags. RunError: not installed."""
    spec = importlib.util.find_spec("plotly")  # not imported: its graph objects take over a second
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, "package_data", "plotly.min.js")
        if path.is_file():
            script = path.read_text(encoding="utf-8")
            return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    raise RunError("plotly.min.js was not found in the installed plotly package", "reinstall celltwin's dependencies")


def script_json(data: object) -> str:
    """JSON for a script element, escaped so that no text in it can end the element. ValueError: NaN or infinite."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, so that an open file never shows half a page. StorageError: cannot be written."""
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

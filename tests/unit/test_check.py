"""`celltwin check` on a valid line: tests/cases/check_* hold the printed text; every line that we ship prints too."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from configs.loader import load_line, packaged
from controller.check import duration, render

CASES = sorted((Path(__file__).parents[1] / "cases").glob("check_*"))


def printed(path: Path, width: int = 80) -> str:
    console = Console(width=width, highlight=False, soft_wrap=True, color_system=None)
    with console.capture() as captured:
        console.print(render(load_line(path)))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prints_exactly_this(case: Path) -> None:
    assert printed(case / "line.toml") == (case / "expected.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", packaged("lines").values(), ids=lambda path: path.stem)
def test_names_every_device_stream_and_tag_of_a_line_we_ship(path: Path) -> None:
    loaded, text = load_line(path), printed(path)
    for device in loaded.file.device:
        assert device.id in text
        assert device.endpoint in text
        for group in loaded.equipment[device.id].group:
            assert group.name in text
            for tag in group.tag:
                assert tag.name in text


def test_a_warning_is_printed() -> None:
    case = CASES[0].parent / "config_good_own_files"
    assert "warning: " in printed(case / "line.toml")


def test_brackets_in_names_are_text(tmp_path: Path) -> None:
    line = tmp_path / "line.toml"
    content = (CASES[0] / "line.toml").read_text(encoding="utf-8")
    line.write_text(content.replace('"line"', '"[/b] [red]line"').replace("Test bench", "[bold]"), encoding="utf-8")
    (tmp_path / "meter.toml").write_bytes((CASES[0] / "meter.toml").read_bytes())
    assert "bucket [/b] [red]line" in printed(line)
    assert printed(line).startswith("[bold]")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "200 ms"), (1, "1 s"), (90, "90 s"), (120, "2 min"), (3600, "1 h"), (86_400, "24 h"), (172_800, "2 d")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text

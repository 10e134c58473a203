"""Every tests/cases/config_* folder: a line file, and what a person sees (expected.txt, exactly), or nothing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.half_cells import shipped
from configs.loader import load_line, packaged

CASES = sorted((Path(__file__).parents[2] / "cases").glob("config_*"))
BAD = [case for case in CASES if (case / "expected.txt").is_file()]
GOOD = [case for case in CASES if case not in BAD]


def expected(case: Path) -> str:
    """The case's text; {equipment}, {recipes}, {cells}, {halfcells} stand for the names that celltwin comes with."""
    text = (case / "expected.txt").read_text(encoding="utf-8")
    for folder in ("equipment", "recipes", "cells"):
        text = text.replace("{" + folder + "}", ", ".join(packaged(folder)))
    text = text.replace("{halfcells}", ", ".join(shipped()))
    return text


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_says_exactly_what_is_wrong(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    with pytest.raises(ConfigError) as caught:
        load_line(Path("line.toml"))
    assert str(caught.value) + "\n" == expected(case)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_takes_what_is_right(case: Path) -> None:
    loaded = load_line(case / "line.toml")
    assert set(loaded.equipment) == {device.id for device in loaded.file.device}
    assert set(loaded.recipes) == {device.id for device in loaded.file.device if device.recipe}
    assert set(loaded.cells) == {twin.device for twin in loaded.file.twin.cells}


def test_there_are_enough_of_both() -> None:
    assert len(BAD) >= 24
    assert len(GOOD) >= 3

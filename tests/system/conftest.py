"""Fixtures of the system tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.line import line_file


@pytest.fixture
def line(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    return line_file(tmp_path, free_port)

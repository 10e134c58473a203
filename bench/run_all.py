"""Runs every benchmark of this folder, prints one table and writes results.json: python -m bench.run_all [NAME...].

A benchmark is a module with `run() -> list[Result]` and no leading underscore. One that fails is named with its error
and makes the exit code 1; a missed bar does not.
"""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.console import Console

from bench._harness import Result, table

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """Benchmarks of this folder, in order."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_") and p.stem != "run_all")


def main(wanted: list[str]) -> int:
    """Exit code: 0 also with missed bars, 1 when a benchmark failed, 2 when one is unknown."""
    console = Console(width=150)
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        console.print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(names())}")
        return 2
    results: list[Result] = []
    failed = []
    for name in wanted or names():
        console.print(f"running {name} ...")
        try:
            results += import_module(f"bench.{name}").run()
        except Exception:  # one broken benchmark must not hide the others' numbers
            failed.append(name)
            traceback.print_exc()
    console.print(table(results))
    (HERE / "results.json").write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n", encoding="utf-8")
    if failed:
        console.print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

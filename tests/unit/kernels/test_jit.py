import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels import _jit
from kernels._jit import _family, jit_enabled, kernel
from kernels.warm_up import kernel_modules, warm_up

ROOT = Path(kernels.__file__).parents[1]


def test_warm_up_compiles_every_kernel_module_and_tells() -> None:
    seen: list[str] = []
    seconds = warm_up(lambda name, _: seen.append(name), only=["ekf", "loading"])
    assert seen == list(seconds) == ["ekf", "loading"]
    assert all(s >= 0 for s in seconds.values())


def test_warm_up_refuses_a_module_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="no module 'nonsense'"):
        warm_up(only=["nonsense"])


def test_every_module_with_kernels_warms_up() -> None:
    """A kernel that nobody warms up compiles under the first live sample; helpers compile with their callers."""
    texts = {name: (ROOT / "kernels" / f"{name}.py").read_text(encoding="utf-8") for name in kernel_modules()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    warm = {n for n, t in trees.items() if any(isinstance(f, ast.FunctionDef) and f.name == "warm_up" for f in t.body)}
    reached, new = set(warm), set(warm)
    while new:
        new = {module for name in new for module in _imported(trees[name])} & trees.keys() - reached
        reached |= new
    for name, text in texts.items():
        if "\n@kernel\n" in text or "\n@contracted_kernel\n" in text:
            assert name in reached, f"kernels/{name}.py has kernels that no warm_up reaches"


def _imported(tree: ast.Module) -> set[str]:
    """Modules of the package `kernels` that a module imports from."""
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.removeprefix("kernels.") for name in found if name.startswith("kernels.")}


def test_numba_is_imported_in_one_place() -> None:
    found = [
        path.relative_to(ROOT)
        for folder in ("kernels", "twin", "controller", "configs", "simulators")
        for path in (ROOT / folder).rglob("*.py")
        if any(
            "numba" in (getattr(node, "module", None) or "") or any("numba" in a.name for a in node.names)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
    ]
    assert found == [Path("kernels/_jit.py")]


def test_kernels_run_the_same_without_the_compiler() -> None:
    code = (
        "from kernels.warm_up import warm_up; from kernels._jit import jit_enabled;"
        "assert not jit_enabled(); print(sorted(warm_up(only=['ekf', 'loading'])))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "['ekf', 'loading']"


@kernel
def _ratio(a: float, b: float) -> float:
    return a / b


@pytest.mark.skipif(not jit_enabled(), reason="plain Python raises here, which is why kernels test their divisors")
def test_compiled_division_by_zero_does_not_raise() -> None:
    assert _ratio(1.0, 0.0) == float("inf")


def test_a_change_anywhere_in_a_kernels_family_makes_its_cache_stale(tmp_path: Path) -> None:
    """A sibling's inlined helpers and constants are in the machine code; its own file's date says nothing."""
    for name in ("drying.py", "drying_layout.py", "web.py"):
        (tmp_path / name).write_text("SIZE = 1\n", encoding="utf-8")
    space: dict[str, object] = {}
    exec(compile("def f(): pass", str(tmp_path / "drying.py"), "exec"), space)
    before = _family(space["f"])
    (tmp_path / "web.py").write_text("SIZE = 2\n", encoding="utf-8")
    assert _family(space["f"]) == before
    (tmp_path / "drying_layout.py").write_text("SIZE = 2\n", encoding="utf-8")
    assert _family(space["f"]) != before


def test_a_machine_goes_stale_with_the_kernels_it_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines, called = tmp_path / "machines", tmp_path / "kernels"
    machines.mkdir()
    called.mkdir()
    monkeypatch.setattr(_jit, "KERNELS", called)
    text = "from kernels._jit import kernel\nfrom kernels.spm import step\n"
    (machines / "rack_kernel.py").write_text(text, encoding="utf-8")
    for name in ("spm.py", "spm_layout.py", "ekf.py"):
        (called / name).write_text("SIZE = 1\n", encoding="utf-8")
    space: dict[str, object] = {}
    exec(compile("def f(): pass", str(machines / "rack_kernel.py"), "exec"), space)
    before = _family(space["f"])
    (called / "ekf.py").write_text("SIZE = 2\n", encoding="utf-8")
    assert _family(space["f"]) == before
    (called / "spm_layout.py").write_text("SIZE = 2\n", encoding="utf-8")
    assert _family(space["f"]) != before

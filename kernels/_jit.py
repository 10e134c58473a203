"""The only import of Numba, and the one place where compile options are chosen. No kernel belongs in here.

    from kernels._jit import kernel

    @kernel
    def mean_kernel(x: Float64Array) -> float: ...

With NUMBA_DISABLE_JIT=1 the same functions run as plain Python (coverage, debugging), only slowly. Arithmetic must
therefore mean the same both ways: test a divisor before dividing, because 1.0 / 0.0 is inf compiled and an exception
in plain Python.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

KERNELS = Path(__file__).parent

OPTIONS: dict[str, object] = {
    # Kernels run in worker threads beside the event loop; they touch arrays only, never Python objects.
    "nogil": True,
    # Division by zero gives inf or nan instead of raising: kernels report by status, never by exception.
    "error_model": "numpy",
    # Off as a whole: `nnan` and `ninf` let LLVM delete the very isnan/isfinite checks that the statuses rest on, and
    # `reassoc` breaks sums that are compensated on purpose. A kernel that needs none of these may ask for `contract`.
    "fastmath": False,
    # Out-of-range indexing is undefined behaviour in compiled code: wrappers check shapes, kernels check indices.
    "boundscheck": False,
    # No `parallel=True`: it starts a thread pool of its own at first use. Callers that want more than one core split
    # the channels into ranges and call the kernel once per thread (it holds no lock).
}


def _family(function: Callable[..., Any]) -> str:
    """Digest of the sources that a kernel's machine code may hold: its own file's and those that share its first word.

    kernels/ekf.py goes with ekf_lanes.py and ekf_layout.py. Kernels use helpers and constants of their family only
    (and the codes of status.py, which never change). A machine outside of kernels/ may call kernels: their families go
    with its own.
    """
    file = Path(function.__code__.co_filename)
    digest = hashlib.sha256()
    called: set[str] = set()
    for path in sorted(file.parent.glob(file.stem.split("_")[0] + "*.py")):
        text = path.read_bytes()
        digest.update(text)
        called.update(name.decode() for name in re.findall(rb"^\s*from kernels\.([a-z]\w*) import", text, re.MULTILINE))
    if file.parent != KERNELS:
        for word in sorted({name.split("_")[0] for name in called - {"status"}}):
            for path in sorted(KERNELS.glob(word + "*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _compile(function: _F, **options: object) -> _F:
    """`function` compiled at its first call, cached on disk so that the second start is quick.

    Numba's cache looks at the time of the one file that defines a function and would go on using machine code into
    which it has inlined another file's old text; the stamp is widened to the family's contents.
    """
    try:
        compiled: _F = numba.njit(cache=True, **options)(function)
        if jit_enabled():
            cache_file = compiled._cache._cache_file  # type: ignore[attr-defined]
            cache_file._source_stamp = (cache_file._source_stamp, _family(function))
    except RuntimeError:
        # Neither the package folder nor the user's cache folder is writable (a read-only container without HOME);
        # compiling at every start is slow but right. NUMBA_CACHE_DIR cures it.
        compiled = numba.njit(**options)(function)
    return compiled


def kernel(function: _F) -> _F:
    """Compiles one kernel with the house options."""
    return _compile(function, **OPTIONS)


def contracted_kernel(function: _F) -> _F:
    """`kernel` with fused multiply-add allowed: quicker in long chains of products, still exact about NaN and inf.

    The last bits then depend on the CPU; use it for estimators, not for simulators that promise the same bits twice.
    """
    return _compile(function, **{**OPTIONS, "fastmath": {"contract"}})


def inlined(function: _F) -> _F:
    """A helper of `contracted_kernel`s, always inlined: an array argument is nine words on the stack per call."""
    return _compile(function, **{**OPTIONS, "fastmath": {"contract"}, "forceinline": True})


def summing(function: _F) -> _F:
    """A helper whose sums may be taken in any order (vector instructions); NaN and inf keep their meaning.

    For plain sums of products only: a compensated sum is destroyed by it.
    """
    return _compile(function, **{**OPTIONS, "fastmath": {"contract", "reassoc"}})


def jit_enabled() -> bool:
    """False when kernels run as plain Python (NUMBA_DISABLE_JIT=1)."""
    return not numba.config.DISABLE_JIT

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import types
from numba.core.registry import CPUDispatcher

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
    # Nobody calls a kernel from C.
    "no_cfunc_wrapper": True,
    # No `parallel=True`: it starts a thread pool of its own at first use. Callers that want more than one core split
    # the channels into ranges and call the kernel once per thread (it holds no lock).
}


def _family(function: Callable[..., Any]) -> str:
    """Digest of what a kernel's machine code rests on: this file, its own and those that share its first word.

    kernels/ekf.py goes with ekf_lanes.py and ekf_layout.py. Kernels use helpers and constants of their family only
    (and the codes of status.py, which never change). A machine outside of kernels/ may call kernels: their families go
    with its own.
    """
    file = Path(function.__code__.co_filename)
    digest = hashlib.sha256(Path(__file__).read_bytes())  # the options
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


class _Kernel(CPUDispatcher):  # type: ignore[misc]
    """Takes its callers' constants as plain numbers.

    Numba types the 0 of `helper(0, x)` as a literal and compiles `helper` a second time for it, and all that it calls.
    Inlining gives the constant to LLVM anyway: a third of the compile time bought nothing.
    """

    def get_call_template(self, args: Sequence[Any], kws: dict[str, Any]) -> Any:
        plain = {name: types.unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(types.unliteral(kind) for kind in args), plain)


class _Helper(_Kernel):
    """Has no entry for Python, a third of what a short function costs to compile; from Python it runs uncompiled."""

    def __call__(self, *args: Any) -> Any:
        return self.py_func(*args)


def _compile(function: _F, dispatcher: type[_Kernel], **options: object) -> _F:
    """`function` compiled at its first call, cached on disk so that the second start is quick.

    Numba's cache looks at the time of the one file that defines a function and would go on using machine code into
    which it has inlined another file's old text; the stamp is widened to the family's contents.
    """
    if not jit_enabled():
        return function
    compiled = dispatcher(py_func=function, targetoptions={**OPTIONS, "nopython": True, **options})
    try:
        compiled.enable_caching()
    except RuntimeError:
        # Neither the package folder nor the user's cache folder is writable (a read-only container without HOME);
        # compiling at every start is slow but right. NUMBA_CACHE_DIR cures it.
        pass
    else:
        cache_file = compiled._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, _family(function))
    done: _F = compiled
    return done


def kernel(function: _F) -> _F:
    """Compiles one kernel with the house options."""
    return _compile(function, _Kernel)


def helper(function: _F) -> _F:
    """Part of `kernel`s, called by compiled code alone."""
    return _compile(function, _Helper, no_cpython_wrapper=True)


def contracted_kernel(function: _F) -> _F:
    """`kernel` with fused multiply-add allowed: quicker in long chains of products, still exact about NaN and inf.

    The last bits then depend on the CPU; use it for estimators, not for simulators that promise the same bits twice.
    """
    return _compile(function, _Kernel, fastmath={"contract"})


def contracted_helper(function: _F) -> _F:
    """Part of `contracted_kernel`s, called by compiled code alone."""
    return _compile(function, _Helper, no_cpython_wrapper=True, fastmath={"contract"})


def inlined(function: _F) -> _F:
    """`contracted_helper`, always inlined: an array argument is nine words on the stack per call."""
    return _compile(function, _Helper, no_cpython_wrapper=True, fastmath={"contract"}, forceinline=True)


def summing(function: _F) -> _F:
    """`contracted_helper` whose sums may be taken in any order (vector instructions); NaN and inf keep their meaning.

    For plain sums of products only: a compensated sum is destroyed by it.
    """
    return _compile(function, _Helper, no_cpython_wrapper=True, fastmath={"contract", "reassoc"})


def jit_enabled() -> bool:
    """False when kernels run as plain Python (NUMBA_DISABLE_JIT=1)."""
    return not numba.config.DISABLE_JIT

"""A twin's memory as bytes: a head that names format, version and owner, and plain arrays. No files, no pickles."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def pack(head: Mapping[str, str | int | float], arrays: Arrays) -> bytes:
    """`arrays` under `head`, which says whose they are."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(dict(head), sort_keys=True).encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, head=text, **dict(arrays))
    return buffer.getvalue()


def unpack(
    data: bytes, head: Mapping[str, str | int | float], like: Arrays, ragged: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """The arrays of a `pack` under the same head, with the shapes and types of `like`. ValueError for anything else.

    Arrays named in `ragged` may have any number of rows.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = json.loads(file["head"].tobytes())
            arrays = {name: np.ascontiguousarray(file[name]) for name in like}
    # Damaged archives raise from zipfile, zlib, struct, json and NumPy alike; all of them mean the same here.
    except (OSError, LookupError, ValueError, EOFError, ArithmeticError, TypeError) as error:
        raise ValueError(f"not a checkpoint: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, AttributeError, MemoryError, SyntaxError) as error:
        raise ValueError(f"not a checkpoint: {error}") from error
    if found != dict(head):
        raise ValueError(f"checkpoint is of {found}, wanted {dict(head)}")
    for name, own in like.items():
        rows = 1 if name in ragged and arrays[name].ndim else 0
        if arrays[name].shape[rows:] != own.shape[rows:] or arrays[name].dtype != own.dtype:
            raise ValueError(f"checkpoint's {name} is {arrays[name].dtype} {arrays[name].shape}, not {own.shape}")
    return arrays

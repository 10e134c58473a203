"""The web's loading as the scanning gauge has seen it so far, per lane and whole. No I/O, no set-points, no grading.

The gauge crosses the moving web on a diagonal, so a lane's statistics mix along and across: a lane's mean is good for
the profile, and the whole web's CV is that of a random spot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import loading as layout
from kernels.loading import loading_update as loading_update_kernel
from twin.checkpoint import pack, unpack
from twin.types import LoadingStates

Float64Array = NDArray[np.float64]
BARE_FOIL_KG_M2 = 0.005  # an electrode carries 0.05 to 0.3; less is foil and the gauge's zero


class WebLoading:
    """Running count, mean, SD and CV of dry mass loading on `lanes` lanes of equal width over `width_m`."""

    def __init__(self, lanes: int, width_m: float) -> None:
        if lanes < 1:
            raise ValueError(f"a web has at least one lane, not {lanes}")
        if not 0.0 < width_m < 100.0:
            raise ValueError(f"width_m {width_m:g} is not the width of a web")
        self.lanes = lanes
        self.width_m = width_m
        self.reset()

    def reset(self) -> None:
        """Forgets everything: a new lot begins."""
        self._statistics = np.zeros((1 + self.lanes, 3))
        self._place = np.full(2, -1.0)

    def update(
        self,
        time_ns: NDArray[np.int64],
        mass_loading_kg_m2: Float64Array,
        cross_position_m: Float64Array,
        web_position_m: Float64Array,
        quality: NDArray[np.uint8],
    ) -> LoadingStates:
        """Adds a batch of n samples, n may be 0; arrays (n,). Positions as the gauge gives them, quality 0 good.

        Not good, not finite, off the web, bare foil, and a second reading of the same spot do not count. ValueError:
        lengths differ.
        """
        mass = np.ascontiguousarray(mass_loading_kg_m2, dtype=np.float64)
        cross = np.ascontiguousarray(cross_position_m, dtype=np.float64)
        along = np.ascontiguousarray(web_position_m, dtype=np.float64)
        grade = np.ascontiguousarray(quality, dtype=np.uint8)
        shapes = [np.asarray(time_ns).shape, mass.shape, cross.shape, along.shape, grade.shape]
        if len(shapes[0]) != 1 or len(set(shapes)) > 1:
            raise ValueError(f"columns differ in length: {shapes}")
        out = np.empty((layout.OUTPUT_ROWS, 1 + self.lanes))
        code = np.empty(1 + self.lanes, dtype=np.uint8)
        used = loading_update_kernel(
            self._statistics, self._place, self.width_m, BARE_FOIL_KG_M2, mass, cross, along, grade, out, code
        )
        return LoadingStates(
            count=out[layout.OUT_COUNT],
            mean_kg_m2=out[layout.OUT_MEAN],
            sd_kg_m2=out[layout.OUT_SD],
            cv=out[layout.OUT_CV],
            mean_sd_kg_m2=out[layout.OUT_MEAN_SD],
            status=code,
            used=used,
        )

    def checkpoint(self) -> bytes:
        """Everything that a restart needs."""
        return pack(self._head, {"statistics": self._statistics, "place": self._place})

    def restore(self, data: bytes) -> None:
        """Takes a `checkpoint` of the same lanes and width. ValueError otherwise, and nothing changed."""
        arrays = unpack(data, self._head, {"statistics": self._statistics, "place": self._place})
        statistics = arrays["statistics"]
        if not np.isfinite(statistics).all() or (statistics < 0.0).any() or not np.isfinite(arrays["place"]).all():
            raise ValueError("checkpoint holds numbers that no statistics have")
        self._statistics, self._place = statistics, arrays["place"]

    @property
    def _head(self) -> dict[str, str | int | float]:
        return {"format": "celltwin-web-loading", "version": 1, "lanes": self.lanes, "width_m": self.width_m}

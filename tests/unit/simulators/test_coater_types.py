"""Coaters that are built otherwise: more or fewer zones, another solvent, less air."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.machines.coater_sequence import State
from tests.unit.simulators.coater_rig import Rig


@pytest.mark.parametrize("zones", [1, 6])
def test_zones_are_as_many_as_the_equipment_type_has(zones: int) -> None:
    rig = Rig(zones=zones, zone_length_m=16.0 / zones, solvent="water" if zones == 6 else "nmp").to(2400)
    assert rig.machine.control.state is State.EXECUTE
    for tag in ("zone_temperature_c", "zone_lel_fraction", "zone_web_temperature_c", "zone_air_flow_sp_fraction"):
        assert rig.shows(tag).shape == (zones,)
    metres = rig.machine.finished_metres()
    assert f"zone_{zones}_c" in metres
    assert f"zone_{zones + 1}_c" not in metres
    assert rig.show("residual_solvent_fraction") < 0.005
    # Water does not burn.
    assert bool(rig.shows("zone_lel_fraction").max() == 0.0) is (zones == 6)


def test_less_air_dries_less_and_its_set_points_are_kept_within_limits() -> None:
    full, less = Rig(disturbance=0.0).to(2000), Rig(disturbance=0.0).to(2000)
    less.write(zone_air_flow_sp_fraction=np.full(4, 0.4))
    full.to(2400), less.to(2400)
    assert less.shows("zone_air_flow_fraction") == pytest.approx(np.full(4, 0.4), abs=1e-3)
    assert less.show("residual_solvent_fraction") > 10.0 * full.show("residual_solvent_fraction")
    assert less.shows("zone_power_w").sum() < full.shows("zone_power_w").sum()
    with pytest.raises(ValueError, match=r"outside 0\.2 to 1\.2"):
        less.write(zone_air_flow_sp_fraction=0.1)

"""Instrument faults: what is shown of an unharmed machine, as a function of seed and plant time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from configs.document import read_document
from configs.loader import packaged
from configs.schema import Equipment
from simulators.faults.instruments import INSTRUMENT_FAULTS, Instruments, Shown
from simulators.machine import Values
from simulators.servers import Quality
from simulators.timebase import NS_PER_S

S = NS_PER_S
T0 = 1_700_000_000 * S
RACK = Equipment.model_validate(read_document(packaged("equipment")["formation_rack_64"]).data)


def _outputs(at_ns: int = T0) -> dict[str, Values]:
    outputs = {tag.name: np.zeros(group.points) for group in RACK.group for tag in group.tag}
    outputs["voltage_v"] = 3.0 + 0.01 * np.arange(64) + (at_ns - T0) / S * 1e-4
    for name in ("clock_s", "rack_clock_s"):
        outputs[name] += at_ns // S
    return outputs


def _settings(kind: str, **given: float | str) -> Mapping[str, float | str]:
    return INSTRUMENT_FAULTS[kind].complete(kind, given)


def _shown(kind: str, after_s: float, seed: int = 1, **given: float | str) -> Shown:
    instruments = Instruments(RACK, seed)
    instruments.begin(1, kind, _settings(kind, **given), _outputs(), T0)
    return instruments.show(_outputs(T0 + round(after_s * S)), T0 + round(after_s * S))


def _change(kind: str, after_s: float, seed: int = 1, **given: float | str) -> Values:
    shown = _shown(kind, after_s, seed, tags="voltage_v", **given)
    difference: Values = shown.outputs["voltage_v"] - _outputs(T0 + round(after_s * S))["voltage_v"]
    return difference


def test_without_a_fault_the_machines_own_arrays_are_shown() -> None:
    outputs = _outputs()
    shown = Instruments(RACK, 1).show(outputs, T0)
    assert shown.outputs is outputs
    assert (shown.stamp_ns, shown.quality) == (T0, {})


def test_stuck() -> None:
    assert _change("stuck", 100.0, points="3") == pytest.approx(np.where(np.arange(64) == 2, -0.01, 0.0))


def test_drift_offset_and_gain() -> None:
    assert _change("drift", 1800.0, per_h=0.2) == pytest.approx(np.full(64, 0.1))
    assert _change("offset", 5.0, by=-0.02, points="1-2, 64")[[0, 1, 2, 63]] == pytest.approx([-0.02, -0.02, 0, -0.02])
    assert _change("gain", 0.0, factor=1.01) == pytest.approx(0.01 * _outputs()["voltage_v"])


def test_noise_has_its_spread_and_depends_on_seed_and_moment_only() -> None:
    many = np.concatenate([_change("noise", after, sd=0.005) for after in range(100)])
    assert np.std(many) == pytest.approx(0.005, rel=0.05)
    assert abs(np.mean(many)) < 0.0005
    assert (
        abs(np.corrcoef(many[:-64].reshape(-1, 64)[:, 4:].ravel(), many[64:].reshape(-1, 64)[:, :-4].ravel())[0, 1])
        < 0.05
    )
    assert np.array_equal(_change("noise", 7.0, sd=1.0), _change("noise", 7.0, sd=1.0))
    assert not np.array_equal(_change("noise", 7.0, sd=1.0), _change("noise", 8.0, sd=1.0))
    assert not np.array_equal(_change("noise", 7.0, sd=1.0), _change("noise", 7.0, seed=2, sd=1.0))


def test_dropout_is_nothing_to_see_at_the_chosen_points() -> None:
    assert np.isnan(_change("dropout", 1.0, points="10-12")).nonzero()[0].tolist() == [9, 10, 11]


def test_spikes_come_at_their_rate_and_last_their_width() -> None:
    there = np.array([_change("spikes", k / 2, size=1.0, rate_per_h=360.0, width_s=2.0) for k in range(2000)]).round(9)
    assert set(np.unique(there)) == {-1.0, 0.0, 1.0}
    assert np.count_nonzero(there) / there.size == pytest.approx(0.2, rel=0.05)
    assert all(np.array_equal(there[k], there[k + 3]) for k in range(0, 2000, 4))


def test_quality_is_bad_as_a_whole_and_uncertain_in_parts() -> None:
    bad = _shown("bad_quality", 1.0, tags="voltage_v, current_a")
    assert bad.quality == {"voltage_v": Quality.BAD, "current_a": Quality.BAD}
    assert np.isnan(bad.outputs["voltage_v"]).all()
    assert _shown("bad_quality", 1.0, tags="voltage_v", points="1").quality == {"voltage_v": Quality.UNCERTAIN}
    uncertain = _shown("uncertain_quality", 1.0, tags="voltage_v")
    assert uncertain.quality == {"voltage_v": Quality.UNCERTAIN}
    assert np.isfinite(uncertain.outputs["voltage_v"]).all()


def test_clock_jump_and_skew_move_stamps_and_clock_tags_alike() -> None:
    jumped = _shown("clock_jump", 10.0, by_s=-3600.25)
    assert jumped.stamp_ns == T0 + 10 * S - 3_600_250_000_000
    assert jumped.outputs["clock_s"][63] == jumped.stamp_ns // S
    assert jumped.outputs["clock_ms"][63] == 750
    skewed = _shown("clock_skew", 10_000.0, ppm=100.0)
    assert skewed.stamp_ns == T0 + 10_001 * S
    assert skewed.outputs["rack_clock_s"][0] == 1_700_010_001


def test_duplicate_stamps() -> None:
    stamps = [_shown("duplicate_stamps", 5.0 * k, step_s=20.0).stamp_ns for k in range(9)]
    assert [(stamp - T0) // S for stamp in stamps] == [0, 0, 0, 0, 20, 20, 20, 20, 40]


def test_faults_on_one_tag_act_in_the_order_in_which_they_began_and_end_apart() -> None:
    instruments = Instruments(RACK, 1)
    instruments.begin(2, "offset", _settings("offset", tags="voltage_v", by=1.0), _outputs(), T0)
    instruments.begin(1, "stuck", _settings("stuck", tags="voltage_v"), _outputs(), T0)
    later = _outputs(T0 + 60 * S)
    assert instruments.show(later, T0 + 60 * S).outputs["voltage_v"] == pytest.approx(_outputs()["voltage_v"] + 1.0)
    instruments.end(1)
    assert instruments.show(later, T0 + 60 * S).outputs["voltage_v"] == pytest.approx(later["voltage_v"] + 1.0)
    instruments.end(2)
    assert instruments.show(later, T0 + 60 * S).outputs is later


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("stuck", {"tags": "voltag"}, "no tag 'voltag'"),
        ("stuck", {"tags": ""}, "'tags' is empty"),
        ("stuck", {"tags": "voltage_v", "points": "65"}, "64 points"),
        ("stuck", {"tags": "voltage_v", "points": "x"}, "neither a point nor a range"),
        ("stuck", {"tags": "voltage_v", "points": "4-2"}, "no range of points"),
    ],
)
def test_what_the_device_does_not_have_is_refused(kind: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instruments(RACK, 1).check(kind, _settings(kind, **settings))


def test_modbus_shows_no_quality() -> None:
    with pytest.raises(ValueError, match="use dropout"):
        Instruments(RACK, 1, has_quality=False).check("bad_quality", _settings("bad_quality", tags="voltage_v"))

import math

import numpy as np
import pytest

from twin.grading import (
    GRADE_NUMBERS,
    WHY_WORDS,
    Grade,
    GradeLimits,
    Why,
    grade_tray,
    temperature_coefficient,
    tray_statistics,
)


def test_worked_example_of_the_statistics() -> None:
    """1, 2, 3, 4, 100: median 3, deviations 2 1 0 1 97, MAD 1, robust SD 1.4826, its error 1.2533 SD / sqrt 5."""
    found = tray_statistics(np.array([1.0, 2.0, 3.0, 4.0, 100.0, np.nan]))
    assert (found.count, found.median, found.mad_sd) == (5, 3.0, pytest.approx(1.4826))
    assert found.median_sd == pytest.approx(1.2533 * 1.4826 / math.sqrt(5.0))
    assert tray_statistics(np.array([np.nan])).count == 0
    assert math.isnan(tray_statistics(np.array([2.0])).mad_sd)


def test_grades_and_their_reasons() -> None:
    k = np.full(16, 0.03) + 0.001 * np.tile([-1.0, 1.0], 8)
    sd = np.full(16, 0.004)
    ocv = np.full(16, 3.65)
    k[0], k[1], k[2], k[3] = 0.2, 0.078, np.nan, 0.055
    ocv[4] += 0.006
    found = grade_tray(k, sd, ocv)
    assert found.grade[:5] == (Grade.REJECT, Grade.REJECT, Grade.RETEST, Grade.REJECT, Grade.B)
    assert set(found.grade[5:]) == {Grade.A} and set(found.reason[5:]) == {""}
    assert "above 0.08" in found.reason[0] and "above its tray" in found.reason[3]
    assert found.reason[2] == "K is not known" and found.reason[4] == "OCV stands +6.0 mV from its tray"
    wide = grade_tray(np.full(16, 0.07), np.full(16, 0.02), ocv)
    assert set(wide.grade) == {Grade.RETEST} and "straddles" in wide.reason[0]


def test_one_bad_cell_in_four_does_not_move_the_tray() -> None:
    rng = np.random.default_rng(1)
    k = 0.03 + 0.004 * rng.standard_normal(64)
    clean = tray_statistics(k)
    k[:16] += 1.0
    dirty = tray_statistics(k)
    assert abs(dirty.median - clean.median) < 0.004
    found = grade_tray(k, np.full(64, 0.003))
    assert set(found.grade[:16]) == {Grade.REJECT}
    assert found.grade[16:].count(Grade.A) >= 46


def test_a_rack_gradient_is_taken_out() -> None:
    """0.01 mV/h per kelvin over 6 K would make outliers of the warm end; regression gives the coefficient back."""
    rng = np.random.default_rng(2)
    warm = 25.0 + 6.0 * np.arange(64) / 63.0
    k = 0.03 + 0.01 * (warm - 28.0) + 0.002 * rng.standard_normal(64)
    ocv = 3.65 - 2e-4 * (warm - 28.0) + 2e-4 * rng.standard_normal(64)
    k[5] = 0.5
    found = grade_tray(k, np.full(64, 0.002), ocv, warm)
    assert found.k_coefficient_mv_h_k == pytest.approx(0.01, rel=0.1)
    assert found.ocv_coefficient_v_k == pytest.approx(-2e-4, rel=0.2)
    assert found.grade.count(Grade.A) >= 60 and found.grade[5] is Grade.REJECT
    assert found.k.mad_sd < 0.003 < tray_statistics(k).mad_sd
    told = grade_tray(k, np.full(64, 0.002), ocv, warm, k_coefficient_mv_h_k=0.01, ocv_coefficient_v_k=0.0)
    assert (told.k_coefficient_mv_h_k, told.ocv_coefficient_v_k) == (0.01, 0.0)


def test_no_coefficient_where_the_tray_cannot_give_one() -> None:
    k = np.linspace(0.0, 1.0, 20)
    assert temperature_coefficient(k, np.linspace(25.0, 26.0, 20)) == 0.0
    assert temperature_coefficient(k[:5], np.linspace(25.0, 35.0, 5)) == 0.0
    assert temperature_coefficient(k, np.array([25.0] * 19 + [30.0])) != math.inf


def test_a_few_cells_are_judged_by_the_limit_alone() -> None:
    found = grade_tray(np.array([0.01, 0.06, 0.2]), np.full(3, 0.005))
    assert found.grade == (Grade.A, Grade.A, Grade.REJECT)
    assert np.isnan(found.k_z).all()


def test_any_floats_are_answered() -> None:
    rng = np.random.default_rng(3)
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 0.03])
    for n in (0, 1, 2, 9, 40):
        for _ in range(20):
            found = grade_tray(*(rng.choice(odd, n) for _ in range(4)))
            assert len(found.grade) == len(found.reason) == n
            assert all(
                (grade is Grade.A) == (reason == "") for grade, reason in zip(found.grade, found.reason, strict=True)
            )
    with pytest.raises(ValueError, match="k_sd_mv_h"):
        grade_tray(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="positive"):
        GradeLimits(k_mv_h=0.0)


def test_a_tray_in_words() -> None:
    k, sd = np.full(16, 0.03), np.full(16, 0.004)
    k[3], k[6], k[7] = 0.21, np.nan, np.nan
    unknown = ["the record ends while the cell still relaxes"] * 16
    found = grade_tray(k, sd, np.full(16, 3.65), unknown=unknown)
    assert found.why[3] is Why.K_ABOVE_LIMIT and found.why[6] is Why.K_UNKNOWN and found.why[0] is Why.NOTHING
    assert found.in_words(range(1, 17)) == (
        "13 A, 2 retest (channel 7, 8: the record ends while the cell still relaxes), "
        "1 reject (channel 4: K 0.210 +- 0.008 mV/h is above 0.08 mV/h)"
    )
    k[:12] = np.nan
    found = grade_tray(k, sd, unknown=["short"] * 8 + ["wide"] * 8)
    assert found.in_words(range(1, 17)) == "4 A, 12 retest (8 channels: short; 4 channels: wide)"
    assert set(GRADE_NUMBERS) == set(Grade) and len(set(GRADE_NUMBERS.values())) == 4
    assert set(WHY_WORDS) == set(Why)
    with pytest.raises(ValueError, match="2 reasons for 16 cells"):
        grade_tray(k, sd, unknown=["", ""])

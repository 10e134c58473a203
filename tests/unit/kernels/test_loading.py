import numpy as np

from kernels import loading, status


def call(statistics, place, mass, cross, along, quality=None, width=1.0, least=0.005):
    out = np.empty((loading.OUTPUT_ROWS, len(statistics)))
    code = np.empty(len(statistics), dtype=np.uint8)
    mass, cross, along = (np.asarray(a, dtype=np.float64) for a in (mass, cross, along))
    grade = np.zeros(len(mass), dtype=np.uint8) if quality is None else np.asarray(quality, dtype=np.uint8)
    used = loading.loading_update(statistics, place, width, least, mass, cross, along, grade, out, code)
    return used, out, code


def test_worked_example() -> None:
    """0.16, 0.17, 0.18 in lane 1 of 2: mean 0.17, M2 2e-4, SD 0.01, CV 1/17, standard error 0.01/sqrt(3)."""
    statistics = np.zeros((3, 3))
    used, out, code = call(statistics, np.zeros(2), [0.16, 0.17, 0.18], [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert used == 3
    np.testing.assert_allclose(out[:, 1], [3, 0.17, 0.01, 0.01 / 0.17, 0.01 / 3**0.5], rtol=1e-12)
    np.testing.assert_allclose(out[:, 0], out[:, 1], rtol=0)
    assert out[loading.OUT_COUNT, 2] == 0 and np.isnan(out[1:, 2]).all()
    assert list(code) == [status.OK, status.OK, status.WAITING]


def test_small_spread_on_a_large_count_keeps_its_digits() -> None:
    rng = np.random.default_rng(3)
    mass = 0.169 * (1.0 + 1e-4 * rng.standard_normal(100_000))
    statistics = np.zeros((2, 3))
    _, out, _ = call(statistics, np.zeros(2), mass, np.full(mass.size, 0.5), np.arange(1.0, mass.size + 1))
    np.testing.assert_allclose(out[loading.OUT_SD, 0], mass.std(ddof=1), rtol=1e-9)


def test_what_does_not_count() -> None:
    nan, inf = np.nan, np.inf
    mass = [0.17, 0.17, nan, 0.17, 0.17, inf, 0.0, 20.0, 0.17]
    cross = [0.5, 0.5, 0.5, nan, -0.01, 0.5, 0.5, 0.5, 0.5]
    along = [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, inf]
    used, _, _ = call(np.zeros((2, 3)), np.zeros(2), mass, cross, along)
    assert used == 1  # the second is the first, read twice
    used, _, code = call(np.zeros((2, 3)), np.zeros(2), [0.17], [0.5], [1.0], quality=[1])
    assert used == 0 and code[0] == status.WAITING


def test_the_web_edges_belong_to_the_outer_lanes() -> None:
    statistics = np.zeros((25, 3))
    call(statistics, np.full(2, -1.0), [0.17, 0.17], [0.0, 0.3], [1.0, 2.0], width=0.3)
    assert statistics[1, 0] == statistics[24, 0] == 1

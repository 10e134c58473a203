import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import status
from twin.loading import WebLoading

floats = st.floats(allow_nan=True, allow_infinity=True)
samples = st.lists(st.tuples(floats, floats, floats, st.integers(0, 255)), max_size=20)


def feed(web: WebLoading, rows: list[tuple[float, float, float, int]]):
    columns = [np.array([r[k] for r in rows], dtype=np.float64) for k in range(3)]
    quality = np.array([r[3] for r in rows], dtype=np.uint8)
    return web.update(np.arange(len(rows)), *columns, quality)


@settings(deadline=None, max_examples=200)
@given(samples)
def test_any_floats_are_accepted(rows) -> None:
    web = WebLoading(4, 0.3)
    states = feed(web, rows)
    assert 0 <= states.used <= len(rows)
    assert states.points == 5
    known = states.count > 1
    assert np.isfinite(states.sd_kg_m2[known]).all() and (states.sd_kg_m2[known] >= 0).all()
    web.restore(web.checkpoint())


def test_batches_of_any_length_give_the_same_statistics() -> None:
    rng = np.random.default_rng(1)
    rows = [(0.17 + 0.002 * rng.standard_normal(), 0.3 * rng.random(), float(k), 0) for k in range(500)]
    one, many = WebLoading(24, 0.3), WebLoading(24, 0.3)
    whole = feed(one, rows)
    assert feed(many, []).used == 0
    for start in range(0, 500, 7):
        parts = feed(many, rows[start : start + 7])
    np.testing.assert_array_equal(whole.mean_kg_m2, parts.mean_kg_m2)
    np.testing.assert_array_equal(whole.sd_kg_m2, parts.sd_kg_m2)
    mass = np.array([r[0] for r in rows])
    np.testing.assert_allclose(whole.cv[0], mass.std(ddof=1) / mass.mean(), rtol=1e-12)


def test_status_says_what_a_batch_did() -> None:
    web = WebLoading(2, 0.2)
    states = feed(web, [(0.17, 0.05, 1.0, 0), (0.18, 0.05, 2.0, 0), (0.17, 0.15, 3.0, 0)])
    assert list(states.status) == [status.OK, status.OK, status.WAITING]
    states = feed(web, [(0.17, 0.15, 4.0, 0)])
    assert list(states.status) == [status.OK, status.PREDICTED, status.OK]


def test_a_restart_continues_and_a_reset_forgets() -> None:
    web, again = WebLoading(2, 0.2), WebLoading(2, 0.2)
    feed(web, [(0.17, 0.05, 1.0, 0), (0.18, 0.05, 2.0, 0)])
    again.restore(web.checkpoint())
    assert feed(again, [(0.18, 0.05, 2.0, 0)]).used == 0  # the same spot as before the restart
    np.testing.assert_array_equal(feed(again, []).mean_kg_m2, feed(web, []).mean_kg_m2)
    web.reset()
    assert feed(web, []).count[0] == 0


@pytest.mark.parametrize("other", [WebLoading(3, 0.2), WebLoading(2, 0.3)])
def test_a_checkpoint_of_another_web_is_refused(other: WebLoading) -> None:
    with pytest.raises(ValueError, match="checkpoint is of"):
        WebLoading(2, 0.2).restore(other.checkpoint())


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one lane"):
        WebLoading(0, 0.3)
    with pytest.raises(ValueError, match="not the width of a web"):
        WebLoading(24, float("nan"))
    with pytest.raises(ValueError, match="differ in length"):
        WebLoading(2, 0.3).update(np.arange(2), np.ones(2), np.ones(2), np.ones(3), np.zeros(2, dtype=np.uint8))

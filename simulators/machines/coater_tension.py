"""Tension of the web in the spans between its driven rollers, with the controllers that hold it. No coating here.

For a span of length L behind roller i (Shelton 1969; Brandenburg 1976; the form below is that of Shin, Tension Control,
TAPPI 2000):
    dT_i/dt = (E A / L) (v_i - v_(i-1)) + (v_(i-1) T_(i-1) - v_i T_i) / L
Solved exactly over an inner step with the speeds held. The die's backing roll leads; each other drive is trimmed by a
proportional-integral controller on the load cell of its span.
"""

from __future__ import annotations

import math

from simulators.machines.coater_parameters import STEP_S, CoaterParameters

SPANS = ("unwind", "dryer", "rewind")
# An unwinding roll is never round: its tension goes up and down once a turn.
_OUT_OF_ROUND = 0.04
# The roll's inertia seen at the web: tension changes by this mass times the acceleration.
_ROLL_KG = 100.0
_GAIN = 2.0
_CREEP_M_S = 1e-6
_CELL_NOISE = 0.003
# A splice passes with the slack of the changed roll.
_SPLICE_SLACK = 0.5


class Tension:
    """Unwind to backing roll, backing roll to pull roll behind the gauge, pull roll to rewind."""

    def __init__(self, p: CoaterParameters) -> None:
        self._p = p
        self._stiff_n = p.foil_modulus_pa * p.foil_thickness_m * p.width_m
        self._lengths = (p.unwind_m, p.gauge_distance_m + 1.0, p.rewind_m)
        self._trim_n = [0.0, 0.0, 0.0]
        self._angle = 0.0
        self._before_m_s = 0.0
        self._slack_n = 0.0
        self.whole = True
        self.gain = _GAIN
        self.wound_n = p.tension_n  # what the brake holds on the unwinding roll
        self.draw = [0.0] * len(SPANS)  # how much faster a drive runs than the one before it, besides its trim
        self.roll_m = p.foil_roll_m
        self.tension_n = [p.tension_n] * len(SPANS)
        self.measured_n = list(self.tension_n)

    @property
    def roll_radius_m(self) -> float:
        """Radius of what is left on the unwinding roll."""
        left = self.roll_m if self._p.foil_roll_m > 0.0 else 6000.0
        return math.sqrt(self._p.core_radius_m**2 + max(0.0, left) * self._p.foil_thickness_m / math.pi)

    def splice(self) -> None:
        """A new roll is on; its splice comes with slack."""
        self.roll_m = self._p.foil_roll_m
        self._slack_n = _SPLICE_SLACK * self._p.tension_n

    def tear(self) -> None:
        """The web is torn: no tension anywhere."""
        self.whole = False
        self.tension_n = [0.0] * len(SPANS)

    def thread(self) -> None:
        """The web is whole and taut again."""
        if not self.whole:
            self.whole = True
            self.tension_n = [self._p.tension_n] * len(SPANS)
            self._trim_n = [0.0] * len(SPANS)

    def step(self, speed_m_s: float, length_m: float, normals: list[float]) -> None:
        """One inner step with the backing roll at `speed_m_s`."""
        p = self._p
        if p.foil_roll_m > 0.0:
            self.roll_m -= length_m
        if self.whole and speed_m_s > _CREEP_M_S:
            acceleration = (speed_m_s - self._before_m_s) / STEP_S
            self._angle += length_m / self.roll_radius_m
            wavy = p.disturbance * _OUT_OF_ROUND * p.tension_n * math.sin(self._angle)
            self._slack_n *= math.exp(-length_m / p.unwind_m)
            wound_n = max(0.0, self.wound_n + wavy + _ROLL_KG * acceleration - self._slack_n)
            self._spans(speed_m_s, wound_n)
        self._before_m_s = speed_m_s
        noise = p.disturbance * _CELL_NOISE * p.tension_n
        self.measured_n = [t + noise * n for t, n in zip(self.tension_n, normals, strict=True)]

    def _spans(self, speed_m_s: float, wound_n: float) -> None:
        """The backing roll runs at `speed_m_s`; the unwind behind it and the rollers before it are trimmed."""
        before = wound_n
        for i, length in enumerate(self._lengths):
            now = self.tension_n[i]
            error = self._p.tension_n - now
            reach = speed_m_s / length * STEP_S
            self._trim_n[i] += self.gain * error * min(reach, 0.2)
            # EA (v_i - v_(i-1)) / v, by what the drive is trimmed; the ratio of the speeds is 1 but for 1e-4.
            draw_n = self.gain * error + self._trim_n[i] + self._stiff_n * self.draw[i]
            settled = before + draw_n
            draw = 1.0 + draw_n / self._stiff_n
            keep = math.exp(-draw * reach)
            self.tension_n[i] = max(0.0, settled + (now - settled) * keep)
            before = self.tension_n[i]

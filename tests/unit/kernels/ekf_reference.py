"""The cell filter once more, one cell, full matrices, written from the formulas and not from the kernel."""

from __future__ import annotations

import numpy as np

from kernels import ekf_layout as k

PAIRS = [(a, b) for a in range(5) for b in range(a, 5)]


def hermite(ocv: np.ndarray, s: float) -> tuple[float, float, float]:
    m = len(ocv) - 1
    if not 0.0 < s < 1.0:
        end = 0 if s <= 0.0 else m
        return ocv[end, 0] + ocv[end, 1] * (s - end / m), ocv[end, 1], 0.0
    i = int(s * m)
    t, h = s * m - i, 1.0 / m
    basis = np.array([2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2])
    slopes = np.array([6 * t**2 - 6 * t, 3 * t**2 - 4 * t + 1, -6 * t**2 + 6 * t, 3 * t**2 - 2 * t])
    knots = np.array([ocv[i, 0], h * ocv[i, 1], ocv[i + 1, 0], h * ocv[i + 1, 1]])
    return float(basis @ knots), float(slopes @ knots) / h, float(ocv[i + 1, 1] - ocv[i, 1]) / h


def matrix(row: np.ndarray) -> np.ndarray:
    p = np.empty((5, 5))
    for value, (a, b) in zip(row[k.P00 : k.P44 + 1], PAIRS, strict=True):
        p[a, b] = p[b, a] = value
    return p


class Reference:
    """Follows one started cell from a kernel's state row; good samples that pass the gate only."""

    def __init__(self, row: np.ndarray, par: np.ndarray, noise: np.ndarray, ocv: np.ndarray) -> None:
        self.x, self.p = row[:5].copy(), matrix(row)
        self.current, self.phase = row[k.CURRENT], row[k.PHASE]
        self.par, self.noise, self.ocv = par, noise, ocv

    def factor(self, t_k: float) -> float:
        return float(np.exp(self.par[k.PAR_EA] * (1 / t_k - 1 / 298.15)))

    def predict(self, dt: float, current: float, charge: float, t_k: float) -> None:
        par, w = self.par, self.noise
        f = self.factor(t_k)
        step = current - self.current
        i_mean = (current + self.current) / 2
        spread = step**2 / 12
        if dt > w[k.N_GAP]:
            spread += (w[k.N_GAP_RATE] * par[k.PAR_CAPACITY] / 3600 * (1 - w[k.N_GAP] / dt)) ** 2
        q_var = w[k.N_COUNTER] ** 2
        if abs(charge) <= min(1.3 * par[k.PAR_CAPACITY], par[k.PAR_CAPACITY] * dt / 360 + 1):
            spread += (charge / dt - i_mean) ** 2
            i_mean = charge / dt
        else:
            q_var += spread * dt**2
        first = self.phase < k.FORMED
        raw = first and i_mean > 0
        eta = par[k.PAR_ETA] if raw else 1.0
        walk = w[k.N_WALK_RAW] if raw else w[k.N_WALK]
        floor = np.array([w[k.N_FLOOR1], w[k.N_FLOOR_RAW] if first else w[k.N_FLOOR2]])
        a = np.exp(-dt * par[[k.PAR_RATE1, k.PAR_RATE2]])
        r = f * par[[k.PAR_R1, k.PAR_R2]]
        g = eta * i_mean * dt / par[k.PAR_CAPACITY]
        moved = g * self.x[4]
        jacobian = np.diag([1.0, a[0], a[1], 1.0, 1.0])
        jacobian[0, 4] = g
        q = np.zeros(5)
        q[0] = q_var * (eta * self.x[4] / par[k.PAR_CAPACITY]) ** 2 + walk**2 * abs(moved) + w[k.N_WALK_TIME] * dt
        q[1:3] = (floor**2 + r**2 * ((w[k.N_FRACTION] * i_mean) ** 2 + spread)) * (1 - a**2)
        q[3] = (w[k.N_R0_WALK] ** 2 * abs(moved) + 1e-12 * dt) * par[k.PAR_R0] ** 2
        q[4] = w[k.N_K_WALK] * dt
        self.x[0] += moved
        self.x[1:3] = a * self.x[1:3] + r * (1 - a) * i_mean
        self.p = jacobian @ self.p @ jacobian.T + np.diag(q)

    def measure(self, voltage: float, current: float, t_k: float, sd: float) -> tuple[float, float]:
        """Innovation and its standard deviation."""
        value, slope, bend = hermite(self.ocv, self.x[0])
        h = np.array([slope, 1.0, 1.0, self.factor(t_k) * current, 0.0])
        r = sd**2 + 0.5 * (bend * self.p[0, 0]) ** 2
        s = h @ self.p @ h + r
        gain = self.p @ h / s
        nu = voltage - value - self.x[1] - self.x[2] - h[3] * self.x[3]
        self.x = self.x + gain * nu
        keep = np.eye(5) - np.outer(gain, h)
        self.p = keep @ self.p @ keep.T + r * np.outer(gain, gain)  # Joseph's form
        self.current = current
        return float(nu), float(np.sqrt(s))

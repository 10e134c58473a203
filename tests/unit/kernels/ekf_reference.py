"""The cell filter once more, one cell, full matrices, written from the formulas and not from the kernel."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicHermiteSpline

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
    """Covariance of the five states and, last, the OCV's error in units of its standard deviation."""
    p = np.eye(6)
    for value, (a, b) in zip(row[k.P00 : k.P44 + 1], PAIRS, strict=True):
        p[a, b] = p[b, a] = value
    p[5, :5] = p[:5, 5] = row[k.B0 : k.B4 + 1]
    return p


class Reference:
    """Follows one started cell from a kernel's state row; good samples that pass the gate only."""

    def __init__(self, row: np.ndarray, par: np.ndarray, noise: np.ndarray, ocv: np.ndarray) -> None:
        self.x, self.p = row[:5].copy(), matrix(row)
        self.current, self.phase, self.t_k = row[k.CURRENT], row[k.PHASE], row[k.TEMPERATURE]
        self.par, self.noise, self.ocv = par, noise, ocv

    def factor(self, t_k: float) -> float:
        return float(np.exp(self.par[k.PAR_EA] * (1 / t_k - 1 / 298.15)))

    def predict(self, dt: float, current: float, charge: float, t_k: float) -> None:
        par, w = self.par, self.noise
        f = np.sqrt(self.factor(self.t_k) * self.factor(t_k))  # 1 / T half way between the samples
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
        x = abs(moved) * w[k.N_OCV_RATE]
        stay = 1 / (1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24)
        self.throughput = g
        jacobian = np.diag([1.0, a[0], a[1], 1.0, 1.0, stay])
        jacobian[0, 4] = g
        q = np.zeros(6)
        q[5] = 1 - stay**2
        q[0] = q_var * (eta * self.x[4] / par[k.PAR_CAPACITY]) ** 2 + walk**2 * abs(moved) + w[k.N_WALK_TIME] * dt
        q[1:3] = (floor**2 + r**2 * ((w[k.N_FRACTION] * i_mean) ** 2 + spread)) * (1 - a**2)
        q[3] = (w[k.N_R0_WALK] ** 2 * abs(moved) + 1e-12 * dt) * par[k.PAR_R0] ** 2
        q[4] = w[k.N_K_WALK] * dt
        self.x[0] += moved
        self.x[1:3] = a * self.x[1:3] + r * (1 - a) * i_mean
        self.p = jacobian @ self.p @ jacobian.T + np.diag(q)

    def measure(self, voltage: float, current: float, t_k: float, sd: float) -> tuple[float, float]:
        """Innovation and its standard deviation."""
        level = self.ocv[int((k.LEVELS - 1) * (self.p[0, 0] / k.SOC_SD_MAX**2) ** 0.25 + 0.5)]
        value, slope, _ = hermite(level[:, :2], self.x[0])
        rest = np.interp(self.x[0], np.linspace(0, 1, len(level)), level[:, k.OCV_REST])
        rest *= min(max(k.REST_SOC / max(abs(self.throughput), 1e-12), 1.0), k.REST_MOST)
        wrong = np.hypot(self.noise[k.N_OCV_V], self.noise[k.N_OCV_SOC] * slope)
        h = np.array([slope, 1.0, 1.0, self.factor(t_k) * current, 0.0, wrong])
        r = sd**2 + rest
        s = h @ self.p @ h + r
        gain = self.p @ h / s
        gain[5] = 0.0  # considered, not estimated
        nu = voltage - value - self.x[1] - self.x[2] - h[3] * self.x[3]
        self.x = self.x + gain[:5] * nu
        keep = np.eye(6) - np.outer(gain, h)
        self.p = keep @ self.p @ keep.T + r * np.outer(gain, gain)  # Joseph's form
        self.current, self.t_k = current, t_k
        return float(nu), float(np.sqrt(s))


class Plant:
    """n cells drawn from the filter's own priors, which then move with the noise that the filter expects of them."""

    def __init__(self, par: np.ndarray, noise: np.ndarray, ocv: np.ndarray, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.par, self.noise, self.ocv = par, noise, ocv
        n = len(par)
        past = par[:, k.PAR_CAPACITY] / 18_000.0
        self.x = np.zeros((5, n))
        self.x[0] = self.rng.uniform(0.2, 0.5, n)
        self.x[1] = np.hypot(noise[k.N_FLOOR1], past * par[:, k.PAR_R1]) * self.rng.standard_normal(n)
        self.x[2] = np.hypot(noise[k.N_FLOOR2], past * par[:, k.PAR_R2]) * self.rng.standard_normal(n)
        self.x[3] = par[:, k.PAR_R0] + par[:, k.PAR_R0_SD] * self.rng.standard_normal(n)
        self.x[4] = 1.0 + par[:, k.PAR_K_SD] * self.rng.standard_normal(n)
        self.b = self.rng.standard_normal(n)

    def move(self, dt: float, current: float) -> None:
        """Constant current at 25 C, charge counted."""
        par, w, rng, n = self.par, self.noise, self.rng, len(self.par)
        moved = current * dt / par[:, k.PAR_CAPACITY] * self.x[4]
        a = np.exp(-dt * par[:, [k.PAR_RATE1, k.PAR_RATE2]].T)
        r = par[:, [k.PAR_R1, k.PAR_R2]].T
        floor = w[[k.N_FLOOR1, k.N_FLOOR2], None]
        sd = np.sqrt((floor**2 + (r * w[k.N_FRACTION] * current) ** 2) * (1 - a**2))
        counted = w[k.N_COUNTER] / par[:, k.PAR_CAPACITY]
        self.x[0] += moved + np.sqrt(w[k.N_WALK] ** 2 * np.abs(moved) + counted**2) * rng.standard_normal(n)
        self.x[1:3] = a * self.x[1:3] + r * (1 - a) * current + sd * rng.standard_normal((2, n))
        self.x[3] += w[k.N_R0_WALK] * par[:, k.PAR_R0] * np.sqrt(np.abs(moved)) * rng.standard_normal(n)
        self.x[4] += np.sqrt(w[k.N_K_WALK] * dt) * rng.standard_normal(n)
        stay = np.exp(-np.abs(moved) * w[k.N_OCV_RATE])
        self.b = stay * self.b + np.sqrt(1 - stay**2) * rng.standard_normal(n)

    def voltage(self, current: float) -> np.ndarray:
        curve = CubicHermiteSpline(np.linspace(0, 1, len(self.ocv)), self.ocv[:, 0], self.ocv[:, 1])
        wrong = np.hypot(self.noise[k.N_OCV_V], self.noise[k.N_OCV_SOC] * curve(self.x[0], 1)) * self.b
        noise = self.noise[k.N_VOLTAGE] * self.rng.standard_normal(len(self.par))
        volts: np.ndarray = curve(self.x[0]) + self.x[1] + self.x[2] + self.x[3] * current + wrong + noise
        return volts

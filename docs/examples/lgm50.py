"""From measured files of an LG M50 cell to R10, OCV and electrode windows, as in a notebook.

    python docs/examples/lgm50.py DATA OUT

DATA holds lgm50_pulses.parquet and lgm50_c10.parquet; OUT gets three pictures. The cells (# %%) run one by one in
editors that know them. Everything here is an ordinary call: arrays in, a frozen result with standard deviations out.
"""

# %% What we need: pandas to read, the twins to think, matplotlib to look
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")  # pictures into files; leave this out in a notebook
import matplotlib.pyplot as plt

from twin.esoh import Electrodes, fit_curve, fitted_voltage, slow_curve
from twin.halfcell import load
from twin.ocv import SlowTest, ocv
from twin.pulse import find_pulses

DATA, OUT = Path(sys.argv[1]), Path(sys.argv[2])
OUT.mkdir(parents=True, exist_ok=True)

# %% R10 of 108 pulses: 2 temperatures x 9 levels of charge x 6 cells, each analysed on its own, never pooled
frame = pd.read_parquet(DATA / "lgm50_pulses.parquet")
found = []
for (temperature_c, level, cell), rows in frame.groupby(["temperature_c", "soc_level", "cell"], sort=False):
    pulses = find_pulses(rows.prog_time_s.to_numpy(), rows.current_a.to_numpy(), rows.voltage_v.to_numpy())
    r10_ohm, sd_ohm = pulses.at(10.0)
    found.append((temperature_c, level, cell, r10_ohm[0], sd_ohm[0], pulses.stale_rows[0], pulses.reason(0)))
table = pd.DataFrame(found, columns=["temperature_c", "level", "cell", "r10_ohm", "sd_ohm", "stale_rows", "reason"])
print(f"{len(table)} pulses; in {(table.stale_rows > 0).sum()} a row of zero current already carries the voltage")
print("without R10, and why:", table[table.r10_ohm.isna()].groupby(["temperature_c", "level"]).reason.first().to_dict())
between = table.groupby(["temperature_c", "level"]).r10_ohm.agg(["mean", "std"]) * 1e3
print((between.assign(cv_percent=100 * between["std"] / between["mean"])).round(2).to_string())

# %% Picture: the level of charge and the temperature both matter more than the cell
picture, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for (temperature_c,), rows in table.groupby(["temperature_c"]):
    axis.errorbar(rows.level, rows.r10_ohm * 1e3, 1.96e3 * rows.sd_ohm, fmt="o", ms=4, label=f"{temperature_c:g} °C")
axis.set(xlabel="level of charge (9 is full)", ylabel="R10 (mΩ), six cells, 95 % bars")
axis.legend(frameon=False)
picture.savefig(OUT / "r10.png", dpi=110)

# %% OCV from C/10 both ways: the ohmic part and the hysteresis are taken out, what remains uncertain is said
slow = pd.read_parquet(DATA / "lgm50_c10.parquet")
curve = ocv(SlowTest(slow.time_s.to_numpy(), slow.current_a.to_numpy(), slow.voltage_v.to_numpy()))
assert not curve.reason, curve.reason
assert (np.diff(curve.ocv_v) > 0).all()
print(f"capacity {curve.discharge_ah:.3f} Ah down, {curve.charge_ah:.3f} Ah up; ohmic {1e3 * curve.ohmic_ohm:.1f} mΩ")

# %% Picture
picture, axis = plt.subplots(figsize=(7, 4), layout="constrained")
low, high = (curve.ocv_v + sign * 1.96 * curve.ocv_v_sd for sign in (-1, 1))
axis.fill_between(curve.soc, low, high, alpha=0.3, label="95 %")
axis.plot(curve.soc, curve.ocv_v, label="OCV")
axis.set(xlabel="state of charge", ylabel="V")
axis.legend(frameon=False)
picture.savefig(OUT / "ocv.png", dpi=110)

# %% Electrode windows: the same discharge seen as the difference of two half-cells (Chen 2020, shipped with celltwin)
electrodes = Electrodes(load("nmc811_chen2020"), load("graphite_siox_chen2020"))
discharge = slow_curve(slow.time_s.to_numpy(), slow.current_a.to_numpy(), slow.voltage_v.to_numpy(), "discharge")
windows = fit_curve(discharge, electrodes)
for name in ("x_0", "x_100", "y_0", "y_100", "n_to_p"):
    print(f"{name:6} {getattr(windows, name):.4f} ± {getattr(windows, name + '_sd'):.4f}")
print(f"RMSE {1e3 * windows.rmse_v:.1f} mV; {windows.reason or 'the data settle the windows'}")

# %% Picture: the fit and what it leaves over
picture, (above, below) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained")
fitted_v = fitted_voltage(discharge, windows, electrodes)
above.plot(discharge.z, discharge.voltage_v, label="measured")
above.plot(discharge.z, fitted_v, "--", label="half-cell fit")
above.set(ylabel="V")
above.legend(frameon=False)
below.plot(discharge.z, 1e3 * (discharge.voltage_v - fitted_v))
below.set(xlabel="charge, as a fraction of the curve's", ylabel="mV left")
picture.savefig(OUT / "esoh.png", dpi=110)

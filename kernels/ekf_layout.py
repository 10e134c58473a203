"""Where the cell filter's numbers stand in its arrays, and the bounds it keeps. Constants only."""

# Columns of one cell's state row. 5 to 19: covariance, upper triangle, row by row.
SOC, U1, U2, R0, K = 0, 1, 2, 3, 4
P00, P01, P02, P03, P04 = 5, 6, 7, 8, 9
P11, P12, P13, P14 = 10, 11, 12, 13
P22, P23, P24 = 14, 15, 16
P33, P34, P44 = 17, 18, 19
CURRENT = 20  # at the last good sample [A]
TEMPERATURE = 21  # at the last good sample [K]
PHASE = 22  # one of the four below
MISSES = 23  # good samples in a row that the gate refused
B0, B1, B2, B3, B4 = 24, 25, 26, 27, 28  # covariances of the five states with the OCV's error b (variance 1, mean 0)
STATE_COLUMNS = 29

UNSEEN = -1.0  # no good sample yet
RAW = 0.0  # first charge, below the upper limit: part of the charge goes into the SEI
TOPPED = 1.0  # first charge, upper voltage limit reached
FORMED = 2.0  # charge has ended at the limit once, or the cell was not raw when it came

# Columns of one cell's parameter row.
PAR_CAPACITY, PAR_R0, PAR_R1, PAR_RATE1, PAR_R2, PAR_RATE2 = 0, 1, 2, 3, 4, 5  # [C], [ohm], 1/tau [1/s]
PAR_EA, PAR_ETA, PAR_R0_SD, PAR_K_SD = 6, 7, 8, 9  # Ea/Rg [K], first-charge efficiency, prior SDs
PARAMETER_COLUMNS = 10

# Entries of the noise vector that all cells share; twin/parameters.py gives values and reasons.
N_VOLTAGE, N_UNCERTAIN, N_FLOOR1, N_FLOOR2, N_FRACTION = 0, 1, 2, 3, 4
N_WALK, N_WALK_RAW, N_R0_WALK, N_K_WALK, N_COUNTER = 5, 6, 7, 8, 9
N_GAP, N_GAP_RATE, N_GATE, N_RAW_SD, N_UPPER, N_WALK_TIME = 10, 11, 12, 13, 14, 15
N_RAW_SOC, N_FLOOR_RAW = 16, 17
N_OCV_V, N_OCV_SOC, N_OCV_RATE = 18, 19, 20  # SD of the OCV [V] and along SOC; decorrelation per throughput (1 / SOC)
NOISE_ENTRIES = 21

# The OCV table: (LEVELS, points, OCV_COLUMNS). Level k is the OCV as a cell sees it whose SOC is known to
# SOC_SD_MAX (k / (LEVELS - 1))^2, so that the level follows from the fourth root of the variance.
LEVELS = 17
OCV_VALUE, OCV_SLOPE, OCV_REST = 0, 1, 2  # mean [V]; slope [V]; variance [V^2] that the slope does not explain
OCV_COLUMNS = 4  # a power of two; the last is not used
# What the slope does not explain is the same error at the next sample, not a new one: it counts as new once in REST_SOC
# of throughput, and at most REST_MOST samples count as one (a cell at rest must still find back after a gap).
REST_SOC, REST_MOST = 0.002, 4.0

# Rows of the output array; capacities in Ah, the one unit that is not SI, because no one reads coulombs.
(OUT_SOC, OUT_SOC_SD, OUT_U1, OUT_U2, OUT_R0, OUT_R0_SD, OUT_CAPACITY, OUT_CAPACITY_SD) = (0, 1, 2, 3, 4, 5, 6, 7)
OUT_INNOVATION, OUT_INNOVATION_SD = 8, 9
OUTPUT_ROWS = 10

# Cells go through the arithmetic in lanes of this many, so that the compiler can use vector instructions: work arrays
# hold one row per number and one column per cell. Loading, tables, exponentials and storing are done cell by cell.
LANES = 8
# Rows of the work array beyond the state's: what moves a lane, and what its voltage says. One array for all of it,
# because the compiler gives up on vectors when it would have to check many arrays for overlap.
D_DT, D_MEAN, D_PER_C, D_MOVED_VAR, D_WALK, D_FLOOR2, D_DRIVE2 = 29, 30, 31, 32, 33, 34, 35
D_R1, D_R2, D_FACTOR, D_A1, D_A2, D_R0, D_CAPACITY = 36, 37, 38, 39, 40, 41, 42  # D_FACTOR to D_A2 in this order
D_SLOPE, D_H3, D_INNOVATION, D_R, D_GATE2, D_TAKEN, D_VARIANCE = 43, 44, 45, 46, 47, 48, 49
D_AMPERE, D_CHARGE, D_ETA = 50, 51, 52
D_VOLTAGE, D_GOOD, D_SD, D_COMPARED, D_SOUND = 53, 54, 55, 56, 57
D_HB = 58  # SD of the OCV's error at this SOC [V]
D_POWER = 59  # and the two after
D_WARM = 62  # log of what resistances were over the interval, in the mean, against what they are at its end
D_OUT = 63  # the output rows follow
WORK_ROWS = D_OUT + 10

SOC_MARGIN = 0.05  # the mean is kept within 0 - margin and 1 + margin: beyond, the table means nothing
U_MAX_V = 2.0
SOC_SD_MAX = 0.3  # uniform on 0..1 has 0.29: nothing can be known less
START_POINTS = 96  # of the sum over SOC at a cell's first sample
MISSES_MAX = 3.0  # from this refusal on, the cell and not the sample is doubted
TIME_LIMIT_NS = 1 << 62  # differences of times within 0..limit cannot overflow
REFERENCE_K = 298.15
ROUNDING = 6755399441055744.0  # 1.5 * 2^52: adding and taking it away rounds to an integer
R0_WALK_TIME = 1e-12  # relative variance per second: 3e-4 in a day, so that nothing is ever known exactly
WARM_MOST = 0.5  # bound on D_WARM: ten kelvins between two samples; after a gap the pairs have settled anyway
R_MIN_RELATIVE = 1e-9  # measurement variance per predicted one, see above

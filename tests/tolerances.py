"""How far apart two computations of one thing may be, relative to the largest number in it: the only such table.

Each is a few times what rounding in that dtype explains, and was set from what was measured, never from what failed.
"""

RELATIVE = {
    "float64": 1e-12,
    "float32": 5e-6,
    "float16": 2e-3,
    "bfloat16": 1.6e-2,
}
THROUGH_A_MODEL = 4e-5  # of a whole denoiser in float32, whose layers add up: ten times what was measured

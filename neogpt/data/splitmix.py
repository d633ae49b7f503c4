"""SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195): whole numbers well mixed."""

import numpy as np
import numpy.typing as npt

GOLDEN = 0x9E3779B97F4A7C15
"""The generator's increment: 2^64 divided by the golden ratio."""
_U64 = (1 << 64) - 1


def splitmix64(x: int) -> int:
    """One number after the generator's increment (so that 0 does not stay 0) and its finalizer."""
    return finalize((x + GOLDEN) & _U64)


def finalize(x: int) -> int:
    """The finalizer alone: every bit of a 64-bit number depends on every other."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _U64
    return x ^ (x >> 31)


def finalize_each(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of each number of an array, which is written to."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x

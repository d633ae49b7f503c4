"""One global order of samples, without state: what step s sees is a pure function of (seed, s).

The permutation is a Feistel network over the smallest power of two that holds n, walked along its cycles
until it lands below n (Black and Rogaway, 2002, "Ciphers with Arbitrary Finite Domains"; levanter shuffles
the same way). It needs O(1) memory, is a bijection by construction, and is computed for any position at once,
so a loader's whole state is the step number and does not depend on the number of processes.
"""

import numpy as np

from neogpt.data.splitmix import GOLDEN, finalize_each, splitmix64

_ROUNDS = 8
_CHUNK = 1 << 16
_U64 = (1 << 64) - 1


def permute(indices: np.ndarray, n: int, key: int) -> np.ndarray:
    """Where a keyed permutation of range(n) sends each index.

    indices: integers in [0, n), any shape -> int64 of the same shape. Distinct indices get distinct results.
    """
    assert n >= 1
    flat = np.asarray(indices, dtype=np.uint64).ravel()
    assert flat.size == 0 or int(flat.max()) < n
    keys, bits = _round_keys(key), max(2, (n - 1).bit_length())
    out = np.empty(flat.shape, np.int64)
    for start in range(0, flat.size, _CHUNK):  # chunks stay in the processor's cache
        out[start : start + _CHUNK] = _walk(flat[start : start + _CHUNK], n, bits, keys)
    return out.reshape(np.shape(indices))


def sample_ids(step: int, batch: int, n: int, seed: int) -> np.ndarray:
    """The `batch` sample numbers of step `step`, int64 (batch,), over n samples permuted afresh each epoch.

    Positions run from step * batch; position p belongs to epoch p // n. Every run of n positions that starts
    at a multiple of n holds each sample exactly once; a batch may reach over the border of two epochs.
    """
    positions = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    epochs, places = np.divmod(positions, n)
    out = np.zeros(batch, np.int64)
    if n == 1:
        return out
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        out[inside] = permute(places[inside], n, derive_key(seed, int(epoch)))
    return out


def derive_key(*parts: int) -> int:
    """One 64-bit key from several whole numbers; a change in any of them, or in their order, changes it."""
    key = 0
    for part in parts:
        key = splitmix64(key ^ splitmix64(part & _U64))
    return key


def _walk(indices: np.ndarray, n: int, bits: int, keys: list[int]) -> np.ndarray:
    """Encrypt until every value is below n; at most half of the domain lies outside, so this is quick."""
    out = _feistel(indices, bits, keys)
    outside = np.flatnonzero(out >= n)
    while outside.size:
        out[outside] = _feistel(out[outside], bits, keys)
        outside = outside[out[outside] >= n]
    return out.astype(np.int64)


def _feistel(values: np.ndarray, bits: int, keys: list[int]) -> np.ndarray:
    """A keyed bijection of [0, 2**bits): each half in turn is xor-ed with a hash of the other."""
    low = np.uint64(bits // 2)
    low_mask, high_mask = np.uint64((1 << bits // 2) - 1), np.uint64((1 << (bits - bits // 2)) - 1)
    left, right = values >> low, values & low_mask
    for i in range(0, len(keys), 2):
        left ^= _hash(right, keys[i]) & high_mask
        right ^= _hash(left, keys[i + 1]) & low_mask
    return (left << low) | right


def _hash(values: np.ndarray, key: int) -> np.ndarray:
    """A well-mixed 64-bit hash of each value."""
    return finalize_each(values + np.uint64(key))


def _round_keys(key: int) -> list[int]:
    return [splitmix64((key + (i + 1) * GOLDEN) & _U64) for i in range(_ROUNDS)]

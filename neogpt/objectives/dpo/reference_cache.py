"""The reference's log-probabilities of every answer, computed once and kept on disk.

The key holds whatever they depend on (weights, rows, precision, device, threads), so a hit has the same bits as a
new computation, and a resumed run the same as an uninterrupted one.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from neogpt import atomic
from neogpt.config import digest
from neogpt.data.batch import Batch
from neogpt.model import GPT2, log_probs
from neogpt.objectives.batching import TokenRow, on_device, pad
from neogpt.paths import cache_dir

PairRow = tuple[TokenRow, TokenRow]
_PAIRS, _TOKENS = 64, 1 << 16  # at once


class Reference:
    """log r of the answers of some pairs: `sums`, float32 (pairs, 2), and of each token, in the pairs' order."""

    def __init__(self, pairs: list[PairRow], sums: np.ndarray, tokens: np.ndarray) -> None:
        self.sums, self.tokens = sums, tokens
        self.lengths = _lengths(pairs)
        ends = self.lengths.reshape(-1).cumsum().reshape(-1, 2)
        self._starts = ends - self.lengths

    def put(self, batch: Batch, ids: list[int]) -> None:
        """Add them to the batch of these pairs: `reference`, (pairs, 2), and `reference_tokens`, like its weights."""
        kept = [self.tokens[self._starts[i, k] :][: self.lengths[i, k]] for k in (0, 1) for i in ids]
        tokens = np.zeros_like(batch.weights)
        tokens[batch.weights > 0] = np.concatenate(kept)
        batch.extra.update(reference=self.sums[ids], reference_tokens=tokens)


def reference(model: GPT2, pairs: list[PairRow], fill: int, dtype: str) -> Reference:
    """The log-probabilities from the cache, or from the model and then into the cache.

    Call it in the precision of the run (`dtype`). A damaged file is computed and written anew.
    """
    path = cache_dir() / "reference" / f"{_key(model, pairs, dtype)}.safetensors"
    shapes = {"sums": (len(pairs), 2), "tokens": (int(_lengths(pairs).sum()),)}
    found = _read(path, shapes)
    if found is None:
        found = _compute(model, pairs, fill)
        _write(path, found)
    return Reference(pairs, found["sums"], found["tokens"])


def _compute(model: GPT2, pairs: list[PairRow], fill: int) -> dict[str, np.ndarray]:
    sums = np.zeros((len(pairs), 2), np.float32)
    tokens: list[list[np.ndarray]] = [[] for _ in pairs]
    with torch.inference_mode():
        for ids in _chunks(pairs):
            rows = [pairs[i][k] for k in (0, 1) for i in ids]
            batch = on_device(pad(rows, fill, model.config.n_positions), model.device)
            logps_RT = log_probs(model, batch.tokens, batch.targets, batch.weights)
            sums[ids] = logps_RT.sum(1).float().cpu().numpy().reshape(2, -1).T
            table, counted = logps_RT.float().cpu().numpy(), batch.weights.cpu().numpy() > 0
            for row, pair in enumerate([*ids, *ids]):
                tokens[pair].append(table[row][counted[row]])
    flat = [answer for pair in tokens for answer in pair]
    return {"sums": sums, "tokens": np.concatenate(flat) if flat else np.zeros(0, np.float32)}


def _chunks(pairs: list[PairRow]) -> Iterator[list[int]]:
    """Pair numbers in order of length, as many at once as fit."""
    longest = [max(sum(map(len, row)) for row in pair) for pair in pairs]
    chunk: list[int] = []
    for i in sorted(range(len(pairs)), key=lambda i: longest[i]):
        if chunk and (len(chunk) == _PAIRS or 2 * (len(chunk) + 1) * longest[i] > _TOKENS):
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def _lengths(pairs: list[PairRow]) -> np.ndarray:
    """Tokens of each answer: int64 (pairs, 2)."""
    return np.array([[len(row[-1]) for row in pair] for pair in pairs], np.int64).reshape(-1, 2)


def _key(model: GPT2, pairs: list[PairRow], dtype: str) -> str:
    weights = hashlib.sha256()
    for name, parameter in model.named_parameters():
        weights.update(f"{name} {tuple(parameter.shape)}".encode())
        weights.update(parameter.detach().float().cpu().contiguous().numpy().data)
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    return digest(
        {
            "weights": weights.hexdigest(),
            "pairs": pairs,
            "bits": [dtype, device, torch.get_num_threads(), torch.__version__, 2],
        }
    )[:32]


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray] | None:
    """The arrays of a whole file whose checksum fits; None for any other."""
    from safetensors import SafetensorError, safe_open  # start-up time

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in shapes}
            checksum = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    fits = all(arrays[n].shape == shape and arrays[n].dtype == np.float32 for n, shape in shapes.items())
    return arrays if fits and checksum == _checksum(arrays) else None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save  # start-up time

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, save(arrays, {"sha256": _checksum(arrays)}))


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()

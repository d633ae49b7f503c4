"""Work that processes share: process r of W takes the items r, r + W, r + 2W, ..., and all get the whole result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from neogpt.train.parallel.distributed import World

T = TypeVar("T")


def mine(items: Sequence[T], world: World) -> Sequence[T]:
    """The items of this process."""
    return items[world.rank :: world.size]


def whole(found: Sequence[T], world: World) -> list[T]:
    """What all processes found for `mine`, in the order of the items; the same everywhere.

    The results are what JSON can hold (a tuple becomes a list), floats to the last bit. Every process must call this.
    """
    if world.size == 1:
        return list(found)
    shares = [json.loads(text) for text in _texts(json.dumps(list(found)), world)]
    n = sum(map(len, shares))
    return [shares[i % world.size][i // world.size] for i in range(n)]


def _texts(text: str, world: World) -> list[str]:
    """The ASCII text of each process."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8)
    lengths = world.gather(np.array([[float(len(codes))]]))[:, 0].astype(int)
    padded: Any = np.zeros((1, lengths.max()))
    padded[0, : len(codes)] = codes
    rows = world.gather(padded).astype(np.uint8)
    return [row[:length].tobytes().decode("ascii") for row, length in zip(rows, lengths, strict=True)]

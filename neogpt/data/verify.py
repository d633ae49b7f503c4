"""Checking a prepared data set to the last byte."""

from pathlib import Path
from typing import Any

import numpy as np

from neogpt import atomic
from neogpt.data.shard_file import REDO, Shard, open_shard
from neogpt.data.shards import SPLITS, TokenData, check_ids, read_info
from neogpt.errors import DataError

_BLOCK = 1 << 24


def verify(folder: Path | str) -> dict[str, Any]:
    """Check every file's size and sha256, every id and every border; DataError at the first fault.

    Returns {"train": {"shards", "documents", "tokens"}, "val": {...}}.
    """
    folder = Path(folder)
    info = read_info(folder)
    atomic.verify_manifest(folder, hint=REDO)
    found = {}
    for split in SPLITS:
        for entry in info["splits"][split]["shards"]:
            _check_content(open_shard(folder / entry["file"]))
        if info["splits"][split]["shards"]:
            TokenData(folder, split)
        counts = info["splits"][split]
        found[split] = {"shards": len(counts["shards"]), **{k: counts[k] for k in ("documents", "tokens")}}
    return found


def _check_content(shard: Shard) -> None:
    """Ids lie in the vocabulary, and end-of-text stands exactly where documents start."""
    borders = 0
    for offset in range(0, len(shard.tokens), _BLOCK):
        check_ids(shard, offset, _BLOCK)
        block = shard.tokens[offset : offset + _BLOCK]
        borders += int(np.count_nonzero(block == shard.header.eot_id))
    starts = shard.starts
    rising = len(starts) > 0 and starts[0] == 0 and bool((np.diff(starts) > 0).all())
    inside = rising and starts[-1] < len(shard.tokens)
    if not inside or borders != len(starts) or (shard.tokens[starts] != shard.header.eot_id).any():
        raise DataError(
            f"the documents of {shard.path} do not start where its .idx says",
            "an end-of-text token at each start and nowhere else",
            REDO,
            code="data.damaged_shard",
        )

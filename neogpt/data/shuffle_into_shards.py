"""The global document shuffle: documents of all parts into shards, in the order of one keyed permutation."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neogpt.data.permutation import derive_key, permute
from neogpt.data.shard_file import ShardSeries, open_shard
from neogpt.data.shards import SPLITS

_CHUNK = 1 << 14
_SALT = 0x5D0C


def shuffle_into_shards(
    sources: Sequence[Path], folder: Path, split: str, seed: int, max_tokens: int, done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Write one split's shards from the shards `sources`, whose documents number 0, 1, ... through all of them.

    Output document j is input document permute(j). In memory are only the lengths of one output shard.
    Returns the list of shards. `done` gets the number of documents written since it was last called.
    """
    shards = [open_shard(path) for path in sources]
    if not shards:
        return []
    head = shards[0].header
    facts = {"vocab_size": head.vocab_size, "eot_id": head.eot_id, "fingerprint": head.fingerprint}
    first = np.cumsum([0] + [shard.header.n_documents for shard in shards])
    with ShardSeries(folder, split, max_tokens, facts) as series:
        for numbers in _order(int(first[-1]), derive_key(_SALT, seed, SPLITS.index(split))):
            places = np.searchsorted(first, numbers, side="right") - 1
            for place, number in zip(places.tolist(), (numbers - first[places]).tolist(), strict=True):
                shard = shards[place]
                end = shard.starts[number + 1] if number + 1 < len(shard.starts) else len(shard.tokens)
                series.add(shard.tokens[shard.starts[number] : end])
            done(len(numbers))
    return series.entries


def _order(n: int, key: int) -> Iterator[np.ndarray]:
    for start in range(0, n, _CHUNK):
        yield permute(np.arange(start, min(start + _CHUNK, n)), n, key)

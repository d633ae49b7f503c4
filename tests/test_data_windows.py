"""Windows and the elastic loader: each token is an input once an epoch and a target once, for any ranks."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_helpers import shards_of

from neogpt.data.permutation import sample_ids
from neogpt.data.shards import TokenData
from neogpt.data.windows import Windows


def stream_of(folder: Path, n_tokens: int, shard_tokens: int) -> TokenData:
    """A stream in which the token at position p is p itself, so that tokens can be told apart."""
    ids = list(range(n_tokens))
    shards = [[ids[i : i + shard_tokens]] for i in range(0, n_tokens, shard_tokens)]
    return TokenData(shards_of(folder / f"{n_tokens}-{shard_tokens}", shards))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(
    ("n_tokens", "length", "batch", "shard_tokens"),
    [(1000, 10, 16, 1000), (1009, 17, 24, 100), (997, 64, 8, 333), (50, 64, 8, 7), (129, 128, 24, 50)],
)
def test_each_token_is_used_once_an_epoch_by_any_number_of_ranks(
    tmp_path: Path, ranks: int, n_tokens: int, length: int, batch: int, shard_tokens: int
) -> None:
    windows = Windows(stream_of(tmp_path, n_tokens, shard_tokens), length)
    n, epochs = len(windows), 3
    rows = []
    for step in range(-(-n * epochs // batch)):
        ids = sample_ids(step, batch, n, seed=11)
        for mine in np.array_split(ids, ranks):  # what each rank computes for itself
            own = windows.batch(mine)
            rows += list(zip(own.tokens, own.targets, own.weights, strict=True))
    orders = []
    for epoch in range(epochs):  # epochs end inside batches and inside ranks
        inputs: Counter[int] = Counter()
        targets: Counter[int] = Counter()
        firsts = []
        for tokens, after, weights in rows[epoch * n : (epoch + 1) * n]:
            kept = weights > 0
            inputs.update(tokens[kept].tolist())
            targets.update(after[kept].tolist())
            assert ((tokens[kept] + 1) % n_tokens == after[kept]).all()
            firsts.append(int(tokens[0]))
        assert inputs == Counter(range(n_tokens))
        assert targets == Counter(range(n_tokens))
        orders.append(firsts)
    if n > 5:
        assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("length", [1, 2, 7, 16, 40, 100])
@pytest.mark.parametrize(("n_tokens", "shard_tokens"), [(1, 1), (2, 1), (40, 9), (41, 41), (97, 16)])
def test_windows_agree_with_a_circle_read_by_hand(
    tmp_path: Path, n_tokens: int, length: int, shard_tokens: int
) -> None:
    windows = Windows(stream_of(tmp_path, n_tokens, shard_tokens), length)
    assert len(windows) == sum(1 for _ in range(0, n_tokens, length))
    batch = windows.batch(np.arange(len(windows))[::-1])
    for row, i in enumerate(reversed(range(len(windows)))):
        for t in range(length):
            place = i * length + t
            assert batch.tokens[row, t] == place % n_tokens
            assert batch.targets[row, t] == (place + 1) % n_tokens
            assert batch.weights[row, t] == (place < n_tokens)


def test_shapes_and_types(tmp_path: Path) -> None:
    batch = Windows(stream_of(tmp_path, 100, 100), 16).batch(np.array([0, 6, 3]))
    assert batch.tokens.shape == batch.targets.shape == batch.weights.shape == (3, 16)
    assert (batch.tokens.dtype, batch.targets.dtype, batch.weights.dtype) == (np.int64, np.int64, np.float32)
    assert batch.weights[1].tolist() == [1.0] * 4 + [0.0] * 12


def test_the_last_target_of_a_document_is_the_next_ones_end_of_text(tmp_path: Path) -> None:
    data = TokenData(shards_of(tmp_path / "d", [[[0, 5, 6], [0, 7]], [[0, 8, 9, 4]]]))
    batch = Windows(data, 9).batch(np.array([0]))
    assert batch.tokens[0].tolist() == [0, 5, 6, 0, 7, 0, 8, 9, 4]
    assert batch.targets[0].tolist() == [5, 6, 0, 7, 0, 8, 9, 4, 0]

"""How well word frequencies alone predict a text: the loss that any language model must beat."""

import numpy as np

from neogpt.data.shards import TokenData

_CHUNK = 1 << 22


def unigram_loss(train: TokenData, held_out: TokenData) -> float:
    """Mean -log p (nats a token) of the held-out tokens under the training tokens' frequencies, add-one smoothed."""
    counts = token_counts(train) + 1
    log_p_V = np.log(counts / counts.sum())
    test = token_counts(held_out)
    return float(-(test * log_p_V).sum() / test.sum())


def token_counts(data: TokenData) -> np.ndarray:
    """How often each id occurs: int64 (vocab_size,)."""
    total = np.zeros(data.vocab_size, np.int64)
    for start in range(0, data.n_tokens, _CHUNK):
        tokens = data.read(start, min(_CHUNK, data.n_tokens - start))
        total += np.bincount(tokens, minlength=data.vocab_size)
    return total

"""Windows of the token stream: each token is an input once an epoch, and a target once."""

import numpy as np

from neogpt.data.batch import Batch
from neogpt.data.shards import TokenData

# B windows in a batch, T tokens in a window


class Windows:
    """The stream cut into windows of `length` tokens; window i has the inputs [i*T, (i+1)*T).

    Targets are the inputs shifted by one in a stream read as a circle: the target of the last token is token
    0, an end-of-text, as after every document. The padding behind the end of the last window has weight 0.
    """

    def __init__(self, data: TokenData, length: int) -> None:
        assert length >= 1
        self.data, self.length = data, length

    def __len__(self) -> int:
        return -(-self.data.n_tokens // self.length)

    def batch(self, ids: np.ndarray) -> Batch:
        """The windows with these numbers, ids (B,) in [0, len) -> Batch of (B, T)."""
        starts_B = np.asarray(ids, np.int64) * self.length
        stream = self.data.rows(starts_B, self.length + 1)
        left_B = self.data.n_tokens - starts_B
        weights_BT = (np.arange(self.length) < left_B[:, None]).astype(np.float32)
        return Batch(tokens=stream[:, :-1], targets=stream[:, 1:], weights=weights_BT)

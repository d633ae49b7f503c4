"""Documents side by side in one row, without padding: each sees only itself and begins at position 0.

Everything but attention works token by token, so it never notices where a document ends. Attention gets the
documents as rows of their own, padded at the end, where causal attention never looks. No mask is made, and the
same kernels run as for padded batches.

Shapes: T tokens of all documents, N documents, L tokens of the longest, E numbers a token.
"""

import numpy as np
import torch
from torch import Tensor

from neogpt.model.tensors import to_device


class Documents:
    """Where the tokens of a row (1, T) stand when each document has a row of its own (N, L)."""

    def __init__(self, lengths_N: np.ndarray | Tensor, device: torch.device) -> None:
        """lengths_N: int64, the tokens of each document, in the order in which they stand in the row.

        Shapes follow from them, so they are best on the host: a GPU is then not waited for.
        """
        lengths = lengths_N.cpu().numpy() if isinstance(lengths_N, Tensor) else lengths_N
        place_L = np.arange(lengths.max())
        inside_NL = place_L < lengths[:, None]
        starts_N = lengths.cumsum() - lengths
        back_T = np.flatnonzero(inside_NL)
        self.inside_NL = to_device(inside_NL, device)
        self._from = to_device(np.where(inside_NL, starts_N[:, None] + place_L, 0), device)
        self._back = to_device(back_T, device)
        self.positions_T = to_device(np.broadcast_to(place_L, inside_NL.shape).reshape(-1)[back_T], device)

    def spread(self, x_1TE: Tensor) -> Tensor:
        """(1, T, E) -> (N, L, E); what stands behind a document's end means nothing."""
        return x_1TE[0].index_select(0, self._from.flatten()).unflatten(0, self._from.shape)

    def join(self, x_NLE: Tensor) -> Tensor:
        """(N, L, E) -> (1, T, E), the inverse of `spread`."""
        return x_NLE.flatten(0, 1).index_select(0, self._back)[None]

    def sums(self, values_1T: Tensor) -> Tensor:
        """The sum over each document: (1, T) -> (N,)."""
        return self.spread(values_1T[..., None]).squeeze(2).masked_fill(~self.inside_NL, 0).sum(1)

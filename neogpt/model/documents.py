"""Documents side by side in one row, without padding: each sees only itself and begins at position 0.

Everything but attention works token by token, so it never notices where a document ends. Attention gets the
documents as rows of their own, padded at the end, where causal attention never looks. No mask is made, and the
same kernels run as for padded batches.

Shapes: T tokens of all documents, N documents, L tokens of the longest, E numbers a token.
"""

import torch
from torch import Tensor


class Documents:
    """Where the tokens of a row (1, T) stand when each document has a row of its own (N, L)."""

    def __init__(self, lengths_N: Tensor) -> None:
        """lengths_N: int64, the tokens of each document, in the order in which they stand in the row."""
        place_L = torch.arange(int(lengths_N.max()), device=lengths_N.device)
        self.inside_NL = place_L < lengths_N[:, None]
        starts_N = lengths_N.cumsum(0) - lengths_N
        self._from = torch.where(self.inside_NL, starts_N[:, None] + place_L, 0)
        self._back = self.inside_NL.flatten().nonzero().squeeze(1)
        self.positions_T = place_L.expand_as(self.inside_NL).flatten()[self._back]

    def spread(self, x_1TE: Tensor) -> Tensor:
        """(1, T, E) -> (N, L, E); what stands behind a document's end means nothing."""
        return x_1TE[0].index_select(0, self._from.flatten()).unflatten(0, self._from.shape)

    def join(self, x_NLE: Tensor) -> Tensor:
        """(N, L, E) -> (1, T, E), the inverse of `spread`."""
        return x_NLE.flatten(0, 1).index_select(0, self._back)[None]

    def sums(self, values_1T: Tensor) -> Tensor:
        """The sum over each document: (1, T) -> (N,)."""
        return self.spread(values_1T[..., None]).squeeze(2).masked_fill(~self.inside_NL, 0).sum(1)

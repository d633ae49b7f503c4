"""Sums whose bits do not depend on who adds what.

Floating-point addition is not associative, so the sum of a step's micro-batch gradients depends on how they
are grouped. Here the grouping is fixed: a binary tree over the micro-batch numbers 0..M-1 (neighbors first,
then pairs of pairs; a last odd one goes up alone). A process that holds a whole subtree adds it up on its
own; the rest of the tree is added over the processes. 1, 2, 4, ... processes then give the same bits.
"""

from collections.abc import Sequence

from torch import Tensor

from neogpt.torch_compat import foreach_add_

Gradient = list[Tensor]


class TreeSum:
    """Adds up gradients that arrive in order, holding at most log2(n) + 1 of them at a time."""

    def __init__(self) -> None:
        self._partial: list[tuple[int, Gradient]] = []

    def neighbor(self) -> Gradient | None:
        """Give the last leaf back where the next one is its neighbor: their sum may be made in its place."""
        return self._partial.pop()[1] if self._partial and self._partial[-1][0] == 0 else None

    def add(self, gradient: Gradient, level: int = 0) -> None:
        """Take the next leaf (level 1: a sum of two neighbors); its tensors are kept and written to."""
        while self._partial and self._partial[-1][0] == level:
            _, left = self._partial.pop()
            foreach_add_(left, gradient)
            gradient, level = left, level + 1
        self._partial.append((level, gradient))

    def result(self) -> Gradient:
        """The sum of all leaves (at least one)."""
        _, total = self._partial.pop()
        while self._partial:
            _, left = self._partial.pop()
            foreach_add_(left, total)
            total = left
        return total


def tree_sum(leaves: Sequence[Tensor]) -> Tensor:
    """The sum of tensors in the same tree; the first leaf's memory may be written to."""
    total = TreeSum()
    for leaf in leaves:
        total.add([leaf])
    return total.result()[0]

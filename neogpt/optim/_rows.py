"""Whole matrices where each process holds some rows of every one.

A rule that needs a matrix whole is computed once for all processes: each gets some of the matrices whole, and
gives every process its rows of the result back. Each number travels twice, and the work is shared.

Shapes: N matrices, R rows, C columns; P matrices of one process, L rows of one process.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def apply_whole(
    rule: Callable[[Tensor], Tensor], parts_NLC: Tensor, n_rows: int, group: dist.ProcessGroup
) -> Tensor:
    """rule((N, R, C)) -> same shape, of which each process holds the rows that `torch.chunk` gives it: (N, L, C)."""
    world, rank = dist.get_world_size(group), dist.get_rank(group)
    rows = _rows(n_rows, world)
    N, L, C = parts_NLC.shape
    P = -(-N // world)
    sent = F.pad(parts_NLC, (0, 0, 0, 0, 0, world * P - N)).contiguous()
    mine, others = [P * L * C] * world, [P * r * C for r in rows]
    received = sent.new_empty(sum(others))
    dist.all_to_all_single(received, sent.flatten(), others, mine, group=group)
    pieces = [part.view(P, r, C) for part, r in zip(received.split(others), rows, strict=True)]
    n_own = max(0, min(P, N - rank * P))
    whole_PRC = torch.cat(pieces, dim=1)
    if n_own:
        whole_PRC[:n_own] = rule(whole_PRC[:n_own])
    back = torch.cat([part.flatten() for part in whole_PRC.split(rows, dim=1)])
    result = torch.empty_like(sent)
    dist.all_to_all_single(result.view(-1), back, mine, others, group=group)
    return result[:N]


def _rows(n_rows: int, world: int) -> list[int]:
    """How many rows each process holds: the division of `torch.chunk`, as `Shard(0)` has it."""
    width = -(-n_rows // world)
    return [max(0, min(width, n_rows - rank * width)) for rank in range(world)]

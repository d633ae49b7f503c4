"""What several files of tensor code ask of one tensor."""

import torch
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype for sums over values of `dtype`: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory: all, or some rows where it is sharded (DTensor)."""
    part: Tensor = getattr(tensor, "_local_tensor", tensor)
    return part

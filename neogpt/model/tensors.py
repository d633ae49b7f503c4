"""What several files of tensor code ask of one tensor."""

import torch


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype for sums over values of `dtype`: at least float32."""
    return torch.promote_types(dtype, torch.float32)

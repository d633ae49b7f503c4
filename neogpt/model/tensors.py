"""What several files of tensor code ask of one tensor."""

import numpy as np
import torch
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype for sums over values of `dtype`: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A tensor of the array's numbers on `device`. A GPU fetches them by itself, and the host goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

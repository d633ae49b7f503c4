"""What NeoGPT uses of PyTorch beyond its documented API, each with a documented way to the same numbers.

Such names may change with any release. Each is looked for when this file is loaded, and where it is not there, or
takes other arguments, the documented way stands in: slower or larger, with the results that its docstring names.
tests/test_torch_compat.py shows for the installed PyTorch which are there, and holds both ways to each other.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_ADAMW_LISTS = ["params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "state_steps"]
_ADAMW_NAMES = {"fused", "amsgrad", "beta1", "beta2", "lr", "weight_decay", "eps", "maximize", "found_inf"}


def _find_adamw() -> Callable[..., None] | None:
    try:
        from torch.optim.adamw import adamw  # start-up time
    except ImportError:
        return None
    names = list(inspect.signature(adamw).parameters)
    return adamw if names[:6] == _ADAMW_LISTS and set(names) >= _ADAMW_NAMES else None


adamw = _find_adamw()
"""The update of torch.optim.AdamW as a function, to the same bits, without the compiler that the class loads; None
where PyTorch has it not in this form."""


# Lists of tensors: one call for all. In their place a call for each, to the same bits.


def _each_add_(tensors: Sequence[Tensor], others: Sequence[Tensor], alpha: float = 1) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        tensor.add_(other, alpha=alpha)


def _each_mul_(tensors: Sequence[Tensor], factor: float | Tensor) -> None:
    for tensor in tensors:
        tensor.mul_(factor)


def _each_zero_(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        tensor.zero_()


def _each_lerp_(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    for tensor, end in zip(tensors, ends, strict=True):
        tensor.lerp_(end, weight)


def _each_lerp(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> list[Tensor]:
    return [tensor.lerp(end, weight) for tensor, end in zip(tensors, ends, strict=True)]


foreach_add_: Callable[..., Any] = getattr(torch, "_foreach_add_", _each_add_)
"""tensor += alpha * other, for each pair."""
foreach_mul_: Callable[..., Any] = getattr(torch, "_foreach_mul_", _each_mul_)
"""tensor *= factor, for each."""
foreach_zero_: Callable[..., Any] = getattr(torch, "_foreach_zero_", _each_zero_)
"""tensor = 0, for each."""
foreach_lerp_: Callable[..., Any] = getattr(torch, "_foreach_lerp_", _each_lerp_)
"""tensor += weight * (end - tensor), for each pair."""
foreach_lerp: Callable[..., Any] = getattr(torch, "_foreach_lerp", _each_lerp)
"""The same into new tensors."""


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory: all, or some rows where it is sharded (DTensor)."""
    tensor = tensor.detach()
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


_softmax_backward = getattr(torch, "_softmax_backward_data", None)


def softmax_backward_(grad: Tensor, p: Tensor) -> None:
    """The gradient before a softmax over the last dimension, in place of the one after it: p (g - sum(p g)).

    Sums are float32. Without PyTorch's own operation the result may round differently in its last bit.
    """
    if _softmax_backward:
        _softmax_backward(grad, p, -1, grad.dtype, grad_input=grad)
        return
    wide = torch.promote_types(grad.dtype, torch.float32)
    product = grad.to(wide) * p
    grad.copy_(product - p.to(wide) * product.sum(-1, keepdim=True))


_keeps_graph = getattr(getattr(torch._C, "_autograd", None), "_get_current_graph_task_keep_graph", None)


def keeps_graph() -> bool:
    """Inside a backward: whether it may be run again (`retain_graph`); True where PyTorch does not say."""
    return bool(_keeps_graph()) if _keeps_graph else True


_matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)


@contextlib.contextmanager
def bfloat16_inputs() -> Iterator[None]:
    """Products of float32 tensors on CPUs may read them as bfloat16; their sums and results stay float32.

    Without PyTorch's switch they read them as they are: slower, and the same but for float32's rounding where the
    tensors hold nothing finer than bfloat16.
    """
    if not hasattr(_matmul, "fp32_precision"):
        yield
        return
    before, _matmul.fp32_precision = _matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        _matmul.fp32_precision = before

"""Update rules and learning-rate schedules; `build` finds a rule by the name of its file."""

from collections.abc import Mapping

import torch

from neogpt import plugins
from neogpt.config import OptimConfig
from neogpt.errors import CheckpointError
from neogpt.optim.base import Named, Rule


def build(named: Named, config: OptimConfig, dtype: torch.dtype = torch.bfloat16) -> list[Rule]:
    """The optimizers that together update `named` (name, parameter) pairs, each parameter once.

    `dtype`: of the matrix products that a rule makes, where it makes any; weights and state stay as they are.
    """
    optimizers: list[Rule] = plugins.get("neogpt.optim", config.name).build(named, config, dtype)
    return optimizers


def set_lr(optimizers: list[Rule], lr: float) -> None:
    """Set the learning rate; a group's `lr_scale` (1 when absent) multiplies it."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)


def state_tensors(optimizers: list[Rule], named: Named) -> dict[str, torch.Tensor]:
    """The whole optimizer state as `parameter|entry` -> tensor, ready for safetensors."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in named}
    return {
        f"{names[parameter]}|{entry}": torch.as_tensor(value)
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def load_state_tensors(optimizers: list[Rule], named: Named, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `state_tensors` gave; CheckpointError when a tensor fits no parameter.

    Where parameters are sharded, each process takes its part of the whole tensors.
    """
    parameters = dict(named)
    states: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.partition("|")
        if name not in parameters:
            raise CheckpointError(
                f"the optimizer state has {key!r}, which the model has not",
                "the same model",
                code="checkpoint.other_model",
            )
        states.setdefault(name, {})[entry] = _placed(tensor, parameters[name])
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = next(n for n, p in named if p is parameter)
                if name in states:
                    optimizer.state[parameter] = states[name]


def _placed(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A copy that lies where the parameter does, as fused updates want it; counters (no dimension) stay whole."""
    if tensor.ndim and (mesh := getattr(parameter, "device_mesh", None)):
        from torch.distributed.tensor import distribute_tensor  # start-up time

        placements = parameter.placements  # type: ignore[attr-defined]
        whole = tensor.to(parameter.device)
        return distribute_tensor(whole, mesh, placements, src_data_rank=None)
    return tensor.to(parameter.device, copy=True)

"""What makes a training forward faster or smaller without changing what it computes: block by block.

Only a forward for a gradient uses it. Evaluation and generation, whose shapes vary and who bring a KV cache, run
the plain blocks, so neither can break them.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.model.documents import Documents
from neogpt.model.gpt2 import Block

Forward = Callable[[Block, Tensor, Documents | None], Tensor]


def set_up_blocks(model: GPT2, run: AnyRun) -> None:
    """Have the model's blocks compiled (`compile`) and recomputed (`activation_checkpointing`) in training.

    Called once. Modules stay what they are, hooks and names included: only their `forward` is another one.
    """
    if not (run.compile or run.activation_checkpointing):
        return
    training: Forward = Block.forward
    if run.compile:
        training = functools.partial(_where_shapes_are_few, _compiled(torch.device(run.device).type))
    if run.activation_checkpointing:
        training = functools.partial(_recomputed, training)
    for block in model.transformer.h:
        assert isinstance(block, Block)
        block.forward = functools.partial(_forward, training, block)  # type: ignore[method-assign]


def _forward(training: Forward, block: Block, x_BTD: Tensor, documents: Documents | None) -> Tensor:
    forward = training if torch.is_grad_enabled() else Block.forward
    return forward(block, x_BTD, documents)


def _where_shapes_are_few(
    compiled: Forward, block: Block, x_BTD: Tensor, documents: Documents | None
) -> Tensor:
    """Packed documents come in other numbers and lengths each time: their blocks run as they are."""
    return (compiled if documents is None else Block.forward)(block, x_BTD, documents)


@functools.cache
def _compiled(device: str) -> Forward:
    """One compiled forward for all blocks of all models: they differ in their weights, which it takes as inputs."""
    if device == "cpu" and " " in torch.__file__:
        raise ConfigError(
            f"PyTorch's compiler cannot build where the path to PyTorch has a blank: {torch.__file__}",
            "a virtual environment in a folder without one",
            "leave --compile out, or start a Python that lies elsewhere (a symbolic link to it will do)",
            code="run.no_compiler",
        )
    # PyTorch's tracing looks at .grad of whatever it is given, and warns its user of what it did itself.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    return torch.compile(Block.forward)


def _recomputed(forward: Forward, *args: Any) -> Tensor:
    """Keep only the block's input, run it again in the backward (Chen et al. 2016, "Sublinear Memory Cost").

    Nothing in a block is random, so no generator's state has to be kept.
    """
    result: Tensor = checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False)
    return result

"""What makes a training forward faster or smaller without changing what it computes: block by block.

Only the forward of a training micro-batch uses it. Evaluation and generation, whose shapes vary and who bring a
KV cache, run the plain blocks, so neither can break them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neogpt.config import AnyRun
from neogpt.model import GPT2
from neogpt.model.gpt2 import Block

Forward = Callable[..., Tensor]


@contextlib.contextmanager
def training_blocks(model: GPT2, run: AnyRun) -> Iterator[None]:
    """Inside the block the model's blocks are compiled (`compile`) and recomputed (`activation_checkpointing`).

    Modules stay what they are, hooks included: only their `forward` is another one.
    """
    if not (run.compile or run.activation_checkpointing):
        yield
        return
    forward: Forward = _compiled() if run.compile else Block.forward
    if run.activation_checkpointing:
        forward = functools.partial(_recomputed, forward)
    blocks = list(model.transformer.h)
    for block in blocks:
        vars(block)["forward"] = functools.partial(forward, block)
    try:
        yield
    finally:
        for block in blocks:
            del vars(block)["forward"]


@functools.cache
def _compiled() -> Forward:
    """One compiled forward for all blocks of all models: they differ in their weights, which it takes as inputs."""
    return torch.compile(Block.forward)


def _recomputed(forward: Forward, *args: Any) -> Tensor:
    """Keep only the block's input, run it again in the backward (Chen et al. 2016, "Sublinear Memory Cost").

    Nothing in a block is random, so no generator's state has to be kept.
    """
    result: Tensor = checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False)
    return result

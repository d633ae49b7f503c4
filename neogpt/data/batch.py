"""The numbers that one micro-batch hands to an objective."""

from dataclasses import dataclass, field
from typing import Any

Array = Any
"""A NumPy array; a tensor of the same shape and type once the training loop has moved it to its device."""


@dataclass(frozen=True)
class Batch:
    """Tokens, the tokens that follow them, and how much each of those counts.

    Shapes: tokens and targets int64 (B, T), weights float32 (B, T). A weight of 0 is padding or prompt.
    `extra` holds what one objective needs beside these: arrays, or a second Batch (pretraining text, SFT answers).
    """

    tokens: Array
    targets: Array
    weights: Array
    extra: dict[str, Any] = field(default_factory=dict)

"""The settings of supervised fine-tuning; no torch here, as the command line reads them first."""

from dataclasses import dataclass
from typing import Literal

from neogpt.config import ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of supervised fine-tuning."""

    max_tokens: int = 1024
    """Longest example, prompts and responses together; longer ones lose their end (and are counted)."""
    learn: Literal["responses", "last", "all"] = "responses"
    """What the loss is taken over: the responses and their ends, the last response of a conversation, or all tokens."""
    packing: bool = False
    """Lay examples side by side instead of padding them; each is read alone, so the loss is the same."""
    val_fraction: float = 0.02
    """Share of prompts held out, chosen by a hash of their text."""
    pretrain_coef: float = 0.0
    """Weight of the loss on pretraining text beside it; 0: none."""
    pretrain_rows: int = 32
    """Windows of pretraining text a step."""
    pretrain_seq_len: int = 96
    """Tokens of such a window."""
    pretrain_intra_document_mask: bool = False
    """Read each document of it alone, as pretraining with `--objective.intra-document-mask` did."""

"""The settings of Direct Preference Optimization; no torch here, as the command line reads them first."""

from dataclasses import dataclass
from typing import Literal

from neogpt.config import ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of Direct Preference Optimization."""

    beta: float = 0.1
    """Strength of the anchor to the reference: larger stays nearer."""
    loss: str = "sigmoid"
    """sigmoid (DPO), ipo, simpo (needs no reference) or hinge."""
    label_smoothing: float = 0.0
    """Assumed share of wrong preferences (sigmoid: cDPO; simpo)."""
    gamma: float = 0.5
    """Target margin of simpo."""
    length_normalized: Literal["as-published", "yes", "no"] = "as-published"
    """Divide an answer's log-probability by its tokens; as published: ipo and simpo do."""
    reference: Literal["cached", "live"] = "cached"
    """cached: the reference's log-probabilities are computed once and kept on disk. live: in each step, by a copy
    of the starting model."""
    packing: bool = False
    """Lay answers side by side instead of padding them; each is read alone, so the loss is the same."""
    sft_coef: float = 0.2
    """Weight of -log p(chosen) per token; 0: none."""
    max_tokens: int = 1024
    """Longest prompt and answer together; longer answers lose their end (and are counted)."""
    val_fraction: float = 0.05
    """Share of prompts whose pairs are held out, chosen by a hash of the prompt."""
    pretrain_coef: float = 0.0
    """Weight of the loss on pretraining text beside it; 0: none."""
    pretrain_rows: int = 16
    """Windows of pretraining text a step."""
    pretrain_seq_len: int = 96
    """Tokens of such a window."""
    pretrain_intra_document_mask: bool = False
    """Read each document of it alone, as pretraining with `--objective.intra-document-mask` did."""

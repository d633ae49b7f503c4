"""The settings of pretraining; no torch here, as the command line reads them first."""

from dataclasses import dataclass

from neogpt.config import ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of pretraining."""

    seq_len: int = 1024
    """Tokens a training sequence."""
    seq_len_warmup: float = 0.0
    """Share of the run over which sequences grow to that length, from an eighth of it (Li et al. 2022)."""
    intra_document_mask: bool = False
    """Read each document alone, in validation too: attention stays inside it, and positions begin anew."""
    z_loss: float = 0.0
    """Weight of the squared log-normalizer, which keeps logits near 0; not part of the reported loss."""

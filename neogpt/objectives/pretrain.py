"""Next-token prediction on a stream of documents (Radford et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neogpt.config import AnyRun, ObjectiveConfig
from neogpt.data.batch import Batch
from neogpt.data.order import sample_ids
from neogpt.data.prepare import prepare
from neogpt.data.shards import TokenData
from neogpt.data.windows import Windows
from neogpt.errors import ConfigError
from neogpt.objectives._base import LossTerms, Objective, token_loss
from neogpt.tokenizer import Tokenizer

if TYPE_CHECKING:
    from neogpt.model import GPT2


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of pretraining."""

    sequence_tokens: int = 1024
    """Tokens a training sequence."""


class Pretrain(Objective):
    """Windows of the shuffled document stream, every token once an epoch."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        length = run.objective.sequence_tokens
        if not 1 <= length <= n_positions:
            raise ConfigError(
                f"sequences of {length} tokens do not fit a context of {n_positions}",
                f"objective.sequence-tokens from 1 to {n_positions}",
                f"--objective.sequence-tokens {n_positions}",
            )
        folder = prepare(run.source_name, run.source, run.data, tokenizer)
        train, held_out = TokenData(folder, "train"), TokenData(folder, "val")
        self.windows, self.held_out = Windows(train, length), Windows(held_out, length)
        self.coefficients = {"loss": 1.0}
        self.data_hash = f"{train.fingerprint}-{held_out.fingerprint}"
        self.n_samples, self.n_validation = len(self.windows), len(self.held_out)
        self.tokens_per_step = run.batch.size * length
        self.notes = {"documents": train.n_documents, "tokens": train.n_tokens, "held_out": held_out.n_tokens}

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed)
        return self.windows.batch(ids[micro * self.micro_size : (micro + 1) * self.micro_size])

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return self.held_out.batch(ids)

    def weights(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch.weights.sum())}

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        return LossTerms({"loss": token_loss(model, batch)})


build = Pretrain

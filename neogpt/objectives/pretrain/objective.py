"""Next-token prediction on a stream of documents (Radford et al. 2019)."""

import math

import numpy as np

from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.data.prepare import prepare
from neogpt.data.shards import TokenData
from neogpt.data.source import HasDocuments, need
from neogpt.data.windows import Windows
from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.objectives.batching import one_by_one, target_bytes, token_loss
from neogpt.objectives.pretrain.config import Config
from neogpt.tokenizer import Tokenizer

_WORTHWHILE = 4
"""How often a text can be read before new text would teach much more."""


class Pretrain(Objective):
    """Windows of the shuffled document stream, every token once an epoch."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.options = run.objective
        length = run.objective.seq_len
        if not 1 <= length <= n_positions:
            raise ConfigError(
                f"sequences of {length} tokens do not fit a context of {n_positions}",
                f"objective.seq-len from 1 to {n_positions}",
                f"--objective.seq-len {n_positions}",
                code="config.sequence_too_long",
            )
        folder = prepare(run.source, run.data, tokenizer, workers=0)
        self.notes = need(run.source, HasDocuments).notes()
        self.folders = (folder,)
        train = TokenData(folder, "train")
        held_out = TokenData(folder, "val") if run.data.val_fraction else None
        self.windows = Windows(train, length)
        self.held_out = Windows(held_out, length) if held_out else None
        self.coefficients = {"loss": 1.0}
        self.is_packed = self.options.intra_document_mask
        self.data_hash = f"{train.fingerprint}-{held_out.fingerprint if held_out else ''}"
        self.n_samples, self.n_validation = len(self.windows), len(self.held_out) if self.held_out else 0
        self.tokens_per_step = run.batch.size * length
        self.data_counts = {
            "documents": train.n_documents,
            "tokens": train.n_tokens,
            "held_out": held_out.n_tokens if held_out else 0,
        }

    def warnings(self) -> list[str]:
        """That the text is read too often, unless its source is there to be memorized."""
        source = need(self.run.source, HasDocuments)
        times = self.run.steps * self.run.batch.size / self.n_samples
        if times <= _WORTHWHILE or source.memorization:
            return []
        steps = _WORTHWHILE * self.n_samples // self.run.batch.size
        return [
            f"the run reads its {self.data_counts['tokens']:,} training tokens {times:,.1f} times; beyond "
            f"{_WORTHWHILE} times reading again is worth less and less (Muennighoff et al. 2023). Prepare more text"
            + (f", or try --steps {steps}" if steps else "")
        ]

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed)
        whole = self.windows.batch(ids[micro * self.micro_size : (micro + 1) * self.micro_size])
        pieces = self._pieces(step)
        cut = [
            part.reshape(-1, part.shape[1] // pieces) for part in (whole.tokens, whole.targets, whole.weights)
        ]
        return (
            one_by_one(Batch(*cut), self.tokenizer.eot_id)
            if self.options.intra_document_mask
            else Batch(*cut)
        )

    def _pieces(self, step: int) -> int:
        """Into how many short sequences each window falls: 8, 4, 2, then 1. The tokens are the same."""
        end = self.options.seq_len_warmup * self.run.steps
        pieces = 8 >> min(3, int(3 * step / end)) if end else 1
        return math.gcd(pieces, self.options.seq_len)

    def validation_batch(self, ids: np.ndarray) -> Batch:
        assert self.held_out, "nothing is held out"
        whole = self.held_out.batch(ids)
        return one_by_one(whole, self.tokenizer.eot_id) if self.options.intra_document_mask else whole

    def n_bytes(self, batch: Batch) -> int:
        return target_bytes(batch, self.tokenizer.byte_lengths)

    def loss_denominators(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch.weights.sum())}

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        return LossTerms({"loss": token_loss(model, batch, self.options.z_loss)})


build = Pretrain

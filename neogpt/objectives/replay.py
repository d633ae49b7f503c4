"""Replay: windows of pretraining text beside an objective's own samples, so that old knowledge stays.

Without it fine-tuning on a few thousand answers forgets what pretraining stored (tinyworld: never-asked
people answered right 0.85 without, 1.00 with; `docs/log.md`). The method is rehearsal (Robins 1995).
"""

from neogpt.batching import micro_size
from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.data.prepare import prepare
from neogpt.data.shards import TokenData
from neogpt.data.source import HasDocuments, need
from neogpt.data.windows import Windows
from neogpt.objectives.batching import one_by_one
from neogpt.tokenizer import Tokenizer

_KEY = 0x7E91A7
"""Sets the order of replay apart from that of the objective's own samples."""


class Replay:
    """`rows` windows of `tokens` tokens a step from the run's own documents, each read alone where so set."""

    def __init__(
        self, run: AnyRun, tokenizer: Tokenizer, rows: int, tokens: int, intra_document_mask: bool
    ) -> None:
        source = need(run.source, HasDocuments, "--objective.pretrain-coef 0")
        self.folder = prepare(source, run.data, tokenizer)
        data = TokenData(self.folder, "train")
        self.windows, self.fingerprint = Windows(data, tokens), data.fingerprint
        self.rows, self.micro_rows = rows, micro_size(rows, run.batch.micro_batches)
        self.eot_id, self.intra_document_mask = tokenizer.eot_id, intra_document_mask
        self.key = run.seed ^ _KEY

    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch `micro` of the replay of update number `step`."""
        ids = sample_ids(step, self.rows, len(self.windows), self.key)
        found = self.windows.batch(ids[micro * self.micro_rows : (micro + 1) * self.micro_rows])
        return one_by_one(found, self.eot_id) if self.intra_document_mask else found

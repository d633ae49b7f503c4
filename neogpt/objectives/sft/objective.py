"""Supervised fine-tuning: learn the response and its end, given the prompt (Ouyang et al. 2022)."""

from collections.abc import Sequence

import numpy as np

from neogpt.config import AnyRun, digest
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.objectives.batching import TokenRow, pack, pad, target_bytes, token_loss
from neogpt.objectives.replay import Replay
from neogpt.objectives.sft.config import Config
from neogpt.objectives.split import Split, instructions, none_left
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_turns


class SFT(Objective):
    """Instructions; of a conversation, every answer is learned."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.examples, self.held_out = self._read()
        self.n_samples, self.n_validation = len(self.examples), len(self.held_out)
        self.coefficients = {"sft": 1.0}
        self.is_packed = self.config.packing
        hashed = [*self.examples, [], *self.held_out]
        self.replay: Replay | None = None
        if self.config.pretrain_coef:
            self.replay = Replay(
                run,
                tokenizer,
                self.config.pretrain_rows,
                self.config.pretrain_seq_len,
                self.config.pretrain_intra_document_mask,
            )
            self.coefficients["pretrain"] = self.config.pretrain_coef
            self.folders = (self.replay.folder,)
        self.data_hash = digest({"rows": hashed, "pretrain": self.replay.fingerprint if self.replay else ""})

    def _read(self) -> tuple[list[TokenRow], list[TokenRow]]:
        """Training and held-out examples as token ids; counts what was cut or filtered."""
        bad = RowStats()
        split = Split[TokenRow](self.config.val_fraction)
        limit = min(self.config.max_tokens, self.n_positions)
        for item in instructions(self.run.source, bad):
            turn = Turn(item.instruction, item.context, item.response)
            turns = encode_turns(self.tokenizer, [*item.history, turn])
            last_only = self.config.learn == "last"
            learned = [*(turn.learned and not last_only for turn in item.history), True]
            parts = _parts(turns, learned)
            row, is_cut = _cut(_all_of(parts) if self.config.learn == "all" else parts, limit + 1)
            if len(turns[0][0]) >= limit:
                split.filtered("prompt too long")
            elif not item.response.strip():
                split.filtered("blank response")
            else:
                split.counts["truncated"] += is_cut
                split.add(item, turns[0][0], row)
        self.notes = bad.notes
        train, self.data_counts = split.train, split.data_counts("examples", bad)
        if not train:
            raise none_left(self.run, "instruction", limit, self.data_counts)
        return train, split.held_out

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed)
        rows = by_length([self.examples[i] for i in ids])
        own = self._batch(rows[micro * self.micro_size : (micro + 1) * self.micro_size])
        if self.replay:
            own.extra["pretrain"] = self.replay.batch(step, micro)
        return own

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return self._batch([self.held_out[i] for i in ids])

    def _batch(self, rows: list[TokenRow]) -> Batch:
        eot_id = self.tokenizer.eot_id
        return pack(rows, eot_id) if self.config.packing else pad(rows, eot_id, self.n_positions)

    def n_bytes(self, batch: Batch) -> int:
        return target_bytes(batch, self.tokenizer.byte_lengths)

    def loss_denominators(self, batch: Batch) -> dict[str, float]:
        weights = {"sft": float(batch.weights.sum())}
        if "pretrain" in batch.extra:
            weights["pretrain"] = float(batch.extra["pretrain"].weights.sum())
        return weights

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        terms = {"sft": token_loss(model, batch)}
        if "pretrain" in batch.extra:
            terms["pretrain"] = token_loss(model, batch.extra["pretrain"])
        return LossTerms(terms)


def _parts(turns: Sequence[tuple[list[int], list[int]]], learned: Sequence[bool]) -> list[list[int]]:
    """What stands before an answer that is learned, that answer, and so on: other answers stand before the next."""
    parts: list[list[int]] = []
    before: list[int] = []
    for (prompt, answer), is_learned in zip(turns, learned, strict=True):
        before = [*before, *prompt]
        if is_learned:
            parts += [before, answer]
            before = []
        else:
            before += answer
    return parts


def by_length(rows: list[TokenRow]) -> list[TokenRow]:
    """Rows in order of length (stable), so that a micro-batch pads little."""
    return sorted(rows, key=lambda row: sum(map(len, row)))


def _cut(row: Sequence[list[int]], room: int) -> tuple[TokenRow, bool]:
    """The first `room` ids of a row, up to the last that is learned, and whether any that was to be learned is lost.

    A row ends in what is learned, so whatever is cut off, that is lost.
    """
    kept: list[list[int]] = []
    for part in row:
        kept.append(part[:room])
        room -= len(kept[-1])
    whole = sum(map(len, kept)) == sum(map(len, row))
    while kept and not (len(kept) % 2 == 0 and kept[-1]):
        kept.pop()
    return tuple(kept), not whole


def _all_of(row: Sequence[list[int]]) -> list[list[int]]:
    """The same ids, all learned but the first, which nothing stands before."""
    ids = [token for part in row for token in part]
    return [ids[:1], ids[1:]]


build = SFT

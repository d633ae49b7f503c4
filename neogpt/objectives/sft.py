"""Supervised fine-tuning: learn the response and its end, given the prompt (Ouyang et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neogpt import plugins
from neogpt.config import AnyRun, ObjectiveConfig, digest
from neogpt.data.batch import Batch
from neogpt.data.order import sample_ids
from neogpt.data.records import Instruction, Quarantine
from neogpt.data.split import held_out
from neogpt.errors import DataError
from neogpt.objectives._base import LossTerms, Objective, pad, token_loss
from neogpt.objectives._replay import Replay
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_example

if TYPE_CHECKING:
    from neogpt.model import GPT2

Row = tuple[list[int], list[int]]


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of supervised fine-tuning."""

    max_tokens: int = 1024
    """Longest example, prompt and response together; longer responses lose their end (and are counted)."""
    val_fraction: float = 0.02
    """Share of prompts held out, chosen by a hash of their text."""
    replay: float = 0.0
    """Weight of the loss on replayed pretraining text; 0: none."""
    replay_rows: int = 32
    """Replayed windows a step."""
    replay_tokens: int = 96
    """Tokens a replayed window."""


class SFT(Objective):
    """Instructions with the loss on response and end-of-text only."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.examples, self.held_out = self._read()
        self.n_samples, self.n_validation = len(self.examples), len(self.held_out)
        self.coefficients = {"sft": 1.0}
        hashed = [*self.examples, [], *self.held_out]
        self.replay: Replay | None = None
        if self.config.replay:
            self.replay = Replay(run, tokenizer, self.config.replay_rows, self.config.replay_tokens)
            self.coefficients["replay"] = self.config.replay
        self.data_hash = digest({"rows": hashed, "replay": self.replay.fingerprint if self.replay else ""})

    def _read(self) -> tuple[list[Row], list[Row]]:
        """Training and held-out examples as token ids; counts what was cut or refused."""
        bad = Quarantine()
        source = plugins.get("neogpt.data.sources", self.run.source_name)
        train: list[Row] = []
        test: list[Row] = []
        limit = min(self.config.max_tokens, self.n_positions)
        truncated = refused = 0
        for item in source.instructions(self.run.source, bad):
            row = encode_example(self.tokenizer, item.instruction, item.context, item.response)
            if len(row[0]) >= limit:
                refused += 1
                continue
            truncated += len(row[0]) + len(row[1]) > limit + 1
            cut = (row[0], row[1][: limit + 1 - len(row[0])])
            (test if held_out(_prompt_text(item), self.config.val_fraction) else train).append(cut)
        bad.check()
        if not train:
            raise DataError(f"the source {self.run.source_name} gave no instruction that fits {limit} tokens")
        self.notes = {
            "examples": len(train),
            "held_out": len(test),
            "truncated": truncated,
            "refused": refused,
        }
        return train, test

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed)
        rows = by_length([self.examples[i] for i in ids])
        own = pad(rows[micro * self.micro_size : (micro + 1) * self.micro_size], self.tokenizer.eot_id)
        if self.replay:
            own.extra["replay"] = self.replay.batch(step, micro)
        return own

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return pad([self.held_out[i] for i in ids], self.tokenizer.eot_id)

    def weights(self, batch: Batch) -> dict[str, float]:
        weights = {"sft": float(batch.weights.sum())}
        if "replay" in batch.extra:
            weights["replay"] = float(batch.extra["replay"].weights.sum())
        return weights

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        terms = {"sft": token_loss(model, batch)}
        if "replay" in batch.extra:
            terms["replay"] = token_loss(model, batch.extra["replay"])
        return LossTerms(terms)


def by_length(rows: list[Row]) -> list[Row]:
    """Rows in order of length (stable), so that a micro-batch pads little."""
    return sorted(rows, key=lambda row: len(row[0]) + len(row[1]))


def _prompt_text(item: Instruction) -> str:
    return f"{item.instruction}\n{item.context}"


build = SFT

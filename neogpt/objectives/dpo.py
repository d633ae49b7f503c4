"""Direct Preference Optimization (Rafailov et al. 2023): prefer one answer to another, near a reference.

For a pair of answers w (chosen) and l (rejected) to a prompt x, with policy p and frozen reference r,
    margin = beta * [(log p(w|x) - log r(w|x)) - (log p(l|x) - log r(l|x))]
    loss   = -(1 - s) * log sigmoid(margin) - s * log sigmoid(-margin)        (s: label smoothing, cDPO)
and an SFT term -log p(w|x) per token keeps the chosen answers likely (RPO, Pang et al. 2024). Without that
term and without helpful pairs a model learns to refuse everything: see `docs/log.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neogpt import plugins
from neogpt.config import AnyRun, ObjectiveConfig, digest
from neogpt.data.batch import Batch
from neogpt.data.order import sample_ids
from neogpt.data.records import Quarantine
from neogpt.data.split import held_out
from neogpt.errors import DataError
from neogpt.objectives._base import LossTerms, Objective, on_device, pad, token_loss
from neogpt.objectives._replay import Replay
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_example

if TYPE_CHECKING:
    from torch import Tensor

    from neogpt.model import GPT2

Row = tuple[list[int], list[int]]
PairRow = tuple[Row, Row]


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of Direct Preference Optimization."""

    beta: float = 0.1
    """Strength of the anchor to the reference: larger stays nearer."""
    label_smoothing: float = 0.0
    """Assumed share of wrong preferences (cDPO)."""
    sft: float = 0.2
    """Weight of -log p(chosen) per token; 0: none."""
    max_tokens: int = 1024
    """Longest prompt and answer together; longer answers lose their end (and are counted)."""
    val_fraction: float = 0.05
    """Share of prompts whose pairs are held out, chosen by a hash of the prompt."""
    replay: float = 0.0
    """Weight of the loss on replayed pretraining text; 0: none."""
    replay_rows: int = 16
    """Replayed windows a step."""
    replay_tokens: int = 96
    """Tokens a replayed window."""


class DPO(Objective):
    """Pairs of answers; rows 0..n-1 of a batch are chosen, n..2n-1 rejected, in the same order."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.pairs, self.held_out = self._read()
        self.n_samples, self.n_validation = len(self.pairs), len(self.held_out)
        self.coefficients = {"dpo": 1.0}
        if self.config.sft:
            self.coefficients["sft"] = self.config.sft
        self.replay: Replay | None = None
        if self.config.replay:
            self.replay = Replay(run, tokenizer, self.config.replay_rows, self.config.replay_tokens)
            self.coefficients["replay"] = self.config.replay
        replayed = self.replay.fingerprint if self.replay else ""
        self.data_hash = digest({"pairs": self.pairs, "held_out": self.held_out, "replay": replayed})

    def _read(self) -> tuple[list[PairRow], list[PairRow]]:
        """Training and held-out pairs as token ids; counts what was cut or refused."""
        bad = Quarantine()
        source = plugins.get("neogpt.data.sources", self.run.source_name)
        limit = min(self.config.max_tokens, self.n_positions)
        train: list[PairRow] = []
        test: list[PairRow] = []
        truncated = refused = 0
        for item in source.pairs(self.run.source, bad):
            chosen = encode_example(self.tokenizer, item.instruction, item.context, item.chosen)
            rejected = encode_example(self.tokenizer, item.instruction, item.context, item.rejected)
            room = limit + 1 - len(chosen[0])
            if room < 2 or chosen[1][:room] == rejected[1][:room]:
                refused += 1
                continue
            truncated += max(len(chosen[1]), len(rejected[1])) > room
            pair = ((chosen[0], chosen[1][:room]), (rejected[0], rejected[1][:room]))
            prompt = f"{item.instruction}\n{item.context}"
            (test if held_out(prompt, self.config.val_fraction) else train).append(pair)
        bad.check()
        if not train:
            raise DataError(f"the source {self.run.source_name} gave no pair that fits {limit} tokens")
        self.notes = {"pairs": len(train), "held_out": len(test), "truncated": truncated, "refused": refused}
        return train, test

    def begin(self, model: GPT2) -> None:
        """Keep the reference's log-probabilities of every answer, so that the reference leaves memory."""
        self._train_reference = self._reference(model, self.pairs)
        self._test_reference = self._reference(model, self.held_out)

    def _reference(self, model: GPT2, pairs: list[PairRow]) -> np.ndarray:
        """log r of (chosen, rejected) for each pair: float32 (n_pairs, 2)."""
        import torch

        eot = self.tokenizer.eot_id
        logps = np.zeros((len(pairs), 2), np.float32)
        order = sorted(range(len(pairs)), key=lambda i: max(len(a) + len(b) for a, b in pairs[i]))
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                ids = order[start : start + 64]
                rows = [pairs[i][0] for i in ids] + [pairs[i][1] for i in ids]
                sums_R = _sequence_log_probs(model, on_device(pad(rows, eot), model.device)).sum(1)
                logps[ids] = sums_R.float().cpu().numpy().reshape(2, -1).T
        return logps

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed).tolist()
        ids.sort(key=lambda i: max(len(a) + len(b) for a, b in self.pairs[i]))
        mine = ids[micro * self.micro_size : (micro + 1) * self.micro_size]
        own = self._pairs(self.pairs, self._train_reference, mine)
        if self.replay:
            own.extra["replay"] = self.replay.batch(step, micro)
        return own

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return self._pairs(self.held_out, self._test_reference, ids.tolist())

    def _pairs(self, pairs: list[PairRow], reference: np.ndarray, ids: list[int]) -> Batch:
        rows = [pairs[i][0] for i in ids] + [pairs[i][1] for i in ids]
        batch = pad(rows, self.tokenizer.eot_id)
        batch.extra["reference"] = reference[ids]
        return batch

    def weights(self, batch: Batch) -> dict[str, float]:
        n = len(batch.tokens) // 2
        weights = {"dpo": float(n)}
        if self.config.sft:
            weights["sft"] = float(batch.weights[:n].sum())
        if "replay" in batch.extra:
            weights["replay"] = float(batch.extra["replay"].weights.sum())
        return weights

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        logps_RT = _sequence_log_probs(model, batch)
        n = len(batch.tokens) // 2
        chosen_N, rejected_N = logps_RT.sum(1).split(n)
        reference_N2 = batch.extra["reference"]
        terms, metrics = dpo_terms(chosen_N, rejected_N, reference_N2, self.config)
        if self.config.sft:
            terms["sft"] = -logps_RT[:n].sum()
        if "replay" in batch.extra:
            terms["replay"] = token_loss(model, batch.extra["replay"])
        return LossTerms(terms, {name: (value.detach().sum(), float(n)) for name, value in metrics.items()})


def dpo_terms(
    chosen_N: Tensor, rejected_N: Tensor, reference_N2: Tensor, config: Config
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The summed DPO loss and per-pair metrics from sequence log-probabilities of N pairs."""
    from torch.nn.functional import logsigmoid

    reward_chosen_N = config.beta * (chosen_N - reference_N2[:, 0])
    reward_rejected_N = config.beta * (rejected_N - reference_N2[:, 1])
    margin_N = reward_chosen_N - reward_rejected_N
    s = config.label_smoothing
    loss_N = -(1 - s) * logsigmoid(margin_N) - s * logsigmoid(-margin_N)
    metrics = {
        "rewards/chosen": reward_chosen_N,
        "rewards/rejected": reward_rejected_N,
        "rewards/margins": margin_N,
        "rewards/accuracies": (margin_N > 0).float(),
        "logps/chosen": chosen_N,
        "logps/rejected": rejected_N,
    }
    return {"dpo": loss_N.sum()}, metrics


def _sequence_log_probs(model: GPT2, batch: Batch) -> Tensor:
    """log p of each response token, 0 elsewhere: (rows, T)."""
    from neogpt.model import log_probs

    return log_probs(model, batch.tokens, batch.targets, batch.weights)


build = DPO

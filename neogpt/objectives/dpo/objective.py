"""Direct Preference Optimization (Rafailov et al. 2023): prefer one answer to another, near a reference.

For a pair of answers w (chosen) and l (rejected) to a prompt x, with policy p and frozen reference r,
    margin = beta * [(log p(w|x) - log r(w|x)) - (log p(l|x) - log r(l|x))]
    loss   = -log sigmoid(margin), or another of `losses.py`
and an SFT term -log p(w|x) per token keeps the chosen answers likely (RPO, Pang et al. 2024). Without that
term and without helpful pairs a model learns to refuse everything: see `docs/log.md`.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neogpt.config import AnyRun, digest
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.data.split import number, opening
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.objectives.batching import answer_log_probs, n_rows, pack, pad, row_sums, token_loss
from neogpt.objectives.dpo.config import Config
from neogpt.objectives.dpo.losses import chosen_loss, is_normalized
from neogpt.objectives.dpo.reference_cache import PairRow, Reference, reference
from neogpt.objectives.replay import Replay
from neogpt.objectives.split import Split, none_left, pairs
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_response, encode_turns


class DPO(Objective):
    """Pairs of answers; rows 0..n-1 of a batch are chosen, n..2n-1 rejected, in the same order."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.reference_free = chosen_loss(self.config).reference_free
        self.begins_on_disk = self.config.reference == "cached" and not self.reference_free
        self.pairs, self.held_out, self.kinds = self._read()
        self.known_kinds = sorted(set(self.kinds[: run.eval.val_samples]))  # of what an evaluation reads
        self.n_samples, self.n_validation = len(self.pairs), len(self.held_out)
        self.coefficients = {"dpo": 1.0}
        self.is_packed = self.config.packing
        if self.config.sft_coef:
            self.coefficients["sft"] = self.config.sft_coef
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
        replayed = self.replay.fingerprint if self.replay else ""
        self.data_hash = digest({"pairs": self.pairs, "held_out": self.held_out, "pretrain": replayed})
        self._references: tuple[Reference, Reference] | None = None
        self._live: GPT2 | None = None

    def _read(self) -> tuple[list[PairRow], list[PairRow], list[str]]:
        """Training and held-out pairs as token ids, and the kinds of the latter; counts what was cut or filtered.

        The held-out pairs come in the order of their prompts' hashes, so that the first few are of every source.
        """
        bad = RowStats()
        split = Split[tuple[int, str, PairRow]](self.config.val_fraction)
        limit = min(self.config.max_tokens, self.n_positions)
        for item in pairs(self.run.source, bad):
            turns = encode_turns(
                self.tokenizer, [*item.history, Turn(item.instruction, item.context, item.chosen)]
            )
            *before, chosen = [part for turn in turns for part in turn]
            rejected = encode_response(self.tokenizer, item.rejected)
            prompt = [token for part in before for token in part]
            room = limit + 1 - len(prompt)
            if reason := _useless(chosen, rejected, room):
                split.filtered(reason)
                continue
            split.counts["truncated"] += max(len(chosen), len(rejected)) > room
            row = (prompt, chosen[:room]), (prompt, rejected[:room])
            split.add(item, turns[0][0], (number(opening(item)), item.kind, row))
        self.notes = bad.notes
        self.data_counts = split.data_counts("pairs", bad)
        if not split.train:
            raise none_left(self.run, "pair", limit, self.data_counts)
        held_out = sorted(split.held_out, key=lambda found: found[0])
        train = [row for *_, row in split.train]
        return train, [row for *_, row in held_out], [kind for _, kind, _ in held_out]

    def begin(self, model: GPT2) -> None:
        """Keep what the reference says of every answer, so that it leaves memory (live: keep the model)."""
        if self.reference_free:
            return
        if self.config.reference == "live":
            self._live = copy.deepcopy(model).requires_grad_(False)
            return
        train, test = (
            reference(model, pairs, self.tokenizer.eot_id, self.run.dtype)
            for pairs in (self.pairs, self.held_out)
        )
        self._references = train, test

    def batch(self, step: int, micro: int) -> Batch:
        ids = sample_ids(step, self.run.batch.size, self.n_samples, self.run.seed).tolist()
        ids.sort(key=lambda i: max(len(a) + len(b) for a, b in self.pairs[i]))
        mine = ids[micro * self.micro_size : (micro + 1) * self.micro_size]
        own = self._batch(self.pairs, 0, mine)
        if self.replay:
            own.extra["pretrain"] = self.replay.batch(step, micro)
        return own

    def validation_batch(self, ids: np.ndarray) -> Batch:
        batch = self._batch(self.held_out, 1, ids.tolist())
        batch.extra["kinds"] = np.array([self.known_kinds.index(self.kinds[i]) for i in ids.tolist()])
        return batch

    def _batch(self, pairs: list[PairRow], split: int, ids: list[int]) -> Batch:
        rows = [pairs[i][k] for k in (0, 1) for i in ids]
        eot_id = self.tokenizer.eot_id
        batch = pack(rows, eot_id) if self.config.packing else pad(rows, eot_id, self.n_positions)
        if self._references:
            self._references[split].put(batch, ids)
        return batch

    def loss_denominators(self, batch: Batch) -> dict[str, float]:
        n = n_rows(batch) // 2
        weights = {"dpo": float(n)}
        if self.config.sft_coef:
            weights["sft"] = float(_of_chosen(batch.weights, batch).sum())
        if "pretrain" in batch.extra:
            weights["pretrain"] = float(batch.extra["pretrain"].weights.sum())
        return weights

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        logps_BT = answer_log_probs(model, batch)
        n = n_rows(batch) // 2
        chosen_N, rejected_N = row_sums(logps_BT, batch).split(n)
        lengths_N2 = row_sums((batch.weights > 0).to(logps_BT), batch).view(2, n).t()
        reference_BT, reference_N2 = self._reference(batch)
        terms, metrics = dpo_terms(chosen_N, rejected_N, reference_N2, self.config, lengths_N2)
        if self.config.sft_coef:
            terms["sft"] = -_of_chosen(logps_BT, batch).sum()
        if "pretrain" in batch.extra:
            terms["pretrain"] = token_loss(model, batch.extra["pretrain"])
        means: dict[str, tuple[Tensor | float, float]]
        means = {name: (value.detach().sum(), float(n)) for name, value in metrics.items()}
        if "kinds" in batch.extra:
            means |= self._accuracies(metrics["rewards/accuracies"].detach(), batch.extra["kinds"])
        if reference_BT is not None:
            gap_N2 = row_sums(distances(logps_BT.detach(), reference_BT, batch.weights), batch).view(2, n).t()
            for k, side in enumerate(("chosen", "rejected")):
                means[f"kl/{side}"] = gap_N2[:, k].sum(), float(lengths_N2[:, k].sum())
        return LossTerms(terms, means)

    def sample_losses(self, model: GPT2, batch: Batch) -> None:
        """None: a pair's loss and its share of the SFT term are divided by different weights."""

    def _accuracies(self, correct_N: Tensor, kinds_N: Tensor) -> dict[str, tuple[Tensor | float, float]]:
        """The share of pairs ranked rightly, for each kind of held-out pairs that has a name."""
        masks = {kind: kinds_N == i for i, kind in enumerate(self.known_kinds) if kind}
        return {
            f"rewards/accuracies/{kind}": (correct_N[mask_N].sum(), float(mask_N.sum()))
            for kind, mask_N in masks.items()
        }

    def _reference(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """log r of each token, and of (chosen, rejected) of each pair; zeros where there is no reference."""
        n = n_rows(batch) // 2
        if self.reference_free:
            return None, torch.zeros(n, 2, device=batch.weights.device)
        if self._live is None:
            return batch.extra["reference_tokens"], batch.extra["reference"]
        with torch.no_grad():
            logps_BT = answer_log_probs(self._live, batch)
        return logps_BT, row_sums(logps_BT, batch).view(2, n).t()


def dpo_terms(
    chosen_N: Tensor,
    rejected_N: Tensor,
    reference_N2: Tensor,
    config: Config,
    lengths_N2: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The summed preference loss and per-pair metrics from sequence log-probabilities of N pairs.

    `lengths_N2`: tokens of (chosen, rejected), needed where scores are length-normalized.
    """
    found = chosen_loss(config)
    score_chosen_N, score_rejected_N = chosen_N - reference_N2[:, 0], rejected_N - reference_N2[:, 1]
    if is_normalized(config):
        assert lengths_N2 is not None
        score_chosen_N, score_rejected_N = (
            score_chosen_N / lengths_N2[:, 0],
            score_rejected_N / lengths_N2[:, 1],
        )
    reward_chosen_N, reward_rejected_N = config.beta * score_chosen_N, config.beta * score_rejected_N
    margin_N = reward_chosen_N - reward_rejected_N
    metrics = {
        "rewards/chosen": reward_chosen_N,
        "rewards/rejected": reward_rejected_N,
        "rewards/margins": margin_N,
        "rewards/accuracies": (margin_N > 0).float(),
        "logps/chosen": chosen_N,
        "logps/rejected": rejected_N,
    }
    return {"dpo": found.function(margin_N, config).sum()}, metrics


def distances(logps_BT: Tensor, reference_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """How far the policy is from the reference at each answer token, in nats: (B, T) as the inputs, 0 elsewhere.

    Schulman's estimator k2 = (log policy / reference)^2 / 2 ("Approximating KL Divergence", 2020): 0 where both
    agree, never below, and their KL divergence near it. Farther away it says how far, and no more: the answers are
    the data's, not the policy's own. k3 would be worse there: its exp overflows on what the policy has unlearned.
    """
    return (logps_BT - reference_BT).square() / 2 * (weights_BT > 0)


def _useless(chosen: list[int], rejected: list[int], room: int) -> str:
    """Why nothing could be learned from a pair whose answers keep `room` tokens; "" where something can."""
    if room < 2:
        return "prompt too long"
    if len(chosen) == 1 or len(rejected) == 1:  # the end-of-text alone
        return "blank answer"
    if chosen == rejected:
        return "equal answers"
    return "equal answers after the cut" if chosen[:room] == rejected[:room] else ""


def _of_chosen(values_BT: Any, batch: Batch) -> Any:
    """The values of the chosen answers' rows, in one line."""
    n = n_rows(batch) // 2
    lengths = batch.extra.get("lengths")
    end = n * batch.tokens.shape[1] if lengths is None else int(lengths[:n].sum())
    return values_BT.reshape(-1)[:end]


build = DPO

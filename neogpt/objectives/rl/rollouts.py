"""Rollouts: groups of scored answers, as the batches of a step.

A rollout is a pure function of (weights, config, cycle, micro-batch): whoever makes it gets the same bits.

Shapes: N groups, G answers of a group, R = N x G rows, T tokens, K rewards.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from neogpt.batching import micro_size
from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.model import GPT2
from neogpt.objectives.batching import pad
from neogpt.objectives.rl import grpo
from neogpt.objectives.rl.config import Config
from neogpt.objectives.rl.rewards.base import Answer, Known, Rewards
from neogpt.objectives.rl.sampler import Prompt, Sampler, distinct


class Rollouts:
    """Answers to the run's prompts in its order, scored by its rewards, which ask the frozen model."""

    def __init__(
        self,
        run: AnyRun,
        config: Config,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        rewards: Rewards,
        known: Known,
        frozen: GPT2,
    ) -> None:
        self.run, self.config, self.prompts, self.sampler = run, config, prompts, sampler
        self.rewards, self.known, self.frozen = rewards, known, frozen
        self.micro_size = micro_size(run.batch.size, run.batch.micro_batches)

    def batch(self, actor: GPT2, cycle: int, micro: int) -> Batch:
        """Answer and score the prompts of a micro-batch; groups without variance may be tried anew."""
        slots = list(range(self.micro_size))
        prompts, answers, scores_SGK = self._try(actor, cycle, micro, 0, slots)
        for attempt in range(1, self.config.dynamic_sampling + 1):
            flat = [slot for slot in slots if grpo.is_flat(self._totals(scores_SGK[slot : slot + 1]))[0]]
            if not flat:
                break
            others, anew, scores = self._try(actor, cycle, micro, attempt, flat)
            for i, slot in enumerate(flat):
                prompts[slot], answers[slot], scores_SGK[slot] = others[i], anew[i], scores[i]
        return self._batch(prompts, answers, scores_SGK, actor.config.n_positions)

    def _try(
        self, actor: GPT2, cycle: int, micro: int, attempt: int, slots: Sequence[int]
    ) -> tuple[list[Prompt], list[list[Answer]], np.ndarray]:
        """A group of answers for each slot of the micro-batch, and their scores (slots, group, rewards)."""
        G, first = self.config.num_generations, micro * self.micro_size
        seed = int(
            np.random.SeedSequence([self.run.seed, cycle, attempt]).generate_state(1, np.uint64)[0] >> 1
        )
        order = seed if attempt else self.run.seed
        ids = sample_ids(cycle, self.run.batch.size, len(self.prompts), order)[
            first : first + self.micro_size
        ]
        prompts = [self.prompts[ids[slot]] for slot in slots]
        rows = [(first + slot) * G + k for slot in slots for k in range(G)]
        answers, scores = self.scored(actor, [p for p in prompts for _ in range(G)], seed, rows)
        groups = [answers[i : i + G] for i in range(0, len(answers), G)]
        return prompts, groups, scores.reshape(len(slots), G, -1)

    def scored(
        self, model: GPT2, prompts: Sequence[Prompt], seed: int, rows: Sequence[int]
    ) -> tuple[list[Answer], np.ndarray]:
        answers = self.sampler.answers(model, prompts, seed, rows)
        if self.rewards.needs("log_probs"):
            alone = self.rewards.needs("log_probs_alone")
            answers = self.sampler.judged(self.frozen, prompts, answers, alone)
        return answers, self.rewards.scores(answers, self.known)

    def _totals(self, scores_NGK: np.ndarray) -> np.ndarray:
        N, G, K = scores_NGK.shape
        return self.rewards.total(scores_NGK.reshape(N * G, K)).reshape(N, G)

    def _batch(
        self, prompts: list[Prompt], groups: list[list[Answer]], scores_NGK: np.ndarray, n_positions: int
    ) -> Batch:
        answers = [answer for group in groups for answer in group]
        rows = [(p.ids, list(a.tokens)) for p, group in zip(prompts, groups, strict=True) for a in group]
        batch = pad(rows, self.sampler.tokenizer.eot_id, n_positions)
        stopped_R = np.array([answer.stopped for answer in answers])
        if self.config.mask_truncated_completions:
            batch.weights[~stopped_R] = 0
        totals_NG = self._totals(scores_NGK)
        extra = {
            "advantages": grpo.advantages(totals_NG, self.config.scale_rewards)
            .reshape(-1)
            .astype(np.float32),
            "scores": np.concatenate([scores_NGK, totals_NG[..., None]], 2),
            "answer_tokens": np.array([len(answer.tokens) for answer in answers], np.float64),
            "stopped": stopped_R.astype(np.float64),
            "distinct": np.array([distinct(group) for group in groups], np.float64),
        }
        return Batch(
            batch.tokens, batch.targets, grpo.token_weights(batch.weights, self.config.loss_type), extra
        )


def metrics(
    batch: Batch, learned: Batch, found: grpo.Terms, logps_RT: Tensor, names: Sequence[str]
) -> dict[str, tuple[Tensor | float, float]]:
    """Sums and what to divide them by. Entropy is estimated by -log p of what was sampled.

    `learned`: the rows that the loss is taken over, of which there may be fewer; `found` and `logps_RT` are of those.
    """
    mask_RT = learned.weights > 0
    n_tokens, n_rows = float(mask_RT.sum()), float(len(batch.weights))
    scores_NGK = batch.extra["scores"]
    metrics: dict[str, tuple[Tensor | float, float]] = {}
    for k, name in enumerate([*(f"rewards/{name}" for name in names), "reward"]):
        metrics[name] = (scores_NGK[..., k].sum(), n_rows)
        metrics[f"{name}_std"] = (scores_NGK[..., k].std(1).sum(), float(len(scores_NGK)))
    totals_NG = scores_NGK[..., -1]
    flat_N = totals_NG.amax(1) == totals_NG.amin(1)
    unique, runs = batch.extra["distinct"].sum(0).tolist()
    return {
        **metrics,
        "zero_variance": (flat_N.sum(), float(len(flat_N))),
        "kl": ((found.kl_RT * mask_RT).sum(), n_tokens),
        "entropy": (-(logps_RT * mask_RT).sum(), n_tokens),
        "clip_share": ((found.clipped_RT & mask_RT).sum(), n_tokens),
        "answer_tokens": (batch.extra["answer_tokens"].sum(), n_rows),
        "stop": (batch.extra["stopped"].sum(), n_rows),
        "distinct_2": (unique, runs),
    }

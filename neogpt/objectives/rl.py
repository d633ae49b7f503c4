"""Reinforcement learning: answer, be scored, and do more of what scored better (GRPO, Shao et al. 2024).

Each prompt is answered `group` times by the model as it is; rewards score the answers, and an answer that is
better than its group becomes likelier (see `_grpo.py`). A frozen copy of the starting model pulls back, and good
answers to other requests are rehearsed beside it, because a reward erases what it does not ask for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from neogpt import plugins
from neogpt.config import AnyRun, ObjectiveConfig, digest
from neogpt.data.batch import Batch
from neogpt.data.order import sample_ids
from neogpt.data.records import Quarantine
from neogpt.data.split import held_out
from neogpt.errors import ConfigError, DataError
from neogpt.objectives import _grpo
from neogpt.objectives._base import LossTerms, Objective, pad, token_loss
from neogpt.objectives._rehearsal import Rehearsal
from neogpt.objectives._rollouts import Prompt, Sampler, distinct
from neogpt.objectives.rewards._base import Answer, Known, Rewards
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

if TYPE_CHECKING:
    from torch import Tensor

    from neogpt.model import GPT2

_EXAMINED = 64
"""Held-out prompts that an evaluation answers."""


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of reinforcement learning. `batch.size` counts prompts."""

    group: int = 8
    """Answers to each prompt."""
    max_new_tokens: int = 128
    """Longest answer."""
    rewards: tuple[str, ...] = ("finished:0.25", "repetition:0.25", "format:0.5", "coherence:0.5")
    """Rewards and their weights in the sum, NAME:WEIGHT (`neogpt list rewards`)."""
    loss_type: _grpo.LossType = "dapo"
    """What a token counts. dapo: each as much; grpo: each answer as much; dr_grpo: by a constant length."""
    scale_rewards: bool = True
    """Divide advantages by the standard deviation of their group (Dr. GRPO does not)."""
    epsilon: float = 0.2
    """Lower clip: a token's probability may fall by this share in one rollout's updates."""
    epsilon_high: float = 0.28
    """Upper clip: it may rise by this share."""
    beta: float = 0.04
    """Weight of the distance (KL) to the starting model; 0: measured only."""
    updates_per_rollout: int = 1
    """Updates made from the same answers."""
    resample: int = 0
    """How often groups whose answers all score alike are replaced by answers to other prompts (DAPO)."""
    mask_truncated: bool = False
    """Learn nothing from answers that were cut off."""
    replay: float = 0.1
    """Weight of -log p per token of rehearsed answers."""
    replay_rows: int = 16
    """Rehearsed answers a step."""
    val_fraction: float = 0.05
    """Share of prompts held out, chosen by a hash of their text."""

    def __post_init__(self) -> None:
        for name, least in (("group", 2), ("max_new_tokens", 1), ("updates_per_rollout", 1), ("resample", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"a whole number from {least} up")
        for name in ("epsilon", "epsilon_high", "beta", "replay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}", "a number from 0 up")


class RL(Objective):
    """Groups of answers; rows n*group .. (n+1)*group - 1 of a batch answer the same prompt."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.rewards = Rewards(self.config.rewards)
        self.prompts, self.held_out = self._read()
        self.rehearsal = Rehearsal(
            run,
            tokenizer,
            self.config.replay_rows,
            n_positions,
            self.config.val_fraction,
            {prompt.item.instruction for prompt in self.prompts + self.held_out},
        )
        self.n_samples, self.n_validation = len(self.prompts), len(self.rehearsal.held_out)
        weights = {"rl": 1.0, "kl": self.config.beta, "replay": self.config.replay}
        self.coefficients = {"nll": 1.0, **{name: weight for name, weight in weights.items() if weight}}
        ids = [[prompt.ids for prompt in part] for part in (self.prompts, self.held_out)]
        rehearsed = [self.rehearsal.train, self.rehearsal.held_out]
        self.data_hash = digest({"prompts": ids, "rehearsal": rehearsed})
        self.notes |= {"rehearsed": len(self.rehearsal.train), "held_out_answers": self.n_validation}
        self._cycle = -1
        self._kept: dict[int, Batch] = {}

    def _read(self) -> tuple[list[Prompt], list[Prompt]]:
        """Training and held-out prompts: the source's, or the requests of its instructions."""
        bad = Quarantine()
        source = plugins.get("neogpt.data.sources", self.run.source_name)
        items = getattr(source, "prompts", None) or source.instructions
        room = self.n_positions - self.config.max_new_tokens
        train: list[Prompt] = []
        test: list[Prompt] = []
        refused = 0
        for item in items(self.run.source, bad):
            prompt = Prompt(item, encode_prompt(self.tokenizer, item.instruction, item.context))
            if len(prompt.ids) > room:
                refused += 1
                continue
            text = f"{item.instruction}\n{item.context}"
            (test if held_out(text, self.config.val_fraction) else train).append(prompt)
        bad.check()
        if not train:
            raise DataError(
                f"the source {self.run.source_name} gave no prompt that leaves room for "
                f"{self.config.max_new_tokens} new tokens",
                f"prompts of at most {room} tokens",
                "--objective.max-new-tokens with a smaller number",
            )
        self.notes = {"prompts": len(train), "held_out_prompts": len(test), "refused": refused}
        return train, test

    def begin(self, model: GPT2) -> None:
        """Keep the starting model, and what held-out answers are like under it; remember the live model."""
        import torch

        self.live = copy.copy(model)  # shares the weights, but is never compiled: the engine's shapes vary
        self.reference = copy.deepcopy(model).requires_grad_(False)
        several = self.config.updates_per_rollout > 1
        self.actor = copy.deepcopy(self.reference) if several else self.live
        dtype = torch.bfloat16 if self.run.dtype == "bfloat16" else None
        self.sampler = Sampler(self.tokenizer, self.config.max_new_tokens, dtype)
        human = self.sampler.human(self.reference, self.rehearsal.held_out)
        self.known = Known(self.run.source_name, self.run.source, human)

    def state(self, step: int) -> dict[str, Tensor]:
        """Between two updates from the same answers: the weights that gave them, which give them again."""
        if step % self.config.updates_per_rollout == 0:
            return {}
        return {name: tensor.detach().clone() for name, tensor in self.actor.state_dict().items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self.actor.load_state_dict(tensors)

    def batch(self, step: int, micro: int) -> Batch:
        own = self._answered(step, micro)
        if "replay" in self.coefficients:
            own = replace(own, extra={**own.extra, "replay": self.rehearsal.batch(step, micro)})
        return own

    def _answered(self, step: int, micro: int) -> Batch:
        """The scored answers of a micro-batch; those of one rollout are kept for its later updates."""
        cycle, update = divmod(step, self.config.updates_per_rollout)
        if self.config.updates_per_rollout == 1:
            return self._roll_out(cycle, micro)
        if cycle != self._cycle:
            if update == 0:
                self.actor.load_state_dict(self.live.state_dict())
            self._cycle, self._kept = cycle, {}
        if micro not in self._kept:
            self._kept[micro] = self._roll_out(cycle, micro)
        return self._kept[micro]

    def _roll_out(self, cycle: int, micro: int) -> Batch:
        """Answer and score the prompts of a micro-batch; groups without variance may be tried anew."""
        slots = list(range(self.micro_size))
        prompts, answers, scores_SGK = self._try(cycle, micro, 0, slots)
        for attempt in range(1, self.config.resample + 1):
            flat = [slot for slot in slots if _grpo.is_flat(self._totals(scores_SGK[slot : slot + 1]))[0]]
            if not flat:
                break
            others, anew, scores = self._try(cycle, micro, attempt, flat)
            for i, slot in enumerate(flat):
                prompts[slot], answers[slot], scores_SGK[slot] = others[i], anew[i], scores[i]
        return self._batch(prompts, answers, scores_SGK)

    def _try(
        self, cycle: int, micro: int, attempt: int, slots: Sequence[int]
    ) -> tuple[list[Prompt], list[list[Answer]], np.ndarray]:
        """A group of answers for each slot of the micro-batch, and their scores (slots, group, rewards)."""
        G, first = self.config.group, micro * self.micro_size
        seed = int(
            np.random.SeedSequence([self.run.seed, cycle, attempt]).generate_state(1, np.uint64)[0] >> 1
        )
        order = seed if attempt else self.run.seed
        ids = sample_ids(cycle, self.run.batch.size, self.n_samples, order)[first : first + self.micro_size]
        prompts = [self.prompts[ids[slot]] for slot in slots]
        rows = [(first + slot) * G + k for slot in slots for k in range(G)]
        answers, scores = self._scored(self.actor, [p for p in prompts for _ in range(G)], seed, rows)
        groups = [answers[i : i + G] for i in range(0, len(answers), G)]
        return prompts, groups, scores.reshape(len(slots), G, -1)

    def _scored(
        self, model: GPT2, prompts: Sequence[Prompt], seed: int, rows: Sequence[int]
    ) -> tuple[list[Answer], np.ndarray]:
        answers = self.sampler.answers(model, prompts, seed, rows)
        if self.rewards.needs("log_probs"):
            alone = self.rewards.needs("log_probs_alone")
            answers = self.sampler.judged(self.reference, prompts, answers, alone)
        return answers, self.rewards.scores(answers, self.known)

    def _totals(self, scores_NGK: np.ndarray) -> np.ndarray:
        N, G, K = scores_NGK.shape
        return self.rewards.total(scores_NGK.reshape(N * G, K)).reshape(N, G)

    def _batch(self, prompts: list[Prompt], groups: list[list[Answer]], scores_NGK: np.ndarray) -> Batch:
        answers = [answer for group in groups for answer in group]
        rows = [(p.ids, list(a.tokens)) for p, group in zip(prompts, groups, strict=True) for a in group]
        batch = pad(rows, self.tokenizer.eot_id)
        stopped_R = np.array([answer.stopped for answer in answers])
        if self.config.mask_truncated:
            batch.weights[~stopped_R] = 0
        totals_NG = self._totals(scores_NGK)
        extra = {
            "advantages": _grpo.advantages(totals_NG, self.config.scale_rewards)
            .reshape(-1)
            .astype(np.float32),
            "scores": np.concatenate([scores_NGK, totals_NG[..., None]], 2),
            "answer_tokens": np.array([len(answer.tokens) for answer in answers], np.float64),
            "stopped": stopped_R.astype(np.float64),
            "distinct": np.array(distinct(answers), np.float64),
        }
        return Batch(
            batch.tokens, batch.targets, _grpo.token_weights(batch.weights, self.config.loss_type), extra
        )

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return self.rehearsal.validation_batch(ids)

    def weights(self, batch: Batch) -> dict[str, float]:
        if "advantages" not in batch.extra:
            return {"nll": float(batch.weights.sum())}
        config = self.config
        own = _grpo.total_weight(batch.weights, config.loss_type, config.max_new_tokens)
        weights = {"rl": own, "kl": own}
        if "replay" in batch.extra:
            weights["replay"] = float(batch.extra["replay"].weights.sum())
        return {name: weight for name, weight in weights.items() if name in self.coefficients}

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        if "advantages" not in batch.extra:
            return LossTerms({"nll": token_loss(model, batch)})
        logps_RT = _log_probs(model, batch)
        old_RT, reference_RT = self._frozen_log_probs(batch, logps_RT)
        config = self.config
        found = _grpo.terms(
            logps_RT,
            old_RT,
            reference_RT,
            batch.extra["advantages"],
            batch.weights,
            config.epsilon,
            config.epsilon_high,
        )
        terms = {"rl": found.policy, "kl": found.kl}
        if "replay" in batch.extra:
            terms["replay"] = token_loss(model, batch.extra["replay"])
        terms = {name: term for name, term in terms.items() if name in self.coefficients}
        return LossTerms(terms, self._metrics(batch, found, logps_RT.detach()))

    def _frozen_log_probs(self, batch: Batch, logps_RT: Tensor) -> tuple[Tensor, Tensor]:
        """Under the weights that gave the answers, and under the starting model."""
        import torch

        with torch.no_grad():
            several = self.config.updates_per_rollout > 1
            old_RT = _log_probs(self.actor, batch) if several else logps_RT.detach()
            return old_RT, _log_probs(self.reference, batch)

    def _metrics(
        self, batch: Batch, found: _grpo.Terms, logps_RT: Tensor
    ) -> dict[str, tuple[Tensor | float, float]]:
        """Sums and what to divide them by. Entropy is estimated by -log p of what was sampled."""
        mask_RT = batch.weights > 0
        n_tokens, n_rows = float(mask_RT.sum()), float(len(mask_RT))
        scores_NGK = batch.extra["scores"]
        names = [*(f"rewards/{name}" for name in self.rewards.names), "reward"]
        metrics: dict[str, tuple[Tensor | float, float]] = {}
        for k, name in enumerate(names):
            metrics[name] = (scores_NGK[..., k].sum(), n_rows)
            metrics[f"{name}_std"] = (scores_NGK[..., k].std(1).sum(), float(len(scores_NGK)))
        totals_NG = scores_NGK[..., -1]
        flat_N = (totals_NG.amax(1) == totals_NG.amin(1)).double()
        unique, runs = batch.extra["distinct"].tolist()
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

    def examine(self) -> dict[str, float]:
        """Held-out prompts, answered once each at a fixed seed: rewards, stop, distinct pairs, distance."""
        prompts = self.held_out[:_EXAMINED]
        if not prompts:
            return {}
        answers, scores_RK = self._scored(self.live, prompts, self.run.seed, range(len(prompts)))
        now = self.sampler.judged(self.live, prompts, answers, alone=False)
        then = self.sampler.judged(self.reference, prompts, answers, alone=False)
        gaps = np.concatenate([np.subtract(b.log_probs, a.log_probs) for a, b in zip(now, then, strict=True)])
        unique, runs = distinct(answers)
        named = {f"rl/{name}": float(scores_RK[:, k].mean()) for k, name in enumerate(self.rewards.names)}
        return {
            "rl/reward": float(self.rewards.total(scores_RK).mean()),
            **named,
            "rl/stop": sum(answer.stopped for answer in answers) / len(answers),
            "rl/distinct_2": unique / max(1, runs),
            "rl/kl": float((np.exp(gaps) - gaps - 1).mean()),
            "rl/answer_tokens": sum(len(answer.tokens) for answer in answers) / len(answers),
        }


def _log_probs(model: GPT2, batch: Batch) -> Tensor:
    """log p of each token of the answers, 0 elsewhere: (rows, T)."""
    from neogpt.model import log_probs

    return log_probs(model, batch.tokens, batch.targets, batch.weights)


build = RL

"""Reinforcement learning: answer, be scored, and do more of what scored better (GRPO, Shao et al. 2024).

Each prompt is answered `num_generations` times by the model as it is; rewards score the answers, and an answer that is
better than its group becomes likelier (see `grpo.py`). A frozen copy of the starting model pulls back, and good
answers to other requests are learned beside it (the SFT mix-in), because a reward erases what it does not ask for.
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from neogpt.config import AnyRun, digest
from neogpt.data.batch import Batch
from neogpt.errors import ConfigError
from neogpt.model import GPT2, load_pretrained
from neogpt.objectives.base import LossTerms, Objective
from neogpt.objectives.batching import answer_log_probs, token_loss, trimmed
from neogpt.objectives.rl import grpo
from neogpt.objectives.rl.config import Config
from neogpt.objectives.rl.rewards.base import Known, Rewards
from neogpt.objectives.rl.rollouts import Rollouts, metrics
from neogpt.objectives.rl.sampler import Prompt, Sampler, distinct
from neogpt.objectives.rl.sft_mix import SFTMix, human_answers
from neogpt.objectives.split import Split, none_left, prompts
from neogpt.outcomes import Outcomes
from neogpt.records import Instruction, RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_prompt

_EXAMINED = 64
"""Held-out prompts that an evaluation answers."""


class RL(Objective):
    """Groups of answers; rows n*num_generations .. (n+1)*num_generations - 1 of a batch answer the same prompt."""

    holds_model = True

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        super().__init__(run, tokenizer, n_positions)
        assert isinstance(run.objective, Config)
        self.config = run.objective
        self.rewards = Rewards(self.config.rewards)
        self.prompts, self.held_out = self._read()
        self.sft_mix = SFTMix(
            run,
            tokenizer,
            self.config.sft_rows,
            n_positions,
            self.config.val_fraction,
            {prompt.item.instruction for prompt in self.prompts + self.held_out},
        )
        people = human_answers(run, tokenizer, n_positions, self.config.val_fraction)
        self.people = people or self.sft_mix.held_out
        self.n_samples, self.n_validation = len(self.prompts), len(self.sft_mix.held_out)
        weights = {"rl": 1.0, "kl": self.config.beta, "sft": self.config.sft_coef}
        self.coefficients = {"nll": 1.0, **{name: weight for name, weight in weights.items() if weight}}
        ids = [[prompt.ids for prompt in part] for part in (self.prompts, self.held_out)]
        mixed_in = [self.sft_mix.train, self.sft_mix.held_out]
        self.data_hash = digest({"prompts": ids, "sft_mix": mixed_in, "people": self.people})
        self.data_counts |= self.sft_mix.data_counts
        self._cycle = -1
        self._kept: dict[int, Batch] = {}

    @property
    def _room(self) -> int:
        """The longest prompt that an answer fits behind."""
        return self.n_positions - self.config.max_completion_length

    def _read(self) -> tuple[list[Prompt], list[Prompt]]:
        """Training and held-out prompts: the source's, or the requests of its instructions."""
        bad = RowStats()
        split = Split[Prompt](self.config.val_fraction)
        for item in prompts(self.run.source, bad):
            history = [Turn(turn.instruction, turn.context, turn.response) for turn in item.history]
            ids = encode_prompt(self.tokenizer, item.instruction, item.context, history)
            if len(ids) <= self._room:
                split.add(item, ids, Prompt(item, ids))
            else:
                split.filtered("prompt too long")
        train, self.data_counts = split.train, split.data_counts("prompts", bad)
        if not train:
            raise none_left(self.run, "prompt", self._room, self.data_counts)
        return train, split.held_out

    def begin(self, model: GPT2) -> None:
        """Keep the starting model, and what people's held-out answers are like under it; remember the live one."""
        self.live = model
        self.reference = copy.deepcopy(model).requires_grad_(False)
        several = self.config.updates_per_rollout > 1
        self.actor = copy.deepcopy(self.reference) if several else self.live
        dtype = torch.bfloat16 if self.run.dtype == "bfloat16" else None
        self.sampler = Sampler(self.tokenizer, self.config.max_completion_length, dtype)
        asked = self._asked()
        known = Known(self.run.source, self.sampler.human(asked, self.people))
        self.rollouts = Rollouts(
            self.run, self.config, self.prompts, self.sampler, self.rewards, known, asked
        )

    def _asked(self) -> GPT2:
        """The frozen model that rewards ask: the one that is named, or the starting one."""
        folder = self.config.coherence_model
        if not folder:
            return self.reference
        found = load_pretrained(folder).requires_grad_(False)
        is_same = Tokenizer.load(folder).fingerprint == self.tokenizer.fingerprint
        if not is_same or found.config.n_positions < self.n_positions:
            raise ConfigError(
                f"the model in {folder} cannot read what this one writes",
                "the same vocabulary, and as long a context",
                "--objective.coherence-model DIR of the model that this one was made from",
                code="reward.other_vocabulary",
            )
        return found.to(self.reference.device)

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
        if "sft" in self.coefficients:
            own = replace(own, extra={**own.extra, "sft": self.sft_mix.batch(step, micro)})
        return own

    def _answered(self, step: int, micro: int) -> Batch:
        """The scored answers of a micro-batch; those of one rollout are kept for its later updates."""
        cycle, update = divmod(step, self.config.updates_per_rollout)
        if self.config.updates_per_rollout == 1:
            return self.rollouts.batch(self.actor, cycle, micro)
        if cycle != self._cycle:
            if update == 0:
                self.actor.load_state_dict(self.live.state_dict())
            self._cycle, self._kept = cycle, {}
        if micro not in self._kept:
            self._kept[micro] = self.rollouts.batch(self.actor, cycle, micro)
        return self._kept[micro]

    def validation_batch(self, ids: np.ndarray) -> Batch:
        return self.sft_mix.validation_batch(ids)

    def loss_denominators(self, batch: Batch) -> dict[str, float]:
        if "advantages" not in batch.extra:
            return {"nll": float(batch.weights.sum())}
        config = self.config
        own = grpo.total_weight(batch.weights, config.loss_type, config.max_completion_length)
        weights = {"rl": own, "kl": own}
        if "sft" in batch.extra:
            weights["sft"] = float(batch.extra["sft"].weights.sum())
        return {name: weight for name, weight in weights.items() if name in self.coefficients}

    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        if "advantages" not in batch.extra:
            return LossTerms({"nll": token_loss(model, batch)})
        learned = self._learned(batch)
        logps_RT = answer_log_probs(model, learned)
        old_RT, reference_RT = self._frozen_log_probs(learned, logps_RT)
        found = grpo.terms(
            logps_RT,
            old_RT,
            reference_RT,
            learned.extra["advantages"],
            learned.weights,
            self.config.epsilon,
            self.config.epsilon_high,
        )
        terms = {"rl": found.policy, "kl": found.kl}
        if "sft" in batch.extra:
            terms["sft"] = token_loss(model, batch.extra["sft"])
        terms = {name: term for name, term in terms.items() if name in self.coefficients}
        measured = metrics(batch, learned, found, logps_RT.detach(), self.rewards.names)
        if not self.config.beta:
            del measured["kl"]
        return LossTerms(terms, measured)

    def _learned(self, batch: Batch) -> Batch:
        """The rows with something to learn: without a distance to pay for, those whose advantage is not 0.

        A group whose answers all earn the same has no gradient then, so leaving it out changes nothing but the time
        (the sum over tokens is divided by all of them, as before). One row stays where there would be none.
        """
        if self.config.beta:
            return batch
        rows = batch.extra["advantages"].ne(0).nonzero().squeeze(1)
        rows = rows if len(rows) else rows.new_zeros(1)
        width = trimmed(batch.weights[rows])
        extra = {"advantages": batch.extra["advantages"][rows]}
        tokens, targets, weights = (t[rows, :width] for t in (batch.tokens, batch.targets, batch.weights))
        return Batch(tokens, targets, weights, extra)

    def _frozen_log_probs(self, batch: Batch, logps_RT: Tensor) -> tuple[Tensor, Tensor]:
        """Under the weights that gave the answers, and under the starting model (where its distance counts)."""
        with torch.no_grad():
            several = self.config.updates_per_rollout > 1
            old_RT = answer_log_probs(self.actor, batch) if several else logps_RT.detach()
            return old_RT, answer_log_probs(self.reference, batch) if self.config.beta else old_RT

    def eval_metrics(self) -> dict[str, float | Outcomes]:
        """`rl/`: rewards on held-out prompts. `guardrail/`: drift on held-out prompts that no reward is about."""
        return {**self._reward_metrics(), **self._drift()}

    def _reward_metrics(self) -> dict[str, float | Outcomes]:
        prompts = self.held_out[:_EXAMINED]
        if not prompts:
            return {}
        _, scores_RK = self.rollouts.scored(self.live, prompts, self.run.seed, range(len(prompts)))
        each = {f"rl/{name}": Outcomes.of(scores_RK[:, k]) for k, name in enumerate(self.rewards.names)}
        return {"rl/reward": Outcomes.of(self.rewards.total(scores_RK)), **each}

    def _drift(self) -> dict[str, float | Outcomes]:
        """Distance on drawn answers (always the same draws), the rest on greedy ones, which do not become fewer
        only because the model grows surer. Prompts that leave no room to end are passed over."""
        ids = [ids for ids in self.sft_mix.prompts if len(ids) <= self._room][:_EXAMINED]
        if not ids:
            return {}
        prompts, rows = [Prompt(Instruction(""), each) for each in ids], range(len(ids))
        answers = self.sampler.answers(self.live, prompts, self.run.seed, rows)
        greedy = self.sampler.answers(self.live, prompts, self.run.seed, rows, temperature=0)
        unique, runs = distinct(greedy)
        return {
            "guardrail/stop": Outcomes.of([answer.stopped for answer in greedy]),
            "guardrail/distinct_2": unique / max(1, runs),
            "guardrail/kl": self.sampler.distance(self.live, self.reference, prompts, answers),
        }


build = RL

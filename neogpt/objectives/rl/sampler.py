"""Answers sampled from a model, and how likely a model finds answers.

The one engine makes them, always for a whole micro-batch at once, and each row draws by (seed, step, row): so the
tokens are the same bits whoever computes the micro-batch, however often.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2, log_probs
from neogpt.objectives.batching import on_device, pad
from neogpt.objectives.rl.rewards.base import Answer, Human
from neogpt.objectives.rl.sft_mix import PromptResponse
from neogpt.outcomes import Outcomes
from neogpt.records import Instruction
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

_ROWS = 64
"""Rows of a forward pass of the frozen model."""


@dataclass(frozen=True)
class Prompt:
    """A request and its ids."""

    item: Instruction
    ids: list[int]


class Sampler:
    """Samples answers of at most `max_new_tokens` tokens at temperature 1, from the whole distribution.

    So the probabilities of the loss are those of the draws. `dtype`: precision of the products (None: the weights').
    """

    def __init__(self, tokenizer: Tokenizer, max_new_tokens: int, dtype: torch.dtype | None) -> None:
        self.tokenizer, self.limit, self.dtype = tokenizer, max_new_tokens, dtype
        self._alone = encode_prompt(tokenizer, "")

    def answers(
        self,
        model: GPT2,
        prompts: Sequence[Prompt],
        seed: int,
        request_ids: Sequence[int],
        temperature: float = 1.0,
    ) -> list[Answer]:
        """One answer to each prompt; row i draws from the stream (seed, request id). Temperature 0: greedy."""

        sampling = SamplingParams(max_new_tokens=self.limit, temperature=temperature, seed=seed)
        engine = Engine(model, self.tokenizer, max(1, len(prompts)), self.dtype)
        found = engine.complete([prompt.ids for prompt in prompts], sampling, request_ids)
        return [
            Answer(prompt.item, done.text, done.tokens, done.finish_reason == "stop", self.limit)
            for prompt, done in zip(prompts, found, strict=True)
        ]

    def judged(
        self, frozen: GPT2, prompts: Sequence[Prompt], answers: Sequence[Answer], alone: bool
    ) -> list[Answer]:
        """The same answers with their log-probabilities under the frozen model (and without the prompt)."""
        given = self._log_probs(
            frozen, [(p.ids, list(a.tokens)) for p, a in zip(prompts, answers, strict=True)]
        )
        bare = self._log_probs(frozen, [(self._alone, list(a.tokens)) for a in answers]) if alone else given
        return [
            replace(answer, log_probs=one.tolist(), log_probs_alone=other.tolist())
            for answer, one, other in zip(answers, given, bare, strict=True)
        ]

    def distance(
        self, model: GPT2, frozen: GPT2, prompts: Sequence[Prompt], answers: Sequence[Answer]
    ) -> Outcomes:
        """KL(model || frozen) a token, estimated (k3) on the model's own answers, answer by answer."""
        rows = [(prompt.ids, list(answer.tokens)) for prompt, answer in zip(prompts, answers, strict=True)]
        pairs = zip(self._log_probs(frozen, rows), self._log_probs(model, rows), strict=True)
        gaps = [frozen_logps - logps for frozen_logps, logps in pairs]
        sums = np.array([float((np.exp(gap) - gap - 1).sum()) for gap in gaps])
        return Outcomes(sums, np.array([float(len(gap)) for gap in gaps]))

    def human(self, frozen: GPT2, rows: Sequence[PromptResponse]) -> Human:
        """What people's answers are like under the frozen model."""
        given = self._log_probs(frozen, rows)
        bare = self._log_probs(frozen, [(self._alone, answer) for _, answer in rows])
        means = np.array([logps.mean() for logps in given])
        gains = np.array([(a - b).mean() for a, b in zip(given, bare, strict=True)])
        shortest, longest = np.percentile([len(answer) for _, answer in rows], [5, 95]).tolist()
        return Human((float(means.mean()), float(means.std())), float(gains.mean()), (shortest, longest))

    def _log_probs(self, model: GPT2, rows: Sequence[PromptResponse]) -> list[np.ndarray]:
        """Of each answer's tokens, float64, row by row; rows side by side are of like length."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
        found: dict[int, np.ndarray] = {}
        device = model.device
        with (
            torch.inference_mode(),
            torch.autocast(device.type, self.dtype, enabled=self.dtype is not None),
        ):
            for start in range(0, len(order), _ROWS):
                ids = order[start : start + _ROWS]
                padded = pad([rows[i] for i in ids], self.tokenizer.eot_id, model.config.n_positions)
                batch = on_device(padded, device)
                logps = log_probs(model, batch.tokens, batch.targets, batch.weights).cpu().double().numpy()
                for i, row in zip(ids, logps, strict=True):
                    begin = len(rows[i][0]) - 1
                    found[i] = row[begin : begin + len(rows[i][1])]
        return [found[i] for i in range(len(rows))]


def distinct(answers: Sequence[Answer], n: int = 2) -> tuple[int, int]:
    """Different runs of n tokens over all answers, and all runs: a model that says one thing has few."""
    runs = [tuple(a.tokens[i : i + n]) for a in answers for i in range(len(a.tokens) - n + 1)]
    return len(set(runs)), len(runs)

"""LAMBADA: the last word of a passage that only the whole passage tells, 5,153 of them (OpenAI's version)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neogpt.evals import base
from neogpt.evals._counts import with_errors
from neogpt.evals._tasks import TaskEval, TaskSet, bits_metric, text

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

TASKS = TaskSet("lambada", "hf://datasets/EleutherAI/lambada_openai/default", "test", 5_153, ("text",))
Passage = tuple[str, str]
"""A passage without its last word, and that word behind a space."""


class Lambada(TaskEval[Passage]):
    """As lm-evaluation-harness's task lambada_openai (Paperno et al. 2016; Radford et al. 2019)."""

    tasks = TASKS
    metrics = (
        base.Metric(
            "acc", base.KNOWLEDGE, "LAMBADA", "The last word of a passage, written by greedy decoding."
        ),
        base.Metric("perplexity", base.KNOWLEDGE, "LAMBADA, perplexity", "Of that word.", "lower", "number"),
        bits_metric("LAMBADA"),
    )

    @staticmethod
    def task(values: Mapping[str, Any]) -> Passage:
        """A row of the data set, cut at its last space."""
        context, _, word = text(values, "text").rpartition(" ")
        if not word:
            raise ValueError("text ends with a space")
        return context, f" {word}"

    def scores(
        self, model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Passage], world: World
    ) -> dict[str, float]:
        """acc (greedy decoding writes the last word), perplexity of it, and bits_per_byte, with standard errors.

        Perplexity is exp of the mean over words, its error that mean's, to first order.
        """
        from neogpt.evals._cloze import measured  # start-up time: torch

        acc, log_p, bits = measured(tasks, world, 3, lambda some: _measure(model, tokenizer, some)).T.tolist()
        found = with_errors({"acc": acc, "perplexity": log_p, "bits_per_byte": bits})
        perplexity = math.exp(min(-found["perplexity"], 700.0))
        return {
            **found,
            "perplexity": perplexity,
            "perplexity_stderr": perplexity * found["perplexity_stderr"],
        }


EVAL = Lambada


def _measure(model: GPT2, tokenizer: Tokenizer, passages: Sequence[Passage]) -> list[tuple[float, ...]]:
    import torch  # start-up time

    from neogpt.evals._choices import completions
    from neogpt.evals._cloze import bits_per_byte, encoded

    with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
        found = completions(model, encoded(tokenizer, passages))
    return [
        (is_greedy, log_p, bits_per_byte(log_p, word[1:]))
        for (log_p, is_greedy), (_, word) in zip(found, passages, strict=True)
    ]

"""LAMBADA: the last word of a passage that only the whole passage tells, 5,153 of them (OpenAI's version)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from neogpt.config import EvalConfig
from neogpt.data.source import Source
from neogpt.evals._choices import completions
from neogpt.evals._cloze import bits_per_byte, encoded, measured
from neogpt.evals._counts import with_errors
from neogpt.evals._tasks import TaskSet, text
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

IS_SHARED = True
TASKS = TaskSet("lambada", "hf://datasets/EleutherAI/lambada_openai/default", "test", 5_153, ("text",))
Passage = tuple[str, str]
"""A passage without its last word, and that word behind a space."""


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """No options in training; DataError when the passages cannot be had."""
    TASKS.read(task)
    return {}


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    data: str = "",
    world: World | None = None,
) -> dict[str, float]:
    """acc (greedy decoding writes the last word), perplexity of it, and bits_per_byte, each with its standard error.

    As lm-evaluation-harness's task lambada_openai (Paperno et al. 2016, "The LAMBADA dataset"; Radford et al. 2019);
    perplexity is exp of the mean over words, its error that mean's, to first order. limit: only the first passages.
    data: a file or folder of them. Errors: DataError as `TaskSet.read`.
    """
    passages = TASKS.read(task, data, limit)
    acc, log_p, bits = measured(
        passages, world or World(), 3, lambda some: _measure(model, tokenizer, some)
    ).T.tolist()
    found = with_errors({"acc": acc, "perplexity": log_p, "bits_per_byte": bits})
    perplexity = math.exp(min(-found["perplexity"], 700.0))
    return {**found, "perplexity": perplexity, "perplexity_stderr": perplexity * found["perplexity_stderr"]}


def task(values: Mapping[str, Any]) -> Passage:
    """A row of the data set, cut at its last space."""
    context, _, word = text(values, "text").rpartition(" ")
    if not word:
        raise ValueError("text ends with a space")
    return context, f" {word}"


def _measure(model: GPT2, tokenizer: Tokenizer, passages: Sequence[Passage]) -> list[tuple[float, ...]]:
    with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
        found = completions(model, encoded(tokenizer, passages))
    return [
        (is_greedy, log_p, bits_per_byte(log_p, word[1:]))
        for (log_p, is_greedy), (_, word) in zip(found, passages, strict=True)
    ]

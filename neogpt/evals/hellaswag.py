"""Which of four endings continues an everyday scene? 10,042 validation tasks, in two named styles.

`build-nanogpt`: the text as it stands, ` ` + ending tokenized apart from it; acc_norm is per token. This is what
build-nanogpt and the original NeoGPT measure. `lm-eval`: the text, cleaning and lengths (in characters) of
lm-evaluation-harness's task `hellaswag`. Figures of the two are not comparable with each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from neogpt.config import EvalConfig
from neogpt.data.source import Source
from neogpt.errors import ConfigError
from neogpt.evals._choices import Continuation, best, log_likelihoods
from neogpt.evals._counts import standard_error
from neogpt.evals._hellaswag_tasks import Task, read
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

Style = Literal["build-nanogpt", "lm-eval"]
IS_SHARED = True
"""Every process of a run takes part (see `neogpt.evals.evaluate`)."""


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """A run's options for `run`, with the tasks on this disk; DataError when they cannot be had."""
    read(settings.hellaswag_data, settings.hellaswag_limit)
    return {
        "limit": settings.hellaswag_limit,
        "style": settings.hellaswag_style,
        "data": settings.hellaswag_data,
    }


@dataclass(frozen=True)
class Item:
    """A task as a model sees it: a request and a length for each ending."""

    requests: tuple[Continuation, ...]
    lengths: tuple[int, ...]
    """What acc_norm divides by: tokens (build-nanogpt) or characters (lm-eval)."""
    label: int


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    style: Style = "build-nanogpt",
    data: str = "",
    world: World | None = None,
) -> dict[str, float]:
    """acc (the most probable ending is the true one), acc_norm (most probable by length), and their standard errors.

    limit: only the first tasks. data: a file of tasks in place of the published one. world: processes that
    share the tasks; the numbers are the same on any number of them. Errors: ConfigError for an unknown style,
    DataError without data.
    """
    world = world or World()
    tasks = read(data, limit)
    items = encoded(tokenizer, tasks[world.rank :: world.size], style)
    found = predictions(model, items)
    right = [(plain == i.label, normed == i.label) for i, (plain, normed) in zip(items, found, strict=True)]
    counts = world.gather(np.array(right, np.float64).reshape(-1, 2).sum(axis=0, keepdims=True)).sum(axis=0)
    return _scores(int(counts[0]), int(counts[1]), len(tasks))


def _scores(right: int, right_norm: int, n: int) -> dict[str, float]:
    return {
        "acc": right / n,
        "acc_norm": right_norm / n,
        "acc_stderr": standard_error(right, n),
        "acc_norm_stderr": standard_error(right_norm, n),
    }


def predictions(model: GPT2, items: Sequence[Item], batch_tokens: int | None = None) -> list[tuple[int, int]]:
    """For each task the ending with the highest log-likelihood, and the one with the highest by length.

    They are those of scoring each ending alone, one after the other, whatever the batches: see `best`. The
    arithmetic is float32 whatever the training's: many endings differ by less than bfloat16 rounds away.
    """
    with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
        values = log_likelihoods(model, [item.requests for item in items], batch_tokens)
        return [
            (best(model, i.requests, v, [1] * len(v)), best(model, i.requests, v, i.lengths))
            for i, v in zip(items, values, strict=True)
        ]


def encoded(tokenizer: Tokenizer, tasks: Sequence[Task], style: Style) -> list[Item]:
    """The tasks as token ids in one of the two styles."""
    if style not in get_args(Style):
        raise ConfigError(f"there is no style {style!r} of HellaSwag", f"one of {', '.join(get_args(Style))}")
    return (_lm_eval if style == "lm-eval" else _build_nanogpt)(tokenizer, tasks)


def _build_nanogpt(tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[Item]:
    contexts = tokenizer.encode_batch([task.ctx for task in tasks])
    endings = iter(tokenizer.encode_batch([f" {ending}" for task in tasks for ending in task.endings]))
    items = []
    for task, context in zip(tasks, contexts, strict=True):
        start = tuple(context or [tokenizer.eot_id])
        requests = tuple(Continuation(start, tuple(next(endings))) for _ in task.endings)
        items.append(Item(requests, tuple(len(r.continuation) for r in requests), task.label))
    return items


def _lm_eval(tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[Item]:
    queries = [clean(f"{task.activity_label}: {task.ctx_a} {task.ctx_b.capitalize()}") for task in tasks]
    choices = [[clean(ending) for ending in task.endings] for task in tasks]
    contexts = tokenizer.encode_batch([query.rstrip() for query in queries])
    wholes = iter(
        tokenizer.encode_batch(
            [f"{q} {c}" for q, endings in zip(queries, choices, strict=True) for c in endings]
        )
    )
    items = []
    for task, context, endings in zip(tasks, contexts, choices, strict=True):
        requests = tuple(Continuation(tuple(context), tuple(next(wholes)[len(context) :])) for _ in endings)
        items.append(Item(requests, tuple(max(1, len(ending)) for ending in endings), task.label))
    return items


def clean(text: str) -> str:
    """The text as lm-evaluation-harness hands it to a model: without WikiHow's [header], [title], [step]."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")

"""HellaSwag's tasks as a model sees them, in two styles of text, and which endings it finds the likeliest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neogpt.evals._choices import Continuation, best, log_likelihoods
from neogpt.evals._hellaswag_tasks import Style, Task
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer


@dataclass(frozen=True)
class Item:
    """A task as a model sees it: a request and a length for each ending."""

    requests: tuple[Continuation, ...]
    lengths: tuple[int, ...]
    """What acc_norm divides by: tokens (build-nanogpt) or characters (lm-eval)."""
    label: int


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

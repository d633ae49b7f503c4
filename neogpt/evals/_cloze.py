"""Tasks with one right answer among several, told by the probability of each answer's text (a cloze task).

Text, tokens and scores are lm-evaluation-harness's (0.4.12, zero-shot, `output_type: multiple_choice`): an answer
follows its context behind a space, and the answer of highest log-likelihood is the model's.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neogpt.evals._choices import Continuation, best, log_likelihoods
from neogpt.evals._counts import with_errors
from neogpt.evals._tasks import Cloze
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

TaskT = TypeVar("TaskT")
_CHUNK = 64
"""Tasks that go through the model together, whoever does it: so the numbers are the same on any number of processes."""


def scores(model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Cloze], world: World) -> dict[str, float]:
    """acc, acc_norm and bits_per_byte, each with its standard error over tasks.

    acc: the right answer is the likeliest. acc_norm: the likeliest for its length in characters. bits_per_byte:
    -log2 p of the right answer over its bytes in UTF-8 (Bhagia et al. 2024, "Establishing Task Scaling Laws via
    Compute-Efficient Model Ladders"): it moves where accuracy still stands at chance, and compares models of
    different vocabularies.
    """
    columns = values(model, tokenizer, tasks, world).T.tolist()
    return with_errors(dict(zip(("acc", "acc_norm", "bits_per_byte"), columns, strict=True)))


def values(model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Cloze], world: World) -> NDArray[np.float64]:
    """What `scores` are the means of, task by task (n, 3)."""
    return measured(tasks, world, 3, lambda some: _measure(model, tokenizer, some))


def measured(
    tasks: Sequence[TaskT],
    world: World,
    width: int,
    measure: Callable[[Sequence[TaskT]], list[tuple[float, ...]]],
) -> NDArray[np.float64]:
    """`width` numbers for each task (n, width), in their order, from tasks shared out by chunks over all processes."""
    starts = range(0, len(tasks), _CHUNK)
    most = -(-len(starts) // world.size)
    mine = np.full((most, _CHUNK, width), np.nan)
    for chunk, start in zip(mine, starts[world.rank :: world.size], strict=False):
        values = measure(tasks[start : start + _CHUNK])
        chunk[: len(values)] = values
    everybody = world.gather(mine.reshape(-1, width)).reshape(world.size, most, _CHUNK, width)
    return np.asarray(everybody.swapaxes(0, 1).reshape(-1, width)[: len(tasks)])


def encoded(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[Continuation]:
    """Contexts and what follows them as token ids, cut where the tokens of the context alone end.

    Blanks at a context's end belong to what follows; an empty context is end-of-text. Source:
    lm-evaluation-harness, `TemplateLM._encode_pair` and `loglikelihood`.
    """
    contexts = tokenizer.encode_batch([context.rstrip() for context, _ in pairs])
    wholes = tokenizer.encode_batch([context + more for context, more in pairs])
    requests = []
    for context, whole in zip(contexts, wholes, strict=True):
        begun = tuple(context) or (tokenizer.eot_id,)
        requests.append(Continuation(begun, tuple(whole[len(context) :])))
    return requests


def bits_per_byte(log_likelihood: float, text: str) -> float:
    """From natural logarithms."""
    return -log_likelihood / (math.log(2) * len(text.encode()))


def _measure(model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Cloze]) -> list[tuple[float, ...]]:
    requests = iter(encoded(tokenizer, [(t.context, f" {answer}") for t in tasks for answer in t.answers]))
    items = [[next(requests) for _ in task.answers] for task in tasks]
    with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
        found = log_likelihoods(model, items)
        rows: list[tuple[float, ...]] = []
        for task, item, likely in zip(tasks, items, found, strict=True):
            plain = best(model, item, likely, [1] * len(likely)) == task.right
            normed = best(model, item, likely, [len(answer) for answer in task.answers]) == task.right
            rows.append((plain, normed, bits_per_byte(likely[task.right], task.answers[task.right])))
    return rows

"""PIQA: which of two ways reaches an everyday goal? 1,838 validation tasks, by the likelier text."""

from collections.abc import Mapping
from typing import Any

from neogpt.config import EvalConfig
from neogpt.data.source import Source
from neogpt.evals._cloze import Cloze, scores
from neogpt.evals._tasks import TaskSet, text
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

IS_SHARED = True
TASKS = TaskSet("piqa", "hf://datasets/baber/piqa", "validation", 1_838, ("goal", "sol1", "sol2", "label"))


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """No options in training; DataError when the tasks cannot be had."""
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
    """The scores of `_cloze.scores` on the validation split (Bisk et al. 2020, "PIQA: Reasoning about Physical
    Commonsense in Natural Language").

    limit: only the first tasks. data: a file or folder of them. Errors: DataError as `TaskSet.read`.
    """
    return scores(model, tokenizer, TASKS.read(task, data, limit), world or World())


def task(values: Mapping[str, Any]) -> Cloze:
    """A row of the data set."""
    right = int(values["label"])
    if right not in (0, 1):
        raise ValueError(f"label is {right}, not 0 or 1")
    answers = (text(values, "sol1"), text(values, "sol2"))
    return Cloze(f"Question: {text(values, 'goal')}\nAnswer:", answers, right)

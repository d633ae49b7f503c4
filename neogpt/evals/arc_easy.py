"""ARC-easy: school science questions, 2,376 of them, answered by the likeliest of three to five answers' texts."""

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
TASKS = TaskSet(
    "arc-easy", "hf://datasets/allenai/ai2_arc/ARC-Easy", "test", 2_376, ("question", "choices", "answerKey")
)


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
    """The scores of `_cloze.scores` on the test split (Clark et al. 2018, "Think you have Solved Question Answering?").

    limit: only the first tasks. data: a file or folder of them. Errors: DataError as `TaskSet.read`.
    """
    return scores(model, tokenizer, TASKS.read(task, data, limit), world or World())


def task(values: Mapping[str, Any]) -> Cloze:
    """A row of the data set."""
    answers, labels = tuple(values["choices"]["text"]), list(values["choices"]["label"])
    if len(answers) != len(labels) or not all(isinstance(a, str) and a for a in answers):
        raise ValueError("choices has not one text for each label")
    right = labels.index(values["answerKey"])
    return Cloze(f"Question: {text(values, 'question')}\nAnswer:", answers, right)

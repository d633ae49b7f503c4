"""SciQ: science exam questions behind a passage that supports the answer, 1,000 of them, by the likeliest of four."""

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
_ANSWERS = ("distractor1", "distractor2", "distractor3", "correct_answer")
TASKS = TaskSet("sciq", "hf://datasets/allenai/sciq", "test", 1_000, ("question", "support", *_ANSWERS))


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
    """The scores of `_cloze.scores` on the test split (Welbl et al. 2017, "Crowdsourcing Multiple Choice Science
    Questions").

    limit: only the first tasks. data: a file or folder of them. Errors: DataError as `TaskSet.read`.
    """
    return scores(model, tokenizer, TASKS.read(task, data, limit), world or World())


def task(values: Mapping[str, Any]) -> Cloze:
    """A row of the data set; its support may be blank."""
    support = values["support"]
    if not isinstance(support, str):
        raise TypeError(f"support holds {type(support).__name__}, not text")
    context = f"{support.lstrip()}\nQuestion: {text(values, 'question')}\nAnswer:"
    return Cloze(context, tuple(text(values, name) for name in _ANSWERS), 3)

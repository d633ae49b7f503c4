"""SciQ: science exam questions behind a passage that supports the answer, 1,000 of them, by the likeliest of four."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neogpt.evals._cloze_eval import ClozeEval, cloze_metrics
from neogpt.evals._tasks import Cloze, TaskSet, text

_ANSWERS = ("distractor1", "distractor2", "distractor3", "correct_answer")
TASKS = TaskSet("sciq", "hf://datasets/allenai/sciq", "test", 1_000, ("question", "support", *_ANSWERS))


class Sciq(ClozeEval):
    """The test split (Welbl et al. 2017, "Crowdsourcing Multiple Choice Science Questions")."""

    tasks = TASKS
    metrics = cloze_metrics(
        "SciQ", "Science questions with a text to read and four answers. Guessing gives 25%."
    )

    @staticmethod
    def task(values: Mapping[str, Any]) -> Cloze:
        """A row of the data set; its support may be blank."""
        support = values["support"]
        if not isinstance(support, str):
            raise TypeError(f"support holds {type(support).__name__}, not text")
        context = f"{support.lstrip()}\nQuestion: {text(values, 'question')}\nAnswer:"
        return Cloze(context, tuple(text(values, name) for name in _ANSWERS), 3)


EVAL = Sciq

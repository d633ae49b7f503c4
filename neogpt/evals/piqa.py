"""PIQA: which of two ways reaches an everyday goal? 1,838 validation tasks, by the likelier text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neogpt.evals._cloze_eval import ClozeEval, cloze_metrics
from neogpt.evals._tasks import Cloze, TaskSet, text

TASKS = TaskSet("piqa", "hf://datasets/baber/piqa", "validation", 1_838, ("goal", "sol1", "sol2", "label"))


class Piqa(ClozeEval):
    """The validation split (Bisk et al. 2020, "PIQA: Reasoning about Physical Commonsense in Natural Language")."""

    tasks = TASKS
    metrics = cloze_metrics("PIQA", "Which of two ways to do an everyday thing works? Guessing gives 50%.")

    @staticmethod
    def task(values: Mapping[str, Any]) -> Cloze:
        """A row of the data set."""
        right = int(values["label"])
        if right not in (0, 1):
            raise ValueError(f"label is {right}, not 0 or 1")
        answers = (text(values, "sol1"), text(values, "sol2"))
        return Cloze(f"Question: {text(values, 'goal')}\nAnswer:", answers, right)


EVAL = Piqa

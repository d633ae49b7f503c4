"""ARC-easy: school science questions, 2,376 of them, answered by the likeliest of three to five answers' texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neogpt.evals._cloze_eval import ClozeEval, cloze_metrics
from neogpt.evals._tasks import Cloze, TaskSet, text

TASKS = TaskSet(
    "arc-easy", "hf://datasets/allenai/ai2_arc/ARC-Easy", "test", 2_376, ("question", "choices", "answerKey")
)


class ArcEasy(ClozeEval):
    """The test split (Clark et al. 2018, "Think you have Solved Question Answering?")."""

    tasks = TASKS
    metrics = cloze_metrics(
        "ARC-easy", "School science questions, three to five answers each. Guessing: about 25%."
    )

    @staticmethod
    def task(values: Mapping[str, Any]) -> Cloze:
        """A row of the data set."""
        answers, labels = tuple(values["choices"]["text"]), list(values["choices"]["label"])
        if len(answers) != len(labels) or not all(isinstance(a, str) and a for a in answers):
            raise ValueError("choices has not one text for each label")
        right = labels.index(values["answerKey"])
        return Cloze(f"Question: {text(values, 'question')}\nAnswer:", answers, right)


EVAL = ArcEasy

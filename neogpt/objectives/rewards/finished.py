"""1 where the answer ends by itself (its end-of-text is in the loss like any token)."""

from neogpt.objectives.rewards._base import Answer, Known
from neogpt.objectives.rewards._words import words


def reward(answer: Answer, known: Known) -> float:
    """1 for an answer with words and an end, else 0: ending at once is no answer."""
    return float(answer.stopped and bool(words(answer.text)))
